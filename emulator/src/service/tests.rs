//! What devices are told, on chains in the tutorial's shape.

mod symmetric_key;

use serde_json::{Value, json};

use super::hub::HubRefusal;
use super::*;
use crate::manage::testing::{Bench, HUB, device_call, peer, settings};
use crate::x509::testing::{Made, ca, family, leaf};
use crate::x509::upper_hex;

fn thumbprint(made: &Made) -> String {
    upper_hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &made.der).as_ref())
}

fn refusal(reply: &Reply) -> (u16, Option<u64>, Option<&str>) {
    (reply.status, reply.body["errorCode"].as_u64(), reply.body["message"].as_str())
}

fn is_operation_id(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(3, '.').collect();
    let [digit, hex, guid] = parts.as_slice() else { return false };
    *digit == "4"
        && hex.len() == 16
        && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        && uuid::Uuid::parse_str(guid).is_ok()
}

#[tokio::test]
async fn the_tutorials_device_is_assigned_in_the_recorded_rhythm() {
    let bench = Bench::new();
    let made = family("device-01");
    let twin = json!({ "tags": { "environment": "production" },
                       "properties": { "desired": { "telemetryInterval": 60 } } });
    bench.tutorial(&made, json!({ "initialTwin": twin })).await;

    let reply = bench.register("device-01", made.chain()).await;
    assert_eq!((reply.status, reply.retry_after), (202, Some(3)));
    assert_eq!(reply.body["status"], "assigning");
    assert!(reply.body.get("registrationState").is_none());
    let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
    assert!(is_operation_id(&operation), "{operation}");

    let reply = bench.poll("device-01", made.chain(), &operation).await;
    assert_eq!((reply.status, reply.retry_after), (200, None));
    let state = &reply.body["registrationState"];
    assert_eq!(reply.body["status"], "assigned");
    for (field, expected) in [
        ("registrationId", "device-01"),
        ("assignedHub", HUB),
        ("deviceId", "device-01"),
        ("status", "assigned"),
        ("substatus", "initialAssignment"),
    ] {
        assert_eq!(state[field], expected);
    }
    assert_eq!(state["x509"], json!({}));
    for field in ["createdDateTimeUtc", "lastUpdatedDateTimeUtc"] {
        let date = state[field].as_str().expect("date");
        assert!(date.len() == 28 && date.ends_with('Z'), "{date}");
    }
    // An answer that was lost may be asked for again.
    let again = bench.poll("device-01", made.chain(), &operation).await;
    assert_eq!(again.body, reply.body);

    let record = bench.call("GET", "/registrations/device-01", Value::Null).await.body;
    assert_eq!(record["assignedHub"], HUB);
    let device = bench.call("GET", "/devices/device-01", Value::Null).await.body;
    assert_eq!(device["status"], "enabled");
    assert_eq!(device["authentication"]["type"], "selfSigned");
    for place in ["primaryThumbprint", "secondaryThumbprint"] {
        assert_eq!(device["authentication"]["x509Thumbprint"][place], thumbprint(&made.leaf));
    }
    let twin = bench.call("GET", "/twins/device-01", Value::Null).await.body;
    assert_eq!(twin["tags"], json!({ "environment": "production" }));
    assert_eq!(twin["properties"]["desired"]["telemetryInterval"], 60);

    let lookup = bench.service.registration_lookup(device_call("device-01", made.chain(), ""));
    assert_eq!(lookup.await.body["assignedHub"], HUB);
}

#[tokio::test]
async fn polls_are_as_many_as_asked_for() {
    for polls in [0, 3] {
        let bench = Bench::with(&Settings { polls, retry_after: 7, ..settings() });
        let made = family("device-01");
        bench.tutorial(&made, json!({})).await;
        let mut reply = bench.register("device-01", made.chain()).await;
        let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
        let mut asked = 0;
        while reply.status == 202 {
            assert_eq!(reply.retry_after, Some(7));
            reply = bench.poll("device-01", made.chain(), &operation).await;
            asked += 1;
            if reply.status == 202 {
                assert_eq!(reply.body["registrationState"]["registrationId"], "device-01");
            }
        }
        assert_eq!(asked, polls);
        assert_eq!(reply.body["status"], "assigned");
    }
}

#[tokio::test]
async fn each_fault_of_a_chain_has_the_services_words() {
    let made = family("device-01");
    let (leaf_der, intermediate, root) =
        (made.leaf.der.clone(), made.intermediate.der.clone(), made.root.der.clone());
    let bench = Bench::new();
    let told = async |presented: &[&Vec<u8>]| {
        let presented = presented.iter().map(|der| (*der).clone()).collect();
        let reply = bench.register("device-01", presented).await;
        assert_eq!((reply.status, reply.retry_after), (401, None));
        assert_eq!(reply.body["errorCode"], 401_002);
        assert!(reply.body["trackingId"].is_string() && reply.body["timestampUtc"].is_string());
        reply.body["message"].as_str().expect("message").to_owned()
    };
    let whole = [&leaf_der, &intermediate, &root];

    assert_eq!(told(&whole).await, "CA certificate not found.", "nothing uploaded");
    bench.upload("root", &made.root, false).await;
    let signing = "Signing certificate info did not match chain elements";
    assert_eq!(told(&whole).await, signing, "no group");
    bench.group("my-device-group", &made.intermediate, json!({})).await;
    assert_eq!(told(&whole).await, "Invalid certificate.", "root not verified");
    let etag = bench
        .call("GET", &format!("{}/root", crate::manage::testing::CERTIFICATES), Value::Null)
        .await
        .body["etag"]
        .as_str()
        .expect("etag")
        .to_owned();
    let body = json!({ "certificate": made.root.pem, "isVerified": true });
    let path = format!("{}/root", crate::manage::testing::CERTIFICATES);
    assert_eq!(bench.call_if(&etag, "PUT", &path, body).await.status, 200);
    assert_eq!(bench.register("device-01", made.chain()).await.status, 202);

    assert_eq!(told(&[&leaf_der]).await, "CA certificate not found.", "leaf only");
    assert_eq!(told(&[&leaf_der, &root]).await, "CA certificate not found.", "a gap");
    assert_eq!(
        told(&[&leaf_der, &intermediate]).await,
        "CA certificate not found.",
        "not up to a verified certificate"
    );
    let sister = ca("Sister").signed_by(&made.root);
    let cousin = leaf("device-01").signed_by(&sister);
    assert_eq!(told(&[&cousin.der, &sister.der, &root]).await, signing, "another intermediate");
    let impostor = ca("Intermediate").signed_by(&made.root);
    let forged = leaf("device-01").signed_by(&impostor);
    assert_eq!(told(&[&forged.der, &intermediate, &root]).await, "Invalid certificate.");
    assert_eq!(told(&[&b"not a certificate".to_vec()]).await, "Invalid certificate.");
    assert_eq!(told(&[]).await, "Unauthorized", "neither certificate nor token");
    let other = leaf("device-02").signed_by(&made.intermediate);
    assert_eq!(told(&[&other.der, &intermediate, &root]).await, "Unauthorized", "another name");

    bench.service.set_clock_skew(31 * 24 * 3600);
    assert_eq!(told(&whole).await, "Invalid certificate.", "expired");
    bench.service.set_clock_skew(-2 * 24 * 3600);
    assert_eq!(told(&whole).await, "Invalid certificate.", "not valid yet");
    for absurd in [i64::MIN, i64::MAX] {
        bench.service.set_clock_skew(absurd);
        assert_eq!(told(&whole).await, "Invalid certificate.");
    }
    bench.service.set_clock_skew(0);
    assert_eq!(bench.register("DEVICE-01", made.chain()).await.status, 202, "letter case");
}

#[tokio::test]
async fn an_unknown_scope_and_a_token_are_refused_as_unauthorized() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let mut call = device_call("device-01", made.chain(), "");
    call.id_scope = "0ne00ANOTHER".to_owned();
    assert_eq!(
        refusal(&bench.service.register(call).await),
        (401, Some(401_002), Some("Unauthorized"))
    );
    let mut call = device_call("device-01", Vec::new(), "");
    call.sas = Some("SharedAccessSignature sr=a&sig=AAAA&se=1".to_owned());
    assert_eq!(
        refusal(&bench.service.register(call).await),
        (401, Some(401_002), Some("Unauthorized"))
    );
}

#[tokio::test]
async fn a_group_that_names_an_uploaded_certificate_stands_or_falls_with_it() {
    for verified in [true, false] {
        let bench = Bench::new();
        let made = family("device-01");
        bench.upload("root", &made.root, true).await;
        bench.upload("my-intermediate-ca", &made.intermediate, verified).await;
        let x509 = json!({ "caReferences": { "primary": "my-intermediate-ca" } });
        bench.enroll("enrollmentGroups", "my-device-group", x509, json!({})).await;
        let presented = vec![made.leaf.der.clone(), made.intermediate.der.clone()];
        let reply = bench.register("device-01", presented).await;
        if verified {
            assert_eq!(reply.status, 202);
        } else {
            let told = refusal(&reply);
            assert_eq!(told, (401, Some(401_002), Some("Invalid certificate.")));
        }
    }
}

#[tokio::test]
async fn a_disabled_group_answers_disabled_and_leaves_a_record() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({ "provisioningStatus": "disabled" })).await;
    let first = bench.register("device-01", made.chain()).await;
    assert_eq!((first.status, first.body["status"].as_str()), (202, Some("assigning")));
    let reply = bench.finish("device-01", made.chain()).await;
    assert_eq!((reply.status, reply.body["status"].as_str()), (200, Some("disabled")));
    assert_eq!(reply.body["registrationState"]["status"], "disabled");
    let record = bench.call("GET", "/registrations/device-01", Value::Null).await;
    assert_eq!((record.status, record.body["status"].as_str()), (200, Some("disabled")));
    assert_eq!(bench.call("GET", "/devices/device-01", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_disabled_individual_enrollment_blocks_one_device_of_its_group() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let disabled = json!({ "provisioningStatus": "disabled" });
    bench.enroll("enrollments", "device-01", json!({}), disabled).await;
    let reply = bench.finish("device-01", made.chain()).await;
    assert_eq!(reply.body["status"], "disabled");
    let sister = leaf("device-02").signed_by(&made.intermediate);
    let chain = vec![sister.der, made.intermediate.der.clone(), made.root.der.clone()];
    assert_eq!(bench.finish("device-02", chain).await.body["status"], "assigned");

    // Somebody who only claims the name is told nothing and changes nothing.
    let stranger = leaf("device-01").self_signed();
    let bench = Bench::new();
    let disabled = json!({ "provisioningStatus": "disabled" });
    bench.enroll("enrollments", "device-01", json!({}), disabled).await;
    let reply = bench.register("device-01", vec![stranger.der]).await;
    assert_eq!(refusal(&reply), (401, Some(401_002), Some("CA certificate not found.")));
    assert_eq!(bench.call("GET", "/registrations/device-01", Value::Null).await.status, 404);
}

#[tokio::test]
async fn the_lowest_enrolled_certificate_decides_even_if_disabled() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.upload("root", &made.root, true).await;
    bench.group("all", &made.root, json!({})).await;
    bench.group("branch", &made.intermediate, json!({ "provisioningStatus": "disabled" })).await;
    assert_eq!(bench.finish("device-01", made.chain()).await.body["status"], "disabled");
    let direct = leaf("device-02").signed_by(&made.root);
    let reply = bench.finish("device-02", vec![direct.der, made.root.der.clone()]).await;
    assert_eq!(reply.body["status"], "assigned");
    // An individual enrollment of the leaf is lower still.
    bench.individual("device-01", &made.leaf, json!({ "deviceId": "pump-7" })).await;
    let reply = bench.finish("device-01", made.chain()).await;
    assert_eq!(reply.body["registrationState"]["deviceId"], "pump-7");
}

#[tokio::test]
async fn of_groups_that_share_a_certificate_the_first_created_decides() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.upload("root", &made.root, true).await;
    bench.group("zebra", &made.intermediate, json!({})).await;
    bench.group("aardvark", &made.intermediate, json!({})).await;
    // Updating it later does not make it younger.
    bench.group("zebra", &made.intermediate, json!({ "provisioningStatus": "enabled" })).await;
    bench.finish("device-01", made.chain()).await;
    let records = bench.call("POST", "/registrations/zebra/query", Value::Null).await.body;
    assert_eq!(records.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_self_signed_leaf_of_an_individual_enrollment_needs_no_authority() {
    let bench = Bench::new();
    let device = leaf("device-01").self_signed();
    bench.individual("device-01", &device, json!({})).await;
    let reply = bench.finish("device-01", vec![device.der.clone()]).await;
    assert_eq!(reply.body["status"], "assigned");
    bench.individual("device-09", &leaf("other").self_signed(), json!({})).await;
    let unlisted = leaf("device-09").self_signed();
    let reply = bench.register("device-09", vec![unlisted.der]).await;
    assert_eq!(refusal(&reply), (401, Some(401_002), Some("CA certificate not found.")));
}

#[tokio::test]
async fn without_a_hub_the_registration_fails_and_is_recorded() {
    let bench = Bench::with(&Settings { hubs: Vec::new(), ..settings() });
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let reply = bench.finish("device-01", made.chain()).await;
    assert_eq!((reply.status, reply.body["status"].as_str()), (200, Some("failed")));
    let state = &reply.body["registrationState"];
    assert_eq!(state["errorCode"], 400_208);
    assert!(state["errorMessage"].is_string());
    let record = bench.call("GET", "/registrations/device-01", Value::Null).await;
    assert_eq!(record.body["status"], "failed");
}

#[tokio::test]
async fn registering_again_follows_the_reprovision_policy() {
    let hubs = ["hub-a.azure-devices.net", "hub-b.azure-devices.net"];
    let [a, b] = hubs;
    let policies = [
        (json!(null), b, "deviceDataMigrated", "mine"),
        (
            json!({ "updateHubAssignment": true, "migrateDeviceData": false }),
            b,
            "deviceDataReset",
            "new",
        ),
        (
            json!({ "updateHubAssignment": false, "migrateDeviceData": false }),
            a,
            "initialAssignment",
            "mine",
        ),
    ];
    for (policy, hub, substatus, tag) in policies {
        let bench = Bench::with(&Settings { hubs: hubs.map(str::to_owned).to_vec(), ..settings() });
        let made = family("device-01");
        let on = |hub: &str, tag: &str| {
            json!({ "allocationPolicy": "static", "iotHubs": [hub], "reprovisionPolicy": policy,
                    "initialTwin": { "tags": { "whose": tag } } })
        };
        bench.tutorial(&made, on(a, "mine")).await;
        let reply = bench.finish("device-01", made.chain()).await;
        assert_eq!(reply.body["registrationState"]["assignedHub"], a);
        bench.group("my-device-group", &made.intermediate, on(b, "new")).await;
        let reply = bench.finish("device-01", made.chain()).await;
        let state = &reply.body["registrationState"];
        assert_eq!((&state["assignedHub"], &state["substatus"]), (&json!(hub), &json!(substatus)));
        for each in hubs {
            let twin = bench.call_at(each, "GET", "/twins/device-01", &[], Value::Null).await;
            if each == hub {
                assert_eq!(twin.body["tags"]["whose"], tag);
            } else {
                assert_eq!(twin.status, 404);
            }
        }
    }
}

#[tokio::test]
async fn a_device_in_another_letter_case_is_the_one_that_registered_first() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let first = bench.finish("device-01", made.chain()).await;
    let again = bench.finish("DEVICE-01", made.chain()).await;
    for field in ["registrationId", "deviceId"] {
        assert_eq!(again.body["registrationState"][field], "device-01", "{field}");
    }
    let created = |reply: &Reply| reply.body["registrationState"]["createdDateTimeUtc"].clone();
    assert_eq!(created(&again), created(&first));
    let devices = bench.call("GET", "/devices", Value::Null).await.body;
    let ids: Vec<_> = devices.as_array().unwrap().iter().map(|d| &d["deviceId"]).collect();
    assert_eq!(ids, ["device-01"]);
}

#[tokio::test]
async fn a_group_of_lowest_latency_assigns_as_a_hashed_one() {
    let hubs = ["hub-a.azure-devices.net", "hub-b.azure-devices.net"].map(str::to_owned).to_vec();
    let made = family("device-00");
    let mut told = Vec::new();
    for policy in ["hashed", "geoLatency", "geolatency"] {
        let bench = Bench::with(&Settings { hubs: hubs.clone(), polls: 0, ..settings() });
        bench.tutorial(&made, json!({ "allocationPolicy": policy })).await;
        let mut assigned = Vec::new();
        for number in 0..16 {
            let id = format!("device-{number:02}");
            let device = leaf(&id).signed_by(&made.intermediate);
            let chain = vec![device.der, made.intermediate.der.clone(), made.root.der.clone()];
            let reply = bench.finish(&id, chain).await;
            let hub = reply.body["registrationState"]["assignedHub"].as_str().map(str::to_owned);
            assigned.push(hub.expect("a hub"));
        }
        told.push(assigned);
    }
    let [hashed, others @ ..] = told.as_slice() else { panic!() };
    assert!(hubs.iter().all(|hub| hashed.contains(hub)), "{hashed:?}");
    assert!(others.iter().all(|other| other == hashed), "{told:?}");
}

#[tokio::test]
async fn a_renewed_leaf_is_known_to_the_hub_after_it_registered() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    bench.finish("device-01", made.chain()).await;
    let renewed = leaf("device-01").signed_by(&made.intermediate);
    let connects = async |der: &Vec<u8>| {
        let peer = peer(vec![der.clone()]);
        bench.service.hub_connect(&format!("{HUB}:8883"), "device-01", &peer, None).await.is_ok()
    };
    assert!(connects(&made.leaf.der).await);
    assert!(!connects(&renewed.der).await);
    let chain = vec![renewed.der.clone(), made.intermediate.der.clone(), made.root.der.clone()];
    let reply = bench.finish("device-01", chain).await;
    assert_eq!(reply.body["registrationState"]["substatus"], "initialAssignment");
    let record = bench.call("GET", "/registrations/device-01", Value::Null).await.body;
    assert_eq!(record["substatus"], "reprovisionedToInitialAssignment");
    assert!(connects(&renewed.der).await);
    assert!(!connects(&made.leaf.der).await);
}

#[tokio::test]
async fn an_operation_is_told_to_its_own_device_only() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let reply = bench.register("device-01", made.chain()).await;
    let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
    let twin = leaf("device-01").signed_by(&made.intermediate);
    let chain = vec![twin.der, made.intermediate.der.clone(), made.root.der.clone()];
    assert_eq!(bench.poll("device-01", chain, &operation).await.status, 401);
    assert_eq!(bench.poll("device-02", made.chain(), &operation).await.status, 404);
    assert_eq!(bench.poll("device-01", made.chain(), "4.0.unknown").await.status, 404);
}

#[tokio::test]
async fn every_body_clients_send_is_taken_and_others_are_named() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let status = async |body: &'static str| {
        bench.service.register(device_call("device-01", made.chain(), body)).await.status
    };
    for body in [
        "",
        " ",
        r#"{"registrationId":"device-01"}"#,
        r#"{"payload": null, "registrationId": "device-01"}"#,
        r#"{"registrationId":"device-01","payload":{"model":[1,2]}}"#,
    ] {
        assert_eq!(status(body).await, 202, "{body}");
    }
    for (body, expected) in [
        (r#"{"registrationId":"device-02"}"#, 400),
        (r#"{"registrationId":7}"#, 400),
        ("[]", 400),
        ("{", 400),
        (r#"{"csr":"MIIB"}"#, 400),
        (r#"{"tpm":{"endorsementKey":"AAAA"}}"#, 404),
    ] {
        assert_eq!(status(body).await, expected, "{body}");
    }
}

fn telemetry(payload: &[u8], properties: &[(&str, &str)]) -> Telemetry {
    let mut messages = Batch::default();
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    messages.push(properties, false, payload);
    Telemetry { hub: HUB.to_owned(), device_id: "device-01".to_owned(), messages }
}

async fn assigned(settings: &Settings) -> (Bench, crate::x509::testing::Family) {
    let bench = Bench::with(settings);
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    bench.finish("device-01", made.chain()).await;
    (bench, made)
}

#[tokio::test]
async fn telemetry_is_listed_in_order_and_its_overflow_is_counted() {
    let (bench, _) = assigned(&Settings { retention: 3, ..settings() }).await;
    let bag = [("$.mid", "m-1"), ("$.ct", "application/json"), ("alert", "")];
    bench.service.store_telemetry(telemetry(b"1", &bag)).await.expect("stored");
    let feed = "/devices/device-01/messages/events";
    let told = bench.call("GET", feed, Value::Null).await.body;
    assert_eq!((&told["retained"], &told["dropped"]), (&json!(1), &json!(0)));
    let message = &told["messages"][0];
    assert_eq!(message["properties"], json!({ "alert": "" }));
    assert_eq!(
        message["systemProperties"],
        json!({ "message-id": "m-1", "content-type": "application/json" })
    );
    for payload in [b"2".as_slice(), b"3", b"4", b"\xff\x00"] {
        bench.service.store_telemetry(telemetry(payload, &[])).await.expect("stored");
    }
    let told = bench.call("GET", feed, Value::Null).await.body;
    assert_eq!((&told["retained"], &told["dropped"]), (&json!(3), &json!(2)));
    let bodies: Vec<_> = told["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| (message["sequence"].as_i64(), message["body"].as_str()))
        .collect();
    assert_eq!(bodies, [(Some(3), Some("3")), (Some(4), Some("4")), (Some(5), None)]);
    assert_eq!(told["messages"][2]["bodyBase64"], "/wA=");
    let part = bench.call("GET", &format!("{feed}?after=3&top=1"), Value::Null).await.body;
    assert_eq!(part["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(part["messages"][0]["body"], "4");

    assert_eq!(bench.call("DELETE", "/devices/device-01", Value::Null).await.status, 204);
    let late = bench.service.store_telemetry(telemetry(b"late", &[])).await;
    assert_eq!(late, Err(StoreError::NoSuchDevice));
    assert_eq!(bench.call("GET", feed, Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_hub_lets_in_only_whom_it_knows() {
    let (bench, made) = assigned(&settings()).await;
    let with = |der: &[u8]| peer(vec![der.to_vec()]);
    let connect = async |hub: &str, device: &str, peer: Peer, sas: Option<&str>| {
        bench.service.hub_connect(hub, device, &peer, sas).await
    };
    let own = || with(&made.leaf.der);
    assert_eq!(connect(HUB, "device-01", own(), None).await, Ok(None));
    assert_eq!(
        connect("elsewhere.azure-devices.net", "device-01", own(), None).await,
        Err(HubRefusal::UnknownHub)
    );
    assert_eq!(connect(HUB, "device-02", own(), None).await, Err(HubRefusal::UnknownDevice));
    assert_eq!(
        connect(HUB, "device-01", with(&made.root.der), None).await,
        Err(HubRefusal::Thumbprint)
    );
    assert_eq!(
        connect(HUB, "device-01", peer(Vec::new()), None).await,
        Err(HubRefusal::NoCertificate)
    );
    let body = json!({ "deviceId": "device-01", "status": "disabled" });
    let path = "/devices/device-01";
    let told = bench.call_at(HUB, "PUT", path, &[("if-match", "*")], body).await;
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("disabled")));
    assert_eq!(connect(HUB, "device-01", own(), None).await, Err(HubRefusal::Disabled));

    let created = bench.call("PUT", "/devices/meter", json!({ "deviceId": "meter" })).await.body;
    let key = created["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key");
    let key = STANDARD.decode(key).expect("base64");
    let expiry = bench.service.now().unix_timestamp() + 60;
    let sas = |resource: &str| crate::sas::testing::token(resource, &key, expiry, "");
    let good = sas(&format!("{HUB}/devices/meter"));
    let other = sas(&format!("{HUB}/devices/device-01"));
    let until = OffsetDateTime::from_unix_timestamp(expiry).expect("time");
    assert_eq!(connect(HUB, "meter", peer(Vec::new()), Some(&good)).await, Ok(Some(until)));
    for bad in [None, Some(other.as_str()), Some("SharedAccessSignature nonsense")] {
        assert_eq!(connect(HUB, "meter", peer(Vec::new()), bad).await, Err(HubRefusal::BadSas));
    }
}

#[tokio::test]
async fn a_device_is_connected_until_its_last_connection_ends() {
    let (bench, made) = assigned(&settings()).await;
    let state = async || {
        let told = bench.call("GET", "/devices/device-01", Value::Null).await;
        told.body["connectionState"].as_str().map(str::to_owned)
    };
    let peer = peer(made.chain());
    for _ in 0..2 {
        bench.service.hub_connect(HUB, "device-01", &peer, None).await.expect("connected");
    }
    bench.service.hub_disconnected(HUB, "device-01").await;
    assert_eq!(state().await.as_deref(), Some("Connected"));
    bench.service.hub_disconnected(HUB, "device-01").await;
    assert_eq!(state().await.as_deref(), Some("Disconnected"));
}

#[tokio::test]
async fn what_was_answered_survives_a_death_of_the_process() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("state.db");
    let settings = Settings { data: Some(file), ..settings() };
    let made = family("device-01");
    let bench = Bench::with(&settings);
    bench.tutorial(&made, json!({})).await;
    bench.finish("device-01", made.chain()).await;
    let reply = bench.register("device-01", made.chain()).await;
    let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
    bench.service.store_telemetry(telemetry(b"kept", &[])).await.expect("stored");
    bench.service.hub_connect(HUB, "device-01", &peer(made.chain()), None).await.expect("in");
    bench.service.put_blob("root", b"key".to_vec()).await.expect("blob");
    // No close: the thread is left to end by itself, as if it had no time to tidy up.
    drop(bench);

    let changed = Settings { owner_key: "YW5vdGhlcg==".to_owned(), ..settings.clone() };
    let bench = Bench::with(&changed);
    assert_eq!(bench.service.owner_key(), settings.owner_key);
    assert_eq!(bench.service.blob("root").await, Ok(Some(b"key".to_vec())));
    let reply = bench.poll("device-01", made.chain(), &operation).await;
    assert_eq!(reply.body["status"], "assigned");
    let feed = bench.call("GET", "/devices/device-01/messages/events", Value::Null).await.body;
    assert_eq!(feed["messages"][0]["body"], "kept");
    let device = bench.call("GET", "/devices/device-01", Value::Null).await.body;
    assert_eq!(device["connectionState"], "Disconnected");
    bench.service.close().await;

    let other = Settings { id_scope: Some("0ne00ANOTHER".to_owned()), ..settings };
    let refused = Service::open(&other).err().expect("refused");
    assert!(matches!(refused, EmulatorError::InvalidSetting(_)), "{refused}");
}
