//! The one file with unsafe code: what Node-API offers and the napi crate does not, or only at a
//! price. Its promises need one thread-safe function each, and libuv visits all of those at every
//! wake-up, which five thousand waiting messages would pay for.
#![allow(unsafe_code)]

use dps_core::{Error, ErrorKind};
use napi::{
    Env, JsDate, JsValue, Status, Unknown, ValueType,
    bindgen_prelude::{
        BufferSlice, ClassInstance, FromNapiValue, Function, JsObjectValue, Object, PromiseRaw,
        ToNapiValue, TypeName,
    },
    sys,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use zeroize::Zeroizing;

/// The settling half of a promise.
pub(crate) struct Deferred(sys::napi_deferred);

impl Deferred {
    pub(crate) fn new<'env>(env: &'env Env) -> napi::Result<(Self, PromiseRaw<'env, ()>)> {
        let (mut deferred, mut promise) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the environment is alive, this is its thread, and both outputs are valid places.
        check(unsafe { sys::napi_create_promise(env.raw(), &mut deferred, &mut promise) })?;
        Ok((Self(deferred), PromiseRaw::new(env.raw(), promise)))
    }

    pub(crate) fn resolve(self, env: &Env, value: impl ToNapiValue) -> napi::Result<()> {
        // SAFETY: the environment is alive and this is its thread.
        let value = unsafe { ToNapiValue::to_napi_value(env.raw(), value) };
        match value {
            // SAFETY: as above; the deferred is used up by value, so never twice.
            Ok(value) => check(unsafe { sys::napi_resolve_deferred(env.raw(), self.0, value) }),
            Err(error) => self.reject(env, error),
        }
    }

    pub(crate) fn reject(self, env: &Env, reason: impl ToNapiValue) -> napi::Result<()> {
        // SAFETY: the environment is alive and this is its thread; the deferred is used up by
        // value, so never twice.
        unsafe {
            let reason = ToNapiValue::to_napi_value(env.raw(), reason)?;
            check(sys::napi_reject_deferred(env.raw(), self.0, reason))
        }
    }
}

/// Calls one function on its JavaScript thread, from any thread. By itself it does not keep the
/// process alive.
pub(crate) struct Waker(ThreadsafeFunction<(), (), (), Status, false, true>);

impl Waker {
    pub(crate) fn new(function: &Function<'_, (), ()>) -> napi::Result<Self> {
        let builder = function.build_threadsafe_function::<()>().weak::<true>();
        Ok(Self(builder.build_callback(|_| Ok(()))?))
    }

    /// Does nothing once the environment is being torn down.
    pub(crate) fn wake(&self) {
        self.0.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// From now on, the process stays alive for it, or no longer does.
    pub(crate) fn keep_alive(&self, env: &Env, alive: bool) -> napi::Result<()> {
        let set = match alive {
            true => sys::napi_ref_threadsafe_function,
            false => sys::napi_unref_threadsafe_function,
        };
        // SAFETY: the function is alive as long as `self`, and this is its environment's thread.
        check(unsafe { set(env.raw(), self.0.raw()) })
    }
}

/// The bytes of a string or of a Uint8Array, copied.
pub(crate) fn text_or_bytes(value: Unknown<'_>) -> napi::Result<Option<Vec<u8>>> {
    match value.get_type()? {
        ValueType::String => Ok(Some(string(value)?.into_bytes())),
        ValueType::Object if value.is_buffer()? => {
            // SAFETY: it was just found to be a buffer.
            let bytes: BufferSlice<'_> = unsafe { value.cast()? };
            Ok(Some(bytes.to_vec()))
        }
        _ => Ok(None),
    }
}

/// The bytes of a Uint8Array, copied.
pub(crate) fn bytes(value: Unknown<'_>) -> Option<Vec<u8>> {
    match value.get_type().ok()? {
        ValueType::Object => text_or_bytes(value).ok()?,
        _ => None,
    }
}

/// What `read` makes of each element of an array. Stops at the first that it refuses: an array may
/// be four thousand million holes.
pub(crate) fn elements<'env, T>(
    env: &Env,
    value: Unknown<'env>,
    name: &str,
    read: impl Fn(Unknown<'env>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let array = object(value)
        .filter(|object| object.is_array().unwrap_or(false))
        .ok_or_else(|| invalid(name, "it is not an array"))?;
    // An element may be the user's code, which throws.
    let unreadable = |error| {
        let error = caught(env, error);
        invalid(name, &format!("it could not be read: {}", error.reason)).with_source(error)
    };
    let length = array.get_array_length().map_err(unreadable)?;
    (0..length).map(|index| read(array.get_element(index).map_err(unreadable)?)).collect()
}

/// What a Date stands for, in milliseconds since 1970; NaN for an invalid one.
pub(crate) fn date(value: Unknown<'_>) -> Option<f64> {
    if !value.is_date().ok()? {
        return None;
    }
    // SAFETY: it was just found to be a Date.
    let date: JsDate<'_> = unsafe { value.cast() }.ok()?;
    date.value_of().ok()
}

/// The text of a value that is a string.
pub(crate) fn string(value: Unknown<'_>) -> napi::Result<String> {
    // SAFETY: Node-API itself refuses what is not a string.
    unsafe { value.cast() }
}

/// The number that a value is.
pub(crate) fn number(value: Unknown<'_>) -> napi::Result<f64> {
    // SAFETY: Node-API itself refuses what is not a number.
    unsafe { value.cast() }
}

/// The boolean that a value is.
pub(crate) fn boolean(value: Unknown<'_>) -> napi::Result<bool> {
    // SAFETY: Node-API itself refuses what is not a boolean.
    unsafe { value.cast() }
}

/// The object that a value is.
pub(crate) fn object<'env>(value: Unknown<'env>) -> Option<Object<'env>> {
    if value.get_type().ok()? != ValueType::Object {
        return None;
    }
    // SAFETY: it was just found to be an object.
    unsafe { value.cast() }.ok()
}

/// The instance of our class `T` that the value is, if it is one.
pub(crate) fn instance<'env, T>(value: Unknown<'env>) -> Option<ClassInstance<'env, T>>
where
    ClassInstance<'env, T>: FromNapiValue,
{
    if value.get_type().ok()? != ValueType::Object {
        return None;
    }
    // SAFETY: the conversion compares the type tag that only our class sets.
    unsafe { value.cast() }.ok()
}

/// The function that the value is, if it is one.
pub(crate) fn function<'env, Args, Return>(
    value: Unknown<'env>,
) -> Option<Function<'env, Args, Return>>
where
    Args: napi::bindgen_prelude::JsValuesTupleIntoVec,
{
    if value.get_type().ok()? != ValueType::Function {
        return None;
    }
    // SAFETY: it was just found to be a function.
    unsafe { value.cast() }.ok()
}

/// Whether an argument is there. To read options that are not would take longer than to send.
pub(crate) fn given(value: Unknown<'_>) -> bool {
    !matches!(value.get_type(), Ok(ValueType::Undefined | ValueType::Null))
}

/// Reads an object of options; `undefined` is an empty one. Its properties are the user's code:
/// what one throws is the cause of the error.
pub(crate) fn options<'env, T>(env: &'env Env, value: Unknown<'env>, name: &str) -> Result<T, Error>
where
    T: FromNapiValue + TypeName,
{
    let object = match value.get_type() {
        Ok(ValueType::Undefined | ValueType::Null) => {
            Object::new(env).map(|object| object.to_unknown())
        }
        Ok(ValueType::Object) => Ok(value),
        _ => return Err(invalid(name, "it is not an object")),
    };
    // SAFETY: the conversion reads properties by name and checks the type of each.
    let read = object.and_then(|object| unsafe { object.cast() });
    read.map_err(|error| {
        let error = caught(env, error);
        invalid(name, &format!("it could not be read: {}", error.reason)).with_source(error)
    })
}

/// What the user's code threw where Node-API has only told that it did: the exception stays with
/// the environment until it is taken, and every further call would fail with it.
pub(crate) fn caught(env: &Env, error: napi::Error) -> napi::Error {
    let (mut pending, mut thrown) = (false, std::ptr::null_mut());
    // SAFETY: the environment is alive, this is its thread, and both outputs are valid places.
    let taken = unsafe {
        check(sys::napi_is_exception_pending(env.raw(), &mut pending)).is_ok()
            && pending
            && check(sys::napi_get_and_clear_last_exception(env.raw(), &mut thrown)).is_ok()
    };
    match taken {
        // SAFETY: it is the value that was just handed out.
        true => napi::Error::from_unknown_without_coercion(unsafe {
            Unknown::from_raw_unchecked(env.raw(), thrown)
        }),
        false => error,
    }
}

/// What `JSON.stringify` makes of the value; `None` for what JSON does not know.
pub(crate) fn to_json(env: &Env, value: Unknown<'_>) -> napi::Result<Option<serde_json::Value>> {
    let json: Object<'_> = env.get_global()?.get_named_property("JSON")?;
    let stringify: Function<'_, Unknown<'_>, Unknown<'_>> = json.get_named_property("stringify")?;
    let text = stringify.call(value)?;
    if text.get_type()? != ValueType::String {
        return Ok(None);
    }
    let parsed = serde_json::from_str(&string(text)?);
    parsed.map(Some).map_err(|error| napi::Error::from_reason(error.to_string()))
}

/// What `JSON.parse` makes of the text.
fn parse_json(env: &Env, text: String) -> napi::Result<Unknown<'_>> {
    let json: Object<'_> = env.get_global()?.get_named_property("JSON")?;
    let parse: Function<'_, String, Unknown<'_>> = json.get_named_property("parse")?;
    parse.call(text)
}

/// What is made into a JavaScript value on the JavaScript thread.
pub(crate) trait IntoJs {
    /// The value.
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>>;
}

/// A JSON value on its way to JavaScript.
pub struct Json(pub(crate) serde_json::Value);

impl IntoJs for Json {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        parse_json(env, self.0.to_string())
    }
}

/// A text that is a secret, or has one in it, on its way to JavaScript: what is here is wiped.
pub struct SecretText(pub(crate) Zeroizing<String>);

impl IntoJs for SecretText {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        Ok(env.create_string(self.0.as_str())?.to_unknown())
    }
}

/// What an iterator's `next` resolves to; `None` is its end.
/// (ECMAScript, the IteratorResult interface)
pub(crate) struct Next<T>(pub(crate) Option<T>);

impl<T: ToNapiValue> IntoJs for Next<T> {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        let mut result = Object::new(env)?;
        result.set("done", self.0.is_none())?;
        if let Some(value) = self.0 {
            result.set("value", value)?;
        }
        Ok(result.to_unknown())
    }
}

/// Takes an [`IntoJs`] through the napi crate.
pub struct Late<T>(pub(crate) T);

impl<T: IntoJs> ToNapiValue for Late<T> {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        Ok(value.0.into_js(&Env::from_raw(env))?.raw())
    }
}

/// The argument `name` is not what it should be.
pub(crate) fn invalid(name: &str, found: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{name}: {found}"))
}

fn check(status: sys::napi_status) -> napi::Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        failed => Err(napi::Error::from_status(Status::from(failed))),
    }
}
