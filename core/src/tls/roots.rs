//! The roots that the server's certificate must lead to.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{RootCertStore, client::WebPkiServerVerifier};

use crate::{
    chain,
    error::{Error, ErrorKind, Result},
    pem,
};

/// Trust roots for the server. Cheap to clone; the clones share what was loaded.
///
/// The default is the file in the environment variable `SSL_CERT_FILE`, else the platform's store,
/// else, where there is no store, Mozilla's roots as compiled in.
#[derive(Clone, Default)]
pub struct Roots(Arc<Inner>);

#[derive(Default)]
struct Inner {
    source: Source,
    verifier: OnceLock<Arc<WebPkiServerVerifier>>,
}

#[derive(Default)]
enum Source {
    #[default]
    Platform,
    File(PathBuf),
    Pem(Vec<u8>),
}

impl Roots {
    /// The certificates of a PEM file, and no others.
    pub fn pem_file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    /// The certificates of a PEM text, and no others.
    pub fn pem(text: impl Into<Vec<u8>>) -> Self {
        Self::new(Source::Pem(text.into()))
    }

    fn new(source: Source) -> Self {
        Self(Arc::new(Inner { source, verifier: OnceLock::new() }))
    }

    pub(super) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>> {
        if let Some(verifier) = self.0.verifier.get() {
            return Ok(Arc::clone(verifier));
        }
        let verifier = match &self.0.source {
            Source::Platform => platform()?,
            Source::File(path) => {
                let read = pem::read(path)?;
                from_pem(&read).map_err(|error| error.in_context(path.display()))?
            }
            Source::Pem(text) => {
                from_pem(text).map_err(|error| error.in_context("the trust roots"))?
            }
        };
        Ok(Arc::clone(self.0.verifier.get_or_init(|| verifier)))
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Source::Platform => {
                match env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
                    Some(path) => write!(f, "the file {} (SSL_CERT_FILE)", path.to_string_lossy()),
                    None => f.write_str("the platform's trust store"),
                }
            }
            Source::File(path) => write!(f, "the file {}", path.display()),
            Source::Pem(_) => f.write_str("the given roots"),
        }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({self})")
    }
}

/// Loaded once per process: a gateway with a thousand devices holds one copy of the store.
fn platform() -> Result<Arc<WebPkiServerVerifier>> {
    type Loaded = Option<([Option<OsString>; 2], Arc<WebPkiServerVerifier>)>;
    static LOADED: Mutex<Loaded> = Mutex::new(None);

    // An empty variable counts as unset, as everywhere.
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let environment = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(set);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded_from, verifier)) = &*loaded
        && *loaded_from == environment
    {
        return Ok(Arc::clone(verifier));
    }
    let verifier = match &environment[0] {
        // Read here and not by the store's loader, so that a wrong file has its own clear error.
        Some(path) => {
            let path = PathBuf::from(path);
            let context = format!("SSL_CERT_FILE {}", path.display());
            let read = pem::read(&path).map_err(|error| error.in_context("SSL_CERT_FILE"))?;
            from_pem(&read).map_err(|error| error.in_context(context))?
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(native.certs);
            if added == 0 {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            build(roots)?
        }
    };
    *loaded = Some((environment, Arc::clone(&verifier)));
    Ok(verifier)
}

fn from_pem(text: &[u8]) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in chain::certificates_from_pem(text)? {
        roots.add(certificate.der().into()).map_err(|error| {
            Error::new(
                ErrorKind::CertificateMalformed,
                format!("{:?} cannot be a trust root: {error}", certificate.subject()),
            )
        })?;
    }
    build(roots)
}

fn build(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider()).build().map_err(
        |error| Error::new(ErrorKind::Internal, format!("the trust roots cannot be used: {error}")),
    )
}
