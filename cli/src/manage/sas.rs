//! Shared access signatures (Microsoft, how-to-control-access): what a policy's key is for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::login::Login;

/// Long enough for any one call; each call has a token of its own.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The `Authorization` header for calls to the login's host.
pub(super) fn authorization(login: &Login) -> Zeroizing<String> {
    let resource = utf8_percent_encode(login.host.as_str(), NON_ALPHANUMERIC);
    // A clock before 1970 makes a token that the service refuses as expired, and says so.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expiry = (now + LIFETIME).as_secs();
    let signature = signature(&login.key, &format!("{resource}\n{expiry}"));
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    let policy = utf8_percent_encode(&login.policy, NON_ALPHANUMERIC);
    Zeroizing::new(format!(
        "SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}"
    ))
}

fn signature(key: &[u8], text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token that Microsoft's documentation shows, whose signature was computed apart from us.
    #[test]
    fn the_signature_is_that_of_a_known_token() {
        let key = STANDARD.decode("O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=").unwrap();
        let text = "0ne000EEBBD%2fregistrations%2fFirstDevice\n1591921306";
        assert_eq!(signature(&key, text), "hwgBlMB6G2Zg5ZcYtwmtLVKRbifiSCPfUMyscbVWa8o=");
    }

    #[test]
    fn a_token_names_the_host_the_policy_and_an_hour() {
        let login = Login::parse(
            "HostName=my-dps.azure-devices-provisioning.net;SharedAccessKeyName=p;SharedAccessKey=a2V5",
        )
        .unwrap();
        let token = authorization(&login);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let part = |name: &str| {
            let rest = token.split_once(name).unwrap().1;
            rest.split('&').next().unwrap().to_owned()
        };
        assert_eq!(part(" sr="), "my%2Ddps%2Eazure%2Ddevices%2Dprovisioning%2Enet");
        assert_eq!(part("&skn="), "p");
        let left = part("&se=").parse::<u64>().unwrap() - now;
        assert!((3590..=3600).contains(&left), "{left}");
    }
}
