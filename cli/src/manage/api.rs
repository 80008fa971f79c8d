//! The calls, by what they are for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dps_core::{Error, chain::Certificate};
use hyper::{HeaderMap, Method, header::HeaderName};
use serde_json::{Value, json};

use super::client::{Client, Response, encoded, header_value};

const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");

/// The most that a service puts on one page.
pub(crate) const PAGE: u32 = 1000;

/// The two kinds of enrollment.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Group,
    Individual,
}

impl Kind {
    /// The field that holds its name.
    pub(crate) fn id_field(self) -> &'static str {
        match self {
            Self::Group => "enrollmentGroupId",
            Self::Individual => "registrationId",
        }
    }

    fn collection(self) -> &'static str {
        match self {
            Self::Group => "/enrollmentGroups",
            Self::Individual => "/enrollments",
        }
    }

    fn path(self, id: &str) -> String {
        format!("{}/{}", self.collection(), encoded(id))
    }
}

/// The CA certificates of a DPS instance. With a connection string only the emulator serves them.
impl Client {
    /// `{"value": […]}`.
    pub(crate) async fn list_certificates(&self) -> Result<Response, Error> {
        self.send(Method::GET, &self.certificates_path(), &[], None, None).await
    }

    pub(crate) async fn certificate(&self, name: &str) -> Result<Response, Error> {
        self.send(Method::GET, &self.certificate_path(name), &[], None, None).await
    }

    /// Uploads a CA certificate; `verified` spares the proof of possession.
    pub(crate) async fn create_certificate(
        &self,
        name: &str,
        certificate: &Certificate,
        verified: bool,
    ) -> Result<Response, Error> {
        let mut body = upload(certificate);
        body["isVerified"] = json!(verified);
        self.send(Method::PUT, &self.certificate_path(name), &[], Some(&body), None).await
    }

    pub(crate) async fn generate_verification_code(
        &self,
        name: &str,
        etag: &str,
    ) -> Result<Response, Error> {
        let path = format!("{}/generateVerificationCode", self.certificate_path(name));
        self.send(Method::POST, &path, &[], None, Some(etag)).await
    }

    /// Proves possession by a certificate whose common name is the verification code.
    pub(crate) async fn verify_certificate(
        &self,
        name: &str,
        proof: &Certificate,
        etag: &str,
    ) -> Result<Response, Error> {
        let path = format!("{}/verify", self.certificate_path(name));
        self.send(Method::POST, &path, &[], Some(&upload(proof)), Some(etag)).await
    }

    pub(crate) async fn delete_certificate(&self, name: &str, etag: &str) -> Result<(), Error> {
        let path = self.certificate_path(name);
        self.send(Method::DELETE, &path, &[], None, Some(etag)).await.map(drop)
    }

    fn certificates_path(&self) -> String {
        // A connection string names the instance, and no subscription.
        let instance = self.host().as_str().split('.').next().unwrap_or_default();
        format!(
            "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/{}/providers/\
             Microsoft.Devices/provisioningServices/{}/certificates",
            encoded(&self.resource_group),
            encoded(instance),
        )
    }

    fn certificate_path(&self, name: &str) -> String {
        format!("{}/{}", self.certificates_path(), encoded(name))
    }
}

/// Enrollments and registration records.
impl Client {
    pub(crate) async fn list_enrollments(
        &self,
        kind: Kind,
        top: Option<u32>,
    ) -> Result<Value, Error> {
        let body = json!({ "query": "SELECT *" });
        self.pages(&format!("{}/query", kind.collection()), Some(&body), top).await
    }

    pub(crate) async fn enrollment(&self, kind: Kind, id: &str) -> Result<Response, Error> {
        self.send(Method::GET, &kind.path(id), &[], None, None).await
    }

    /// Its attestation with its keys, which [`enrollment`](Self::enrollment) leaves out.
    pub(crate) async fn attestation(&self, kind: Kind, id: &str) -> Result<Value, Error> {
        let path = format!("{}/attestationmechanism", kind.path(id));
        Ok(self.send(Method::POST, &path, &[], None, None).await?.body)
    }

    /// Fails with 409 if there is one of that name.
    pub(crate) async fn create_enrollment(
        &self,
        kind: Kind,
        id: &str,
        record: &Value,
    ) -> Result<Response, Error> {
        self.send(Method::PUT, &kind.path(id), &[], Some(record), None).await
    }

    pub(crate) async fn replace_enrollment(
        &self,
        kind: Kind,
        id: &str,
        record: &Value,
        etag: &str,
    ) -> Result<Response, Error> {
        self.send(Method::PUT, &kind.path(id), &[], Some(record), Some(etag)).await
    }

    pub(crate) async fn delete_enrollment(
        &self,
        kind: Kind,
        id: &str,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        let etag = Some(etag.unwrap_or("*"));
        self.send(Method::DELETE, &kind.path(id), &[], None, etag).await.map(drop)
    }

    /// The registration records of a group, also of one that was deleted.
    pub(crate) async fn list_registrations(
        &self,
        group: &str,
        top: Option<u32>,
    ) -> Result<Value, Error> {
        self.pages(&format!("/registrations/{}/query", encoded(group)), None, top).await
    }

    pub(crate) async fn registration(&self, id: &str) -> Result<Response, Error> {
        self.send(Method::GET, &format!("/registrations/{}", encoded(id)), &[], None, None).await
    }

    pub(crate) async fn delete_registration(
        &self,
        id: &str,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        let path = format!("/registrations/{}", encoded(id));
        let etag = Some(etag.unwrap_or("*"));
        self.send(Method::DELETE, &path, &[], None, etag).await.map(drop)
    }

    /// Every page of a query, or as many as `top` items take.
    async fn pages(
        &self,
        path: &str,
        body: Option<&Value>,
        top: Option<u32>,
    ) -> Result<Value, Error> {
        let top = top.map(|top| top as usize);
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut headers = HeaderMap::new();
            if let Some(top) = top {
                let left = (top - items.len()).min(PAGE as usize);
                headers.insert(MAX_ITEM_COUNT, left.into());
            }
            if let Some(token) = &next {
                headers.insert(CONTINUATION, header_value("the continuation", token)?);
            }
            let answer = self.call(Method::POST, path, &[], body, headers).await?;
            let Value::Array(page) = answer.body else {
                return Err(self.nonsense(path, "something other than a list"));
            };
            items.extend(page);
            let token = answer.headers.get(CONTINUATION).and_then(|token| token.to_str().ok());
            let token = token.filter(|token| !token.is_empty()).map(str::to_owned);
            if let Some(top) = top.filter(|top| items.len() >= *top) {
                items.truncate(top);
                return Ok(Value::Array(items));
            }
            if token.is_none() {
                return Ok(Value::Array(items));
            }
            if token == next {
                return Err(self.nonsense(path, "the same page again"));
            }
            next = token;
        }
    }
}

/// The devices of a hub.
impl Client {
    /// At most [`PAGE`].
    pub(crate) async fn list_devices(&self, top: u32) -> Result<Value, Error> {
        let top = top.to_string();
        Ok(self.send(Method::GET, "/devices", &[("top", &top)], None, None).await?.body)
    }

    pub(crate) async fn device(&self, id: &str) -> Result<Response, Error> {
        self.send(Method::GET, &device_path(id), &[], None, None).await
    }

    pub(crate) async fn delete_device(&self, id: &str, etag: Option<&str>) -> Result<(), Error> {
        // Hubs, unlike DPS, want an etag in its quotes (RFC 9110, section 8.8.3).
        let etag = match etag {
            None | Some("*") => "*".to_owned(),
            Some(etag) => format!("\"{}\"", etag.trim_matches('"')),
        };
        self.send(Method::DELETE, &device_path(id), &[], None, Some(&etag)).await.map(drop)
    }

    /// The telemetry received from a device: the emulator's own feed, which Azure does not have.
    pub(crate) async fn list_messages(&self, id: &str) -> Result<Value, Error> {
        let path = format!("{}/messages/events", device_path(id));
        Ok(self.send(Method::GET, &path, &[], None, None).await?.body)
    }
}

fn device_path(id: &str) -> String {
    format!("/devices/{}", encoded(id))
}

/// As `az` sends it: the base64 of the PEM text.
fn upload(certificate: &Certificate) -> Value {
    json!({ "certificate": STANDARD.encode(certificate.to_pem()) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dps_core::{tls::Roots, transport::Network};
    use dps_emulator::Emulator;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_goes_on_over_its_pages() {
        const COUNT: usize = PAGE as usize + 2;

        let emulator = Emulator::builder().start().await.unwrap();
        let network = Network::default()
            .connect_to(emulator.connect_to())
            .roots(Roots::pem(emulator.root_pem()));
        let client = Arc::new(Client::login(&emulator.connection_string(), network).unwrap());
        let mut creations = JoinSet::new();
        for worker in 0..8 {
            let client = Arc::clone(&client);
            creations.spawn(async move {
                for number in (worker..COUNT).step_by(8) {
                    let record = json!({
                        "attestation": { "type": "x509", "x509": {} },
                        "provisioningStatus": "disabled",
                    });
                    let id = format!("device-{number}");
                    client.create_enrollment(Kind::Individual, &id, &record).await.unwrap();
                }
            });
        }
        creations.join_all().await;

        for (top, expected) in [(None, COUNT), (Some(3), 3), (Some(PAGE + 1), COUNT - 1)] {
            let listed = client.list_enrollments(Kind::Individual, top).await.unwrap();
            let mut ids: Vec<_> = listed
                .as_array()
                .unwrap()
                .iter()
                .map(|enrollment| enrollment["registrationId"].as_str().unwrap())
                .collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), expected);
        }
    }
}
