//! The devices. Each lives one life after the other: it registers, connects, sends numbered
//! messages, and closes its client or just drops it; then it reports which of the messages were
//! acknowledged.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use dps_core::{
    Credential, Error, ErrorKind, HubClient, Identity, ProvisioningClient, SignRequest,
    SignatureAlgorithm, Signer, SignerError, key::PrivateKey, tls::Roots, transport::Network,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, unconstrained},
    time::{sleep, timeout},
};

use crate::ledger::{BURST, TOKEN_LIFETIME};

/// How long a closing client may wait, and a registration or a connection may take: with several
/// faults in a row, a few pauses of the backoff.
const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) async fn run() {
    let mut input = input();
    report(&json!({ "ready": true }));
    let orders = input.recv().await.expect("orders");
    let orders: Value = serde_json::from_str(&orders).expect("orders in JSON");
    let (stop, stopped) = watch::channel(false);
    let mut lives = JoinSet::new();
    for (number, order) in orders["devices"].as_array().expect("devices").iter().enumerate() {
        let seed = orders["seed"].as_u64().expect("a seed").wrapping_add(number as u64);
        let device = Device::new(&orders, order, fastrand::Rng::with_seed(seed));
        lives.spawn(device.live(stopped.clone()));
    }
    input.recv().await.expect("the word to stop");
    stop.send_replace(true);
    let mut counts = Counts::default();
    while let Some(lived) = lives.join_next().await {
        counts.add(&lived.expect("a device does not panic"));
    }
    report(&json!({
        "ended": true,
        "cancelled": counts.cancelled,
        "rejected": counts.rejected,
        "gaveUp": counts.gave_up,
    }));
    // Until nobody looks at this process any more.
    assert_eq!(input.recv().await, None);
}

/// The lines of the process that watches.
fn input() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lines() {
            sender.send(line.expect("a line")).expect("somebody listens");
        }
    });
    lines
}

#[allow(clippy::print_stdout, reason = "the pipe to the process that watches")]
fn report(what: &Value) {
    println!("{what}");
}

/// What may happen and be nobody's fault.
#[derive(Default)]
struct Counts {
    /// Sends and registrations whose caller stopped waiting.
    cancelled: u64,
    /// Messages that saw three connections cut.
    rejected: u64,
    /// Registrations and connections that saw nothing but faults.
    gave_up: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.cancelled += other.cancelled;
        self.rejected += other.rejected;
        self.gave_up += other.gave_up;
    }
}

struct Device {
    name: String,
    secret: Secret,
    id_scope: String,
    network: Network,
    random: fastrand::Rng,
    counts: Counts,
}

enum Secret {
    Key { chain: String, key: String },
    GroupKey(String),
}

impl Device {
    fn new(orders: &Value, order: &Value, random: fastrand::Rng) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let secret = match order["groupKey"].as_str() {
            Some(key) => Secret::GroupKey(key.to_owned()),
            None => Secret::Key { chain: text(&order["chain"]), key: text(&order["key"]) },
        };
        Self {
            name: text(&order["name"]),
            secret,
            id_scope: text(&orders["idScope"]),
            network: Network::default()
                .connect_to(text(&orders["connectTo"]))
                .roots(Roots::pem(text(&orders["root"]))),
            random,
            counts: Counts::default(),
        }
    }

    async fn live(mut self, stopped: watch::Receiver<bool>) -> Counts {
        let mut life = 0;
        while !*stopped.borrow() {
            let identity = self.open();
            if let Some(hub) = self.arrive(&identity).await {
                self.send(hub, life, &stopped).await;
            }
            life += 1;
        }
        self.counts
    }

    /// Reads the credential anew; now and then the key is one that signs elsewhere.
    fn open(&mut self) -> Identity {
        let credential = match &self.secret {
            Secret::GroupKey(key) => Credential::group_key(&self.name, key),
            Secret::Key { chain, key } if self.random.u8(..4) == 0 => {
                let key = PrivateKey::from_pem(key.as_bytes(), None).expect("a key");
                Credential::signer(chain.as_str(), Arc::new(Elsewhere(key)))
            }
            Secret::Key { chain, key } => Credential::pem(chain.as_str(), key.as_str()),
        };
        credential.open().expect("an identity")
    }

    /// Registers and connects, unless it gives up on the way.
    async fn arrive(&mut self, identity: &Identity) -> Option<HubClient> {
        let client = ProvisioningClient::new(&self.id_scope, identity)
            .network(self.network.clone())
            .deadline(PATIENCE);
        let registering = client.register();
        let registered = if self.random.u8(..10) == 0 {
            match timeout(Duration::from_millis(self.random.u64(..60)), registering).await {
                Ok(registered) => registered,
                Err(_) => {
                    self.counts.cancelled += 1;
                    return None;
                }
            }
        } else {
            registering.await
        };
        let assignment = self.allowed(registered, "register")?;
        let hub = assignment.hub(identity).deadline(PATIENCE).token_lifetime(TOKEN_LIFETIME);
        let connected = hub.connect().await;
        self.allowed(connected, "connect")
    }

    /// Faults that never end may be given up on; nothing else may go wrong.
    fn allowed<T>(&mut self, outcome: Result<T, Error>, what: &str) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) if error.retryable() => {
                self.counts.gave_up += 1;
                None
            }
            Err(error) => {
                self.violation(what, &error);
                None
            }
        }
    }

    fn violation(&self, what: &str, error: &Error) {
        report(&json!({ "violation": what, "device": self.name, "error": format!("{error:?}") }));
    }

    async fn send(&mut self, hub: HubClient, life: u64, stopped: &watch::Receiver<bool>) {
        let since = Instant::now();
        let bursts = self.random.u32(1..40);
        let closes = self.random.u8(..4) != 0;
        let mut number = 0_u32;
        let mut acknowledged = Vec::new();
        for burst in 0..bursts {
            if *stopped.borrow() {
                break;
            }
            let mut sends = JoinSet::new();
            for _ in 0..self.random.u32(1..=BURST) {
                let body = format!("{life}:{number}:{}", "x".repeat(self.random.usize(..2000)));
                let sender = hub.clone();
                // A poll that tokio's budget cuts short would leave it outside the queue.
                let mut send = Box::pin(unconstrained(async move { sender.send(body).await }));
                // Sends are admitted in the order of their first poll.
                let begun = poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx))).await;
                let leave = (self.random.u8(..20) == 0)
                    .then(|| Duration::from_millis(self.random.u64(..40)));
                let sent = number;
                sends.spawn(async move {
                    let outcome = match (begun, leave) {
                        (Poll::Ready(outcome), _) => Some(outcome),
                        (Poll::Pending, None) => Some(send.await),
                        (Poll::Pending, Some(leave)) => timeout(leave, send).await.ok(),
                    };
                    (sent, outcome)
                });
                number += 1;
            }
            if !closes && burst + 1 == bursts {
                // Dropped in the middle of it.
                break;
            }
            while let Some(sent) = sends.join_next().await {
                match sent.expect("a send does not panic") {
                    (number, Some(Ok(()))) => acknowledged.push(number),
                    (_, Some(Err(error))) if error.kind() == ErrorKind::MessageRejected => {
                        self.counts.rejected += 1;
                    }
                    (_, Some(Err(error))) => self.violation("send", &error),
                    (_, None) => self.counts.cancelled += 1,
                }
            }
            sleep(Duration::from_millis(self.random.u64(..250))).await;
        }
        if closes && let Err(error) = hub.close(PATIENCE).await {
            self.violation("close", &error);
        }
        drop(hub);
        report(&json!({
            "device": self.name,
            "life": life,
            "seconds": since.elapsed().as_secs_f64(),
            "keyed": matches!(self.secret, Secret::GroupKey(_)),
            "acknowledged": acknowledged,
        }));
    }
}

/// A key that may block, as an HSM does, so that the threads for signers are used.
struct Elsewhere(PrivateKey);

impl Signer for Elsewhere {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.0.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.0.sign(request)
    }
}
