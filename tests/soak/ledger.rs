//! What was acknowledged against what is stored.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    time::Duration,
};

use dps_tests::cloud::Cloud;
use serde_json::Value;

use crate::weather::Weather;

const HUB: &str = "contoso-hub-2.azure-devices.net";

/// The most messages that a device sends at once.
pub(crate) const BURST: u32 = 8;

/// How long a token is good: short, so that connections are renewed in the middle of telemetry.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(3);

/// The most messages that one lost or renewed connection can leave without an acknowledgement: a
/// burst, and as many again whose senders have stopped waiting.
const IN_FLIGHT: u64 = 2 * BURST as u64;

/// The lives of a device that are kept: what a dropped client has written may be stored late.
const LIVES: usize = 3;

#[derive(Default)]
pub(crate) struct Ledger {
    accounts: HashMap<String, Account>,
    lives: u64,
    acknowledged: u64,
}

/// What the hub holds of one device.
#[derive(Default)]
struct Account {
    /// The last message that was looked at.
    sequence: i64,
    lives: BTreeMap<u64, Life>,
    first_deliveries: u64,
    repeats: u64,
    /// How often a connection can have been lost or renewed.
    renewals: u64,
}

#[derive(Default)]
struct Life {
    stored: HashSet<u32>,
    last: Option<u32>,
}

impl Ledger {
    /// Settles one life: each message that was acknowledged is stored.
    pub(crate) async fn enter(&mut self, cloud: &Cloud, weather: &Weather, report: &Value) {
        let device = report["device"].as_str().expect("a device");
        let life = report["life"].as_u64().expect("a life");
        let account = self.accounts.entry(device.to_owned()).or_default();
        if report["keyed"] == true {
            let seconds = report["seconds"].as_f64().expect("its length");
            // A connection is renewed at four fifths of its token's life.
            account.renewals += (seconds / (0.8 * TOKEN_LIFETIME.as_secs_f64())) as u64 + 1;
        }
        account.read(cloud, device).await;
        let stored = &account.lives.entry(life).or_default().stored;
        let acknowledged = report["acknowledged"].as_array().expect("numbers");
        for number in acknowledged {
            let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
            let number = number.expect("a number");
            assert!(
                stored.contains(&number),
                "{device}: message {number} of life {life} was acknowledged and is not stored"
            );
        }
        account.check(device, weather);
        while account.lives.len() > LIVES {
            account.lives.pop_first();
        }
        self.lives += 1;
        self.acknowledged += acknowledged.len() as u64;
    }

    /// Looks at what has arrived since the last reports.
    pub(crate) async fn close(&mut self, cloud: &Cloud, weather: &Weather) {
        for (device, account) in &mut self.accounts {
            account.read(cloud, device).await;
            account.check(device, weather);
        }
    }

    /// Fails if too little has happened to prove anything.
    pub(crate) fn assert_exercised(&self, devices: usize, cuts: u64) {
        assert!(self.accounts.len() == devices, "{} of {devices} devices", self.accounts.len());
        assert!(self.acknowledged > 10 * devices as u64, "only {self}");
        assert!(cuts > devices as u64, "only {cuts} cuts");
        assert!(self.repeats() > 0, "no cut was felt: {self}");
    }

    fn repeats(&self) -> u64 {
        self.accounts.values().map(|account| account.repeats).sum()
    }
}

impl Account {
    async fn read(&mut self, cloud: &Cloud, device: &str) {
        for message in cloud.feed_after(HUB, device, self.sequence).await {
            let sequence = message["sequence"].as_i64().expect("a sequence number");
            assert_eq!(sequence, self.sequence + 1, "{device}: the hub has dropped messages");
            self.sequence = sequence;
            self.take(device, &message);
        }
    }

    fn take(&mut self, device: &str, message: &Value) {
        let body = message["body"].as_str().expect("a text");
        let mut parts = body.split(':');
        let (life, number) = (parts.next(), parts.next());
        let life: u64 = life.and_then(|life| life.parse().ok()).expect("a life");
        let number: u32 = number.and_then(|number| number.parse().ok()).expect("a number");
        let known = self.lives.entry(life).or_default();
        if known.stored.insert(number) {
            assert!(
                known.last < Some(number),
                "{device}: message {number} of life {life} was first delivered after {:?}",
                known.last
            );
            known.last = Some(number);
            self.first_deliveries += 1;
        } else {
            assert_eq!(
                message["dup"], true,
                "{device}: message {number} of life {life} was repeated without DUP"
            );
            self.repeats += 1;
        }
    }

    /// QoS 1 allows a repeat of what was under way when a connection went, and no more.
    fn check(&self, device: &str, weather: &Weather) {
        let most = (weather.cuts_of(device) + self.renewals) * IN_FLIGHT;
        assert!(self.repeats <= most, "{device}: {} repeats, at most {most}", self.repeats);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: u64 = self.accounts.values().map(|account| account.first_deliveries).sum();
        write!(
            f,
            "{} lives, {} messages acknowledged, {first} stored, {} repeats",
            self.lives,
            self.acknowledged,
            self.repeats()
        )
    }
}
