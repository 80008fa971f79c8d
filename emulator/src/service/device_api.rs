//! The device API: register, operation status, registration status lookup.

use serde_json::{Value, json};

use super::attest::{Proof, admit};
use super::provision::provision;
use super::{DeviceCall, Refusal, Reply, Service, names, tokens};
use crate::sas::SasToken;
use crate::store::registrations::{self, Holder, Operation, Record, Status, Substatus};
use crate::x509::Chain;

impl Service {
    /// Registers a device. The outcome is decided and stored here; polls only tell it.
    pub(crate) async fn register(&self, call: DeviceCall) -> Reply {
        let device = call.registration_id.clone();
        let outcome = self.try_register(call).await;
        self.replied(&device, outcome)
    }

    /// Tells where an operation stands, to the device that started it.
    pub(crate) async fn operation_status(&self, call: DeviceCall, operation_id: &str) -> Reply {
        let device = call.registration_id.clone();
        let outcome = self.try_operation_status(call, operation_id.to_owned()).await;
        self.replied(&device, outcome)
    }

    /// Tells a device its registration record.
    pub(crate) async fn registration_lookup(&self, call: DeviceCall) -> Reply {
        let device = call.registration_id.clone();
        let outcome = self.try_lookup(call).await;
        self.replied(&device, outcome)
    }

    fn replied(&self, device: &str, outcome: Result<Reply, Refusal>) -> Reply {
        outcome.unwrap_or_else(|refusal| {
            tracing::info!(device, code = refusal.code, "refused: {}", refusal.message);
            refusal.reply(self.now())
        })
    }

    async fn try_register(&self, call: DeviceCall) -> Result<Reply, Refusal> {
        let proof = self.identify(&call)?;
        check_body(&call)?;
        let service = self.clone();
        let operation = self
            .0
            .store
            .run(move |db| {
                let now = service.now();
                let (scope, hubs) = (&service.0.id_scope, &service.0.hubs);
                let admitted = admit(db, scope, &call.registration_id, &proof, now)?;
                let record = provision(db, &call.registration_id, &admitted, hubs, now)?;
                let operation = Operation {
                    id: tokens::operation_id()?,
                    registration: call.registration_id,
                    holder: proof.holder(),
                    polls_left: service.0.polls,
                    record,
                };
                registrations::put_operation(db, &operation)?;
                Ok::<_, Refusal>(operation)
            })
            .await?;
        tracing::info!(
            device = operation.registration,
            hub = operation.record.assigned_hub,
            operation = operation.id,
            "registration: {:?}",
            operation.record.status
        );
        if operation.polls_left == 0 {
            return Ok(finished(&operation));
        }
        // The recorded first answer has no registrationState.
        Ok(self.accepted(json!({ "operationId": operation.id, "status": Status::Assigning })))
    }

    async fn try_operation_status(&self, call: DeviceCall, id: String) -> Result<Reply, Refusal> {
        let proof = self.identify(&call)?;
        let service = self.clone();
        let operation = self
            .0
            .store
            .run(move |db| {
                let operation = registrations::operation(db, &id)?
                    .filter(|found| found.registration.eq_ignore_ascii_case(&call.registration_id))
                    .ok_or_else(|| Refusal::new(404, 0, "Operation not found."))?;
                if operation.holder != proof.holder() {
                    return Err(Refusal::unauthorized());
                }
                // Its leaf proved itself in the TLS handshake; a token is worth its signature.
                if let Proof::Token(_) = &proof {
                    let scope = &service.0.id_scope;
                    admit(db, scope, &call.registration_id, &proof, service.now())?;
                }
                if operation.polls_left > 1 {
                    registrations::count_poll(db, &operation)?;
                }
                Ok(operation)
            })
            .await?;
        if operation.polls_left > 1 {
            return Ok(self.accepted(assigning(&operation)));
        }
        Ok(finished(&operation))
    }

    async fn try_lookup(&self, call: DeviceCall) -> Result<Reply, Refusal> {
        let proof = self.identify(&call)?;
        check_body(&call)?;
        let holder = proof.holder();
        let service = self.clone();
        let record = self
            .0
            .store
            .run(move |db| {
                let scope = &service.0.id_scope;
                admit(db, scope, &call.registration_id, &proof, service.now())?;
                let found = registrations::get(db, &call.registration_id)?;
                found.ok_or_else(|| Refusal::new(404, 0, "Registration not found."))
            })
            .await?
            .record;
        Ok(Reply { status: 200, retry_after: None, body: registration_state(&record, &holder) })
    }

    /// Who calls, as far as it can be told without the enrollments.
    fn identify(&self, call: &DeviceCall) -> Result<Proof, Refusal> {
        if call.id_scope != self.0.id_scope {
            return Err(Refusal::unauthorized());
        }
        names::checked("registrationId", &call.registration_id)?;
        if call.peer.certificates.is_empty() {
            let token = call.sas.as_deref().and_then(SasToken::parse);
            return token.map(Proof::Token).ok_or_else(Refusal::unauthorized);
        }
        Chain::build(&call.peer.certificates)
            .map(Proof::Chain)
            .ok_or_else(Refusal::invalid_certificate)
    }

    fn accepted(&self, body: Value) -> Reply {
        Reply { status: 202, retry_after: Some(self.0.retry_after), body }
    }
}

/// `DeviceRegistration`. Clients leave it empty or send a space; then the ID is that of the path
/// or the user name.
fn check_body(call: &DeviceCall) -> Result<(), Refusal> {
    if call.body.trim_ascii().is_empty() {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::bad_request(format!("The body is not JSON: {error}.")))?;
    let Value::Object(body) = body else {
        return Err(Refusal::bad_request("The body is not a JSON object."));
    };
    match body.get("registrationId") {
        None | Some(Value::Null) => {}
        Some(Value::String(id)) if id.eq_ignore_ascii_case(&call.registration_id) => {}
        Some(_) => {
            return Err(Refusal::bad_request(
                "registrationId of the body is not that of the request.",
            ));
        }
    }
    let given = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if given("tpm") {
        // What the service says of an endorsement key that no enrollment has.
        return Err(Refusal::enrollment_not_found());
    }
    if given("csr") {
        return Err(Refusal::bad_request("The emulator issues no certificates: leave out csr."));
    }
    Ok(())
}

/// While it is under way, with the least that clients demand of such an answer
/// (Azure/iot-identity-service).
fn assigning(operation: &Operation) -> Value {
    let record = &operation.record;
    json!({
        "operationId": operation.id,
        "status": Status::Assigning,
        "registrationState": {
            "registrationId": record.registration_id,
            "createdDateTimeUtc": record.created_date_time_utc,
            "status": Status::Assigning,
            "lastUpdatedDateTimeUtc": record.last_updated_date_time_utc,
        },
    })
}

fn finished(operation: &Operation) -> Reply {
    Reply {
        status: 200,
        retry_after: None,
        body: json!({
            "operationId": operation.id,
            "status": operation.record.status,
            "registrationState": registration_state(&operation.record, &operation.holder),
        }),
    }
}

/// As a device sees its record: with an empty `x509` if it attests by that, and a repeated
/// assignment told as an initial one (recorded; the service's side tells it apart).
fn registration_state(record: &Record, holder: &Holder) -> Value {
    let mut record = record.clone();
    if record.substatus == Some(Substatus::ReprovisionedToInitialAssignment) {
        record.substatus = Some(Substatus::InitialAssignment);
    }
    let mut state = match holder {
        Holder::Leaf(_) => json!({ "x509": {} }),
        Holder::SymmetricKey => json!({}),
    };
    if let (Value::Object(state), Ok(Value::Object(fields))) =
        (&mut state, serde_json::to_value(record))
    {
        state.extend(fields);
    }
    state
}
