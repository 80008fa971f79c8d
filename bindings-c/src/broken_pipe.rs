//! A write to a connection that the other side has closed raises SIGPIPE, which ends a program that
//! does not ignore it. Rust's programs do, Python and Node too; those of C need not, and TLS records
//! are written by `writev`, which cannot be told not to raise it.
#![expect(unsafe_code, reason = "signal masks are those of the C library")]

use std::{mem::MaybeUninit, ptr};

use libc::{
    SIG_BLOCK, SIG_SETMASK, SIGPIPE, pthread_sigmask, sigaddset, sigemptyset, sigismember,
    sigpending, sigset_t,
};

/// For a thread of this library's own, and for those that it starts.
pub(crate) fn mute_this_thread() {
    let _ = block();
}

/// The thread of a caller: until this is dropped it gets no SIGPIPE, and none that was raised
/// meanwhile comes later.
pub(crate) struct Muted {
    /// The mask before, and whether a signal was waiting already; `None` if nothing was changed.
    before: Option<(sigset_t, bool)>,
}

impl Muted {
    pub(crate) fn new() -> Self {
        let before = block().map(|mask| (mask, is_in(&mask) && is_waiting()));
        Self { before }
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        let Some((mask, was_waiting)) = self.before else { return };
        if !was_waiting {
            take_waiting();
        }
        // SAFETY: the mask is one that `pthread_sigmask` gave.
        unsafe { pthread_sigmask(SIG_SETMASK, &raw const mask, ptr::null_mut()) };
    }
}

/// Blocks the signal for this thread; gives the mask before.
fn block() -> Option<sigset_t> {
    let mut before = MaybeUninit::uninit();
    let set = only_sigpipe();
    // SAFETY: the set is initialised, and the other one is written, if it succeeds.
    unsafe {
        (pthread_sigmask(SIG_BLOCK, &raw const set, before.as_mut_ptr()) == 0)
            .then(|| before.assume_init())
    }
}

/// Takes the signal that waits, if there is one, and waits for none.
#[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
fn take_waiting() {
    let (set, no_time) = (only_sigpipe(), libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: the set and the time are initialised and live for the call, which may be given no
    // place for what is known of the signal.
    unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const no_time) };
}

/// As above, for systems without `sigtimedwait`. One that was sent to the whole process, which a
/// write never does, may be taken by another thread after the look: then this waits for the next.
#[cfg(any(target_vendor = "apple", target_os = "openbsd"))]
fn take_waiting() {
    if is_waiting() {
        let (set, mut signal) = (only_sigpipe(), 0);
        // SAFETY: the set is initialised, and both live for the call.
        unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    }
}

fn is_waiting() -> bool {
    let mut waiting = MaybeUninit::uninit();
    // SAFETY: the set is written, if it succeeds.
    unsafe { sigpending(waiting.as_mut_ptr()) == 0 && is_in(&waiting.assume_init()) }
}

fn is_in(set: &sigset_t) -> bool {
    // SAFETY: the set is initialised.
    unsafe { sigismember(set, SIGPIPE) == 1 }
}

fn only_sigpipe() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises what it is given, and cannot fail for a place that is there.
    unsafe {
        sigemptyset(set.as_mut_ptr());
        sigaddset(set.as_mut_ptr(), SIGPIPE);
        set.assume_init()
    }
}
