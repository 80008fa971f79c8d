//! The roots that the server's certificate must lead to.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock, RwLock},
};

use rustls::{RootCertStore, client::WebPkiServerVerifier};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::{
    chain,
    crypto::tls_provider,
    error::{Error, ErrorKind, Result},
    source::{Named, Source},
};

/// Trust roots for the server. Cheap to clone; the clones share what was loaded.
///
/// The default is the file in the environment variable `SSL_CERT_FILE`, else the folders in
/// `SSL_CERT_DIR`, else the platform's store, else, where there is no store, Mozilla's roots as
/// compiled in. A store that is there and cannot be read is an error.
#[derive(Clone, Default)]
pub struct Roots(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// What the user gave; the environment's or the platform's where he gave nothing.
    given: Option<Named>,
    loaded: OnceLock<Loaded>,
}

/// Roots in use, and whose they are.
#[derive(Clone)]
struct Loaded {
    verifier: Arc<WebPkiServerVerifier>,
    name: Arc<str>,
}

impl Roots {
    /// The certificates of a PEM file, and no others.
    pub fn pem_file(path: impl Into<PathBuf>) -> Self {
        Self::from(Source::file(path))
    }

    /// The certificates of a PEM text, and no others.
    pub fn pem(text: impl Into<Vec<u8>>) -> Self {
        Self::from(Source::from(text))
    }

    pub(super) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>> {
        if let Some(loaded) = self.0.loaded.get() {
            return Ok(Arc::clone(&loaded.verifier));
        }
        let loaded = match &self.0.given {
            None => platform()?,
            Some(given) => {
                let name = match given.source() {
                    Source::File(path) => format!("the file {}", path.display()),
                    Source::Memory(_) => "the given roots".to_owned(),
                };
                Loaded { verifier: given.parse(from_pem)?, name: name.into() }
            }
        };
        Ok(Arc::clone(&self.0.loaded.get_or_init(|| loaded).verifier))
    }
}

impl From<Source> for Roots {
    /// The certificates of the source, in PEM, and no others.
    fn from(source: Source) -> Self {
        let given = Some(Named::new("the trust roots", source));
        Self(Arc::new(Inner { given, loaded: OnceLock::new() }))
    }
}

impl fmt::Display for Roots {
    /// Whose roots they are, as far as that is known before they are loaded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.loaded.get(), &self.0.given) {
            (Some(loaded), _) => f.write_str(&loaded.name),
            (None, Some(given)) => given.fmt(f),
            (None, None) => f.write_str("the platform's trust store"),
        }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({self})")
    }
}

/// The variables that name roots, and what they say.
type Environment = [Option<OsString>; 2];

static LOADED: RwLock<Option<(Environment, Loaded)>> = RwLock::new(None);

/// Loaded once per process: a gateway with a thousand devices holds one copy of the store.
fn platform() -> Result<Loaded> {
    let environment = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(set);
    // Nobody waits for the lock, and nobody holds it while he loads: in a process that was forked
    // from another thread meanwhile it is never given back.
    let remembered = || {
        let loaded = LOADED.try_read().ok()?;
        let (from, loaded) = loaded.as_ref()?;
        (*from == environment).then(|| loaded.clone())
    };
    if let Some(loaded) = remembered() {
        return Ok(loaded);
    }
    let loaded = load(&environment)?;
    // Of two that loaded at once the first is kept.
    if let Some(first) = remembered() {
        return Ok(first);
    }
    if let Ok(mut slot) = LOADED.try_write() {
        *slot = Some((environment, loaded.clone()));
    }
    Ok(loaded)
}

fn load(environment: &Environment) -> Result<Loaded> {
    let (verifier, name) = match environment {
        // Read here and not by the store's loader, so that a wrong file has its own clear error.
        [Some(path), _] => {
            let path = PathBuf::from(path);
            let name = format!("the file {} (SSL_CERT_FILE)", path.display());
            let file = Source::File(path);
            let verifier = file.parse(from_pem);
            (verifier.map_err(|error| error.in_context("SSL_CERT_FILE"))?, name)
        }
        [None, Some(folders)] => {
            let (mut roots, mut errors) = (RootCertStore::empty(), Vec::new());
            for folder in env::split_paths(folders) {
                let found = load_certs_from_paths(None, Some(&folder));
                roots.add_parsable_certificates(found.certs);
                errors.extend(found.errors);
            }
            let folders = folders.display();
            if roots.is_empty() {
                return Err(match errors.into_iter().next() {
                    Some(error) => unreadable(error).in_context("SSL_CERT_DIR"),
                    None => Error::new(
                        ErrorKind::WrongFileContent,
                        format!("SSL_CERT_DIR {folders}: no certificate in it"),
                    )
                    .with_hint(
                        "OpenSSL finds certificates there by names that `openssl rehash` makes.",
                    ),
                });
            }
            (build(roots)?, format!("the folder {folders} (SSL_CERT_DIR)"))
        }
        [None, None] => {
            let mut roots = RootCertStore::empty();
            let found = system_store();
            roots.add_parsable_certificates(found.certs);
            let mut name = "the platform's trust store";
            if roots.is_empty() {
                if let Some(error) = found.errors.into_iter().next() {
                    return Err(unreadable(error).in_context(name).with_hint(
                        "Let this user read it, or name the server's root certificate by \
                         SSL_CERT_FILE or the roots option.",
                    ));
                }
                add_public(&mut roots)?;
                name = "Mozilla's roots, as there is no trust store on this platform";
            }
            (build(roots)?, name.to_owned())
        }
    };
    Ok(Loaded { verifier, name: name.into() })
}

/// Why a store cannot be read.
fn unreadable(error: rustls_native_certs::Error) -> Error {
    match error.kind {
        rustls_native_certs::ErrorKind::Io { inner, path } => {
            Error::on_file(ErrorKind::FileNotReadable, &path, inner)
        }
        _ => Error::new(ErrorKind::WrongFileContent, error.to_string()).with_source(error),
    }
}

/// A variable's value; an empty one counts as unset, as everywhere.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// What the system trusts, where no variable names anything.
fn system_store() -> CertificateResult {
    // The loader's own search takes an empty variable for a file.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    if env::var_os("SSL_CERT_FILE").is_some() {
        let probed = openssl_probe::probe();
        let folder = probed.cert_dir.first();
        return load_certs_from_paths(probed.cert_file.as_deref(), folder.map(PathBuf::as_path));
    }
    load_native_certs()
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    /// In a process that was forked while another thread held the lock, nobody gives it back.
    #[test]
    fn a_lock_that_is_never_given_back_keeps_nobody_waiting() {
        let held = LOADED.write();
        let (answer, answered) = mpsc::channel();
        thread::spawn(move || answer.send(Roots::default().verifier().is_ok()));
        assert!(answered.recv_timeout(Duration::from_secs(60)).unwrap());
        drop(held);
    }
}
