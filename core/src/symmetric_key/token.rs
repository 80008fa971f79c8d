//! Shared access signatures: `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::utf8_percent_encode;
use tokio::{sync::oneshot, time::timeout};
use zeroize::Zeroizing;

use super::TokenSigner;
use crate::{
    error::{Error, ErrorKind, Result},
    percent::RESERVED,
    registration_id::RegistrationId,
    signer::{SIGN_LIMIT, SignerError},
    tls::SigningThreads,
};

/// How long a token is good where nothing else is asked for, as with Microsoft's SDKs.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// HMAC-SHA256 has 32 bytes (RFC 4868, section 2.1).
const SIGNATURE_LENGTH: usize = 32;

/// Where the tokens for one resource come from.
#[derive(Clone)]
pub(crate) struct Tokens {
    signer: Arc<dyn TokenSigner>,
    /// Encoded: the spelling that is sent is the one that is signed.
    resource: String,
    /// The name of the key, where the service wants one.
    key_name: Option<&'static str>,
    lifetime: Duration,
}

impl Tokens {
    /// For a registration with DPS. (Microsoft, "Control access to DPS", security token structure)
    pub(crate) fn for_registration(
        signer: Arc<dyn TokenSigner>,
        id_scope: &str,
        id: &RegistrationId,
    ) -> Self {
        let resource = encoded(&format!("{id_scope}/registrations/{id}"));
        Self { signer, resource, key_name: Some("registration"), lifetime: LIFETIME }
    }

    /// For a device of a hub. (Microsoft, "Control access to IoT Hub by using SAS tokens")
    pub(crate) fn for_device(
        signer: Arc<dyn TokenSigner>,
        hub: &str,
        device_id: &str,
        lifetime: Duration,
    ) -> Self {
        let resource = encoded(&format!("{hub}/devices/{device_id}"));
        Self { signer, resource, key_name: None, lifetime }
    }

    /// How long a token is good from the moment it is issued.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token that is good from `now` on.
    pub(crate) async fn issue(&self, now: SystemTime) -> Result<Zeroizing<String>> {
        // A clock before 1970 makes a token that the service refuses as expired.
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = since_1970.saturating_add(self.lifetime);
        // Whole seconds: cut off, a short lifetime would end before it is renewed.
        let expiry = expiry.as_secs().saturating_add(u64::from(expiry.subsec_nanos() > 0));
        let message = format!("{}\n{expiry}", self.resource);
        let signature = Zeroizing::new(sign(&self.signer, message.into_bytes()).await?);
        if signature.len() != SIGNATURE_LENGTH {
            let (given, wanted) = (signature.len(), SIGNATURE_LENGTH);
            let message = format!("it returned {given} bytes; an HMAC-SHA256 has {wanted}");
            return Err(SignerError::new(message).into());
        }
        let signature = Zeroizing::new(BASE64_STANDARD.encode(signature.as_slice()));
        // One allocation: a text that grows would leave a copy behind.
        let mut token = Zeroizing::new(String::with_capacity(self.resource.len() + 256));
        token.push_str("SharedAccessSignature sr=");
        token.push_str(&self.resource);
        token.push_str("&sig=");
        token.extend(utf8_percent_encode(&signature, RESERVED));
        let key_name = self.key_name.map(|name| format!("&skn={name}")).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = write!(token, "&se={expiry}{key_name}");
        Ok(token)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

async fn sign(signer: &Arc<dyn TokenSigner>, message: Vec<u8>) -> Result<Vec<u8>> {
    if !signer.may_block() {
        return Ok(signer.sign(&message)?);
    }
    let signer = Arc::clone(signer);
    let (answer, signed) = oneshot::channel();
    SigningThreads::shared().execute(Box::new(move || {
        // Who waited for it while others signed may be gone; or may go while it signs.
        if !answer.is_closed() {
            let _ = answer.send(signer.sign(&message));
        }
    }));
    let late = |_| {
        let limit = SIGN_LIMIT.as_secs();
        Error::new(ErrorKind::RequestTimeout, format!("the signer did not answer within {limit} s"))
    };
    let ended = |_| Error::new(ErrorKind::Signer, "the signer's thread ended");
    Ok(timeout(SIGN_LIMIT, signed).await.map_err(late)?.map_err(ended)??)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        thread,
    };

    use super::{super::SymmetricKey, *};

    const SECRET: &str = "O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=";

    fn key() -> Arc<dyn TokenSigner> {
        Arc::new(SymmetricKey::from_base64(SECRET).unwrap())
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The signature was made with `openssl dgst -sha256 -mac HMAC`.
    #[tokio::test]
    async fn a_registrations_token_names_scope_device_and_key() {
        let id = RegistrationId::parse("FirstDevice").unwrap();
        let tokens = Tokens::for_registration(key(), "0ne000EEBBD", &id);
        assert_eq!(
            tokens.issue(at(1_591_917_706)).await.unwrap().as_str(),
            "SharedAccessSignature sr=0ne000EEBBD%2Fregistrations%2FFirstDevice&\
             sig=sL4rhIkkskrpxkpy7ywhLDZgoTDyCxVSuq%2BAoGTGCmA%3D&se=1591921306&skn=registration"
        );
    }

    #[tokio::test]
    async fn a_hubs_token_names_hub_and_device_and_no_key() {
        let lifetime = Duration::from_millis(1500);
        let hub = "contoso-hub-2.azure-devices.net";
        let tokens = Tokens::for_device(key(), hub, "a:b", lifetime);
        assert_eq!(
            tokens.issue(at(1_591_921_304)).await.unwrap().as_str(),
            "SharedAccessSignature sr=contoso-hub-2.azure-devices.net%2Fdevices%2Fa%3Ab&\
             sig=A%2BfhqpUqdGSQbPcIBku6g%2FCWZkQx3HwpTgtMrDvlNL0%3D&se=1591921306"
        );
    }

    #[tokio::test]
    async fn clocks_and_lifetimes_beyond_all_reason_are_survived() {
        let tokens = Tokens::for_device(key(), "hub", "d", Duration::MAX);
        let long_ago = UNIX_EPOCH - Duration::from_secs(1);
        for now in [long_ago, UNIX_EPOCH, SystemTime::now()] {
            assert!(tokens.issue(now).await.unwrap().contains("&se=1844674407370955"));
        }
    }

    struct Foreign(Result<usize, &'static str>);

    impl TokenSigner for Foreign {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
            assert_ne!(thread::current().name(), Some("the reactor's"));
            match self.0 {
                Ok(length) => Ok(vec![0; length]),
                Err("panic") => panic!("a signer that panics"),
                Err(words) => Err(SignerError::new(words).with_code(7)),
            }
        }
    }

    #[test]
    fn a_foreign_signer_is_called_elsewhere_and_its_faults_are_told() {
        let issue = |outcome| {
            let run = move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_time().build().unwrap();
                let tokens = Tokens::for_device(Arc::new(Foreign(outcome)), "h", "d", LIFETIME);
                runtime.block_on(tokens.issue(SystemTime::now()))
            };
            let reactor = thread::Builder::new().name("the reactor's".into()).spawn(run).unwrap();
            reactor.join().unwrap()
        };
        assert!(issue(Ok(32)).is_ok());
        for (outcome, words) in [
            (Ok(20), "20 bytes"),
            (Err("key slot empty"), "key slot empty (code 7)"),
            (Err("panic"), "ended"),
        ] {
            let error = issue(outcome).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Signer);
            assert!(error.message().contains(words), "{error}");
        }
    }

    /// Answers when it is dropped.
    struct Silent(Mutex<mpsc::Receiver<()>>);

    impl TokenSigner for Silent {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
            let _ = self.0.lock().unwrap().recv();
            Err(SignerError::new("too late"))
        }
    }

    /// Or a hub's client would be without a connection for ever, and say nothing.
    #[tokio::test(start_paused = true)]
    async fn a_silent_signer_is_given_up_and_may_be_asked_again() {
        let (release, held) = mpsc::channel();
        let signer = Arc::new(Silent(Mutex::new(held)));
        let tokens = Tokens::for_device(signer, "hub", "d", LIFETIME);
        let error = tokens.issue(SystemTime::now()).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::RequestTimeout, true), "{error}");
        drop(release);
    }
}
