//! The Rust shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines.
#![allow(clippy::print_stdout, missing_docs, reason = "a shim prints")]
#![cfg_attr(rustfmt, rustfmt_skip)]
use std::{collections::HashMap, env, fmt::Display, fs, io, mem, process::exit, sync::{Arc, atomic::{AtomicUsize, Ordering}}, thread, time::Duration};
use dps_core::{error::ErrorKind, hsm, hub::HubBuilder, key::Passphrase, key::PrivateKey, tls::Roots, transport::Network, *};
use futures_util::future::try_join_all;
use zeroize::Zeroizing;

struct Slow(PrivateKey, Duration, AtomicUsize);
impl Signer for Slow {
    fn algorithms(&self) -> &[SignatureAlgorithm] { self.0.algorithms() } fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        if self.2.fetch_sub(1, Ordering::Relaxed) == 1 { return Err(SignerError::new("the token was pulled out")); }
        thread::sleep(self.1);
        self.0.sign(request)
    }
}
struct Custom<'a>(&'a str, &'a str, &'a str);
impl hsm::X509Hsm for Custom<'_> {
    fn common_name(&self) -> Result<String> { Ok(self.0.into()) } fn certificate(&self) -> Result<Vec<u8>> { Ok(fs::read(self.1).unwrap()) }
    fn key(&self) -> Result<Zeroizing<Vec<u8>>> { Ok(Zeroizing::new(fs::read(self.2).unwrap())) }
}
type Setter = fn(ProvisioningClient, &str) -> ProvisioningClient;
fn line(name: &str, value: Option<impl Display>) { value.iter().for_each(|value| println!("{name}: {value}")); }
fn millis(text: &str) -> Duration { Duration::from_millis(text.parse().unwrap()) }
/// What the work gives; nothing where it is to be cancelled at the end of the input, and was.
async fn or_cancelled<T>(cancels: bool, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    if !cancels { return work.await.map(Some); }
    thread::spawn(|| { let _ = io::copy(&mut io::stdin(), &mut io::sink()); tell.send(()) });
    tokio::select! { done = work => done.map(Some), _ = told => { line("cancelled", Some("yes")); Ok(None) } }
}
async fn obey(words: &[String]) -> Result<()> {
    let (mut network, mut identity, mut assignment, mut hub) = (Network::default(), None, None::<Assignment>, None::<HubClient>);
    let (mut set, mut message, mut cancels) = (HashMap::new(), Message::default(), false);
    for pair in words.chunks_exact(2) {
        let (flag, value) = (pair[0].as_str(), pair[1].as_str());
        let get = |name| set.get(name).copied();
        match flag {
            "--cancel" => cancels = true, "--connect-to" => network = network.connect_to(value),
            "--roots" => network = network.roots(Roots::pem(fs::read(value).unwrap())),
            "--credential" => {
                let (text, file) = (|name| get(name).unwrap_or_default(), |name| fs::read(get(name).unwrap()).unwrap());
                let credential = match value {
                    "pem-files" => Credential::pem_files(text("--chain"), text("--key")), "pem" => Credential::pem(file("--chain"), file("--key")),
                    "pkcs12-file" => Credential::pkcs12_file(text("--chain")), "pkcs12" => Credential::pkcs12(file("--chain")),
                    "symmetric-key" => Credential::symmetric_key(text("--id"), text("--key")), "group-key" => Credential::group_key(text("--id"), text("--key")),
                    "signer" => Credential::signer(file("--chain"), Arc::new(Slow(PrivateKey::from_pem(&file("--key"), None)?,
                        millis(get("--sign-delay").unwrap_or("0")), AtomicUsize::new(get("--sign-fails-at").unwrap_or("0").parse().unwrap())))),
                    "hsm" => { identity = Some(hsm::open_x509(&Custom(text("--id"), text("--chain"), text("--key")))?); continue }
                    _ => exit(89),
                };
                let passphrase = get("--passphrase").map(Passphrase::new);
                identity = Some(passphrase.into_iter().fold(credential, Credential::passphrase).open()?);
            }
            "--register" => {
                let tell = |step| println!("progress: {}", format!("{step:?}").to_lowercase());
                let mut client = ProvisioningClient::new(value, identity.as_ref().unwrap()).network(network.clone()).on_progress(tell);
                for (name, set) in [("--host", (|it, text| it.host(text)) as Setter), ("--registration-id", |it, text| it.registration_id(text)),
                    ("--api-version", |it, text| it.api_version(text)), ("--deadline", |it, text| it.deadline(millis(text))),
                    ("--payload", |it, json| it.payload(serde_json::from_str(json).unwrap()))] { client = get(name).into_iter().fold(client, set); }
                assignment = or_cancelled(mem::take(&mut cancels), client.register()).await?;
                let Some(it) = &assignment else { continue };
                for (name, value) in [("hub", Some(it.assigned_hub())), ("device-id", Some(it.device_id())), ("registration-id", Some(it.registration_id())),
                    ("created", it.created()), ("last-updated", it.last_updated()), ("etag", it.etag()), ("substatus", it.substatus().map(|it| it.as_str()))] { line(name, value); }
                line("payload", it.payload());
                line("unknown", Some(serde_json::Value::from(it.unknown_fields().clone())).filter(|it| it != &serde_json::json!({})));
            }
            "--connect" => {
                let assigned = assignment.as_ref().map(|it| (it.assigned_hub(), it.device_id()));
                let (host, device) = value.split_once('/').or(assigned).unwrap();
                let mut builder = HubClient::builder(host, device, identity.as_ref().unwrap()).network(network.clone());
                builder = get("--deadline").map(millis).into_iter().fold(builder, HubBuilder::deadline);
                builder = get("--keep-alive").map(millis).into_iter().fold(builder, HubBuilder::keep_alive);
                builder = get("--token-lifetime").map(millis).into_iter().fold(builder, HubBuilder::token_lifetime);
                hub = or_cancelled(mem::take(&mut cancels), builder.connect()).await?;
            }
            "--body" => message = Message::from(value), "--size" => message = Message::new(vec![b'x'; value.parse().unwrap()]),
            "--system" => { let [mid, cid, uid, kind, coding] = value.split(',').collect::<Vec<_>>().try_into().unwrap();
                message = message.message_id(mid).correlation_id(cid).user_id(uid).content_type(kind).content_encoding(coding); }
            "--value" => message = message.property(set["--property"], value),
            "--send" => {
                let one = |n: u32| hub.as_ref().unwrap().send(if value == "1" { message.clone() } else { n.to_string().into() });
                line("sent", or_cancelled(mem::take(&mut cancels), try_join_all((1..=value.parse().unwrap()).map(one))).await?.map(|sent| sent.len()));
            }
            "--close" => { hub.take().unwrap().close(millis(value)).await?; line("closed", Some("yes")); }
            "--catalogue" => ErrorKind::ALL.iter().for_each(|kind| println!("{}: {} {} {}", kind.code(), kind.name(), kind.retryable(), kind.sentence())),
            _ => drop(set.insert(flag, value)),
        }
    }
    Ok(())
}
fn report(error: &Error) {
    let (kind, service) = (error.kind(), error.service().cloned().unwrap_or_default());
    println!("error: {}\ncode: {}\nretryable: {}\noperation: {}\ntext: {error}", kind.name(), kind.code(), error.retryable(), error.operation());
    line("service-status", service.status); line("service-code", service.error_code);
    for (name, value) in [("hint", error.hint()), ("service-message", service.message.as_deref()), ("tracking-id", service.tracking_id.as_deref())] { line(name, value); }
    line("retry-after", service.retry_after.map(|wait| wait.as_millis())); }
#[tokio::main]
async fn main() { if let Err(error) = obey(&env::args().skip(1).collect::<Vec<_>>()).await { report(&error); } }
