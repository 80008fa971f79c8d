//! What a file of certificates holds, as far as it matters to DPS.

use std::{
    fmt::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Certificate, Issues, PublicKeyType, certificate::upper_hex, check::text as date, moment,
    read_any,
};
use crate::{
    error::{Error, ErrorKind, Result},
    key::Passphrase,
    pem::{self, Der},
    source::Source,
};

/// The certificates of a file, with what each may be used for.
///
/// `Display` gives the tree from the root to the leaf.
#[derive(Clone, Debug)]
pub struct Inspection {
    certificates: Vec<Certificate>,
    notes: Vec<String>,
    now: OffsetDateTime,
}

impl Inspection {
    /// Reads PEM, DER or PKCS#12, of which a chain need not hold.
    pub fn new(bytes: &[u8], passphrase: Option<&Passphrase>, now: SystemTime) -> Result<Self> {
        // Who issued whom is asked of each and each; a system's store of roots has half as many.
        const MOST: usize = 300;

        let (certificates, mut notes) = read_any(bytes, passphrase)?;
        if certificates.len() > MOST {
            return Err(Error::new(
                ErrorKind::WrongFileContent,
                format!("{} certificates are too many; {MOST} can be shown", certificates.len()),
            ));
        }
        if Der::detect(bytes).is_none() && bytes.windows(2).any(|pair| pair == b"\r\n") {
            notes.push("its lines end with CRLF, as on Windows, which is no fault".to_owned());
        }
        Ok(Self { certificates, notes, now: moment(now) })
    }

    /// As [`new`](Self::new) or [`file`](Self::file).
    pub fn read(source: &Source, passphrase: Option<&Passphrase>, now: SystemTime) -> Result<Self> {
        match source {
            Source::File(path) => Self::file(path, passphrase, now),
            Source::Memory(bytes) => Self::new(bytes, passphrase, now),
        }
    }

    /// As [`new`](Self::new), from a file, which errors and notes then name.
    pub fn file(
        path: impl AsRef<Path>,
        passphrase: Option<&Passphrase>,
        now: SystemTime,
    ) -> Result<Self> {
        let path = path.as_ref();
        let mut inspection = Self::new(&pem::read(path)?, passphrase, now)
            .map_err(|error| error.in_context(path.display()))?;
        for note in &mut inspection.notes {
            *note = format!("{}: {note}", path.display());
        }
        Ok(inspection)
    }

    /// Both as one tree, in which a certificate that both hold stands once.
    pub fn and(mut self, other: Self) -> Self {
        for certificate in other.certificates {
            if !self.certificates.contains(&certificate) {
                self.certificates.push(certificate);
            }
        }
        self.notes.extend(other.notes);
        self
    }

    /// The certificates, in the order of the file.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// What was tolerated while reading, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The inspection as JSON: `certificates`, in the order of the file, and `notes`.
    ///
    /// Of each certificate `issuedBy` is the position of its issuer among them, or null; dates
    /// are RFC 3339 in UTC, thumbprints and serial numbers upper-case hexadecimal.
    pub fn to_json(&self) -> Value {
        let parents = self.parents();
        let certificates = self.certificates.iter().zip(&parents).map(|(certificate, parent)| {
            json!({
                "subject": certificate.subject(),
                "commonName": certificate.common_name(),
                "issuer": certificate.issuer(),
                "issuedBy": parent,
                "selfSigned": certificate.is_self_signed(),
                "serial": upper_hex(certificate.serial()),
                "notBefore": date(certificate.not_before()),
                "notAfter": date(certificate.not_after()),
                "daysLeft": self.days_left(certificate),
                "key": key(certificate),
                "signature": certificate.signature_algorithm(),
                "version": certificate.version(),
                "ca": certificate.is_ca(),
                "pathLength": certificate.path_length(),
                "keyUsage": certificate.key_usage(),
                "extendedKeyUsage": certificate.extended_key_usage(),
                "sha1Thumbprint": certificate.sha1_thumbprint(),
                "sha256Thumbprint": certificate.sha256_thumbprint(),
                "use": use_in_dps(certificate),
            })
        });
        json!({ "certificates": certificates.collect::<Vec<_>>(), "notes": self.notes })
    }

    /// For each certificate, which of the others issued it.
    fn parents(&self) -> Vec<Option<usize>> {
        let issuer_of = |(index, certificate): (usize, &Certificate)| {
            let issued_by = |(other, candidate): (usize, &Certificate)| {
                (other != index
                    && candidate != certificate
                    && candidate.issues(certificate) == Issues::Yes)
                    .then_some(other)
            };
            match certificate.is_self_signed() {
                true => None,
                false => self.certificates.iter().enumerate().find_map(issued_by),
            }
        };
        self.certificates.iter().enumerate().map(issuer_of).collect()
    }

    fn days_left(&self, certificate: &Certificate) -> i64 {
        (certificate.not_after() - self.now).whole_days()
    }

    fn write_certificate(
        &self,
        f: &mut fmt::Formatter<'_>,
        certificate: &Certificate,
        issuer_is_there: bool,
        depth: usize,
    ) -> fmt::Result {
        let margin = "   ".repeat(depth);
        match depth.checked_sub(1) {
            None => writeln!(f, "{}", certificate.subject())?,
            Some(above) => {
                writeln!(f, "{}└─ {}", "   ".repeat(above), certificate.subject())?;
            }
        }
        let mut line = |name: &str, value: String| writeln!(f, "{margin}   {name:<9} {value}");
        if !issuer_is_there && !certificate.is_self_signed() {
            line("issuer", format!("{} (not in the file)", certificate.issuer()))?;
        }
        line("use", use_in_dps(certificate).into())?;
        let mut validity =
            format!("{} to {}, ", date(certificate.not_before()), date(certificate.not_after()));
        let days = self.days_left(certificate);
        let _ = match (self.now < certificate.not_before(), self.now > certificate.not_after()) {
            (true, _) => write!(validity, "NOT VALID YET"),
            (_, true) => write!(validity, "EXPIRED {} days ago", -days),
            _ => write!(validity, "{days} days left"),
        };
        line("valid", validity)?;
        line(
            "key",
            format!("{}, signed by {}", key(certificate), certificate.signature_algorithm()),
        )?;
        let mut usage = certificate.key_usage().unwrap_or_default().join(", ");
        if let Some(purposes) = certificate.extended_key_usage() {
            let _ = write!(usage, "; {}", purposes.join(", "));
        }
        if let Some(length) = certificate.path_length() {
            let _ = write!(usage, "; pathlen:{length}");
        }
        if !usage.is_empty() {
            line("key usage", usage)?;
        }
        line("SHA-1", certificate.sha1_thumbprint())?;
        line("SHA-256", certificate.sha256_thumbprint())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parents = &self.parents();
        let below =
            |above: Option<usize>| (0..parents.len()).filter(move |&index| parents[index] == above);
        // Two CAs that certify each other have no top: what is left over begins a tree too.
        let mut shown = vec![false; parents.len()];
        for start in below(None).chain(0..parents.len()) {
            // The next to be written is the last.
            let mut open = vec![(start, 0)];
            while let Some((index, depth)) = open.pop() {
                if std::mem::replace(&mut shown[index], true) {
                    continue;
                }
                let issuer_is_there = parents[index].is_some();
                self.write_certificate(f, &self.certificates[index], issuer_is_there, depth)?;
                let children: Vec<_> = below(Some(index)).collect();
                open.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
        for note in &self.notes {
            writeln!(f, "Note: {note}")?;
        }
        Ok(())
    }
}

/// Where in DPS a certificate of this kind belongs.
fn use_in_dps(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca(), certificate.is_self_issued()) {
        (true, true) => "root CA: upload and verify it in DPS, or list it in an enrollment group",
        (true, false) => "intermediate CA: list it in an enrollment group",
        (false, true) => "self-signed device: belongs into an individual enrollment",
        (false, false) => {
            "device: registers through its CA's enrollment group, or an individual enrollment"
        }
    }
}

fn key(certificate: &Certificate) -> String {
    match certificate.public_key_type() {
        PublicKeyType::Supported(key_type) => key_type.to_string(),
        PublicKeyType::Other(name) => name.clone(),
    }
}
