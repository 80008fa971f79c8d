//! The log sink: what the core says about itself, for a function of the user.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{c_char, c_void},
    mem, process,
    sync::{Arc, Condvar, Mutex, Once, PoisonError, RwLock},
};

use dps_core::log::{self, Level, Line};

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, UserData},
    panic::call,
};

/// How important a line of the log is: one of DPS_LOG_...
pub type dps_log_level = u32;
/// Something failed for good.
pub const DPS_LOG_ERROR: dps_log_level = 1;
/// Something is not as it should be, and goes on.
pub const DPS_LOG_WARN: dps_log_level = 2;
/// What happens rarely and matters.
pub const DPS_LOG_INFO: dps_log_level = 3;
/// What helps to find a fault.
pub const DPS_LOG_DEBUG: dps_log_level = 4;
/// Everything.
pub const DPS_LOG_TRACE: dps_log_level = 5;

/// Gets each line of the log; the texts live for the call only. It is called from any thread and
/// from several at once, and must not call this library.
pub type dps_log_callback = Option<
    extern "C" fn(
        userdata: *mut c_void,
        level: dps_log_level,
        target: *const c_char,
        message: *const c_char,
    ),
>;

struct Sink {
    /// The threads that may be calling it are those of this process.
    process: u32,
    level: dps_log_level,
    callback: extern "C" fn(*mut c_void, dps_log_level, *const c_char, *const c_char),
    userdata: UserData,
    bell: Arc<Bell>,
}

/// Rung when a reference to a sink is given back. Each sink has its own, and a forked child leaves
/// its parent's alone: a thread that the child does not have may hold the lock for ever.
#[derive(Default)]
struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

/// Whoever calls it has a reference of his own and not the lock, which a fork meanwhile would leave
/// held for ever.
static SINK: RwLock<Option<Arc<Sink>>> = RwLock::new(None);

/// Sends the log of the whole process, up to a level, to a callback; NULL turns it off. When the
/// call returns, the callback before is called no more. Keys, passphrases and tokens are never
/// logged. This is the only setting that is not a handle's.
#[unsafe(no_mangle)]
pub extern "C" fn dps_log_set(
    level: dps_log_level,
    callback: dps_log_callback,
    userdata: *mut c_void,
    error: *mut *mut dps_error,
) -> dps_status {
    static INSTALLED: Once = Once::new();

    call(error, || {
        if !(DPS_LOG_ERROR..=DPS_LOG_TRACE).contains(&level) {
            return Err(ffi::invalid(format!("{level} is not a log level")).into());
        }
        INSTALLED.call_once(|| {
            // Fails only if this copy of the core has a subscriber already, and there is no other.
            let _ = log::install(Logger);
        });
        let (process, userdata) = (process::id(), UserData(userdata));
        let sink = callback.map(|callback| {
            Arc::new(Sink { process, level, callback, userdata, bell: Arc::default() })
        });
        let mut place = SINK.write().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *place, sink);
        drop(place);
        if let Some(before) = before.filter(|before| before.process == process) {
            let guard = before.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody takes another reference to it, and whoever gives one back rings afterwards.
            drop(before.bell.rung.wait_while(guard, |()| Arc::strong_count(&before) > 1));
        }
        Ok(())
    })
}

struct Logger;

impl log::Sink for Logger {
    fn wants(&self, level: Level) -> bool {
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        sink.as_ref().is_some_and(|sink| number(level) <= sink.level)
    }

    fn take(&self, line: Line) {
        let (target, message) = (ffi::c_string(line.target), ffi::c_string(&line.message));
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sink) = sink {
            let level = number(line.level);
            (sink.callback)(sink.userdata.0, level, target.as_ptr(), message.as_ptr());
            if sink.process == process::id() {
                let bell = Arc::clone(&sink.bell);
                drop(sink);
                // With the lock once held, so that nobody is between his look and his wait.
                drop(bell.lock.lock().unwrap_or_else(PoisonError::into_inner));
                bell.rung.notify_all();
            }
        }
    }
}

fn number(level: Level) -> dps_log_level {
    match level {
        Level::Error => DPS_LOG_ERROR,
        Level::Warn => DPS_LOG_WARN,
        Level::Info => DPS_LOG_INFO,
        Level::Debug => DPS_LOG_DEBUG,
        Level::Trace => DPS_LOG_TRACE,
    }
}
