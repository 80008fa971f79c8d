//! `dps chain`: what the tutorial does with some forty openssl commands.

mod convert;
mod devices;
mod maker;
mod renew;
mod request;
mod show;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use dps_core::{
    Error, RegistrationId, Source,
    chain::{Authority, Certificate, Folder, Validity},
    key::KeyType,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub(crate) use self::{
    maker::{DeviceIssuer, Files, Maker},
    show::with_passphrase,
};
use crate::{output::Output, passphrase::PassphraseSource};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a root CA: certs/azure-iot-test-only.root.ca.cert.pem and its encrypted key.
    #[command(after_help = "Examples:
  dps chain root --passphrase-file ca.pass
  dps chain root --keep-key --days 3650

A CA that nears its end is issued again with --keep-key. Upload the new certificate to DPS; the
device certificates below it stay good, and dps chain renew puts it into a device's full chain.")]
    Root(CaArguments),
    /// Make an intermediate CA below the root: certs/azure-iot-test-only.intermediate.cert.pem.
    #[command(after_help = "Examples:
  dps chain intermediate --passphrase-file ca.pass
  dps chain intermediate --keep-key --days 3650

An intermediate that nears its end is issued again with --keep-key. Put the new certificate into its
enrollment group; the device certificates below it stay good, and dps chain renew puts it into a
device's full chain.")]
    Intermediate {
        #[command(flatten)]
        ca: CaArguments,
        #[command(flatten)]
        issuer: RootIssuer,
        /// The stem of the CA's file names, for a second intermediate
        #[arg(long, default_value = Folder::INTERMEDIATE, value_parser = stem)]
        stem: String,
    },
    /// Make device certificates below the intermediate, each with its key and full chain.
    #[command(
        after_help = "Examples:\n  dps chain device device-01 device-02 --passphrase-file ca.pass
  dps chain device --from devices.csv --key-type ec-p256
  dps chain device --range device-0001..device-1000 --key-type ec-p256

A batch (--from, --range) picks up where it was interrupted: run it again."
    )]
    Device(devices::Arguments),
    /// Make a device's key and a certificate request, for a CA elsewhere: csr/ID.csr.pem.
    #[command(after_help = "Example:\n  dps chain request device-01 --key-type ec-p256")]
    Request(request::RequestArguments),
    /// Issue a device certificate for a request that was made elsewhere.
    #[command(after_help = "Example:\n  dps chain sign device-01.csr.pem

Only the name and the key of the request are taken over; what else it asks for is listed.")]
    Sign(request::SignArguments),
    /// Issue a device certificate again: certs/ID-renewed.cert.pem and its full chain.
    #[command(after_help = "Examples:
  dps chain renew device-01
  dps chain renew device-01 --new-key

The device's newest certificate is the one that is renewed, and no file is overwritten: the second
renewal writes certs/ID-renewed-2.cert.pem, the third certs/ID-renewed-3.cert.pem.")]
    Renew(renew::Arguments),
    /// Make the certificate that proves possession of a CA's key: certs/verification-code.cert.pem.
    #[command(
        after_help = "Examples:\n  dps chain verification 106A5SD242AF512B3498BD6098C4941E66R34H268DDB3288
  dps chain verification CODE --issuer azure-iot-test-only.intermediate"
    )]
    Verification {
        /// The verification code that DPS generated
        #[arg(value_parser = verification_code)]
        code: String,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        key: NewKey,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        issuer: RootIssuer,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// Show certificates as a tree, with what matters to DPS.
    #[command(after_help = "Example:\n  dps chain inspect certs/device-01-full-chain.cert.pem")]
    Inspect(show::InspectArguments),
    /// Check every link, date, CA flag, path length, key usage and name of a chain, and its key.
    #[command(after_help = "Example:\n  dps chain verify certs/device-01-full-chain.cert.pem \\
    --ca certs/azure-iot-test-only.root.ca.cert.pem --key private/device-01.key.pem")]
    Verify(show::VerifyArguments),
    /// Write a chain or a key in another form: PEM, DER, PKCS#12 (PFX), encrypted PKCS#8.
    #[command(after_help = "Examples:\n  dps chain convert certs/device-01-full-chain.cert.pem \\
    --key private/device-01.key.pem --to pkcs12 --out device-01.pfx
  dps chain convert private/device-01.key.pem --to encrypted-pem --out device-01.key.pem")]
    Convert(convert::Arguments),
    /// Print a PEM file as a C string constant, as the tutorial's sed line does.
    #[command(after_help = "Example:\n  dps chain c-string certs/device-01-full-chain.cert.pem")]
    CString {
        /// The PEM file
        file: PathBuf,
    },
    /// Print a PEM file as a Java string constant, as the tutorial's sed line does.
    #[command(after_help = "Example:\n  dps chain java-string certs/device-01.cert.pem")]
    JavaString {
        /// The PEM file
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct CaArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: NewKey,
    #[command(flatten)]
    term: Term,
    /// The common name of the CA [default: the tutorial's]
    #[arg(long, value_name = "COMMON_NAME")]
    name: Option<String>,
    /// How many CAs may follow below this one [default: any number, as the tutorial; below a CA
    /// that limits it, one less]
    #[arg(long, value_name = "NUMBER")]
    path_length: Option<u8>,
    /// Issue the CA that is there again, with its name and its key: the certificate alone is
    /// replaced
    #[arg(long, conflicts_with_all = ["key_type", "force", "name", "path_length"])]
    keep_key: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

/// The folder of a command.
#[derive(Args)]
pub(crate) struct Dir {
    /// The folder that holds certs/, private/ and csr/
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// The folder of a command whose files have names that may be taken.
#[derive(Args)]
pub(crate) struct Target {
    #[command(flatten)]
    dir: Dir,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(crate) struct NewKey {
    /// The type of the new key
    #[arg(long, default_value = "rsa-4096", value_parser = key_type)]
    key_type: KeyType,
}

#[derive(Args)]
pub(crate) struct Term {
    /// How long the new certificate is valid
    #[arg(long, default_value_t = Validity::TUTORIAL_DAYS, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(Validity::MOST_DAYS)))]
    days: u32,
}

#[derive(Args)]
pub(crate) struct RootIssuer {
    /// The stem of the issuing CA's file names
    #[arg(long, default_value = Folder::ROOT, value_name = "STEM", value_parser = stem)]
    issuer: String,
}

#[derive(Args)]
pub(crate) struct IntermediateIssuer {
    /// The stem of the issuing CA's file names
    #[arg(long, default_value = Folder::INTERMEDIATE, value_name = "STEM", value_parser = stem)]
    issuer: String,
}

/// The tutorial's names for its CAs.
pub(crate) const ROOT_NAME: &str = "Azure IoT Hub CA Cert Test Only";
pub(crate) const INTERMEDIATE_NAME: &str = "Azure IoT Hub Intermediate Cert Test Only";

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::Root(ca) => root(&ca, output),
        Command::Intermediate { ca, issuer, stem } => {
            intermediate(&ca, &issuer.issuer, &stem, output)
        }
        Command::Device(arguments) => devices::run(&arguments, output),
        Command::Request(arguments) => request::request(&arguments, output),
        Command::Sign(arguments) => request::sign(&arguments, output),
        Command::Renew(arguments) => renew::run(&arguments, output),
        Command::Verification { code, target, key, term, issuer, passphrase } => {
            let maker = Maker::new(target.folder());
            let files = maker.verification_files()?;
            let issuer = maker.issuer(&issuer.issuer, &passphrase)?;
            let key = maker::generate("the verification key", key.key_type)?;
            let public = key.public_key_info();
            let certificate = issuer.issue_verification(&code, public, term.validity())?;
            maker.write_device(&files, &certificate, &key, None)?;
            report(output, &[(&certificate, &files)])
        }
        Command::Inspect(arguments) => show::inspect(&arguments, output),
        Command::Verify(arguments) => show::verify(&arguments, output),
        Command::Convert(arguments) => convert::run(&arguments, output),
        Command::CString { file } => convert::string(&file, dps_core::chain::c_string, output),
        Command::JavaString { file } => {
            convert::string(&file, dps_core::chain::java_string, output)
        }
    }
}

impl Dir {
    fn folder(&self) -> Folder {
        Folder::new(&self.dir)
    }
}

impl Target {
    fn folder(&self) -> Folder {
        self.dir.folder().overwrite(self.force)
    }
}

impl Term {
    fn validity(&self) -> Validity {
        Validity::days(self.days)
    }
}

fn root(ca: &CaArguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(ca.target.folder());
    if ca.keep_key {
        return again(&maker, ca, Folder::ROOT, Folder::ROOT, output);
    }
    let files = maker.ca_files(Folder::ROOT, false)?;
    let passphrase = ca.passphrase.choose("Passphrase for the new CA key: ")?;
    let key = maker::generate("the root's key", ca.key.key_type)?;
    let name = ca.name.as_deref().unwrap_or(ROOT_NAME);
    let validity = ca.term.validity();
    let root = match ca.path_length {
        None => Authority::create_root(name, Arc::clone(&key), validity)?,
        Some(length) => {
            Authority::create_root_with_path_length(name, Arc::clone(&key), validity, length)?
        }
    };
    maker.write_ca(&files, &root, name, &key, &passphrase)?;
    report(output, &[(root.certificate(), &files)])
}

fn intermediate(ca: &CaArguments, issuer: &str, stem: &str, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(ca.target.folder());
    if ca.keep_key {
        return again(&maker, ca, issuer, stem, output);
    }
    let files = maker.ca_files(stem, true)?;
    let issuer = maker.locked(issuer)?;
    let passphrase =
        ca.passphrase.choose("Passphrase of the issuing CA's key, and of the new one: ")?;
    let issuer = issuer.open(&passphrase)?;
    let key = maker::generate("the intermediate's key", ca.key.key_type)?;
    let name = ca.name.as_deref().unwrap_or(INTERMEDIATE_NAME);
    let validity = ca.term.validity();
    let made = match ca.path_length {
        None => issuer.create_intermediate(name, Arc::clone(&key), validity)?,
        Some(length) => {
            issuer.create_intermediate_with_path_length(name, Arc::clone(&key), validity, length)?
        }
    };
    maker.write_ca(&files, &made, name, &key, &passphrase)?;
    report(output, &[(made.certificate(), &files)])
}

/// Issues a CA again and puts its new certificate in the place of the old one: two of one name and
/// key beside each other would leave it open which of them a chain is made with.
fn again(
    maker: &Maker,
    ca: &CaArguments,
    issuer: &str,
    stem: &str,
    output: &Output,
) -> Result<(), Error> {
    let old = maker.authority(stem)?;
    let issuer = maker.issuer(issuer, &ca.passphrase)?;
    let new = issuer.reissue_authority(&old, ca.term.validity())?;
    let files = Files {
        certificate: maker.folder.certificate(stem),
        key: Some(maker.folder.key(stem)),
        request: None,
        full_chain: None,
    };
    maker.folder.clone().overwrite(true).write_public(&files.certificate, new.to_pem())?;
    report(output, &[(&new, &files)])
}

/// Reads a file; the error names it.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    Source::file(path).read()
}

fn report(output: &Output, made: &[(&Certificate, &Files)]) -> Result<(), Error> {
    let mut results = Vec::new();
    for (certificate, files) in made {
        output.line(summary(certificate))?;
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

fn summary(certificate: &Certificate) -> String {
    format!(
        "{} issued by {}, valid until {}",
        certificate.subject(),
        certificate.issuer(),
        certificate.not_after().date()
    )
}

/// A registration ID that becomes the common name of a certificate.
fn common_name(text: &str) -> Result<RegistrationId, Error> {
    RegistrationId::parse_common_name(text)
}

/// What stands for a file name follows the rule of registration IDs, which allows no path.
fn stem(text: &str) -> Result<String, String> {
    match RegistrationId::parse(text) {
        Ok(stem) => Ok(stem.to_string()),
        Err(error) => {
            let message = error.message();
            Err(message.replacen("the registration ID", "the stem of file names", 1))
        }
    }
}

/// What DPS generates; quotation marks, such as those of JSON, would end in a common name.
fn verification_code(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err("a verification code is of letters and digits alone; dps certificate \
         generate-verification-code … --query properties.verificationCode -o tsv prints it bare"
        .to_owned())
}

fn key_type(text: &str) -> Result<KeyType, String> {
    text.to_ascii_lowercase().parse().map_err(|error: Error| error.message().to_owned())
}
