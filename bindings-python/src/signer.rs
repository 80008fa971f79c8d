//! A Python object with `sign(request)` as core's [`Signer`].
//!
//! Core asks for a signature on a thread of its own, without the GIL. The request then goes to a
//! thread that Python made, which calls the signer and, where `sign` is a coroutine function,
//! waits for the coroutine. A signer that takes its time so holds up neither the event loop nor
//! another device, and one that never returns does not keep the interpreter from exiting.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, SignRequest as CoreRequest, SignatureAlgorithm, Signer, SignerError,
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBytes, PyString},
    wrap_pyfunction,
};

use crate::{
    errors::OrRaise as _,
    process::{self, Process, start_thread},
    work::SIGNAL_INTERVAL,
};

/// How long a thread waits for another signature to make.
const IDLE: Duration = Duration::from_secs(10);

/// The names that TLS gives the algorithms (IANA, "TLS SignatureScheme"), with the hash's name in
/// `hashlib`.
const ALGORITHMS: [(SignatureAlgorithm, &str, &str); 8] = [
    (SignatureAlgorithm::EcdsaP256Sha256, "ecdsa_secp256r1_sha256", "sha256"),
    (SignatureAlgorithm::EcdsaP384Sha384, "ecdsa_secp384r1_sha384", "sha384"),
    (SignatureAlgorithm::RsaPssSha256, "rsa_pss_rsae_sha256", "sha256"),
    (SignatureAlgorithm::RsaPssSha384, "rsa_pss_rsae_sha384", "sha384"),
    (SignatureAlgorithm::RsaPssSha512, "rsa_pss_rsae_sha512", "sha512"),
    (SignatureAlgorithm::RsaPkcs1Sha256, "rsa_pkcs1_sha256", "sha256"),
    (SignatureAlgorithm::RsaPkcs1Sha384, "rsa_pkcs1_sha384", "sha384"),
    (SignatureAlgorithm::RsaPkcs1Sha512, "rsa_pkcs1_sha512", "sha512"),
];

/// A signer that Python gave.
pub(crate) struct PySigner {
    object: Arc<Py<PyAny>>,
    algorithms: Vec<SignatureAlgorithm>,
    /// Where its coroutines run: the event loop in which it was last used.
    event_loop: Mutex<Option<Arc<Py<PyAny>>>>,
}

/// Whether a signer has to name its algorithms.
pub(crate) enum Announced {
    Always,
    /// Without a name it can do all that its certificate's key can.
    ByCertificate,
}

impl PySigner {
    /// Takes the object, with its attribute `algorithms`.
    pub(crate) fn new(signer: &Bound<'_, PyAny>, announced: Announced) -> PyResult<Self> {
        if !signer.getattr(intern!(signer.py(), "sign"))?.is_callable() {
            return Err(PyTypeError::new_err("a signer's sign must be callable"));
        }
        let named = signer.getattr_opt(intern!(signer.py(), "algorithms"))?;
        let algorithms = match (named.filter(|named| !named.is_none()), announced) {
            (Some(named), _) => named
                .extract::<Vec<String>>()?
                .iter()
                .map(|name| algorithm(name))
                .collect::<PyResult<_>>()?,
            (None, Announced::ByCertificate) => Vec::new(),
            (None, Announced::Always) => {
                return Err(PyTypeError::new_err(
                    "a signer without a certificate must name its algorithms",
                ));
            }
        };
        let object = Arc::new(signer.clone().unbind());
        Ok(Self { object, algorithms, event_loop: Mutex::default() })
    }

    /// Tells where its coroutines may run.
    pub(crate) fn bind(&self, event_loop: Py<PyAny>) {
        let former = self.event_loop().replace(Arc::new(event_loop));
        // Not under the lock: it may be the end of that event loop, which runs code.
        drop(former);
    }

    fn event_loop(&self) -> MutexGuard<'_, Option<Arc<Py<PyAny>>>> {
        self.event_loop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer for PySigner {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    fn sign(&self, request: &CoreRequest<'_>) -> Result<Vec<u8>, SignerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        // Not in the next statement: the lock would last as long, and that one waits for the GIL.
        let event_loop = self.event_loop().clone();
        process::current().signing.add(Job {
            signer: Arc::clone(&self.object),
            event_loop,
            algorithm: request.algorithm(),
            message: request.message().to_vec(),
            digest: request.digest().to_vec(),
            answer,
        })?;
        answered.recv().unwrap_or_else(|_| Err(SignerError::new("its thread has ended")))
    }
}

/// The signatures that are wanted, and the threads that make them.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
}

struct Job {
    signer: Arc<Py<PyAny>>,
    event_loop: Option<Arc<Py<PyAny>>>,
    algorithm: SignatureAlgorithm,
    message: Vec<u8>,
    digest: Vec<u8>,
    answer: mpsc::SyncSender<Result<Vec<u8>, SignerError>>,
}

impl Desk {
    /// There are as many threads as signatures at once; core limits those.
    fn add(&self, job: Job) -> Result<(), SignerError> {
        let mut state = self.state();
        state.jobs.push_back(job);
        let short = state.jobs.len() > state.idle;
        drop(state);
        if short {
            let started = process::current().attach(|py| {
                start_thread(py, "dps_core._signing", wrap_pyfunction!(next_sign_job, py)?)
            });
            match started {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    return Err(SignerError::new("no thread could be started").with_source(error));
                }
                None => return Err(SignerError::new("the interpreter is exiting")),
            }
        }
        self.work.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        state.idle += 1;
        let (mut state, _) = self
            .work
            .wait_timeout_while(state, IDLE, |state| state.jobs.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.jobs.pop_front()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a signature to make; `None` ends the thread.
#[pyfunction]
pub(crate) fn next_sign_job(py: Python<'_>) -> Option<SignJob> {
    let process: &'static Process = process::current();
    let job = process.detach(py, || process.signing.next())?;
    Some(SignJob(job))
}

/// One signature to be made.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct SignJob(Job);

#[pymethods]
impl SignJob {
    #[getter]
    fn signer(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.signer.clone_ref(py)
    }

    #[getter]
    fn event_loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.event_loop.as_ref().map(|event_loop| event_loop.clone_ref(py))
    }

    #[getter]
    fn request(&self, py: Python<'_>) -> SignRequest {
        let (_, algorithm, hash) = names(self.0.algorithm);
        SignRequest {
            algorithm,
            hash,
            message: PyBytes::new(py, &self.0.message).unbind(),
            digest: PyBytes::new(py, &self.0.digest).unbind(),
        }
    }

    fn answer(&self, signature: &[u8]) {
        // The handshake may have been given up meanwhile.
        drop(self.0.answer.try_send(Ok(signature.to_vec())));
    }

    fn fail(&self, description: &str, exception: Bound<'_, PyAny>) {
        let error = SignerError::new(description).with_source(PyErr::from_value(exception));
        drop(self.0.answer.try_send(Err(error)));
    }
}

/// What a signer is asked to sign.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct SignRequest {
    algorithm: &'static str,
    hash: &'static str,
    message: Py<PyBytes>,
    digest: Py<PyBytes>,
}

#[pymethods]
impl SignRequest {
    /// The algorithm, by its name in TLS, such as `ecdsa_secp256r1_sha256`.
    #[getter]
    fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The hash of the algorithm, by its name in `hashlib`.
    #[getter]
    fn hash(&self) -> &'static str {
        self.hash
    }

    /// The whole message, for a signer that hashes by itself.
    #[getter]
    fn message(&self, py: Python<'_>) -> Py<PyBytes> {
        self.message.clone_ref(py)
    }

    /// The message's hash, for a signer that takes digests.
    #[getter]
    fn digest(&self, py: Python<'_>) -> Py<PyBytes> {
        self.digest.clone_ref(py)
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &format!("<SignRequest {}>", self.algorithm))
    }
}

/// What the process does to prove a signer, away from the runtime's threads.
pub(crate) async fn elsewhere<T: Send + 'static>(
    process: &'static Process,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    use dps_core::tls::SigningExecutor as _;

    let (answer, answered) = tokio::sync::oneshot::channel();
    // Whoever stopped waiting does not want to know.
    process.openers.execute(Box::new(move || drop(answer.send(work()))));
    answered.await.unwrap_or_else(|_| Err(SignerError::new("its thread has ended").into()))
}

/// Does on a thread of its own what may ask a signer, and waits for it without the GIL. Ctrl-C ends
/// the wait, though not the signer.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let visit = process::current().enter(py);
    // Whoever imports it first must not be one of our own threads: it takes that for the main one.
    let _ = py.import("threading");
    let (answer, mut answered) = mpsc::channel();
    // Whoever stopped waiting does not want to know.
    thread::Builder::new()
        .name("dps-core-issue".into())
        .spawn(move || drop(answer.send(work())))
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "no thread could be started").with_source(error)
        })
        .or_raise(py)?;
    loop {
        let waiting = &mut answered;
        match visit.detach(move || waiting.recv_timeout(SIGNAL_INTERVAL)) {
            Ok(done) => return done.or_raise(py),
            Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let message = "the work has ended by a fault of this package";
                return Err(Error::new(ErrorKind::Internal, message)).or_raise(py);
            }
        }
    }
}

fn algorithm(name: &str) -> PyResult<SignatureAlgorithm> {
    match ALGORITHMS.iter().find(|(_, known, _)| *known == name) {
        Some((algorithm, _, _)) => Ok(*algorithm),
        None => {
            let known = ALGORITHMS.map(|(_, name, _)| name).join(", ");
            Err(PyValueError::new_err(format!("{name:?} is not one of the algorithms {known}")))
        }
    }
}

fn names(algorithm: SignatureAlgorithm) -> (SignatureAlgorithm, &'static str, &'static str) {
    // A later version of core may know more; a signer is asked only for what it offered.
    ALGORITHMS
        .into_iter()
        .find(|(known, _, _)| *known == algorithm)
        .unwrap_or((algorithm, "unknown", "unknown"))
}
