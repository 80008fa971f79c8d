//! MQTT 3.1.1 as the provisioning service and the hubs speak it, over any pair of byte streams.
//! The user name of the CONNECT tells which of them is meant.

mod dps;
mod frames;
mod hub;
mod presence;
mod session;
mod twin;
mod user_name;

use std::future::pending;
use std::sync::Arc;

use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use rumqttc::mqttbytes::{Error as CodecError, Protocol};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::faults::{Cut, Firing, Step};
use crate::listener::{Connection, SILENCE, Shared};
use crate::record::{Role, Transport};
use dps::Dps;
use frames::{Frames, Trace};
use hub::Hub;
pub(crate) use presence::Presence;
use session::{End, Session};
use user_name::UserName;

/// Serves one client from its CONNECT to its end.
pub(crate) async fn serve<R, W>(
    reader: R,
    writer: W,
    transport: Transport,
    connection: &Arc<Connection>,
    shared: &Arc<Shared>,
) where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let trace = Trace::new(shared.clone(), connection, transport);
    let mut frames = Frames::new(reader, writer, trace);
    let number = connection.number;
    match converse(&mut frames, connection, shared).await {
        End::Left => tracing::debug!(connection = number, "client left"),
        End::Stopping => frames.close().await,
        End::Over(reason) | End::Refused(reason) | End::Failed(reason) => {
            tracing::warn!(connection = number, reason, "closing the connection");
            frames.close().await;
        }
        End::Cut => tracing::debug!(connection = number, "cut"),
        End::Swallow => tokio::select! {
            () = shared.stop.cancelled() => {}
            () = frames.swallow() => {}
        },
    }
}

async fn converse<R, W>(
    frames: &mut Frames<R, W>,
    connection: &Connection,
    shared: &Arc<Shared>,
) -> End
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let first = tokio::select! {
        () = shared.stop.cancelled() => return End::Stopping,
        first = timeout(SILENCE, frames.next()) => first,
    };
    let connect = match first {
        Ok(Ok(Some(Packet::Connect(connect)))) if connect.protocol == Protocol::V4 => connect,
        // MQTT 3.1.1, 3.1.2.2: an unknown level gets return code 1, then the connection closes.
        Ok(
            Ok(Some(Packet::Connect(_)))
            | Err(frames::Error::Codec(CodecError::InvalidProtocolLevel(_))),
        ) => {
            let reason = "only MQTT 3.1.1 is spoken here".to_owned();
            return refuse(frames, ConnectReturnCode::RefusedProtocolVersion, reason).await;
        }
        Ok(Ok(Some(_))) => return End::Refused("the first packet is no CONNECT".to_owned()),
        Ok(Ok(None)) => return End::Left,
        Ok(Err(error)) => return End::Refused(error.to_string()),
        Err(_) => return End::Refused("no CONNECT in time".to_owned()),
    };
    let login = connect.login.as_ref();
    let user_name = login.and_then(|login| UserName::parse(&login.username));
    match &user_name {
        Some(UserName::Dps { registration_id, .. }) => {
            frames.trace.identify(Role::Dps, registration_id);
        }
        Some(UserName::Hub { device_id, .. }) => frames.trace.identify(Role::Hub, device_id),
        None => {}
    }
    frames.trace.incoming_connect(&connect);
    // With X.509 the password is left out or empty (Microsoft, iot-dps-mqtt-support).
    let sas = login.map(|login| login.password.clone()).filter(|password| !password.is_empty());
    if let Some(reason) = misdirected(user_name.as_ref(), connection, shared) {
        return refuse(frames, ConnectReturnCode::NotAuthorized, reason).await;
    }
    match user_name {
        Some(UserName::Dps { id_scope, registration_id }) => {
            let dps = Dps::new(id_scope, registration_id, sas, connection, shared);
            serve_dps(frames, &connect, dps, shared).await
        }
        Some(UserName::Hub { hub, device_id }) => {
            let hub = Hub::new(hub, device_id, shared);
            serve_hub(frames, &connect, hub, sas, connection, shared).await
        }
        None => {
            let reason = "the user name is neither a registration's nor a hub device's".to_owned();
            refuse(frames, ConnectReturnCode::BadUserNamePassword, reason).await
        }
    }
}

/// Why the host that a client asked for is not that of the service it means: behind Azure's names
/// are different machines, and none of them answers for another.
fn misdirected(
    meant: Option<&UserName>,
    connection: &Connection,
    shared: &Shared,
) -> Option<String> {
    let asked = connection.server_name.as_deref()?;
    let hub = shared.service.hub_named(asked);
    match meant? {
        // What clients with a fixed port register and send through.
        _ if asked.eq_ignore_ascii_case("localhost") => None,
        UserName::Dps { .. } => {
            hub.map(|hub| format!("a registration, sent to the hub {hub} by its SNI"))
        }
        UserName::Hub { hub: own, .. } => match hub {
            Some(other) => (!other.eq_ignore_ascii_case(own))
                .then(|| format!("a device of {own}, sent to the hub {other} by its SNI")),
            None => asked
                .to_ascii_lowercase()
                .ends_with(".azure-devices-provisioning.net")
                .then(|| format!("a device of {own}, sent to the provisioning service by its SNI")),
        },
    }
}

async fn serve_dps<R, W>(
    frames: &mut Frames<R, W>,
    connect: &Connect,
    dps: Dps,
    shared: &Arc<Shared>,
) -> End
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let firing = shared.faults.at(Step::Connect, Some(dps.registration_id()));
    if let Some(end) = strike(frames, &firing, shared).await {
        return end;
    }
    // Registration IDs are case-insensitive (Microsoft, concepts-service).
    if !connect.client_id.eq_ignore_ascii_case(dps.registration_id()) {
        let reason = "the client identifier is not the registration ID".to_owned();
        return refuse(frames, ConnectReturnCode::BadClientId, reason).await;
    }
    // Credentials are judged at the registration, as the real service does
    // (Azure/azure-iot-sdk-c#1900); only one who brings none at all is turned away here.
    if !dps.has_credential() {
        let reason = "neither a client certificate nor a password".to_owned();
        return refuse(frames, ConnectReturnCode::NotAuthorized, reason).await;
    }
    if firing.cut.is_some() {
        return End::Cut;
    }
    tracing::debug!(device = dps.registration_id(), "connected to the provisioning service");
    frames.send(accepted());
    // Its token is judged with each request.
    Session::new(frames, connect.keep_alive, shared).run(dps, pending()).await
}

async fn serve_hub<R, W>(
    frames: &mut Frames<R, W>,
    connect: &Connect,
    hub: Hub,
    sas: Option<String>,
    connection: &Connection,
    shared: &Arc<Shared>,
) -> End
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let firing = shared.faults.at(Step::HubConnect, Some(hub.device_id()));
    if let Some(end) = strike(frames, &firing, shared).await {
        return end;
    }
    if connect.client_id != hub.device_id() {
        let reason = "the client identifier is not the device ID".to_owned();
        return refuse(frames, ConnectReturnCode::BadClientId, reason).await;
    }
    let admitted =
        shared.service.hub_connect(hub.name(), hub.device_id(), &connection.peer, sas.as_deref());
    let expiry = match admitted.await {
        Ok(expiry) => expiry,
        Err(refusal) => {
            return refuse(frames, ConnectReturnCode::NotAuthorized, refusal.to_string()).await;
        }
    };
    // One connection per identity, the newer wins (Microsoft, iot-mqtt-connect-to-iot-hub). Its
    // CONNACK waits until what had arrived from the older one is stored, which keeps them in order;
    // but only for `GRACE`, and for no more than one connection may have under work.
    let seat = shared.presence.take(hub.name(), hub.device_id(), connection.number).await;
    let (name, device_id) = (hub.name().to_owned(), hub.device_id().to_owned());
    let end = if firing.cut.is_some() {
        End::Cut
    } else {
        tracing::debug!(hub = name, device = device_id, "connected to its hub");
        frames.send(accepted());
        let over = over(seat.evicted(), expiry, shared);
        Session::new(frames, connect.keep_alive, shared).run(hub, over).await
    };
    shared.service.hub_disconnected(&name, &device_id).await;
    seat.leave();
    end
}

/// Resolves, with the reason, when a hub ends a connection by itself: a newer one wants its place,
/// or its token expires (Microsoft, iot-mqtt-connect-to-iot-hub).
async fn over(
    evicted: CancellationToken,
    expiry: Option<OffsetDateTime>,
    shared: &Shared,
) -> &'static str {
    let expired = async {
        match expiry {
            Some(expiry) => shared.service.reach(expiry).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = evicted.cancelled() => "a newer connection of this device",
        () = expired => "its shared access signature has expired",
    }
}

/// The faults of a CONNECT that strike before it is handled.
async fn strike<R, W>(frames: &mut Frames<R, W>, firing: &Firing, shared: &Shared) -> Option<End>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    tokio::select! {
        () = shared.stop.cancelled() => return Some(End::Stopping),
        () = firing.begin(&shared.service) => {}
    }
    if firing.cut == Some(Cut::Before) {
        return Some(End::Cut);
    }
    if firing.silent {
        return Some(End::Swallow);
    }
    let code = match firing.refuse? {
        1 => ConnectReturnCode::RefusedProtocolVersion,
        2 => ConnectReturnCode::BadClientId,
        3 => ConnectReturnCode::ServiceUnavailable,
        4 => ConnectReturnCode::BadUserNamePassword,
        _ => ConnectReturnCode::NotAuthorized,
    };
    Some(refuse(frames, code, "a fault the emulator was told to make".to_owned()).await)
}

async fn refuse<R, W>(frames: &mut Frames<R, W>, code: ConnectReturnCode, reason: String) -> End
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    frames.send(Packet::ConnAck(ConnAck::new(code, false)));
    End::Refused(reason)
}

/// No session is kept, and the C# SDK refuses a provisioning service that claims one.
fn accepted() -> Packet {
    Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))
}
