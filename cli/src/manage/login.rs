//! A connection string of a shared access policy, as the Azure portal and the emulator show it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dps_core::{Error, ErrorKind, transport::Host};
use zeroize::Zeroizing;

/// Where to call, and with which policy's key. It has no `Debug`, so that no log can show the key.
pub(super) struct Login {
    pub(super) host: Host,
    pub(super) policy: String,
    pub(super) key: Zeroizing<Vec<u8>>,
}

impl Login {
    /// Reads `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`, its parts in any order.
    ///
    /// No error repeats any of the text: a key may stand where it does not belong.
    pub(super) fn parse(connection_string: &str) -> Result<Self, Error> {
        let (mut host, mut policy, mut key) = (None, None, None);
        for part in connection_string.trim().split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| malformed("a part of it has no \"=\""))?;
            let slot = match name.trim().to_ascii_lowercase().as_str() {
                "hostname" => &mut host,
                "sharedaccesskeyname" => &mut policy,
                "sharedaccesskey" => &mut key,
                "deviceid" => return Err(malformed("it is that of a device, not of a service")),
                _ => continue,
            };
            if slot.replace(value.trim()).is_some() {
                return Err(malformed("a part of it stands twice"));
            }
        }
        let part = |value: Option<&str>, name: &str| {
            value
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| malformed(&format!("{name} is missing")))
        };
        let host = Host::parse(&part(host, "HostName")?)
            .map_err(|_| malformed("HostName is not a host name"))?;
        let policy = part(policy, "SharedAccessKeyName")?;
        let key = Zeroizing::new(part(key, "SharedAccessKey")?);
        let key = STANDARD
            .decode(key.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| malformed("SharedAccessKey is not base64"))?;
        Ok(Self { host, policy, key })
    }
}

fn malformed(reason: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the connection string cannot be used: {reason}"),
    )
    .with_hint(
        "It reads HostName=…;SharedAccessKeyName=…;SharedAccessKey=…; put it in quotes, or the \
         shell ends it at the first semicolon.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_any_order_and_letter_case() {
        let login = Login::parse(
            "sharedaccesskey=c2VjcmV0LWtleQ==;HostName=My-Dps.azure-devices-provisioning.net;\
             SharedAccessKeyName=provisioningserviceowner;",
        )
        .unwrap();
        assert_eq!(login.host.as_str(), "my-dps.azure-devices-provisioning.net");
        assert_eq!(login.policy, "provisioningserviceowner");
        assert_eq!(login.key.as_slice(), b"secret-key");
    }

    #[test]
    fn a_malformed_one_is_refused_without_showing_it() {
        for (text, reason) in [
            ("", "HostName is missing"),
            ("HostName=h;SharedAccessKey=c2VjcmV0", "SharedAccessKeyName is missing"),
            ("HostName=h;SharedAccessKeyName=p", "SharedAccessKey is missing"),
            ("HostName=h;SharedAccessKeyName=p;SharedAccessKey=", "SharedAccessKey is missing"),
            ("HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0!", "is not base64"),
            (
                "HostName=h SharedAccessKey=c2VjcmV0;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0",
                "HostName is not a host name",
            ),
            ("HostName=h;HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0", "twice"),
            ("HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0", "that of a device"),
            ("c2VjcmV0", "no \"=\""),
        ] {
            let Err(error) = Login::parse(text) else { panic!("accepted {text}") };
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let shown = error.to_string();
            assert!(shown.contains(reason), "{shown}");
            assert!(!shown.contains("c2VjcmV0"), "{shown}");
        }
    }
}
