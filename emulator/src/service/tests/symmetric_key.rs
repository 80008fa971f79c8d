//! Devices without a certificate.

use super::*;
use crate::sas::derived_key;
use crate::sas::testing::{raw_token, token};

const SCOPE: &str = "0ne00000A0A";
const REFUSED: (u16, Option<u64>, Option<&str>) = (401, Some(401_002), Some("Unauthorized"));

/// Some 32 bytes in base64.
fn key(seed: u8) -> String {
    STANDARD.encode([seed; 32])
}

fn bytes(key: &str) -> Vec<u8> {
    STANDARD.decode(key).expect("base64")
}

fn derived(group_key: &str, id: &str) -> String {
    derived_key(group_key, id).expect("key")
}

fn call(id: &str, sas: String) -> DeviceCall {
    let mut call = device_call(id, Vec::new(), "");
    call.sas = Some(sas);
    call
}

/// A bench with an hour's worth of tokens.
struct Keyed(Bench);

impl Keyed {
    fn new() -> Self {
        Self(Bench::new())
    }

    /// Creates or replaces an enrollment with these keys.
    async fn enroll(&self, kind: &str, id: &str, keys: [&str; 2], status: &str) {
        let path = format!("/{kind}/{id}");
        let keys = json!({ "primaryKey": keys[0], "secondaryKey": keys[1] });
        let body = json!({
            "attestation": { "type": "symmetricKey", "symmetricKey": keys },
            "provisioningStatus": status,
        });
        let present = self.0.call("GET", &path, Value::Null).await.status == 200;
        let told = if present {
            self.0.call_if("*", "PUT", &path, body).await
        } else {
            self.0.call("PUT", &path, body).await
        };
        assert_eq!(told.status, 200, "{}", told.body);
    }

    fn expiry(&self) -> i64 {
        self.0.service.now().unix_timestamp() + 3600
    }

    fn token(&self, id: &str, key: &str) -> String {
        let resource = format!("{SCOPE}/registrations/{id}");
        token(&resource, &bytes(key), self.expiry(), "registration")
    }

    async fn register(&self, id: &str, key: &str) -> Reply {
        self.0.service.register(call(id, self.token(id, key))).await
    }

    /// Registers and polls, each time with a token of its own.
    async fn finish(&self, id: &str, key: &str) -> Reply {
        let reply = self.register(id, key).await;
        assert_eq!(reply.status, 202, "{}", reply.body);
        let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
        self.0.service.operation_status(call(id, self.token(id, key)), &operation).await
    }

    async fn status(&self, id: &str, key: &str) -> String {
        let reply = self.finish(id, key).await;
        reply.body["status"].as_str().expect("status").to_owned()
    }
}

#[tokio::test]
async fn an_individual_device_is_assigned_and_its_hub_knows_its_keys() {
    let bench = Keyed::new();
    let keys = [key(1), key(2)];
    bench.enroll("enrollments", "meter-1", [&keys[0], &keys[1]], "enabled").await;
    for key in &keys {
        let reply = bench.finish("meter-1", key).await;
        let state = &reply.body["registrationState"];
        assert_eq!((reply.status, &state["status"]), (200, &json!("assigned")));
        assert_eq!((&state["assignedHub"], &state["deviceId"]), (&json!(HUB), &json!("meter-1")));
        // Absent in the recorded answer.
        assert!(state.get("x509").is_none() && state.get("symmetricKey").is_none(), "{state}");
    }
    let device = bench.0.call("GET", "/devices/meter-1", Value::Null).await.body;
    let expected = json!({ "primaryKey": keys[0], "secondaryKey": keys[1] });
    assert_eq!(device["authentication"]["type"], "sas");
    assert_eq!(device["authentication"]["symmetricKey"], expected);
    let lookup = call("meter-1", bench.token("meter-1", &keys[1]));
    let lookup = bench.0.service.registration_lookup(lookup).await;
    assert_eq!((lookup.status, &lookup.body["assignedHub"]), (200, &json!(HUB)));
}

#[tokio::test]
async fn a_groups_device_is_let_in_by_either_derived_key_but_not_by_the_groups_own() {
    let bench = Keyed::new();
    let (primary, secondary) = (key(1), key(2));
    bench.enroll("enrollmentGroups", "other", [&key(8), &key(9)], "enabled").await;
    bench.enroll("enrollmentGroups", "meters", [&primary, &secondary], "enabled").await;
    for group_key in [&primary, &secondary] {
        assert_eq!(bench.status("meter-1", &derived(group_key, "meter-1")).await, "assigned");
        assert_eq!(refusal(&bench.register("meter-1", group_key).await), REFUSED);
    }
    let device = bench.0.call("GET", "/devices/meter-1", Value::Null).await.body;
    let expected = json!({
        "primaryKey": derived(&primary, "meter-1"),
        "secondaryKey": derived(&secondary, "meter-1"),
    });
    assert_eq!(device["authentication"]["symmetricKey"], expected);
    let records = bench.0.call("POST", "/registrations/meters/query", Value::Null).await.body;
    assert_eq!(records.as_array().map(Vec::len), Some(1));

    // The key of a sister, and of the same name in another letter case.
    for other in ["meter-2", "METER-1"] {
        let other = derived(&primary, other);
        assert_eq!(refusal(&bench.register("meter-1", &other).await), REFUSED);
    }
}

#[tokio::test]
async fn every_sdks_form_of_a_token_is_taken_and_others_are_not() {
    let bench = Keyed::new();
    bench.enroll("enrollments", "meter-1", [&key(1), &key(2)], "enabled").await;
    let (good, expiry) = (bytes(&key(1)), bench.expiry());
    let answer = async |sas: String| {
        let reply = bench.0.service.register(call("meter-1", sas)).await;
        if reply.status == 202 { Ok(()) } else { Err(refusal(&reply) == REFUSED) }
    };
    for resource in [
        // Python; C, whose escapes are in lower case; Node; and a letter case of one's own.
        "0ne00000A0A%2Fregistrations%2Fmeter-1",
        "0ne00000A0A%2fregistrations%2fmeter-1",
        "0ne00000A0A/registrations/meter-1",
        "0NE00000a0a/Registrations/METER-1",
    ] {
        let token = raw_token(resource, &good, expiry);
        assert_eq!(answer(token.clone()).await, Ok(()), "{resource}");
        assert_eq!(answer(format!("{token}&skn=registration")).await, Ok(()), "{resource}");
        let moved = token.replacen("SharedAccessSignature ", "SharedAccessSignature skn=&", 1);
        assert_eq!(answer(moved).await, Ok(()), "{resource}");
        assert_eq!(answer(format!("{token}&skn=provisioningserviceowner")).await, Err(true));
    }
    let own = "0ne00000A0A%2Fregistrations%2Fmeter-1";
    for bad in [
        String::new(),
        "meter-1".to_owned(),
        raw_token(own, &bytes(&key(3)), expiry),
        raw_token(own, &good, expiry - 3600),
        raw_token("0ne00000A0A%2Fregistrations%2Fmeter-2", &good, expiry),
        raw_token("0ne00ANOTHER%2Fregistrations%2Fmeter-1", &good, expiry),
        // The spelling that is sent is the one that is signed.
        raw_token(own, &good, expiry).replace("%2F", "%2f"),
        raw_token(own, &good, expiry).replace("se=", "se=1"),
    ] {
        assert_eq!(answer(bad.clone()).await, Err(true), "{bad}");
    }
}

#[tokio::test]
async fn a_token_is_judged_by_the_clock_with_each_request() {
    let bench = Keyed::new();
    bench.enroll("enrollments", "meter-1", [&key(1), &key(2)], "enabled").await;
    let token = bench.token("meter-1", &key(1));
    let reply = bench.0.service.register(call("meter-1", token.clone())).await;
    let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
    let poll = async |sas: &str, id: &str| {
        let call = call(id, sas.to_owned());
        bench.0.service.operation_status(call, &operation).await
    };
    bench.0.service.set_clock_skew(3601);
    assert_eq!(refusal(&poll(&token, "meter-1").await), REFUSED);
    let reply = bench.0.service.register(call("meter-1", token.clone())).await;
    assert_eq!(refusal(&reply), REFUSED);
    let fresh = bench.token("meter-1", &key(2));
    assert_eq!(poll(&fresh, "meter-1").await.status, 200);
    bench.0.service.set_clock_skew(0);
    assert_eq!(poll(&token, "meter-1").await.status, 200);

    // Nobody else is told, by whichever proof.
    assert_eq!(refusal(&poll(&bench.token("meter-1", &key(3)), "meter-1").await), REFUSED);
    bench.enroll("enrollments", "meter-2", [&key(1), &key(2)], "enabled").await;
    assert_eq!(poll(&bench.token("meter-2", &key(1)), "meter-2").await.status, 404);
    let chain = vec![leaf("meter-1").self_signed().der];
    assert_eq!(refusal(&bench.0.poll("meter-1", chain, &operation).await), REFUSED);
}

#[tokio::test]
async fn an_individual_enrollment_comes_before_a_group_and_bars_even_when_disabled() {
    let bench = Keyed::new();
    let (group, own) = (key(1), key(3));
    bench.enroll("enrollmentGroups", "meters", [&group, &key(2)], "enabled").await;
    let from_group = derived(&group, "meter-1");

    bench.enroll("enrollments", "meter-1", [&own, &key(4)], "enabled").await;
    assert_eq!(refusal(&bench.register("meter-1", &from_group).await), REFUSED);
    assert_eq!(bench.status("meter-1", &own).await, "assigned");

    bench.enroll("enrollments", "meter-1", [&own, &key(4)], "disabled").await;
    assert_eq!(bench.status("meter-1", &own).await, "disabled");
    assert_eq!(bench.status("meter-1", &from_group).await, "disabled");
    // Its sister is let in, and a stranger is told nothing.
    assert_eq!(bench.status("meter-2", &derived(&group, "meter-2")).await, "assigned");
    assert_eq!(refusal(&bench.register("meter-1", &key(7)).await), REFUSED);

    // An entry without any key bars as well.
    let disabled = json!({ "provisioningStatus": "disabled" });
    bench.0.enroll("enrollments", "meter-3", json!({}), disabled).await;
    assert_eq!(bench.status("meter-3", &derived(&group, "meter-3")).await, "disabled");

    assert_eq!(bench.0.call("DELETE", "/enrollments/meter-1", Value::Null).await.status, 204);
    assert_eq!(bench.status("meter-1", &from_group).await, "assigned");
}

#[tokio::test]
async fn a_disabled_group_tells_its_own_devices_and_leaves_the_rest_to_the_others() {
    let bench = Keyed::new();
    let keys = [&*key(1), &*key(2)];
    bench.enroll("enrollmentGroups", "meters", keys, "disabled").await;
    let own = derived(keys[0], "meter-1");
    assert_eq!(bench.status("meter-1", &own).await, "disabled");
    let record = bench.0.call("GET", "/registrations/meter-1", Value::Null).await.body;
    assert_eq!(record["status"], "disabled");
    assert_eq!(bench.0.call("GET", "/devices/meter-1", Value::Null).await.status, 404);
    assert_eq!(refusal(&bench.register("meter-1", &key(7)).await), REFUSED);

    bench.enroll("enrollmentGroups", "same-keys", keys, "enabled").await;
    assert_eq!(bench.status("meter-1", &own).await, "assigned");
}
