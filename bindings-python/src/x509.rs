//! What a device proves itself by: a chain and a key, from files, from memory or elsewhere.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dps_core::{CertificateChain, Credential, Identity, Source, doctor::Doctor, key::Passphrase};
use pyo3::prelude::*;

use crate::{
    errors::OrRaise as _,
    options::{PassPhrase, bytes_or_file, source, text},
    signer::{Announced, PySigner, SignerObject},
};

/// A device's certificate chain and its private key.
///
/// X509(cert_file, key_file, pass_phrase=None) takes files, which are read when a client is made:
/// PEM, DER or PKCS#12 (PFX), which may be one and the same.
///
/// In every form `authorities` are the CA certificates that DPS knows, as PEM or as the path object
/// of a file: a chain that reaches none of them is refused before dialling.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct X509(Arc<Material>);

/// All that an [`X509`] was made of.
pub(crate) struct Material {
    proof: Proof,
    passphrase: Option<Passphrase>,
    authorities: Option<Source>,
}

enum Proof {
    Pem { chain: Source, key: Source },
    Pkcs12(Source),
    Signer { chain: Source, signer: Arc<PySigner>, opened: OnceLock<Identity> },
}

#[pymethods]
impl X509 {
    #[new]
    #[pyo3(signature = (cert_file, key_file, pass_phrase=None, *, authorities: "str | bytes | PathLike[str] | None" = None))]
    fn new(
        cert_file: PathBuf,
        key_file: PathBuf,
        pass_phrase: Option<PassPhrase>,
        authorities: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (chain, key) = (Source::File(cert_file), Source::File(key_file));
        Self::make(Proof::Pem { chain, key }, pass_phrase, authorities)
    }

    /// The full chain and the leaf's private key as PEM; bytes may be DER or PKCS#12 too.
    #[staticmethod]
    #[pyo3(signature = (chain: "str | bytes", key: "str | bytes", pass_phrase=None, *, authorities: "str | bytes | PathLike[str] | None" = None))]
    fn from_pem(
        chain: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
        authorities: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let [chain, key] = [text(chain, "chain")?, text(key, "key")?].map(Source::Memory);
        Self::make(Proof::Pem { chain, key }, pass_phrase, authorities)
    }

    /// The full chain and the leaf's private key as PKCS#12 (PFX): bytes, or the path object of a
    /// file, which is read when a client is made.
    #[staticmethod]
    #[pyo3(signature = (source: "bytes | PathLike[str]", pass_phrase=None, *, authorities: "str | bytes | PathLike[str] | None" = None))]
    fn from_pkcs12(
        source: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
        authorities: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Self::make(Proof::Pkcs12(bytes_or_file(source, "PKCS#12")?), pass_phrase, authorities)
    }

    /// The full chain, as PEM or as the path object of a file, with a key that stays where it is:
    /// `signer` is any object with `sign(request)`, plain or async, which returns the signature.
    ///
    /// Whether the signer holds the leaf's key is proven by one test signature, when the first
    /// client that uses it registers or connects.
    #[staticmethod]
    #[pyo3(signature = (chain: "str | bytes | PathLike[str]", signer, *, authorities: "str | bytes | PathLike[str] | None" = None))]
    fn from_signer(
        py: Python<'_>,
        chain: &Bound<'_, PyAny>,
        signer: SignerObject<'_>,
        authorities: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let chain = source(chain, "chain")?.parse(CertificateChain::from_pem).or_raise(py)?;
        let signer = Arc::new(PySigner::new(&signer.0, Announced::ByCertificate)?.counted());
        let chain = chain.to_pem().into();
        Self::make(Proof::Signer { chain, signer, opened: OnceLock::new() }, None, authorities)
    }

    /// The file with the chain, where there is one.
    #[getter]
    fn certificate_file(&self) -> Option<PathBuf> {
        match &self.0.proof {
            Proof::Pem { chain: Source::File(path), .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// The file with the key, where there is one.
    #[getter]
    fn key_file(&self) -> Option<PathBuf> {
        match &self.0.proof {
            Proof::Pem { key: Source::File(path), .. } => Some(path.clone()),
            _ => None,
        }
    }
}

impl X509 {
    fn make(
        proof: Proof,
        pass_phrase: Option<PassPhrase>,
        authorities: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let passphrase = pass_phrase.map(Passphrase::from);
        let authorities = authorities.map(|given| source(given, "authorities")).transpose()?;
        Ok(Self(Arc::new(Material { proof, passphrase, authorities })))
    }

    pub(crate) fn material(&self) -> &Arc<Material> {
        &self.0
    }

    /// Gives the doctor what this is made of; a signer is waited for so long.
    pub(crate) fn give(&self, doctor: Doctor, patience: Duration) -> Doctor {
        let Material { proof, passphrase, authorities } = self.0.as_ref();
        let mut doctor = match proof {
            Proof::Pem { chain, key } => doctor.certificate(chain.clone()).key(key.clone()),
            Proof::Pkcs12(file) => doctor.certificate(file.clone()).key(file.clone()),
            Proof::Signer { chain, signer, .. } => {
                doctor.certificate(chain.clone()).signer(Arc::new(signer.within(patience)))
            }
        };
        if let Some(passphrase) = passphrase {
            doctor = doctor.passphrase(passphrase.clone());
        }
        if let Some(authorities) = authorities {
            doctor = doctor.authorities(authorities.clone());
        }
        doctor
    }
}

impl Material {
    /// What signs, where that is not in this process's memory.
    pub(crate) fn signer(&self) -> Option<&Arc<PySigner>> {
        match &self.proof {
            Proof::Signer { signer, .. } => Some(signer),
            _ => None,
        }
    }

    /// The identity, where a signer has proven itself already.
    pub(crate) fn opened(&self) -> Option<Identity> {
        match &self.proof {
            Proof::Signer { opened, .. } => opened.get().cloned(),
            _ => None,
        }
    }

    pub(crate) fn open(&self) -> dps_core::Result<Identity> {
        let mut credential = match &self.proof {
            Proof::Pem { chain, key } => Credential::pem(chain.clone(), key.clone()),
            Proof::Pkcs12(file) => Credential::pkcs12(file.clone()),
            Proof::Signer { chain, signer, .. } => {
                Credential::signer(chain.clone(), Arc::clone(signer) as _)
            }
        };
        if let Some(passphrase) = &self.passphrase {
            credential = credential.passphrase(passphrase.clone());
        }
        if let Some(authorities) = &self.authorities {
            credential = credential.authorities(authorities.clone());
        }
        let identity = credential.open()?;
        Ok(match &self.proof {
            // All clients share the first.
            Proof::Signer { opened, .. } => opened.get_or_init(|| identity).clone(),
            _ => identity,
        })
    }
}
