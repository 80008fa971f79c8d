//! The initial device twin of an enrollment.

use std::fs;

use clap::Args;
use dps_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

#[derive(Args)]
pub(super) struct TwinArguments {
    /// Desired properties of the initial twin: JSON, or a file of it. A whole twin,
    /// {"tags":{…},"properties":{"desired":{…}}}, is taken as such.
    #[arg(long, visible_alias = "props", value_name = "JSON|FILE")]
    initial_twin_properties: Option<String>,

    /// Tags of the initial twin: JSON, or a file of it.
    #[arg(long, visible_alias = "tags", value_name = "JSON|FILE")]
    initial_twin_tags: Option<String>,
}

/// The parts that were given.
pub(super) struct Twin {
    tags: Option<Map<String, Value>>,
    desired: Option<Map<String, Value>>,
}

impl TwinArguments {
    pub(super) fn read(self) -> Result<Twin, Error> {
        const PROPERTIES: &str = "--initial-twin-properties";
        const TAGS: &str = "--initial-twin-tags";

        let given = self.initial_twin_properties.map(|text| object(PROPERTIES, &text));
        let mut twin = match given.transpose()? {
            None => Twin { tags: None, desired: None },
            Some(object) if is_twin(&object) => Twin::whole(PROPERTIES, object)?,
            Some(desired) => Twin { tags: None, desired: Some(desired) },
        };
        if let Some(text) = self.initial_twin_tags {
            if twin.tags.is_some() {
                let message = format!("{PROPERTIES} holds tags already, beside {TAGS}");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            twin.tags = Some(object(TAGS, &text)?);
        }
        Ok(twin)
    }
}

impl Twin {
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_none() && self.desired.is_none()
    }

    /// Puts the given parts into the record; a part that is not given stays as it is there.
    pub(super) fn apply(self, record: &mut Map<String, Value>) {
        if self.is_empty() {
            return;
        }
        let mut twin = match record.remove("initialTwin") {
            Some(Value::Object(twin)) => twin,
            _ => Map::new(),
        };
        if let Some(tags) = self.tags {
            twin.insert("tags".to_owned(), Value::Object(tags));
        }
        if let Some(desired) = self.desired {
            twin.insert("properties".to_owned(), json!({ "desired": desired }));
        }
        record.insert("initialTwin".to_owned(), Value::Object(twin));
    }

    fn whole(option: &str, mut twin: Map<String, Value>) -> Result<Self, Error> {
        let mut part = |name: &str, inner: Option<&str>| {
            let value = twin.remove(name).map(|mut value| match inner {
                Some(inner) => value[inner].take(),
                None => value,
            });
            match value {
                None | Some(Value::Null) => Ok(None),
                Some(Value::Object(part)) => Ok(Some(part)),
                Some(_) => Err(not_an_object(&format!("{name} of {option}"))),
            }
        };
        Ok(Self { tags: part("tags", None)?, desired: part("properties", Some("desired"))? })
    }
}

/// Whether it has the shape of a twin and of nothing else; otherwise it is desired properties.
fn is_twin(object: &Map<String, Value>) -> bool {
    let only_desired = |properties: &Value| {
        properties.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("desired"))
    };
    object.get("properties").is_some_and(only_desired)
        && object.keys().all(|key| key == "properties" || key == "tags")
}

/// JSON text begins with a brace; anything else names a file.
fn object(option: &str, text: &str) -> Result<Map<String, Value>, Error> {
    let (source, json) = if text.trim_start().starts_with(['{', '[']) {
        (option.to_owned(), text.to_owned())
    } else {
        let content = fs::read(text).map_err(|error| {
            Error::new(ErrorKind::FileNotReadable, format!("{option} {text}: {error}"))
                .with_hint("It takes JSON that begins with a brace, or the name of a file of it.")
        })?;
        (format!("{option} {text}"), decoded(&content))
    };
    match serde_json::from_str(&json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(not_an_object(&source)),
        Err(error) => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("{source} is not JSON: {error}")))
        }
    }
}

fn not_an_object(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what} is not a JSON object"))
}

/// The text of a file, also as PowerShell writes it: UTF-8 with a byte order mark, or UTF-16.
fn decoded(content: &[u8]) -> String {
    match content {
        [0xff, 0xfe, rest @ ..] => {
            let units: Vec<u16> =
                rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(content).trim_start_matches('\u{feff}').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: Option<&str>, tags: Option<&str>) -> Result<Value, Error> {
        let arguments = TwinArguments {
            initial_twin_properties: properties.map(str::to_owned),
            initial_twin_tags: tags.map(str::to_owned),
        };
        let mut record = Map::new();
        arguments.read()?.apply(&mut record);
        Ok(record.remove("initialTwin").unwrap_or_default())
    }

    #[test]
    fn desired_properties_or_a_whole_twin() {
        let desired = r#"{"telemetryInterval":60}"#;
        let whole = r#"{"tags":{"site":"a"},"properties":{"desired":{"telemetryInterval":60}}}"#;
        let expected: Value = serde_json::from_str(whole).unwrap();
        assert_eq!(read(Some(desired), Some(r#"{"site":"a"}"#)).unwrap(), expected);
        assert_eq!(read(Some(whole), None).unwrap(), expected);
        assert_eq!(read(None, None).unwrap(), Value::Null);
        // A property that happens to be called so.
        let like = json!({ "properties": { "colour": "red" } });
        assert_eq!(
            read(Some(&like.to_string()), None).unwrap(),
            json!({ "properties": { "desired": like } })
        );
    }

    #[test]
    fn a_part_that_is_not_given_stays() {
        let arguments = TwinArguments {
            initial_twin_properties: Some(r#"{"b":2}"#.to_owned()),
            initial_twin_tags: None,
        };
        let twin = json!({ "tags": { "site": "a" }, "properties": { "desired": { "a": 1 } } });
        let mut record = Map::from_iter([("initialTwin".to_owned(), twin)]);
        arguments.read().unwrap().apply(&mut record);
        assert_eq!(
            record["initialTwin"],
            json!({ "tags": { "site": "a" }, "properties": { "desired": { "b": 2 } } })
        );
    }

    #[test]
    fn what_is_no_twin_is_refused() {
        let whole = r#"{"tags":{"site":"a"},"properties":{"desired":{}}}"#;
        for (properties, tags, message) in [
            (Some("{\"a\":"), None, "--initial-twin-properties is not JSON"),
            (Some("[1]"), None, "--initial-twin-properties is not a JSON object"),
            (None, Some("{'a':1}"), "--initial-twin-tags is not JSON"),
            (Some(r#"{"properties":{"desired":3}}"#), None, "properties of --initial-twin"),
            (Some(whole), Some("{}"), "holds tags already"),
            (Some("no-such-file.json"), None, "no-such-file.json"),
        ] {
            let error = read(properties, tags).unwrap_err();
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn files_as_powershell_writes_them() {
        let text = r#"{"firmware":"1.0.0-ä"}"#;
        let utf16: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(decoded(&utf16), text);
        assert_eq!(decoded(format!("\u{feff}{text}").as_bytes()), text);
        assert_eq!(decoded(text.as_bytes()), text);
    }
}
