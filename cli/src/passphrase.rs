//! Where a passphrase comes from: a file, the environment, or a prompt; never an argument, which
//! every user of the machine could read.

use std::{
    env, fs,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use dps_core::{Error, ErrorKind, key::Passphrase};
use zeroize::Zeroizing;

const VARIABLE: &str = "DPS_PASSPHRASE";

#[derive(clap::Args)]
pub(crate) struct PassphraseSource {
    /// The file whose first line is the passphrase of the keys [else: the environment variable
    /// DPS_PASSPHRASE, else a prompt]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The passphrase of a key that exists.
    pub(crate) fn read(&self, prompt: &str) -> Result<Passphrase, Error> {
        match self.given()? {
            Some(passphrase) => Ok(Passphrase::new(passphrase.as_str())),
            None => Ok(Passphrase::new(ask(prompt)?.as_str())),
        }
    }

    /// As [`read`](Self::read); `None` where none is given and nobody can be asked.
    pub(crate) fn read_if_any(&self, prompt: &str) -> Result<Option<Passphrase>, Error> {
        match self.given()? {
            Some(passphrase) => Ok(Some(Passphrase::new(passphrase.as_str()))),
            None if stdin().is_terminal() => self.read(prompt).map(Some),
            None => Ok(None),
        }
    }

    /// The passphrase for a new key; a prompt asks twice.
    pub(crate) fn choose(&self, prompt: &str) -> Result<Passphrase, Error> {
        let chosen = match self.given()? {
            Some(passphrase) => passphrase,
            None => {
                let first = ask(prompt)?;
                if *first != *ask("The same again: ")? {
                    return Err(usage("the two passphrases differ"));
                }
                first
            }
        };
        if chosen.is_empty() {
            return Err(usage("a CA key needs a passphrase, and this one is empty"));
        }
        Ok(Passphrase::new(chosen.as_str()))
    }

    fn given(&self) -> Result<Option<Zeroizing<String>>, Error> {
        if let Some(path) = &self.passphrase_file {
            return first_line(path).map(Some);
        }
        // As with every other variable, an empty one says nothing.
        Ok(env::var(VARIABLE).ok().map(Zeroizing::new).filter(|text| !text.is_empty()))
    }
}

/// The first line of a file that holds a secret.
pub(crate) fn first_line(path: &Path) -> Result<Zeroizing<String>, Error> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Error::new(ErrorKind::FileNotReadable, format!("{}: {error}", path.display()))
    })?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Error> {
    if !stdin().is_terminal() {
        return Err(usage("a passphrase is needed: give --passphrase-file or set DPS_PASSPHRASE"));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| usage(&format!("the passphrase could not be read: {error}")))
}

fn usage(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
