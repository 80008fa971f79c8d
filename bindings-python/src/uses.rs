//! Who uses a signer, so that its coroutines end when nobody waits for them any more: one that
//! never answers would otherwise hold one of core's few signing threads for ever.

use std::{
    collections::HashMap,
    io,
    net::Shutdown,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::prelude::*;

use crate::process::{self, Process};

/// The signers of one process that are in use.
#[derive(Default)]
pub(crate) struct Uses(Mutex<HashMap<u64, Users>>);

#[derive(Default)]
struct Users {
    count: usize,
    /// Two ends of a line, made when the first coroutine wants to hear of the end: it is shut down
    /// from the first end, which every copy of the second one hears.
    line: Option<(UnixStream, UnixStream)>,
}

/// A call's or a connection's use of a signer, as long as it lives.
pub(crate) struct InUse {
    process: &'static Process,
    signer: u64,
}

impl InUse {
    pub(crate) fn new(signer: u64) -> Self {
        let process = process::current();
        process.uses.users().entry(signer).or_default().count += 1;
        Self { process, signer }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // In a forked child the lock of the parent may be held for ever.
        if !ptr::eq(self.process, process::current()) {
            return;
        }
        let mut signers = self.process.uses.users();
        if let Some(users) = signers.get_mut(&self.signer) {
            users.count -= 1;
            if users.count == 0
                && let Some(Users { line: Some((line, _)), .. }) = signers.remove(&self.signer)
            {
                // A forked child may have copies of both ends: closing these would end nothing.
                let _ = line.shutdown(Shutdown::Both);
            }
        }
    }
}

/// What an event loop watches for reading: it can be read once nobody uses the signer any more.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct Ear(UnixStream);

impl Ear {
    pub(crate) fn of(signer: u64) -> io::Result<Self> {
        let mut signers = process::current().uses.users();
        let Some(users) = signers.get_mut(&signer) else {
            // The last one has gone already.
            return UnixStream::pair().map(|(ear, _)| Self(ear));
        };
        let (_, ear) = match &users.line {
            Some(line) => line,
            None => users.line.insert(UnixStream::pair()?),
        };
        ear.try_clone().map(Self)
    }
}

#[pymethods]
impl Ear {
    fn fileno(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Uses {
    fn users(&self) -> MutexGuard<'_, HashMap<u64, Users>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
