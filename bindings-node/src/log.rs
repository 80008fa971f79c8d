//! What dps-core logs, to a function of the user's; nothing unless there is one.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use dps_core::Error;
use napi::{Env, Unknown, ValueType, bindgen_prelude::FunctionRef};
use napi_derive::napi;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{Interest, set_global_default},
};

use crate::{
    environment::{Environment, JsThread},
    error::thrown,
    js::{self, invalid},
    options::text,
};

/// One line of the log. It never holds a key, a passphrase or a token.
#[napi(object, object_from_js = false)]
pub struct LogRecord {
    /// How important it is.
    #[napi(ts_type = "LogLevel")]
    pub level: &'static str,
    /// Which part of the SDK says it, such as `dps_core::provisioning`.
    pub target: String,
    /// What it says.
    pub message: String,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

/// Hands what the SDK logs, down to this level, `info` unless told, to the function; `null` ends
/// it. Each thread has its own function, and all see what happens in the process.
#[napi(
    catch_unwind,
    ts_args_type = "logger: ((record: LogRecord) => void) | null, level?: LogLevel",
    ts_return_type = "void"
)]
pub fn set_logger(env: &Env, logger: Unknown<'_>, level: Unknown<'_>) -> napi::Result<()> {
    let thread = Environment::current()?.thread();
    let read = || -> Result<Option<Logger>, Error> {
        let level = match level.get_type() {
            Ok(ValueType::Undefined) => Level::INFO,
            _ => level_of(&text(level, "level")?)?,
        };
        if let Ok(ValueType::Undefined | ValueType::Null) = logger.get_type() {
            return Ok(None);
        }
        let function = js::function(logger)
            .and_then(|function| function.create_ref().ok())
            .ok_or_else(|| invalid("logger", "it is not a function"))?;
        Ok(Some(Logger { thread: thread.clone(), function: Arc::new(function), level }))
    };
    let logger = read().map_err(|error| thrown(env, &error))?;
    forget(&thread);
    if let Some(logger) = logger {
        static FORWARDER: Once = Once::new();
        // Fails where something else in the process listens already; it then sees our log.
        FORWARDER.call_once(|| drop(set_global_default(Forwarder)));
        loggers_mut().push(logger);
    }
    Ok(())
}

/// Ends the log of a thread.
pub(crate) fn forget(thread: &JsThread) {
    let ended: Vec<_> = loggers_mut().extract_if(.., |logger| logger.thread.is(thread)).collect();
    // Dropped without the lock.
    drop(ended);
}

struct Logger {
    thread: JsThread,
    function: Arc<FunctionRef<LogRecord, Unknown<'static>>>,
    level: Level,
}

static LOGGERS: RwLock<Vec<Logger>> = RwLock::new(Vec::new());

/// Passes events on; spans are of no use to a list of lines.
struct Forwarder;

impl Subscriber for Forwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_ours(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && loggers().iter().any(|logger| *metadata.level() <= logger.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let level = *event.metadata().level();
        let target = event.metadata().target();
        for logger in loggers().iter().filter(|logger| level <= logger.level) {
            let (function, message) = (Arc::clone(&logger.function), line.0.clone());
            logger.thread.run(move |env| {
                let record = LogRecord { level: name_of(level), target: target.into(), message };
                function.borrow_back(env)?.call(record).map(drop)
            });
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

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("dps_core")
}

/// The fields of an event as one line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

fn level_of(name: &str) -> Result<Level, Error> {
    LEVELS
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(level, _)| *level)
        .ok_or_else(|| invalid("level", &format!("{name:?} is no level")))
}

fn name_of(level: Level) -> &'static str {
    LEVELS.iter().find(|(known, _)| *known == level).map_or("trace", |(_, name)| name)
}

fn loggers() -> RwLockReadGuard<'static, Vec<Logger>> {
    LOGGERS.read().unwrap_or_else(PoisonError::into_inner)
}

fn loggers_mut() -> RwLockWriteGuard<'static, Vec<Logger>> {
    LOGGERS.write().unwrap_or_else(PoisonError::into_inner)
}
