//! Device connection strings, as IoT Hub hands them out.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind, Result},
    hub::DeviceId,
    identity::Identity,
    symmetric_key::SymmetricKey,
    transport::Host,
};

/// What a device connection string says: the hub, the device, and how it proves itself.
///
/// `HostName=contoso.azure-devices.net;DeviceId=device-01;SharedAccessKey=…`, or `…;x509=true` for
/// a device whose certificate comes from elsewhere.
/// (Microsoft, "Control access to IoT Hub", device connection strings)
pub struct ConnectionString {
    host: Host,
    device_id: DeviceId,
    key: Option<Zeroizing<String>>,
}

impl ConnectionString {
    /// Reads a connection string. No error repeats any part of it, since it may hold the key.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut host, mut device_id, mut key, mut x509) = (None, None, None, None);
        for part in text.trim().split(';').filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(malformed("a part of it has no value"));
            };
            let slot = match name {
                "HostName" => &mut host,
                "DeviceId" => &mut device_id,
                "SharedAccessKey" => &mut key,
                "x509" => &mut x509,
                "SharedAccessKeyName" => {
                    return Err(malformed("it belongs to a service or a hub, not to a device"));
                }
                "ModuleId" | "GatewayHostName" => {
                    return Err(malformed("modules and gateways are not supported"));
                }
                _ => return Err(malformed("it has a part that is not known")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("a part of it is there twice"));
            }
        }
        let x509 = x509.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if x509 == key.is_some() {
            return Err(malformed("it needs either x509=true or SharedAccessKey=…"));
        }
        Ok(Self {
            host: Host::parse(host.ok_or_else(|| malformed("it has no HostName"))?)
                .map_err(|error| unquoted(&error, "its HostName is not a host name"))?,
            device_id: DeviceId::parse(device_id.ok_or_else(|| malformed("it has no DeviceId"))?)
                .map_err(|error| unquoted(&error, "its DeviceId is not a device ID"))?,
            key: key.map(|key| Zeroizing::new(key.to_owned())),
        })
    }

    /// The hub's host name.
    pub fn host(&self) -> &str {
        self.host.as_str()
    }

    /// The device ID.
    pub fn device_id(&self) -> &str {
        self.device_id.as_str()
    }

    /// The symmetric key, in base64; `None` where the device has a certificate (`x509=true`).
    pub fn shared_access_key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.as_str())
    }

    /// The device with its symmetric key; `None` where it has a certificate (`x509=true`), which
    /// a [`Credential`](crate::Credential) opens.
    pub fn identity(&self) -> Result<Option<Identity>> {
        let Some(key) = &self.key else { return Ok(None) };
        let key = SymmetricKey::from_base64(key)?;
        Ok(Some(Identity::from_symmetric_key(self.device_id.as_str().to_owned(), key)))
    }
}

impl FromStr for ConnectionString {
    type Err = Error;

    /// As [`parse`](Self::parse).
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString")
            .field("host", &self.host)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

const FORM: &str =
    "It looks like HostName=…;DeviceId=…;SharedAccessKey=…, or HostName=…;DeviceId=…;x509=true.";

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the connection string cannot be used: {what}"))
        .with_hint(FORM)
}

/// In place of an error that quotes a part, into which a wrong separator may have brought the key.
fn unquoted(error: &Error, what: &str) -> Error {
    Error::new(error.kind(), format!("the connection string cannot be used: {what}"))
        .with_hint(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";

    #[test]
    fn a_device_is_read_with_its_key_or_its_certificate() {
        let text = format!("HostName=Hub.Example.net;DeviceId=device-01;SharedAccessKey={KEY}\n");
        let read = ConnectionString::parse(&text).unwrap();
        assert_eq!(read.host(), "hub.example.net");
        assert_eq!(read.device_id(), "device-01");
        assert_eq!(read.shared_access_key(), Some(KEY), "with the = at its end");
        assert!(!format!("{read:?}").contains(KEY));

        let read = ConnectionString::parse("DeviceId=d;HostName=hub.example.net;x509=True;");
        let read = read.unwrap();
        assert_eq!(read.shared_access_key(), None);
        assert!(read.identity().unwrap().is_none());
    }

    /// A hub allows more in a device ID than DPS in a registration ID.
    #[test]
    fn a_device_need_not_be_one_that_can_register() {
        let text = format!("HostName=hub.example.net;DeviceId=A*b,c;SharedAccessKey={KEY}");
        let identity = ConnectionString::parse(&text).unwrap().identity().unwrap().unwrap();
        let error = identity.registration_id().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_any_of_it() {
        let key = format!("SharedAccessKey={KEY}");
        for (text, reason) in [
            (String::new(), "either"),
            ("HostName=h".into(), "either"),
            (format!("HostName=h;DeviceId=d;x509=true;{key}"), "either"),
            (format!("HostName=h;{key}"), "no DeviceId"),
            (format!("DeviceId=d;{key}"), "no HostName"),
            (format!("HostName=h;HostName=i;DeviceId=d;{key}"), "twice"),
            (format!("HostName=h;DeviceId=d;{KEY}"), "not known"),
            ("HostName=h;DeviceId=d;nothing".into(), "no value"),
            (format!("HostName=h;SharedAccessKeyName=owner;{key}"), "a service"),
            (format!("HostName=h;DeviceId=d;ModuleId=m;{key}"), "modules"),
        ] {
            let error = ConnectionString::parse(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
            assert!(error.message().contains(reason), "{error}");
            assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
        }
        let error = ConnectionString::parse("HostName=a b;DeviceId=d;x509=true").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostInvalid);
        // A wrong separator brings the key into another part.
        for text in [
            "HostName=h;DeviceId=d,SharedAccessKey=a+/bc+/d==;x509=true",
            "HostName=h SharedAccessKey=a+/bc+/d==;DeviceId=d;x509=true",
            "HostName=h/SharedAccessKey=a+/bc+/d==;DeviceId=d;x509=true",
        ] {
            let error = ConnectionString::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("bc+"), "{error:?}");
        }
    }
}
