//! Devices by the thousand, in a folder: `dps chain device --range` and `--from`.
#![expect(unsafe_code, reason = "exported symbols")]

use std::ffi::{c_char, c_void};

use dps_core::{
    Error, ErrorKind, RegistrationId, Result,
    chain::{Authority, Batch, CsvRegistrationIds, Folder, Outcome, RegistrationIdRange, Validity},
    key::KeyType,
};

use crate::{
    chain::{dps_authority, dps_key_type, type_of_key, validity},
    error::{dps_error, dps_status},
    ffi,
    panic::call,
};

/// What became of one device of a batch: one of DPS_BATCH_...
pub type dps_batch_outcome = u32;
/// It was made, or finished.
pub const DPS_BATCH_MADE: dps_batch_outcome = 1;
/// It was there already.
pub const DPS_BATCH_PRESENT: dps_batch_outcome = 2;

/// Told after each device of a batch; done counts this one too. The text lives for the call only.
/// Returns true to go on, false to stop the batch.
pub type dps_batch_callback = Option<
    extern "C" fn(
        userdata: *mut c_void,
        registration_id: *const c_char,
        outcome: dps_batch_outcome,
        done: u64,
        total: u64,
    ) -> bool,
>;

/// Makes a device for each registration ID of a range FIRST..LAST, such as
/// "device-0001..device-1000": its key in FOLDER/private, its certificate and its full chain in
/// FOLDER/certs, under the tutorial's names. The CA certificates above the issuer are looked for in
/// FOLDER/certs, and appended to the full chains. Blocks the calling thread.
///
/// Each file is written whole or not at all. A device that is there already is left as it is, so
/// the same call again picks up where a batch was interrupted; with overwrite everything is made
/// anew. One batch at a time works in a folder.
///
/// callback and userdata may be NULL. Where the callback stops the batch the call gives
/// DPS_CANCELLED; what was made stays.
#[unsafe(no_mangle)]
pub extern "C" fn dps_batch_make_range(
    issuer: *const dps_authority,
    range: *const c_char,
    folder: *const c_char,
    key_type: dps_key_type,
    days: u32,
    overwrite: bool,
    callback: dps_batch_callback,
    userdata: *mut c_void,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let issuer = ffi::hold(issuer, "issuer")?;
        let range = RegistrationIdRange::parse(ffi::text(range, "range")?)?;
        let work = Work::new(&issuer, folder, key_type, days, overwrite)?;
        work.run(range.remaining(), range, callback, userdata)?;
        Ok(())
    })
}

/// As dps_batch_make_range, for each registration ID of a CSV file: the column headed
/// registrationId or deviceId; one column alone needs no header. The whole file is checked before
/// the first device is made.
#[unsafe(no_mangle)]
pub extern "C" fn dps_batch_make_csv(
    issuer: *const dps_authority,
    csv_path: *const c_char,
    folder: *const c_char,
    key_type: dps_key_type,
    days: u32,
    overwrite: bool,
    callback: dps_batch_callback,
    userdata: *mut c_void,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let issuer = ffi::hold(issuer, "issuer")?;
        let path = ffi::text(csv_path, "csv_path")?;
        let work = Work::new(&issuer, folder, key_type, days, overwrite)?;
        let ids = CsvRegistrationIds::file(path)?;
        work.run(ids.remaining(), ids, callback, userdata)?;
        Ok(())
    })
}

/// What the devices of a batch have in common.
struct Work<'a> {
    issuer: &'a Authority,
    folder: Folder,
    key_type: KeyType,
    validity: Validity,
}

impl<'a> Work<'a> {
    fn new(
        issuer: &'a Authority,
        folder: *const c_char,
        key_type: dps_key_type,
        days: u32,
        overwrite: bool,
    ) -> Result<Self> {
        Ok(Self {
            issuer,
            folder: Folder::new(ffi::text(folder, "folder")?).overwrite(overwrite),
            key_type: type_of_key(key_type)?,
            validity: validity(days)?,
        })
    }

    fn run(
        &self,
        total: u64,
        ids: impl Iterator<Item = Result<RegistrationId>>,
        callback: dps_batch_callback,
        userdata: *mut c_void,
    ) -> Result<()> {
        let batch = Batch::new(&self.folder, self.issuer, self.key_type, self.validity)?;
        let mut done = 0;
        for id in ids {
            let id = id?;
            let outcome = match batch.device(&id)? {
                Outcome::Made => DPS_BATCH_MADE,
                Outcome::Present => DPS_BATCH_PRESENT,
            };
            done += 1;
            let id = ffi::c_string(id.as_str());
            let goes_on = callback
                .is_none_or(|callback| callback(userdata, id.as_ptr(), outcome, done, total));
            if !goes_on {
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    format!("the callback stopped the batch after {done} of {total} devices"),
                ));
            }
        }
        Ok(())
    }
}
