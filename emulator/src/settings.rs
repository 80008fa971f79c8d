//! What an emulator instance is told before it starts.

use std::path::PathBuf;

use crate::tls::TlsVersion;

/// Everything [`Builder`](crate::Builder) collects and the service rules read.
#[derive(Clone)]
pub(crate) struct Settings {
    /// `None` is that of the data file, or the default.
    pub(crate) id_scope: Option<String>,
    /// Name of the provisioning service; its host is [`Settings::dps_host`].
    pub(crate) dps_name: String,
    /// Host names of the linked hubs. May hold `localhost`, for clients whose port is fixed; may
    /// be empty, which is a service without a linked hub.
    pub(crate) hubs: Vec<String>,
    /// The SQLite file; `None` keeps everything in memory.
    pub(crate) data: Option<PathBuf>,
    /// The only version of TLS that is spoken; `None` is 1.2 and 1.3.
    pub(crate) tls: Option<TlsVersion>,
    /// Whether clients may sign with RSA-PSS.
    pub(crate) rsa_pss: bool,
    /// Seconds a device is told to wait, the `retry-after` of the recorded real service.
    pub(crate) retry_after: u32,
    /// Operation status polls until a device is assigned; 0 answers the registration at once.
    pub(crate) polls: u32,
    /// Telemetry messages kept per device.
    pub(crate) retention: u32,
    /// Base64 key of the policies `provisioningserviceowner` and `iothubowner`, new for each
    /// instance. A key already stored in the data file takes its place.
    pub(crate) owner_key: String,
}

impl Settings {
    /// The host name of the instance's own endpoint, as Azure forms it.
    pub(crate) fn dps_host(&self) -> String {
        format!("{}.azure-devices-provisioning.net", self.dps_name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id_scope: None,
            dps_name: "my-dps-x509".to_owned(),
            hubs: vec!["contoso-hub-2.azure-devices.net".to_owned()],
            data: None,
            tls: None,
            rsa_pss: true,
            retry_after: 3,
            polls: 1,
            retention: 10_000,
            owner_key: String::new(),
        }
    }
}
