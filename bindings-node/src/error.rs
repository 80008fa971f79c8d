//! An error of dps-core as JavaScript sees it.

use std::{error, io};

use dps_core::{Error, ErrorKind};
use napi::{
    Env, Unknown,
    bindgen_prelude::{FnArgs, Function, FunctionRef, JsObjectValue, Object},
};
use napi_derive::napi;

use crate::environment::Environment;

/// One kind of error that dps-core knows: the same in every language.
#[napi(object, object_from_js = false)]
pub struct ErrorKindEntry {
    /// What `DpsError.code` is, such as `DPS_UNAUTHORIZED`.
    pub code: &'static str,
    /// The number of the kind, such as 401.
    pub number: u32,
    /// Whether the same call may succeed later with nothing changed on this side.
    pub retryable: bool,
    /// One sentence that says what the kind means.
    pub sentence: &'static str,
}

/// Every kind of error, in the order of its number.
#[napi(catch_unwind)]
pub fn error_catalogue() -> Vec<ErrorKindEntry> {
    let entry = |kind: &ErrorKind| ErrorKindEntry {
        code: kind.name(),
        number: kind.code(),
        retryable: kind.retryable(),
        sentence: kind.sentence(),
    };
    ErrorKind::ALL.iter().map(entry).collect()
}

/// What the service said when it refused.
#[napi(object, object_from_js = false)]
pub struct ServiceDetails {
    /// The HTTP-like status, such as 401.
    pub status: Option<u32>,
    /// The service's own number, such as 401002.
    pub error_code: Option<u32>,
    /// The service's message, verbatim.
    pub message: Option<String>,
    /// The ID that Microsoft support asks for.
    pub tracking_id: Option<String>,
    /// How long the service asks the caller to wait, in milliseconds.
    pub retry_after: Option<f64>,
}

/// A `DpsError`, to throw or to reject a promise with.
pub(crate) fn to_js<'env>(env: &'env Env, error: &Error) -> napi::Result<Unknown<'env>> {
    to_js_from(env, error, None)
}

/// As [`to_js`], of a call whose place `trace` tells.
pub(crate) fn to_js_from<'env>(
    env: &'env Env,
    error: &Error,
    trace: Option<&FunctionRef<(), Unknown<'static>>>,
) -> napi::Result<Unknown<'env>> {
    let mut details = Object::new(env)?;
    let kind = error.kind();
    details.set("code", kind.name())?;
    details.set("number", kind.code())?;
    details.set("retryable", error.retryable())?;
    if !error.operation().is_empty() {
        details.set("operation", error.operation())?;
    }
    if let Some(hint) = error.hint() {
        details.set("hint", hint)?;
    }
    if let Some(service) = error.service() {
        details.set(
            "service",
            ServiceDetails {
                status: service.status.map(u32::from),
                error_code: service.error_code,
                message: service.message.clone(),
                tracking_id: service.tracking_id.clone(),
                retry_after: service.retry_after.map(|wait| wait.as_secs_f64() * 1000.0),
            },
        )?;
    }
    match Cause::of(error) {
        Some(Cause::Ours(cause)) => details.set("cause", to_js(env, cause)?)?,
        Some(Cause::Thrown(thrown)) => details.set("cause", thrown.try_clone()?)?,
        Some(Cause::Other(text)) => {
            let class: Function<'_, String, Unknown<'_>> =
                env.get_global()?.get_named_property("Error")?;
            details.set("cause", class.new_instance(text)?)?;
        }
        None => {}
    }
    if let Some(trace) = trace {
        details.set("trace", trace.borrow_back(env)?)?;
    }
    let environment = Environment::current()?;
    let class: Function<'_, FnArgs<(String, Object<'_>)>, Unknown<'_>> =
        environment.hook(env, "DpsError")?;
    class.new_instance((error.to_string(), details).into())
}

/// The error as a method throws it.
pub(crate) fn thrown(env: &Env, error: &Error) -> napi::Error {
    match to_js(env, error) {
        Ok(value) => napi::Error::from_unknown_without_coercion(value),
        Err(error) => error,
    }
}

/// What a class says that only this module makes instances of; called by `index.js`.
#[napi(catch_unwind, skip_typescript)]
pub fn refuse_construction(env: &Env, class: String) -> napi::Result<()> {
    let error = Error::new(ErrorKind::Unsupported, format!("{class} has no constructor"));
    Err(thrown(env, &error))
}

/// What lies behind an error.
enum Cause<'a> {
    Ours(&'a Error),
    /// What JavaScript threw, itself.
    Thrown(&'a napi::Error),
    Other(String),
}

impl<'a> Cause<'a> {
    fn of(error: &'a Error) -> Option<Self> {
        let first = error::Error::source(error)?;
        let mut next = Some(first);
        while let Some(source) = next {
            if let Some(ours) = source.downcast_ref::<Error>() {
                return Some(Self::Ours(ours));
            }
            if let Some(thrown) = source.downcast_ref::<napi::Error>() {
                return Some(Self::Thrown(thrown));
            }
            next = behind(source);
        }
        Some(Self::Other(first.to_string()))
    }
}

/// An I/O error passes its own content over when it is asked for its source.
fn behind<'a>(error: &'a (dyn error::Error + 'static)) -> Option<&'a (dyn error::Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
