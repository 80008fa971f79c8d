//! Refusals in the words of the enrollment group article, said after the thing was looked up. The
//! service's own answers have other words, or none.

use dps_core::{
    Error, ErrorKind,
    chain::{Certificate, Folder},
};

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
             verification (an intermediate's by --issuer), dps certificate verify."
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

/// The error of a call about one thing of a kind that `list` lists.
pub(super) fn not_found(thing: &str, id: &str, list: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let told = Error::new(ErrorKind::NotFound, format!("{thing} '{id}' not found"))
        .with_hint(format!("Check the name: {list}."));
    with_answer_of(error, told)
}

/// The error of a call about one enrollment.
pub(super) fn enrollment_not_found(kind: Kind, id: &str, error: Error) -> Error {
    match kind {
        Kind::Group => not_found("Enrollment group", id, "dps enrollment-group list", error),
        Kind::Individual => not_found("Enrollment", id, "dps enrollment list", error),
    }
}

/// The error of a call about the registration record of one device.
pub(super) fn registration_not_found(id: &str, error: Error) -> Error {
    let list = "dps enrollment-group registration list --enrollment-id GROUP";
    not_found("Registration", id, list, error)
}

/// The error of a call about one device of a hub.
pub(super) fn device_not_found(id: &str, error: Error) -> Error {
    not_found("Device", id, "dps hub device list", error)
}

/// The error of a proof of possession.
pub(super) fn possession_not_proved(name: &str, proof: &Certificate, error: Error) -> Error {
    if error.kind() != ErrorKind::BadRequest {
        return certificate_not_found(name, error);
    }
    // In the emulator's words: Azure takes no connection string here.
    let said = error.service().and_then(|service| service.message.as_deref());
    let hint = match said.is_some_and(|said| said.contains("not signed")) {
        true => format!(
            "The key of {:?} signed it. Sign with the key of {name}: dps chain verification CODE \
             --issuer STEM --force, where STEM.cert.pem is the CA's file, such as {}. If the CA \
             was made anew under the same name, upload the new one first: dps certificate delete, \
             then create.",
            proof.issuer(),
            Folder::INTERMEDIATE
        ),
        // Each of the other reasons, such as another code's certificate, ends with these two.
        false => format!(
            "Get a code, dps certificate generate-verification-code --certificate-name {name}, \
             and give the certificate that the CA's key makes for it: dps chain verification CODE \
             --force."
        ),
    };
    error.with_hint(hint)
}

/// The error of an upload.
pub(super) async fn certificate_not_created(
    client: &Client,
    name: &str,
    certificate: &Certificate,
    error: Error,
) -> Error {
    if error.kind() == ErrorKind::BadRequest && !certificate.is_ca() {
        return error.with_hint(format!(
            "{} is no CA. Give the certificate of the CA that signed it; a device's own goes into \
             an individual enrollment: dps enrollment create --certificate-path.",
            certificate.subject()
        ));
    }
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
    let Some(mut service) = error.service().cloned() else { return told };
    // Its words are not said twice.
    if service.message.as_deref().is_some_and(|said| said.trim_end_matches('.') == told.message()) {
        service.message = None;
    }
    told.with_service(service)
}
