//! What has come for one event loop: a queue with a doorbell, where one ring stands for however
//! much has come since.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{mem, sync::PoisonError};

use super::sync::{Mutex, MutexGuard};

/// What wakes the event loop up: it stays rung until it has been heard.
pub(crate) trait Bell {
    fn ring(&self);
}

/// What waits for the event loop to fetch it.
pub(crate) struct Inbox<T, B> {
    waiting: Mutex<Vec<T>>,
    bell: B,
}

impl<T, B: Bell> Inbox<T, B> {
    pub(crate) fn new(bell: B) -> Self {
        Self { waiting: Mutex::default(), bell }
    }

    /// Adds what comes; rings if nothing was there, since otherwise the bell has been rung already.
    pub(crate) fn put(&self, coming: impl IntoIterator<Item = T>) {
        let mut waiting = self.waiting();
        let was_empty = waiting.is_empty();
        waiting.extend(coming);
        let ring = was_empty && !waiting.is_empty();
        drop(waiting);
        if ring {
            self.bell.ring();
        }
    }

    /// All that has come, in order. `hear` takes the ring back, which is done first: what comes
    /// after that rings again.
    pub(crate) fn take<E>(&self, hear: impl FnOnce() -> Result<(), E>) -> Result<Vec<T>, E> {
        hear()?;
        Ok(mem::take(&mut *self.waiting()))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
