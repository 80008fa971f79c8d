//! Certificates, chains and certificate requests: read, and written in the forms that others want.

use std::{sync::Arc, time::SystemTime};

use dps_core::{
    CertificateChain as CoreChain, Error, ErrorKind, Source,
    chain::{
        self, Certificate as CoreCertificate, CertificateRequest as CoreRequest, Inspection,
        certificates_from_pem,
    },
    key::Passphrase,
};
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, PromiseRaw},
};
use napi_derive::napi;
use zeroize::Zeroizing;

use crate::{
    environment::promise,
    error::thrown,
    js::{self, Json, Late, SecretText, invalid},
    key::{PrivateKey, passphrase},
    options::{self, text},
    runtime::offload,
    security::source,
};

/// Where certificates are; beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct CertificateOptions<'env> {
    /// The certificates, as PEM; or one as DER.
    #[napi(ts_type = "string | Uint8Array")]
    pub cert: Option<Unknown<'env>>,
    /// The path of a file with them; errors then name the file.
    #[napi(ts_type = "string")]
    pub cert_file: Option<Unknown<'env>>,
}

/// Where a PKCS#12 (PFX) file is; beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct Pkcs12Options<'env> {
    /// Its content.
    #[napi(ts_type = "Uint8Array")]
    pub pkcs12: Option<Unknown<'env>>,
    /// Its path; errors then name the file.
    #[napi(ts_type = "string")]
    pub pkcs12_file: Option<Unknown<'env>>,
    /// Its passphrase.
    #[napi(ts_type = "string")]
    pub passphrase: Option<Unknown<'env>>,
}

/// One certificate.
#[napi]
pub struct Certificate {
    certificate: CoreCertificate,
}

#[napi]
impl Certificate {
    /// Reads every certificate there is, in the order in which they stand.
    #[napi(
        catch_unwind,
        ts_args_type = "options: CertificateOptions",
        ts_return_type = "Promise<Certificate[]>"
    )]
    pub fn from_pem<'env>(
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &["cert", "certFile"])?;
            let certificates = given(env, options)?;
            Ok((
                start,
                offload(move || {
                    let certificates = certificates.parse(certificates_from_pem)?;
                    Ok(certificates.into_iter().map(Self::from).collect::<Vec<_>>())
                }),
            ))
        };
        promise(env, started())
    }

    /// The certificate in DER.
    #[napi(getter, catch_unwind)]
    pub fn der(&self) -> Buffer {
        self.certificate.der().to_vec().into()
    }

    /// The certificate in PEM.
    #[napi(catch_unwind)]
    pub fn to_pem(&self) -> String {
        self.certificate.to_pem()
    }

    /// What matters of it to DPS, as `inspectChain` tells it.
    #[napi(catch_unwind, ts_return_type = "InspectedCertificate")]
    pub fn inspect(&self, env: &Env) -> napi::Result<Late<Json>> {
        let mut inspection = Inspection::new(self.certificate.der(), None, SystemTime::now())
            .map_err(|error| thrown(env, &error))?
            .to_json();
        match inspection.pointer_mut("/certificates/0").map(serde_json::Value::take) {
            Some(certificate) => Ok(Late(Json(certificate))),
            None => {
                let message = "a certificate's inspection is empty";
                Err(thrown(env, &Error::new(ErrorKind::Internal, message)))
            }
        }
    }
}

impl From<CoreCertificate> for Certificate {
    fn from(certificate: CoreCertificate) -> Self {
        Self { certificate }
    }
}

impl Certificate {
    /// The certificate that an argument is.
    pub(crate) fn from_argument(value: Unknown<'_>, name: &str) -> Result<CoreCertificate, Error> {
        js::instance::<Self>(value)
            .map(|certificate| certificate.certificate.clone())
            .ok_or_else(|| invalid(name, "it is no Certificate"))
    }
}

/// A device's certificates, leaf first, each followed by its issuer.
#[napi]
pub struct CertificateChain {
    chain: Arc<CoreChain>,
}

#[napi]
impl CertificateChain {
    /// Puts certificates into order, in whichever they are given. What is not on the path from the
    /// leaf is an error, and so is a gap in the path.
    #[napi(catch_unwind, constructor, ts_args_type = "certificates: Certificate[]")]
    pub fn new(env: &Env, certificates: Unknown<'_>) -> napi::Result<Self> {
        let read = || {
            let der = js::elements(env, certificates, "certificates", |certificate| {
                Ok(Certificate::from_argument(certificate, "certificates")?.der().to_vec())
            })?;
            CoreChain::from_der(der).map(Self::from)
        };
        read().map_err(|error| thrown(env, &error))
    }

    /// Reads a chain: one certificate or more, in any order.
    #[napi(
        catch_unwind,
        ts_args_type = "options: CertificateOptions",
        ts_return_type = "Promise<CertificateChain>"
    )]
    pub fn from_pem<'env>(
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &["cert", "certFile"])?;
            let certificates = given(env, options)?;
            Ok((start, offload(move || certificates.parse(CoreChain::from_pem).map(Self::from))))
        };
        promise(env, started())
    }

    /// Takes the certificates of a PKCS#12 (PFX) file; `PrivateKey.fromPem` takes its key.
    #[napi(
        catch_unwind,
        ts_args_type = "options: Pkcs12Options",
        ts_return_type = "Promise<CertificateChain>"
    )]
    pub fn from_pkcs12<'env>(
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &["pkcs12", "pkcs12File", "passphrase"])?;
            let Pkcs12Options { pkcs12, pkcs12_file, passphrase } =
                js::options(env, options, "options")?;
            let file = source("pkcs12", pkcs12, pkcs12_file)?
                .ok_or_else(|| invalid("options", "it has neither pkcs12 nor pkcs12File"))?;
            let passphrase = self::passphrase(passphrase)?;
            Ok((
                start,
                offload(move || {
                    let read = |bytes: &[u8]| CoreChain::from_pkcs12(bytes, passphrase.as_ref());
                    file.parse(read).map(Self::from)
                }),
            ))
        };
        promise(env, started())
    }

    /// The certificates, leaf first.
    #[napi(getter, catch_unwind)]
    pub fn certificates(&self) -> Vec<Certificate> {
        self.chain.certificates().iter().cloned().map(Certificate::from).collect()
    }

    /// What was tolerated while reading, one sentence each.
    #[napi(getter, catch_unwind)]
    pub fn warnings(&self) -> Vec<String> {
        self.chain.warnings().to_vec()
    }

    /// The chain as PEM, leaf first.
    #[napi(catch_unwind)]
    pub fn to_pem(&self) -> String {
        self.chain.to_pem()
    }

    /// The chain and its leaf's key as a PKCS#12 (PFX) file: the C# sample's input, and what the
    /// certificate store of Windows imports.
    #[napi(
        catch_unwind,
        ts_args_type = "key: PrivateKey, passphrase: string, options?: WaitOptions",
        ts_return_type = "Promise<Buffer>"
    )]
    pub fn to_pkcs12<'env>(
        &self,
        env: &'env Env,
        key: Unknown<'env>,
        passphrase: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &[])?;
            let (chain, key) = (Arc::clone(&self.chain), PrivateKey::from_argument(key)?);
            let passphrase = Passphrase::new(text(passphrase, "passphrase")?);
            Ok((
                start,
                offload(move || {
                    chain.to_pkcs12(&key, &passphrase).map(|file| Buffer::from(file.to_vec()))
                }),
            ))
        };
        promise(env, started())
    }
}

impl From<CoreChain> for CertificateChain {
    fn from(chain: CoreChain) -> Self {
        Self { chain: Arc::new(chain) }
    }
}

/// A certificate request that was made elsewhere, whose signature holds.
#[napi]
pub struct CertificateRequest {
    request: CoreRequest,
}

#[napi]
impl CertificateRequest {
    /// Reads a request as PEM or DER, and verifies its signature.
    #[napi(catch_unwind, factory, ts_args_type = "request: string | Uint8Array")]
    pub fn from_pem(env: &Env, request: Unknown<'_>) -> napi::Result<Self> {
        let read = || CoreRequest::from_pem(&content(request, "request")?);
        read().map(|request| Self { request }).map_err(|error| thrown(env, &error))
    }

    /// The common name, which is the registration ID that is asked for.
    #[napi(getter, catch_unwind)]
    pub fn registration_id(&self) -> String {
        self.request.registration_id().as_str().to_owned()
    }

    /// What the request asks for beyond its name and key, which a certificate will not have.
    #[napi(getter, catch_unwind)]
    pub fn ignored(&self) -> Vec<String> {
        self.request.ignored().to_vec()
    }
}

impl CertificateRequest {
    /// The request that an argument is.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<CoreRequest, Error> {
        js::instance::<Self>(value)
            .map(|request| request.request.clone())
            .ok_or_else(|| invalid("request", "it is no CertificateRequest"))
    }
}

/// A PEM text as a C string constant, one source line for each line of the text.
#[napi(catch_unwind, ts_args_type = "pem: string | Uint8Array", ts_return_type = "string")]
pub fn c_string(env: &Env, pem: Unknown<'_>) -> napi::Result<Late<SecretText>> {
    constant(pem, chain::c_string).map_err(|error| thrown(env, &error))
}

/// A PEM text as a Java string constant, one source line for each line of the text; Python reads
/// it too, between parentheses.
#[napi(catch_unwind, ts_args_type = "pem: string | Uint8Array", ts_return_type = "string")]
pub fn java_string(env: &Env, pem: Unknown<'_>) -> napi::Result<Late<SecretText>> {
    constant(pem, chain::java_string).map_err(|error| thrown(env, &error))
}

fn constant(
    pem: Unknown<'_>,
    write: fn(&[u8]) -> Result<Zeroizing<String>, Error>,
) -> Result<Late<SecretText>, Error> {
    write(&content(pem, "pem")?).map(|constant| Late(SecretText(constant)))
}

/// The text or the bytes that an argument is.
fn content(value: Unknown<'_>, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    match js::text_or_bytes(value) {
        Ok(Some(bytes)) => Ok(Zeroizing::new(bytes)),
        _ => Err(invalid(name, "it is neither a string nor a Uint8Array")),
    }
}

/// Where the certificates of `CertificateOptions` are.
fn given(env: &Env, options: Unknown<'_>) -> Result<Source, Error> {
    let CertificateOptions { cert, cert_file } = js::options(env, options, "options")?;
    source("cert", cert, cert_file)?
        .ok_or_else(|| invalid("options", "it has neither cert nor certFile"))
}
