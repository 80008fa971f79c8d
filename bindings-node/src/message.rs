//! A message from a device to the cloud.

use std::time::SystemTime;

use bytes::Bytes;
use dps_core::{Error, ErrorKind};
use napi::{
    Env, JsDate, Unknown,
    bindgen_prelude::{Buffer, Either, JsObjectValue, Object, ObjectFinalize},
};
use napi_derive::napi;

use crate::{
    error::thrown,
    js::{self, invalid},
    options::{self, moment, optional_text, text},
};

/// What a message has beside its data.
#[napi(object, object_to_js = false)]
pub struct MessageOptions<'env> {
    /// The ID by which the receiver tells messages apart.
    #[napi(ts_type = "string")]
    pub message_id: Option<Unknown<'env>>,
    /// The ID of the message that this one belongs to.
    #[napi(ts_type = "string")]
    pub correlation_id: Option<Unknown<'env>>,
    /// The ID of the user that this message comes from.
    #[napi(ts_type = "string")]
    pub user_id: Option<Unknown<'env>>,
    /// The content type, such as `application/json`; routing by the body needs it.
    #[napi(ts_type = "string")]
    pub content_type: Option<Unknown<'env>>,
    /// The content encoding, such as `utf-8`; routing by the body needs it.
    #[napi(ts_type = "string")]
    pub content_encoding: Option<Unknown<'env>>,
    /// The output that the message goes to, by which an edge hub routes it.
    #[napi(ts_type = "string")]
    pub output_name: Option<Unknown<'env>>,
    /// When the message loses its worth.
    #[napi(ts_type = "Date")]
    pub expiry_time_utc: Option<Unknown<'env>>,
    /// The application's own properties.
    #[napi(ts_type = "Record<string, string>")]
    pub properties: Option<Unknown<'env>>,
}

/// The names in [`MessageOptions`].
const MESSAGE_OPTIONS: [&str; 8] = [
    "messageId",
    "correlationId",
    "userId",
    "contentType",
    "contentEncoding",
    "outputName",
    "expiryTimeUtc",
    "properties",
];

/// A message from a device to the cloud.
#[napi(custom_finalize)]
#[derive(Default)]
pub struct Message {
    /// Shared with what is sent of it.
    data: Bytes,
    message_id: Option<String>,
    correlation_id: Option<String>,
    user_id: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    output_name: Option<String>,
    expiry: Option<Expiry>,
    is_security_message: bool,
    properties: Vec<(String, String)>,
}

/// When a message loses its worth, as its Date and as core wants it.
#[derive(Clone, Copy)]
struct Expiry {
    milliseconds: f64,
    time: SystemTime,
}

impl Expiry {
    fn read(value: Unknown<'_>) -> Result<Self, Error> {
        let time = moment(value, "expiryTimeUtc")?;
        Ok(Self { milliseconds: js::date(value).unwrap_or_default(), time })
    }
}

#[napi]
impl Message {
    /// A message with a copy of this data; a string is sent as UTF-8.
    #[napi(
        catch_unwind,
        constructor,
        ts_args_type = "data: string | Uint8Array, options?: MessageOptions"
    )]
    pub fn new(env: &Env, data: Unknown<'_>, options: Unknown<'_>) -> napi::Result<Self> {
        let message = Self::read(env, data, options).map_err(|error| thrown(env, &error))?;
        message.account(env, message.data.len() as i64)?;
        Ok(message)
    }

    fn read(env: &Env, data: Unknown<'_>, options: Unknown<'_>) -> Result<Self, Error> {
        let Ok(Some(data)) = js::text_or_bytes(data) else {
            return Err(invalid("data", "it is neither a string nor a Uint8Array"));
        };
        let data = Bytes::from(data);
        if !js::given(options) {
            return Ok(Self { data, ..Self::default() });
        }
        options::only(env, options, "options", &[&MESSAGE_OPTIONS])?;
        let MessageOptions {
            message_id,
            correlation_id,
            user_id,
            content_type,
            content_encoding,
            output_name,
            expiry_time_utc,
            properties,
        } = js::options(env, options, "options")?;
        let properties = match properties {
            Some(properties) => read_properties(env, properties)?,
            None => Vec::new(),
        };
        Ok(Self {
            data,
            message_id: optional_text(message_id, "messageId")?,
            correlation_id: optional_text(correlation_id, "correlationId")?,
            user_id: optional_text(user_id, "userId")?,
            content_type: optional_text(content_type, "contentType")?,
            content_encoding: optional_text(content_encoding, "contentEncoding")?,
            output_name: optional_text(output_name, "outputName")?,
            expiry: expiry_time_utc.map(Expiry::read).transpose()?,
            is_security_message: false,
            properties,
        })
    }

    /// The ID by which the receiver tells messages apart.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn message_id(&self) -> Either<String, ()> {
        or_undefined(&self.message_id)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_message_id(&mut self, env: &Env, value: Option<Unknown<'_>>) -> napi::Result<()> {
        self.message_id = set(env, value, "messageId")?;
        Ok(())
    }

    /// The ID of the message that this one belongs to.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn correlation_id(&self) -> Either<String, ()> {
        or_undefined(&self.correlation_id)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_correlation_id(
        &mut self,
        env: &Env,
        value: Option<Unknown<'_>>,
    ) -> napi::Result<()> {
        self.correlation_id = set(env, value, "correlationId")?;
        Ok(())
    }

    /// The ID of the user that this message comes from.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn user_id(&self) -> Either<String, ()> {
        or_undefined(&self.user_id)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_user_id(&mut self, env: &Env, value: Option<Unknown<'_>>) -> napi::Result<()> {
        self.user_id = set(env, value, "userId")?;
        Ok(())
    }

    /// The content type, such as `application/json`; routing by the body needs it.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn content_type(&self) -> Either<String, ()> {
        or_undefined(&self.content_type)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_content_type(&mut self, env: &Env, value: Option<Unknown<'_>>) -> napi::Result<()> {
        self.content_type = set(env, value, "contentType")?;
        Ok(())
    }

    /// The content encoding, such as `utf-8`; routing by the body needs it.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn content_encoding(&self) -> Either<String, ()> {
        or_undefined(&self.content_encoding)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_content_encoding(
        &mut self,
        env: &Env,
        value: Option<Unknown<'_>>,
    ) -> napi::Result<()> {
        self.content_encoding = set(env, value, "contentEncoding")?;
        Ok(())
    }

    /// The output that the message goes to, by which an edge hub routes it.
    #[napi(getter, catch_unwind, ts_return_type = "string | undefined")]
    pub fn output_name(&self) -> Either<String, ()> {
        or_undefined(&self.output_name)
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: string | undefined")]
    pub fn set_output_name(&mut self, env: &Env, value: Option<Unknown<'_>>) -> napi::Result<()> {
        self.output_name = set(env, value, "outputName")?;
        Ok(())
    }

    /// When the message loses its worth.
    #[napi(getter, catch_unwind, ts_return_type = "Date | undefined")]
    pub fn expiry_time_utc<'env>(&self, env: &'env Env) -> napi::Result<Either<JsDate<'env>, ()>> {
        self.expiry
            .map_or(Ok(Either::B(())), |expiry| env.create_date(expiry.milliseconds).map(Either::A))
    }

    #[napi(setter, catch_unwind, ts_args_type = "value: Date | undefined")]
    pub fn set_expiry_time_utc(
        &mut self,
        env: &Env,
        value: Option<Unknown<'_>>,
    ) -> napi::Result<()> {
        let expiry = value.map(Expiry::read).transpose();
        self.expiry = expiry.map_err(|error| thrown(env, &error))?;
        Ok(())
    }

    /// Marks the message as one for Microsoft Defender for IoT.
    #[napi(catch_unwind)]
    pub fn set_as_security_message(&mut self) {
        self.is_security_message = true;
    }

    /// What the incumbent's messages have and these have not: each would be left out without a
    /// word.
    #[napi(setter, catch_unwind, skip_typescript)]
    pub fn set_ack(&mut self, env: &Env, _: Unknown<'_>) -> napi::Result<()> {
        missing(env, "ack")
    }

    /// As `ack`.
    #[napi(setter, catch_unwind, skip_typescript)]
    pub fn set_to(&mut self, env: &Env, _: Unknown<'_>) -> napi::Result<()> {
        missing(env, "to")
    }

    /// As `ack`.
    #[napi(setter, catch_unwind, skip_typescript)]
    pub fn set_lock_token(&mut self, env: &Env, _: Unknown<'_>) -> napi::Result<()> {
        missing(env, "lockToken")
    }

    /// As `ack`.
    #[napi(setter, catch_unwind, skip_typescript)]
    pub fn set_interface_id(&mut self, env: &Env, _: Unknown<'_>) -> napi::Result<()> {
        missing(env, "interfaceId")
    }

    /// A copy of the data.
    #[napi(catch_unwind)]
    pub fn get_data(&self) -> Buffer {
        self.data.to_vec().into()
    }

    /// Sets an application property, in place of an earlier one of the same name.
    #[napi(catch_unwind, ts_args_type = "name: string, value: string")]
    pub fn set_property(
        &mut self,
        env: &Env,
        name: Unknown<'_>,
        value: Unknown<'_>,
    ) -> napi::Result<()> {
        let read = || Ok((text(name, "name")?, text(value, "value")?));
        let (name, value) = read().map_err(|error: Error| thrown(env, &error))?;
        match self.properties.iter_mut().find(|(other, _)| *other == name) {
            Some(property) => property.1 = value,
            None => self.properties.push((name, value)),
        }
        Ok(())
    }

    /// What dps-core is to send for an argument: an instance, or its data alone.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<dps_core::Message, Error> {
        if let Ok(Some(data)) = js::text_or_bytes(value) {
            return Ok(data.into());
        }
        match js::instance::<Self>(value) {
            Some(message) => Ok(message.to_core()),
            None => Err(invalid("message", "it is no Message, no string and no Uint8Array")),
        }
    }

    fn to_core(&self) -> dps_core::Message {
        let mut message = dps_core::Message::new(self.data.clone());
        if let Some(id) = &self.message_id {
            message = message.message_id(id);
        }
        if let Some(id) = &self.correlation_id {
            message = message.correlation_id(id);
        }
        if let Some(id) = &self.user_id {
            message = message.user_id(id);
        }
        if let Some(content_type) = &self.content_type {
            message = message.content_type(content_type);
        }
        if let Some(content_encoding) = &self.content_encoding {
            message = message.content_encoding(content_encoding);
        }
        if let Some(output) = &self.output_name {
            message = message.output_name(output);
        }
        if let Some(Expiry { time, .. }) = self.expiry {
            message = message.expires_at(time);
        }
        if self.is_security_message {
            message = message.security_message();
        }
        for (name, value) in &self.properties {
            message = message.property(name, value);
        }
        message
    }
}

impl ObjectFinalize for Message {
    fn finalize(self, env: Env) -> napi::Result<()> {
        self.account(&env, -(self.data.len() as i64))
    }
}

impl Message {
    /// Tells V8 of so many bytes more, or fewer, that it cannot see: it collects garbage by them.
    fn account(&self, env: &Env, bytes: i64) -> napi::Result<()> {
        env.adjust_external_memory(bytes).map(drop)
    }
}

fn or_undefined(text: &Option<String>) -> Either<String, ()> {
    text.clone().map_or(Either::B(()), Either::A)
}

/// What a property is set to.
fn set(env: &Env, value: Option<Unknown<'_>>, name: &str) -> napi::Result<Option<String>> {
    optional_text(value, name).map_err(|error| thrown(env, &error))
}

fn missing(env: &Env, name: &str) -> napi::Result<()> {
    let message = format!("a message has no {name} on its way to the cloud");
    let hint = format!("There are {}.", MESSAGE_OPTIONS.join(", "));
    Err(thrown(env, &Error::new(ErrorKind::Unsupported, message).with_hint(hint)))
}

fn read_properties(env: &Env, value: Unknown<'_>) -> Result<Vec<(String, String)>, Error> {
    let unreadable = |error| {
        let error = js::caught(env, error);
        invalid("properties", &format!("it could not be read: {}", error.reason)).with_source(error)
    };
    let object = js::object(value).ok_or_else(|| invalid("properties", "it is not an object"))?;
    let names = Object::keys(&object).map_err(unreadable)?;
    let property = |name: String| {
        let value: Unknown<'_> = object.get_named_property(&name).map_err(unreadable)?;
        let value = text(value, &format!("the property {name:?}"))?;
        Ok((name, value))
    };
    names.into_iter().map(property).collect()
}
