//! A Python object with `sign(request)` as core's [`Signer`] and [`TokenSigner`].
//!
//! Core asks for a signature on a thread of its own, without the GIL. The request then goes to a
//! thread that Python made, which calls the signer and, where `sign` is a coroutine function,
//! waits for the coroutine. A signer that takes its time so holds up neither the event loop nor
//! another device, and one that never returns does not keep the interpreter from exiting.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, SIGN_LIMIT, SignRequest as CoreRequest, SignatureAlgorithm, Signer,
    SignerError, TokenSigner,
};
use pyo3::{
    exceptions::PyTypeError,
    inspect::PyStaticExpr,
    intern,
    prelude::*,
    type_hint_identifier,
    types::{PyBytes, PyNone, PyString},
    wrap_pyfunction,
};

use crate::{
    errors::OrRaise as _,
    process::{self, Process, start_thread},
    uses::{Ear, InUse},
    work::SIGNAL_INTERVAL,
};

/// How long a thread waits for another signature to make.
const IDLE: Duration = Duration::from_secs(10);

/// What a symmetric key signs its tokens by, with the hash's name in `hashlib`.
const TOKEN_ALGORITHM: (&str, &str) = ("hmac-sha256", "sha256");

/// A signer that Python gave.
pub(crate) struct PySigner {
    object: Arc<Py<PyAny>>,
    algorithms: Vec<SignatureAlgorithm>,
    /// Where its coroutines run: the event loop in which it was last used.
    event_loop: Mutex<Option<Arc<Py<PyAny>>>>,
    /// By which its users are counted, where they are.
    number: Option<u64>,
}

/// An object with `sign(request)`, as `dps_core.protocols.Signer` has it.
pub(crate) struct SignerObject<'py>(pub(crate) Bound<'py, PyAny>);

impl<'py> FromPyObject<'_, 'py> for SignerObject<'py> {
    type Error = Infallible;

    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("dps_core.protocols", "Signer");

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(value.to_owned()))
    }
}

/// As [`SignerObject`], of a symmetric key.
pub(crate) struct TokenSignerObject<'py>(pub(crate) Bound<'py, PyAny>);

impl<'py> FromPyObject<'_, 'py> for TokenSignerObject<'py> {
    type Error = Infallible;

    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("dps_core.protocols", "TokenSigner");

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(value.to_owned()))
    }
}

/// Whether a signer has to name its algorithms.
pub(crate) enum Announced {
    Always,
    /// Without a name it can do all that its certificate's key can.
    ByCertificate,
    /// A symmetric key can do but one thing.
    Never,
}

impl PySigner {
    /// Takes the object, with its attribute `algorithms`.
    pub(crate) fn new(signer: &Bound<'_, PyAny>, announced: Announced) -> PyResult<Self> {
        if !signer.getattr(intern!(signer.py(), "sign"))?.is_callable() {
            return Err(PyTypeError::new_err("a signer's sign must be callable"));
        }
        let named = match announced {
            Announced::Never => None,
            _ => signer.getattr_opt(intern!(signer.py(), "algorithms"))?,
        };
        let algorithms = match (named.filter(|named| !named.is_none()), announced) {
            (Some(named), _) => named
                .extract::<Vec<String>>()?
                .iter()
                .map(|name| name.parse().or_raise(signer.py()))
                .collect::<PyResult<_>>()?,
            (None, Announced::ByCertificate | Announced::Never) => Vec::new(),
            (None, Announced::Always) => {
                return Err(PyTypeError::new_err(
                    "a signer without a certificate must name its algorithms",
                ));
            }
        };
        let object = Arc::new(signer.clone().unbind());
        Ok(Self { object, algorithms, event_loop: Mutex::default(), number: None })
    }

    /// For clients: without a user its coroutines are cancelled.
    pub(crate) fn counted(mut self) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);

        self.number = Some(LAST.fetch_add(1, Ordering::Relaxed));
        self
    }

    /// One more user, as long as the answer lives.
    pub(crate) fn in_use(&self) -> Option<InUse> {
        self.number.map(InUse::new)
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

    /// The same signer, whose every signature fails that takes longer than this.
    pub(crate) fn within(self: &Arc<Self>, patience: Duration) -> impl Signer + use<> {
        Impatient { signer: Arc::clone(self), patience }
    }

    /// Has one of Python's threads ask the object, and waits for what it says.
    fn ask(&self, message: &[u8], kind: Kind, patience: Duration) -> Result<Vec<u8>, SignerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        // Not in the next statement: the lock would last as long, and that one waits for the GIL.
        let event_loop = self.event_loop().clone();
        let signer = Arc::clone(&self.object);
        let (number, message) = (self.number, message.to_vec());
        let job = Job { signer, number, event_loop, kind, message, answer };
        process::current().signing.add(job, start_signing_thread)?;
        answered.recv_timeout(patience).unwrap_or_else(|end| {
            Err(match end {
                mpsc::RecvTimeoutError::Timeout => {
                    SignerError::new(format!("it did not answer within {patience:?}"))
                }
                mpsc::RecvTimeoutError::Disconnected => SignerError::new("its thread has ended"),
            })
        })
    }

    fn ask_to_sign(
        &self,
        request: &CoreRequest<'_>,
        patience: Duration,
    ) -> Result<Vec<u8>, SignerError> {
        let digest = request.digest().to_vec();
        let kind = Kind::Signature { algorithm: request.algorithm(), digest };
        self.ask(request.message(), kind, patience)
    }
}

impl Signer for PySigner {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    fn sign(&self, request: &CoreRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.ask_to_sign(request, Duration::MAX)
    }
}

/// A signer that is not waited for without end.
struct Impatient {
    signer: Arc<PySigner>,
    patience: Duration,
}

impl Signer for Impatient {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.signer.algorithms()
    }

    fn sign(&self, request: &CoreRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.signer.ask_to_sign(request, self.patience)
    }
}

impl TokenSigner for PySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.ask(message, Kind::Token, Duration::MAX)
    }
}

/// A signature that is wanted.
pub(crate) struct Job {
    signer: Arc<Py<PyAny>>,
    number: Option<u64>,
    event_loop: Option<Arc<Py<PyAny>>>,
    kind: Kind,
    message: Vec<u8>,
    answer: mpsc::SyncSender<Result<Vec<u8>, SignerError>>,
}

/// What the signature is for.
enum Kind {
    Signature { algorithm: SignatureAlgorithm, digest: Vec<u8> },
    Token,
}

/// There are as many threads as signatures at once; core limits those.
fn start_signing_thread() -> Result<(), SignerError> {
    let started = process::current()
        .attach(|py| start_thread(py, "dps_core._signing", wrap_pyfunction!(next_sign_job, py)?));
    match started {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(SignerError::new("no thread could be started").with_source(error)),
        None => Err(SignerError::new("the interpreter is exiting")),
    }
}

/// Waits for a signature to make; `None` ends the thread.
#[pyfunction]
pub(crate) fn next_sign_job(py: Python<'_>) -> Option<SignJob> {
    let process: &'static Process = process::current();
    let job = process.detach(py, || process.signing.next(IDLE))?;
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
    fn request(&self, py: Python<'_>) -> Request {
        let message = PyBytes::new(py, &self.0.message).unbind();
        match &self.0.kind {
            Kind::Signature { algorithm, digest } => {
                let digest = PyBytes::new(py, digest).unbind();
                Request::Signature(SignRequest { algorithm: *algorithm, message, digest })
            }
            Kind::Token => Request::Token(TokenRequest { message }),
        }
    }

    /// What tells that nobody waits for the signature any more, where that is known.
    #[getter]
    fn ear(&self) -> io::Result<Option<Ear>> {
        self.0.number.map(Ear::of).transpose()
    }

    /// After how many seconds nobody wants the signature, where that is known.
    #[getter]
    fn limit(&self) -> Option<f64> {
        self.0.number.map(|_| SIGN_LIMIT.as_secs_f64())
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

#[derive(IntoPyObject)]
enum Request {
    Signature(SignRequest),
    Token(TokenRequest),
}

/// What a signer is asked to sign.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct SignRequest {
    algorithm: SignatureAlgorithm,
    message: Py<PyBytes>,
    digest: Py<PyBytes>,
}

#[pymethods]
impl SignRequest {
    /// The algorithm, such as `ecdsa-p256-sha256`.
    #[getter]
    fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The hash of the algorithm, by its name in `hashlib`.
    #[getter]
    fn hash(&self) -> &'static str {
        self.algorithm.hash_name()
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

/// What a symmetric key that signs is asked to sign: the answer is the HMAC-SHA256 of `message`
/// under the key, 32 bytes.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct TokenRequest {
    message: Py<PyBytes>,
}

#[pymethods]
impl TokenRequest {
    /// `hmac-sha256`.
    #[getter]
    fn algorithm(&self) -> &'static str {
        TOKEN_ALGORITHM.0
    }

    /// The hash of the algorithm, by its name in `hashlib`.
    #[getter]
    fn hash(&self) -> &'static str {
        TOKEN_ALGORITHM.1
    }

    /// The whole message.
    #[getter]
    fn message(&self, py: Python<'_>) -> Py<PyBytes> {
        self.message.clone_ref(py)
    }

    /// `None`: an HMAC is made of the message itself.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyNone> {
        PyNone::get(py).to_owned()
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &format!("<TokenRequest {}>", TOKEN_ALGORITHM.0))
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
