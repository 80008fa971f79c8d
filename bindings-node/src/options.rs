//! Options that several calls share, and how their numbers are read.

use std::time::{Duration, SystemTime};

use dps_core::{Error, ErrorKind};
use napi::{
    Env, Unknown, ValueType,
    bindgen_prelude::{JsObjectValue, Object},
};
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
    pub signal: Option<Unknown<'env>>,
}

/// What a call that waits takes, where dps-core gives it a deadline.
#[napi(object, object_to_js = false)]
pub struct DeadlineOptions<'env> {
    /// Cancels the call; its promise is then rejected with `signal.reason`.
    #[napi(ts_type = "AbortSignal")]
    pub signal: Option<Unknown<'env>>,
    /// The longest that the call may take, retries included, in milliseconds.
    #[napi(ts_type = "number")]
    pub deadline: Option<Unknown<'env>>,
}

/// Refuses an option that is none of these: one that is misspelt, or another SDK's, would be left
/// out without a word.
pub(crate) fn only(
    env: &Env,
    options: Unknown<'_>,
    name: &str,
    known: &[&[&str]],
) -> Result<(), Error> {
    let Some(object) = js::object(options) else { return Ok(()) };
    // An option may be the user's code, which throws.
    let unreadable = |error| {
        let error = js::caught(env, error);
        invalid(name, &format!("it could not be read: {}", error.reason)).with_source(error)
    };
    for option in Object::keys(&object).map_err(unreadable)? {
        if known.iter().any(|names| names.contains(&option.as_str())) {
            continue;
        }
        let value: Unknown<'_> = object.get_named_property(&option).map_err(unreadable)?;
        if value.get_type().map_err(unreadable)? != ValueType::Undefined {
            let message = format!("{name}: there is no option {option:?}");
            let hint = format!("There are {}.", known.concat().join(", "));
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint));
        }
    }
    Ok(())
}

/// Reads what the options of a call that waits, which has these `more`, say of the wait.
pub(crate) fn wait<'env>(
    env: &'env Env,
    options: Unknown<'env>,
    more: &[&str],
) -> Result<Start<'env>, Error> {
    if !js::given(options) {
        return Ok(Start::Wait(None));
    }
    only(env, options, "options", &[&["signal"], more])?;
    let WaitOptions { signal } = js::options(env, options, "options")?;
    Start::new(env, signal)
}

/// As [`wait`], the signal in the options of what waits more than once.
pub(crate) fn signal<'env>(
    env: &'env Env,
    options: Unknown<'env>,
    more: &[&str],
) -> Result<Option<Unknown<'env>>, Error> {
    only(env, options, "options", &[&["signal"], more])?;
    let WaitOptions { signal } = js::options(env, options, "options")?;
    Start::new(env, signal)?;
    Ok(signal)
}

/// As [`wait`], of a call with a deadline.
pub(crate) fn deadline<'env>(
    env: &'env Env,
    options: Unknown<'env>,
    more: &[&str],
) -> Result<(Start<'env>, Option<Duration>), Error> {
    let (signal, deadline) = signal_and_deadline(env, options, more)?;
    Ok((Start::new(env, signal)?, deadline))
}

/// As [`deadline`], with the signal of what waits more than once.
pub(crate) fn signal_and_deadline<'env>(
    env: &'env Env,
    options: Unknown<'env>,
    more: &[&str],
) -> Result<(Option<Unknown<'env>>, Option<Duration>), Error> {
    only(env, options, "options", &[&["signal", "deadline"], more])?;
    let DeadlineOptions { signal, deadline } = js::options(env, options, "options")?;
    Start::new(env, signal)?;
    Ok((signal, deadline.map(|deadline| milliseconds(deadline, "deadline")).transpose()?))
}

/// A number of milliseconds.
pub(crate) fn milliseconds(value: Unknown<'_>, name: &str) -> Result<Duration, Error> {
    let value = number(value, name)?;
    duration(value / 1000.0)
        .ok_or_else(|| invalid(name, &format!("{value} is no number of milliseconds")))
}

/// A number of seconds.
pub(crate) fn seconds(value: Unknown<'_>, name: &str) -> Result<Duration, Error> {
    let value = number(value, name)?;
    duration(value).ok_or_else(|| invalid(name, &format!("{value} is no number of seconds")))
}

/// A span; infinity is as long as a clock can count.
fn duration(seconds: f64) -> Option<Duration> {
    match seconds {
        f64::INFINITY => Some(Duration::MAX),
        seconds => Duration::try_from_secs_f64(seconds).ok(),
    }
}

/// A port number.
pub(crate) fn port(value: Unknown<'_>) -> Result<u16, Error> {
    let value = number(value, "port")?;
    // Exact for every port, and for nothing else.
    let port = value as u16;
    if f64::from(port) == value && port != 0 {
        return Ok(port);
    }
    Err(invalid("port", &format!("{value} is not a port, which is 1 to 65535")))
}

/// A whole number.
pub(crate) fn whole(value: Unknown<'_>, name: &str) -> Result<i64, Error> {
    let value = number(value, name)?;
    // Exact for every whole number that is safe in JavaScript.
    match value.fract() == 0.0 {
        true => Ok(value as i64),
        false => Err(invalid(name, &format!("{value} is no whole number"))),
    }
}

/// The moment that a Date is.
pub(crate) fn moment(value: Unknown<'_>, name: &str) -> Result<SystemTime, Error> {
    let milliseconds = js::date(value).ok_or_else(|| invalid(name, "it is not a Date"))?;
    let away = Duration::try_from_secs_f64(milliseconds.abs() / 1000.0)
        .map_err(|_| invalid(name, "it is an invalid Date"))?;
    match milliseconds < 0.0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(away),
        false => SystemTime::UNIX_EPOCH.checked_add(away),
    }
    .ok_or_else(|| invalid(name, "the clock cannot count to it"))
}

/// Yes or no.
pub(crate) fn boolean(value: Unknown<'_>, name: &str) -> Result<bool, Error> {
    js::boolean(value).map_err(|_| invalid(name, "it is not a boolean"))
}

/// A text. What it is instead is never told: it may be a secret.
pub(crate) fn text(value: Unknown<'_>, name: &str) -> Result<String, Error> {
    js::string(value).map_err(|_| invalid(name, "it is not a string"))
}

/// A text that need not be there.
pub(crate) fn optional_text(
    value: Option<Unknown<'_>>,
    name: &str,
) -> Result<Option<String>, Error> {
    value.map(|value| text(value, name)).transpose()
}

fn number(value: Unknown<'_>, name: &str) -> Result<f64, Error> {
    js::number(value).map_err(|_| invalid(name, "it is not a number"))
}
