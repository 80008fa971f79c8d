//! A handshake whose signer may block, kept off the thread that serves the other connections.
//!
//! rustls signs inside the handshake, so the handshake's future is polled elsewhere, one poll at a
//! time; between polls it waits here like any other. Handing whole handshakes to threads would
//! take one thread for each stalled peer.

use std::{
    error::Error,
    fmt,
    future::Future,
    io, mem,
    pin::Pin,
    process,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::pool::Pool;

/// Runs the steps of a handshake that may call a blocking signer.
pub trait SigningExecutor: Send + Sync {
    /// Runs `job` soon, on another thread. A job that is dropped fails its handshake.
    fn execute(&self, job: Box<dyn FnOnce() + Send>);
}

/// At most eight threads, started when needed and ended after ten idle seconds.
#[derive(Clone)]
pub struct SigningThreads(Arc<Pool>);

impl fmt::Debug for SigningThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningThreads").finish_non_exhaustive()
    }
}

impl Default for SigningThreads {
    fn default() -> Self {
        Self(Arc::new(Pool::new(Self::MOST, Self::IDLE)))
    }
}

impl SigningThreads {
    const MOST: usize = 8;
    const IDLE: Duration = Duration::from_secs(10);

    /// Those for connections.
    pub(crate) fn shared() -> Arc<dyn SigningExecutor> {
        static SHARED: Slot = Slot::new(None);
        Self::of_this_process(&SHARED)
    }

    /// Those for the doctor: a signer that is silent there holds up no connection.
    pub(crate) fn examining() -> Arc<dyn SigningExecutor> {
        static EXAMINING: Slot = Slot::new(None);
        Self::of_this_process(&EXAMINING)
    }

    fn of_this_process(slot: &Slot) -> Arc<dyn SigningExecutor> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // A forked child has none of the threads that its copy of the parent's pool counts on.
        let process = process::id();
        match &*slot {
            Some((of, threads)) if *of == process => Arc::new(threads.clone()),
            inherited => {
                // Never dropped: a job may hold a connection of the parent.
                mem::forget(inherited.clone());
                let threads = Self::default();
                *slot = Some((process, threads.clone()));
                Arc::new(threads)
            }
        }
    }
}

/// The threads of a process, and which process that is.
type Slot = Mutex<Option<(u32, SigningThreads)>>;

impl SigningExecutor for SigningThreads {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.execute(job);
    }
}

/// Drives `future` by polls on the executor.
pub(super) async fn run<T, F>(future: F, executor: &dyn SigningExecutor) -> io::Result<T>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let wakeup = Arc::new(Wakeup(Notify::new()));
    let mut future = Box::pin(future);
    loop {
        let (answer, polled) = oneshot::channel();
        let waker = Waker::from(Arc::clone(&wakeup));
        executor.execute(Box::new(move || {
            // Who waited for it while others signed may be gone.
            if answer.is_closed() {
                return;
            }
            let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            // The receiver is gone when the caller stopped waiting.
            let _ = answer.send((future, poll));
        }));
        let (returned, poll) = polled.await.map_err(|_| io::Error::other(ThreadEnded))?;
        if let Poll::Ready(result) = poll {
            return result;
        }
        future = returned;
        wakeup.0.notified().await;
    }
}

/// What became of a signer that gave no answer and never will.
#[derive(Debug)]
pub(super) struct ThreadEnded;

impl fmt::Display for ThreadEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its thread ended")
    }
}

impl Error for ThreadEnded {}

struct Wakeup(Notify);

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
