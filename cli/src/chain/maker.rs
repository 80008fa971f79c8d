//! Keys and certificates under the tutorial's names.

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, RegistrationId,
    chain::{Authority, Certificate, Folder, SubjectKey, Validity},
    key::{KeyType, Passphrase, PrivateKey},
};
use indicatif::ProgressBar;

use super::Common;

/// Makes keys and certificates and writes them under the tutorial's names.
pub(crate) struct Maker {
    pub(super) folder: Folder,
    pub(super) key_type: KeyType,
    pub(super) validity: Validity,
}

/// Where the parts of one certificate are written.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) request: Option<PathBuf>,
    pub(crate) full_chain: Option<PathBuf>,
}

impl Maker {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            folder: Folder::new(&common.dir).overwrite(common.force),
            key_type: common.key_type,
            validity: Validity::days(common.days),
        }
    }

    /// As the tutorial does it, in a folder of its own.
    pub(crate) fn tutorial(dir: &Path) -> Self {
        Self {
            folder: Folder::new(dir),
            key_type: KeyType::TUTORIAL,
            validity: Validity::days(Validity::TUTORIAL_DAYS),
        }
    }

    pub(crate) fn ca_files(&self, stem: &str, with_request: bool) -> Result<Files, Error> {
        let files = Files {
            certificate: self.folder.certificate(stem),
            key: self.folder.key(stem),
            request: with_request.then(|| self.folder.request(stem)),
            full_chain: None,
        };
        self.folder.check_free(&files.all())?;
        Ok(files)
    }

    pub(crate) fn device_files(&self, stem: &str) -> Result<Files, Error> {
        let files = Files {
            certificate: self.folder.certificate(stem),
            key: self.folder.key(stem),
            request: Some(self.folder.request(stem)),
            full_chain: Some(self.folder.full_chain(stem)),
        };
        self.folder.check_free(&files.all())?;
        Ok(files)
    }

    /// A new key; an RSA-4096 key takes a while, so a terminal sees that something happens.
    pub(super) fn generate(&self, what: &str) -> Result<Arc<PrivateKey>, Error> {
        let progress = match stderr().is_terminal() {
            true => ProgressBar::new_spinner().with_message(format!("Making {what}")),
            false => ProgressBar::hidden(),
        };
        progress.enable_steady_tick(Duration::from_millis(100));
        let key = PrivateKey::generate(self.key_type);
        progress.finish_and_clear();
        key.map(Arc::new)
    }

    /// The key goes first: a certificate without its key would be of no use.
    pub(crate) fn write_ca(
        &self,
        files: &Files,
        authority: &Authority,
        name: &str,
        key: &Arc<PrivateKey>,
        passphrase: &Passphrase,
    ) -> Result<(), Error> {
        self.folder.write_private(&files.key, &key.to_encrypted_pem(passphrase)?)?;
        if let Some(request) = &files.request {
            let text = SubjectKey::from(Arc::clone(key)).certificate_request(name)?;
            self.folder.write_public(request, &text)?;
        }
        self.folder.write_public(&files.certificate, authority.certificate().to_pem())
    }

    pub(crate) fn device(
        &self,
        id: &RegistrationId,
        issuer: &Authority,
    ) -> Result<(Certificate, Files), Error> {
        let key = self.generate(&format!("the key of {id}"))?;
        self.device_with_key(id, issuer, &key)
    }

    pub(crate) fn device_with_key(
        &self,
        id: &RegistrationId,
        issuer: &Authority,
        key: &Arc<PrivateKey>,
    ) -> Result<(Certificate, Files), Error> {
        self.folder.check_device(id)?;
        let files = self.device_files(id.as_str())?;
        let certificate = issuer.issue_device(id, key.public_key_info(), self.validity)?;
        let chain = self.full_chain(&certificate, issuer)?;
        self.folder.write_private(&files.key, &key.to_pem()?)?;
        if let Some(request) = &files.request {
            let text = SubjectKey::from(Arc::clone(key)).certificate_request(id.as_str())?;
            self.folder.write_public(request, &text)?;
        }
        self.folder.write_public(&files.certificate, certificate.to_pem())?;
        if let Some(full_chain) = &files.full_chain {
            self.folder.write_public(full_chain, &chain)?;
        }
        Ok((certificate, files))
    }

    /// The certificate and all its issuers, as far as the folder has them.
    pub(super) fn full_chain(
        &self,
        certificate: &Certificate,
        issuer: &Authority,
    ) -> Result<String, Error> {
        let mut chain = certificate.to_pem() + &issuer.certificate().to_pem();
        for above in self.folder.issuers_of(issuer.certificate())? {
            chain.push_str(&above.to_pem());
        }
        Ok(chain)
    }

    /// A CA of the folder, with its key.
    pub(super) fn issuer(&self, stem: &str, passphrase: &Passphrase) -> Result<Authority, Error> {
        let missing = |error: Error| match error.kind() {
            ErrorKind::FileNotReadable => {
                error.with_hint("Make the issuing CA first, or name its folder by --dir.")
            }
            _ => error,
        };
        let path = self.folder.certificate(stem);
        let certificate = Certificate::from_file(&path).map_err(missing)?;
        let key = PrivateKey::from_file(self.folder.key(stem), Some(passphrase));
        let key = key.map_err(missing)?;
        Authority::new(certificate, Arc::new(key)).map_err(|error| error.in_context(path.display()))
    }
}

impl Files {
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let optional = [self.request.clone(), self.full_chain.clone()];
        [self.certificate.clone(), self.key.clone()]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .collect()
    }
}
