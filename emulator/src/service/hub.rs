//! The hubs' device side: who may connect, telemetry.

use time::OffsetDateTime;

use super::{Peer, Service, Telemetry, clock};
use crate::sas::SasToken;
use crate::store::StoreError;
use crate::store::devices::{self, Authentication, Device, DeviceStatus};
use crate::store::telemetry;
use crate::x509::Certificate;

/// Why a hub does not let a device connect. All are CONNACK 5 on the wire; the difference is for
/// the emulator's log.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HubRefusal {
    #[error("no linked hub has this name")]
    UnknownHub,
    #[error("the hub has no such device")]
    UnknownDevice,
    #[error("the device is disabled")]
    Disabled,
    #[error("the device presented no certificate, and the hub knows it by one")]
    NoCertificate,
    #[error("the certificate is not the one the hub knows the device by")]
    Thumbprint,
    #[error("the shared access signature is missing, wrong or expired")]
    BadSas,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// Lets a device connect, and counts the connection until
    /// [`hub_disconnected`](Self::hub_disconnected). Says when its token expires, if it came with
    /// one.
    pub(crate) async fn hub_connect(
        &self,
        hub: &str,
        device_id: &str,
        peer: &Peer,
        sas: Option<&str>,
    ) -> Result<Option<OffsetDateTime>, HubRefusal> {
        let hub = self.hub_named(hub).ok_or(HubRefusal::UnknownHub)?.to_owned();
        let device_id = device_id.to_owned();
        let leaf = peer.certificates.first().and_then(|der| Certificate::from_der(der).ok());
        let sas = sas.and_then(SasToken::parse);
        let now = self.now();
        self.0
            .store
            .run(move |db| {
                let device =
                    devices::get(db, &hub, &device_id)?.ok_or(HubRefusal::UnknownDevice)?;
                let expiry = authenticate(&device, leaf.as_ref(), sas.as_ref(), now)?;
                devices::count_connection(db, &hub, &device_id, 1, &clock::stamp(now))?;
                Ok(expiry)
            })
            .await
    }

    /// Takes back one [`hub_connect`](Self::hub_connect).
    pub(crate) async fn hub_disconnected(&self, hub: &str, device_id: &str) {
        let Some(hub) = self.hub_named(hub).map(str::to_owned) else { return };
        let device_id = device_id.to_owned();
        let stamp = clock::stamp(self.now());
        let counted = self
            .0
            .store
            .run(move |db| devices::count_connection(db, &hub, &device_id, -1, &stamp))
            .await;
        match counted {
            // A store that is closed has nobody connected when it is opened again.
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => tracing::error!("a disconnection was not stored: {error}"),
        }
    }

    /// Resolves when the messages are stored, so that they may be acknowledged.
    pub(crate) async fn store_telemetry(&self, telemetry: Telemetry) -> Result<(), StoreError> {
        self.take_telemetry(telemetry).await?.await
    }

    /// Resolves when the messages have their place behind those taken before, with the future of
    /// their storing; so a connection can have many on their way and keep their order.
    pub(crate) async fn take_telemetry(
        &self,
        telemetry: Telemetry,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<>, StoreError> {
        let Telemetry { hub, device_id, messages } = telemetry;
        let hub = self.hub_named(&hub).ok_or(StoreError::NoSuchDevice)?.to_owned();
        let stamp = clock::stamp(self.now());
        let retention = self.0.retention;
        let stored = self.0.store.hand_in(move |db| {
            telemetry::append(db, &hub, &device_id, &messages, &stamp, retention)
        });
        stored.await
    }
}

fn authenticate(
    device: &Device,
    leaf: Option<&Certificate>,
    sas: Option<&SasToken>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, HubRefusal> {
    if device.document.status == DeviceStatus::Disabled {
        return Err(HubRefusal::Disabled);
    }
    match &device.document.authentication {
        // Either digest, in either place (Microsoft, iot-mqtt-connect-to-iot-hub).
        Authentication::SelfSigned { primary, secondary } => {
            let leaf = leaf.ok_or(HubRefusal::NoCertificate)?;
            let is = |stored: &String| {
                [leaf.sha256(), leaf.sha1()].iter().any(|own| stored.eq_ignore_ascii_case(own))
            };
            if is(primary) || is(secondary) { Ok(None) } else { Err(HubRefusal::Thumbprint) }
        }
        Authentication::Sas { primary, secondary } => {
            let token = sas.ok_or(HubRefusal::BadSas)?;
            let resource = format!("{}/devices/{}", device.hub, device.id);
            let signed = token.holds_base64(primary, now) || token.holds_base64(secondary, now);
            if token.is_for(&resource) && signed {
                Ok(Some(token.expiry()))
            } else {
                Err(HubRefusal::BadSas)
            }
        }
    }
}
