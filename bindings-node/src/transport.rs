//! How connections are opened.

use dps_core::{Error, ErrorKind, tls::Roots, transport::Network};
use napi::{Env, Unknown, ValueType};
use napi_derive::napi;

use crate::{
    environment::Environment,
    error::thrown,
    js::{self, invalid},
    options,
};

/// How connections are opened, for the Device Provisioning Service and the hub alike.
#[napi(object, object_to_js = false)]
pub struct MqttOptions<'env> {
    /// Sends every connection to this `host:port`, while the names stay the real ones: for private
    /// endpoints, tests and the emulator. Where it is not given, `DPS_CONNECT_TO` decides.
    #[napi(ts_type = "string")]
    pub connect_to: Option<Unknown<'env>>,
    /// The roots that a server's certificate must lead to, as PEM, in place of the system's.
    #[napi(ts_type = "string | Uint8Array")]
    pub ca: Option<Unknown<'env>>,
    /// The port, where it is not 8883.
    #[napi(ts_type = "number")]
    pub port: Option<Unknown<'env>>,
    /// The version of the Device Provisioning Service's protocol to speak, such as `2021-06-01`,
    /// where it is not this SDK's own.
    #[napi(ts_type = "string")]
    pub api_version: Option<Unknown<'env>>,
}

/// MQTT over TLS. Share one among the devices of a process, and they share its roots.
#[napi]
#[derive(Clone, Default)]
pub struct Mqtt {
    pub(crate) network: Network,
    pub(crate) port: Option<u16>,
    pub(crate) api_version: Option<String>,
}

#[napi]
impl Mqtt {
    /// Opens nothing yet.
    #[napi(catch_unwind, constructor, ts_args_type = "options?: MqttOptions")]
    pub fn new(env: &Env, options: Unknown<'_>) -> napi::Result<Self> {
        Self::read(env, options).map_err(|error| thrown(env, &error))
    }

    fn read(env: &Env, options: Unknown<'_>) -> Result<Self, Error> {
        options::only(env, options, "options", &[&["connectTo", "ca", "port", "apiVersion"]])?;
        let MqttOptions { connect_to, ca, port, api_version } =
            js::options(env, options, "options")?;
        let mut network = Network::default();
        if let Some(connect_to) = options::optional_text(connect_to, "connectTo")? {
            network = network.connect_to(connect_to);
        }
        if let Some(ca) = ca {
            network = network.roots(roots(ca)?);
        }
        let port = port.map(options::port).transpose()?;
        Ok(Self { network, port, api_version: options::optional_text(api_version, "apiVersion")? })
    }

    /// The transport that an argument means: an instance, or the class itself, as the incumbent
    /// wants it for a hub.
    pub(crate) fn from_argument(env: &Env, value: Unknown<'_>) -> Result<Self, Error> {
        if let Some(transport) = js::instance::<Self>(value) {
            return Ok(Self::clone(&transport));
        }
        let class = || Environment::current()?.is_transport(env, value);
        match value.get_type() {
            Ok(ValueType::Undefined | ValueType::Null) => Ok(Self::default()),
            Ok(ValueType::Function) if class().unwrap_or(false) => Ok(Self::default()),
            // Another SDK's, or another protocol's, which may be all that a site lets through.
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "transport: it is not the Mqtt of this package",
            )
            .with_hint("MQTT over TLS, port 8883, is the one transport that there is.")),
        }
    }
}

/// Trust roots from PEM.
pub(crate) fn roots(pem: Unknown<'_>) -> Result<Roots, Error> {
    match js::text_or_bytes(pem) {
        Ok(Some(pem)) => Ok(Roots::pem(pem)),
        _ => Err(invalid("ca", "it is neither a string nor a Uint8Array")),
    }
}
