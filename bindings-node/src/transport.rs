//! How connections are opened.

use dps_core::{Error, tls::Roots, transport::Network};
use napi::{Env, Unknown, ValueType};
use napi_derive::napi;

use crate::{
    error::thrown,
    js::{self, invalid},
    options,
};

/// How connections are opened, for the Device Provisioning Service and the hub alike.
#[napi(object, object_to_js = false)]
pub struct MqttOptions<'env> {
    /// Sends every connection to this `host:port`, while the names stay the real ones: for private
    /// endpoints, tests and the emulator. Where it is not given, `DPS_CONNECT_TO` decides.
    pub connect_to: Option<String>,
    /// The roots that a server's certificate must lead to, as PEM, in place of the system's.
    #[napi(ts_type = "string | Uint8Array")]
    pub ca: Option<Unknown<'env>>,
    /// The port, where it is not 8883.
    pub port: Option<f64>,
}

/// MQTT over TLS. Share one among the devices of a process, and they share its roots.
#[napi]
#[derive(Clone, Default)]
pub struct Mqtt {
    pub(crate) network: Network,
    pub(crate) port: Option<u16>,
}

#[napi]
impl Mqtt {
    /// Opens nothing yet.
    #[napi(constructor, ts_args_type = "options?: MqttOptions")]
    pub fn new(env: &Env, options: Unknown<'_>) -> napi::Result<Self> {
        Self::read(env, options).map_err(|error| thrown(env, &error))
    }

    fn read(env: &Env, options: Unknown<'_>) -> Result<Self, Error> {
        let MqttOptions { connect_to, ca, port } = js::options(env, options, "options")?;
        let mut network = Network::default();
        if let Some(connect_to) = connect_to {
            network = network.connect_to(connect_to);
        }
        if let Some(ca) = ca {
            network = network.roots(roots(ca)?);
        }
        Ok(Self { network, port: port.map(options::port).transpose()? })
    }

    /// The transport that an argument means: an instance, or the class itself, as the incumbent
    /// wants it for a hub.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<Self, Error> {
        if let Some(transport) = js::instance::<Self>(value) {
            return Ok(Self::clone(&transport));
        }
        match value.get_type() {
            Ok(ValueType::Undefined | ValueType::Null | ValueType::Function) => Ok(Self::default()),
            _ => Err(invalid("transport", "it is not an Mqtt of this package")),
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
