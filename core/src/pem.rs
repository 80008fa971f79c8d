//! PEM as people really have it (RFC 7468): CRLF, a byte order mark, text around the blocks.

mod pasted;

use std::{fmt, fs::File, io::Read, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::{
    asn1_rs::{Any, FromDer, OctetString, Sequence},
    certificate::X509Certificate,
    certification_request::X509CertificationRequest,
};
use zeroize::Zeroizing;

pub(crate) use self::pasted::Pasted;
use crate::error::{Error, ErrorKind, Result};

/// What a text holds.
pub(crate) struct Parsed {
    pub(crate) blocks: Vec<Block>,
    /// What had to be undone before the blocks could be read.
    pub(crate) pasted: Vec<Pasted>,
}

/// One block between a BEGIN and an END line.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// For a key in OpenSSL's old form, encrypted as its headers say: cipher and initialisation
    /// vector (`DEK-Info` of RFC 1421, section 4.6.1.3).
    pub(crate) dek_info: Option<String>,
}

/// Why a block cannot be read, and which block it is.
#[derive(Debug)]
pub(crate) struct Damage {
    number: usize,
    label: String,
    line: usize,
    reason: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, label, line, reason } = self;
        write!(f, "PEM block {number} ({label}, line {line}) is damaged: {reason}")
    }
}

/// All blocks of a text, in order. Text outside of blocks is skipped; a damaged block is an error,
/// never dropped.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Damage> {
    let (text, pasted) = pasted::clean(bytes);
    let mut blocks = Vec::new();
    // One for all blocks, sized in advance: a reallocation would leave a copy of a key behind.
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(label) = boundary(line, "-----BEGIN ") else {
            if let Some(label) = boundary(line, "-----END ") {
                return Err(Damage {
                    number: blocks.len() + 1,
                    label: label.into(),
                    line: index + 1,
                    reason: "an END line without its BEGIN line",
                });
            }
            continue;
        };
        let damage = |reason| Damage {
            number: blocks.len() + 1,
            label: label.to_owned(),
            line: index + 1,
            reason,
        };
        body.clear();
        let (mut encrypted, mut dek_info) = (false, None);
        loop {
            let Some((_, line)) = lines.next() else {
                return Err(damage("its END line is missing"));
            };
            if let Some(end) = boundary(line, "-----END ") {
                if end != label {
                    return Err(damage("its END line has another label"));
                }
                break;
            }
            if line.trim_start().starts_with("-----") {
                return Err(damage("its END line is missing"));
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.trim() {
                    "Proc-Type" => encrypted = value.contains("ENCRYPTED"),
                    "DEK-Info" => dek_info = Some(value.trim().to_owned()),
                    _ => {}
                }
                continue;
            }
            body.extend(line.chars().filter(|c| !c.is_whitespace()));
        }
        // Wiped where the end of it turns out to be damaged, too.
        let mut der = Zeroizing::new(Vec::new());
        STANDARD
            .decode_vec(body.as_bytes(), &mut der)
            .map_err(|_| damage("its base64 is not valid"))?;
        if der.is_empty() {
            return Err(damage("it is empty"));
        }
        let label = label.to_owned();
        let dek_info = encrypted.then(|| dek_info.unwrap_or_default());
        blocks.push(Block { label, der, dek_info });
    }
    Ok(Parsed { blocks, pasted })
}

/// The text without what a clipboard or a source file added to it.
pub(crate) fn cleaned(bytes: &[u8]) -> Zeroizing<String> {
    pasted::clean(bytes).0
}

/// Writes one block, 64 characters a line.
pub(crate) fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    // Sized in advance: a reallocation would leave a copy of a key behind.
    let mut text =
        Zeroizing::new(String::with_capacity(encoded.len() * 65 / 64 + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// What a file holds, for a message about a file that holds the wrong thing.
pub(crate) fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".into();
    }
    if let Some(kind) = describe_der(bytes) {
        return kind.into();
    }
    match parse(bytes) {
        Err(damage) => format!("a damaged PEM file ({damage})"),
        Ok(Parsed { blocks, .. }) if blocks.is_empty() => {
            if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) {
                "a text without any PEM block".into()
            } else {
                "a binary file of an unknown kind".into()
            }
        }
        Ok(Parsed { blocks, .. }) => {
            let mut counted = Vec::<(&str, usize)>::new();
            for block in &blocks {
                match counted.iter_mut().find(|(label, _)| *label == block.label) {
                    Some((_, count)) => *count += 1,
                    None => counted.push((&block.label, 1)),
                }
            }
            let kinds: Vec<_> =
                counted.iter().map(|(label, count)| describe_blocks(label, *count)).collect();
            kinds.join(" and ")
        }
    }
}

/// Reads a file that belongs to a credential.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    // A system's whole store of roots has a tenth of it; a device such as /dev/zero has no end.
    const LARGEST: u64 = 16 << 20;

    let read = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len().min(LARGEST);
        // Sized in advance: a reallocation would leave a copy of a key behind.
        let size = usize::try_from(size).unwrap_or_default() + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| Error::on_file(ErrorKind::FileNotReadable, path, error))?;
    match u64::try_from(bytes.len()) {
        Ok(0..=LARGEST) => Ok(bytes),
        _ => Err(Error::new(
            ErrorKind::FileNotReadable,
            format!(
                "{}: it is larger than 16 MiB, as no certificate and no key is",
                path.display()
            ),
        )
        .with_path(path)),
    }
}

fn boundary<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.trim().strip_prefix(prefix)?.strip_suffix("-----")
}

/// What a file in DER holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Der {
    Certificate,
    Request,
    Pkcs12,
    Key,
    EncryptedKey,
    Other,
}

impl Der {
    /// DER files told apart by their first elements (X.690): a SEQUENCE that holds the version
    /// number 3 is PKCS#12 (RFC 7292), 0 or 1 a key (RFC 5958, RFC 8017, RFC 5915), and one that
    /// holds a SEQUENCE a certificate, a request or an encrypted key. `None` for what is no DER.
    pub(crate) fn detect(bytes: &[u8]) -> Option<Self> {
        if bytes.first() != Some(&0x30) {
            return None;
        }
        let (_, outer) = Sequence::from_der(bytes).ok()?;
        Some(match outer.content.as_ref() {
            [0x02, 0x01, 0x03, ..] => Self::Pkcs12,
            [0x02, 0x01, 0x00 | 0x01, ..] => Self::Key,
            _ if X509Certificate::from_der(bytes).is_ok() => Self::Certificate,
            _ if X509CertificationRequest::from_der(bytes).is_ok() => Self::Request,
            _ if is_encrypted_key(bytes) => Self::EncryptedKey,
            _ => Self::Other,
        })
    }
}

/// `EncryptedPrivateKeyInfo ::= SEQUENCE { SEQUENCE, OCTET STRING }` (RFC 5958, section 3).
pub(crate) fn is_encrypted_key(der: &[u8]) -> bool {
    let Ok((_, outer)) = Sequence::from_der(der) else { return false };
    let Ok((rest, _algorithm)) = Sequence::from_der(outer.content.as_ref()) else { return false };
    OctetString::from_der(rest).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The first of the DER values that follow each other; all of it, where there is none.
pub(crate) fn first_element(der: &[u8]) -> &[u8] {
    Any::from_der(der).map_or(der, |(rest, _)| &der[..der.len() - rest.len()])
}

fn describe_der(bytes: &[u8]) -> Option<&'static str> {
    Der::detect(bytes).map(|der| match der {
        Der::Certificate => "a DER certificate",
        Der::Request => "a DER certificate request",
        Der::Pkcs12 => "a PKCS#12 (PFX) file",
        Der::Key => "a DER private key",
        Der::EncryptedKey => "an encrypted DER private key",
        Der::Other => "a DER file of an unknown kind",
    })
}

fn describe_blocks(label: &str, count: usize) -> String {
    let (article, kind) = match label {
        "CERTIFICATE" => ("a", "certificate"),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => ("a", "certificate request"),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => ("a", "private key"),
        "ENCRYPTED PRIVATE KEY" => ("an", "encrypted private key"),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => ("a", "public key"),
        other if count == 1 => return format!("a PEM block \"{other}\""),
        other => return format!("{count} PEM blocks \"{other}\""),
    };
    match count {
        1 => format!("{article} {kind}"),
        count => format!("{count} {kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(String, Vec<u8>)> {
        parse(text.as_bytes())
            .unwrap()
            .blocks
            .into_iter()
            .map(|b| (b.label, b.der.to_vec()))
            .collect()
    }

    #[test]
    fn crlf_byte_order_mark_and_text_around_are_understood() {
        let text = "\u{feff}Bag Attributes\r\n  friendlyName: x\r\n-----BEGIN CERTIFICATE-----\r\n\
                    AQID\r\n-----END CERTIFICATE-----\r\nsubject=CN = x\r\n";
        assert_eq!(labels(text), [("CERTIFICATE".into(), vec![1, 2, 3])]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in [1, 47, 48, 49, 1000] {
            let der: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let text = write("X", &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(labels(&text), [("X".into(), der)]);
        }
    }

    #[test]
    fn a_damaged_block_is_named() {
        let good = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        for (damaged, reason) in [
            ("-----BEGIN CERTIFICATE-----\nAQ!D\n-----END CERTIFICATE-----\n", "base64"),
            ("-----BEGIN CERTIFICATE-----\nAQID\n", "END line is missing"),
            ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "empty"),
            ("-----BEGIN CERTIFICATE-----\nAQID\n-----END X-----\n", "another label"),
            ("-----END CERTIFICATE-----\n", "without its BEGIN"),
        ] {
            let damage = parse(format!("{good}{damaged}").as_bytes()).err().unwrap().to_string();
            assert!(damage.contains(reason), "{damage}");
            assert!(damage.contains("block 2 (CERTIFICATE, line 4)"), "{damage}");
        }
    }
}
