//! The mirrored custom-HSM interface: Microsoft's tables of functions, as the core's traits.
//!
//! The tables have no version, so their members and their order are fixed for ever
//! (`hsm_client_data.h` in azure-iot-sdk-c). What they return was allocated by the HSM and is
//! wiped before it is given back to the source's `free`.
#![expect(unsafe_code, reason = "reads tables and strings of C, and calls functions of C")]

use std::{
    ffi::{CStr, c_char, c_int, c_uchar, c_void},
    mem,
    ptr::NonNull,
    slice,
    sync::{Mutex, PoisonError},
};

use dps_core::{
    Error, ErrorKind, Identity, Result,
    hsm::{self, SymmetricKeyHsm, X509Hsm},
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::ffi;

/// Microsoft's table for X.509; hsm_client_data.h defines it.
pub struct HSM_CLIENT_X509_INTERFACE_TAG {
    _private: [u8; 0],
}

/// Microsoft's table for TPMs; hsm_client_data.h defines it.
pub struct HSM_CLIENT_TPM_INTERFACE_TAG {
    _private: [u8; 0],
}

/// Microsoft's table for symmetric keys; hsm_client_data.h defines it.
pub struct HSM_CLIENT_KEY_INTERFACE_TAG {
    _private: [u8; 0],
}

/// The functions that a custom HSM exports, wherever they come from: two HSMs in one process are
/// two sources. dps_hsm_link.h makes one of the functions that the program is linked with.
///
/// A member that the HSM does not have may be NULL, except the table of the kind that is used, and
/// free. The init functions are called when an identity is opened, whichever kind is used, as
/// Microsoft's client does, and their deinit when the last identity of theirs is freed. One init
/// function is never called again before its deinit. The init and deinit functions run under a lock
/// and must not call this library.
#[repr(C)]
pub struct dps_hsm_source {
    /// sizeof(dps_hsm_source).
    pub size: usize,
    /// hsm_client_x509_interface.
    pub x509_interface: Option<extern "C" fn() -> *const HSM_CLIENT_X509_INTERFACE_TAG>,
    /// hsm_client_tpm_interface.
    pub tpm_interface: Option<extern "C" fn() -> *const HSM_CLIENT_TPM_INTERFACE_TAG>,
    /// hsm_client_key_interface.
    pub key_interface: Option<extern "C" fn() -> *const HSM_CLIENT_KEY_INTERFACE_TAG>,
    /// hsm_client_x509_init.
    pub x509_init: Option<extern "C" fn() -> c_int>,
    /// hsm_client_x509_deinit.
    pub x509_deinit: Option<extern "C" fn()>,
    /// hsm_client_tpm_init.
    pub tpm_init: Option<extern "C" fn() -> c_int>,
    /// hsm_client_tpm_deinit.
    pub tpm_deinit: Option<extern "C" fn()>,
    /// The free of the C runtime whose malloc the HSM uses.
    pub free: Option<extern "C" fn(memory: *mut c_void)>,
}

type Create = extern "C" fn() -> *mut c_void;
type Destroy = extern "C" fn(*mut c_void);
type GetText = extern "C" fn(*mut c_void) -> *mut c_char;
type SetKeyInfo = extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int;
type Free = extern "C" fn(*mut c_void);
type Init = extern "C" fn() -> c_int;
type Deinit = extern "C" fn();

/// `HSM_CLIENT_X509_INTERFACE`, member by member.
#[repr(C)]
#[derive(Clone, Copy)]
struct X509Table {
    create: Option<Create>,
    destroy: Option<Destroy>,
    get_certificate: Option<GetText>,
    get_key: Option<GetText>,
    get_common_name: Option<GetText>,
}

/// `HSM_CLIENT_KEY_INTERFACE`, member by member.
#[repr(C)]
#[derive(Clone, Copy)]
struct KeyTable {
    create: Option<Create>,
    destroy: Option<Destroy>,
    get_key: Option<GetText>,
    get_registration_name: Option<GetText>,
    set_key_info: Option<SetKeyInfo>,
}

/// Opens the X.509 HSM of a source.
pub(crate) fn open_x509(source: *const dps_hsm_source) -> Result<(Identity, Session)> {
    let source = Source::read(source)?;
    let Some(interface) = source.x509_interface else {
        return Err(ffi::invalid("dps_hsm_source.x509_interface is NULL"));
    };
    let mut session = Session::begin(&source, Some(Kind::X509))?;
    let table = NonNull::new(interface().cast_mut().cast::<X509Table>())
        .ok_or_else(|| failed("hsm_client_x509_interface returned NULL: it has no X.509"))?;
    // SAFETY: by Microsoft's contract the table is static and has these five members.
    let table = unsafe { table.read() };
    let member = |name: &str| failed(format!("hsm_client_{name} in the X.509 table is NULL"));
    let create = table.create.ok_or_else(|| member("x509_create"))?;
    let destroy = table.destroy.ok_or_else(|| member("x509_destroy"))?;
    let hsm = X509 {
        get_certificate: table.get_certificate.ok_or_else(|| member("get_cert"))?,
        get_key: table.get_key.ok_or_else(|| member("get_key"))?,
        get_common_name: table.get_common_name.ok_or_else(|| member("get_common_name"))?,
        handle: session.create(create, destroy, "hsm_client_x509_create")?,
        free: source.free,
    };
    Ok((hsm::open_x509(&hsm)?, session))
}

/// Opens the symmetric-key HSM of a source.
pub(crate) fn open_symmetric_key(
    source: *const dps_hsm_source,
    registration_id: *const c_char,
    key: *const c_char,
) -> Result<(Identity, Session)> {
    if registration_id.is_null() != key.is_null() {
        return Err(ffi::invalid("registration_id and key are NULL together or not at all"));
    }
    // Checked as text, then given to the HSM as they are.
    ffi::optional_text(registration_id, "registration_id")?;
    ffi::optional_text(key, "key")?;
    let source = Source::read(source)?;
    let Some(interface) = source.key_interface else {
        return Err(ffi::invalid("dps_hsm_source.key_interface is NULL"));
    };
    let mut session = Session::begin(&source, None)?;
    let table = NonNull::new(interface().cast_mut().cast::<KeyTable>())
        .ok_or_else(|| failed("hsm_client_key_interface returned NULL: it has no symmetric key"))?;
    // SAFETY: by Microsoft's contract the table is static and has these five members.
    let table = unsafe { table.read() };
    let member = |name: &str| failed(format!("hsm_client_{name} in the key table is NULL"));
    let create = table.create.ok_or_else(|| member("key_create"))?;
    let destroy = table.destroy.ok_or_else(|| member("key_destroy"))?;
    let hsm = SymmetricKey {
        get_key: table.get_key.ok_or_else(|| member("get_symm_key"))?,
        get_registration_name: table
            .get_registration_name
            .ok_or_else(|| member("get_registration_name"))?,
        handle: session.create(create, destroy, "hsm_client_key_create")?,
        free: source.free,
    };
    if !registration_id.is_null() {
        // An HSM that holds a key of its own may leave it out, as Microsoft's example does.
        let set = table.set_key_info.ok_or_else(|| member("set_symm_key_info"))?;
        match set(hsm.handle, registration_id, key) {
            0 => {}
            code => {
                let text = format!("hsm_client_set_symm_key_info returned {code}");
                return Err(failed(text));
            }
        }
    }
    Ok((hsm::open_symmetric_key(&hsm)?, session))
}

/// What there is to say about TPMs.
pub(crate) fn open_tpm(source: *const dps_hsm_source) -> Error {
    match Source::read(source) {
        Err(error) => error,
        Ok(_) => Error::new(
            ErrorKind::Unsupported,
            "attestation by a TPM through the custom-HSM interface is not supported by this version",
        )
        .with_hint("Reach the TPM's key by a dps_signer."),
    }
}

struct X509 {
    handle: *mut c_void,
    get_certificate: GetText,
    get_key: GetText,
    get_common_name: GetText,
    free: Free,
}

struct SymmetricKey {
    handle: *mut c_void,
    get_key: GetText,
    get_registration_name: GetText,
    free: Free,
}

impl X509Hsm for X509 {
    fn common_name(&self) -> Result<String> {
        let name = "hsm_client_get_common_name";
        text(ask(self.handle, self.get_common_name, self.free, name)?, name)
    }

    fn certificate(&self) -> Result<Vec<u8>> {
        let mut pem = ask(self.handle, self.get_certificate, self.free, "hsm_client_get_cert")?;
        Ok(mem::take(&mut *pem))
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>> {
        ask(self.handle, self.get_key, self.free, "hsm_client_get_key")
    }
}

impl SymmetricKeyHsm for SymmetricKey {
    fn registration_id(&self) -> Result<String> {
        let name = "hsm_client_get_registration_name";
        text(ask(self.handle, self.get_registration_name, self.free, name)?, name)
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>> {
        ask(self.handle, self.get_key, self.free, "hsm_client_get_symm_key")
    }
}

/// A checked copy of the caller's structure.
struct Source {
    x509_interface: Option<extern "C" fn() -> *const HSM_CLIENT_X509_INTERFACE_TAG>,
    key_interface: Option<extern "C" fn() -> *const HSM_CLIENT_KEY_INTERFACE_TAG>,
    inits: [(Kind, Option<Init>, Option<Deinit>); 2],
    free: Free,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    X509,
    Tpm,
}

impl Source {
    fn read(source: *const dps_hsm_source) -> Result<Self> {
        if source.is_null() {
            return Err(ffi::invalid("source is NULL"));
        }
        // SAFETY: every version begins with its size, and the pointer is not NULL.
        let size = unsafe { (&raw const (*source).size).read() };
        let known = size_of::<dps_hsm_source>();
        if size != known {
            return Err(ffi::invalid(format!(
                "dps_hsm_source.size is {size}; this library knows {known}"
            )));
        }
        // SAFETY: of this size, so all its members are there.
        let source = unsafe { &*source };
        Ok(Self {
            x509_interface: source.x509_interface,
            key_interface: source.key_interface,
            inits: [
                (Kind::X509, source.x509_init, source.x509_deinit),
                (Kind::Tpm, source.tpm_init, source.tpm_deinit),
            ],
            free: source.free.ok_or_else(|| ffi::invalid("dps_hsm_source.free is NULL"))?,
        })
    }
}

/// An initialised HSM system and a handle made in it; ends both when dropped.
pub(crate) struct Session {
    inits: Vec<Initialised>,
    handle: Option<(*mut c_void, Destroy)>,
}

// SAFETY: the handle is only given back to its destroy; Microsoft's own client passes handles
// between threads the same way.
unsafe impl Send for Session {}
// SAFETY: a shared session gives access to nothing.
unsafe impl Sync for Session {}

impl Session {
    /// Initialises both systems, as Microsoft's client does. Only the failure of `needed` matters:
    /// a library without a TPM may say so in its init.
    fn begin(source: &Source, needed: Option<Kind>) -> Result<Self> {
        let mut inits = Vec::new();
        for (kind, init, deinit) in source.inits {
            let Some(init) = init else { continue };
            match Initialised::new(init, deinit) {
                Ok(initialised) => inits.push(initialised),
                Err(error) if needed == Some(kind) => return Err(error),
                Err(error) => tracing::debug!("an HSM system that is not needed: {error}"),
            }
        }
        Ok(Self { inits, handle: None })
    }

    fn create(&mut self, create: Create, destroy: Destroy, name: &str) -> Result<*mut c_void> {
        let handle = create();
        if handle.is_null() {
            return Err(failed(format!("{name} returned NULL")));
        }
        self.handle = Some((handle, destroy));
        Ok(handle)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((handle, destroy)) = self.handle.take() {
            destroy(handle);
        }
        // In the order of their making.
        self.inits.drain(..).for_each(drop);
    }
}

/// One init function that was called, and is followed by its deinit.
struct Initialised(Init);

/// The init functions that are in force in this process, with their deinits, and for how many.
static IN_FORCE: Mutex<Vec<(Init, Option<Deinit>, usize)>> = Mutex::new(Vec::new());

impl Initialised {
    /// With the lock held, so that nobody uses a system that is being initialised.
    fn new(init: Init, deinit: Option<Deinit>) -> Result<Self> {
        let mut in_force = IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, count)) =
            in_force.iter_mut().find(|(other, ..)| *other as usize == init as usize)
        {
            *count += 1;
            return Ok(Self(init));
        }
        match init() {
            0 => {
                in_force.push((init, deinit, 1));
                Ok(Self(init))
            }
            code => Err(failed(format!("its init function returned {code}"))),
        }
    }
}

impl Drop for Initialised {
    fn drop(&mut self) {
        let mut in_force = IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) =
            in_force.iter().position(|(other, ..)| *other as usize == self.0 as usize)
        else {
            return;
        };
        in_force[place].2 -= 1;
        if in_force[place].2 == 0
            && let (_, Some(deinit), _) = in_force.swap_remove(place)
        {
            deinit();
        }
    }
}

fn ask(handle: *mut c_void, get: GetText, free: Free, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    take_text(get(handle), free).ok_or_else(|| failed(format!("{name} returned NULL")))
}

fn text(bytes: Zeroizing<Vec<u8>>, name: &str) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| failed(format!("{name} returned no UTF-8 text")))
}

/// Copies a string of the HSM, wipes it and gives it back.
fn take_text(text: *mut c_char, free: Free) -> Option<Zeroizing<Vec<u8>>> {
    let text = NonNull::new(text)?;
    // SAFETY: by Microsoft's contract the string is NUL-terminated, made by the HSM's malloc, and
    // from now on ours.
    let length = unsafe { CStr::from_ptr(text.as_ptr()) }.count_bytes();
    // SAFETY: as above; nobody else looks at these bytes.
    let memory = unsafe { slice::from_raw_parts_mut(text.as_ptr().cast::<c_uchar>(), length) };
    let copy = Zeroizing::new(memory.to_vec());
    memory.zeroize();
    free(text.as_ptr().cast());
    Some(copy)
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Signer, format!("the custom HSM failed: {}", message.into()))
}
