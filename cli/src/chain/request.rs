//! `dps chain request` and `sign`: a device's key here, and its CA elsewhere.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use dps_core::{
    Error, RegistrationId,
    chain::{CertificateRequest, SubjectKey},
};
use serde_json::json;

use super::{
    IntermediateIssuer, Maker, NewKey, Target, Term, common_name, maker::generate, read_file,
    summary,
};
use crate::{output::Output, passphrase::PassphraseSource};

#[derive(Args)]
pub(crate) struct RequestArguments {
    /// The registration ID, which becomes the request's common name
    #[arg(value_parser = common_name)]
    registration_id: RegistrationId,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: NewKey,
}

#[derive(Args)]
pub(crate) struct SignArguments {
    /// The certificate request, in PEM or DER
    #[arg(value_name = "FILE")]
    request: PathBuf,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    issuer: IntermediateIssuer,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(super) fn request(arguments: &RequestArguments, output: &Output) -> Result<(), Error> {
    let folder = arguments.target.folder();
    let id = &arguments.registration_id;
    let (key_file, request_file) = (folder.key(id.as_str()), folder.request(id.as_str()));
    folder.check_free(&[key_file.clone(), request_file.clone()])?;
    let key = generate(&format!("the key of {id}"), arguments.key.key_type)?;
    let request = SubjectKey::from(Arc::clone(&key)).certificate_request(id.as_str())?;
    folder.write_private(&key_file, key.to_pem()?.as_bytes())?;
    folder.write_public(&request_file, request)?;
    output.line(format!("Certificate request for {id}, to be signed by a CA"))?;
    output.line(format!("  {}\n  {}", request_file.display(), key_file.display()))?;
    output.json(&json!({ "registrationId": id.as_str(), "request": request_file, "key": key_file }))
}

pub(super) fn sign(arguments: &SignArguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(arguments.target.folder());
    let request = CertificateRequest::from_pem(&read_file(&arguments.request)?)
        .map_err(|error| error.in_context(arguments.request.display()))?;
    let id = request.registration_id();
    let certificate_file = maker.folder.certificate(id.as_str());
    let chain_file = maker.folder.full_chain(id.as_str());
    maker.folder.check_free(&[certificate_file.clone(), chain_file.clone()])?;
    let issuer = maker.device_issuer(&arguments.issuer.issuer, &arguments.passphrase)?;
    let certificate = issuer.authority.issue_requested(&request, arguments.term.validity())?;
    let chain = issuer.full_chain(&certificate);
    maker.folder.write_public(&certificate_file, certificate.to_pem())?;
    maker.folder.write_public(&chain_file, chain)?;
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
