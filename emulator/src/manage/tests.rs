//! The REST API as its clients see it.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::testing::{Bench, CERTIFICATES, DPS_HOST, HUB, settings};
use crate::sas::testing::token;
use crate::settings::Settings;
use crate::x509::testing::{ca, family, leaf};

const GROUP: &str = "/enrollmentGroups/my-device-group";

fn etag(body: &Value) -> String {
    body["etag"].as_str().expect("etag").to_owned()
}

#[tokio::test]
async fn a_call_needs_a_token_for_this_host_of_the_right_policy() {
    let bench = Bench::new();
    let key = bench.service.owner_key_bytes().to_vec();
    let later = bench.service.now().unix_timestamp() + 60;
    let send = async |path: &str, host: &str, sas: Option<String>| {
        let mut request = Request::builder().uri(path).header("host", host);
        if let Some(sas) = sas {
            request = request.header("authorization", sas);
        }
        bench.send(request.body(Body::empty()).expect("request")).await
    };
    let path = "/ENROLLMENTGROUPS/none?api-version=2021-10-01";
    let owner = "provisioningserviceowner";
    let good = token(DPS_HOST, &key, later, owner);
    assert_eq!(send(path, DPS_HOST, Some(good.clone())).await.status, 404);
    // The port, and the letter case of either name, say nothing.
    let upper = token(&DPS_HOST.to_ascii_uppercase(), &key, later, owner);
    assert_eq!(send(path, &format!("{DPS_HOST}:443"), Some(upper)).await.status, 404);
    for bad in [
        None,
        Some("Bearer eyJ0eXAi".to_owned()),
        Some(token(HUB, &key, later, owner)),
        Some(token(DPS_HOST, b"another key", later, owner)),
        Some(token(DPS_HOST, &key, later - 3600, owner)),
        Some(token(DPS_HOST, &key, later, "iothubowner")),
    ] {
        let told = send(path, DPS_HOST, bad).await;
        assert_eq!((told.status, &told.body["errorCode"]), (401, &json!(401_002)));
    }
    for path in ["/enrollmentGroups/none", "/enrollmentGroups/none?api-version=latest"] {
        assert_eq!(send(path, DPS_HOST, Some(good.clone())).await.status, 400);
    }
    let preview = "/enrollmentGroups/none?api-version=2025-07-01-preview";
    assert_eq!(send(preview, DPS_HOST, Some(good.clone())).await.status, 404);
    assert_eq!(send("/nowhere", DPS_HOST, Some(good)).await.status, 404);
}

/// Microsoft, how-to-control-access: the resource is a prefix of the URI, by segment.
#[tokio::test]
async fn a_token_for_a_branch_of_the_paths_is_good_for_what_lies_below_it_and_nothing_else() {
    let bench = Bench::new();
    let key = bench.service.owner_key_bytes().to_vec();
    let later = bench.service.now().unix_timestamp() + 60;
    let status = async |resource: &str, host: &str, path: &str| {
        let policy = if host == HUB { "iothubowner" } else { "provisioningserviceowner" };
        let request = Request::builder()
            .uri(format!("{path}?api-version=2021-10-01"))
            .header("host", host)
            .header("authorization", token(resource, &key, later, policy));
        bench.send(request.body(Body::empty()).expect("request")).await.status
    };
    let groups = format!("{DPS_HOST}/enrollmentGroups");
    for resource in [
        format!("{DPS_HOST}/"),
        groups.clone(),
        format!("{groups}/"),
        groups.to_ascii_uppercase(),
        format!("{groups}/line 1"),
    ] {
        assert_eq!(status(&resource, DPS_HOST, "/enrollmentGroups/line%201").await, 404);
    }
    let devices = format!("{HUB}/devices");
    assert_eq!(status(&devices, HUB, "/devices").await, 200);
    assert_eq!(status(&devices, HUB, "/devices/none").await, 404);

    for (resource, host, path) in [
        // Half a segment, another path, the branch's own stem, a longer branch.
        (format!("{DPS_HOST}/enrollment"), DPS_HOST, "/enrollmentGroups/none"),
        (groups.clone(), DPS_HOST, "/enrollments/none"),
        (groups.clone(), DPS_HOST, "/registrations/none"),
        (format!("{groups}/a"), DPS_HOST, "/enrollmentGroups/b"),
        (format!("{groups}/a/b"), DPS_HOST, "/enrollmentGroups/a"),
        // An escaped slash is no border between segments.
        (format!("{groups}/a"), DPS_HOST, "/enrollmentGroups/a%2Fb"),
        (format!("{DPS_HOST}//"), DPS_HOST, "/enrollmentGroups/none"),
        (format!("{DPS_HOST}//enrollmentGroups"), DPS_HOST, "/enrollmentGroups/none"),
        ("/enrollmentGroups".to_owned(), DPS_HOST, "/enrollmentGroups/none"),
        (String::new(), DPS_HOST, "/enrollmentGroups/none"),
        // Another host, and half of this one's name.
        (format!("{HUB}/enrollmentGroups"), DPS_HOST, "/enrollmentGroups/none"),
        ("my-dps-x509".to_owned(), DPS_HOST, "/enrollmentGroups/none"),
        (format!("{devices}/a"), HUB, "/devices"),
        (devices, HUB, "/twins/a"),
    ] {
        assert_eq!(status(&resource, host, path).await, 401, "{resource:?} at {path}");
    }
}

#[tokio::test]
async fn an_enrollment_group_lives_by_its_etags() {
    let bench = Bench::new();
    let made = family("device-01");
    let body = json!({
        "enrollmentGroupId": "my-device-group",
        "provisioningStatus": null,
        "attestation": { "type": "x509", "x509": {
            "signingCertificates": { "primary": { "certificate": made.intermediate.pem } } } },
    });
    let created = bench.call("PUT", GROUP, body.clone()).await;
    assert_eq!(created.status, 200);
    // An explicit null is echoed, what was not said is left out (recorded).
    let fields = created.body.as_object().expect("object");
    assert_eq!(fields.get("provisioningStatus"), Some(&Value::Null));
    assert!(!fields.contains_key("allocationPolicy"));
    let primary = &created.body["attestation"]["x509"]["signingCertificates"]["primary"];
    assert!(primary.get("certificate").is_none());
    assert_eq!(primary["info"]["subjectName"], "CN=Intermediate");
    assert_eq!(primary["info"]["issuerName"], "CN=Root");
    assert_eq!(primary["info"]["version"], 3);
    assert_eq!(bench.call("GET", GROUP, Value::Null).await.body, created.body);

    let again = bench.call("PUT", GROUP, body.clone()).await;
    assert_eq!((again.status, &again.body["errorCode"]), (409, &json!(409_201)));
    assert_eq!(again.body["message"], "Enrollment already exists.");
    let first = etag(&created.body);
    let updated = bench.call_if(&first, "PUT", GROUP, body.clone()).await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.body["createdDateTimeUtc"], created.body["createdDateTimeUtc"]);
    assert_eq!(bench.call_if(&first, "PUT", GROUP, body.clone()).await.status, 412);
    let quoted = format!("\"{}\"", etag(&updated.body));
    assert_eq!(bench.call_if(&quoted, "PUT", GROUP, body.clone()).await.status, 200);
    assert_eq!(bench.call_if("*", "PUT", GROUP, body.clone()).await.status, 200);
    assert_eq!(bench.call_if("*", "PUT", "/enrollmentGroups/none", body.clone()).await.status, 400);
    assert_eq!(bench.call_if(&first, "DELETE", GROUP, Value::Null).await.status, 412);
    assert_eq!(bench.call("DELETE", GROUP, Value::Null).await.status, 204);
    for method in ["GET", "DELETE"] {
        let told = bench.call(method, GROUP, Value::Null).await;
        assert_eq!((told.status, &told.body["errorCode"]), (404, &json!(404_201)));
    }
    assert_eq!(bench.call_if("*", "PUT", GROUP, body).await.status, 412);
    assert_eq!(bench.call("PATCH", GROUP, Value::Null).await.status, 405);
}

/// As `az iot dps enrollment-group update` does it: read, merge, write back with the etag.
#[tokio::test]
async fn an_update_of_what_was_shown_keeps_the_certificate() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    let mut body = bench.call("GET", GROUP, Value::Null).await.body;
    body["allocationPolicy"] = json!("geolatency");
    let told = bench.call_if(&etag(&body), "PUT", GROUP, body.clone()).await;
    assert_eq!((told.status, &told.body["allocationPolicy"]), (200, &json!("geoLatency")));
    assert_eq!(told.body["attestation"], body["attestation"]);
    assert!(told.header("x-dps-emulator-warning").is_some_and(|text| text.contains("geoLatency")));
    assert_eq!(bench.finish("device-01", made.chain()).await.body["status"], "assigned");
    // A thumbprint that is not on file is no certificate.
    let primary = "/attestation/x509/signingCertificates/primary/info/sha256Thumbprint";
    *body.pointer_mut(primary).expect("thumbprint") = json!("00");
    assert_eq!(bench.call_if("*", "PUT", GROUP, body).await.status, 400);
}

#[tokio::test]
async fn lenience_is_said_in_a_header() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.upload("my-intermediate-ca", &made.intermediate, true).await;
    let by_name = json!({ "caReferences": { "primary": "MY-intermediate-ca" } });
    let first = bench.enroll("enrollmentGroups", "sensors", by_name, json!({})).await;
    assert_eq!(first.header("x-dps-emulator-warning"), None);
    let second = bench.group("gateways", &made.intermediate, json!({})).await;
    let text = second.header("x-dps-emulator-warning").expect("warning");
    assert!(text.contains("sensors") && text.contains("one enrollment entry"), "{text}");
    let disabled = json!({ "provisioningStatus": "disabled" });
    let blocked = bench.enroll("enrollments", "device-001", json!({}), disabled).await;
    assert!(blocked.header("x-dps-emulator-warning").is_some_and(|text| text.contains("blocks")));
    let hubs =
        json!({ "iotHubs": [HUB, "nohub.azure-devices.net"], "provisioningStatus": "disabled" });
    let unlinked = bench.enroll("enrollments", "device-002", json!({}), hubs).await;
    let text = unlinked.header("x-dps-emulator-warning").expect("warning");
    assert!(text.contains("nohub.azure-devices.net, which is not linked"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let made = family("device-01");
    let certificate = json!({ "primary": { "certificate": made.intermediate.pem } });
    let x509 = |x509: Value| json!({ "attestation": { "type": "x509", "x509": x509 } });
    let with = |field: &str, value: Value| {
        let mut body = x509(json!({ "signingCertificates": certificate }));
        body[field] = value;
        body
    };
    for (body, words) in [
        (json!({}), "attestation is missing"),
        (json!([]), "not a JSON object"),
        (json!({ "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AA==" } } }), "TPM"),
        (json!({ "attestation": { "type": "none" } }), "attestation.type"),
        (x509(json!({})), "at least one"),
        (x509(json!({ "clientCertificates": certificate })), "other kind"),
        (x509(json!({ "signingCertificates": { "primary": { "certificate": "?" } } })), "base64"),
        (x509(json!({ "caReferences": { "primary": "nobody" } })), "'nobody' not found"),
        (with("enrollmentGroupId", json!("another")), "not that of the path"),
        (with("provisioningStatus", json!("on")), "enrollment is wrong"),
        (with("allocationPolicy", json!("nearest")), "allocationPolicy"),
        (with("allocationPolicy", json!("custom")), "Custom allocation"),
        (with("initialTwin", json!("twin-config.json")), "enrollment is wrong"),
        (
            json!({ "attestation": { "type": "symmetricKey",
                                     "symmetricKey": { "primaryKey": "c2hvcnQ=" } } }),
            "16 to 64 bytes",
        ),
    ] {
        let told = bench.call("PUT", GROUP, body).await;
        assert_eq!(told.status, 400, "{words}");
        let message = told.body["message"].as_str().expect("message");
        assert!(message.contains(words), "{message}");
        assert_eq!(bench.call("GET", GROUP, Value::Null).await.status, 404);
    }
    let body = json!({ "deviceId": "a/b", "attestation": { "type": "symmetricKey" } });
    let told = bench.call("PUT", "/enrollments/device-01", body).await;
    assert!(told.body["message"].as_str().is_some_and(|text| text.contains("deviceId")));
    let path = "/enrollmentGroups/ends-badly.";
    let told = bench.call("PUT", path, with("provisioningStatus", Value::Null)).await;
    assert!(told.body["message"].as_str().is_some_and(|text| text.contains("last one")));
    assert_eq!(told.status, 400);
}

#[tokio::test]
async fn symmetric_keys_are_made_shown_once_and_kept() {
    use base64::Engine as _;
    let bench = Bench::new();
    let body = json!({ "attestation": { "type": "symmetricKey",
        "symmetricKey": { "primaryKey": null, "secondaryKey": null } } });
    let created = bench.call("PUT", "/enrollments/meter-1", body).await;
    assert_eq!(created.status, 200);
    let keys = &created.body["attestation"]["symmetricKey"];
    let key = keys["primaryKey"].as_str().expect("key");
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(key).map(|k| k.len()), Ok(64));
    assert!(created.body.get("registrationState").is_none());
    let shown = bench.call("GET", "/enrollments/METER-1", Value::Null).await.body;
    assert_eq!(shown["attestation"], json!({ "type": "symmetricKey" }));
    let unassigned = json!({ "registrationId": "meter-1", "status": "unassigned" });
    assert_eq!(shown["registrationState"], unassigned);
    let updated = bench.call_if("*", "PUT", "/enrollments/meter-1", shown).await.body;
    assert_eq!(&updated["attestation"]["symmetricKey"], keys);
}

#[tokio::test]
async fn the_attestation_mechanism_shows_what_a_get_hides() {
    let bench = Bench::new();
    let made = family("device-01");
    let keys = json!({ "primaryKey": "Zmlyc3Qga2V5IG9mIGEgbWV0ZXI=",
                       "secondaryKey": "c2Vjb25kIGtleSBvZiBhIG1ldGVy" });
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
    let body = json!({ "attestation": attestation });
    for path in ["/enrollments/meter-1", "/enrollmentGroups/meters"] {
        assert_eq!(bench.call("PUT", path, body.clone()).await.status, 200);
        let shown = bench.call("GET", path, Value::Null).await.body;
        assert_eq!(shown["attestation"], json!({ "type": "symmetricKey" }));
        // The Node SDK asks in lower case.
        let path = format!("{}/attestationmechanism", path.to_ascii_lowercase());
        let told = bench.call("POST", &path, Value::Null).await;
        assert_eq!((told.status, &told.body), (200, &attestation), "{path}");
        assert_eq!(bench.call("GET", &path, Value::Null).await.status, 405);
    }
    let group = bench.group("my-device-group", &made.intermediate, json!({})).await.body;
    let path = format!("{GROUP}/attestationmechanism");
    assert_eq!(bench.call("POST", &path, Value::Null).await.body, group["attestation"]);
    let told = bench.call("POST", "/enrollments/none/attestationmechanism", Value::Null).await;
    assert_eq!((told.status, &told.body["errorCode"]), (404, &json!(404_201)));
}

#[tokio::test]
async fn queries_come_in_pages() {
    let bench = Bench::new();
    let made = family("device-01");
    for id in ["a", "b", "c"] {
        bench.group(id, &made.intermediate, json!({})).await;
    }
    let ids = |body: &Value| -> Vec<String> {
        let items = body.as_array().expect("array").iter();
        items.map(|item| item["enrollmentGroupId"].as_str().expect("id").to_owned()).collect()
    };
    let query = json!({ "query": "SELECT * FROM enrollmentGroups" });
    let path = "/enrollmentgroups/query";
    let size = ("x-ms-max-item-count", "2");
    let first = bench.call_at(DPS_HOST, "POST", path, &[size], query.clone()).await;
    assert_eq!(ids(&first.body), ["a", "b"]);
    assert_eq!(first.header("x-ms-item-type"), Some("EnrollmentGroup"));
    let next = ("x-ms-continuation", first.header("x-ms-continuation").expect("more"));
    let second = bench.call_at(DPS_HOST, "POST", path, &[size, next], query.clone()).await;
    assert_eq!(ids(&second.body), ["c"]);
    assert_eq!(second.header("x-ms-continuation"), None);
    for bad in [("x-ms-max-item-count", "0"), ("x-ms-continuation", "?")] {
        let told = bench.call_at(DPS_HOST, "POST", path, &[bad], query.clone()).await;
        assert_eq!(told.status, 400);
    }
    assert_eq!(bench.call("POST", path, json!({})).await.status, 400);
    let individuals = bench.call("POST", "/enrollments/query", query).await;
    assert_eq!(individuals.body, json!([]));
    assert_eq!(individuals.header("x-ms-item-type"), Some("Enrollment"));
}

/// The tutorial's clean-up: a group's records outlive it and go one by one.
/// The answer's shape and the refusal of an update without etag are recorded.
#[tokio::test]
async fn several_enrollments_are_written_in_one_call_each_by_itself() {
    let bench = Bench::new();
    let entry = |id: &str, more: Value| {
        let mut entry = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
        for (name, value) in more.as_object().into_iter().flatten() {
            entry[name] = value.clone();
        }
        entry
    };
    let bulk = async |mode: &str, entries: Vec<Value>| {
        let told = bench
            .call("POST", "/enrollments", json!({ "mode": mode, "enrollments": entries }))
            .await;
        assert_eq!(told.status, 200, "{}", told.body);
        told.body
    };
    let done = json!({ "isSuccessful": true, "errors": [] });
    let failed = |id: &str, code: u32, status: &str| {
        json!({ "isSuccessful": false,
                "errors": [{ "registrationId": id, "errorCode": code, "errorStatus": status }] })
    };
    let shown =
        async |id: &str| bench.call("GET", &format!("/enrollments/{id}"), Value::Null).await;
    let none = || json!({});
    assert_eq!(bulk("create", vec![entry("a", none()), entry("b", none())]).await, done);
    // One that fails takes no other with it.
    let told = bulk("create", vec![entry("b", none()), entry("c", none())]).await;
    assert_eq!(told, failed("b", 409_201, "Enrollment already exists."));
    assert_eq!(shown("c").await.status, 200);
    let disabled = json!({ "provisioningStatus": "disabled" });
    let told = bulk("update", vec![entry("a", disabled.clone())]).await;
    assert_eq!(told, failed("a", 409_201, "Enrollment already exists."));

    let seen = etag(&shown("a").await.body);
    let with = |etag: &str| json!({ "provisioningStatus": "disabled", "etag": etag });
    assert_eq!(bulk("updateIfMatchETag", vec![entry("a", with(&seen))]).await, done);
    assert_eq!(shown("a").await.body["provisioningStatus"], "disabled");
    let told = bulk("updateIfMatchETag", vec![entry("a", with(&seen))]).await;
    assert_eq!(told, failed("a", 412_000, "Precondition failed."));
    assert_eq!(bulk("update", vec![entry("a", with(&seen))]).await, done);
    assert_eq!(bulk("updateIfMatchETag", vec![entry("a", none())]).await["isSuccessful"], false);
    let told = bulk("delete", vec![entry("a", none()), entry("nobody", none())]).await;
    assert_eq!(told, failed("nobody", 404_201, "Enrollment not found."));
    assert_eq!(shown("a").await.status, 404);

    // Groups too; and what cannot be told by an entry's ID is the whole call's fault.
    let group = json!({ "enrollmentGroupId": "g", "attestation": { "type": "symmetricKey" } });
    let body = json!({ "mode": "create", "enrollmentGroups": [group] });
    assert_eq!(bench.call("POST", "/enrollmentGroups", body).await.body, done);
    let body = json!({ "mode": "create", "enrollmentGroups": [{ "enrollmentGroupId": "h" }] });
    let told = bench.call("POST", "/enrollmentGroups", body).await;
    assert_eq!((told.status, &told.body["errors"][0]["enrollmentGroupId"]), (200, &json!("h")));
    let eleven = vec![entry("x", none()); 11];
    for body in [
        json!({ "mode": "create", "enrollments": eleven }),
        json!({ "mode": "create", "enrollments": [] }),
        json!({ "mode": "replace", "enrollments": [entry("x", none())] }),
        json!({ "mode": "create", "enrollments": [{}] }),
    ] {
        assert_eq!(bench.call("POST", "/enrollments", body).await.status, 400);
    }
    assert_eq!(shown("x").await.status, 404);
    assert_eq!(bench.call("GET", "/enrollments", Value::Null).await.status, 405);
}

#[tokio::test]
async fn deleting_a_group_leaves_its_registration_records() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.tutorial(&made, json!({})).await;
    bench.finish("device-01", made.chain()).await;
    assert_eq!(bench.call("DELETE", GROUP, Value::Null).await.status, 204);
    let path = "/registrations/my-device-group/query";
    let records = bench.call("POST", path, Value::Null).await;
    assert_eq!(records.header("x-ms-item-type"), Some("DeviceRegistration"));
    assert_eq!(records.body[0]["registrationId"], "device-01");
    let record = "/registrations/device-01";
    assert_eq!(bench.call_if("stale", "DELETE", record, Value::Null).await.status, 412);
    assert_eq!(bench.call("DELETE", record, Value::Null).await.status, 204);
    assert_eq!(bench.call("GET", record, Value::Null).await.status, 404);
    assert_eq!(bench.call("POST", path, Value::Null).await.body, json!([]));
    // The hub's device is left untouched.
    assert_eq!(bench.call("GET", "/devices/device-01", Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_certificate_is_shown_as_recorded() {
    let bench = Bench::new();
    let root = ca("Azure IoT Hub CA Cert Test Only").self_signed();
    let path = format!("{CERTIFICATES}/My-Root");
    // Newer API versions nest what older ones have flat.
    let body = json!({ "properties": { "certificate": root.pem, "isVerified": true } });
    let created = bench.call("PUT", &path, body).await;
    assert_eq!(created.status, 200);
    let properties = &created.body["properties"];
    assert_eq!(properties["subject"], "Azure IoT Hub CA Cert Test Only");
    assert_eq!(properties["isVerified"], true);
    assert_eq!(properties["certificate"], Value::Null);
    assert_eq!(properties["created"], "Mon, 01 Jan 0001 00:00:00 GMT");
    assert!(properties["expiry"].as_str().is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(properties["thumbprint"].as_str().map(str::len), Some(40));
    assert_eq!(created.body["id"], path);
    assert_eq!(created.body["type"], "Microsoft.Devices/provisioningServices/Certificates");
    let list = bench.call("GET", CERTIFICATES, Value::Null).await.body;
    assert_eq!(list, json!({ "value": [created.body] }));

    let flat = json!({ "certificate": root.pem });
    assert_eq!(bench.call("PUT", &path, flat.clone()).await.status, 412);
    assert_eq!(bench.call_if("stale", "PUT", &path, flat.clone()).await.status, 412);
    let replaced = bench.call_if(&etag(&created.body), "PUT", &path, flat).await;
    assert_eq!(replaced.body["properties"]["isVerified"], false);
    assert_eq!(bench.call("DELETE", &path, Value::Null).await.status, 400);
    let told = bench.call_if(&etag(&replaced.body), "DELETE", &path, Value::Null).await;
    assert_eq!(told.status, 204);
    let gone = bench.call("GET", &path, Value::Null).await;
    assert_eq!((gone.status, &gone.body["httpStatusCode"]), (404, &json!("NotFound")));

    for body in [
        json!({}),
        json!({ "certificate": "?" }),
        json!({ "certificate": leaf("device-01").signed_by(&root).pem }),
        json!({ "certificate": root.pem, "isVerified": "yes" }),
    ] {
        assert_eq!(bench.call("PUT", &path, body).await.status, 400);
    }
    let elsewhere = path.replace("my-dps-x509", "another-dps");
    assert_eq!(bench.call("GET", &elsewhere, Value::Null).await.status, 404);
}

#[tokio::test]
async fn possession_is_proved_by_a_certificate_that_names_the_code() {
    let bench = Bench::new();
    let made = family("device-01");
    bench.upload("root", &made.root, false).await;
    bench.group("my-device-group", &made.intermediate, json!({})).await;
    let path = format!("{CERTIFICATES}/root");
    let first = etag(&bench.call("GET", &path, Value::Null).await.body);
    let code_path = format!("{path}/generateVerificationCode");
    assert_eq!(bench.call_if("stale", "POST", &code_path, Value::Null).await.status, 412);
    let told = bench.call_if(&first, "POST", &code_path, Value::Null).await;
    assert_eq!(told.status, 200);
    assert_eq!(told.body["id"], path);
    let code = told.body["properties"]["verificationCode"].as_str().expect("code").to_owned();
    assert!(code.len() == 48 && code.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F')));

    let now = etag(&told.body);
    let verify = async |pem: &str| {
        let body = json!({ "certificate": pem });
        bench.call_if(&now, "POST", &format!("{path}/verify"), body).await
    };
    let mut late = leaf(&code);
    late.to_days = -1;
    late.from_days = -2;
    for (proof, words) in [
        (leaf("device-01").signed_by(&made.root), "common name"),
        (leaf(&code).self_signed(), "not signed by"),
        (leaf(&code).signed_by(&made.intermediate), "not signed by"),
        (late.signed_by(&made.root), "expired"),
    ] {
        let told = verify(&proof.pem).await;
        assert_eq!(told.status, 400);
        assert!(told.body["message"].as_str().is_some_and(|text| text.contains(words)), "{words}");
    }
    let told = bench.register("device-01", made.chain()).await;
    assert_eq!(told.body["message"], "Invalid certificate.");
    let told = verify(&leaf(&code).signed_by(&made.root).pem).await;
    assert_eq!((told.status, &told.body["properties"]["isVerified"]), (200, &json!(true)));
    assert_eq!(bench.register("device-01", made.chain()).await.status, 202);
}

#[tokio::test]
async fn a_hub_is_called_by_its_host_and_lists_its_devices() {
    let bench = Bench::new();
    for id in ["b", "a", "c"] {
        let body = json!({ "deviceId": id, "authentication": { "type": "selfSigned",
            "x509Thumbprint": { "primaryThumbprint": "AB" } } });
        assert_eq!(bench.call("PUT", &format!("/devices/{id}"), body).await.status, 200);
    }
    // Another name means the only hub.
    let told = bench.call_at("localhost", "GET", "/devices?top=2", &[], Value::Null).await;
    let ids: Vec<_> =
        told.body.as_array().expect("array").iter().map(|d| d["deviceId"].clone()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(told.body[0]["authentication"]["x509Thumbprint"]["secondaryThumbprint"], "AB");
    let body = json!({ "deviceId": "a" });
    let told = bench.call("PUT", "/devices/a", body).await;
    assert_eq!((told.status, told.header("iothub-errorcode")), (409, Some("DeviceAlreadyExists")));
    let told = bench.call_at(HUB, "DELETE", "/devices/a", &[("if-match", "\"x\"")], Value::Null);
    assert_eq!(told.await.status, 412);
    assert_eq!(bench.call("DELETE", "/devices/a", Value::Null).await.status, 204);
    for path in ["/devices/a", "/twins/a", "/devices/a/messages/events"] {
        let told = bench.call("GET", path, Value::Null).await;
        assert_eq!((told.status, told.header("iothub-errorcode")), (404, Some("DeviceNotFound")));
        assert!(told.body["Message"].as_str().is_some_and(|m| m.contains("DeviceNotFound")));
    }
    for body in [
        json!({ "deviceId": "b" }),
        json!({ "deviceId": "d", "status": "asleep" }),
        json!({ "deviceId": "d", "authentication": { "type": "certificateAuthority" } }),
    ] {
        assert_eq!(bench.call("PUT", "/devices/d", body).await.status, 400);
    }

    let hubs = ["hub-a.azure-devices.net".to_owned(), "hub-b.azure-devices.net".to_owned()];
    let bench = Bench::with(&Settings { hubs: hubs.to_vec(), ..settings() });
    let told = bench.call_at("localhost", "GET", "/devices", &[], Value::Null).await;
    assert_eq!(told.status, 404);
    assert!(told.body["Message"].as_str().is_some_and(|m| hubs.iter().all(|hub| m.contains(hub))));
    let told = bench.call_at(&hubs[1], "GET", "/devices", &[], Value::Null).await;
    assert_eq!((told.status, told.body), (200, json!([])));
}
