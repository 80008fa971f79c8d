//! A signer that may keep its callers waiting, and whether it does so now: what a deadline ended in
//! is then the signer's silence, and not the service's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    signer::{SignRequest, SignatureAlgorithm, Signer, SignerError},
    symmetric_key::TokenSigner,
};

/// How many calls of a signer have not returned.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(super) fn under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn begin(&self) -> Call {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }
}

/// One call, until it is dropped.
struct Call(Calls);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A signer whose calls are counted.
pub(super) struct Awaited<S: ?Sized> {
    pub(super) signer: Arc<S>,
    pub(super) calls: Calls,
}

impl Signer for Awaited<dyn Signer> {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.signer.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        let _call = self.calls.begin();
        self.signer.sign(request)
    }

    fn may_block(&self) -> bool {
        self.signer.may_block()
    }
}

impl TokenSigner for Awaited<dyn TokenSigner> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let _call = self.calls.begin();
        self.signer.sign(message)
    }

    fn may_block(&self) -> bool {
        self.signer.may_block()
    }
}
