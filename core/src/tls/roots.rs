//! The roots that the server's certificate must lead to.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{RootCertStore, client::WebPkiServerVerifier};
use rustls_native_certs::{load_certs_from_paths, load_native_certs};
use rustls_pki_types::CertificateDer;

use crate::{
    chain,
    crypto::tls_provider,
    error::{Error, ErrorKind, Result},
    pem,
};

/// Trust roots for the server. Cheap to clone; the clones share what was loaded.
///
/// The default is the file in the environment variable `SSL_CERT_FILE`, else the folders in
/// `SSL_CERT_DIR`, else the platform's store, else, where there is no store, Mozilla's roots as compiled in.
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
            Source::Platform => match (set("SSL_CERT_FILE"), set("SSL_CERT_DIR")) {
                (Some(file), _) => write!(f, "the file {} (SSL_CERT_FILE)", file.display()),
                (None, Some(folder)) => write!(f, "the folder {} (SSL_CERT_DIR)", folder.display()),
                (None, None) => f.write_str("the platform's trust store"),
            },
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

    let environment = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(set);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded_from, verifier)) = &*loaded
        && *loaded_from == environment
    {
        return Ok(Arc::clone(verifier));
    }
    let verifier = match &environment {
        // Read here and not by the store's loader, so that a wrong file has its own clear error.
        [Some(path), _] => {
            let path = PathBuf::from(path);
            let context = format!("SSL_CERT_FILE {}", path.display());
            let read = pem::read(&path).map_err(|error| error.in_context("SSL_CERT_FILE"))?;
            from_pem(&read).map_err(|error| error.in_context(context))?
        }
        [None, Some(folders)] => {
            let mut roots = RootCertStore::empty();
            for folder in env::split_paths(folders) {
                let found = load_certs_from_paths(None, Some(&folder));
                roots.add_parsable_certificates(found.certs);
            }
            if roots.is_empty() {
                return Err(Error::new(
                    ErrorKind::WrongFileContent,
                    format!("SSL_CERT_DIR {}: no certificate in it", folders.display()),
                )
                .with_hint(
                    "OpenSSL finds certificates there by names that `openssl rehash` makes.",
                ));
            }
            build(roots)?
        }
        [None, None] => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(system_store());
            if roots.is_empty() {
                add_public(&mut roots)?;
            }
            build(roots)?
        }
    };
    *loaded = Some((environment, Arc::clone(&verifier)));
    Ok(verifier)
}

/// A variable's value; an empty one counts as unset, as everywhere.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// What the system trusts, where no variable names anything.
fn system_store() -> Vec<CertificateDer<'static>> {
    // The loader's own search takes an empty variable for a file.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    if env::var_os("SSL_CERT_FILE").is_some() {
        let probed = openssl_probe::probe();
        let folder = probed.cert_dir.first();
        return load_certs_from_paths(probed.cert_file.as_deref(), folder.map(PathBuf::as_path))
            .certs;
    }
    load_native_certs().certs
}

/// Mozilla's, as compiled in.
#[cfg(feature = "public-roots")]
#[expect(clippy::unnecessary_wraps, reason = "a build without them fails here")]
fn add_public(roots: &mut RootCertStore) -> Result<()> {
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok(())
}

#[cfg(not(feature = "public-roots"))]
fn add_public(_: &mut RootCertStore) -> Result<()> {
    Err(Error::left_out("Mozilla's roots, and this system has no store of its own")
        .with_hint("Name the server's root certificate by SSL_CERT_FILE or the roots option."))
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
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls_provider()).build().map_err(
        |error| Error::new(ErrorKind::Internal, format!("the trust roots cannot be used: {error}")),
    )
}
