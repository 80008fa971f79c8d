//! Where a passphrase comes from: a file, the environment, or a prompt; never an argument, which
//! every user of the machine could read.

use std::{
    env,
    fmt::Display,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use dps_core::{Error, ErrorKind, Source, key::Passphrase};
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
    /// The passphrase of a key that exists, which is told as `whose`.
    pub(crate) fn read(&self, whose: impl Display) -> Result<Passphrase, Error> {
        match self.given()? {
            Some(passphrase) => Ok(Passphrase::new(passphrase.as_str())),
            None => {
                let asked = ask(&format!("Passphrase of {whose}: "));
                let asked = asked.map_err(|error| error.in_context(whose))?;
                Ok(Passphrase::new(asked.as_str()))
            }
        }
    }

    /// As [`read`](Self::read); `None` where none is given and nobody can be asked.
    pub(crate) fn read_if_any(&self, whose: impl Display) -> Result<Option<Passphrase>, Error> {
        match self.given()? {
            Some(passphrase) => Ok(Some(Passphrase::new(passphrase.as_str()))),
            None if stdin().is_terminal() => self.read(whose).map(Some),
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
    let bytes = Source::file(path).read()?;
    // Windows' Notepad and PowerShell begin a file with either of them.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(unreadable(path, "the file is in UTF-16, and a secret is read as UTF-8")
            .with_hint("Save it as UTF-8 (PowerShell: Set-Content -Encoding utf8)."));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text =
        str::from_utf8(text).map_err(|_| unreadable(path, "the file is not text in UTF-8"))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn unreadable(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::WrongFileContent, format!("{}: {reason}", path.display()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Error> {
    if !stdin().is_terminal() {
        return Err(Error::new(ErrorKind::PassphraseRequired, "a passphrase is needed")
            .with_hint("Give --passphrase-file or set DPS_PASSPHRASE."));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| usage(&format!("the passphrase could not be read: {error}")))
}

fn usage(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
