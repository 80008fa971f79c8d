//! Options that several calls share, and how their numbers are read.

use std::time::Duration;

use dps_core::Error;
use napi::{Env, Unknown, bindgen_prelude::Object};
use napi_derive::napi;

use crate::{
    environment::Start,
    js::{self, invalid},
};

/// What every call that waits takes.
#[napi(object, object_to_js = false)]
pub struct WaitOptions<'env> {
    /// Cancels the call; its promise is then rejected with `signal.reason`.
    #[napi(ts_type = "AbortSignal")]
    pub signal: Option<Object<'env>>,
}

/// What a call that waits takes, where dps-core gives it a deadline.
#[napi(object, object_to_js = false)]
pub struct DeadlineOptions<'env> {
    /// Cancels the call; its promise is then rejected with `signal.reason`.
    #[napi(ts_type = "AbortSignal")]
    pub signal: Option<Object<'env>>,
    /// The longest that the call may take, retries included, in milliseconds.
    pub deadline: Option<f64>,
}

/// Reads the options of a call that only waits.
pub(crate) fn wait<'env>(env: &'env Env, options: Unknown<'env>) -> Result<Start<'env>, Error> {
    let WaitOptions { signal } = js::options(env, options, "options")?;
    Start::new(signal)
}

/// The signal in the options of what waits more than once.
pub(crate) fn signal<'env>(
    env: &'env Env,
    options: Unknown<'env>,
) -> Result<Option<Object<'env>>, Error> {
    let WaitOptions { signal } = js::options(env, options, "options")?;
    Start::new(signal)?;
    Ok(signal)
}

/// Reads the options of a call with a deadline.
pub(crate) fn deadline<'env>(
    env: &'env Env,
    options: Unknown<'env>,
) -> Result<(Start<'env>, Option<Duration>), Error> {
    let (signal, deadline) = signal_and_deadline(env, options)?;
    Ok((Start::new(signal)?, deadline))
}

/// As [`deadline`], with the signal of what waits more than once.
pub(crate) fn signal_and_deadline<'env>(
    env: &'env Env,
    options: Unknown<'env>,
) -> Result<(Option<Object<'env>>, Option<Duration>), Error> {
    let DeadlineOptions { signal, deadline } = js::options(env, options, "options")?;
    Start::new(signal)?;
    let milliseconds = |value: f64| {
        duration(value / 1000.0)
            .ok_or_else(|| invalid("deadline", &format!("{value} is no number of milliseconds")))
    };
    Ok((signal, deadline.map(milliseconds).transpose()?))
}

/// A number of seconds; infinity is as long as a clock can count.
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    match seconds {
        f64::INFINITY => Some(Duration::MAX),
        seconds => Duration::try_from_secs_f64(seconds).ok(),
    }
}

/// A port number.
pub(crate) fn port(value: f64) -> Result<u16, Error> {
    // Exact for every port, and for nothing else.
    let port = value as u16;
    if f64::from(port) == value && port != 0 {
        return Ok(port);
    }
    Err(invalid("port", &format!("{value} is not a port, which is 1 to 65535")))
}

/// A required text.
pub(crate) fn text(value: Unknown<'_>, name: &str) -> Result<String, Error> {
    js::string(value).map_err(|_| invalid(name, "it is not a string"))
}
