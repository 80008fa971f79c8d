//! Keys and certificates under the tutorial's names.

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, RegistrationId, Source,
    chain::{Authority, Certificate, Folder, SubjectKey, Validity},
    key::{KeyType, Passphrase, PrivateKey},
};
use indicatif::ProgressBar;

use crate::passphrase::PassphraseSource;

/// Makes certificates and writes them under the tutorial's names.
pub(crate) struct Maker {
    pub(super) folder: Folder,
}

/// Where the parts of one certificate are.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: Option<PathBuf>,
    pub(crate) request: Option<PathBuf>,
    pub(crate) full_chain: Option<PathBuf>,
}

/// A new key; an RSA-4096 key takes a while, so a terminal sees that something happens.
pub(super) fn generate(what: &str, key_type: KeyType) -> Result<Arc<PrivateKey>, Error> {
    let progress = match stderr().is_terminal() {
        true => ProgressBar::new_spinner().with_message(format!("Making {what}")),
        false => ProgressBar::hidden(),
    };
    progress.enable_steady_tick(Duration::from_millis(100));
    let key = PrivateKey::generate(key_type);
    progress.finish_and_clear();
    key.map(Arc::new)
}

impl Maker {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    pub(crate) fn ca_files(&self, stem: &str, with_request: bool) -> Result<Files, Error> {
        let files = Files {
            certificate: self.folder.certificate(stem),
            key: Some(self.folder.key(stem)),
            request: with_request.then(|| self.folder.request(stem)),
            full_chain: None,
        };
        self.folder.check_free(&files.all())?;
        Ok(files)
    }

    pub(crate) fn device_files(&self, stem: &str) -> Result<Files, Error> {
        let files = Files {
            certificate: self.folder.certificate(stem),
            key: Some(self.folder.key(stem)),
            request: Some(self.folder.request(stem)),
            full_chain: Some(self.folder.full_chain(stem)),
        };
        self.folder.check_free(&files.all())?;
        Ok(files)
    }

    pub(super) fn verification_files(&self) -> Result<Files, Error> {
        let files = Files {
            certificate: self.folder.certificate(Folder::VERIFICATION),
            key: Some(self.folder.key(Folder::VERIFICATION)),
            request: None,
            full_chain: None,
        };
        self.folder.check_free(&files.all())?;
        Ok(files)
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
        if let Some(file) = &files.key {
            self.folder.write_private(file, &key.to_encrypted_pem(passphrase)?)?;
        }
        if let Some(request) = &files.request {
            let text = SubjectKey::from(Arc::clone(key)).certificate_request(name)?;
            self.folder.write_public(request, &text)?;
        }
        self.folder.write_public(&files.certificate, authority.certificate().to_pem())
    }

    /// A device's certificate with all its files.
    pub(crate) fn device(
        &self,
        id: &RegistrationId,
        issuer: &DeviceIssuer,
        key: &Arc<PrivateKey>,
        validity: Validity,
    ) -> Result<(Certificate, Files), Error> {
        self.folder.check_device(id)?;
        let files = self.device_files(id.as_str())?;
        let certificate = issuer.authority.issue_device(id, key.public_key_info(), validity)?;
        let chain = issuer.full_chain(&certificate);
        self.write_device(&files, &certificate, key, Some(&chain))?;
        Ok((certificate, files))
    }

    /// The key goes first, in the clear.
    pub(super) fn write_device(
        &self,
        files: &Files,
        certificate: &Certificate,
        key: &Arc<PrivateKey>,
        full_chain: Option<&str>,
    ) -> Result<(), Error> {
        if let Some(file) = &files.key {
            self.folder.write_private(file, &key.to_pem()?)?;
        }
        if let Some(request) = &files.request {
            let name = certificate.common_name().unwrap_or_default();
            let text = SubjectKey::from(Arc::clone(key)).certificate_request(name)?;
            self.folder.write_public(request, &text)?;
        }
        self.folder.write_public(&files.certificate, certificate.to_pem())?;
        match (&files.full_chain, full_chain) {
            (Some(file), Some(chain)) => self.folder.write_public(file, chain),
            _ => Ok(()),
        }
    }

    /// The certificate of a CA and all its issuers, as far as the folder has them.
    pub(crate) fn chain_from(&self, ca: &Certificate) -> Result<String, Error> {
        let above = self.folder.issuers_of(ca)?;
        Ok(std::iter::once(ca).chain(&above).map(Certificate::to_pem).collect())
    }

    /// The certificate of a CA of the folder.
    pub(super) fn authority(&self, stem: &str) -> Result<Certificate, Error> {
        Certificate::from_file(self.folder.certificate(stem)).map_err(missing)
    }

    /// A CA of the folder, with its key.
    pub(super) fn issuer(
        &self,
        stem: &str,
        passphrase: &PassphraseSource,
    ) -> Result<Authority, Error> {
        self.locked(stem)?.ask(passphrase)
    }

    /// As [`issuer`](Self::issuer), with the chain that devices get.
    pub(super) fn device_issuer(
        &self,
        stem: &str,
        passphrase: &PassphraseSource,
    ) -> Result<DeviceIssuer, Error> {
        // What no passphrase would help is said before anybody is asked for it.
        let locked = self.locked(stem)?;
        let chain = self.chain_from(&locked.certificate)?;
        Ok(DeviceIssuer { authority: locked.ask(passphrase)?, chain })
    }

    /// As [`issuer`](Self::issuer), before anybody is asked for its passphrase.
    pub(super) fn locked(&self, stem: &str) -> Result<Locked, Error> {
        let certificate = self.authority(stem)?;
        let key = self.folder.key(stem);
        Source::file(&key).read().map_err(missing)?;
        Ok(Locked { certificate, file: self.folder.certificate(stem), key })
    }
}

/// A CA that issues to devices.
pub(crate) struct DeviceIssuer {
    pub(crate) authority: Authority,
    /// Its certificate and those above it: what follows a device's own in its full chain.
    pub(crate) chain: String,
}

impl DeviceIssuer {
    pub(super) fn full_chain(&self, certificate: &Certificate) -> String {
        certificate.to_pem() + &self.chain
    }
}

/// A CA of a folder whose key is still under its passphrase.
pub(super) struct Locked {
    certificate: Certificate,
    file: PathBuf,
    key: PathBuf,
}

impl Locked {
    fn ask(self, passphrase: &PassphraseSource) -> Result<Authority, Error> {
        let passphrase = passphrase.read(self.key.display())?;
        self.open(&passphrase)
    }

    pub(super) fn open(self, passphrase: &Passphrase) -> Result<Authority, Error> {
        let key = PrivateKey::from_file(&self.key, Some(passphrase))?;
        Authority::new(self.certificate, Arc::new(key))
            .map_err(|error| error.in_context(self.file.display()))
    }
}

fn missing(error: Error) -> Error {
    match error.kind() {
        ErrorKind::FileNotReadable => {
            error.with_hint("Make that CA first, or name its folder by --dir.")
        }
        _ => error,
    }
}

impl Files {
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let optional = [self.key.clone(), self.request.clone(), self.full_chain.clone()];
        [self.certificate.clone()].into_iter().chain(optional.into_iter().flatten()).collect()
    }
}
