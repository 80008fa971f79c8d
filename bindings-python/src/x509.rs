//! What a device proves itself by: a chain and a key, from files, from memory or elsewhere, or a
//! symmetric key.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dps_core::{
    CertificateChain, Credential, Error, ErrorKind, Identity, Source, doctor::Doctor,
    key::Passphrase,
};
use pyo3::prelude::*;
use tokio::time::timeout;

use crate::{
    errors::OrRaise as _,
    options::{PassPhrase, bytes_or_file, source, text},
    process::{self, Process},
    signer::{self, Announced, PySigner},
};

/// A device's certificate chain and its private key.
///
/// X509(cert_file, key_file, pass_phrase=None) takes files, which are read when a client is made:
/// PEM, DER or PKCS#12 (PFX), which may be one and the same.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct X509(Arc<Material>);

enum Material {
    Pem { chain: Source, key: Source, passphrase: Option<Passphrase> },
    Pkcs12 { file: Source, passphrase: Option<Passphrase> },
    Signer { chain: Source, signer: Arc<PySigner>, opened: OnceLock<Identity> },
}

#[pymethods]
impl X509 {
    #[new]
    #[pyo3(signature = (cert_file, key_file, pass_phrase=None))]
    fn new(cert_file: PathBuf, key_file: PathBuf, pass_phrase: Option<PassPhrase>) -> Self {
        let passphrase = pass_phrase.map(Passphrase::from);
        let (chain, key) = (Source::File(cert_file), Source::File(key_file));
        Self(Arc::new(Material::Pem { chain, key, passphrase }))
    }

    /// The full chain and the leaf's private key as PEM; bytes may be DER or PKCS#12 too.
    #[staticmethod]
    #[pyo3(signature = (chain: "str | bytes", key: "str | bytes", pass_phrase=None))]
    fn from_pem(
        chain: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
    ) -> PyResult<Self> {
        let [chain, key] = [text(chain, "chain")?, text(key, "key")?].map(Source::Memory);
        let passphrase = pass_phrase.map(Passphrase::from);
        Ok(Self(Arc::new(Material::Pem { chain, key, passphrase })))
    }

    /// The full chain and the leaf's private key as PKCS#12 (PFX): bytes, or the path object of a
    /// file, which is read when a client is made.
    #[staticmethod]
    #[pyo3(signature = (source: "bytes | PathLike[str]", pass_phrase=None))]
    fn from_pkcs12(source: &Bound<'_, PyAny>, pass_phrase: Option<PassPhrase>) -> PyResult<Self> {
        let passphrase = pass_phrase.map(Passphrase::from);
        let file = bytes_or_file(source, "PKCS#12")?;
        Ok(Self(Arc::new(Material::Pkcs12 { file, passphrase })))
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
        let chain = source(chain, "chain")?.parse(CertificateChain::from_pem).or_raise(py)?;
        let signer = Arc::new(PySigner::new(signer, Announced::ByCertificate)?);
        let chain = chain.to_pem().into();
        Ok(Self(Arc::new(Material::Signer { chain, signer, opened: OnceLock::new() })))
    }

    /// The file with the chain, where there is one.
    #[getter]
    fn certificate_file(&self) -> Option<PathBuf> {
        match self.0.as_ref() {
            Material::Pem { chain: Source::File(path), .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// The file with the key, where there is one.
    #[getter]
    fn key_file(&self) -> Option<PathBuf> {
        match self.0.as_ref() {
            Material::Pem { key: Source::File(path), .. } => Some(path.clone()),
            _ => None,
        }
    }
}

impl X509 {
    /// Gives the doctor what this is made of.
    pub(crate) fn give(&self, doctor: Doctor) -> Doctor {
        let (doctor, passphrase) = match self.0.as_ref() {
            Material::Pem { chain, key, passphrase } => {
                (doctor.certificate(chain.clone()).key(key.clone()), passphrase)
            }
            Material::Pkcs12 { file, passphrase } => {
                (doctor.certificate(file.clone()).key(file.clone()), passphrase)
            }
            Material::Signer { chain, signer, .. } => {
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
            Material::Signer { signer, .. } => Some(Arc::clone(signer)),
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
pub(crate) struct OpenLater(Arc<Material>);

impl Door {
    /// Opens what is read from files or memory. A signer is asked later, since it may take long.
    pub(crate) fn x509(py: Python<'_>, x509: &X509) -> PyResult<Self> {
        if let Material::Signer { signer, .. } = x509.0.as_ref() {
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
                Material::Signer { opened, .. } if opened.get().is_some() => later.0.open(),
                _ => signer::elsewhere(process, move || later.0.open()).await,
            },
        }
    }
}

impl Material {
    fn open(&self) -> dps_core::Result<Identity> {
        let (credential, passphrase) = match self {
            Self::Pem { chain, key, passphrase } => {
                (Credential::pem(chain.clone(), key.clone()), passphrase)
            }
            Self::Pkcs12 { file, passphrase } => (Credential::pkcs12(file.clone()), passphrase),
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
