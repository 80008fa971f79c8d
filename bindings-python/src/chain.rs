//! Certificate chains: made, read and checked.

use std::sync::Arc;

use dps_core::{
    CertificateChain as CoreChain, RegistrationId,
    chain::{
        Authority as CoreAuthority, Certificate as CoreCertificate,
        CertificateRequest as CoreCertificateRequest, SubjectKey as CoreSubjectKey, Validity,
        c_string as core_c_string, certificates_from_pem as core_certificates_from_pem,
        java_string as core_java_string,
    },
    key::{KeyType, Passphrase, PrivateKey as CoreKey},
};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyString},
};
use time::OffsetDateTime;

use crate::{
    errors::OrRaise as _,
    options::{PassPhrase, bytes_or_file, source, text},
    process,
    signer::{Announced, PySigner, SignerObject, interruptible},
};

/// A private key in this process's memory.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct PrivateKey(Arc<CoreKey>);

#[pymethods]
impl PrivateKey {
    /// Makes a new key: `rsa-4096` as in the tutorial, `rsa-2048`, `rsa-3072`, `ec-p256` or
    /// `ec-p384`.
    #[staticmethod]
    #[pyo3(signature = (key_type=None))]
    fn generate(py: Python<'_>, key_type: Option<&str>) -> PyResult<Self> {
        let key_type = self::key_type(key_type).or_raise(py)?;
        let made = process::current().detach(py, || CoreKey::generate(key_type));
        made.map(|key| Self(Arc::new(key))).or_raise(py)
    }

    /// Reads a key from PEM, DER or PKCS#12.
    #[staticmethod]
    #[pyo3(signature = (pem: "str | bytes | PathLike[str]", pass_phrase=None))]
    fn from_pem(
        py: Python<'_>,
        pem: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
    ) -> PyResult<Self> {
        let passphrase = pass_phrase.map(Passphrase::from);
        let passphrase = passphrase.as_ref();
        let source = source(pem, "pem")?;
        let read = || source.parse(|bytes| CoreKey::from_pem(bytes, passphrase));
        let key = process::current().detach(py, read);
        key.map(|key| Self(Arc::new(key))).or_raise(py)
    }

    /// The key as PEM (PKCS#8), encrypted if there is a pass phrase.
    #[pyo3(signature = (pass_phrase=None))]
    fn to_pem<'py>(
        &self,
        py: Python<'py>,
        pass_phrase: Option<PassPhrase>,
    ) -> PyResult<Bound<'py, PyString>> {
        match pass_phrase.map(Passphrase::from) {
            Some(passphrase) => {
                process::current().detach(py, || self.0.to_encrypted_pem(&passphrase))
            }
            None => self.0.to_pem(),
        }
        .map(|pem| PyString::new(py, &pem))
        .or_raise(py)
    }

    /// The key as DER (PKCS#8), in the clear.
    fn to_der<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.0.to_der().map(|der| PyBytes::new(py, &der)).or_raise(py)
    }

    /// A certificate request in PEM with this common name.
    fn certificate_request(&self, py: Python<'_>, common_name: &str) -> PyResult<String> {
        CoreSubjectKey::from(Arc::clone(&self.0)).certificate_request(common_name).or_raise(py)
    }

    /// The public key as DER SubjectPublicKeyInfo.
    #[getter]
    fn public_key_info<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public_key_info())
    }

    /// The type, such as `EC P-256`.
    #[getter]
    fn key_type(&self) -> String {
        self.0.key_type().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<PrivateKey {}>", self.0.key_type())
    }
}

/// A key that signs elsewhere, for a CA's or a device's certificate, or a request for one.
///
/// `signer` is any object with `sign(request)`, plain or async, and with `algorithms`, of which
/// certificates may have `ecdsa-p256-sha256`, `ecdsa-p384-sha384` and `rsa-pkcs1-sha256` (384,
/// 512); an async one runs in an event loop of its own for each signature. `public_key_info` is its
/// public key as DER SubjectPublicKeyInfo.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct SubjectKey {
    key: CoreSubjectKey,
    public_key_info: Vec<u8>,
}

#[pymethods]
impl SubjectKey {
    #[new]
    fn new(signer: SignerObject<'_>, public_key_info: &[u8]) -> PyResult<Self> {
        let signer = Arc::new(PySigner::new(&signer.0, Announced::Always)?);
        let public_key_info = public_key_info.to_vec();
        Ok(Self { key: CoreSubjectKey::signer(signer, public_key_info.clone()), public_key_info })
    }

    /// A certificate request in PEM with this common name.
    fn certificate_request(&self, py: Python<'_>, common_name: String) -> PyResult<String> {
        let key = self.key.clone();
        interruptible(py, move || key.certificate_request(&common_name))
    }

    /// The public key as DER SubjectPublicKeyInfo.
    #[getter]
    fn public_key_info<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.public_key_info)
    }
}

/// One certificate.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct Certificate(CoreCertificate);

impl From<CoreCertificate> for Certificate {
    fn from(certificate: CoreCertificate) -> Self {
        Self(certificate)
    }
}

#[pymethods]
impl Certificate {
    /// Reads a DER certificate.
    #[staticmethod]
    fn from_der(py: Python<'_>, der: &[u8]) -> PyResult<Self> {
        CoreCertificate::from_der(der).map(Self).or_raise(py)
    }

    /// The certificate in DER.
    #[getter]
    fn der<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.der())
    }

    /// The certificate in PEM.
    fn to_pem(&self) -> String {
        self.0.to_pem()
    }

    /// The subject, such as `CN=device-01`.
    #[getter]
    fn subject(&self) -> &str {
        self.0.subject()
    }

    /// The common name of the subject.
    #[getter]
    fn common_name(&self) -> Option<&str> {
        self.0.common_name()
    }

    /// The issuer's name.
    #[getter]
    fn issuer(&self) -> &str {
        self.0.issuer()
    }

    /// The first moment at which the certificate is valid.
    #[getter]
    fn not_before(&self) -> OffsetDateTime {
        self.0.not_before()
    }

    /// The last moment at which the certificate is valid.
    #[getter]
    fn not_after(&self) -> OffsetDateTime {
        self.0.not_after()
    }

    /// Whether the certificate may issue others.
    #[getter]
    fn is_ca(&self) -> bool {
        self.0.is_ca()
    }

    /// Whether the certificate was issued by itself.
    #[getter]
    fn is_self_signed(&self) -> bool {
        self.0.is_self_signed()
    }

    /// The SHA-1 thumbprint, as the Azure portal shows it.
    #[getter]
    fn sha1_thumbprint(&self) -> String {
        self.0.sha1_thumbprint()
    }

    /// The SHA-256 thumbprint in upper-case hexadecimal.
    #[getter]
    fn sha256_thumbprint(&self) -> String {
        self.0.sha256_thumbprint()
    }

    fn __repr__(&self) -> String {
        format!("<Certificate {}>", self.0.subject())
    }
}

/// Reads every certificate of a PEM text or file.
#[pyfunction]
#[pyo3(signature = (pem: "str | bytes | PathLike[str]"))]
pub(crate) fn certificates_from_pem(
    py: Python<'_>,
    pem: &Bound<'_, PyAny>,
) -> PyResult<Vec<Certificate>> {
    let certificates = source(pem, "pem")?.parse(core_certificates_from_pem);
    Ok(certificates.or_raise(py)?.into_iter().map(Certificate).collect())
}

/// PEM as a C string constant, one source line for each line of the text.
#[pyfunction]
#[pyo3(signature = (pem: "str | bytes"))]
pub(crate) fn c_string<'py>(
    py: Python<'py>,
    pem: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyString>> {
    let pem = text(pem, "pem")?;
    core_c_string(&pem).map(|constant| PyString::new(py, &constant)).or_raise(py)
}

/// PEM as a Java string constant; Python reads it too, between parentheses.
#[pyfunction]
#[pyo3(signature = (pem: "str | bytes"))]
pub(crate) fn java_string<'py>(
    py: Python<'py>,
    pem: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyString>> {
    let pem = text(pem, "pem")?;
    core_java_string(&pem).map(|constant| PyString::new(py, &constant)).or_raise(py)
}

/// A device's certificates, leaf first, each followed by its issuer.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct CertificateChain(CoreChain);

#[pymethods]
impl CertificateChain {
    /// Reads PEM text or a file: one certificate or more, in any order.
    #[staticmethod]
    #[pyo3(signature = (pem: "str | bytes | PathLike[str]"))]
    fn from_pem(py: Python<'_>, pem: &Bound<'_, PyAny>) -> PyResult<Self> {
        source(pem, "pem")?.parse(CoreChain::from_pem).map(Self).or_raise(py)
    }

    /// Takes the certificates of PKCS#12 (PFX) bytes or of such a file.
    #[staticmethod]
    #[pyo3(signature = (source: "bytes | PathLike[str]", pass_phrase=None))]
    fn from_pkcs12(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        pass_phrase: Option<PassPhrase>,
    ) -> PyResult<Self> {
        let passphrase = pass_phrase.map(Passphrase::from);
        let passphrase = passphrase.as_ref();
        let source = bytes_or_file(source, "PKCS#12")?;
        process::current()
            .detach(py, || source.parse(|bytes| CoreChain::from_pkcs12(bytes, passphrase)))
            .map(Self)
            .or_raise(py)
    }

    /// The certificates, leaf first.
    #[getter]
    fn certificates(&self) -> Vec<Certificate> {
        self.0.certificates().iter().cloned().map(Certificate).collect()
    }

    /// The device's own certificate.
    #[getter]
    fn leaf(&self) -> Certificate {
        Certificate(self.0.leaf().clone())
    }

    /// What was tolerated while reading, one sentence each.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings().to_vec()
    }

    /// Raises for the first certificate that is not valid now, or at the given moment.
    #[pyo3(signature = (at=None))]
    fn check_validity(&self, py: Python<'_>, at: Option<OffsetDateTime>) -> PyResult<()> {
        self.0.check_validity(at.unwrap_or_else(OffsetDateTime::now_utc).into()).or_raise(py)
    }

    /// Raises unless the chain reaches one of the CA certificates that DPS knows.
    fn check_reaches(
        &self,
        py: Python<'_>,
        authorities: Vec<PyRef<'_, Certificate>>,
    ) -> PyResult<()> {
        let authorities: Vec<_> = authorities.iter().map(|authority| authority.0.clone()).collect();
        self.0.check_reaches(&authorities).or_raise(py)
    }

    /// The chain as PEM, leaf first.
    fn to_pem(&self) -> String {
        self.0.to_pem()
    }

    /// The chain and the leaf's key as PKCS#12 (PFX), for the C# sample and the store of Windows.
    fn to_pkcs12<'py>(
        &self,
        py: Python<'py>,
        key: &PrivateKey,
        pass_phrase: PassPhrase,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (key, passphrase) = (&key.0, Passphrase::from(pass_phrase));
        let made = process::current().detach(py, || self.0.to_pkcs12(key, &passphrase));
        made.map(|bytes| PyBytes::new(py, &bytes)).or_raise(py)
    }
}

/// A certificate request that a device made.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct CertificateRequest(CoreCertificateRequest);

#[pymethods]
impl CertificateRequest {
    /// Reads a request from PEM, and verifies its signature.
    #[staticmethod]
    #[pyo3(signature = (pem: "str | bytes"))]
    fn from_pem(py: Python<'_>, pem: &Bound<'_, PyAny>) -> PyResult<Self> {
        CoreCertificateRequest::from_pem(&text(pem, "pem")?).map(Self).or_raise(py)
    }

    /// The registration ID that the device asks for.
    #[getter]
    fn registration_id(&self) -> &str {
        self.0.registration_id().as_str()
    }

    /// What the request asks for beyond its name and key, which a certificate will not have.
    #[getter]
    fn ignored(&self) -> Vec<String> {
        self.0.ignored().to_vec()
    }
}

/// A CA certificate with its key: makes intermediates, device and verification certificates with
/// the extensions of the tutorial's OpenSSL profiles.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct Authority(pub(crate) CoreAuthority);

#[pymethods]
impl Authority {
    /// A CA that exists already.
    #[new]
    fn new(py: Python<'_>, certificate: &Certificate, key: &PrivateKey) -> PyResult<Self> {
        CoreAuthority::new(certificate.0.clone(), Arc::clone(&key.0) as _).map(Self).or_raise(py)
    }

    /// A CA that exists already, whose key stays where it is: `signer` is any object with
    /// `sign(request)`, plain or async, which runs in an event loop of its own for each signature.
    /// One test signature proves that it holds the key.
    #[staticmethod]
    fn from_signer(
        py: Python<'_>,
        certificate: &Certificate,
        signer: SignerObject<'_>,
    ) -> PyResult<Self> {
        let certificate = certificate.0.clone();
        let signer = Arc::new(PySigner::new(&signer.0, Announced::ByCertificate)?);
        interruptible(py, move || CoreAuthority::new(certificate, signer)).map(Self)
    }

    /// A new root, signed by itself; `path_length` limits the CAs below it.
    #[staticmethod]
    #[pyo3(signature = (common_name, key: "PrivateKey | SubjectKey", *, path_length=None, days=None, not_before=None, not_after=None))]
    fn create_root(
        py: Python<'_>,
        common_name: String,
        key: &Bound<'_, PyAny>,
        path_length: Option<u8>,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Self> {
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let key = subject_key(key)?;
        let made = interruptible(py, move || match path_length {
            None => CoreAuthority::create_root(&common_name, key, validity),
            Some(length) => {
                CoreAuthority::create_root_with_path_length(&common_name, key, validity, length)
            }
        });
        made.map(Self)
    }

    /// A new intermediate CA below this one; `path_length` limits the CAs below that.
    #[pyo3(signature = (common_name, key: "PrivateKey | SubjectKey", *, path_length=None, days=None, not_before=None, not_after=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn create_intermediate(
        &self,
        py: Python<'_>,
        common_name: String,
        key: &Bound<'_, PyAny>,
        path_length: Option<u8>,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Self> {
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let key = subject_key(key)?;
        let above = self.0.clone();
        let made = interruptible(py, move || match path_length {
            None => above.create_intermediate(&common_name, key, validity),
            Some(length) => {
                above.create_intermediate_with_path_length(&common_name, key, validity, length)
            }
        });
        made.map(Self)
    }

    /// A device certificate whose common name is the registration ID. The key is the device's own,
    /// or its public part as DER SubjectPublicKeyInfo.
    #[pyo3(signature = (registration_id, key: "PrivateKey | SubjectKey | bytes", *, days=None, not_before=None, not_after=None))]
    fn issue_device(
        &self,
        py: Python<'_>,
        registration_id: &str,
        key: &Bound<'_, PyAny>,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Certificate> {
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let registration_id = RegistrationId::parse(registration_id).or_raise(py)?;
        let (ca, key) = (self.0.clone(), public_key(key)?);
        interruptible(py, move || ca.issue_device(&registration_id, &key, validity))
            .map(Certificate)
    }

    /// A device certificate for a request that was made elsewhere.
    #[pyo3(signature = (request, *, days=None, not_before=None, not_after=None))]
    fn issue_requested(
        &self,
        py: Python<'_>,
        request: &CertificateRequest,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Certificate> {
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let (ca, request) = (self.0.clone(), request.0.clone());
        interruptible(py, move || ca.issue_requested(&request, validity)).map(Certificate)
    }

    /// A device certificate in place of an old one: the same name, with the same key or a new one.
    #[pyo3(signature = (old, key: "PrivateKey | SubjectKey | bytes | None" = None, *, days=None, not_before=None, not_after=None))]
    fn reissue_device(
        &self,
        py: Python<'_>,
        old: &Certificate,
        key: Option<&Bound<'_, PyAny>>,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Certificate> {
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let key = key.map(public_key).transpose()?;
        let (ca, old) = (self.0.clone(), old.0.clone());
        interruptible(py, move || ca.reissue_device(&old, key.as_deref(), validity))
            .map(Certificate)
    }

    /// A certificate that proves possession of this CA's key: its common name is the verification
    /// code that DPS gave.
    #[pyo3(signature = (verification_code, key: "PrivateKey | SubjectKey | bytes", *, days=None))]
    fn issue_verification(
        &self,
        py: Python<'_>,
        verification_code: String,
        key: &Bound<'_, PyAny>,
        days: Option<i64>,
    ) -> PyResult<Certificate> {
        let validity = validity(days, None, None).or_raise(py)?;
        let (ca, key) = (self.0.clone(), public_key(key)?);
        interruptible(py, move || ca.issue_verification(&verification_code, &key, validity))
            .map(Certificate)
    }

    /// The CA's own certificate.
    #[getter]
    fn certificate(&self) -> Certificate {
        Certificate(self.0.certificate().clone())
    }
}

fn public_key(key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(key) = key.cast::<PrivateKey>() {
        return Ok(key.get().0.public_key_info().to_vec());
    }
    if let Ok(key) = key.cast::<SubjectKey>() {
        return Ok(key.get().public_key_info.clone());
    }
    match key.cast::<PyBytes>() {
        Ok(info) => Ok(info.as_bytes().to_vec()),
        Err(_) => Err(PyTypeError::new_err(
            "the key must be a PrivateKey, a SubjectKey or a public key in DER",
        )),
    }
}

fn subject_key(key: &Bound<'_, PyAny>) -> PyResult<CoreSubjectKey> {
    if let Ok(key) = key.cast::<PrivateKey>() {
        return Ok(Arc::clone(&key.get().0).into());
    }
    match key.cast::<SubjectKey>() {
        Ok(key) => Ok(key.get().key.clone()),
        Err(_) => Err(PyTypeError::new_err("the key must be a PrivateKey or a SubjectKey")),
    }
}

/// The type of a new key, by its name.
pub(crate) fn key_type(name: Option<&str>) -> dps_core::Result<KeyType> {
    name.map_or(Ok(KeyType::TUTORIAL), str::parse)
}

/// Days from now, or two moments.
pub(crate) fn validity(
    days: Option<i64>,
    not_before: Option<OffsetDateTime>,
    not_after: Option<OffsetDateTime>,
) -> dps_core::Result<Validity> {
    Validity::parse(days, not_before.map(Into::into), not_after.map(Into::into))
}
