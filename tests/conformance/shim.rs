//! The Rust shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines.
#![allow(clippy::print_stdout, missing_docs, reason = "a shim prints")]
#![cfg_attr(rustfmt, rustfmt_skip)]
mod hardware;
use std::{env, fmt::Display, fs, io, mem, pin::Pin, process::exit, sync::Arc, task::{Context, Waker}, thread, time::{Duration, UNIX_EPOCH}};
use dps_core::{error::ErrorKind, hsm, hub::HubBuilder, key::{Passphrase, PrivateKey}, tls::Roots, transport::Network, *};
use futures_util::future::try_join_all;
use hardware::{Given, Hsm, Token};

const SETTINGS: &[&str] = &["--host", "--registration-id", "--api-version", "--payload", "--deadline", "--keep-alive", "--token-lifetime", "--id",
    "--chain", "--key", "--passphrase", "--authorities", "--delay", "--sign-fails-at", "--hsm-fails", "--property"];
type Setter = fn(ProvisioningClient, &str) -> ProvisioningClient;
fn line(name: &str, value: Option<impl Display>) { value.iter().for_each(|value| println!("{name}: {value}")); }
fn millis(text: &str) -> Duration { Duration::from_millis(text.parse().unwrap()) }
/// What the work gives; nothing where it is to be cancelled at the end of the input, and was.
async fn or_cancelled<T>(cancels: bool, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    if !cancels { return work.await.map(Some); }
    thread::spawn(|| { let _ = io::copy(&mut io::stdin(), &mut io::sink()); tell.send(()) });
    tokio::select! { done = work => done.map(Some), _ = told => { line("cancelled", Some("yes")); Ok(None) } } }
fn credential(form: &str, given: &Given<'_>) -> Result<Identity> {
    let get = |name: &str| given.get(name).copied();
    let (text, file) = (|name| get(name).unwrap_or_default(), |name| fs::read(get(name).unwrap()).unwrap());
    let credential = match form {
        "pem-files" => Credential::pem_files(text("--chain"), text("--key")), "pem" => Credential::pem(file("--chain"), file("--key")),
        "pkcs12-file" => Credential::pkcs12_file(text("--chain")), "pkcs12" => Credential::pkcs12(file("--chain")),
        "symmetric-key" => Credential::symmetric_key(text("--id"), text("--key")), "group-key" => Credential::group_key(text("--id"), text("--key")),
        "token-signer" => Credential::token_signer(text("--id"), Arc::new(Token::new(SymmetricKey::from_base64(text("--key"))?, given))),
        "signer" => Credential::signer(file("--chain"), Arc::new(Token::new(PrivateKey::from_pem(&file("--key"), None)?, given))),
        "hsm" => return hsm::open_x509(&Hsm(given)),
        "hsm-key" => return hsm::open_symmetric_key(&Hsm(given)),
        _ => exit(89),
    };
    let credential = get("--passphrase").map(Passphrase::new).into_iter().fold(credential, Credential::passphrase);
    get("--authorities").into_iter().fold(credential, |it, path| it.authorities(fs::read(path).unwrap())).open() }
fn assigned(it: &Assignment) {
    for (name, value) in [("hub", Some(it.assigned_hub())), ("device-id", Some(it.device_id())), ("registration-id", Some(it.registration_id())),
        ("created", it.created()), ("last-updated", it.last_updated()), ("etag", it.etag()),
        ("substatus", it.substatus().map(|it| it.as_str()))] { line(name, value); }
    line("payload", it.payload());
    line("unknown", Some(serde_json::Value::from(it.unknown_fields().clone())).filter(|it| it != &serde_json::json!({}))); }
async fn obey(words: &[String]) -> Result<()> {
    let (mut network, mut identity, mut assignment, mut hub) = (Network::default(), None, None::<Assignment>, None::<HubClient>);
    let (mut given, mut message, mut cancels, mut under_way) = (Given::new(), Message::default(), false, Vec::new());
    for pair in words.chunks_exact(2) {
        let (flag, value) = (pair[0].as_str(), pair[1].as_str());
        let get = |name| given.get(name).copied();
        match flag {
            "--cancel" => cancels = true, "--connect-to" => network = network.connect_to(value),
            "--roots" => network = network.roots(Roots::pem(fs::read(value).unwrap())),
            "--credential" => identity = Some(credential(value, &given)?),
            "--register" => {
                let tell = |step| println!("progress: {}", format!("{step:?}").to_lowercase());
                let mut client = ProvisioningClient::new(value, identity.as_ref().unwrap()).network(network.clone()).on_progress(tell);
                for (name, set) in [("--host", (|it, text| it.host(text)) as Setter), ("--registration-id", |it, text| it.registration_id(text)),
                    ("--api-version", |it, text| it.api_version(text)), ("--deadline", |it, text| it.deadline(millis(text))),
                    ("--payload", |it, json| it.payload(serde_json::from_str(json).unwrap()))] { client = get(name).into_iter().fold(client, set); }
                assignment = or_cancelled(mem::take(&mut cancels), client.register()).await?;
                assignment.iter().for_each(assigned);
            }
            "--connect" | "--connection-string" => {
                let parsed = (flag == "--connection-string").then(|| ConnectionString::parse(value)).transpose()?;
                if let Some(it) = &parsed { identity = it.identity()?.or(identity); }
                let assigned = assignment.as_ref().map(|it| (it.assigned_hub(), it.device_id()));
                let named = parsed.as_ref().map(|it| (it.host(), it.device_id())).or(value.split_once('/'));
                let (host, device) = named.or(assigned).unwrap();
                let mut builder = HubClient::builder(host, device, identity.as_ref().unwrap()).network(network.clone());
                builder = get("--deadline").map(millis).into_iter().fold(builder, HubBuilder::deadline);
                builder = get("--keep-alive").map(millis).into_iter().fold(builder, HubBuilder::keep_alive);
                builder = get("--token-lifetime").map(millis).into_iter().fold(builder, HubBuilder::token_lifetime);
                hub = or_cancelled(mem::take(&mut cancels), builder.connect()).await?;
            }
            "--body" => message = Message::from(value), "--size" => message = Message::new(vec![b'x'; value.parse().unwrap()]),
            "--system" => { let [mid, cid, uid, kind, coding, out, expires] = value.split(',').collect::<Vec<_>>().try_into().unwrap();
                message = message.message_id(mid).correlation_id(cid).user_id(uid).content_type(kind).content_encoding(coding).output_name(out);
                message = message.expires_at(UNIX_EPOCH + 1000 * millis(expires)).security_message(); }
            "--value" => message = message.property(given["--property"], value),
            "--send" => {
                let one = |n: u32| hub.as_ref().unwrap().send(if value == "1" { message.clone() } else { n.to_string().into() });
                line("sent", or_cancelled(mem::take(&mut cancels), try_join_all((1..=value.parse().unwrap()).map(one))).await?.map(|sent| sent.len()));
            }
            "--submit" => {
                let (hub, message) = (hub.clone().unwrap(), message.clone());
                under_way.push(Box::pin(async move { hub.send(message).await }) as Pin<Box<dyn Future<Output = _>>>);
                let _ = under_way.last_mut().unwrap().as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            "--close" => line("closed", or_cancelled(mem::take(&mut cancels), hub.take().unwrap().close(millis(value))).await?.map(|()| "yes")),
            "--catalogue" => ErrorKind::ALL.iter().for_each(|it| println!("{}: {} {} {}", it.code(), it.name(), it.retryable(), it.sentence())),
            _ if SETTINGS.contains(&flag) => drop(given.insert(flag, value)), _ => exit(89),
        }
    }
    Ok(()) }
fn report(error: &Error) {
    let (kind, service) = (error.kind(), error.service().cloned().unwrap_or_default());
    println!("error: {}\ncode: {}\nretryable: {}\noperation: {}\ntext: {error}", kind.name(), kind.code(), error.retryable(), error.operation());
    line("service-status", service.status); line("service-code", service.error_code);
    line("hint", error.hint()); line("service-message", service.message); line("tracking-id", service.tracking_id);
    line("retry-after", service.retry_after.map(|wait| wait.as_millis())); }
#[tokio::main]
async fn main() { if let Err(error) = obey(&env::args().skip(1).collect::<Vec<_>>()).await { report(&error); } }
