//! A message from a device to the cloud.

use dps_core::Error;
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, Object},
};
use napi_derive::napi;

use crate::{
    error::thrown,
    js::{self, invalid},
};

/// What a message has beside its data.
#[napi(object, object_to_js = false)]
pub struct MessageOptions<'env> {
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
    /// The application's own properties.
    #[napi(ts_type = "Record<string, string>")]
    pub properties: Option<Object<'env>>,
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
    #[napi(constructor, ts_args_type = "data: string | Uint8Array, options?: MessageOptions")]
    pub fn new(env: &Env, data: Unknown<'_>, options: Unknown<'_>) -> napi::Result<Self> {
        Self::read(env, data, options).map_err(|error| thrown(env, &error))
    }

    fn read(env: &Env, data: Unknown<'_>, options: Unknown<'_>) -> Result<Self, Error> {
        let Ok(Some(data)) = js::text_or_bytes(data) else {
            return Err(invalid("data", "it is neither a string nor a Uint8Array"));
        };
        let options: MessageOptions<'_> = js::options(env, options, "options")?;
        let properties = options.properties.map_or(Ok(Vec::new()), |properties| {
            let texts = |name: String| {
                let value = properties.get::<String>(&name)?.unwrap_or_default();
                Ok((name, value))
            };
            let read = Object::keys(&properties)
                .and_then(|names| names.into_iter().map(texts).collect::<napi::Result<Vec<_>>>());
            read.map_err(|error| invalid("properties", &error.reason))
        })?;
        Ok(Self {
            data,
            message_id: options.message_id,
            correlation_id: options.correlation_id,
            user_id: options.user_id,
            content_type: options.content_type,
            content_encoding: options.content_encoding,
            properties,
        })
    }

    /// A copy of the data.
    #[napi]
    pub fn get_data(&self) -> Buffer {
        self.data.clone().into()
    }

    /// Sets an application property, in place of an earlier one of the same name.
    #[napi(ts_args_type = "name: string, value: string")]
    pub fn set_property(&mut self, name: String, value: String) {
        match self.properties.iter_mut().find(|(other, _)| *other == name) {
            Some(property) => property.1 = value,
            None => self.properties.push((name, value)),
        }
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
