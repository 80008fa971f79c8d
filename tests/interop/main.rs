//! Microsoft's own device SDKs for Python and Node, unmodified, as clients of the emulator.
//!
//! They are installed as any user installs them, and each test has the port 8883 to itself, which
//! they cannot change: in a private network namespace where the system allows one.

mod install;
mod private_network;
mod sdk;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{RegistrationId, SymmetricKey, key::KeyType, symmetric_key::derive_device_key};
use dps_emulator::{Action, Cut, Direction, Emulator, Fault, Recorded, Role, Step, TlsVersion};
use dps_tests::{Device, Hierarchy, cloud::Cloud};
use serde_json::{Value, json};

use sdk::{Order, Outcome, Sdk};

/// The hub's name: the SDKs can be aimed at another machine only by the names they are given.
const HUB: &str = "localhost";
/// The port that both SDKs have built in.
const ADDRESS: &str = "127.0.0.1:8883";

#[tokio::test]
async fn python_provisions_and_sends() {
    private_network::run("python_provisions_and_sends", Sdk::Python, provisions_and_sends).await;
}

#[tokio::test]
async fn node_provisions_and_sends() {
    private_network::run("node_provisions_and_sends", Sdk::Node, provisions_and_sends).await;
}

#[tokio::test]
async fn python_survives_a_cut() {
    private_network::run("python_survives_a_cut", Sdk::Python, survives_a_cut).await;
}

#[tokio::test]
async fn node_survives_a_cut() {
    private_network::run("node_survives_a_cut", Sdk::Node, survives_a_cut).await;
}

#[tokio::test]
async fn python_is_told_why_it_is_refused() {
    private_network::run("python_is_told_why_it_is_refused", Sdk::Python, is_refused).await;
}

#[tokio::test]
async fn node_is_told_why_it_is_refused() {
    private_network::run("node_is_told_why_it_is_refused", Sdk::Node, is_refused).await;
}

#[tokio::test]
async fn python_asks_again_when_it_is_throttled() {
    let test = "python_asks_again_when_it_is_throttled";
    private_network::run(test, Sdk::Python, asks_again_when_throttled).await;
}

#[tokio::test]
async fn node_asks_again_when_it_is_throttled() {
    let test = "node_asks_again_when_it_is_throttled";
    private_network::run(test, Sdk::Node, asks_again_when_throttled).await;
}

#[tokio::test]
async fn python_provisions_by_a_symmetric_key() {
    let test = "python_provisions_by_a_symmetric_key";
    private_network::run(test, Sdk::Python, provisions_by_a_symmetric_key).await;
}

#[tokio::test]
async fn node_provisions_by_a_symmetric_key() {
    let test = "node_provisions_by_a_symmetric_key";
    private_network::run(test, Sdk::Node, provisions_by_a_symmetric_key).await;
}

/// An emulator on the SDKs' port, in the service's own rhythm.
async fn start() -> Cloud {
    Cloud::start_with(Emulator::builder().listen(ADDRESS).hub(HUB)).await
}

/// The tutorial's layout, root verified and intermediate in the group, with EC and with RSA keys.
async fn provisions_and_sends(sdk: Sdk) {
    let cloud = start().await;
    let [ec, rsa] = [KeyType::EcP256, KeyType::Rsa(2048)].map(Hierarchy::new);
    cloud.enroll_as("ec", &ec, true, "enabled").await;
    cloud.enroll_as("rsa", &rsa, true, "enabled").await;
    let device_ec = ec.device("device-ec");
    let device_rsa = sdk::rsa_device(&rsa, "device-rsa");
    let (chain_ec, chain_rsa) = (ec.full_chain(&device_ec), rsa.full_chain(&device_rsa));

    let (outcome_ec, outcome_rsa) = tokio::join!(
        sdk.run(&cloud, "device-ec", &chain_ec, &device_ec, Order::Parallel),
        sdk.run(&cloud, "device-rsa", &chain_rsa, &device_rsa, Order::Parallel),
    );

    for (id, device, outcome) in
        [("device-ec", &device_ec, outcome_ec), ("device-rsa", &device_rsa, outcome_rsa)]
    {
        check_registration(sdk, &cloud, id, device, &outcome).await;
        let mut sent = outcome.sent();
        sent.sort();
        let mut expected = message_ids(id, 1..=10);
        expected.sort();
        assert_eq!(sent, expected, "what the SDK was told is delivered");

        let recorded = cloud.recorded(Role::Hub, id);
        let arrived = telemetry_ids(&recorded);
        assert_eq!(acknowledged(&recorded), published(&recorded), "acknowledged in order");
        let feed = cloud.feed(HUB, id).await;
        let stored: Vec<_> = feed.iter().map(message_id).collect();
        assert_eq!(stored, arrived, "stored in the order of arrival");
        let mut once = stored.clone();
        once.sort();
        assert_eq!(once, expected, "stored once each");
        feed.iter().for_each(|message| check_message(id, message));
    }
    cloud.stop().await;
}

/// The connection is cut after the fifth message was stored, before it was acknowledged.
async fn survives_a_cut(sdk: Sdk) {
    let cloud = start().await;
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    cloud.enroll_as("group", &hierarchy, true, "enabled").await;
    let device = hierarchy.device("device-01");
    let cut = Fault::new(Step::Telemetry, Action::Cut(Cut::After)).expect("a fault");
    cloud.emulator().faults().add(cut.nth(5));

    let outcome = sdk
        .run(&cloud, "device-01", &hierarchy.full_chain(&device), &device, Order::OneByOne)
        .await;

    assert_eq!(outcome.sent(), message_ids("device-01", 1..=10));
    let handshake = (sdk.tls_version(), HUB.to_owned());
    let connections = [Role::Dps, Role::Hub, Role::Hub].map(|role| (role, handshake.clone()));
    assert_eq!(handshakes(&cloud, "device-01"), connections, "the hub twice");
    let feed = cloud.feed(HUB, "device-01").await;
    let stored: Vec<_> = feed.iter().map(message_id).collect();
    let twice = [message_ids("device-01", 1..=5), message_ids("device-01", 5..=10)].concat();
    assert_eq!(stored, twice, "the unacknowledged message came twice, and nothing out of order");
    let marked: Vec<_> =
        feed.iter().filter(|message| message["dup"] == true).map(|m| &m["sequence"]).collect();
    match sdk {
        // MQTT 3.1.1, 3.3.1.1: sent again under the same identifier.
        Sdk::Python => assert_eq!(marked, [6]),
        // mqtt.js gives the packet up, and the SDK's retry sends a new one.
        Sdk::Node => assert!(marked.is_empty(), "{marked:?}"),
    }
    cloud.stop().await;
}

/// Unverified root, missing intermediate, disabled group.
async fn is_refused(sdk: Sdk) {
    let cloud = start().await;
    let [verified, unverified, disabled] = [(); 3].map(|()| Hierarchy::new(KeyType::EcP256));
    cloud.enroll_as("verified", &verified, true, "enabled").await;
    cloud.enroll_as("unverified", &unverified, false, "enabled").await;
    cloud.enroll_as("disabled", &disabled, true, "disabled").await;
    let unverified_root = unverified.device("unverified-root");
    let leaf_only = verified.device("leaf-only");
    let disabled_group = disabled.device("disabled-group");
    let chains = [
        unverified.full_chain(&unverified_root),
        leaf_only.certificate.to_pem(),
        disabled.full_chain(&disabled_group),
    ];

    let run = |id, chain, device| sdk.run(&cloud, id, chain, device, Order::OneByOne);
    let (for_root, for_leaf, for_group) = tokio::join!(
        run("unverified-root", &chains[0], &unverified_root),
        run("leaf-only", &chains[1], &leaf_only),
        run("disabled-group", &chains[2], &disabled_group),
    );

    for (id, outcome, words) in [
        ("unverified-root", for_root, "Invalid certificate."),
        ("leaf-only", for_leaf, "CA certificate not found."),
    ] {
        let answers = dps_answers(&cloud, id);
        let [(topic, body)] = answers.as_slice() else { panic!("{id}: {answers:?}") };
        assert!(topic.starts_with("$dps/registrations/res/401/?$rid="), "{id}: {topic}");
        assert_eq!((&body["errorCode"], &body["message"]), (&json!(401_002), &json!(words)));
        match sdk {
            Sdk::Python => assert_eq!(
                outcome.errors(),
                [
                    "ClientError: Unexpected failure",
                    "ServiceError: register request returned a service error status code 401",
                ],
                "{id}"
            ),
            Sdk::Node => {
                assert_eq!(
                    outcome.errors(),
                    ["UnauthorizedError: incoming message failure"],
                    "{id}"
                );
                assert_eq!(outcome.error_code(), 401_002, "{id}");
            }
        }
        let (status, _) = cloud.registration(id).await;
        assert_eq!(status, 404, "{id} left a registration record");
    }

    let answers = dps_answers(&cloud, "disabled-group");
    let [(accepted, _), (polled, body)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(accepted.starts_with("$dps/registrations/res/202/?$rid="), "{accepted}");
    assert!(polled.starts_with("$dps/registrations/res/200/?$rid="), "{polled}");
    assert_eq!(body["status"], "disabled");
    match sdk {
        Sdk::Python => {
            let errors = for_group.errors();
            let [outer, cause] = errors.as_slice() else { panic!("{errors:?}") };
            assert_eq!(*outer, "ClientError: Unexpected failure");
            assert!(cause.starts_with("ServiceError: "), "{cause}");
            assert!(cause.contains("invalid registration status"), "{cause}");
        }
        Sdk::Node => assert_eq!(for_group.errors(), ["SyntaxError: status is disabled"]),
    }
    let (status, record) = cloud.registration("disabled-group").await;
    assert_eq!((status, &record["status"]), (200, &json!("disabled")));

    for id in ["unverified-root", "leaf-only", "disabled-group"] {
        let (status, _) = cloud.hub_device(HUB, id).await;
        assert_eq!(status, 404, "{id} came into the hub");
    }
    cloud.stop().await;
}

/// Two refusals that name no time, and one that does. The simulation's fleets of these SDKs rest on
/// this.
async fn asks_again_when_throttled(sdk: Sdk) {
    let cloud = start().await;
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    cloud.enroll_as("group", &hierarchy, true, "enabled").await;
    let throttled = |retry_after| {
        let action = Action::Status {
            code: 429,
            retry_after,
            error_code: Some(429_001),
            message: Some("Operations are being throttled for this tenant.".to_owned()),
        };
        Fault::new(Step::Register, action).expect("a fault")
    };
    let faults = vec![throttled(None).times(2), throttled(Some(4)).nth(3)];
    cloud.emulator().faults().add(faults);
    let device = hierarchy.device("device-01");

    let outcome = sdk
        .run(&cloud, "device-01", &hierarchy.full_chain(&device), &device, Order::Parallel)
        .await;

    // On one connection to DPS, as this checks.
    check_registration(sdk, &cloud, "device-01", &device, &outcome).await;
    let recorded = cloud.recorded(Role::Dps, "device-01");
    let registers = publishes(&recorded).filter(|packet| {
        packet.topic.as_ref().is_some_and(|topic| topic.contains("/PUT/iotdps-register/"))
    });
    let asked: Vec<_> = registers.map(|packet| packet.elapsed_ms).collect();
    let answers = recorded
        .iter()
        .filter(|packet| packet.topic.as_ref().is_some_and(|topic| topic.contains("/res/429/")));
    let refused: Vec<_> = answers.map(|packet| packet.elapsed_ms).collect();
    assert_eq!((asked.len(), refused.len()), (4, 3));
    for (refusal, seconds) in [2, 2, 4].into_iter().enumerate() {
        let waited = asked[refusal + 1] - refused[refusal];
        // Both times are whole milliseconds, and Node's timers too.
        assert!(waited + 5 >= seconds * 1000, "{waited} ms after refusal {}", refusal + 1);
    }
    cloud.stop().await;
}

/// A device of a group by the key that was derived for it, one with a key of its own, and one that
/// has only the group's.
async fn provisions_by_a_symmetric_key(sdk: Sdk) {
    let cloud = start().await;
    let group_key = BASE64_STANDARD.encode([1; 64]);
    let own_key = BASE64_STANDARD.encode([2; 32]);
    let keyed = |key: &str| {
        let keys = json!({ "primaryKey": key, "secondaryKey": null });
        json!({ "attestation": { "type": "symmetricKey", "symmetricKey": keys } })
    };
    cloud.put_group("meters", &keyed(&group_key)).await;
    cloud.put_enrollment("meter-own", &keyed(&own_key)).await;
    let id = RegistrationId::parse("meter-derived").expect("a registration ID");
    let derived = derive_device_key(&SymmetricKey::from_base64(&group_key).expect("a key"), &id);
    let derived = derived.to_base64();

    let run = |id, key| sdk.run_keyed(&cloud, id, key, Order::OneByOne);
    let (for_derived, for_own, for_group) = tokio::join!(
        run("meter-derived", &derived),
        run("meter-own", &own_key),
        run("meter-group", &group_key),
    );

    for (id, key, outcome) in
        [("meter-derived", derived.as_str(), for_derived), ("meter-own", &own_key, for_own)]
    {
        let registered = check_assignment(sdk, &cloud, id, &outcome).await;
        assert_eq!(registered["authentication"]["symmetricKey"]["primaryKey"], key, "{id}");
        assert_eq!(outcome.sent(), message_ids(id, 1..=10));
        let feed = cloud.feed(HUB, id).await;
        assert_eq!(feed.iter().map(message_id).collect::<Vec<_>>(), message_ids(id, 1..=10));
        feed.iter().for_each(|message| check_message(id, message));
    }

    let answers = dps_answers(&cloud, "meter-group");
    let [(topic, body)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(topic.starts_with("$dps/registrations/res/401/?$rid="), "{topic}");
    assert_eq!((&body["errorCode"], &body["message"]), (&json!(401_002), &json!("Unauthorized")));
    match sdk {
        Sdk::Python => assert_eq!(for_group.errors()[0], "ClientError: Unexpected failure"),
        Sdk::Node => assert_eq!(for_group.error_code(), 401_002),
    }
    cloud.stop().await;
}

/// What the SDK says, what DPS recorded and what the hub holds agree.
async fn check_registration(sdk: Sdk, cloud: &Cloud, id: &str, device: &Device, outcome: &Outcome) {
    let registered = check_assignment(sdk, cloud, id, outcome).await;
    let thumbprint = &registered["authentication"]["x509Thumbprint"]["primaryThumbprint"];
    assert_eq!(*thumbprint, device.certificate.sha256_thumbprint());
}

/// The same without what the device proves itself by. Returns the hub's device.
async fn check_assignment(sdk: Sdk, cloud: &Cloud, id: &str, outcome: &Outcome) -> Value {
    let said = outcome.registration();
    match sdk {
        // The lines of str(result): the fourth is the payload that no webhook gave.
        Sdk::Python => assert_eq!(said, [id, HUB, "initialAssignment", "null", "assigned"]),
        Sdk::Node => assert_eq!(said, [id, HUB, "initialAssignment", "assigned"]),
    }
    let handshake = (sdk.tls_version(), HUB.to_owned());
    let connections = [Role::Dps, Role::Hub].map(|role| (role, handshake.clone()));
    assert_eq!(handshakes(cloud, id), connections);
    let (status, record) = cloud.registration(id).await;
    assert_eq!((status, &record["status"]), (200, &json!("assigned")), "{record}");
    assert_eq!((&record["assignedHub"], &record["deviceId"]), (&json!(HUB), &json!(id)));
    let (status, registered) = cloud.hub_device(HUB, id).await;
    assert_eq!((status, &registered["status"]), (200, &json!("enabled")), "{registered}");
    registered
}

/// The TLS version and the server's name of each connection of a device.
fn handshakes(cloud: &Cloud, id: &str) -> Vec<(Role, (TlsVersion, String))> {
    let recorded = cloud.emulator().recorded().into_iter();
    recorded
        .filter(|entry| entry.packet == "CONNECT" && entry.device.as_deref() == Some(id))
        .map(|entry| {
            let role = entry.role.expect("a service");
            (role, (entry.tls.expect("a version"), entry.server_name.expect("a server's name")))
        })
        .collect()
}

/// What `message` of both client scripts made.
fn check_message(id: &str, message: &Value) {
    let sent = message_id(message);
    let number = sent.strip_prefix(&format!("{id}/")).expect("a message of this device");
    assert_eq!(
        message["systemProperties"],
        json!({
            "message-id": sent,
            "content-type": "application/json",
            "content-encoding": "utf-8",
        })
    );
    assert_eq!(message["properties"], json!({ "grad °C & %": format!("{number} = ä/b") }));
    let body = message["body"].as_str().expect("text");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["number"].to_string(), number);
}

fn message_ids(id: &str, numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| format!("{id}/{number}")).collect()
}

fn message_id(message: &Value) -> String {
    message["systemProperties"]["message-id"].as_str().expect("a message ID").to_owned()
}

/// Message IDs in the topics, in the order in which the packets came.
fn telemetry_ids(recorded: &[Recorded]) -> Vec<String> {
    let topics = publishes(recorded).filter_map(|packet| packet.topic.as_deref());
    topics
        .map(|topic| {
            let bag = topic.rsplit('/').next().expect("a property bag");
            let id = bag.split('&').find_map(|pair| pair.strip_prefix("%24.mid="));
            id.expect("a message ID").replace("%2F", "/")
        })
        .collect()
}

fn published(recorded: &[Recorded]) -> Vec<Option<u16>> {
    publishes(recorded).map(|packet| packet.packet_id).collect()
}

fn acknowledged(recorded: &[Recorded]) -> Vec<Option<u16>> {
    let acks = recorded.iter().filter(|packet| packet.packet == "PUBACK");
    acks.filter(|ack| ack.direction == Direction::Out).map(|ack| ack.packet_id).collect()
}

fn publishes(recorded: &[Recorded]) -> impl Iterator<Item = &Recorded> {
    recorded.iter().filter(|packet| packet.packet == "PUBLISH" && packet.direction == Direction::In)
}

/// Topic and body of each answer of DPS.
fn dps_answers(cloud: &Cloud, id: &str) -> Vec<(String, Value)> {
    cloud
        .recorded(Role::Dps, id)
        .into_iter()
        .filter(|packet| packet.packet == "PUBLISH" && packet.direction == Direction::Out)
        .map(|packet| {
            let body = serde_json::from_slice(&packet.payload).expect("a JSON answer");
            (packet.topic.expect("a topic"), body)
        })
        .collect()
}
