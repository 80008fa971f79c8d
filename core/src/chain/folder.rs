//! The folder that the tutorial builds: `certs/`, `private/`, `csr/`, under the tutorial's names.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{Certificate, Issues, certificates_from_pem};
use crate::{
    error::{Error, ErrorKind, Result},
    pem,
};

/// Where a chain's files are kept, and what they are called.
#[derive(Clone, Debug)]
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

    /// The CA certificates of the folder that lead from `certificate` up to its root.
    pub fn issuers_of(&self, certificate: &Certificate) -> Result<Vec<Certificate>> {
        // Every device's full chain repeats its CAs: those files are read only in need.
        let path = path_above(certificate, &self.authorities(|name| !name.ends_with(FULL_CHAIN))?);
        if path.last().unwrap_or(certificate).is_self_signed() {
            return Ok(path);
        }
        Ok(path_above(certificate, &self.authorities(|_| true)?))
    }

    /// The CA certificates in the files of these names, each once.
    fn authorities(&self, read: impl Fn(&str) -> bool) -> Result<Vec<Certificate>> {
        let folder = self.base.join("certs");
        let unreadable = |error: std::io::Error| {
            let message = format!("{}: {}", folder.display(), pem::io_reason(&error));
            Error::new(ErrorKind::FileNotReadable, message).with_source(error)
        };
        let mut authorities = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if !read(&entry.file_name().to_string_lossy()) {
                continue;
            }
            // A folder may hold other files too; only what is a CA certificate matters here.
            let certificates = pem::read(&entry.path()).and_then(|pem| certificates_from_pem(&pem));
            for certificate in certificates.unwrap_or_default() {
                if certificate.is_ca() && !authorities.contains(&certificate) {
                    authorities.push(certificate);
                }
            }
        }
        Ok(authorities)
    }

    /// Fails if one of the files exists and may not be overwritten: asked before the work is done.
    pub fn check_free(&self, paths: &[PathBuf]) -> Result<()> {
        match paths.iter().find(|path| !self.overwrite && path.exists()) {
            None => Ok(()),
            Some(path) => Err(exists(path)),
        }
    }

    /// Writes a certificate or a request, readable by all.
    pub fn write_public(&self, path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, contents.as_ref(), 0o644)
    }

    /// Writes a key, readable by its owner alone.
    pub fn write_private(&self, path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, contents.as_ref(), 0o600)
    }

    /// Whole or not at all: a temporary file beside the target, then a rename.
    fn write(&self, path: &Path, contents: &[u8], mode: u32) -> Result<()> {
        let failed = |error: std::io::Error| {
            let message = format!("{}: {}", path.display(), pem::io_reason(&error));
            Error::new(ErrorKind::FileNotWritable, message).with_source(error)
        };
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
                std::io::ErrorKind::AlreadyExists => exists(path),
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

fn path_above(certificate: &Certificate, authorities: &[Certificate]) -> Vec<Certificate> {
    let mut path: Vec<Certificate> = Vec::new();
    loop {
        let last = path.last().unwrap_or(certificate);
        let above = authorities.iter().find(|authority| {
            *authority != last && !path.contains(authority) && authority.issues(last) == Issues::Yes
        });
        match above {
            Some(above) if !last.is_self_signed() => path.push(above.clone()),
            _ => return path,
        }
    }
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::FileNotWritable, format!("{}: the file exists already", path.display()))
        .with_hint(EXISTS)
}

/// `:` is allowed in a registration ID and not in a file name on every system; a path is neither.
pub(super) fn file_stem(stem: &str) -> String {
    stem.replace([':', '/', '\\'], "_")
}
