//! One case in one language: the service it needs, its shim, and what came of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use dps_emulator::{Emulator, Faults};
use dps_tests::cloud::{Cloud, group};
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep, time::timeout};

use crate::{
    case::{Case, Enrollment, Server},
    raw::Raw,
    tunnel::Tunnel,
    wire::{self, Line},
    world::{HUB, SCOPE, World},
};

/// The exit code of a shim that does not know what a case asks of it.
const NOT_IMPLEMENTED: i32 = 89;

/// What a shim printed; a name that came several times has its values joined by spaces.
pub(crate) type Lines = BTreeMap<String, String>;

/// What a case came to.
pub(crate) struct Outcome {
    pub(crate) lines: Lines,
    /// The packets of the client.
    pub(crate) wire: Vec<String>,
}

/// What listens while a trial runs.
enum Service {
    Cloud(Box<Cloud>, Tunnel),
    Raw(Raw),
}

/// Runs the case by this command, which is a shim without flags.
pub(crate) async fn run(
    case: &Case,
    world: &World,
    shim: std::process::Command,
) -> Result<Outcome, String> {
    let service = Service::start(case, world).await;
    let outcome = service.judge(case, world, shim).await;
    if let Service::Cloud(cloud, _) = service {
        cloud.stop().await;
    }
    outcome
}

/// A shim must end with 89, "not implemented", at a flag that it does not know.
pub(crate) fn refuses_unknown_flags(mut shim: std::process::Command) -> Result<(), String> {
    let output = shim.args(["--no-such-flag", "1"]).output().map_err(|error| error.to_string())?;
    match output.status.code() {
        Some(NOT_IMPLEMENTED) => Ok(()),
        _ => Err(format!("an unknown flag ended it with {}", output.status)),
    }
}

impl Service {
    async fn start(case: &Case, world: &World) -> Self {
        if case.server != Server::Emulator {
            return Self::Raw(Raw::start(case.server, &case.script).await);
        }
        let mut builder = Emulator::builder()
            .id_scope(SCOPE)
            .retry_after(case.retry_after)
            .polls(case.polls.unwrap_or(1));
        if let Some(hubs) = &case.hubs {
            builder = hubs.iter().fold(builder.no_hubs(), |builder, hub| builder.hub(hub));
        }
        let cloud = Cloud::start_with(builder).await;
        enroll(case, world, &cloud).await;
        let faults = Value::from(case.faults.clone()).to_string();
        let faults = Faults::from_json(&faults).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        cloud.emulator().faults().add(faults);
        let (address, root) = (cloud.emulator().connect_to(), cloud.emulator().root_pem());
        let tunnel = Tunnel::start(address, root, case.token_key(world).is_some()).await;
        Self::Cloud(Box::new(cloud), tunnel)
    }

    fn address(&self) -> String {
        match self {
            Self::Cloud(_, tunnel) => tunnel.address.clone(),
            Self::Raw(raw) => raw.address.clone(),
        }
    }

    fn root_pem(&self) -> &str {
        match self {
            Self::Cloud(_, tunnel) => &tunnel.root_pem,
            Self::Raw(raw) => &raw.root_pem,
        }
    }

    /// What the clients have said so far.
    fn transcript(&self, case: &Case, world: &World) -> Vec<Line> {
        let (mut lines, passwords) = match self {
            Self::Cloud(cloud, tunnel) => {
                (wire::transcript(&cloud.emulator().recorded()), tunnel.passwords())
            }
            Self::Raw(raw) => {
                let heard = raw.heard();
                (wire::transcript(&heard.0), heard.1.clone())
            }
        };
        if let Some(key) = case.token_key(world) {
            let lifetime = case.token_lifetime();
            let shown = passwords.iter().map(|password| password.shown(&key, lifetime));
            wire::tell_passwords(&mut lines, shown.collect());
        }
        lines
    }

    /// Waits until all that the shim has said has arrived.
    async fn settled(&self) {
        match self {
            Self::Cloud(_, tunnel) => tunnel.settled().await,
            Self::Raw(raw) => raw.settled().await,
        }
    }

    async fn judge(
        &self,
        case: &Case,
        world: &World,
        shim: std::process::Command,
    ) -> Result<Outcome, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let roots = folder.path().join("roots.pem");
        fs::write(&roots, self.root_pem()).map_err(|error| error.to_string())?;
        let mut flags = vec!["--connect-to".to_owned(), self.address(), "--roots".to_owned()];
        flags.push(roots.to_str().expect("a path in UTF-8").to_owned());
        flags.extend(case.flags(world));
        let output = folder.path().join("output");
        let printed = self.shim_ran(case, world, Command::from(shim), &flags, &output).await?;
        self.settled().await;
        let lines = parse(&printed, world, &self.address())?;

        let shown = format!("the shim printed\n{printed}");
        judge_lines(case, world, &lines).map_err(|what| format!("{what}; {shown}"))?;
        let transcript = self.transcript(case, world);
        if let Some(golden) = &case.wire {
            let golden = wire::golden(golden, &world.fragments);
            let golden: Vec<_> = golden.iter().map(|line| world.filled(line)).collect();
            wire::compare(&golden, &transcript).map_err(|what| format!("{what}\n{shown}"))?;
        }
        self.judge_feed(case).await.map_err(|what| format!("{what}; {shown}"))?;
        Ok(Outcome { lines, wire: transcript.into_iter().map(|line| line.text).collect() })
    }

    /// Runs a shim to its end; gives what it printed.
    async fn shim_ran(
        &self,
        case: &Case,
        world: &World,
        mut command: Command,
        flags: &[String],
        printed_to: &Path,
    ) -> Result<String, String> {
        // A file, which also has what was printed before a shim was ended.
        let text =
            || String::from_utf8_lossy(&fs::read(printed_to).unwrap_or_default()).into_owned();
        let stdout = File::create(printed_to).map_err(|error| error.to_string())?;
        for name in ["DPS_CONNECT_TO", "SSL_CERT_FILE", "DEBUG", "NODE_OPTIONS"] {
            command.env_remove(name);
        }
        let mut child = command
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the shim cannot be started: {error}"))?;
        let input = child.stdin.take();
        let ended = async {
            let waits = async {
                if !case.cancel_at.is_empty() {
                    self.reached(case, world).await;
                }
                // The end of the input is what cancels.
                drop(input);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                output = child.wait_with_output() => output,
                () = waits => unreachable!("it waits for ever"),
            }
        };
        let output = match timeout(Duration::from_millis(case.within), ended).await {
            Ok(output) => output.map_err(|error| error.to_string())?,
            Err(_) => {
                let lines = self.transcript(case, world).into_iter().map(|line| line.text);
                let lines = lines.collect::<Vec<_>>().join("\n");
                let printed = text();
                let within = case.within;
                return Err(format!("the shim took longer than {within} ms:\n{lines}\n{printed}"));
            }
        };
        let printed = text();
        if output.status.code() == Some(NOT_IMPLEMENTED) {
            return Err("the shim does not implement this".to_owned());
        }
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the shim ended with {}:\n{printed}{complaint}", output.status));
        }
        Ok(printed)
    }

    /// Waits until the client has said what the case waits for, or been accepted.
    async fn reached(&self, case: &Case, world: &World) {
        if let (Self::Raw(raw), [place]) = (self, case.cancel_at.as_slice())
            && place == "accept"
        {
            let mut accepted = raw.accepted.clone();
            let _ = accepted.wait_for(|count| *count > 0).await;
            return;
        }
        loop {
            let mut lines = self.transcript(case, world).into_iter();
            let mut places = case.cancel_at.iter();
            if places.all(|place| lines.any(|line| line.text.starts_with(place))) {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn judge_feed(&self, case: &Case) -> Result<(), String> {
        let (Some(expected), Self::Cloud(cloud, _)) = (&case.feed, self) else {
            return Ok(());
        };
        cloud.emulator().faults().clear();
        let mut bodies: Vec<String> = Vec::new();
        for message in cloud.feed(HUB, case.id()).await {
            let body = message["body"].as_str().unwrap_or_default();
            // A message may come twice; what counts is when it came first.
            if !bodies.iter().any(|other| other == body) {
                bodies.push(body.to_owned());
            }
        }
        if bodies == *expected {
            return Ok(());
        }
        Err(format!("the hub holds {bodies:?} and not {expected:?}"))
    }
}

async fn enroll(case: &Case, world: &World, cloud: &Cloud) {
    let with_terms = |mut enrollment: Value| {
        for (name, value) in &case.terms {
            enrollment[name] = value.clone();
        }
        enrollment
    };
    let hierarchy = &world.hierarchy;
    let keyed = |key: &str| {
        let keys = json!({ "primaryKey": key, "secondaryKey": key });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        with_terms(json!({ "attestation": attestation, "provisioningStatus": "enabled" }))
    };
    let id = case.id();
    let (root, intermediate) = (hierarchy.root.certificate(), &hierarchy.intermediate);
    match case.enrollment {
        Enrollment::None => {}
        Enrollment::Group | Enrollment::Unverified => {
            let verified = case.enrollment == Enrollment::Group;
            cloud.put_certificate("my-root-ca", root, verified).await;
            cloud.put_group("group", &with_terms(group(intermediate, "enabled"))).await;
        }
        Enrollment::OtherGroup => {
            cloud.put_certificate("my-root-ca", root, true).await;
            let other = group(&world.stranger.intermediate, "enabled");
            cloud.put_group("group", &with_terms(other)).await;
        }
        Enrollment::Individual => {
            let primary = json!({ "certificate": world.device.certificate.to_pem() });
            let x509 = json!({ "clientCertificates": { "primary": primary } });
            let attestation = json!({ "type": "x509", "x509": x509 });
            let enrollment = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
            cloud.put_enrollment(id, &with_terms(enrollment)).await;
        }
        Enrollment::SymmetricGroup => cloud.put_group("meters", &keyed(&world.group_key)).await,
        Enrollment::SymmetricIndividual => cloud.put_enrollment(id, &keyed(&world.key)).await,
    }
}

fn parse(printed: &str, world: &World, address: &str) -> Result<Lines, String> {
    let mut lines = Lines::new();
    for line in printed.lines() {
        let (name, value) =
            line.split_once(": ").ok_or_else(|| format!("{line:?} is no `name: value`"))?;
        let value = world.leveled(value, address);
        match lines.get_mut(name) {
            Some(values) => {
                values.push(' ');
                values.push_str(&value);
            }
            None => {
                lines.insert(name.to_owned(), value);
            }
        }
    }
    Ok(lines)
}

fn judge_lines(case: &Case, world: &World, lines: &Lines) -> Result<(), String> {
    for (name, expected) in &case.expect {
        match (expected, lines.get(name)) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("{name:?} was to be absent")),
            (Some(expected), None) => return Err(format!("{name:?} was to be {expected:?}")),
            (Some(expected), Some(value)) if !expected.fits(value, world) => {
                return Err(format!("{name:?} was to be {expected:?}"));
            }
            (Some(_), Some(_)) => {}
        }
    }
    let Some(error) = lines.get("error") else { return Ok(()) };
    if !case.expect.contains_key("error") {
        return Err("no error was expected".to_owned());
    }
    let kind = world.kinds.iter().find(|kind| kind.name == *error);
    let kind = kind.ok_or_else(|| format!("errors.json knows no {error}"))?;
    let value = |name: &str| lines.get(name).map(String::as_str).unwrap_or_default();
    if value("code") != kind.code.to_string() || value("retryable") != kind.retryable.to_string() {
        return Err(format!("code and retryable are not those of {error} in errors.json"));
    }
    Ok(())
}
