//! What the pool's threads meet with, by the names of `std`: loom's, and a clock that stands still
//! until the test moves it.

use std::{
    io, mem,
    sync::{
        Arc, LockResult, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

pub(crate) use loom::sync::MutexGuard;
use loom::{sync, thread::JoinHandle};

loom::lazy_static! {
    static ref WORLD: World = World::default();
}

/// One run's time and luck. Its own locks and atomics are none that loom knows: it is part of the
/// stage.
#[derive(Default)]
struct World {
    /// How often time has passed; changed only under the pool's lock, so that a thread that is
    /// about to wait misses nothing.
    ticks: AtomicUsize,
    /// Whether every wait from here on is too long.
    over: AtomicBool,
    no_threads: AtomicBool,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    lock: std::sync::Mutex<Option<Arc<dyn Lock>>>,
    bell: std::sync::Mutex<Option<Arc<sync::Condvar>>>,
}

/// Whoever waits now has waited too long, unless something else wakes it first.
pub(crate) fn pass_time() {
    fn of<T: ?Sized>(place: &std::sync::Mutex<Option<Arc<T>>>) -> Arc<T> {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone().expect("a pool was made")
    }
    let (lock, bell) = (of(&WORLD.lock), of(&WORLD.bell));
    lock.hold(&|| _ = WORLD.ticks.fetch_add(1, SeqCst));
    bell.notify_all();
}

/// Whoever waits, now or later, waits too long.
pub(crate) fn end_time() {
    WORLD.over.store(true, SeqCst);
    pass_time();
}

/// Waits until each thread of the pool has ended.
pub(crate) fn join_threads() {
    let threads = mem::take(&mut *WORLD.threads.lock().unwrap());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// From here on no thread can be started, or it can again.
pub(crate) fn refuse_threads(refused: bool) {
    WORLD.no_threads.store(refused, SeqCst);
}

trait Lock: Send + Sync {
    fn hold(&self, meanwhile: &dyn Fn());
}

impl<T: Send> Lock for sync::Mutex<T> {
    fn hold(&self, meanwhile: &dyn Fn()) {
        let held = self.lock();
        meanwhile();
        drop(held);
    }
}

pub(crate) struct Mutex<T>(Arc<sync::Mutex<T>>);

impl<T: Default + Send + 'static> Default for Mutex<T> {
    fn default() -> Self {
        let mutex = Arc::new(sync::Mutex::new(T::default()));
        *WORLD.lock.lock().unwrap() = Some(Arc::clone(&mutex) as Arc<dyn Lock>);
        Self(mutex)
    }
}

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.0.lock()
    }
}

pub(crate) struct Condvar(Arc<sync::Condvar>);

impl Default for Condvar {
    fn default() -> Self {
        let bell = Arc::new(sync::Condvar::new());
        *WORLD.bell.lock().unwrap() = Some(Arc::clone(&bell));
        Self(bell)
    }
}

impl Condvar {
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, Waited)> {
        if WORLD.over.load(SeqCst) {
            return Ok((guard, Waited { timed_out: true }));
        }
        let before = WORLD.ticks.load(SeqCst);
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        // Also where both have happened: which of them a thread is told is left open.
        Ok((guard, Waited { timed_out: WORLD.ticks.load(SeqCst) != before }))
    }
}

pub(crate) struct Waited {
    timed_out: bool,
}

impl Waited {
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

pub(crate) mod thread {
    use super::{SeqCst, WORLD, io};

    pub(crate) struct Builder(loom::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(loom::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn(self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
            if WORLD.no_threads.load(SeqCst) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let thread = self.0.spawn(body)?;
            WORLD.threads.lock().unwrap().push(thread);
            Ok(())
        }
    }
}
