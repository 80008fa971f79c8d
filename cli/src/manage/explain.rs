//! Refusals in the words of the enrollment group article, said after the thing was looked up. The
//! service's own answers have other words, or none.

use dps_core::{Error, ErrorKind};

use super::{api::Kind, client::Client};

/// Fails unless the instance has the certificate and knows that its key is in the right hands.
pub(super) async fn require_verified(client: &Client, name: &str) -> Result<(), Error> {
    let found = client.certificate(name).await;
    let certificate = found.map_err(|error| certificate_not_found(name, error))?.body;
    if certificate["properties"]["isVerified"] == true {
        return Ok(());
    }
    Err(Error::new(ErrorKind::BadRequest, "Certificate must be verified before use in enrollment")
        .with_hint(format!(
            "Prove possession of {name}: dps certificate generate-verification-code, dps chain \
             verification, dps certificate verify."
        )))
}

/// The error of a call about one certificate.
pub(super) fn certificate_not_found(name: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let told = Error::new(ErrorKind::NotFound, format!("Certificate '{name}' not found"))
        .with_hint("Check that the name matches exactly: dps certificate list.");
    with_answer_of(error, told)
}

/// The error of a proof of possession.
pub(super) fn possession_not_proved(name: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::BadRequest {
        return certificate_not_found(name, error);
    }
    // Each of the service's reasons, such as another code's certificate, ends with these two.
    error.with_hint(format!(
        "Get a code, dps certificate generate-verification-code --certificate-name {name}, and \
         give the certificate that the CA's key makes for it: dps chain verification CODE."
    ))
}

/// The error of an upload.
pub(super) async fn certificate_exists(client: &Client, name: &str, error: Error) -> Error {
    // Without If-Match, Azure's management plane and the emulator refuse a name in use so.
    let refused = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::PreconditionFailed);
    if !refused || client.certificate(name).await.is_err() {
        return error;
    }
    let told = Error::new(ErrorKind::Conflict, format!("Certificate '{name}' already exists"))
        .with_hint("Use a different name, or delete it first: dps certificate delete.");
    with_answer_of(error, told)
}

/// The error of a creation.
pub(super) async fn enrollment_exists(
    client: &Client,
    kind: Kind,
    id: &str,
    error: Error,
) -> Error {
    if error.kind() != ErrorKind::Conflict || client.enrollment(kind, id).await.is_err() {
        return error;
    }
    let (noun, hint) = match kind {
        Kind::Group => (
            "Enrollment group",
            "Use a different name, or change the existing one: dps enrollment-group update.",
        ),
        Kind::Individual => (
            "Enrollment",
            "Use a different name, or delete the existing one: dps enrollment delete.",
        ),
    };
    let told = Error::new(ErrorKind::Conflict, format!("{noun} '{id}' already exists"));
    with_answer_of(error, told.with_hint(hint))
}

fn with_answer_of(error: Error, told: Error) -> Error {
    match error.service() {
        Some(service) => told.with_service(service.clone()),
        None => told,
    }
}
