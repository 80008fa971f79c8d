//! `dps chain renew`: a certificate in place of one that nears its end.

use std::path::PathBuf;

use clap::Args;
use dps_core::{
    Error, ErrorKind, RegistrationId,
    chain::{Certificate, Folder, PublicKeyType},
    key::{KeyType, PrivateKey},
};

use super::{
    Dir, Files, IntermediateIssuer, Maker, Term, common_name, key_type, maker::generate, report,
};
use crate::{output::Output, passphrase::PassphraseSource};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The registration ID, whose certificate is in certs/
    #[arg(value_parser = common_name)]
    registration_id: RegistrationId,
    /// Make a new key too, under the name of the new certificate: private/ID-renewed.key.pem
    #[arg(long)]
    new_key: bool,
    /// The type of the new key [default: that of the old one]
    #[arg(long, requires = "new_key", value_parser = key_type)]
    key_type: Option<KeyType>,
    #[command(flatten)]
    dir: Dir,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    issuer: IntermediateIssuer,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

/// Writes beside the old files and never over them: a device in service must not be left with a
/// new key and an old certificate by an interruption between the two.
pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(arguments.dir.folder());
    let id = &arguments.registration_id;
    let lineage = Lineage::read(&maker.folder, id)?;
    let issuer = maker.device_issuer(&arguments.issuer.issuer, &arguments.passphrase)?;
    let new_key = match arguments.new_key {
        true => Some(generate("the new key", arguments.type_of_new_key(&lineage.newest)?)?),
        false => None,
    };
    let new_public = new_key.as_ref().map(|key| key.public_key_info());
    let certificate =
        issuer.authority.reissue_device(&lineage.newest, new_public, arguments.term.validity())?;
    let full_chain = issuer.full_chain(&certificate);
    let files = Files {
        certificate: maker.folder.certificate(&lineage.next),
        key: match &new_key {
            Some(_) => Some(maker.folder.key(&lineage.next)),
            None => lineage.key(&maker.folder),
        },
        request: None,
        full_chain: Some(maker.folder.full_chain(&lineage.next)),
    };
    if let (Some(key), Some(file)) = (&new_key, &files.key) {
        maker.folder.write_private(file, key.to_pem()?.as_bytes())?;
    }
    maker.folder.write_public(&files.certificate, certificate.to_pem())?;
    if let Some(file) = &files.full_chain {
        maker.folder.write_public(file, full_chain)?;
    }
    report(output, &[(&certificate, &files)])
}

impl Arguments {
    fn type_of_new_key(&self, old: &Certificate) -> Result<KeyType, Error> {
        match (self.key_type, old.public_key_type()) {
            (Some(key_type), _) => Ok(key_type),
            (None, PublicKeyType::Supported(key_type)) => Ok(*key_type),
            (None, _) => Err(Error::new(
                ErrorKind::KeyUnsupported,
                "the old key is of a type that cannot be made anew",
            )
            .with_hint("Name another by --key-type.")),
        }
    }
}

/// The certificates that a device has had, from the first to the newest, by the stems of their
/// files: `ID`, `ID-renewed`, `ID-renewed-2` and so on.
struct Lineage {
    stems: Vec<String>,
    newest: Certificate,
    /// The first stem after them of which there is no file.
    next: String,
}

impl Lineage {
    fn read(folder: &Folder, id: &RegistrationId) -> Result<Self, Error> {
        let first = folder.certificate(id.as_str());
        let mut newest = Certificate::from_file(&first)?;
        if newest.is_ca() || newest.common_name() != Some(id.as_str()) {
            let name = newest.common_name().unwrap_or_default();
            let hint = match newest.is_ca() {
                true => "For a CA: dps chain root --keep-key, dps chain intermediate --keep-key."
                    .to_owned(),
                false => {
                    format!("Give the registration ID, not a file's name: dps chain renew {name}")
                }
            };
            let message = format!("{} is the certificate of {name:?}", first.display());
            return Err(Error::new(ErrorKind::InvalidArgument, message).with_hint(hint));
        }
        let mut stems = vec![id.to_string()];
        let mut next = format!("{id}-renewed");
        for number in 2_u64.. {
            let files: [PathBuf; 3] =
                [folder.certificate(&next), folder.key(&next), folder.full_chain(&next)];
            if !files.iter().any(|file| file.exists()) {
                break;
            }
            // What is there may be another device's, or what an interruption left.
            match Certificate::from_file(&files[0]) {
                Ok(found) if found.common_name() == Some(id.as_str()) => {
                    newest = found;
                    stems.push(next);
                }
                _ => {}
            }
            next = format!("{id}-renewed-{number}");
        }
        Ok(Self { stems, newest, next })
    }

    /// The file of the newest certificate's key, if the folder has it: a renewal may have kept it.
    fn key(&self, folder: &Folder) -> Option<PathBuf> {
        self.stems.iter().rev().map(|stem| folder.key(stem)).find(|file| {
            PrivateKey::from_file(file, None)
                .is_ok_and(|key| key.public_key_info() == self.newest.public_key_info())
        })
    }
}
