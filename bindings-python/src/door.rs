//! The way from what Python gave to core's identity, which may lead past a signer.

use std::{sync::Arc, time::Duration};

use dps_core::{Credential, Identity};
use pyo3::prelude::*;
use tokio::time::timeout;

use crate::{
    errors::OrRaise as _,
    process::{self, Process},
    signer::{self, PySigner},
    uses::InUse,
    x509::{Material, X509},
};

/// An identity, or a signer that has yet to prove that it is one.
#[derive(Clone)]
pub(crate) enum Door {
    Open(Identity),
    /// A symmetric key that signs; only the service can tell whether it is the right one.
    Tokens(Identity, Arc<PySigner>),
    /// A signer for a certificate.
    Signer(Arc<Material>),
}

impl Door {
    /// Opens what is read from files or memory. A signer is asked later, since it may take long.
    pub(crate) fn x509(py: Python<'_>, x509: &X509) -> PyResult<Self> {
        let material = x509.material();
        if material.signer().is_some() {
            return Ok(Self::Signer(Arc::clone(material)));
        }
        process::current().detach(py, || material.open()).map(Self::Open).or_raise(py)
    }

    /// Tells a signer where its coroutines may run.
    pub(crate) fn bind(&self, event_loop: &Bound<'_, PyAny>) {
        if let Some(signer) = self.signer() {
            signer.bind(event_loop.clone().unbind());
        }
    }

    /// Has a signer's coroutines go on for as long as the answer lives.
    pub(crate) fn in_use(&self) -> Option<InUse> {
        self.signer().and_then(|signer| signer.in_use())
    }

    fn signer(&self) -> Option<&Arc<PySigner>> {
        match self {
            Self::Open(_) => None,
            Self::Tokens(_, signer) => Some(signer),
            Self::Signer(material) => material.signer(),
        }
    }

    /// The identity; a signer has until the deadline to prove itself.
    pub(crate) async fn identity(
        self,
        process: &'static Process,
        deadline: Duration,
    ) -> dps_core::Result<Identity> {
        let in_time = timeout(deadline, self.open(process)).await;
        in_time.unwrap_or_else(|_| Err(Credential::not_in_time()))
    }

    async fn open(self, process: &'static Process) -> dps_core::Result<Identity> {
        match self {
            Self::Open(identity) | Self::Tokens(identity, _) => Ok(identity),
            Self::Signer(material) => match material.opened() {
                Some(identity) => Ok(identity),
                None => signer::elsewhere(process, move || material.open()).await,
            },
        }
    }
}
