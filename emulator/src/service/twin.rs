//! A device's twin as the device itself reads it and reports to it
//! (Microsoft, iot-hub-devguide-device-twins).

use serde_json::{Map, Value, json};

use super::{Refusal, Service, clock};
use crate::store::StoreError;
use crate::store::devices;

/// Largest reported properties, in bytes of JSON.
const LARGEST: usize = 32 * 1024;
/// Objects and arrays inside each other below the properties themselves, at most. What is stored
/// must stay readable, and a JSON parser has a limit too.
const DEEPEST: usize = 10;
/// Longest name of a property, in bytes.
const LONGEST_NAME: usize = 1024;

impl Service {
    /// The twin as a device reads it: desired and reported, each with its version.
    pub(crate) async fn device_twin(
        &self,
        hub: &str,
        device_id: &str,
    ) -> Result<Value, StoreError> {
        let hub = self.hub_named(hub).ok_or(StoreError::NoSuchDevice)?.to_owned();
        let device_id = device_id.to_owned();
        let device = self.store().run(move |db| devices::get(db, &hub, &device_id)).await?;
        let twin = device.ok_or(StoreError::NoSuchDevice)?.twin;
        let versioned = |mut properties: Map<String, Value>, version: u64| {
            properties.insert("$version".to_owned(), version.into());
            properties
        };
        Ok(json!({
            "desired": versioned(twin.desired, twin.desired_version),
            "reported": versioned(twin.reported, twin.reported_version),
        }))
    }

    /// Merges what a device reports into its twin, where a null removes what it names, and says
    /// the new version. With `if_version`, only where that is the version so far. The inner error
    /// is the device's, the outer one tells that the twin cannot be reached.
    pub(crate) async fn report(
        &self,
        hub: &str,
        device_id: &str,
        patch: &[u8],
        if_version: Option<u64>,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        let hub = self.hub_named(hub).ok_or(StoreError::NoSuchDevice)?.to_owned();
        let device_id = device_id.to_owned();
        let patch = match read(patch) {
            Ok(patch) => patch,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let stamp = clock::stamp(self.now());
        let work = move |db: &rusqlite::Connection| {
            let device = devices::get(db, &hub, &device_id)?.ok_or(StoreError::NoSuchDevice)?;
            let mut twin = device.twin;
            if if_version.is_some_and(|version| version != twin.reported_version) {
                return Ok(Err(Refusal::precondition_failed()));
            }
            merge(&mut twin.reported, patch);
            if crate::store::json(&twin.reported)?.len() > LARGEST {
                return Ok(Err(Refusal::new(413, 0, "Reported properties larger than 32 KB.")));
            }
            twin.reported_version += 1;
            twin.version += 1;
            twin.updated = stamp;
            devices::put_twin(db, &hub, &device_id, &twin)?;
            Ok(Ok(twin.reported_version))
        };
        self.store().run(work).await
    }
}

fn read(patch: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let patch = serde_json::from_slice(patch)
        .map_err(|error| Refusal::bad_request(format!("Not a JSON object: {error}.")))?;
    check(&patch, DEEPEST)?;
    match patch {
        Value::Object(patch) => Ok(patch),
        _ => Err(Refusal::bad_request("Not a JSON object.")),
    }
}

/// Checks all names in a value, and that it holds at most `deeper` objects and arrays inside each
/// other.
fn check(value: &Value, deeper: usize) -> Result<(), Refusal> {
    let check_inner = |inner: &Value| match inner {
        Value::Object(_) | Value::Array(_) => {
            let deeper = deeper
                .checked_sub(1)
                .ok_or_else(|| Refusal::bad_request("Properties nested too deep."))?;
            check(inner, deeper)
        }
        _ => Ok(()),
    };
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, inner)| {
            check_name(name)?;
            check_inner(inner)
        }),
        Value::Array(items) => items.iter().try_for_each(check_inner),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let forbidden = |c: char| c.is_control() || matches!(c, '.' | '$' | ' ');
    if name.len() > LONGEST_NAME || name.contains(forbidden) {
        return Err(Refusal::bad_request("A property's name is not allowed."));
    }
    Ok(())
}

fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match (value, into.get_mut(&name)) {
            (Value::Null, _) => {
                into.remove(&name);
            }
            (Value::Object(patch), Some(Value::Object(part))) => merge(part, patch),
            (Value::Object(patch), _) => {
                let mut part = Map::new();
                merge(&mut part, patch);
                into.insert(name, Value::Object(part));
            }
            (value, _) => {
                into.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn a_patch_changes_what_it_names_and_a_null_removes() {
        let mut reported = object(r#"{"a":1,"b":{"c":2,"d":3},"e":{"f":4},"g":5}"#);
        merge(&mut reported, object(r#"{"a":null,"b":{"c":null,"x":[6]},"e":7,"g":{"h":null}}"#));
        assert_eq!(reported, object(r#"{"b":{"d":3,"x":[6]},"e":7,"g":{}}"#));
    }

    #[test]
    fn names_and_depth_are_limited() {
        let nested = |depth: usize| {
            format!("{}{{\"property\":1}}{}", "{\"n\":".repeat(depth), "}".repeat(depth))
        };
        let long = |length| format!(r#"{{"{}":1}}"#, "n".repeat(length));
        for allowed in [nested(10), long(1024), r#"{"größe":1,"a-b_c":{"d":[{}]}}"#.to_owned()] {
            assert_eq!(read(allowed.as_bytes()), Ok(object(&allowed)));
        }
        let names = [
            r#"{"a.b":1}"#,
            r#"{"$version":1}"#,
            r#"{"x":{"a b":1}}"#,
            r#"{"\u0085":1}"#,
            r#"{"a":[{"$version":1}]}"#,
        ];
        for refused in [nested(11), long(1025)].into_iter().chain(names.map(str::to_owned)) {
            let status = read(refused.as_bytes()).map_err(|refusal| refusal.status);
            assert_eq!(status, Err(400), "{refused:.40}");
        }
    }
}
