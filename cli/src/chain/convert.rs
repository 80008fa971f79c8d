//! `dps chain convert`, `c-string` and `java-string`: the same certificates and keys in other forms.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dps_core::{
    CertificateChain, Error, ErrorKind,
    chain::Folder,
    key::{Passphrase, PrivateKey},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::read_file;
use crate::{
    output::{self, Output},
    passphrase::PassphraseSource,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// A chain or a key, in PEM, DER or PKCS#12
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key of the chain's leaf [default: the key in FILE]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The form to write
    #[arg(long)]
    to: Form,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The chain, leaf first, and the key if the file holds one, in the clear
    Pem,
    /// The leaf certificate, or the key in the clear (PKCS#8)
    Der,
    /// The chain and its key under the passphrase (PFX)
    Pkcs12,
    /// The key under the passphrase (PKCS#8, PBES2)
    EncryptedPem,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Error> {
    let folder = Folder::new(".").overwrite(arguments.force);
    folder.check_free(std::slice::from_ref(&arguments.out))?;
    let bytes = read_file(&arguments.file)?;
    let mut parts = arguments.read(&bytes, None);
    let mut passphrase = None;
    if is_locked(&parts) {
        let file = arguments.key.as_ref().unwrap_or(&arguments.file);
        let given = arguments.passphrase.read(file.display())?;
        parts = arguments.read(&bytes, Some(&given));
        passphrase = Some(given);
    }
    // The one that is read and the one that is written have one passphrase. Nobody is asked for
    // that of what cannot be made.
    let secret = || match passphrase {
        Some(passphrase) => Ok(passphrase),
        None => arguments.passphrase.read(arguments.out.display()),
    };
    let (chain, key) = parts?;
    let written: Zeroizing<Vec<u8>> = match arguments.to {
        Form::Pkcs12 => {
            let (chain, key) = (chain?, key?);
            chain.to_pkcs12(&key, &secret()?)?
        }
        Form::EncryptedPem => {
            let key = key?;
            Zeroizing::new(key.to_encrypted_pem(&secret()?)?.as_bytes().to_vec())
        }
        Form::Der => match (chain, key) {
            (Ok(chain), _) => Zeroizing::new(chain.leaf().der().to_vec()),
            (Err(_), Ok(key)) => key.to_der()?,
            (Err(error), Err(_)) => return Err(error),
        },
        Form::Pem => {
            let (chain, key) = match (chain, key) {
                (Err(chain), Err(key)) => return Err(if holds_none(&key) { chain } else { key }),
                (chain, key) => (if_any(chain)?, if_any(key)?),
            };
            let mut text = Zeroizing::new(String::new());
            if let Some(chain) = chain {
                text.push_str(&chain.to_pem());
            }
            if let Some(key) = key {
                text.push_str(&key.to_pem()?);
            }
            Zeroizing::new(text.as_bytes().to_vec())
        }
    };
    // Whether it holds a key or not: what was secret stays so.
    folder.write_private(&arguments.out, &*written)?;
    output.line(format!("  {}", arguments.out.display()))?;
    output.json(&json!({ "file": arguments.out }))
}

/// The chain and the key, each of which a file may be without.
type Parts = (Result<CertificateChain, Error>, Result<PrivateKey, Error>);

/// Whether a passphrase would have helped.
fn is_locked(parts: &Result<Parts, Error>) -> bool {
    let wants = |error: &Error| error.kind() == ErrorKind::PassphraseRequired;
    match parts {
        Ok((chain, key)) => chain.as_ref().is_err_and(wants) || key.as_ref().is_err_and(wants),
        Err(error) => wants(error),
    }
}

impl Arguments {
    fn read(&self, bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Parts, Error> {
        let in_file = |error: Error| error.in_context(self.file.display());
        let chain = CertificateChain::from_any_form(bytes, passphrase).map_err(in_file);
        match &self.key {
            Some(path) => {
                let chain = chain?;
                let key = leafs_key(&chain, path, passphrase)?;
                Ok((Ok(chain), Ok(key)))
            }
            None => {
                let key = PrivateKey::from_pem(bytes, passphrase).map_err(in_file);
                Ok((chain, key.map_err(|error| self.needs_key(error))))
            }
        }
    }

    /// The error of a file without a key, where the form is one of a key.
    fn needs_key(&self, error: Error) -> Error {
        let what = match self.to {
            Form::Pkcs12 => "a PKCS#12 file needs the key too",
            Form::EncryptedPem => "an encrypted PEM file is of a key",
            Form::Pem | Form::Der => return error,
        };
        if !holds_none(&error) {
            return error;
        }
        let message = format!("{}: {what}, and this file holds none", self.file.display());
        Error::new(error.kind(), message).with_hint(match self.to {
            Form::Pkcs12 => "Give the leaf's key: --key FILE.",
            _ => "Give the file of the key in place of this one.",
        })
    }
}

/// The key of a file of its own, which is the leaf's.
fn leafs_key(
    chain: &CertificateChain,
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, Error> {
    let key = PrivateKey::from_pem(&read_file(path)?, passphrase)
        .map_err(|error| error.in_context(path.display()))?;
    if key.public_key_info() != chain.leaf().public_key_info() {
        let message = format!(
            "{}: the private key does not belong to {:?}",
            path.display(),
            chain.leaf().subject()
        );
        return Err(Error::new(ErrorKind::KeyMismatch, message));
    }
    Ok(key)
}

/// `None` where a file holds nothing of the kind; what it holds and is damaged is an error.
fn if_any<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Err(error) if holds_none(&error) => Ok(None),
        read => read.map(Some),
    }
}

fn holds_none(error: &Error) -> bool {
    error.kind() == ErrorKind::WrongFileContent
}

/// Prints a file as a string constant.
pub(super) fn string(
    file: &Path,
    constant: fn(&[u8]) -> Result<Zeroizing<String>, Error>,
    output: &Output,
) -> Result<(), Error> {
    let text = constant(&read_file(file)?).map_err(|error| error.in_context(file.display()))?;
    match output.is_json() {
        true => output.json(&json!({ "constant": text.as_str() })),
        // A line end stands at the end of the text already.
        false => output::print(text.trim_end_matches('\n')),
    }
}
