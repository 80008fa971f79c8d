//! Who is inside, and whether anybody may still go in.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use super::sync::atomic::{AtomicUsize, Ordering};

/// One number, so that nobody goes in unseen while it is being closed: twice how many are inside,
/// and one more once it is closed.
pub(crate) struct Gate(AtomicUsize);

const CLOSED: usize = 1;
const ONE: usize = 2;

impl Default for Gate {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl Gate {
    /// Goes in, unless it is closed and not `even_so` open to the caller. Whoever is let in has to
    /// [`leave`](Self::leave).
    pub(crate) fn enter(&self, even_so: impl FnOnce() -> bool) -> bool {
        let open = self.0.fetch_add(ONE, Ordering::AcqRel) & CLOSED == 0;
        if open || even_so() {
            return true;
        }
        self.leave();
        false
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(ONE, Ordering::AcqRel);
    }

    /// Lets nobody else in.
    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether somebody is inside. Once it is closed and empty, it stays so, but for those who try.
    pub(crate) fn is_occupied(&self) -> bool {
        self.0.load(Ordering::Acquire) >= ONE
    }
}
