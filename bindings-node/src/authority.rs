//! A CA: what makes roots, intermediates, device and verification certificates.

use std::sync::Arc;

use dps_core::{
    Error, ErrorKind, RegistrationId,
    chain::{Authority as CoreAuthority, Certificate as CoreCertificate, Validity},
};
use napi::{Env, Unknown, bindgen_prelude::PromiseRaw};
use napi_derive::napi;

use crate::{
    chain::{Certificate, CertificateRequest},
    environment::{Start, promise},
    error::thrown,
    js::{self, invalid},
    key::{PrivateKey, public_key},
    options::{self, moment, text, whole},
    runtime::offload,
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

/// What a new CA may do; beside these, `IssueOptions`.
#[napi(object, object_to_js = false)]
pub struct AuthorityOptions<'env> {
    /// How many CAs may stand between it and a device. Without it, as many as the CA above leaves.
    #[napi(ts_type = "number")]
    pub path_length: Option<Unknown<'env>>,
}

/// A CA certificate with its key: issues with the extensions of the tutorial's OpenSSL profiles.
#[napi]
pub struct Authority {
    authority: Arc<CoreAuthority>,
}

#[napi]
impl Authority {
    /// A CA that exists already. Throws unless the certificate is a CA's and the key is its own.
    #[napi(catch_unwind, constructor, ts_args_type = "certificate: Certificate, key: PrivateKey")]
    pub fn new(env: &Env, certificate: Unknown<'_>, key: Unknown<'_>) -> napi::Result<Self> {
        let open = || {
            let certificate = Certificate::from_argument(certificate, "certificate")?;
            CoreAuthority::new(certificate, PrivateKey::from_argument(key)?).map(Self::from)
        };
        open().map_err(|error| thrown(env, &error))
    }

    /// A new root, signed by itself.
    #[napi(
        catch_unwind,
        ts_args_type = "commonName: string, key: PrivateKey, options?: AuthorityOptions",
        ts_return_type = "Promise<Authority>"
    )]
    pub fn create_root<'env>(
        env: &'env Env,
        common_name: Unknown<'env>,
        key: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let (start, validity) = self::options(env, options)?;
            let path_length = path_length(env, options)?;
            let (name, key) = (text(common_name, "commonName")?, PrivateKey::from_argument(key)?);
            Ok((
                start,
                offload(move || {
                    match path_length {
                        None => CoreAuthority::create_root(&name, key, validity),
                        Some(length) => CoreAuthority::create_root_with_path_length(
                            &name, key, validity, length,
                        ),
                    }
                    .map(Self::from)
                }),
            ))
        };
        promise(env, started())
    }

    /// A new intermediate CA below this one.
    #[napi(
        catch_unwind,
        ts_args_type = "commonName: string, key: PrivateKey, options?: AuthorityOptions",
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
            let (start, validity) = self::options(env, options)?;
            let path_length = path_length(env, options)?;
            let (name, key) = (text(common_name, "commonName")?, PrivateKey::from_argument(key)?);
            let above = Arc::clone(&self.authority);
            Ok((
                start,
                offload(move || {
                    match path_length {
                        None => above.create_intermediate(&name, key, validity),
                        Some(length) => {
                            above.create_intermediate_with_path_length(&name, key, validity, length)
                        }
                    }
                    .map(Self::from)
                }),
            ))
        };
        promise(env, started())
    }

    /// A device certificate whose common name is the registration ID. The key is the device's own,
    /// or its public part as DER SubjectPublicKeyInfo.
    #[napi(
        catch_unwind,
        ts_args_type = "registrationId: string, key: PrivateKey | Uint8Array, options?: IssueOptions",
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
        ts_args_type = "old: Certificate, key?: PrivateKey | Uint8Array, options?: IssueOptions",
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
        ts_args_type = "verificationCode: string, key: PrivateKey | Uint8Array, options?: IssueOptions",
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
        self.authority.certificate().clone().into()
    }
}

impl From<CoreAuthority> for Authority {
    fn from(authority: CoreAuthority) -> Self {
        Self { authority: Arc::new(authority) }
    }
}

impl Authority {
    /// The CA that the option `issuer` is.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<Arc<CoreAuthority>, Error> {
        js::instance::<Self>(value)
            .map(|authority| Arc::clone(&authority.authority))
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
            let (start, validity) = self::options(env, options)?;
            let (issue, authority) = (read()?, Arc::clone(&self.authority));
            Ok((start, offload(move || issue(&authority, validity).map(Certificate::from))))
        };
        promise(env, started())
    }
}

fn options<'env>(env: &'env Env, options: Unknown<'env>) -> Result<(Start<'env>, Validity), Error> {
    Ok((options::wait(env, options)?, validity(env, options)?))
}

/// A certificate says no year beyond 9999 (RFC 5280, section 4.1.2.5): as many days as stay before
/// it for the next centuries.
const MOST_DAYS: u32 = 2_800_000;

/// Days from now, or two moments; the tutorial's validity where neither is given.
pub(crate) fn validity(env: &Env, options: Unknown<'_>) -> Result<Validity, Error> {
    let IssueOptions { days, not_before, not_after } = js::options(env, options, "options")?;
    match (days, not_before, not_after) {
        (None, None, None) => Ok(Validity::days(Validity::TUTORIAL_DAYS)),
        (Some(days), None, None) => Ok(Validity::days(whole(days, "days", MOST_DAYS)?)),
        (None, Some(not_before), Some(not_after)) => {
            Validity::between(moment(not_before, "notBefore")?, moment(not_after, "notAfter")?)
        }
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            "a validity is given by days, or by notBefore and notAfter together",
        )),
    }
}

fn path_length(env: &Env, options: Unknown<'_>) -> Result<Option<u8>, Error> {
    let AuthorityOptions { path_length } = js::options(env, options, "options")?;
    let Some(value) = path_length else { return Ok(None) };
    let length = whole(value, "pathLength", u32::from(u8::MAX))?;
    Ok(u8::try_from(length).ok())
}
