//! Devices by the thousand: each with key, certificate and full chain, made once and whole.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    Authority, Certificate, Folder, Issues, Validity, certificates_from_pem, folder::EXISTS,
};
use crate::{
    error::{Error, ErrorKind, Result},
    key::{KeyType, PrivateKey},
    registration_id::RegistrationId,
};

/// Makes devices in a [`Folder`], and picks up where an interrupted batch ended.
///
/// A device is done when its full chain is there, which is written last. Each file is written
/// whole or not at all, and none that exists is touched (unless the folder is to be overwritten): an
/// interrupted device is finished with the key that it has. Files are left to the system to flush;
/// after a power cut the batch is run again, and what was lost is made again: with a key, all that
/// was issued for it.
pub struct Batch<'a> {
    folder: Folder,
    issuer: &'a Authority,
    chain_above: String,
    key_type: KeyType,
    validity: Validity,
    /// Held for as long as the batch lasts.
    _lock: File,
}

/// What became of one device of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made, or finished.
    Made,
    /// It was there already.
    Present,
}

impl<'a> Batch<'a> {
    /// Begins a batch, or resumes one. Fails while another batch is at work in the folder.
    pub fn new(
        folder: &Folder,
        issuer: &'a Authority,
        key_type: KeyType,
        validity: Validity,
    ) -> Result<Self> {
        let certificates = folder.certificate("x");
        let keys = folder.key("x");
        let folders = [&certificates, &keys].map(|path| path.parent().unwrap_or(Path::new(".")));
        for folder in folders {
            fs::create_dir_all(folder).map_err(|error| not_writable(folder, error))?;
        }
        let lock = lock(&folders[1].join(".dps-batch.lock"))?;
        for folder in folders {
            remove_leftovers(folder)?;
        }
        let mut chain_above = issuer.certificate().to_pem();
        for above in folder.issuers_of(issuer.certificate())? {
            chain_above.push_str(&above.to_pem());
        }
        let folder = folder.clone().in_batch(TEMPORARY);
        Ok(Self { folder, issuer, chain_above, key_type, validity, _lock: lock })
    }

    /// Makes one device, unless it is there.
    pub fn device(&self, id: &RegistrationId) -> Result<Outcome> {
        self.try_device(id).map_err(|error| error.in_context(format_args!("device {id}")))
    }

    fn try_device(&self, id: &RegistrationId) -> Result<Outcome> {
        self.folder.check_device(id)?;
        let key_file = Slot::new(self.folder.key(id.as_str()));
        let certificate_file = Slot::new(self.folder.certificate(id.as_str()));
        let chain_file = Slot::new(self.folder.full_chain(id.as_str()));
        let fresh = self.folder.overwrites();

        if !fresh && key_file.is_empty() {
            // What there is was issued for a key that nobody has any more. The key's file goes
            // last: it is what says so.
            for file in [&certificate_file, &chain_file, &key_file] {
                file.remove()?;
            }
        }
        let key = match key_file.read(fresh)? {
            Some(pem) => Some(
                PrivateKey::from_pem(&pem, None)
                    .map_err(|error| error.in_context(key_file.path.display()))?,
            ),
            None => None,
        };
        let found = match chain_file.read(fresh)? {
            Some(pem) => Some((self.leaf(&chain_file.path, &pem, id)?, true)),
            None => match certificate_file.read(fresh)? {
                Some(pem) => Some((self.leaf(&certificate_file.path, &pem, id)?, false)),
                None => None,
            },
        };
        let certificate = match (key, found) {
            (None, Some(_)) => {
                return Err(exists(&certificate_file.path, "its key is not there"));
            }
            (Some(key), Some((certificate, whole))) => {
                if certificate.public_key_info() != key.public_key_info() {
                    return Err(exists(&certificate_file.path, "it is for another key"));
                }
                if whole && certificate_file.read(fresh)?.is_some() {
                    return Ok(Outcome::Present);
                }
                certificate
            }
            (key, None) => {
                let key = match key {
                    Some(key) => key,
                    None => {
                        let key = PrivateKey::generate(self.key_type)?;
                        self.folder.write_private(&key_file.path, &key.to_pem()?)?;
                        key
                    }
                };
                self.issuer.issue_device(id, key.public_key_info(), self.validity)?
            }
        };
        let leaf = certificate.to_pem();
        if certificate_file.read(fresh)?.is_none() {
            self.folder.write_public(&certificate_file.path, &leaf)?;
        }
        if chain_file.read(fresh)?.is_none() {
            self.folder.write_public(&chain_file.path, &(leaf + &self.chain_above))?;
        }
        Ok(Outcome::Made)
    }

    /// The device's certificate, of which a file that exists must begin.
    fn leaf(&self, path: &Path, pem: &[u8], id: &RegistrationId) -> Result<Certificate> {
        let certificate = certificates_from_pem(pem)
            .map_err(|error| error.in_context(path.display()))?
            .swap_remove(0);
        if certificate.common_name() != Some(id.as_str()) {
            return Err(exists(path, &format!("it is for {}", certificate.subject())));
        }
        if self.issuer.certificate().issues(&certificate) != Issues::Yes {
            return Err(exists(path, "another CA issued it"));
        }
        Ok(certificate)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("folder", &self.folder)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// How the temporary files of a batch begin, of which a killed one leaves some behind.
const TEMPORARY: &str = ".dps-partial-";

/// A file that may be there.
struct Slot {
    path: PathBuf,
}

impl Slot {
    fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What the file holds. An empty file is what a power cut leaves of one that was not flushed:
    /// it is removed, and counts as none.
    fn read(&self, fresh: bool) -> Result<Option<Zeroizing<Vec<u8>>>> {
        if fresh {
            return Ok(None);
        }
        match fs::read(&self.path).map(Zeroizing::new) {
            Ok(bytes) if bytes.is_empty() => {
                self.remove()?;
                Ok(None)
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::on_file(ErrorKind::FileNotReadable, &self.path, error)),
        }
    }

    fn is_empty(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.len() == 0)
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(not_writable(&self.path, error))
            }
            _ => Ok(()),
        }
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(|error| not_writable(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::FileNotWritable,
            format!("{}: another batch is at work in this folder", path.display()),
        )
        .with_path(path)),
        Err(TryLockError::Error(error)) => Err(not_writable(path, error)),
    }
}

/// Removes what a killed batch was writing. No other batch is at work: the lock is held.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| not_writable(folder, error))? {
        let entry = entry.map_err(|error| not_writable(folder, error))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| not_writable(&path, error))?;
        }
    }
    Ok(())
}

fn exists(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::FileNotWritable,
        format!("{}: the file exists already, and {why}", path.display()),
    )
    .with_path(path)
    .with_hint(EXISTS)
}

fn not_writable(path: &Path, error: io::Error) -> Error {
    Error::on_file(ErrorKind::FileNotWritable, path, error)
}
