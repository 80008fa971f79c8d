//! What a caller holds, before it is opened into an [`Identity`].

use std::{fmt, mem, path::PathBuf, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    chain::{self, CertificateChain},
    doctor::{Shown, with_finding, with_slow_signer},
    error::{Error, ErrorKind, Result},
    hub::DeviceId,
    identity::Identity,
    key::{Passphrase, PrivateKey},
    registration_id::RegistrationId,
    signer::Signer,
    source::{Named, Source},
    symmetric_key::{SymmetricKey, TokenSigner, derive_device_key},
};

/// A certificate chain and a key, or a registration ID and a symmetric key, wherever they are
/// kept.
#[must_use = "nothing is read before `open`"]
pub struct Credential {
    proof: Proof,
    passphrase: Option<Passphrase>,
    authorities: Option<Named>,
}

enum Proof {
    X509 { chain: Named, key: Key },
    SymmetricKey { id: Id, secret: Secret },
}

/// Whose symmetric key it is.
enum Id {
    Registration(String),
    Device(String),
}

enum Key {
    Source(Named),
    /// In the PKCS#12 file that holds the chain.
    WithChain,
    Signer(Arc<dyn Signer>),
}

enum Secret {
    /// The device's own key, in base64.
    Device(Zeroizing<String>),
    /// The key of its enrollment group, in base64.
    Group(Zeroizing<String>),
    Signer(Arc<dyn TokenSigner>),
}

pub(crate) const CHAIN: &str = "the certificate chain";
const OPEN: &str = "open credential";
const AUTHORITIES: &str = "the known CAs";

impl Credential {
    /// A file with the full chain, and a file with the leaf's private key: PEM, DER or PKCS#12.
    pub fn pem_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::pem(Source::file(chain), Source::file(key))
    }

    /// The full chain and the leaf's private key, each in memory or a [`Source`]: PEM, DER or
    /// PKCS#12.
    pub fn pem(chain: impl Into<Source>, key: impl Into<Source>) -> Self {
        Self::x509(chain, Key::Source(Named::new("the private key", key)))
    }

    /// A PKCS#12 (PFX) file with the full chain and the leaf's private key. Without a
    /// [`passphrase`](Self::passphrase) the empty one is tried.
    pub fn pkcs12_file(path: impl Into<PathBuf>) -> Self {
        Self::pkcs12(Source::file(path))
    }

    /// As [`pkcs12_file`](Self::pkcs12_file), in memory or a [`Source`].
    pub fn pkcs12(file: impl Into<Source>) -> Self {
        let chain = Named::new("the PKCS#12 file", file);
        Self::new(Proof::X509 { chain, key: Key::WithChain })
    }

    /// The full chain, in memory or a [`Source`], with a key that signs and stays where it is.
    pub fn signer(chain: impl Into<Source>, signer: Arc<dyn Signer>) -> Self {
        Self::x509(chain, Key::Signer(signer))
    }

    /// A PEM file with the full chain, with a key that signs and stays where it is.
    pub fn signer_with_chain_file(chain: impl Into<PathBuf>, signer: Arc<dyn Signer>) -> Self {
        Self::signer(Source::file(chain), signer)
    }

    /// The device's own symmetric key in base64: the primary or secondary key of its individual
    /// enrollment, or the one that was derived for it from the key of its enrollment group.
    pub fn symmetric_key(registration_id: impl Into<String>, key: impl Into<String>) -> Self {
        Self::keyed(registration_id, Secret::Device(Zeroizing::new(key.into())))
    }

    /// The symmetric key of an enrollment group in base64, from which the device's own is derived.
    ///
    /// Better is a device that holds its own key only: see [`derive_device_key`].
    pub fn group_key(registration_id: impl Into<String>, group_key: impl Into<String>) -> Self {
        Self::keyed(registration_id, Secret::Group(Zeroizing::new(group_key.into())))
    }

    /// A symmetric key that signs tokens and stays where it is.
    pub fn token_signer(registration_id: impl Into<String>, signer: Arc<dyn TokenSigner>) -> Self {
        Self::keyed(registration_id, Secret::Signer(signer))
    }

    fn x509(chain: impl Into<Source>, key: Key) -> Self {
        Self::new(Proof::X509 { chain: Named::new(CHAIN, chain), key })
    }

    fn keyed(registration_id: impl Into<String>, secret: Secret) -> Self {
        let id = Id::Registration(registration_id.into());
        Self::new(Proof::SymmetricKey { id, secret })
    }

    fn new(proof: Proof) -> Self {
        Self { proof, passphrase: None, authorities: None }
    }

    /// For a hub alone: what the symmetric key was given with is the ID of a device that the hub
    /// knows, which may hold more characters than a registration ID.
    pub fn for_hub(mut self) -> Self {
        if let Proof::SymmetricKey { id, .. } = &mut self.proof {
            *id = Id::Device(mem::take(id.text_mut()));
        }
        self
    }

    /// The passphrase of an encrypted key.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// The CA certificates that DPS knows, as a PEM file: the verified root, or the enrollment
    /// group's own. With them a missing intermediate is found before dialling.
    pub fn authorities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(Named::new(AUTHORITIES, Source::file(path)));
        self
    }

    /// As [`authorities_file`](Self::authorities_file), in memory or a [`Source`].
    pub fn authorities(mut self, pem: impl Into<Source>) -> Self {
        self.authorities = Some(Named::new(AUTHORITIES, pem));
        self
    }

    /// Reads the chain and the key and proves that they belong together; or reads the symmetric
    /// key.
    ///
    /// Blocks this thread for as long as it takes to read the files, to derive an encrypted key's
    /// key (PBKDF2 of up to 10 million rounds: seconds) and to have a signer sign once.
    pub fn open(self) -> Result<Identity> {
        let Self { proof, passphrase, authorities } = self;
        match proof {
            Proof::X509 { chain, key } => open_x509(&chain, key, passphrase, authorities),
            Proof::SymmetricKey { .. } if passphrase.is_some() || authorities.is_some() => {
                Err(keyless())
            }
            Proof::SymmetricKey { id, secret } => open_keyed(&id, secret),
        }
        .map_err(not_opened)
    }

    /// The error of a caller who waited as long as he could for the credential to be opened, which
    /// waits for its signer, or for whatever else holds its key.
    pub fn not_in_time() -> Error {
        let error = Error::new(
            ErrorKind::DeadlineExceeded,
            "the credential was not opened within the deadline",
        );
        with_slow_signer(error).during(OPEN)
    }
}

impl Identity {
    /// Whether the chain reaches one of these CA certificates, as
    /// [`Credential::authorities`] asks it before there is an identity.
    pub fn check_reaches(&self, authorities: impl Into<Source>) -> Result<()> {
        let authorities = Named::new(AUTHORITIES, authorities);
        match self.chain_and_source() {
            Some((chain, source)) => check_reaches(chain, &authorities, source),
            None => Err(keyless()),
        }
        .map_err(not_opened)
    }
}

impl Id {
    fn text_mut(&mut self) -> &mut String {
        let (Self::Registration(text) | Self::Device(text)) = self;
        text
    }
}

/// Says what was going on, and which finding explains it.
fn not_opened(error: Error) -> Error {
    with_finding(error, Shown::Unknown, None).during(OPEN)
}

fn keyless() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "a symmetric key has neither a passphrase nor authorities",
    )
}

fn check_reaches(
    chain: &CertificateChain,
    authorities: &Named,
    source: impl fmt::Display,
) -> Result<()> {
    let authorities = authorities.parse(chain::certificates_from_pem)?;
    chain.check_reaches(&authorities).map_err(|error| error.in_context(source))
}

/// A key that was read, with the files that an error is to name.
enum OpenKey {
    Private(PrivateKey, String),
    Signer(Arc<dyn Signer>),
}

fn open_x509(
    source: &Named,
    key: Key,
    passphrase: Option<Passphrase>,
    authorities: Option<Named>,
) -> Result<Identity> {
    let passphrase = passphrase.as_ref();
    let (chain, key) = match key {
        Key::WithChain => {
            let (chain, key) = source.parse(|bytes| chain::from_pkcs12(bytes, passphrase))?;
            (chain, OpenKey::Private(key, source.to_string()))
        }
        Key::Source(key) => (
            source.parse(|bytes| CertificateChain::from_any_form(bytes, passphrase))?,
            OpenKey::Private(
                key.parse(|bytes| PrivateKey::from_pem(bytes, passphrase))?,
                format!("{key} and {source}"),
            ),
        ),
        Key::Signer(signer) => (
            source.parse(|bytes| CertificateChain::from_any_form(bytes, passphrase))?,
            OpenKey::Signer(signer),
        ),
    };
    for warning in chain.warnings() {
        tracing::warn!("{source}: {warning}");
    }
    let identity = match key {
        OpenKey::Private(key, context) => {
            Identity::from_key(chain, key, source).map_err(|error| error.in_context(context))?
        }
        OpenKey::Signer(signer) => Identity::from_signer(chain, signer, source)
            .map_err(|error| error.in_context(source))?,
    };
    if let (Some(authorities), Some(chain)) = (authorities, identity.chain()) {
        check_reaches(chain, &authorities, source)?;
    }
    Ok(identity)
}

fn open_keyed(id: &Id, secret: Secret) -> Result<Identity> {
    let id = match id {
        Id::Registration(id) => RegistrationId::parse(id)?.as_str().to_owned(),
        Id::Device(id) => DeviceId::parse(id)?.as_str().to_owned(),
    };
    Ok(match secret {
        Secret::Device(key) => Identity::from_symmetric_key(id, SymmetricKey::from_base64(&key)?),
        Secret::Group(key) => {
            let group_key = SymmetricKey::from_base64(&key)
                .map_err(|error| error.in_context("the enrollment group's key"))?;
            let key = derive_device_key(&group_key, &RegistrationId::parse(&id)?);
            Identity::from_symmetric_key(id, key)
        }
        Secret::Signer(signer) => Identity::from_token_signer(id, signer),
    })
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::X509 { chain, .. } => write!(f, "Credential({chain}, ..)"),
            Proof::SymmetricKey { id: Id::Registration(id) | Id::Device(id), .. } => {
                write!(f, "Credential({id}, ..)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::{Authority, Validity},
        key::KeyType,
        signer::{SignRequest, SignatureAlgorithm, SignerError},
    };

    const KEY: &str = "O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=";

    #[test]
    fn a_symmetric_key_stands_for_the_registration_id_it_was_given_with() {
        let id = "x".repeat(128);
        for credential in [Credential::symmetric_key(&id, KEY), Credential::group_key(&id, KEY)] {
            let shown = format!("{credential:?}");
            let identity = credential.open().unwrap();
            assert_eq!(identity.registration_id().unwrap().as_str(), id);
            assert!(identity.chain().is_none());
            assert!(!format!("{shown} {identity:?}").contains("O+H9"), "{shown} {identity:?}");
        }
    }

    #[test]
    fn a_hub_allows_more_in_a_device_id_than_dps_in_a_registration_id() {
        let identity = Credential::symmetric_key("A*b,c", KEY).for_hub().open().unwrap();
        let error = identity.registration_id().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
        let error = Credential::symmetric_key("a b", KEY).for_hub().open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn an_open_identity_is_asked_for_its_authorities_as_its_credential_would_be() {
        let ((chain, key), (other, _)) = (device(KeyType::EcP256), device(KeyType::EcP256));
        let key = key.to_pem().unwrap();
        let open = || Credential::pem(chain.as_str(), key.as_bytes());
        let root = |chain: &str| chain[chain.rfind("-----BEGIN").unwrap()..].to_owned();
        let identity = open().authorities(root(&chain)).open().unwrap();
        identity.check_reaches(root(&chain)).unwrap();
        let early = open().authorities(root(&other)).open().unwrap_err();
        let late = identity.check_reaches(root(&other)).unwrap_err();
        assert_eq!((early.kind(), early.hint()), (late.kind(), late.hint()));
        assert_eq!(early.to_string(), late.to_string());
        let keyed = Credential::symmetric_key("a", KEY).open().unwrap();
        let error = keyed.check_reaches(root(&chain)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn what_is_wrong_with_a_symmetric_key_is_said_without_showing_it() {
        let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        for (credential, kind, words) in [
            (Credential::symmetric_key("a b", KEY), ErrorKind::RegistrationIdInvalid, "' '"),
            (Credential::symmetric_key("a", &KEY[1..]), ErrorKind::KeyMalformed, "not base64"),
            (Credential::group_key("a", "O+H9VQ=="), ErrorKind::KeyMalformed, "group's key"),
            (
                Credential::symmetric_key("a", KEY).authorities(pem),
                ErrorKind::InvalidArgument,
                "neither a passphrase nor authorities",
            ),
        ] {
            let error = credential.open().unwrap_err();
            assert_eq!((error.kind(), error.operation()), (kind, "open credential"), "{error}");
            assert!(error.message().contains(words), "{error}");
            assert!(!error.to_string().contains("H9VT"), "{error}");
        }
    }

    /// The chain of a device as PEM, and its key.
    fn device(key_type: KeyType) -> (String, PrivateKey) {
        let [root_key, key] = [KeyType::EcP256, key_type].map(PrivateKey::generate);
        let root = Authority::create_root("Root", root_key.unwrap(), Validity::days(1)).unwrap();
        let (id, key) = (RegistrationId::parse("device-01").unwrap(), key.unwrap());
        let leaf = root.issue_device(&id, key.public_key_info(), Validity::days(1)).unwrap();
        (leaf.to_pem() + &root.certificate().to_pem(), key)
    }

    #[test]
    fn the_chain_may_be_in_memory_and_the_key_in_a_file() {
        let (chain, key) = device(KeyType::EcP256);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device-01.key.pem");
        std::fs::write(&path, key.to_pem().unwrap().as_bytes()).unwrap();
        Credential::pem(chain.as_str(), Source::file(&path)).open().unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = Credential::pem(chain, Source::file(&path)).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileNotReadable);
        assert!(error.message().starts_with(&path.display().to_string()), "{error}");
    }

    #[test]
    fn another_key_is_told_from_one_of_another_type() {
        let (chain, _) = device(KeyType::EcP256);
        for (key_type, words) in [
            (KeyType::EcP256, "another key of the same type"),
            (KeyType::EcP384, "the private key is EC P-384"),
        ] {
            let key = PrivateKey::generate(key_type).unwrap().to_pem().unwrap();
            let error = Credential::pem(chain.as_str(), key.as_bytes()).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyMismatch);
            assert!(error.message().contains(words), "{error}");
        }
    }

    /// Says nothing of what it can do.
    struct Silent(PrivateKey);

    impl Signer for Silent {
        fn algorithms(&self) -> &[SignatureAlgorithm] {
            &[]
        }

        fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
            self.0.sign(request)
        }
    }

    #[test]
    fn a_signer_that_says_nothing_can_do_all_that_its_certificates_key_can() {
        for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa(2048)] {
            let (chain, key) = device(key_type);
            Credential::signer(chain.as_str(), Arc::new(Silent(key))).open().unwrap();
            let other = Silent(PrivateKey::generate(KeyType::EcP256).unwrap());
            let error = Credential::signer(chain, Arc::new(other)).open().unwrap_err();
            let kinds = [ErrorKind::KeyMismatch, ErrorKind::Signer];
            assert!(kinds.contains(&error.kind()), "{key_type}: {error}");
        }
    }
}
