//! A message from a device to the cloud.

use dps_core::Error;
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, JsObjectValue, Object},
};
use napi_derive::napi;

use crate::{
    error::thrown,
    js::{self, invalid},
    options::{optional_text, text},
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
    /// The application's own properties.
    #[napi(ts_type = "Record<string, string>")]
    pub properties: Option<Unknown<'env>>,
}

/// A message from a device to the cloud.
#[napi]
pub struct Message {
    data: Vec<u8>,
    /// The ID by which the receiver tells messages apart.
    pub message_id: Option<String>,
    /// The ID of the message that this one belongs to.
    pub correlation_id: Option<String>,
    /// The ID of the user that this message comes from.
    pub user_id: Option<String>,
    /// The content type, such as `application/json`; routing by the body needs it.
    pub content_type: Option<String>,
    /// The content encoding, such as `utf-8`; routing by the body needs it.
    pub content_encoding: Option<String>,
    properties: Vec<(String, String)>,
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
        Self::read(env, data, options).map_err(|error| thrown(env, &error))
    }

    fn read(env: &Env, data: Unknown<'_>, options: Unknown<'_>) -> Result<Self, Error> {
        let Ok(Some(data)) = js::text_or_bytes(data) else {
            return Err(invalid("data", "it is neither a string nor a Uint8Array"));
        };
        let MessageOptions {
            message_id,
            correlation_id,
            user_id,
            content_type,
            content_encoding,
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
            properties,
        })
    }

    /// A copy of the data.
    #[napi(catch_unwind)]
    pub fn get_data(&self) -> Buffer {
        self.data.clone().into()
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
        for (name, value) in &self.properties {
            message = message.property(name, value);
        }
        message
    }
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
