//! `dps_hub`: telemetry to the assigned hub, blocking and polled.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{c_char, c_void},
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use dps_core::{
    ConnectionString, Error, ErrorKind, HubClient, Identity, Message, Result, hub::ConnectionState,
    transport::Network,
};
use tokio::sync::mpsc;

use crate::{
    credential::dps_identity,
    error::{DPS_OK, Failure, KnownError, dps_error, dps_status},
    ffi::{self, Handle, Out, UserData},
    mailbox::Refused,
    message::{self, dps_message},
    options::{Settings, dps_options},
    panic::{call, guard},
    pump::{Addressee, Letter, Mailbox, Order, Receipt, State, pump},
    registration::{ATTENTIVE_MS, DPS_NEVER},
    runtime::{self, Birthplace, OwnRuntime, Shift},
};

/// As a deadline in milliseconds: no deadline at all.
pub const DPS_NO_DEADLINE: u32 = u32::MAX;

/// Whether a hub is connected: one of DPS_HUB_...
pub type dps_hub_state = u32;
/// The first connection is being made.
pub const DPS_HUB_CONNECTING: dps_hub_state = 1;
/// The hub has accepted the connection.
pub const DPS_HUB_CONNECTED: dps_hub_state = 2;
/// The connection was lost and comes back by itself.
pub const DPS_HUB_RECONNECTING: dps_hub_state = 3;
/// The hub was closed, or it has refused the device for good.
pub const DPS_HUB_CLOSED: dps_hub_state = 4;

/// Called once for each message of dps_hub_submit, in their order, in dps_hub_do_work, dps_hub_send,
/// dps_hub_flush or dps_hub_close, on their thread. error is NULL for DPS_OK, and lives for the call
/// only. It may call anything of this library.
pub type dps_hub_callback =
    Option<extern "C" fn(userdata: *mut c_void, status: dps_status, error: *const dps_error)>;

/// A device's connection to its hub; comes back by itself when it is lost.
///
/// A message is kept until the hub has acknowledged it. After a lost connection what was not
/// acknowledged is sent again, in order: a message may arrive twice, but first deliveries are in
/// the order of sending.
pub struct dps_hub {
    _private: [u8; 0],
}

impl Handle for dps_hub {
    type Target = Hub;
}

pub(crate) struct Hub {
    birthplace: Birthplace,
    orders: mpsc::UnboundedSender<Order>,
    mailbox: Arc<Mailbox>,
    /// `None`: the shared runtime works while the caller waits.
    runtime: Option<OwnRuntime>,
}

/// The most that may wait for its acknowledgement, in KiB: the room of the core, so that a message
/// that is let in here never waits there.
const ROOM: usize = 8 * 1024;

/// How long a program may do other things while only the connection is to be kept.
const IDLE_MS: u32 = 100;

/// Connects and waits for it, until the deadline of the options, which may be NULL. hub_host and
/// device_id are those of the assignment. Blocks the calling thread.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_connect(
    hub_host: *const c_char,
    device_id: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
) -> dps_status {
    connect(hub, error, || Target::read(hub_host, device_id, identity), options)
}

/// As dps_hub_connect, to what a device's connection string names:
/// HostName=...;DeviceId=...;SharedAccessKey=..., where identity must be NULL, or
/// HostName=...;DeviceId=...;x509=true, where identity is the device's.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_connect_by_connection_string(
    connection_string: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
) -> dps_status {
    connect(hub, error, || Target::parse(connection_string, identity), options)
}

/// Prepares a connection that is made and kept only inside the calls on the hub: no thread of this
/// library's own. Does not block. Messages may be submitted at once.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_start(
    hub_host: *const c_char,
    device_id: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
) -> dps_status {
    start(hub, error, || Target::read(hub_host, device_id, identity), options)
}

/// As dps_hub_start, to what a device's connection string names; identity as in
/// dps_hub_connect_by_connection_string.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_start_by_connection_string(
    connection_string: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
) -> dps_status {
    start(hub, error, || Target::parse(connection_string, identity), options)
}

/// Sends a message and waits until the hub has acknowledged it. When the deadline passes, the
/// message is still the hub's: it may be delivered later. Where dps_hub_submit would find no room,
/// it fails as that does, at once.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_send(
    hub: *mut dps_hub,
    message: *const dps_message,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let hub = held(hub)?;
        let work = hub.begin()?;
        let slot = Arc::new(OnceLock::new());
        hub.admit(message::copy(message)?, Addressee::Call(Arc::clone(&slot)))?;
        let done = |mailbox: &Mailbox| slot.get().is_some() || mailbox.state().closed.is_some();
        let in_time = work.until(deadline(deadline_ms), done);
        match slot.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(known)) => Err(Failure::Known(Arc::clone(known))),
            None if in_time => Err(is_closed().into()),
            None => Err(too_late("the message was not acknowledged", deadline_ms).into()),
        }
    })
}

/// Hands a message over without waiting; callback, which may be NULL, learns what became of it.
///
/// At most 8 MiB wait for their acknowledgement, those included whose callback has not run. When
/// they are used up, the call fails with DPS_DEADLINE_EXCEEDED and takes nothing: let
/// dps_hub_do_work or dps_hub_flush make room.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_submit(
    hub: *mut dps_hub,
    message: *const dps_message,
    callback: dps_hub_callback,
    userdata: *mut c_void,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let addressee = match callback {
            Some(callback) => Addressee::Callback((callback, UserData(userdata))),
            None => Addressee::Nobody,
        };
        held(hub)?.admit(message::copy(message)?, addressee)?;
        Ok(())
    })
}

/// Runs the callbacks that are due, and, on a hub of dps_hub_start, does what can be done now.
/// *wait_ms is within how many milliseconds to call again, DPS_NEVER once the hub is closed;
/// wait_ms may be NULL. Returns why, on every call, if the hub could not be connected to, or has
/// refused the device since, once the callbacks of what was submitted until then have run: such a
/// hub does not come back.
///
/// On a hub of dps_hub_start it blocks as dps_registration_do_work does: for a name lookup and for
/// a signature, each time a connection is made.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_do_work(
    hub: *mut dps_hub,
    wait_ms: *mut u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let hub = held(hub)?;
        let work = hub.begin()?;
        if let Some(shift) = &work.shift {
            shift.turn();
        }
        let delivered = hub.mailbox.deliver_or_refuse(run_callback)?;
        let state = hub.mailbox.state();
        let wait = match () {
            () if delivered > 0 => 0,
            () if state.closed.is_some() => DPS_NEVER,
            () if state.pending > 0 || state.client.is_none() || state.closing => ATTENTIVE_MS,
            () => IDLE_MS,
        };
        ffi::set_optional(wait_ms, wait);
        Ok(())
    })
}

/// Waits until every message that was submitted has met its fate and its callback has run, or runs:
/// in a call of another thread, or around this call.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_flush(
    hub: *mut dps_hub,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let hub = held(hub)?;
        let in_time = hub.begin()?.until(deadline(deadline_ms), |mailbox| {
            let state = mailbox.state();
            state.pending == 0 || state.closed.is_some() && state.letters.is_empty()
        });
        match hub.mailbox.state().pending {
            0 => Ok(()),
            _ if in_time => Err(is_closed().into()),
            left => {
                let message = format!("{left} messages were not acknowledged");
                Err(too_late(&message, deadline_ms).into())
            }
        }
    })
}

/// Whether the hub is connected. DPS_HUB_CLOSED for NULL, and in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_get_state(hub: *const dps_hub) -> dps_hub_state {
    guard(DPS_HUB_CLOSED, || {
        ffi::peek(hub, |hub| {
            // A thread that the child does not have may hold the lock for ever.
            if hub.birthplace.is_elsewhere() {
                return DPS_HUB_CLOSED;
            }
            let state = hub.mailbox.state();
            match &state.client {
                _ if state.closed.is_some() || state.refused.is_some() => DPS_HUB_CLOSED,
                None => DPS_HUB_CONNECTING,
                Some(client) => match client.state() {
                    ConnectionState::Connected => DPS_HUB_CONNECTED,
                    ConnectionState::Reconnecting { .. } => DPS_HUB_RECONNECTING,
                    _ => DPS_HUB_CLOSED,
                },
            }
        })
        .unwrap_or(DPS_HUB_CLOSED)
    })
}

/// Takes no more messages, waits until the hub has acknowledged all that it took, runs their
/// callbacks, and disconnects. After the deadline it disconnects all the same and returns
/// DPS_NOT_DELIVERED with how many were not acknowledged; at once, where the hub is being closed
/// and then cannot be connected to or refuses the device. A hub that is not connected yet goes on
/// connecting while a message waits for it.
///
/// Returns why a message without a callback was lost before, if one was. Apart from that a hub that
/// has ended, for a reason that dps_hub_do_work tells, closes with DPS_OK. Of several calls the
/// shortest deadline holds for all. The hub still has to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_close(
    hub: *mut dps_hub,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let hub = held(hub)?;
        let work = hub.begin()?;
        hub.start_close(deadline_ms);
        work.until(None, |mailbox| {
            let state = mailbox.state();
            state.closed.is_some() && state.letters.is_empty()
        });
        match ended(&hub.mailbox.state()) {
            Some(why) => Err(Failure::Known(Arc::clone(why))),
            None => Ok(()),
        }
    })
}

/// Begins what dps_hub_close does, and does not wait for it: dps_hub_do_work goes on with it and runs
/// the callbacks. Once dps_hub_get_state says DPS_HUB_CLOSED, dps_hub_close returns at once, with
/// what became of it; dps_hub_free before that gives it up.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_start_close(
    hub: *mut dps_hub,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        held(hub)?.start_close(deadline_ms);
        Ok(())
    })
}

/// Frees a hub. Without dps_hub_close before, what was not acknowledged may be lost, and callbacks
/// that have not run never do. In a callback it is freed when the call that runs the callback
/// returns.
#[unsafe(no_mangle)]
pub extern "C" fn dps_hub_free(hub: *mut dps_hub) {
    guard((), || {
        // What a forked child inherited is leaked.
        if ffi::peek(hub, |hub| hub.birthplace.is_elsewhere()) != Some(true) {
            ffi::release(hub);
        }
    });
}

impl Hub {
    fn start(
        connect: impl Future<Output = Result<HubClient>> + Send + 'static,
        runtime: Option<OwnRuntime>,
    ) -> Result<Self> {
        let (orders, taken) = mpsc::unbounded_channel();
        let mailbox = Arc::new(Mailbox::default());
        let work = pump(Box::pin(connect), taken, Arc::clone(&mailbox));
        match &runtime {
            Some(runtime) => runtime.spawn(work),
            None => drop(runtime::shared()?.spawn(work)),
        }
        Ok(Self { birthplace: Birthplace::here(), orders, mailbox, runtime })
    }

    fn start_close(&self, deadline_ms: u32) {
        // The pump is gone only after it has said so.
        self.mailbox.close(|| _ = self.orders.send(Order::Close(deadline(deadline_ms))));
    }

    fn admit(&self, message: Message, addressee: Addressee) -> Result<()> {
        let room = 1 + message.queued_size() / 1024;
        let order = Order::Send(Box::new(message), Receipt { addressee, room });
        self.mailbox.admit(room, ROOM, || self.orders.send(order).is_ok()).map_err(|refused| {
            match refused {
                Refused::Closed => is_closed(),
                Refused::Full(waiting) => Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("{waiting} messages wait for the hub, which is all there is room for"),
                )
                .with_hint("Call dps_hub_do_work or dps_hub_flush, then try again.")
                .during("send"),
            }
        })
    }

    /// Comes before whatever a call that works for the hub changes.
    fn begin(&self) -> Result<Work<'_>> {
        let shift = self.runtime.as_ref().map(OwnRuntime::begin).transpose()?;
        Ok(Work { hub: self, shift })
    }
}

/// A call that works for a hub; of a polled one only one thread's does.
struct Work<'a> {
    hub: &'a Hub,
    /// `None`: the shared runtime works.
    shift: Option<Shift<'a>>,
}

impl Work<'_> {
    /// Works and delivers until it is `done`; `false` if the time came first.
    fn until(&self, until: Option<Instant>, done: impl Fn(&Mailbox) -> bool) -> bool {
        // An hour is as good as for ever: the loop looks again.
        const LONG: Duration = Duration::from_secs(3600);

        let mailbox = &self.hub.mailbox;
        mailbox.deliver_until(until, done, run_callback, |seen| match &self.shift {
            Some(shift) => {
                shift.run_until(until.unwrap_or_else(|| Instant::now() + LONG), mailbox.rung());
            }
            None => mailbox.wait(seen, until),
        })
    }
}

fn run_callback(letter: Letter) {
    let (callback, userdata) = letter.callback;
    match &letter.outcome {
        Ok(()) => callback(userdata.0, DPS_OK, std::ptr::null()),
        Err(known) => tell_failure(callback, userdata, known),
    }
}

fn tell_failure(
    callback: extern "C" fn(*mut c_void, dps_status, *const dps_error),
    userdata: UserData,
    known: &Arc<KnownError>,
) {
    let error: *mut dps_error = ffi::share(Arc::clone(known));
    callback(userdata.0, known.status(), error);
    ffi::release(error);
}

/// Why the hub has ended, if it did not end well.
fn ended(state: &State) -> Option<&Arc<KnownError>> {
    state.closed.as_ref().and_then(|closed| closed.as_ref().err())
}

fn held(hub: *const dps_hub) -> Result<Arc<Hub>> {
    let hub = ffi::hold(hub, "hub")?;
    hub.birthplace.check()?;
    Ok(hub)
}

fn connect(
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
    target: impl FnOnce() -> Result<Target>,
    options: *const dps_options,
) -> dps_status {
    call(error, || {
        let place = Out::new(hub, "hub")?;
        let settings = Settings::of(options);
        let network = settings.network();
        let hub = Hub::start(target()?.connection(settings, network), None)?;
        hub.begin()?.until(None, |mailbox| {
            let state = mailbox.state();
            state.client.is_some() || state.refused.is_some() || state.closed.is_some()
        });
        let state = hub.mailbox.state();
        if let Some(why) = state.refused.as_ref().or(ended(&state)) {
            return Err(Arc::clone(why).into());
        }
        drop(state);
        place.set(ffi::give(hub));
        Ok(())
    })
}

fn start(
    hub: *mut *mut dps_hub,
    error: *mut *mut dps_error,
    target: impl FnOnce() -> Result<Target>,
    options: *const dps_options,
) -> dps_status {
    call(error, || {
        let place = Out::new(hub, "hub")?;
        let settings = Settings::of(options);
        let network = settings.polled_network();
        let connection = target()?.connection(settings, network);
        place.set(ffi::give(Hub::start(connection, Some(OwnRuntime::new()?))?));
        Ok(())
    })
}

/// Which hub, as which device.
struct Target {
    host: String,
    device_id: String,
    /// The core's own part of the handle: an HSM's session ends with the handle.
    identity: Identity,
}

impl Target {
    fn read(
        hub_host: *const c_char,
        device_id: *const c_char,
        identity: *const dps_identity,
    ) -> Result<Self> {
        Ok(Self {
            host: ffi::text(hub_host, "hub_host")?.to_owned(),
            device_id: ffi::text(device_id, "device_id")?.to_owned(),
            identity: ffi::hold(identity, "identity")?.identity.clone(),
        })
    }

    fn parse(connection_string: *const c_char, identity: *const dps_identity) -> Result<Self> {
        let parsed = ConnectionString::parse(ffi::text(connection_string, "connection_string")?)?;
        let identity = match parsed.identity()? {
            None => ffi::hold(identity, "identity")?.identity.clone(),
            Some(keyed) if identity.is_null() => keyed,
            Some(_) => {
                let message = "identity is not NULL, but the connection string holds a key";
                return Err(ffi::invalid(message));
            }
        };
        let (host, device_id) = (parsed.host().to_owned(), parsed.device_id().to_owned());
        Ok(Self { host, device_id, identity })
    }

    async fn connection(self, settings: Settings, network: Network) -> Result<HubClient> {
        let Self { host, device_id, identity } = self;
        let mut builder = HubClient::builder(&host, &device_id, &identity).network(network);
        if let Some(port) = settings.port {
            builder = builder.port(port);
        }
        if let Some(deadline) = settings.deadline {
            builder = builder.deadline(deadline);
        }
        if let Some(keep_alive) = settings.keep_alive {
            builder = builder.keep_alive(keep_alive);
        }
        if let Some(token_lifetime) = settings.token_lifetime {
            builder = builder.token_lifetime(token_lifetime);
        }
        builder.connect().await
    }
}

fn deadline(deadline_ms: u32) -> Option<Instant> {
    (deadline_ms != DPS_NO_DEADLINE)
        .then(|| Instant::now() + Duration::from_millis(deadline_ms.into()))
}

fn is_closed() -> Error {
    Error::new(ErrorKind::Closed, "the hub is closed").during("send")
}

fn too_late(what: &str, deadline_ms: u32) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("{what} within {deadline_ms} ms"))
}
