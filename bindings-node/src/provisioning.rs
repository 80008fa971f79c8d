//! Registration with the Device Provisioning Service.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dps_core::{
    Assignment, Error, ProvisioningClient,
    provisioning::{Progress, Substatus},
};
use napi::{Env, Unknown, bindgen_prelude::PromiseRaw};
use napi_derive::napi;
use tokio::sync::mpsc;

use crate::{
    environment::{KeptSignal, promise},
    error::thrown,
    hub::{Client, Opened},
    js::{self, Json, Late, invalid},
    options::{self, text},
    registering::Registering,
    security::{InUse, Security},
    transport::Mqtt,
};

/// What a registration gives.
#[napi(object, object_from_js = false)]
pub struct RegistrationResult {
    /// The registration ID, as the service has it.
    pub registration_id: String,
    /// The ID of the operation that made the assignment.
    pub operation_id: String,
    /// The host name of the assigned hub.
    pub assigned_hub: String,
    /// The device's ID in the hub.
    pub device_id: String,
    /// `assigned`: a registration that ends otherwise rejects its promise.
    #[napi(ts_type = "'assigned'")]
    pub status: &'static str,
    /// How the assignment came about, such as `initialAssignment`.
    pub substatus: Option<String>,
    /// When the registration was made, as the service writes it.
    pub created_date_time_utc: Option<String>,
    /// When the registration last changed, as the service writes it.
    pub last_updated_date_time_utc: Option<String>,
    /// The entity tag of the registration record.
    pub etag: Option<String>,
    /// What a custom allocation policy returned for the device.
    #[napi(ts_type = "unknown")]
    pub payload: Option<Late<Json>>,
    /// What else the service answered, by the names that it uses; absent where there is nothing.
    #[napi(ts_type = "Record<string, unknown>")]
    pub unknown_fields: Option<Late<Json>>,
}

impl From<Assignment> for RegistrationResult {
    fn from(assignment: Assignment) -> Self {
        Self {
            registration_id: assignment.registration_id().into(),
            operation_id: assignment.operation_id().into(),
            assigned_hub: assignment.assigned_hub().into(),
            device_id: assignment.device_id().into(),
            status: "assigned",
            substatus: assignment.substatus().map(Substatus::to_string),
            created_date_time_utc: assignment.created().map(Into::into),
            last_updated_date_time_utc: assignment.last_updated().map(Into::into),
            etag: assignment.etag().map(Into::into),
            payload: assignment.payload().cloned().map(|payload| Late(Json(payload))),
            unknown_fields: Some(assignment.unknown_fields())
                .filter(|fields| !fields.is_empty())
                .map(|fields| Late(Json(serde_json::Value::Object(fields.clone())))),
        }
    }
}

/// Where a device was assigned to: a `RegistrationResult`, or what was kept of one.
#[napi(object, object_to_js = false)]
pub struct AssignedTo<'env> {
    /// The host name of the assigned hub.
    #[napi(ts_type = "string")]
    pub assigned_hub: Unknown<'env>,
    /// The device's ID in the hub.
    #[napi(ts_type = "string")]
    pub device_id: Unknown<'env>,
}

/// Registers a device with the Device Provisioning Service.
#[napi]
pub struct ProvisioningDeviceClient {
    host: String,
    id_scope: String,
    transport: Mqtt,
    security: Arc<Security>,
    payload: Mutex<Option<serde_json::Value>>,
}

#[napi]
impl ProvisioningDeviceClient {
    /// A client for one device. Opens nothing yet.
    #[napi(
        catch_unwind,
        factory,
        ts_args_type = "provisioningHost: string, idScope: string, transport: Mqtt | typeof Mqtt | undefined, security: SecurityClient"
    )]
    pub fn create(
        env: &Env,
        host: Unknown<'_>,
        id_scope: Unknown<'_>,
        transport: Unknown<'_>,
        security: Unknown<'_>,
    ) -> napi::Result<Self> {
        let read = || -> Result<Self, Error> {
            Ok(Self {
                host: text(host, "provisioningHost")?,
                id_scope: text(id_scope, "idScope")?,
                transport: Mqtt::from_argument(env, transport)?,
                security: Security::from_argument(env, security)?,
                payload: Mutex::default(),
            })
        };
        read().map_err(|error| thrown(env, &error))
    }

    /// Sets what a custom allocation policy is to know about the device: whatever JSON can say.
    #[napi(catch_unwind, ts_args_type = "payload: unknown")]
    pub fn set_provisioning_payload(&self, env: &Env, payload: Unknown<'_>) -> napi::Result<()> {
        let payload = js::to_json(env, payload).map_err(|error| {
            let error = js::caught(env, error);
            let message = format!("JSON cannot say it: {}", error.reason);
            thrown(env, &invalid("payload", &message).with_source(error))
        })?;
        *self.payload.lock().unwrap_or_else(PoisonError::into_inner) = payload;
        Ok(())
    }

    /// Registers the device and waits for its assignment, with retries where they help. The deadline
    /// is two minutes unless told.
    #[napi(
        catch_unwind,
        ts_args_type = "options?: DeadlineOptions",
        ts_return_type = "Promise<RegistrationResult>"
    )]
    pub fn register<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = options::deadline(env, options, &[]).map(|(start, deadline)| {
            let registration = self.registration(deadline, |_| {});
            (start, async { registration.await.map(RegistrationResult::from) })
        });
        promise(env, started)
    }

    /// As `register`, step by step: `for await (const step of client.registering()) …`. The last
    /// step, `assigned`, has the result. The registration goes on while a step is waited for;
    /// leaving the loop cancels it.
    #[napi(catch_unwind, ts_args_type = "options?: DeadlineOptions")]
    pub fn registering(&self, env: &Env, options: Unknown<'_>) -> napi::Result<Registering> {
        let (signal, deadline) =
            options::signal_and_deadline(env, options, &[]).map_err(|error| thrown(env, &error))?;
        let (steps, progress) = mpsc::unbounded_channel();
        let registration = self.registration(deadline, move |step| {
            // Nobody listens where the loop was left.
            let _ = steps.send(step);
        });
        let signal = KeptSignal::new(env, signal)?;
        Ok(Registering::new(Box::pin(registration), progress, signal))
    }

    /// Connects to the hub that the device was assigned to, with the same security client and
    /// transport. The deadline is a minute unless told.
    #[napi(
        catch_unwind,
        ts_args_type = "assignment: AssignedTo, options?: DeadlineOptions",
        ts_return_type = "Promise<Client>"
    )]
    pub fn connect<'env>(
        &self,
        env: &'env Env,
        assignment: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let start = || {
            let AssignedTo { assigned_hub, device_id } =
                js::options(env, assignment, "assignment")?;
            let assigned_hub = text(assigned_hub, "assignedHub")?;
            let device_id = text(device_id, "deviceId")?;
            let (start, deadline) = options::deadline(env, options, &[])?;
            let (transport, security) = (self.transport.clone(), Arc::clone(&self.security));
            let client = Client::new(assigned_hub, device_id, transport, Some(security));
            let opening = client.opening(env, deadline)?;
            Ok((start, async move {
                opening.await?;
                Ok(Late(Opened(client)))
            }))
        };
        promise(env, start())
    }

    fn registration(
        &self,
        deadline: Option<Duration>,
        on_progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Assignment, Error>> + Send + 'static {
        let (host, id_scope) = (self.host.clone(), self.id_scope.clone());
        let Mqtt { network, port, api_version } = self.transport.clone();
        let payload = self.payload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let registration_id = self.security.registration_id.clone();
        let in_use: InUse = self.security.in_use();
        async move {
            let deadline = deadline.unwrap_or(ProvisioningClient::DEFAULT_DEADLINE);
            let start = Instant::now();
            let identity = in_use.identity(deadline).await?;
            let mut client = ProvisioningClient::new(id_scope, &identity)
                .host(host)
                .network(network)
                .deadline(deadline.saturating_sub(start.elapsed()))
                .on_progress(on_progress);
            if let Some(id) = registration_id {
                client = client.registration_id(id);
            }
            if let Some(port) = port {
                client = client.port(port);
            }
            if let Some(version) = api_version {
                client = client.api_version(version);
            }
            if let Some(payload) = payload {
                client = client.payload(payload);
            }
            client.register().await
        }
    }
}
