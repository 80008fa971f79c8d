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
    tls::Roots,
    transport::{Host, Network, Resolver},
};
use serde_json::Value;

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle},
    panic::{call, guard},
};

/// Settings that differ from the defaults. One set may serve several calls; changing it later
/// changes nothing that was made with it before.
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
    pub(crate) deadline: Option<Duration>,
    pub(crate) payload: Option<Value>,
    connect_to: Option<String>,
    roots: Roots,
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

    /// The network of a polled handle, which has no thread to leave a name lookup to.
    pub(crate) fn polled_network(&self) -> Network {
        self.network().resolver(Arc::new(InlineResolver))
    }
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
        let host = ffi::text(host, "host")?;
        settings.host = Some(Host::parse(host)?.to_string());
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
    set(options, error, |settings| match port {
        0 => Err(ffi::invalid("port 0 cannot be connected to")),
        _ => {
            settings.port = Some(port);
            Ok(())
        }
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
        settings.roots = Roots::pem_file(ffi::text(path, "path")?);
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
        settings.roots = Roots::pem(ffi::bytes(pem, pem_len, "pem")?);
        Ok(())
    })
}

/// The longest that a registration, or connecting to a hub, may take, waits and retries included;
/// 120 and 60 seconds unless set.
#[unsafe(no_mangle)]
pub extern "C" fn dps_options_set_deadline_ms(
    options: *mut dps_options,
    deadline_ms: u32,
    error: *mut *mut dps_error,
) -> dps_status {
    set(options, error, |settings| {
        settings.deadline = Some(Duration::from_millis(deadline_ms.into()));
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
            Some(text) => Some(
                serde_json::from_str(text)
                    .map_err(|error| ffi::invalid(format!("the payload is not JSON: {error}")))?,
            ),
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
