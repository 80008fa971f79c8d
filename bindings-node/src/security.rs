//! Who a device is: a certificate chain with its key, or a symmetric key.

use std::{
    cell::Cell,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use dps_core::{
    Credential, Error, ErrorKind, Identity, SignatureAlgorithm, Source,
    hsm::{self, SymmetricKeyHsm},
    key::Passphrase,
    symmetric_key::derive_device_key_base64,
    tls::{SigningExecutor, SigningThreads},
};
use napi::{
    Env, Unknown, ValueType,
    bindgen_prelude::{FnArgs, Function, FunctionRef, JsObjectValue, Object},
};
use napi_derive::napi;
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use zeroize::Zeroizing;

use crate::{
    environment::{Environment, JsThread},
    error::thrown,
    js::{self, Late, SecretText, invalid},
    options::{self, text},
    signer::{self, JsSigner, Waits},
    token_signer::JsTokenSigner,
};

/// A certificate chain and what signs for its leaf: `cert` or `certFile`, with `key`, `keyFile` or
/// `signer`; or both in one, as `pkcs12` or `pkcs12File`.
#[napi(object, object_to_js = false)]
pub struct X509<'env> {
    /// The full chain as PEM; or as PKCS#12, or, where it is one certificate, as DER.
    #[napi(ts_type = "string | Uint8Array")]
    pub cert: Option<Unknown<'env>>,
    /// The path of a file with the full chain; errors then name the file.
    #[napi(ts_type = "string")]
    pub cert_file: Option<Unknown<'env>>,
    /// The leaf's private key as PEM, DER or PKCS#12.
    #[napi(ts_type = "string | Uint8Array")]
    pub key: Option<Unknown<'env>>,
    /// The path of a file with the leaf's private key.
    #[napi(ts_type = "string")]
    pub key_file: Option<Unknown<'env>>,
    /// A PKCS#12 (PFX) file's content: the full chain and the leaf's private key.
    #[napi(ts_type = "Uint8Array")]
    pub pkcs12: Option<Unknown<'env>>,
    /// The path of a PKCS#12 (PFX) file with the full chain and the leaf's private key.
    #[napi(ts_type = "string")]
    pub pkcs12_file: Option<Unknown<'env>>,
    /// The passphrase of an encrypted key or of a PKCS#12 file.
    #[napi(ts_type = "string")]
    pub passphrase: Option<Unknown<'env>>,
    /// Signs in place of a key: the key stays where it is.
    #[napi(ts_type = "Signer")]
    pub signer: Option<Unknown<'env>>,
    /// What the signer can do, in order of preference, where it is not all that its type of key
    /// can.
    #[napi(ts_type = "SignatureAlgorithm[]")]
    pub algorithms: Option<Vec<String>>,
    /// The CA certificates that DPS knows, as PEM: the verified root, or the enrollment group's own.
    /// With them a missing intermediate is found before dialling.
    #[napi(ts_type = "string | Uint8Array")]
    pub authorities: Option<Unknown<'env>>,
    /// The path of a file with them.
    #[napi(ts_type = "string")]
    pub authorities_file: Option<Unknown<'env>>,
}

/// The names in [`X509`].
pub(crate) const X509_OPTIONS: [&str; 11] = [
    "cert",
    "certFile",
    "key",
    "keyFile",
    "pkcs12",
    "pkcs12File",
    "passphrase",
    "signer",
    "algorithms",
    "authorities",
    "authoritiesFile",
];

/// A device that proves itself by an X.509 certificate.
#[napi]
pub struct X509Security {
    security: Arc<Security>,
}

#[napi]
impl X509Security {
    /// Reads nothing yet: what is wrong with the certificate or the key is said by the first call
    /// that needs them. Without a registration ID, that is the common name of the leaf. The
    /// certificate and key may also come from a function, once they are needed.
    #[napi(
        catch_unwind,
        constructor,
        ts_args_type = "registrationId: string | undefined, x509: X509 | (() => X509 | Promise<X509>)"
    )]
    pub fn new(env: &Env, registration_id: Unknown<'_>, x509: Unknown<'_>) -> napi::Result<Self> {
        let read = || -> Result<Self, Error> {
            let registration_id = optional_id(registration_id)?;
            let material = match js::function(x509) {
                Some(function) => Material::Later(reference(function)?),
                None => {
                    options::only(env, x509, "x509", &[&X509_OPTIONS])?;
                    Material::X509(X509Material::read(env, x509)?)
                }
            };
            Ok(Self { security: Security::new(registration_id, material)? })
        };
        read().map_err(|error| thrown(env, &error))
    }

    /// The registration ID, where one was given.
    #[napi(catch_unwind)]
    pub fn get_registration_id(&self) -> Option<String> {
        self.security.registration_id.clone()
    }
}

/// A device that proves itself by a symmetric key.
#[napi]
pub struct SymmetricKeySecurityClient {
    security: Arc<Security>,
}

#[napi]
impl SymmetricKeySecurityClient {
    /// A device with the key of its individual enrollment, or with the key that was derived for it
    /// from its group's, in base64; or with a function that signs with a key that stays where it is.
    #[napi(
        catch_unwind,
        constructor,
        ts_args_type = "registrationId: string, symmetricKey: string | TokenSigner"
    )]
    pub fn new(env: &Env, registration_id: Unknown<'_>, key: Unknown<'_>) -> napi::Result<Self> {
        Self::read(registration_id, key).map_err(|error| thrown(env, &error))
    }

    fn read(registration_id: Unknown<'_>, key: Unknown<'_>) -> Result<Self, Error> {
        let registration_id = text(registration_id, "registrationId")?;
        let material = match js::function(key) {
            Some(function) => Material::TokenSigner(reference(function)?),
            None => Material::SymmetricKey(Zeroizing::new(text(key, "symmetricKey")?)),
        };
        Ok(Self { security: Security::new(Some(registration_id), material)? })
    }

    /// The registration ID.
    #[napi(catch_unwind)]
    pub fn get_registration_id(&self) -> String {
        self.security.registration_id.clone().unwrap_or_default()
    }
}

/// The key of one device of an enrollment group, from the key of the group, both in base64.
///
/// Whoever holds the group's key can take the part of every device of the group, so it belongs
/// where devices are made, and the derived key into the device.
#[napi(
    catch_unwind,
    ts_args_type = "groupKey: string, registrationId: string",
    ts_return_type = "string"
)]
pub fn derive_device_key(
    env: &Env,
    group_key: Unknown<'_>,
    registration_id: Unknown<'_>,
) -> napi::Result<Late<SecretText>> {
    let derive = || -> Result<_, Error> {
        let group_key = Zeroizing::new(text(group_key, "groupKey")?);
        let id = text(registration_id, "registrationId")?;
        derive_device_key_base64(&group_key, &id)
    };
    derive().map(|key| Late(SecretText(key))).map_err(|error| thrown(env, &error))
}

/// Who a device is, opened when it is first needed.
pub(crate) struct Security {
    pub(crate) registration_id: Option<String>,
    /// What it is opened from goes once it is: a gateway holds a thousand of these.
    material: tokio::sync::Mutex<Material>,
    /// Whether a function of the user's is waited for while it is opened.
    asks: bool,
    thread: JsThread,
    waits: Arc<Waits>,
}

enum Material {
    X509(X509Material),
    /// A function that gives it.
    Later(Reference),
    SymmetricKey(Zeroizing<String>),
    /// A function that gives it.
    SymmetricKeyLater(Reference),
    TokenSigner(Reference),
    Opened(Identity),
}

impl Material {
    fn asks(&self) -> bool {
        match self {
            Self::Later(_) | Self::SymmetricKeyLater(_) => true,
            Self::X509(material) => matches!(material.key, Key::Signer(..)),
            Self::SymmetricKey(_) | Self::TokenSigner(_) | Self::Opened(_) => false,
        }
    }
}

/// What an identity is opened for: a hub allows more characters in a device's ID.
#[derive(Clone, Copy)]
enum Purpose {
    Registration,
    Hub,
}

pub(crate) type Reference = Arc<FunctionRef<Unknown<'static>, Unknown<'static>>>;

#[derive(Clone)]
pub(crate) struct X509Material {
    chain: Source,
    key: Key,
    passphrase: Option<Passphrase>,
    authorities: Option<Source>,
}

/// What was given of a certificate and a key.
pub(crate) struct X509Parts {
    pub(crate) chain: Option<Source>,
    pub(crate) key: Option<Key>,
    pub(crate) passphrase: Option<Passphrase>,
    pub(crate) authorities: Option<Source>,
}

#[derive(Clone)]
pub(crate) enum Key {
    /// `None`: in the PKCS#12 file that holds the chain.
    Private(Option<Source>),
    Signer(Reference, Vec<SignatureAlgorithm>),
}

impl Security {
    fn new(registration_id: Option<String>, material: Material) -> Result<Arc<Self>, Error> {
        let environment = Environment::current().map_err(|error| internal(&error))?;
        Ok(Arc::new(Self {
            registration_id,
            asks: material.asks(),
            material: tokio::sync::Mutex::new(material),
            thread: environment.thread(),
            waits: Arc::default(),
        }))
    }

    /// A device with this certificate and key.
    pub(crate) fn x509(material: X509Material) -> Result<Arc<Self>, Error> {
        Self::new(None, Material::X509(material))
    }

    /// A device whose identity is there.
    pub(crate) fn opened_already(identity: Identity) -> Result<Arc<Self>, Error> {
        Self::new(None, Material::Opened(identity))
    }

    /// The security client that an argument is: ours, or an object that knows where the certificate
    /// or the symmetric key is, by `getRegistrationId` with `getCertificate` or `getSymmetricKey`.
    pub(crate) fn from_argument(env: &Env, value: Unknown<'_>) -> Result<Arc<Self>, Error> {
        if let Some(ours) = js::instance::<X509Security>(value) {
            return Ok(Arc::clone(&ours.security));
        }
        if let Some(ours) = js::instance::<SymmetricKeySecurityClient>(value) {
            return Ok(Arc::clone(&ours.security));
        }
        let provides = |object: Object<'_>| -> napi::Result<Option<&str>> {
            if !object.has_named_property("getRegistrationId")? {
                return Ok(None);
            }
            for method in ["getCertificate", "getSymmetricKey"] {
                if object.has_named_property(method)? {
                    return Ok(Some(method));
                }
            }
            Ok(None)
        };
        let unreadable =
            |error| invalid("security", "it could not be read").with_source(js::caught(env, error));
        match js::object(value).map(provides).transpose().map_err(unreadable)?.flatten() {
            Some(method) => Self::adopt(env, value, method),
            None => Err(invalid(
                "security",
                "it is no X509Security, no SymmetricKeySecurityClient, and has no \
                 getRegistrationId with getCertificate or getSymmetricKey",
            )),
        }
    }

    /// An object of the user's, whose `method` is called once what it gives is needed.
    fn adopt(env: &Env, value: Unknown<'_>, method: &str) -> Result<Arc<Self>, Error> {
        type Adopt<'a> = Function<'a, FnArgs<(Unknown<'a>, &'a str)>, Object<'a>>;
        let adopt = || {
            let adopt: Adopt<'_> = Environment::current()?.hook(env, "adopt")?;
            adopt.call((value, method).into())
        };
        let adopted = adopt().map_err(|error| {
            invalid("security", "its getRegistrationId failed").with_source(error)
        })?;
        let id = adopted.get_named_property("registrationId").map_err(|error| internal(&error))?;
        let give = adopted.get_named_property("give").map_err(|error| internal(&error))?;
        let give = reference(give)?;
        match method {
            "getCertificate" => Self::new(optional_id(id)?, Material::Later(give)),
            _ => Self::new(Some(text(id, "registrationId")?), Material::SymmetricKeyLater(give)),
        }
    }

    /// Uses the device for a while.
    pub(crate) fn in_use(self: &Arc<Self>) -> InUse {
        InUse { security: Arc::clone(self), _signer: self.waits.in_use() }
    }

    /// The identity; within this time, where a function of the user's has a part in it. What could
    /// not be opened is tried again the next time.
    async fn identity(&self, purpose: Purpose, limit: Duration) -> Result<Identity, Error> {
        if !self.asks {
            return self.opened(purpose).await;
        }
        let opened = timeout(limit, self.opened(purpose)).await;
        opened.unwrap_or_else(|_| Err(Credential::not_in_time()))
    }

    /// The identity, opened now if it is not yet; one call opens it for all.
    async fn opened(&self, purpose: Purpose) -> Result<Identity, Error> {
        let mut material = self.material.lock().await;
        let identity = self.open(&material, purpose).await?;
        if !matches!(*material, Material::Opened(_)) {
            *material = Material::Opened(identity.clone());
        }
        Ok(identity)
    }

    async fn open(&self, material: &Material, purpose: Purpose) -> Result<Identity, Error> {
        let id = || self.registration_id.clone().unwrap_or_default();
        let keyed = |credential: Credential| match purpose {
            Purpose::Registration => credential.open(),
            Purpose::Hub => credential.for_hub().open(),
        };
        match material {
            Material::Opened(identity) => Ok(identity.clone()),
            Material::SymmetricKey(key) => keyed(Credential::symmetric_key(id(), key.as_str())),
            Material::TokenSigner(function) => {
                let (thread, waits) = (self.thread.clone(), Arc::clone(&self.waits));
                let signer = JsTokenSigner::new(thread, Arc::clone(function), waits);
                keyed(Credential::token_signer(id(), Arc::new(signer)))
            }
            Material::SymmetricKeyLater(function) => {
                let key = self.fetch(function, given_key, no_key).await;
                hsm::open_symmetric_key(&Given { id: id(), key: Cell::new(Some(key)) })
            }
            Material::X509(material) => self.open_x509(material.clone()).await,
            Material::Later(function) => {
                let material = self.fetch(function, X509Material::read, no_certificate).await?;
                self.open_x509(material).await
            }
        }
    }

    async fn open_x509(&self, material: X509Material) -> Result<Identity, Error> {
        let X509Material { chain, key, passphrase, authorities } = material;
        let open = move |credential: Credential| {
            let credential = passphrase.into_iter().fold(credential, Credential::passphrase);
            authorities.into_iter().fold(credential, Credential::authorities).open()
        };
        match key {
            Key::Private(key) => {
                // Files are read, and a passphrase takes its time.
                elsewhere(spawn_blocking(move || {
                    open(match key {
                        None => Credential::pkcs12(chain),
                        Some(key) => Credential::pem(chain, key),
                    })
                }))
                .await
            }
            Key::Signer(function, announced) => {
                let (thread, waits) = (self.thread.clone(), Arc::clone(&self.waits));
                // The test signature waits for the JavaScript thread.
                let (answer, opened) = oneshot::channel();
                openers().execute(Box::new(move || {
                    let signer = JsSigner::new(thread, function, announced, waits).of_device();
                    // Nobody listens where the wait was over first.
                    let _ = answer.send(open(Credential::signer(chain, Arc::new(signer))));
                }));
                elsewhere(opened).await
            }
        }
    }

    /// Asks a function for what it gives, and reads that.
    async fn fetch<T: Send + 'static>(
        &self,
        function: &Reference,
        read: fn(&Env, Unknown<'_>) -> Result<T, Error>,
        failed: fn(napi::Error) -> Error,
    ) -> Result<T, Error> {
        let (answer, fetched) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let function = Arc::clone(function);
        self.thread.run(move |env| {
            let raw = *env;
            let say = {
                let answer = Arc::clone(&answer);
                move |outcome: Result<T, Error>| {
                    let sender = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                    // Nobody listens where the wait was over first.
                    let _ = sender.map(|sender| sender.send(outcome));
                }
            };
            let done = say.clone();
            let asked = signer::call(env, &function, (), move |outcome| {
                done(match outcome {
                    Ok(value) => read(&raw, value),
                    Err(error) => Err(failed(error)),
                });
            });
            if let Err(error) = asked {
                say(Err(failed(error)));
            }
            Ok(())
        });
        elsewhere(fetched).await
    }
}

/// A use of a [`Security`], and of its signer.
pub(crate) struct InUse {
    security: Arc<Security>,
    _signer: signer::InUse,
}

impl InUse {
    /// The identity, to register with, within this time.
    pub(crate) async fn identity(&self, limit: Duration) -> Result<Identity, Error> {
        self.security.identity(Purpose::Registration, limit).await
    }

    /// The identity, to connect to a hub with, within this time.
    pub(crate) async fn hub_identity(&self, limit: Duration) -> Result<Identity, Error> {
        self.security.identity(Purpose::Hub, limit).await
    }
}

impl X509Material {
    /// Reads the argument `x509`.
    pub(crate) fn read(env: &Env, value: Unknown<'_>) -> Result<Self, Error> {
        Self::whole(X509Parts::read(env, value, "x509")?, "x509")
    }

    /// Reads it from among the options of a client, where it is there.
    pub(crate) fn read_if_any(env: &Env, options: Unknown<'_>) -> Result<Option<Self>, Error> {
        match X509Parts::read(env, options, "options")? {
            X509Parts { chain: None, key: None, passphrase: None, authorities: None } => Ok(None),
            parts => Self::whole(parts, "options").map(Some),
        }
    }

    fn whole(parts: X509Parts, name: &str) -> Result<Self, Error> {
        let X509Parts { chain, key, passphrase, authorities } = parts;
        let chain = chain.ok_or_else(|| {
            invalid(name, "it has neither cert nor certFile, nor pkcs12 or pkcs12File")
        })?;
        let key = key.ok_or_else(|| invalid(name, "it has no key, no keyFile and no signer"))?;
        Ok(Self { chain, key, passphrase, authorities })
    }
}

impl X509Parts {
    /// Reads what there is.
    pub(crate) fn read(env: &Env, value: Unknown<'_>, name: &str) -> Result<Self, Error> {
        let X509 {
            cert,
            cert_file,
            key,
            key_file,
            pkcs12,
            pkcs12_file,
            passphrase,
            signer,
            algorithms,
            authorities,
            authorities_file,
        } = js::options(env, value, name)?;
        let chain = source("cert", cert, cert_file)?;
        let private = source("key", key, key_file)?;
        let both = source("pkcs12", pkcs12, pkcs12_file)?;
        let signer = match (signer, algorithms) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(invalid(name, "it has algorithms and no signer that has them"));
            }
            (Some(signer), algorithms) => {
                let announced = signer::algorithms(&algorithms.unwrap_or_default())?;
                Some(Key::Signer(signing_function(signer)?, announced))
            }
        };
        let (chain, key) = match (chain, private, both, signer) {
            (None, None, Some(both), None) => (Some(both), Some(Key::Private(None))),
            (_, _, Some(_), _) => {
                return Err(invalid(name, "it has a pkcs12 and another certificate or key"));
            }
            (_, Some(_), _, Some(_)) => {
                return Err(invalid(name, "it has a key and a signer; one of them signs"));
            }
            (chain, None, None, signer) => (chain, signer),
            (chain, private, None, None) => (chain, Some(Key::Private(private))),
        };
        let passphrase = options::optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        let authorities = source("authorities", authorities, authorities_file)?;
        Ok(Self { chain, key, passphrase, authorities })
    }
}

/// Reads what is given as `name`, or by its path as `nameFile`.
pub(crate) fn source(
    name: &str,
    content: Option<Unknown<'_>>,
    file: Option<Unknown<'_>>,
) -> Result<Option<Source>, Error> {
    let file_name = format!("{name}File");
    match (content, options::optional_text(file, &file_name)?) {
        (Some(_), Some(_)) => Err(invalid(name, &format!("it is there twice, as {file_name} too"))),
        (None, file) => Ok(file.map(Source::file)),
        (Some(content), None) => match js::text_or_bytes(content) {
            Ok(Some(bytes)) => Ok(Some(bytes.into())),
            _ => Err(invalid(name, "it is neither a string nor a Uint8Array")),
        },
    }
}

/// The function that the option `signer` is.
pub(crate) fn signing_function(value: Unknown<'_>) -> Result<Reference, Error> {
    reference(js::function(value).ok_or_else(|| invalid("signer", "it is not a function"))?)
}

fn reference(
    function: Function<'_, Unknown<'static>, Unknown<'static>>,
) -> Result<Reference, Error> {
    function.create_ref().map(Arc::new).map_err(|error| internal(&error))
}

/// A registration ID that need not be there.
fn optional_id(value: Unknown<'_>) -> Result<Option<String>, Error> {
    match value.get_type() {
        Ok(ValueType::Undefined | ValueType::Null) => Ok(None),
        _ => text(value, "registrationId").map(Some),
    }
}

/// What an object of the user's gave of its symmetric key, to be taken once.
struct Given {
    id: String,
    key: Cell<Option<Result<Zeroizing<Vec<u8>>, Error>>>,
}

impl SymmetricKeyHsm for Given {
    fn registration_id(&self) -> Result<String, Error> {
        Ok(self.id.clone())
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let asked_twice = || Error::new(ErrorKind::Internal, "the key was asked for twice");
        self.key.take().unwrap_or_else(|| Err(asked_twice()))
    }
}

fn given_key(_: &Env, value: Unknown<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    text(value, "getSymmetricKey").map(|key| Zeroizing::new(key.into_bytes()))
}

fn no_key(error: napi::Error) -> Error {
    signer::threw(error).into()
}

/// Where identities with a signer are opened: threads that a signer may hold.
fn openers() -> SigningThreads {
    static OPENERS: OnceLock<SigningThreads> = OnceLock::new();
    OPENERS.get_or_init(SigningThreads::default).clone()
}

/// What another thread gives, if it does not end without a word.
pub(crate) async fn elsewhere<T, E>(
    answer: impl Future<Output = Result<Result<T, Error>, E>>,
) -> Result<T, Error> {
    answer.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "a thread ended before its work was done"))
    })
}

fn no_certificate(error: napi::Error) -> Error {
    Error::new(ErrorKind::Signer, format!("no certificate was given: {}", error.reason))
        .with_source(error)
        .during("open credential")
}

pub(crate) fn internal(error: &napi::Error) -> Error {
    Error::new(ErrorKind::Internal, error.reason.clone())
}
