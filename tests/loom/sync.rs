//! What the product's threads meet with, by the names of `std` and tokio: loom's, and a clock that
//! stands still until the test moves it.

use std::{
    io, mem,
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{
        Arc, LockResult, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

pub(crate) use loom::sync::atomic;
use loom::{sync, thread::JoinHandle};

loom::lazy_static! {
    static ref WORLD: World = World::default();
}

/// One run's time and luck. Its own locks and atomics are none that loom knows: it is part of the
/// stage.
#[derive(Default)]
struct World {
    /// How often time has passed; changed only under `lock`, so that a thread that is about to wait
    /// misses nothing.
    ticks: AtomicUsize,
    /// Whether every wait from here on is too long.
    over: AtomicBool,
    no_threads: AtomicBool,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    /// Those of the threads that wait for time to pass: what was made last.
    lock: std::sync::Mutex<Option<Arc<sync::Mutex<()>>>>,
    bell: std::sync::Mutex<Option<Arc<sync::Condvar>>>,
}

/// Whoever waits now has waited too long, unless something else wakes it first.
pub(crate) fn pass_time() {
    fn of<T>(place: &std::sync::Mutex<Option<Arc<T>>>) -> Arc<T> {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone().expect("there is somebody who may wait")
    }
    let (lock, bell) = (of(&WORLD.lock), of(&WORLD.bell));
    let held = lock.lock();
    WORLD.ticks.fetch_add(1, SeqCst);
    drop(held);
    bell.notify_all();
}

/// Whoever waits, now or later, waits too long.
pub(crate) fn end_time() {
    WORLD.over.store(true, SeqCst);
    pass_time();
}

/// Waits until each thread that was started here has ended.
pub(crate) fn join_threads() {
    let threads = mem::take(&mut *WORLD.threads.lock().unwrap());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// From here on no thread can be started, or it can again.
pub(crate) fn refuse_threads(refused: bool) {
    WORLD.no_threads.store(refused, SeqCst);
}

/// loom's lock is beside the data, so that the world can hold it whatever the data is.
pub(crate) struct Mutex<T> {
    lock: Arc<sync::Mutex<()>>,
    data: std::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(data: T) -> Self {
        let lock = Arc::new(sync::Mutex::new(()));
        *WORLD.lock.lock().unwrap() = Some(Arc::clone(&lock));
        Self { lock, data: std::sync::Mutex::new(data) }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard::new(self, held))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

pub(crate) struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    // Let go before the lock.
    data: std::sync::MutexGuard<'a, T>,
    held: sync::MutexGuard<'a, ()>,
}

impl<'a, T> MutexGuard<'a, T> {
    fn new(of: &'a Mutex<T>, held: sync::MutexGuard<'a, ()>) -> Self {
        Self { of, data: of.data.lock().unwrap_or_else(PoisonError::into_inner), held }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
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

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        Ok(guard)
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        patience: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, Waited)> {
        let mut timed_out = false;
        while condition(&mut guard) {
            if timed_out {
                return Ok((guard, Waited { timed_out }));
            }
            let (next, waited) =
                self.wait_timeout(guard, patience).unwrap_or_else(PoisonError::into_inner);
            (guard, timed_out) = (next, waited.timed_out());
        }
        Ok((guard, Waited { timed_out: false }))
    }

    fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { of, data, held } = guard;
        drop(data);
        MutexGuard::new(of, self.0.wait(held).unwrap_or_else(PoisonError::into_inner))
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
        let guard = self.wait(guard);
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

/// tokio's, for one thread that waits. It waits inside of the first poll.
#[derive(Default)]
pub(crate) struct Notify {
    permit: sync::Mutex<bool>,
    notified: sync::Condvar,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        *self.permit.lock().unwrap() = true;
        self.notified.notify_one();
    }

    pub(crate) async fn notified(&self) {
        let mut permit = self.permit.lock().unwrap();
        while !mem::take(&mut *permit) {
            permit = self.notified.wait(permit).unwrap();
        }
    }
}

/// tokio's; the receiver waits inside of the first poll.
pub(crate) mod oneshot {
    use std::{
        pin::Pin,
        sync::mpsc::RecvError,
        task::{Context, Poll},
    };

    use loom::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::mpsc;

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::sync_channel(1);
        let closed = Arc::default();
        (Sender(sender, Arc::clone(&closed)), Receiver(receiver, closed))
    }

    pub(crate) struct Sender<T>(mpsc::SyncSender<T>, Arc<AtomicBool>);

    impl<T> Sender<T> {
        pub(crate) fn is_closed(&self) -> bool {
            self.1.load(Ordering::SeqCst)
        }

        pub(crate) fn send(self, value: T) -> Result<(), T> {
            self.0.send(value).map_err(|unsent| unsent.0)
        }
    }

    pub(crate) struct Receiver<T>(mpsc::Receiver<T>, Arc<AtomicBool>);

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.1.store(true, Ordering::SeqCst);
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(self.0.recv())
        }
    }
}

/// Drives a future whose waits are all of the kind above.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("it waits inside of a poll"),
    }
}

pub(crate) mod mpsc {
    use std::{
        sync::{
            Arc,
            mpsc::{RecvError, SendError},
        },
        thread,
        time::Duration,
    };

    use loom::sync::{Condvar, Mutex};

    /// A channel for one value: loom's own does not tell the receiver that the sender has gone.
    pub(crate) fn sync_channel<T>(room: usize) -> (SyncSender<T>, Receiver<T>) {
        assert_eq!(room, 1);
        let state = State { value: None, sender: true, receiver: true };
        let channel = Arc::new(Channel { state: Mutex::new(state), changed: Condvar::new() });
        (SyncSender(Arc::clone(&channel)), Receiver(channel))
    }

    struct Channel<T> {
        state: Mutex<State<T>>,
        changed: Condvar,
    }

    struct State<T> {
        value: Option<T>,
        sender: bool,
        receiver: bool,
    }

    pub(crate) struct SyncSender<T>(Arc<Channel<T>>);

    impl<T> SyncSender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
            let mut state = self.0.state.lock().unwrap();
            if !state.receiver {
                return Err(SendError(value));
            }
            assert!(state.value.is_none(), "a second answer would wait");
            state.value = Some(value);
            drop(state);
            self.0.changed.notify_one();
            Ok(())
        }
    }

    impl<T> Drop for SyncSender<T> {
        fn drop(&mut self) {
            if thread::panicking() {
                // After a run that has failed there are no threads, and no locks.
                return;
            }
            self.0.state.lock().unwrap().sender = false;
            self.0.changed.notify_one();
        }
    }

    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    impl<T> Receiver<T> {
        /// No clock runs in a model: the limit is never reached.
        pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvError> {
            self.recv()
        }

        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            let mut state = self.0.state.lock().unwrap();
            loop {
                match state.value.take() {
                    Some(value) => return Ok(value),
                    None if !state.sender => return Err(RecvError),
                    None => state = self.0.changed.wait(state).unwrap(),
                }
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            if thread::panicking() {
                // As above.
                return;
            }
            let mut state = self.0.state.lock().unwrap();
            state.receiver = false;
            // What came too late is dropped here, as by the real one.
            let unread = state.value.take();
            drop(state);
            drop(unread);
        }
    }
}
