//! The folder that the tutorial builds: `certs/`, `private/`, `csr/`, under the tutorial's names.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Certificate, Issues, certificates_from_pem, verify::unverifiable};
use crate::{
    error::{Error, ErrorKind, Result},
    pem,
};

/// Where a chain's files are kept, and what they are called.
#[derive(Clone, Debug)]
#[must_use = "nothing is read or written by naming a folder"]
pub struct Folder {
    base: PathBuf,
    overwrite: bool,
    /// How temporary files begin, in a batch that leaves flushing to the system.
    batch: Option<&'static str>,
}

impl Folder {
    /// The stem of the root's files.
    pub const ROOT: &'static str = "azure-iot-test-only.root.ca";
    /// The stem of the intermediate's files.
    pub const INTERMEDIATE: &'static str = "azure-iot-test-only.intermediate";
    /// The stem of the proof-of-possession certificate's files.
    pub const VERIFICATION: &'static str = "verification-code";

    /// A folder whose existing files are never overwritten.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), overwrite: false, batch: None }
    }

    /// Lets new files take the place of existing ones.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    pub(super) fn in_batch(mut self, temporary: &'static str) -> Self {
        self.batch = Some(temporary);
        self
    }

    pub(super) fn overwrites(&self) -> bool {
        self.overwrite
    }

    /// `certs/STEM.cert.pem`.
    pub fn certificate(&self, stem: &str) -> PathBuf {
        self.base.join("certs").join(format!("{}.cert.pem", file_stem(stem)))
    }

    /// `certs/STEM-full-chain.cert.pem`.
    pub fn full_chain(&self, stem: &str) -> PathBuf {
        self.base.join("certs").join(format!("{}{FULL_CHAIN}", file_stem(stem)))
    }

    /// `private/STEM.key.pem`.
    pub fn key(&self, stem: &str) -> PathBuf {
        self.base.join("private").join(format!("{}.key.pem", file_stem(stem)))
    }

    /// `csr/STEM.csr.pem`.
    pub fn request(&self, stem: &str) -> PathBuf {
        self.base.join("csr").join(format!("{}.csr.pem", file_stem(stem)))
    }

    /// The CA certificates of the folder that lead from `certificate` up to its root. Fails where
    /// they do not reach one, and there is a file in which it may be and that cannot be read; and
    /// where a CA of the folder bears the name of a missing one, and its key did not sign.
    pub fn issuers_of(&self, certificate: &Certificate) -> Result<Vec<Certificate>> {
        let reaches_root = |path: &[Certificate]| is_root(path.last().unwrap_or(certificate));
        // Every device's full chain repeats its CAs: those files are read only in need.
        let (authorities, unreadable) = self.authorities(|name| !name.ends_with(FULL_CHAIN))?;
        let path = path_above(certificate, &authorities);
        if reaches_root(&path) {
            return Ok(path);
        }
        let last = path.last().unwrap_or(certificate);
        let is_another = |above: &&Found| {
            above.0.issues(last) == Issues::NameOnly && unverifiable(&above.0, last).is_none()
        };
        if let Some(anew) = authorities.iter().find(is_another) {
            // A device's full chain may still have the CA that did sign, which nobody has any more.
            return Err(made_anew(anew, last, &authorities));
        }
        let (authorities, _) = self.authorities(|_| true)?;
        let path = path_above(certificate, &authorities);
        match unreadable {
            Some(error) if !reaches_root(&path) => Err(error.with_hint(
                "The root of the chain may be in this file: repair it, or move it elsewhere.",
            )),
            _ => Ok(path),
        }
    }

    /// The CA certificates in the files of these names, each once and with its file, and why the
    /// first of the files that cannot be read cannot be.
    fn authorities(&self, read: impl Fn(&str) -> bool) -> Result<(Vec<Found>, Option<Error>)> {
        let folder = self.base.join("certs");
        let unreadable = |error| Error::on_file(ErrorKind::FileNotReadable, &folder, error);
        let (mut authorities, mut failed) = (Vec::<Found>::new(), None);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // What somebody is writing begins with a dot, until it is whole.
            if name.starts_with('.') || !read(&name) {
                continue;
            }
            match certificates_of(&entry.path()) {
                Ok(certificates) => {
                    for certificate in certificates {
                        if certificate.is_ca() && authorities.iter().all(|a| a.0 != certificate) {
                            authorities.push((certificate, entry.path()));
                        }
                    }
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        Ok((authorities, failed))
    }

    /// Fails if one of the files exists and may not be overwritten: asked before the work is done.
    pub fn check_free(&self, paths: &[PathBuf]) -> Result<()> {
        match paths.iter().find(|path| !self.overwrite && path.exists()) {
            None => Ok(()),
            Some(path) => Err(exists(path)),
        }
    }

    /// Writes a certificate or a request, on Unix readable by all.
    pub fn write_public(&self, path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, contents.as_ref(), 0o644)
    }

    /// Writes a key: on Unix readable by its owner alone, elsewhere by whom the folder lets in.
    pub fn write_private(&self, path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, contents.as_ref(), 0o600)
    }

    /// Whole or not at all: a temporary file beside the target, then a rename.
    fn write(&self, path: &Path, contents: &[u8], mode: u32) -> Result<()> {
        let failed = |error| Error::on_file(ErrorKind::FileNotWritable, path, error);
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let mut builder = tempfile::Builder::new();
        if let Some(temporary) = self.batch {
            builder.prefix(temporary);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = mode;
        let mut file = builder.tempfile_in(parent).map_err(failed)?;
        file.write_all(contents).map_err(failed)?;
        if self.batch.is_none() {
            file.as_file().sync_all().map_err(failed)?;
        }
        if self.overwrite {
            file.persist(path).map_err(|error| failed(error.error))?;
        } else {
            file.persist_noclobber(path).map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => exists(path),
                _ => failed(error.error),
            })?;
        }
        Ok(())
    }
}

/// What to do about a file that is there.
pub(super) const EXISTS: &str =
    "Choose another folder, or ask to overwrite what is there (dps: --force).";

/// How the names of full chains end.
pub(super) const FULL_CHAIN: &str = "-full-chain.cert.pem";

/// A CA certificate of the folder, and the file that holds it.
type Found = (Certificate, PathBuf);

/// The error of a folder whose upper CA was made again after the lower one.
fn made_anew(above: &Found, below: &Certificate, authorities: &[Found]) -> Error {
    let (ca, file) = above;
    let below = match authorities.iter().find(|(certificate, _)| certificate == below) {
        Some((_, file)) => file.display().to_string(),
        None => below.subject().to_owned(),
    };
    let message = format!(
        "{} bears the name {:?} and did not sign {below}: it was made anew (DPS-C003)",
        file.display(),
        ca.subject()
    );
    Error::new(ErrorKind::ChainBroken, message).with_hint(
        "Make the lower CA again, and enroll that one (dps: dps chain intermediate --force); or \
         bring back the CA that signed it.",
    )
}

/// A root whose own signature cannot be verified here is one all the same.
fn is_root(certificate: &Certificate) -> bool {
    certificate.is_self_signed()
        || certificate.subject() == certificate.issuer()
            && unverifiable(certificate, certificate).is_some()
}

fn path_above(certificate: &Certificate, authorities: &[Found]) -> Vec<Certificate> {
    let mut path: Vec<Certificate> = Vec::new();
    loop {
        let last = path.last().unwrap_or(certificate);
        let above = authorities.iter().map(|(authority, _)| authority).find(|authority| {
            *authority != last && !path.contains(authority) && authority.issues(last) == Issues::Yes
        });
        match above {
            Some(above) if !last.is_self_signed() => path.push(above.clone()),
            _ => return path,
        }
    }
}

/// The certificates of a file; none where it is meant to hold something else.
fn certificates_of(path: &Path) -> Result<Vec<Certificate>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(Vec::new()),
        // A link that leads nowhere, or a file that has gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::on_file(ErrorKind::FileNotReadable, path, error)),
    }
    match certificates_from_pem(&pem::read(path)?) {
        Err(error) if error.kind() == ErrorKind::WrongFileContent => Ok(Vec::new()),
        certificates => certificates.map_err(|error| error.in_context(path.display())),
    }
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::FileNotWritable, format!("{}: the file exists already", path.display()))
        .with_path(path)
        .with_hint(EXISTS)
}

/// `:` is allowed in a registration ID and not in a file name on every system; a path is neither.
pub(super) fn file_stem(stem: &str) -> String {
    stem.replace([':', '/', '\\'], "_")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        chain::{Authority, Validity},
        key::{KeyType, PrivateKey},
    };

    #[test]
    fn a_ca_that_cannot_be_read_is_an_error_where_the_chain_needs_it() {
        let key = || Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap());
        let root = Authority::create_root("Root", key(), Validity::days(1)).unwrap();
        let line = root.create_intermediate("Line", key(), Validity::days(1)).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path()).overwrite(true);
        let root_file = folder.certificate(Folder::ROOT);
        let pem = root.certificate().to_pem();
        folder.write_public(&root_file, &pem[..pem.len() / 2]).unwrap();
        let error = folder.issuers_of(line.certificate()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CertificateMalformed);
        assert!(error.message().starts_with(&root_file.display().to_string()), "{error}");

        folder.write_public(&root_file, &pem).unwrap();
        folder.write_public(&folder.certificate("other"), &pem[..pem.len() / 2]).unwrap();
        folder.write_public(&folder.certificate("note"), "not a certificate").unwrap();
        fs::create_dir(folder.certificate("folder")).unwrap();
        let above = folder.issuers_of(line.certificate()).unwrap();
        assert_eq!(above, [root.certificate().clone()]);
    }
    /// A key of P-521 signs by what is not verified here.
    #[test]
    fn a_root_that_cannot_be_verified_is_not_taken_for_one_that_was_made_anew() {
        use rcgen::{
            BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair,
            PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512,
        };

        let named = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
        let root = named("Root").self_signed(&key).unwrap();
        let below = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = named("Root");
        let issuer = Issuer::from_params(&params, &key);
        let line = named("Line").signed_by(&below, &issuer).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        folder.write_public(&folder.certificate(Folder::ROOT), root.pem()).unwrap();
        let line = Certificate::from_der(line.der()).unwrap();
        assert_eq!(folder.issuers_of(&line).unwrap(), []);
    }
}
