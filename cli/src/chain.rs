//! `dps chain`: what the tutorial does with some forty openssl commands.

use std::{
    fs,
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use dps_core::{
    Error, ErrorKind, RegistrationId,
    chain::{Authority, Certificate, Folder, SubjectKey, Validity, certificates_from_pem},
    key::{KeyType, Passphrase, PrivateKey},
};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{output::Output, passphrase::PassphraseSource};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a root CA: certs/azure-iot-test-only.root.ca.cert.pem and its encrypted key.
    #[command(after_help = "Example:\n  dps chain root --passphrase-file ca.pass")]
    Root(CaArguments),
    /// Make an intermediate CA below the root: certs/azure-iot-test-only.intermediate.cert.pem.
    #[command(after_help = "Example:\n  dps chain intermediate --passphrase-file ca.pass")]
    Intermediate {
        #[command(flatten)]
        ca: CaArguments,
        #[command(flatten)]
        issuer: RootIssuer,
        /// The stem of the new CA's file names, for a second intermediate
        #[arg(long, default_value = Folder::INTERMEDIATE)]
        stem: String,
    },
    /// Make device certificates below the intermediate, each with its key and full chain.
    #[command(
        after_help = "Example:\n  dps chain device device-01 device-02 --passphrase-file ca.pass"
    )]
    Device {
        /// The registration IDs, which become the certificates' common names
        #[arg(required = true, value_name = "REGISTRATION_ID")]
        registration_ids: Vec<String>,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        issuer: IntermediateIssuer,
    },
    /// Make the certificate that proves possession of a CA's key: certs/verification-code.cert.pem.
    #[command(
        after_help = "Example:\n  dps chain verification 106A5SD242AF512B3498BD6098C4941E66R34H268DDB3288"
    )]
    Verification {
        /// The verification code that DPS generated
        code: String,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        issuer: RootIssuer,
    },
}

#[derive(Args)]
pub(crate) struct CaArguments {
    #[command(flatten)]
    common: Common,
    /// The common name of the CA [default: the tutorial's]
    #[arg(long, value_name = "COMMON_NAME")]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Common {
    /// The folder that holds certs/, private/ and csr/
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The type of the new key
    #[arg(long, default_value = "rsa-4096", value_parser = key_type)]
    key_type: KeyType,
    /// How long the new certificate is valid
    #[arg(long, default_value_t = Validity::TUTORIAL_DAYS, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

#[derive(Args)]
pub(crate) struct RootIssuer {
    /// The stem of the issuing CA's file names
    #[arg(long, default_value = Folder::ROOT, value_name = "STEM")]
    issuer: String,
}

#[derive(Args)]
pub(crate) struct IntermediateIssuer {
    /// The stem of the issuing CA's file names
    #[arg(long, default_value = Folder::INTERMEDIATE, value_name = "STEM")]
    issuer: String,
}

/// The tutorial's names for its CAs.
pub(crate) const ROOT_NAME: &str = "Azure IoT Hub CA Cert Test Only";
pub(crate) const INTERMEDIATE_NAME: &str = "Azure IoT Hub Intermediate Cert Test Only";

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::Root(ca) => {
            let maker = Maker::new(&ca.common);
            let files = maker.ca_files(Folder::ROOT, false)?;
            let passphrase = ca.common.passphrase.choose()?;
            let key = maker.generate("the root's key")?;
            let name = ca.name.as_deref().unwrap_or(ROOT_NAME);
            let root = Authority::create_root(name, Arc::clone(&key), maker.validity)?;
            maker.write_ca(&files, &root, name, &key, &passphrase)?;
            report(output, &[(root.certificate(), &files)])
        }
        Command::Intermediate { ca, issuer, stem } => {
            let maker = Maker::new(&ca.common);
            let files = maker.ca_files(&stem, true)?;
            let passphrase = ca.common.passphrase.choose()?;
            let issuer = maker.issuer(&issuer.issuer, &passphrase)?;
            let key = maker.generate("the intermediate's key")?;
            let name = ca.name.as_deref().unwrap_or(INTERMEDIATE_NAME);
            let made = issuer.create_intermediate(name, Arc::clone(&key), maker.validity)?;
            maker.write_ca(&files, &made, name, &key, &passphrase)?;
            report(output, &[(made.certificate(), &files)])
        }
        Command::Device { registration_ids, common, issuer } => {
            let maker = Maker::new(&common);
            let ids: Result<Vec<_>, _> =
                registration_ids.iter().map(|id| RegistrationId::parse_common_name(id)).collect();
            let ids = ids?;
            for id in &ids {
                maker.device_files(id.as_str())?;
            }
            let passphrase = common.passphrase.read("Passphrase of the issuing CA's key: ")?;
            let issuer = maker.issuer(&issuer.issuer, &passphrase)?;
            let mut made = Vec::new();
            for id in &ids {
                made.push(maker.device(id, &issuer)?);
            }
            let made: Vec<_> =
                made.iter().map(|(certificate, files)| (certificate, files)).collect();
            report(output, &made)
        }
        Command::Verification { code, common, issuer } => {
            let maker = Maker::new(&common);
            let files = Files {
                certificate: maker.folder.certificate(Folder::VERIFICATION),
                key: maker.folder.key(Folder::VERIFICATION),
                request: None,
                full_chain: None,
            };
            maker.folder.check_free(&files.all())?;
            let passphrase = common.passphrase.read("Passphrase of the issuing CA's key: ")?;
            let issuer = maker.issuer(&issuer.issuer, &passphrase)?;
            let key = maker.generate("the verification key")?;
            let certificate =
                issuer.issue_verification(&code, key.public_key_info(), maker.validity)?;
            maker.folder.write_private(&files.key, &key.to_pem()?)?;
            maker.folder.write_public(&files.certificate, &certificate.to_pem())?;
            report(output, &[(&certificate, &files)])
        }
    }
}

/// Makes keys and certificates and writes them under the tutorial's names.
pub(crate) struct Maker {
    folder: Folder,
    key_type: KeyType,
    validity: Validity,
}

/// Where the parts of one certificate are written.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) request: Option<PathBuf>,
    pub(crate) full_chain: Option<PathBuf>,
}

impl Maker {
    fn new(common: &Common) -> Self {
        Self {
            folder: Folder::new(&common.dir).overwrite(common.force),
            key_type: common.key_type,
            validity: Validity::days(common.days),
        }
    }

    /// As the tutorial does it, in a folder of its own.
    pub(crate) fn tutorial(dir: &Path) -> Self {
        Self {
            folder: Folder::new(dir).overwrite(true),
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
    fn generate(&self, what: &str) -> Result<Arc<PrivateKey>, Error> {
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
        self.folder.write_public(&files.certificate, &authority.certificate().to_pem())
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
        let files = self.device_files(id.as_str())?;
        let certificate = issuer.issue_device(id, key.public_key_info(), self.validity)?;
        let mut chain = certificate.to_pem() + &issuer.certificate().to_pem();
        for above in self.folder.issuers_of(issuer.certificate())? {
            chain.push_str(&above.to_pem());
        }
        self.folder.write_private(&files.key, &key.to_pem()?)?;
        if let Some(request) = &files.request {
            let text = SubjectKey::from(Arc::clone(key)).certificate_request(id.as_str())?;
            self.folder.write_public(request, &text)?;
        }
        self.folder.write_public(&files.certificate, &certificate.to_pem())?;
        if let Some(full_chain) = &files.full_chain {
            self.folder.write_public(full_chain, &chain)?;
        }
        Ok((certificate, files))
    }

    /// A CA of the folder, with its key.
    fn issuer(&self, stem: &str, passphrase: &Passphrase) -> Result<Authority, Error> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| {
                Error::new(ErrorKind::FileNotReadable, format!("{}: {error}", path.display()))
                    .with_hint("Make the issuing CA first, or name its folder by --dir.")
            })
        };
        let path = self.folder.certificate(stem);
        let certificate = certificates_from_pem(&read(&path)?)?.remove(0);
        let key = PrivateKey::from_pem(&read(&self.folder.key(stem))?, Some(passphrase))
            .map_err(|error| error.in_context(self.folder.key(stem).display()))?;
        Authority::new(certificate, Arc::new(key)).map_err(|error| error.in_context(path.display()))
    }
}

impl Files {
    fn all(&self) -> Vec<PathBuf> {
        let optional = [self.request.clone(), self.full_chain.clone()];
        [self.certificate.clone(), self.key.clone()]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .collect()
    }
}

fn report(output: &Output, made: &[(&Certificate, &Files)]) -> Result<(), Error> {
    let mut results = Vec::new();
    for (certificate, files) in made {
        output.line(format!(
            "{} issued by {}, valid until {}",
            certificate.subject(),
            certificate.issuer(),
            certificate.not_after().date()
        ))?;
        for file in files.all() {
            output.line(format!("  {}", file.display()))?;
        }
        results.push(json!({
            "subject": certificate.subject(),
            "issuer": certificate.issuer(),
            "notAfter": certificate.not_after().unix_timestamp(),
            "sha1Thumbprint": certificate.sha1_thumbprint(),
            "sha256Thumbprint": certificate.sha256_thumbprint(),
            "certificate": files.certificate,
            "key": files.key,
            "request": files.request,
            "fullChain": files.full_chain,
        }));
    }
    output.json(&Value::Array(results))
}

fn key_type(text: &str) -> Result<KeyType, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "rsa-2048" => KeyType::Rsa(2048),
        "rsa-3072" => KeyType::Rsa(3072),
        "rsa-4096" => KeyType::Rsa(4096),
        "ec-p256" => KeyType::EcP256,
        "ec-p384" => KeyType::EcP384,
        _ => return Err("one of rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384".into()),
    })
}
