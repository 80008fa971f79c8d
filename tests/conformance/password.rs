//! What devices with a symmetric key show in place of a certificate, judged without core.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;

/// A password as it came.
#[derive(Clone)]
pub(crate) struct Password {
    pub(crate) text: String,
    pub(crate) at: SystemTime,
}

/// How long a token is good where a case asks for nothing else, in seconds (Microsoft's SDKs).
const LIFETIME: u64 = 3600;

/// How much of its life a token may have lost on its way, in seconds.
const UNDER_WAY: u64 = 60;

impl Password {
    /// The password with what differs from run to run given one name: `sig` as `(genuine)` where it
    /// is that of this key and as `(of another key)` where it is not, `se` as `(now+SECONDS)` where
    /// the token lasts an hour, or `lifetime`. Whatever fits neither stays as it came.
    pub(crate) fn shown(&self, key: &[u8], lifetime: Option<u64>) -> String {
        let Some(fields) = self.text.strip_prefix("SharedAccessSignature ") else {
            return self.text.clone();
        };
        let field = |name: &str| {
            fields.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let shown = fields.split('&').map(|given| match given.split_once('=') {
            Some(("sig", signature)) => {
                let genuine = is_genuine(signature, field("sr"), field("se"), key);
                genuine
                    .map_or(given, |it| if it { "sig=(genuine)" } else { "sig=(of another key)" })
                    .to_owned()
            }
            Some(("se", expiry)) => match self.lasts(expiry, lifetime) {
                Some(seconds) => format!("se=(now+{seconds})"),
                None => given.to_owned(),
            },
            _ => given.to_owned(),
        });
        format!("SharedAccessSignature {}", shown.collect::<Vec<_>>().join("&"))
    }

    /// The lifetime that this expiry fits.
    fn lasts(&self, expiry: &str, lifetime: Option<u64>) -> Option<u64> {
        let now = self.at.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let expiry: u64 = expiry.parse().ok()?;
        [Some(LIFETIME), lifetime].into_iter().flatten().find(|lifetime| {
            // Whole seconds, rounded up by whoever issues.
            let end = now + lifetime + 1;
            (end.saturating_sub(UNDER_WAY)..=end).contains(&expiry)
        })
    }
}

/// The key of one device of a group. (Microsoft, "Symmetric key attestation", group enrollments)
pub(crate) fn derived(group_key: &[u8], registration_id: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, group_key);
    hmac::sign(&key, registration_id.as_bytes()).as_ref().to_vec()
}

/// Whether this is the HMAC of `sr` as it stands there, a line break, and `se`; nothing where it is
/// no HMAC at all. (Microsoft, "Control access to IoT Hub by using SAS tokens")
fn is_genuine(
    signature: &str,
    resource: Option<&str>,
    expiry: Option<&str>,
    key: &[u8],
) -> Option<bool> {
    let message = format!("{}\n{}", resource?, expiry?);
    let signature: Vec<u8> = percent_decode_str(signature).collect();
    let signature = BASE64_STANDARD.decode(signature).ok().filter(|it| it.len() == 32)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    Some(hmac::verify(&key, message.as_bytes(), &signature).is_ok())
}
