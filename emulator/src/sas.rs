//! Shared access signatures, as DPS and IoT Hub check them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

const SCHEME: &str = "SharedAccessSignature ";

/// One token, parsed. It has no `Debug`, so that no log can show it.
pub(crate) struct SasToken {
    /// Exactly as it stands in the token: clients differ in `%2f` and `%2F`, and each signs what
    /// it wrote.
    resource: String,
    signature: Vec<u8>,
    expiry: OffsetDateTime,
    expiry_text: String,
    policy: Option<String>,
}

impl SasToken {
    /// `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`, its parts in any order.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let scheme = text.get(..SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let (mut resource, mut signature, mut expiry, mut policy) = (None, None, None, None);
        for part in text.get(SCHEME.len()..)?.trim().split('&') {
            let (name, value) = part.split_once('=')?;
            match name {
                "sr" => resource = Some(value.to_owned()),
                "sig" => signature = Some(STANDARD.decode(decoded(value)?).ok()?),
                "se" => expiry = Some(value.to_owned()),
                "skn" => policy = Some(decoded(value)?),
                _ => {}
            }
        }
        let expiry_text = expiry?;
        Some(Self {
            resource: resource?,
            signature: signature?,
            expiry: OffsetDateTime::from_unix_timestamp(expiry_text.parse().ok()?).ok()?,
            expiry_text,
            policy: policy.filter(|name| !name.is_empty()),
        })
    }

    /// From when on it is no longer good.
    pub(crate) fn expiry(&self) -> OffsetDateTime {
        self.expiry
    }

    pub(crate) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Whether the token is for `resource`: decoded, and in any letter case.
    pub(crate) fn is_for(&self, resource: &str) -> bool {
        decoded(&self.resource).is_some_and(|named| named.eq_ignore_ascii_case(resource))
    }

    /// Whether the token is for a host, or for a branch of its paths that these decoded segments
    /// lie in: its resource is a prefix of them, segment by segment (Microsoft,
    /// how-to-control-access), decoded and in any letter case.
    pub(crate) fn covers(&self, host: &str, path: &[String]) -> bool {
        let Some(resource) = decoded(&self.resource) else { return false };
        let mut called = std::iter::once(host).chain(path.iter().map(String::as_str));
        let resource = resource.strip_suffix('/').unwrap_or(&resource);
        resource
            .split('/')
            .all(|named| called.next().is_some_and(|called| called.eq_ignore_ascii_case(named)))
    }

    /// As [`holds`](Self::holds), for a key in base64 as it is stored.
    pub(crate) fn holds_base64(&self, key: &str, now: OffsetDateTime) -> bool {
        STANDARD.decode(key).is_ok_and(|key| !key.is_empty() && self.holds(&key, now))
    }

    /// Whether `key` (decoded) signed it and it has not expired.
    pub(crate) fn holds(&self, key: &[u8], now: OffsetDateTime) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let signed = format!("{}\n{}", self.resource, self.expiry_text);
        hmac::verify(&key, signed.as_bytes(), &self.signature).is_ok() && self.expiry > now
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The key of one device, in base64, derived from the base64 of its group's key (Microsoft,
/// concepts-symmetric-key-attestation).
pub(crate) fn derived_key(group_key: &str, registration_id: &str) -> Option<String> {
    let group_key = STANDARD.decode(group_key).ok().filter(|key| !key.is_empty())?;
    let group_key = hmac::Key::new(hmac::HMAC_SHA256, &group_key);
    Some(STANDARD.encode(hmac::sign(&group_key, registration_id.as_bytes())))
}

/// Signing, for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    pub(crate) fn token(resource: &str, key: &[u8], expiry: i64, policy: &str) -> String {
        let resource = utf8_percent_encode(resource, NON_ALPHANUMERIC).to_string();
        format!("{}&skn={policy}", raw_token(&resource, key, expiry))
    }

    /// The resource as it stands, and no policy.
    pub(crate) fn raw_token(resource: &str, key: &[u8], expiry: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let signature =
            STANDARD.encode(hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes()));
        let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recomputed from the signing rule for a device of Microsoft's documents: the resource is
    /// signed in the spelling of the token, lower-case escapes here.
    const KEY: &str = "O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=";
    const TOKEN: &str = "SharedAccessSignature sr=0ne000EEBBD%2fregistrations%2fFirstDevice&\
                         sig=hwgBlMB6G2Zg5ZcYtwmtLVKRbifiSCPfUMyscbVWa8o%3D&se=1591921306&\
                         skn=registration";

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).expect("time")
    }

    #[test]
    fn a_known_token_holds_until_it_expires() {
        let token = SasToken::parse(TOKEN).expect("token");
        let key = STANDARD.decode(KEY).expect("key");
        assert!(token.holds(&key, at(1_591_921_305)));
        assert!(!token.holds(&key, at(1_591_921_306)));
        assert!(!token.holds(b"another key", at(1_591_921_305)));
        assert!(token.is_for("0NE000eebbd/registrations/firstdevice"));
        assert!(!token.is_for("0ne000EEBBD/registrations/other"));
        assert_eq!(token.policy(), Some("registration"));
    }

    /// The example of Microsoft's concepts-symmetric-key-attestation.
    #[test]
    fn a_device_key_is_derived_as_microsoft_documents_it() {
        let group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        assert_eq!(
            derived_key(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").as_deref(),
            Some("Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=")
        );
        assert_eq!(derived_key("no base64", "a"), None);
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        for text in [
            "",
            "Bearer abc",
            "SharedAccessSignature sr=a",
            "SharedAccessSignature sr=a&sig=%%%&se=1",
            "SharedAccessSignature sr=a&sig=AAAA&se=tomorrow",
            "SharedAccessSignature sr=a&sig=AAAA&se=9223372036854775807",
            "SharedAccessSignaturé sr=a&sig=AAAA&se=1",
        ] {
            assert!(SasToken::parse(text).is_none(), "{text}");
        }
    }
}
