//! `dps chain request`, `sign` and `renew`: certificates of devices that exist.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use dps_core::{
    Error, RegistrationId,
    chain::{Certificate, CertificateRequest, SubjectKey},
};
use serde_json::json;

use super::{Common, Files, ISSUER_PROMPT, IntermediateIssuer, Maker, read_file, report};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct RequestArguments {
    /// The registration ID, which becomes the request's common name
    registration_id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(crate) struct SignArguments {
    /// The certificate request, in PEM or DER
    #[arg(value_name = "FILE")]
    request: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    issuer: IntermediateIssuer,
}

#[derive(Args)]
pub(crate) struct RenewArguments {
    /// The registration ID, whose certificate is in certs/
    registration_id: String,
    /// Make a new key too: private/ID-renewed.key.pem
    #[arg(long)]
    new_key: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    issuer: IntermediateIssuer,
}

pub(super) fn request(arguments: &RequestArguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(&arguments.common);
    let id = RegistrationId::parse_common_name(&arguments.registration_id)?;
    let (key_file, request_file) =
        (maker.folder.key(id.as_str()), maker.folder.request(id.as_str()));
    maker.folder.check_free(&[key_file.clone(), request_file.clone()])?;
    let key = maker.generate(&format!("the key of {id}"))?;
    let request = SubjectKey::from(Arc::clone(&key)).certificate_request(id.as_str())?;
    maker.folder.write_private(&key_file, key.to_pem()?.as_bytes())?;
    maker.folder.write_public(&request_file, request)?;
    output.line(format!("Certificate request for {id}, to be signed by a CA"))?;
    output.line(format!("  {}\n  {}", request_file.display(), key_file.display()))?;
    output.json(&json!({ "registrationId": id.as_str(), "request": request_file, "key": key_file }))
}

pub(super) fn sign(arguments: &SignArguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(&arguments.common);
    let request = CertificateRequest::from_pem(&read_file(&arguments.request)?)
        .map_err(|error| error.in_context(arguments.request.display()))?;
    let id = request.registration_id();
    let certificate_file = maker.folder.certificate(id.as_str());
    let chain_file = maker.folder.full_chain(id.as_str());
    maker.folder.check_free(&[certificate_file.clone(), chain_file.clone()])?;
    let passphrase = arguments.common.passphrase.read(ISSUER_PROMPT)?;
    let issuer = maker.issuer(&arguments.issuer.issuer, &passphrase)?;
    let certificate = issuer.issue_requested(&request, maker.validity)?;
    maker.folder.write_public(&certificate_file, certificate.to_pem())?;
    maker.folder.write_public(&chain_file, maker.full_chain(&certificate, &issuer)?)?;
    for ignored in request.ignored() {
        output.warning(format!("the request asks for {ignored}, which was not granted"));
    }
    output.line(summary(&certificate))?;
    output.line(format!("  {}\n  {}", certificate_file.display(), chain_file.display()))?;
    output.json(&json!({
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "sha1Thumbprint": certificate.sha1_thumbprint(),
        "sha256Thumbprint": certificate.sha256_thumbprint(),
        "certificate": certificate_file,
        "fullChain": chain_file,
        "ignored": request.ignored(),
    }))
}

/// Writes beside the old files and never over them: a device in service must not be left with a
/// new key and an old certificate by an interruption between the two.
pub(super) fn renew(arguments: &RenewArguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(&arguments.common);
    let id = RegistrationId::parse_common_name(&arguments.registration_id)?;
    let old = Certificate::from_file(maker.folder.certificate(id.as_str()))?;
    let stem = format!("{id}-renewed");
    let key_file = match arguments.new_key {
        true => maker.folder.key(&stem),
        false => maker.folder.key(id.as_str()),
    };
    let files = Files {
        certificate: maker.folder.certificate(&stem),
        key: key_file,
        request: None,
        full_chain: Some(maker.folder.full_chain(&stem)),
    };
    let mut new_files = vec![files.certificate.clone(), maker.folder.full_chain(&stem)];
    new_files.extend(arguments.new_key.then(|| files.key.clone()));
    maker.folder.check_free(&new_files)?;
    let passphrase = arguments.common.passphrase.read(ISSUER_PROMPT)?;
    let issuer = maker.issuer(&arguments.issuer.issuer, &passphrase)?;
    let new_key = match arguments.new_key {
        true => Some(maker.generate("the new key")?),
        false => None,
    };
    let new_public = new_key.as_ref().map(|key| key.public_key_info());
    let certificate = issuer.reissue_device(&old, new_public, maker.validity)?;
    if let Some(key) = &new_key {
        maker.folder.write_private(&files.key, key.to_pem()?.as_bytes())?;
    }
    maker.folder.write_public(&files.certificate, certificate.to_pem())?;
    let chain = maker.full_chain(&certificate, &issuer)?;
    maker.folder.write_public(&maker.folder.full_chain(&stem), chain)?;
    report(output, &[(&certificate, &files)])
}

fn summary(certificate: &Certificate) -> String {
    format!(
        "{} issued by {}, valid until {}",
        certificate.subject(),
        certificate.issuer(),
        certificate.not_after().date()
    )
}
