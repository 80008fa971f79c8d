//! A CA: what makes roots, intermediates, device and verification certificates.

use std::sync::Arc;

use dps_core::{
    Error, RegistrationId,
    chain::{Authority as CoreAuthority, Certificate as CoreCertificate, Validity},
};
use napi::{Env, Unknown, bindgen_prelude::PromiseRaw};
use napi_derive::napi;

use crate::{
    chain::{Certificate, CertificateRequest},
    environment::{Environment, Start, promise},
    error::thrown,
    js::{self, invalid},
    key::PrivateKey,
    options::{self, moment, text, whole},
    security::{internal, signing_function},
    signer::{self, JsSigner, Waits, signing},
    subject_key::{public_key, subject_key},
};

/// How long a new certificate is valid: for `days` from now, or from `notBefore` to `notAfter`; as
/// long as the tutorial's where nothing is said. Beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct IssueOptions<'env> {
    /// How many days from now.
    #[napi(ts_type = "number")]
    pub days: Option<Unknown<'env>>,
    /// The first moment at which it is valid.
    #[napi(ts_type = "Date")]
    pub not_before: Option<Unknown<'env>>,
    /// The last moment at which it is valid.
    #[napi(ts_type = "Date")]
    pub not_after: Option<Unknown<'env>>,
}

/// The names in [`IssueOptions`].
pub(crate) const ISSUE_OPTIONS: [&str; 3] = ["days", "notBefore", "notAfter"];

/// What a new CA may do; beside these, `IssueOptions`.
#[napi(object, object_to_js = false)]
pub struct AuthorityOptions<'env> {
    /// How many CAs may stand between it and a device. Without it, as many as the CA above leaves.
    #[napi(ts_type = "number")]
    pub path_length: Option<Unknown<'env>>,
}

/// What signs for a CA that exists already; beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct SignerOptions<'env> {
    /// Signs in place of a key: the key stays where it is.
    #[napi(ts_type = "Signer")]
    pub signer: Unknown<'env>,
    /// What the signer can do, in order of preference, where it is not all that its type of key
    /// can.
    #[napi(ts_type = "SignatureAlgorithm[]")]
    pub algorithms: Option<Vec<String>>,
}

/// A CA certificate with its key: issues with the extensions of the tutorial's OpenSSL profiles.
#[napi]
pub struct Authority {
    issuer: Issuer,
}

/// A CA, with the waits for its signatures where a function of the user's makes them.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) authority: Arc<CoreAuthority>,
    pub(crate) waits: Option<Arc<Waits>>,
}

#[napi]
impl Authority {
    /// A CA that exists already. Throws unless the certificate is a CA's and the key is its own.
    #[napi(catch_unwind, constructor, ts_args_type = "certificate: Certificate, key: PrivateKey")]
    pub fn new(env: &Env, certificate: Unknown<'_>, key: Unknown<'_>) -> napi::Result<Self> {
        let open = || {
            let certificate = Certificate::from_argument(certificate, "certificate")?;
            let authority = CoreAuthority::new(certificate, PrivateKey::from_argument(key)?)?;
            Ok(Self::with(authority, None))
        };
        open().map_err(|error| thrown(env, &error))
    }

    /// A CA that exists already, whose key stays where it is. One test signature proves that the
    /// signer holds the certificate's key.
    #[napi(
        catch_unwind,
        ts_args_type = "certificate: Certificate, options: SignerOptions",
        ts_return_type = "Promise<Authority>"
    )]
    pub fn from_signer<'env>(
        env: &'env Env,
        certificate: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &["signer", "algorithms"])?;
            let certificate = Certificate::from_argument(certificate, "certificate")?;
            let SignerOptions { signer, algorithms } = js::options(env, options, "options")?;
            let function = signing_function(signer)?;
            let announced = signer::algorithms(&algorithms.unwrap_or_default())?;
            let thread = Environment::current().map_err(|error| internal(&error))?.thread();
            let waits = Arc::<Waits>::default();
            let signer = JsSigner::new(thread, function, announced, Arc::clone(&waits));
            Ok((
                start,
                signing(Some(Arc::clone(&waits)), move || {
                    let authority = CoreAuthority::new(certificate, Arc::new(signer))?;
                    Ok(Self::with(authority, Some(waits)))
                }),
            ))
        };
        promise(env, started())
    }

    /// A new root, signed by itself.
    #[napi(
        catch_unwind,
        ts_args_type = "commonName: string, key: PrivateKey | SubjectKey, options?: AuthorityOptions",
        ts_return_type = "Promise<Authority>"
    )]
    pub fn create_root<'env>(
        env: &'env Env,
        common_name: Unknown<'env>,
        key: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let (start, validity) = self::options(env, options, &["pathLength"])?;
            let path_length = path_length(env, options)?;
            let name = text(common_name, "commonName")?;
            let (key, waits) = subject_key(key)?;
            Ok((
                start,
                signing(waits.clone(), move || {
                    match path_length {
                        None => CoreAuthority::create_root(&name, key, validity),
                        Some(length) => CoreAuthority::create_root_with_path_length(
                            &name, key, validity, length,
                        ),
                    }
                    .map(|authority| Self::with(authority, waits))
                }),
            ))
        };
        promise(env, started())
    }

    /// A new intermediate CA below this one.
    #[napi(
        catch_unwind,
        ts_args_type = "commonName: string, key: PrivateKey | SubjectKey, options?: AuthorityOptions",
        ts_return_type = "Promise<Authority>"
    )]
    pub fn create_intermediate<'env>(
        &self,
        env: &'env Env,
        common_name: Unknown<'env>,
        key: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let (start, validity) = self::options(env, options, &["pathLength"])?;
            let path_length = path_length(env, options)?;
            let name = text(common_name, "commonName")?;
            let (key, waits) = subject_key(key)?;
            let Issuer { authority: above, waits: signs } = self.issuer.clone();
            Ok((
                start,
                // The new key signs too: a test, before anything hangs on it.
                signing(signs.into_iter().chain(waits.clone()), move || {
                    match path_length {
                        None => above.create_intermediate(&name, key, validity),
                        Some(length) => {
                            above.create_intermediate_with_path_length(&name, key, validity, length)
                        }
                    }
                    .map(|authority| Self::with(authority, waits))
                }),
            ))
        };
        promise(env, started())
    }

    /// A device certificate whose common name is the registration ID. The key is the device's own,
    /// or its public part as DER SubjectPublicKeyInfo.
    #[napi(
        catch_unwind,
        ts_args_type = "registrationId: string, key: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions",
        ts_return_type = "Promise<Certificate>"
    )]
    pub fn issue_device<'env>(
        &self,
        env: &'env Env,
        registration_id: Unknown<'env>,
        key: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        self.issue(env, options, || {
            let id = RegistrationId::parse(&text(registration_id, "registrationId")?)?;
            let key = public_key(key)?;
            Ok(move |authority: &CoreAuthority, validity| {
                authority.issue_device(&id, &key, validity)
            })
        })
    }

    /// A device certificate for a request that was made elsewhere. What the request asks for beyond
    /// its name and key is in its `ignored`.
    #[napi(
        catch_unwind,
        ts_args_type = "request: CertificateRequest, options?: IssueOptions",
        ts_return_type = "Promise<Certificate>"
    )]
    pub fn issue_requested<'env>(
        &self,
        env: &'env Env,
        request: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        self.issue(env, options, || {
            let request = CertificateRequest::from_argument(request)?;
            Ok(move |authority: &CoreAuthority, validity| {
                authority.issue_requested(&request, validity)
            })
        })
    }

    /// A device certificate in place of an old one: the same name, with the same key, or with a new
    /// one where it is given.
    #[napi(
        catch_unwind,
        ts_args_type = "old: Certificate, key?: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions",
        ts_return_type = "Promise<Certificate>"
    )]
    pub fn reissue_device<'env>(
        &self,
        env: &'env Env,
        old: Unknown<'env>,
        key: Option<Unknown<'env>>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        self.issue(env, options, || {
            let old = Certificate::from_argument(old, "old")?;
            let key = key.map(public_key).transpose()?;
            Ok(move |authority: &CoreAuthority, validity| {
                authority.reissue_device(&old, key.as_deref(), validity)
            })
        })
    }

    /// A certificate that proves possession of this CA's key: its common name is the verification
    /// code that DPS gave.
    #[napi(
        catch_unwind,
        ts_args_type = "verificationCode: string, key: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions",
        ts_return_type = "Promise<Certificate>"
    )]
    pub fn issue_verification<'env>(
        &self,
        env: &'env Env,
        verification_code: Unknown<'env>,
        key: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        self.issue(env, options, || {
            let code = text(verification_code, "verificationCode")?;
            let key = public_key(key)?;
            Ok(move |authority: &CoreAuthority, validity| {
                authority.issue_verification(&code, &key, validity)
            })
        })
    }

    /// The CA's own certificate.
    #[napi(getter, catch_unwind)]
    pub fn certificate(&self) -> Certificate {
        self.issuer.authority.certificate().clone().into()
    }
}

impl Authority {
    fn with(authority: CoreAuthority, waits: Option<Arc<Waits>>) -> Self {
        Self { issuer: Issuer { authority: Arc::new(authority), waits } }
    }

    /// The CA that the option `issuer` is.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<Issuer, Error> {
        js::instance::<Self>(value)
            .map(|authority| authority.issuer.clone())
            .ok_or_else(|| invalid("issuer", "it is no Authority"))
    }

    /// The promise of a certificate, by what `read` makes of the arguments.
    fn issue<'env, Issue>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
        read: impl FnOnce() -> Result<Issue, Error>,
    ) -> napi::Result<PromiseRaw<'env, ()>>
    where
        Issue: FnOnce(&CoreAuthority, Validity) -> Result<CoreCertificate, Error> + Send + 'static,
    {
        let started = || {
            let (start, validity) = self::options(env, options, &[])?;
            let (issue, Issuer { authority, waits }) = (read()?, self.issuer.clone());
            Ok((start, signing(waits, move || issue(&authority, validity).map(Certificate::from))))
        };
        promise(env, started())
    }
}

fn options<'env>(
    env: &'env Env,
    options: Unknown<'env>,
    more: &[&str],
) -> Result<(Start<'env>, Validity), Error> {
    let start = options::wait(env, options, &[&ISSUE_OPTIONS[..], more].concat())?;
    Ok((start, validity(env, options)?))
}

/// Days from now, or two moments.
pub(crate) fn validity(env: &Env, options: Unknown<'_>) -> Result<Validity, Error> {
    let IssueOptions { days, not_before, not_after } = js::options(env, options, "options")?;
    Validity::parse(
        days.map(|days| whole(days, "days")).transpose()?,
        not_before.map(|not_before| moment(not_before, "notBefore")).transpose()?,
        not_after.map(|not_after| moment(not_after, "notAfter")).transpose()?,
    )
}

fn path_length(env: &Env, options: Unknown<'_>) -> Result<Option<u8>, Error> {
    let AuthorityOptions { path_length } = js::options(env, options, "options")?;
    let Some(value) = path_length else { return Ok(None) };
    let length = whole(value, "pathLength")?;
    let too_long = |_| invalid("pathLength", &format!("{length} is not 0 to {}", u8::MAX));
    u8::try_from(length).map(Some).map_err(too_long)
}
