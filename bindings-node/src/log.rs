//! What dps-core logs, to a function of the user's; nothing unless there is one.

use std::{
    mem,
    sync::{Arc, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use dps_core::{
    Error,
    log::{self, Level, Line},
};
use napi::{Env, Unknown, ValueType, bindgen_prelude::FunctionRef};
use napi_derive::napi;

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
    (Level::Error, "error"),
    (Level::Warn, "warn"),
    (Level::Info, "info"),
    (Level::Debug, "debug"),
    (Level::Trace, "trace"),
];

/// Hands what the SDK logs, down to this level, `info` unless told, to the function; `null` ends
/// it. Each thread has its own function, and all see what happens in the process.
#[napi(
    catch_unwind,
    ts_args_type = "logger: ((record: LogRecord) => void) | null, level?: LogLevel",
    ts_return_type = "void"
)]
pub fn set_logger(env: &Env, logger: Unknown<'_>, level: Unknown<'_>) -> napi::Result<()> {
    install(env, logger, level, false)
}

/// As [`set_logger`], for the process: one of the threads that call this is told of each line.
#[napi(catch_unwind, skip_typescript)]
pub fn set_process_logger(env: &Env, logger: Unknown<'_>, level: Unknown<'_>) -> napi::Result<()> {
    install(env, logger, level, true)
}

fn install(
    env: &Env,
    logger: Unknown<'_>,
    level: Unknown<'_>,
    of_process: bool,
) -> napi::Result<()> {
    let thread = Environment::current()?.thread();
    let read = || -> Result<Option<Logger>, Error> {
        let level = match level.get_type() {
            Ok(ValueType::Undefined) => Level::Info,
            _ => level_of(&text(level, "level")?)?,
        };
        if let Ok(ValueType::Undefined | ValueType::Null) = logger.get_type() {
            return Ok(None);
        }
        let function = js::function(logger)
            .and_then(|function| function.create_ref().ok())
            .ok_or_else(|| invalid("logger", "it is not a function"))?;
        let function = Arc::new(function);
        Ok(Some(Logger { thread: thread.clone(), function, level, of_process }))
    };
    let logger = read().map_err(|error| thrown(env, &error))?;
    forget(&thread);
    if let Some(logger) = logger {
        static FORWARDER: Once = Once::new();
        // Fails where something else in the process listens already; it then sees our log.
        FORWARDER.call_once(|| {
            let _ = log::install(Forwarder);
        });
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
    /// Whether each line is for one of these alone.
    of_process: bool,
}

static LOGGERS: RwLock<Vec<Logger>> = RwLock::new(Vec::new());

/// Passes lines on.
struct Forwarder;

impl log::Sink for Forwarder {
    fn wants(&self, level: Level) -> bool {
        loggers().iter().any(|logger| level <= logger.level)
    }

    fn take(&self, line: Line) {
        let mut told = false;
        for logger in loggers().iter().filter(|logger| line.level <= logger.level) {
            if logger.of_process && mem::replace(&mut told, true) {
                continue;
            }
            let (function, line) = (Arc::clone(&logger.function), line.clone());
            logger.thread.run(move |env| {
                let Line { level, target, message, .. } = line;
                let record = LogRecord { level: name_of(level), target: target.into(), message };
                function.borrow_back(env)?.call(record).map(drop)
            });
        }
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
