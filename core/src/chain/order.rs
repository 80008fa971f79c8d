//! Puts the certificates of a file into the order that TLS wants: leaf first (RFC 8446, 4.4.2).

use super::{Certificate, CertificateChain, Issues};
use crate::error::{Error, ErrorKind, Result};

pub(super) fn order(certificates: Vec<Certificate>) -> Result<CertificateChain> {
    let (mut unused, warnings) = without_duplicates(certificates);
    let leaf = find_leaf(&unused)?;
    let mut path = vec![unused.remove(leaf)];
    let gap = loop {
        let last = &path[path.len() - 1];
        if last.is_self_signed() {
            break None;
        }
        let found = |wanted: Issues| unused.iter().position(|other| other.issues(last) == wanted);
        match (found(Issues::Yes), found(Issues::NameOnly)) {
            (Some(issuer), _) => path.push(unused.remove(issuer)),
            (None, Some(impostor)) => {
                return Err(Error::new(
                    ErrorKind::ChainBroken,
                    format!(
                        "the chain holds a certificate {:?}, but it did not issue {:?}: the name \
                         matches and the key does not",
                        unused[impostor].subject(),
                        last.subject()
                    ),
                )
                .with_hint(
                    "The CA was made anew under the same name: issue the certificate again, or \
                     put the old CA certificate back.",
                ));
            }
            (None, None) => break Some(last),
        }
    };
    let Some(stranger) = unused.first() else {
        return Ok(CertificateChain { certificates: path, warnings });
    };
    // A root without the way up to it is not a stranger: what stands between is missing.
    if let Some(last) = gap
        && unused.iter().all(|certificate| certificate.is_ca())
    {
        return Err(Error::new(
            ErrorKind::IssuerMissing,
            format!(
                "the chain has no certificate of {:?}, which issued {:?}; it goes on with {:?}",
                last.issuer(),
                last.subject(),
                stranger.subject()
            ),
        )
        .with_hint("Add the missing intermediate certificate to the chain file."));
    }
    Err(Error::new(
        ErrorKind::CertificateNotInChain,
        format!(
            "the certificate {:?} is not part of the path from the leaf {:?} upward",
            stranger.subject(),
            path[0].subject()
        ),
    )
    .with_hint("Remove it from the chain file: a device sends its own chain and nothing else."))
}

fn without_duplicates(certificates: Vec<Certificate>) -> (Vec<Certificate>, Vec<String>) {
    let (mut unique, mut warnings) = (Vec::<Certificate>::new(), Vec::new());
    for certificate in certificates {
        if unique.contains(&certificate) {
            warnings.push(format!(
                "the certificate {:?} stands twice in the chain; one copy was dropped",
                certificate.subject()
            ));
        } else {
            unique.push(certificate);
        }
    }
    (unique, warnings)
}

/// The leaf issued none of the others. Of several candidates an end-entity certificate is
/// preferred to a CA, any other to a root, and then the first in the file.
pub(super) fn find_leaf(certificates: &[Certificate]) -> Result<usize> {
    // Telling the leaf compares each with each; no device has a chain as long as that.
    const LONGEST: usize = 100;

    if certificates.len() > LONGEST {
        return Err(Error::new(
            ErrorKind::CertificateNotInChain,
            format!("{} certificates are no device's chain", certificates.len()),
        ));
    }
    let issued_none = |index: &usize| {
        let candidate = &certificates[*index];
        !certificates.iter().enumerate().any(|(other, certificate)| {
            other != *index
                && candidate.issues(certificate) != Issues::No
                // Two generations of one self-signed CA bear the same names.
                && !candidate.has_same_subject_and_issuer_names_as(certificate)
        })
    };
    let candidates: Vec<_> = (0..certificates.len()).filter(issued_none).collect();
    candidates
        .iter()
        .copied()
        .min_by_key(|&index| (certificates[index].is_ca(), certificates[index].is_self_issued()))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::ChainBroken,
                match certificates.first() {
                    None => "the chain holds no certificate".to_owned(),
                    Some(first) => format!(
                        "the certificates issue each other in a circle, {:?} among them",
                        first.subject()
                    ),
                },
            )
        })
}
