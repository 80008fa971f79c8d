//! What a device without a certificate proves itself by.

use std::sync::Arc;

use dps_core::{
    Credential, Source,
    hsm::{self, SymmetricKeyHsm},
};
use pyo3::{exceptions::PyTypeError, exceptions::PyValueError, prelude::*, types::PyString};
use zeroize::Zeroizing;

use crate::{
    door::Door,
    errors::OrRaise as _,
    options::source,
    signer::{Announced, PySigner, TokenSignerObject},
};

/// A symmetric key in one of the forms that the clients take: base64, one that signs and stays
/// where it is, or what an HSM gave away.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct SymmetricKey(Form);

enum Form {
    Text(Zeroizing<String>),
    Signer(Arc<PySigner>),
    Hsm(Answers),
}

#[pymethods]
impl SymmetricKey {
    /// A key in base64.
    #[new]
    fn new(key: &Bound<'_, PyString>) -> PyResult<Self> {
        // Python's own error would repeat the key.
        let key = key.extract::<String>();
        let key = key.map_err(|_| PyValueError::new_err("a symmetric key is base64 text"))?;
        Ok(Self(Form::Text(Zeroizing::new(key))))
    }

    /// A key that stays where it is: `signer` has `sign(request)`, plain or async.
    #[staticmethod]
    fn from_signer(signer: TokenSignerObject<'_>) -> PyResult<Self> {
        let signer = PySigner::new(&signer.0, Announced::Never)?.counted();
        Ok(Self(Form::Signer(Arc::new(signer))))
    }

    /// What an HSM answered: the registration ID that its key belongs to, and the key in base64.
    #[staticmethod]
    #[pyo3(signature = (registration_id, key: "str | bytes"))]
    fn from_hsm(registration_id: String, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        match source(key, "the HSM's symmetric key")? {
            Source::Memory(key) => Ok(Self(Form::Hsm(Answers { registration_id, key }))),
            Source::File(_) => {
                Err(PyTypeError::new_err("the HSM's symmetric key must be str or bytes"))
            }
        }
    }
}

impl SymmetricKey {
    /// For a registration under this ID; without one, under that of the HSM.
    pub(crate) fn to_register(&self, py: Python<'_>, id: Option<&str>) -> PyResult<Door> {
        self.open(id.unwrap_or_default(), |credential| credential).or_raise(py)
    }

    /// For this device of a hub.
    pub(crate) fn to_connect(&self, py: Python<'_>, device_id: &str) -> PyResult<Door> {
        self.open(device_id, Credential::for_hub).or_raise(py)
    }

    fn open(
        &self,
        id: &str,
        place: impl FnOnce(Credential) -> Credential,
    ) -> dps_core::Result<Door> {
        let open = |credential| place(credential).open();
        match &self.0 {
            Form::Text(key) => open(Credential::symmetric_key(id, key.as_str())).map(Door::Open),
            Form::Signer(signer) => {
                let identity = open(Credential::token_signer(id, Arc::clone(signer) as _))?;
                Ok(Door::Tokens(identity, Arc::clone(signer)))
            }
            Form::Hsm(answers) => hsm::open_symmetric_key(answers).map(Door::Open),
        }
    }
}

/// An HSM that has been asked already, by Python.
struct Answers {
    registration_id: String,
    key: Zeroizing<Vec<u8>>,
}

impl SymmetricKeyHsm for Answers {
    fn registration_id(&self) -> dps_core::Result<String> {
        Ok(self.registration_id.clone())
    }

    fn key(&self) -> dps_core::Result<Zeroizing<Vec<u8>>> {
        Ok(self.key.clone())
    }
}
