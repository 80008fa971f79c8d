//! `dps_options`: how connections are made, for registrations and hubs alike.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::c_char,
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    pin::Pin,
    ptr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dps_core::{
    Result,
    doctor::Doctor,
    provisioning::payload_from_json,
    tls::Roots,
    transport::{Network, Resolver},
};
use serde_json::Value;

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle},
    hub::DPS_NO_DEADLINE,
    panic::{call, guard},
};

/// Settings that differ from the defaults. One set may serve several calls; changing it later
/// changes nothing that was made with it before. A host, port or time that cannot be is refused by
/// the call that uses it.
pub struct dps_options {
    _private: [u8; 0],
}

impl Handle for dps_options {
    type Target = Mutex<Settings>;
}

/// What was set. A `None` is the core's default.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) registration_id: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) token_lifetime: Option<Duration>,
    pub(crate) payload: Option<Value>,
    connect_to: Option<String>,
    roots: Roots,
    roots_source: Option<RootsSource>,
}

impl Settings {
    /// The settings behind a pointer that may be NULL.
    pub(crate) fn of(options: *const dps_options) -> Self {
        let options = ffi::hold_optional(options);
        options.map_or_else(Self::default, |options| {
            options.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    pub(crate) fn network(&self) -> Network {
        let network = Network::default().roots(self.roots.clone());
        match &self.connect_to {
            Some(connect_to) => network.connect_to(connect_to),
            None => network,
        }
    }

    /// A doctor who is told what of these settings he asks after.
    pub(crate) fn examined_by(&self, mut doctor: Doctor) -> Doctor {
        if let Some(host) = &self.host {
            doctor = doctor.host(host);
        }
        if let Some(registration_id) = &self.registration_id {
            doctor = doctor.registration_id(registration_id);
        }
        if let Some(connect_to) = &self.connect_to {
            doctor = doctor.connect_to(connect_to);
        }
        if let Some(deadline) = self.deadline {
            doctor = doctor.deadline(deadline);
        }
        match &self.roots_source {
            None => doctor,
            Some(RootsSource::File(path)) => doctor.roots_file(path),
            Some(RootsSource::Pem(pem)) => doctor.roots(pem.clone()),
        }
    }

    /// The network of a polled handle, which has no thread to leave a name lookup to.
    pub(crate) fn polled_network(&self) -> Network {
        self.network().resolver(Arc::new(InlineResolver))
    }
}

/// Where the roots come from; a doctor examines them too.
#[derive(Clone)]
enum RootsSource {
    File(String),
    Pem(Vec<u8>),
}

/// Looks names up on the calling thread.
struct InlineResolver;

impl Resolver for InlineResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { (host, port).to_socket_addrs().map(Iterator::collect) })
    }
}

/// New options, all at their defaults.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_new() -> *mut dps_options {
    guard(ptr::null_mut(), || ffi::give(Mutex::default()))
}

/// Frees options.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_free(options: *mut dps_options) {
    guard((), || ffi::release(options));
}

/// The DPS endpoint; global.azure-devices-provisioning.net unless set. A host name, no URL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_host(
    options: *mut dps_options,
    host: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.host = Some(ffi::text(host, "host")?.to_owned());
        Ok(())
    })
}

/// The port of DPS and of the hub; 8883 unless set.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_port(
    options: *mut dps_options,
    port: u16,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.port = Some(port);
        Ok(())
    })
}

/// Sends every connection to HOST:PORT, while SNI, the check of the server's name and the user
/// names keep the real host: for private endpoints, tests and the emulator. An IP address needs no
/// name lookup. Unless set, the environment variable DPS_CONNECT_TO decides.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_connect_to(
    options: *mut dps_options,
    host_and_port: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.connect_to = Some(ffi::text(host_and_port, "host_and_port")?.to_owned());
        Ok(())
    })
}

/// The roots that a server's certificate must lead to, as a PEM file. Unless set, the file in the
/// environment variable SSL_CERT_FILE, else the system's store.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_roots_file(
    options: *mut dps_options,
    path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        let path = ffi::text(path, "path")?;
        settings.roots = Roots::pem_file(path);
        settings.roots_source = Some(RootsSource::File(path.to_owned()));
        Ok(())
    })
}

/// As dps_options_set_roots_file, from PEM text.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_roots_pem(
    options: *mut dps_options,
    pem: *const u8,
    pem_len: usize,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        let pem = ffi::bytes(pem, pem_len, "pem")?;
        settings.roots = Roots::pem(pem);
        settings.roots_source = Some(RootsSource::Pem(pem.to_vec()));
        Ok(())
    })
}

/// The longest that a registration, or connecting to a hub, may take, waits and retries included;
/// 120 and 60 seconds unless set. DPS_NO_DEADLINE for as long as it takes.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_deadline_ms(
    options: *mut dps_options,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.deadline = Some(match deadline_ms {
            DPS_NO_DEADLINE => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds.into()),
        });
        Ok(())
    })
}

/// How long a connection to a hub may be idle before the hub is asked for a sign of life; a minute
/// unless set.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_keep_alive_ms(
    options: *mut dps_options,
    keep_alive_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.keep_alive = Some(Duration::from_millis(keep_alive_ms.into()));
        Ok(())
    })
}

/// How long the hub accepts a token of a device with a symmetric key; an hour unless set. At four
/// fifths of it the hub is connected to anew, and nothing is lost.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_token_lifetime_ms(
    options: *mut dps_options,
    token_lifetime_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.token_lifetime = Some(Duration::from_millis(token_lifetime_ms.into()));
        Ok(())
    })
}

/// The version of the DPS device API, where it is not 2021-06-01.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_api_version(
    options: *mut dps_options,
    api_version: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.api_version = Some(ffi::text(api_version, "api_version")?.to_owned());
        Ok(())
    })
}

/// The registration ID, where it is not to be taken from the credential, which it must fit all the
/// same.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_registration_id(
    options: *mut dps_options,
    registration_id: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.registration_id = Some(ffi::text(registration_id, "registration_id")?.to_owned());
        Ok(())
    })
}

/// What a custom allocation policy is to know about the device, as JSON text. NULL takes it back.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_payload(
    options: *mut dps_options,
    json: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.payload = match ffi::optional_text(json, "json")? {
            None => None,
            Some(text) => Some(payload_from_json(text)?),
        };
        Ok(())
    })
}

fn set(
    options: *mut dps_options,
    error: *mut *mut dps_error,
    change: impl FnOnce(&mut Settings) -> Result<()>,
) -> dps_status {
    call(error, || {
        let options = ffi::hold(options, "options")?;
        let mut settings = options.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut settings)?;
        Ok(())
    })
}
