//! The log sink: what the core says about itself, for a function of the user.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{c_char, c_void},
    fmt::{self, Write as _},
    sync::{Once, PoisonError, RwLock},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{Interest, set_global_default},
};

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
    level: dps_log_level,
    callback: extern "C" fn(*mut c_void, dps_log_level, *const c_char, *const c_char),
    userdata: UserData,
}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

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
            let _ = set_global_default(Logger);
        });
        let sink = callback.map(|callback| Sink { level, callback, userdata: UserData(userdata) });
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
        Ok(())
    })
}

/// Hands events on; spans are not used by the core.
struct Logger;

impl Subscriber for Logger {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The sink may change: nothing is to be remembered.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below speak of bytes and handshakes, for their own authors.
        metadata.target().starts_with("dps_core")
            && SINK
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|sink| number(*metadata.level()) <= sink.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let message = ffi::c_string(&(line.message + &line.fields));
        let target = ffi::c_string(event.metadata().target());
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            let level = number(*event.metadata().level());
            (sink.callback)(sink.userdata.0, level, target.as_ptr(), message.as_ptr());
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The words of an event, then its fields as ` name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

fn number(level: Level) -> dps_log_level {
    match level {
        Level::ERROR => DPS_LOG_ERROR,
        Level::WARN => DPS_LOG_WARN,
        Level::INFO => DPS_LOG_INFO,
        Level::DEBUG => DPS_LOG_DEBUG,
        _ => DPS_LOG_TRACE,
    }
}
