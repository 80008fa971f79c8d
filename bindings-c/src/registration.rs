//! Registration with DPS: blocking, and polled.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    collections::VecDeque,
    ffi::{c_char, c_void},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
};

use dps_core::{Assignment, Error, ErrorKind, ProvisioningClient, Result, provisioning::Progress};

use crate::{
    assignment::{AssignmentTexts, dps_assignment},
    credential::dps_identity,
    error::{Failure, KnownError, dps_error, dps_status},
    ffi::{self, Handle, Out, UserData},
    options::{Settings, dps_options},
    panic::{call, guard},
    runtime::{self, Birthplace, OwnRuntime},
};

/// How far a registration has come: one of DPS_REGISTRATION_...
pub type dps_registration_status = u32;
/// The connection to DPS is open.
pub const DPS_REGISTRATION_CONNECTED: dps_registration_status = 1;
/// The device asks to be registered.
pub const DPS_REGISTRATION_REGISTERING: dps_registration_status = 2;
/// The service has accepted the device and looks for a hub.
pub const DPS_REGISTRATION_ASSIGNING: dps_registration_status = 3;
/// The service has assigned a hub.
pub const DPS_REGISTRATION_ASSIGNED: dps_registration_status = 4;

/// Called with each stage that a registration reaches, always inside the call that registers or
/// polls, and on its thread. It may call anything of this library.
pub type dps_registration_callback =
    Option<extern "C" fn(userdata: *mut c_void, status: dps_registration_status)>;

/// What do_work says when there is nothing left to do.
pub const DPS_NEVER: u32 = u32::MAX;

/// How long a program may do other things while an answer may come at any time.
pub(crate) const ATTENTIVE_MS: u32 = 10;

/// A registration that runs inside dps_registration_do_work.
pub struct dps_registration {
    _private: [u8; 0],
}

impl Handle for dps_registration {
    type Target = Registration;
}

pub(crate) struct Registration {
    birthplace: Birthplace,
    runtime: OwnRuntime,
    inbox: Arc<Mutex<VecDeque<Event>>>,
    watcher: Watcher,
    outcome: OnceLock<Result<Arc<AssignmentTexts>, Arc<KnownError>>>,
}

/// What a registration has to tell the thread of the caller.
enum Event {
    Progress(Progress),
    Done(Box<Result<Assignment>>),
}

/// Whom to tell about progress.
#[derive(Clone, Copy)]
struct Watcher {
    callback: dps_registration_callback,
    userdata: UserData,
}

impl Watcher {
    fn tell(self, progress: Progress) {
        let status = match progress {
            Progress::Connected => DPS_REGISTRATION_CONNECTED,
            Progress::Registering => DPS_REGISTRATION_REGISTERING,
            Progress::Assigning => DPS_REGISTRATION_ASSIGNING,
            Progress::Assigned => DPS_REGISTRATION_ASSIGNED,
            // A stage of a later core, which this header has no number for.
            _ => return,
        };
        if let Some(callback) = self.callback {
            callback(self.userdata.0, status);
        }
    }
}

/// Registers the device and waits for its assignment, until the deadline of the options. options
/// and callback may be NULL. Blocks the calling thread.
#[unsafe(no_mangle)]
pub extern "C" fn dps_register(
    id_scope: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    callback: dps_registration_callback,
    userdata: *mut c_void,
    assignment: *mut *mut dps_assignment,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(assignment, "assignment")?;
        let settings = Settings::of(options);
        let client = client(id_scope, identity, &settings)?.network(settings.network());
        let watcher = Watcher { callback, userdata: UserData(userdata) };
        // The callback runs here and not on a thread of the runtime, so that it may call back in.
        let (events, inbox) = mpsc::channel();
        let progress = events.clone();
        let client = client.on_progress(move |stage| {
            // The receiver waits for as long as this sender exists.
            let _ = progress.send(Event::Progress(stage));
        });
        runtime::shared()?.spawn(async move {
            let _ = events.send(Event::Done(Box::new(client.register().await)));
        });
        loop {
            match inbox.recv() {
                Ok(Event::Progress(progress)) => watcher.tell(progress),
                Ok(Event::Done(result)) => {
                    let texts = AssignmentTexts::from((*result)?);
                    place.set(ffi::give(texts));
                    return Ok(());
                }
                Err(mpsc::RecvError) => {
                    let message = "the registration ended without a result";
                    return Err(Error::new(ErrorKind::Internal, message).into());
                }
            }
        }
    })
}

/// Prepares a registration that goes on only inside dps_registration_do_work. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn dps_registration_start(
    id_scope: *const c_char,
    identity: *const dps_identity,
    options: *const dps_options,
    callback: dps_registration_callback,
    userdata: *mut c_void,
    registration: *mut *mut dps_registration,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(registration, "registration")?;
        let settings = Settings::of(options);
        let client = client(id_scope, identity, &settings)?.network(settings.polled_network());
        let inbox = Arc::new(Mutex::new(VecDeque::new()));
        let progress = Arc::clone(&inbox);
        let client = client.on_progress(move |stage| push(&progress, Event::Progress(stage)));
        let done = Arc::clone(&inbox);
        let runtime = OwnRuntime::new()?;
        runtime.spawn(async move {
            push(&done, Event::Done(Box::new(client.register().await)));
        });
        place.set(ffi::give(Registration {
            birthplace: Birthplace::here(),
            runtime,
            inbox,
            watcher: Watcher { callback, userdata: UserData(userdata) },
            outcome: OnceLock::new(),
        }));
        Ok(())
    })
}

/// Does what can be done now. DPS_OK while the registration lasts and when it has succeeded;
/// *wait_ms is within how many milliseconds to call again, DPS_NEVER once it is over. Once it has
/// failed, every call returns why. wait_ms may be NULL.
///
/// Blocks for a name lookup, which may take seconds where the DNS server is silent (an IP address
/// in dps_options_set_connect_to needs none), and for a signature when a connection is made: a
/// software RSA-4096 key takes about 3 ms on a PC, a dps_signer as long as it likes. Waits for
/// nothing else.
#[unsafe(no_mangle)]
pub extern "C" fn dps_registration_do_work(
    registration: *mut dps_registration,
    wait_ms: *mut u32,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let registration = ffi::hold(registration, "registration")?;
        registration.birthplace.check()?;
        if registration.outcome.get().is_none() {
            let shift = registration.runtime.begin()?;
            shift.turn();
            registration.take_events();
        }
        match registration.outcome.get() {
            None => ffi::set_optional(wait_ms, ATTENTIVE_MS),
            Some(Ok(_)) => ffi::set_optional(wait_ms, DPS_NEVER),
            Some(Err(known)) => return Err(Failure::Known(Arc::clone(known))),
        }
        Ok(())
    })
}

/// The assignment, once there is one; else NULL. Give it to dps_assignment_free: it outlives the
/// registration.
#[unsafe(no_mangle)]
pub extern "C" fn dps_registration_assignment(
    registration: *const dps_registration,
) -> *mut dps_assignment {
    guard(std::ptr::null_mut(), || {
        ffi::peek(registration, |registration| match registration.outcome.get() {
            Some(Ok(assignment)) => ffi::share(Arc::clone(assignment)),
            _ => std::ptr::null_mut(),
        })
        .unwrap_or(std::ptr::null_mut())
    })
}

/// Ends a registration, in whatever state it is, and frees it. In a callback it is freed when the
/// call that runs the callback returns.
#[unsafe(no_mangle)]
pub extern "C" fn dps_registration_free(registration: *mut dps_registration) {
    guard((), || {
        // What a forked child inherited is leaked.
        let inherited = ffi::peek(registration, |it| it.birthplace.is_elsewhere());
        if inherited != Some(true) {
            ffi::release(registration);
        }
    });
}

impl Registration {
    /// Runs callbacks with no lock held, since they may call back in.
    fn take_events(&self) {
        let next = || self.inbox.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(event) = next() {
            match event {
                Event::Progress(progress) => self.watcher.tell(progress),
                Event::Done(result) => {
                    let outcome = (*result)
                        .map(|assignment| Arc::new(assignment.into()))
                        .map_err(|error| Arc::new(error.into()));
                    // There is one result.
                    let _ = self.outcome.set(outcome);
                }
            }
        }
    }
}

fn client(
    id_scope: *const c_char,
    identity: *const dps_identity,
    settings: &Settings,
) -> Result<ProvisioningClient> {
    let id_scope = ffi::text(id_scope, "id_scope")?;
    let device = ffi::hold(identity, "identity")?;
    let mut client = ProvisioningClient::new(id_scope, &device.identity);
    if let Some(host) = &settings.host {
        client = client.host(host);
    }
    if let Some(port) = settings.port {
        client = client.port(port);
    }
    if let Some(registration_id) = &settings.registration_id {
        client = client.registration_id(registration_id);
    }
    if let Some(api_version) = &settings.api_version {
        client = client.api_version(api_version);
    }
    if let Some(deadline) = settings.deadline {
        client = client.deadline(deadline);
    }
    if let Some(payload) = &settings.payload {
        client = client.payload(payload.clone());
    }
    Ok(client)
}

fn push(inbox: &Mutex<VecDeque<Event>>, event: Event) {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
}
