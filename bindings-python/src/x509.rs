//! What a device proves itself by: a chain and a key, from files, from memory or elsewhere, or a
//! symmetric key.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dps_core::{
    CertificateChain, Credential, Error, ErrorKind, Identity, doctor::Doctor, key::Passphrase,
};
use pyo3::prelude::*;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{
    errors::OrRaise as _,
    options::{PassPhrase, TextOrFile, bytes_or_file, text},
    process::{self, Process},
    signer::{self, PySigner},
};

/// A device's certificate chain and its private key.
///
/// X509(cert_file, key_file, pass_phrase=None) takes files, which are read when a client is made.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct X509(Arc<Source>);

enum Source {
    Files { chain: PathBuf, key: PathBuf, passphrase: Option<Passphrase> },
    Pem { chain: Vec<u8>, key: Zeroizing<Vec<u8>>, passphrase: Option<Passphrase> },
    Pkcs12File { path: PathBuf, passphrase: Option<Passphrase> },
    Pkcs12 { bytes: Zeroizing<Vec<u8>>, passphrase: Option<Passphrase> },
    Signer { chain: String, signer: Arc<PySigner>, opened: OnceLock<Identity> },
}

#[pymethods]
impl X509 {
    #[new]
    #[pyo3(signature = (cert_file, key_file, pass_phrase=None))]
    fn new(cert_file: PathBuf, key_file: PathBuf, pass_phrase: Option<PassPhrase>) -> Self {
        let passphrase = pass_phrase.map(Passphrase::from);
        Self(Arc::new(Source::Files { chain: cert_file, key: key_file, passphrase }))
    }

    /// The full chain and the leaf's private key as PEM.
    #[staticmethod]
    #[pyo3(signature = (chain: "str | bytes", key: "str | bytes", pass_phrase=None))]
    fn from_pem(
        chain: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
    ) -> PyResult<Self> {
        let (chain, key) = (text(chain, "chain")?, Zeroizing::new(text(key, "key")?));
        let passphrase = pass_phrase.map(Passphrase::from);
        Ok(Self(Arc::new(Source::Pem { chain, key, passphrase })))
    }

    /// The full chain and the leaf's private key as PKCS#12 (PFX): bytes, or the path object of a
    /// file, which is read when a client is made.
    #[staticmethod]
    #[pyo3(signature = (source: "bytes | PathLike[str]", pass_phrase=None))]
    fn from_pkcs12(source: &Bound<'_, PyAny>, pass_phrase: Option<PassPhrase>) -> PyResult<Self> {
        let passphrase = pass_phrase.map(Passphrase::from);
        let source = match bytes_or_file(source, "PKCS#12")? {
            TextOrFile::File(path) => Source::Pkcs12File { path, passphrase },
            TextOrFile::Text(bytes) => Source::Pkcs12 { bytes: bytes.into(), passphrase },
        };
        Ok(Self(Arc::new(source)))
    }

    /// The full chain, as PEM or as the path object of a file, with a key that stays where it is:
    /// `signer` is any object with `sign(request)`, plain or async, which returns the signature.
    ///
    /// Whether the signer holds the leaf's key is proven by one test signature, when the first
    /// client that uses it registers or connects.
    #[staticmethod]
    #[pyo3(signature = (chain: "str | bytes | PathLike[str]", signer))]
    fn from_signer(
        py: Python<'_>,
        chain: &Bound<'_, PyAny>,
        signer: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let chain = match TextOrFile::extract(chain, "chain")? {
            TextOrFile::Text(text) => CertificateChain::from_pem(&text),
            TextOrFile::File(path) => CertificateChain::from_pem_file(path),
        }
        .or_raise(py)?;
        let signer = Arc::new(PySigner::new(signer, Some(chain.leaf()))?);
        let chain = chain.to_pem();
        Ok(Self(Arc::new(Source::Signer { chain, signer, opened: OnceLock::new() })))
    }

    /// The file with the chain, where there is one.
    #[getter]
    fn certificate_file(&self) -> Option<PathBuf> {
        match self.0.as_ref() {
            Source::Files { chain, .. } => Some(chain.clone()),
            _ => None,
        }
    }

    /// The file with the key, where there is one.
    #[getter]
    fn key_file(&self) -> Option<PathBuf> {
        match self.0.as_ref() {
            Source::Files { key, .. } => Some(key.clone()),
            _ => None,
        }
    }
}

impl X509 {
    /// Gives the doctor what this is made of.
    pub(crate) fn give(&self, doctor: Doctor) -> Doctor {
        let (doctor, passphrase) = match self.0.as_ref() {
            Source::Files { chain, key, passphrase } => {
                (doctor.certificate_file(chain).key_file(key), passphrase)
            }
            Source::Pem { chain, key, passphrase } => {
                (doctor.certificate(chain.clone()).key(key.to_vec()), passphrase)
            }
            Source::Pkcs12File { path, passphrase } => {
                (doctor.certificate_file(path).key_file(path), passphrase)
            }
            Source::Pkcs12 { bytes, passphrase } => {
                (doctor.certificate(bytes.to_vec()).key(bytes.to_vec()), passphrase)
            }
            Source::Signer { chain, signer, .. } => {
                (doctor.certificate(chain.clone()).signer(Arc::clone(signer) as _), &None)
            }
        };
        match passphrase {
            Some(passphrase) => doctor.passphrase(passphrase.clone()),
            None => doctor,
        }
    }

    pub(crate) fn signer(&self) -> Option<Arc<PySigner>> {
        match self.0.as_ref() {
            Source::Signer { signer, .. } => Some(Arc::clone(signer)),
            _ => None,
        }
    }
}

/// An identity, or a signer that has yet to prove that it is one.
#[derive(Clone)]
pub(crate) enum Door {
    Open(Identity),
    Signer(Arc<PySigner>, OpenLater),
}

#[derive(Clone)]
pub(crate) struct OpenLater(Arc<Source>);

impl Door {
    /// Opens what is read from files or memory. A signer is asked later, since it may take long.
    pub(crate) fn x509(py: Python<'_>, x509: &X509) -> PyResult<Self> {
        if let Source::Signer { signer, .. } = x509.0.as_ref() {
            return Ok(Self::Signer(Arc::clone(signer), OpenLater(Arc::clone(&x509.0))));
        }
        let source = &x509.0;
        process::current().detach(py, || source.open()).map(Self::Open).or_raise(py)
    }

    /// A device's own symmetric key, in base64.
    pub(crate) fn symmetric_key(py: Python<'_>, id: &str, key: &str) -> PyResult<Self> {
        Credential::symmetric_key(id, key).open().map(Self::Open).or_raise(py)
    }

    /// Tells a signer where its coroutines may run.
    pub(crate) fn bind(&self, event_loop: &Bound<'_, PyAny>) {
        if let Self::Signer(signer, _) = self {
            signer.bind(event_loop.clone().unbind());
        }
    }

    /// The identity, for what `operation` names; a signer has until the deadline to prove itself.
    pub(crate) async fn identity(
        self,
        process: &'static Process,
        deadline: Duration,
        operation: &'static str,
    ) -> dps_core::Result<Identity> {
        timeout(deadline, self.open(process)).await.unwrap_or_else(|_| {
            let message = "the signer did not make its test signature in time";
            Err(Error::new(ErrorKind::DeadlineExceeded, message).during(operation))
        })
    }

    async fn open(self, process: &'static Process) -> dps_core::Result<Identity> {
        match self {
            Self::Open(identity) => Ok(identity),
            Self::Signer(_, later) => match later.0.as_ref() {
                Source::Signer { opened, .. } if opened.get().is_some() => later.0.open(),
                _ => signer::elsewhere(process, move || later.0.open()).await,
            },
        }
    }
}

impl Source {
    fn open(&self) -> dps_core::Result<Identity> {
        let (credential, passphrase) = match self {
            Self::Files { chain, key, passphrase } => {
                (Credential::pem_files(chain, key), passphrase)
            }
            Self::Pem { chain, key, passphrase } => {
                (Credential::pem(chain.clone(), key.to_vec()), passphrase)
            }
            Self::Pkcs12File { path, passphrase } => (Credential::pkcs12_file(path), passphrase),
            Self::Pkcs12 { bytes, passphrase } => (Credential::pkcs12(bytes.to_vec()), passphrase),
            Self::Signer { chain, signer, opened } => {
                if let Some(identity) = opened.get() {
                    return Ok(identity.clone());
                }
                let signer = Arc::clone(signer);
                let identity = Credential::signer(chain.clone(), signer).open()?;
                return Ok(opened.get_or_init(|| identity).clone());
            }
        };
        match passphrase {
            Some(passphrase) => credential.passphrase(passphrase.clone()),
            None => credential,
        }
        .open()
    }
}
