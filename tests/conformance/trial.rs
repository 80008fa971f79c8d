//! One case in one language: the service it needs, its shim, and what came of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

use dps_emulator::{Emulator, Faults};
use dps_tests::cloud::{Cloud, group};
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep, time::timeout};

use crate::{
    case::{Case, Enrollment, Server},
    raw::Raw,
    wire::{self, Line},
    world::{HUB, Language, SCOPE, World},
};

/// How long what a shim said last may be under way after its end.
const ARRIVAL: Duration = Duration::from_secs(2);

/// What a shim printed; a name that came several times has its values joined by spaces.
type Lines = BTreeMap<String, String>;

/// What each case came to in the language that was done first.
pub(crate) type Outcomes = Mutex<BTreeMap<String, (Language, Lines)>>;

/// What listens while a trial runs.
enum Service {
    Cloud(Box<Cloud>),
    Raw(Raw),
}

/// Runs the case by this command, which is a shim without flags.
pub(crate) async fn run(
    case: &Case,
    world: &World,
    shim: std::process::Command,
) -> Result<Lines, String> {
    let service = Service::start(case, world).await;
    let outcome = service.judge(case, world, shim).await;
    if let Service::Cloud(cloud) = service {
        cloud.stop().await;
    }
    outcome
}

/// What must be the same whatever the language is.
pub(crate) fn agree(
    case: &Case,
    language: Language,
    mut lines: Lines,
    outcomes: &Outcomes,
) -> Result<(), String> {
    if case.texts_differ.is_some() {
        for name in ["text", "hint", "operation"] {
            lines.remove(name);
        }
    }
    // Times, and how often something was tried in a given time.
    if let Some(text) = lines.get_mut("text") {
        *text = text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
        *text = text.replace("{measured}", "");
    }
    if let Some(progress) = lines.get_mut("progress") {
        let mut steps: Vec<_> = progress.split(' ').collect();
        steps.sort_unstable();
        steps.dedup();
        *progress = steps.join(" ");
    }
    // The emulator makes them anew for each registration.
    for name in ["created", "last-updated", "etag"] {
        if let Some(value) = lines.get_mut(name)
            && !matches!(case.expect.get(name), Some(Some(_)))
        {
            *value = "{measured}".to_owned();
        }
    }
    let mut outcomes = outcomes.lock().expect("no trial fails with it in hand");
    let (first, reference) =
        outcomes.entry(case.name.clone()).or_insert_with(|| (language, lines.clone()));
    if *reference == lines {
        return Ok(());
    }
    let (first, ours) = (first.name(), language.name());
    Err(format!("{ours} printed\n{lines:#?}\nand {first} printed\n{reference:#?}"))
}

impl Service {
    async fn start(case: &Case, world: &World) -> Self {
        if case.server != Server::Emulator {
            return Self::Raw(Raw::start(case.server).await);
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
        Self::Cloud(Box::new(cloud))
    }

    fn address(&self) -> String {
        match self {
            Self::Cloud(cloud) => cloud.emulator().connect_to(),
            Self::Raw(raw) => raw.address.clone(),
        }
    }

    fn root_pem(&self) -> &str {
        match self {
            Self::Cloud(cloud) => cloud.emulator().root_pem(),
            Self::Raw(raw) => &raw.root_pem,
        }
    }

    fn transcript(&self) -> Vec<Line> {
        match self {
            Self::Cloud(cloud) => wire::transcript(&cloud.emulator().recorded()),
            Self::Raw(_) => Vec::new(),
        }
    }

    async fn judge(
        &self,
        case: &Case,
        world: &World,
        shim: std::process::Command,
    ) -> Result<Lines, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let roots = folder.path().join("roots.pem");
        fs::write(&roots, self.root_pem()).map_err(|error| error.to_string())?;
        let mut flags = vec!["--connect-to".to_owned(), self.address(), "--roots".to_owned()];
        flags.push(roots.to_str().expect("a path in UTF-8").to_owned());
        flags.extend(case.flags(world));
        let output = folder.path().join("output");
        let printed = self.shim_ran(case, Command::from(shim), &flags, &output).await?;
        let lines = parse(&printed, world, &self.address())?;

        let shown = format!("the shim printed\n{printed}");
        judge_lines(case, world, &lines).map_err(|what| format!("{what}; {shown}"))?;
        self.judge_wire(case, world).await.map_err(|what| format!("{what}\n{shown}"))?;
        self.judge_feed(case).await.map_err(|what| format!("{what}; {shown}"))?;
        Ok(lines)
    }

    /// Runs a shim to its end; gives what it printed.
    async fn shim_ran(
        &self,
        case: &Case,
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
                if let Some(place) = &case.cancel_at {
                    self.reached(place).await;
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
                let lines: Vec<_> = self.transcript().into_iter().map(|line| line.text).collect();
                let lines = lines.join("\n");
                let printed = text();
                let within = case.within;
                return Err(format!("the shim took longer than {within} ms:\n{lines}\n{printed}"));
            }
        };
        let printed = text();
        if output.status.code() == Some(89) {
            return Err("the shim does not implement this".to_owned());
        }
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the shim ended with {}:\n{printed}{complaint}", output.status));
        }
        Ok(printed)
    }

    /// Waits until the client has said a line that begins so, or been accepted.
    async fn reached(&self, place: &str) {
        match self {
            Self::Raw(raw) => {
                let mut accepted = raw.accepted.clone();
                let _ = accepted.wait_for(|count| *count > 0).await;
            }
            Self::Cloud(_) => {
                while !self.transcript().iter().any(|line| line.text.starts_with(place)) {
                    sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }

    async fn judge_wire(&self, case: &Case, world: &World) -> Result<(), String> {
        let Some(lines) = &case.wire else { return Ok(()) };
        let golden: Vec<_> =
            wire::golden(lines, &world.fragments).iter().map(|line| world.filled(line)).collect();
        // The last words of a shim that has ended may still be on their way.
        let start = Instant::now();
        loop {
            let outcome = wire::compare(&golden, &self.transcript());
            if outcome.is_ok() || start.elapsed() > ARRIVAL {
                return outcome;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn judge_feed(&self, case: &Case) -> Result<(), String> {
        let (Some(expected), Self::Cloud(cloud)) = (&case.feed, self) else { return Ok(()) };
        cloud.emulator().faults().clear();
        let device = case.credential.id.as_deref().unwrap_or("device-01");
        let mut bodies: Vec<String> = Vec::new();
        for message in cloud.feed(HUB, device).await {
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
    let id = case.credential.id.as_deref().unwrap_or("device-01");
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
