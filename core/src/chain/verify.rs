//! Whether a chain holds: the path from the leaf upward, and every link of it (RFC 5280, section
//! 6.1), with the rules that DPS adds.
//!
//! Where opening a credential stops at the first fault, this finds all of them.

use std::time::SystemTime;

use time::OffsetDateTime;

use super::{
    Certificate, Issues, PublicKeyType,
    certificate::SignedWith,
    check::{issue_again, moment, text as date},
    order,
};
use crate::{
    doctor::{Check, Finding, Severity},
    registration_id::RegistrationId,
};

/// What became of a verification.
#[derive(Clone, Debug)]
pub struct Verification {
    path: Vec<Certificate>,
    /// How many of the path stand among the certificates that were given.
    presented: usize,
    findings: Vec<Finding>,
}

impl Verification {
    /// The certificates from the leaf upward, as far as the path could be built.
    pub fn path(&self) -> &[Certificate] {
        &self.path
    }

    /// Those of the path that were given, which is what a device sends. Where DPS knows the issuer
    /// of the last of them, the path has that one in addition.
    pub fn presented(&self) -> &[Certificate] {
        &self.path[..self.presented]
    }

    /// All that was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether nothing worse than a warning was found.
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity() == Severity::Warning)
    }
}

/// Verifies the certificates of a device, in any order, at `now`.
///
/// `trusted` are the CA certificates that DPS knows; where there are none, the chain is judged by
/// itself. The path ends at the first of them, or at a root.
pub fn verify(
    certificates: &[Certificate],
    trusted: &[Certificate],
    now: SystemTime,
) -> Verification {
    let mut findings = Vec::new();
    let unique = without_duplicates(certificates, &mut findings);
    let (path, presented) = match order::find_leaf(&unique) {
        Ok(leaf) => Path::build(unique, leaf, trusted, &mut findings),
        Err(error) => {
            findings.push(Finding::new(
                Check::ChainUnreadable,
                error.message(),
                "Put the device's certificate first and its issuers after it: cat device.cert.pem \
                 intermediate.cert.pem root.cert.pem > full-chain.cert.pem",
            ));
            (Vec::new(), 0)
        }
    };
    judge(&path, moment(now), &mut findings);
    Verification { path, presented, findings }
}

fn without_duplicates(
    certificates: &[Certificate],
    findings: &mut Vec<Finding>,
) -> Vec<Certificate> {
    let mut unique = Vec::<Certificate>::new();
    for certificate in certificates {
        if unique.contains(certificate) {
            findings.push(Finding::new(
                Check::Duplicate,
                format!("The certificate {} stands twice in the file.", name(certificate)),
                "Remove the second copy from the chain file.",
            ));
        } else {
            unique.push(certificate.clone());
        }
    }
    unique
}

struct Path<'a> {
    path: Vec<Certificate>,
    /// How many of the path were given, and not only known: all but perhaps the last.
    presented: usize,
    unused: Vec<Certificate>,
    trusted: &'a [Certificate],
}

/// Where a path ends.
enum End {
    /// At a certificate that is trusted.
    Trusted,
    /// At a root that is not known to be trusted.
    Root,
    /// At a certificate whose issuer is not there.
    Gap,
    /// At a certificate that no certificate of its issuer's name has signed.
    Impostor,
}

impl<'a> Path<'a> {
    fn build(
        mut unused: Vec<Certificate>,
        leaf: usize,
        trusted: &'a [Certificate],
        findings: &mut Vec<Finding>,
    ) -> (Vec<Certificate>, usize) {
        let path = vec![unused.remove(leaf)];
        let mut building = Self { path, presented: 1, unused, trusted };
        let end = building.climb(findings);
        building.judge_end(end, findings);
        (building.path, building.presented)
    }

    fn last(&self) -> &Certificate {
        &self.path[self.path.len() - 1]
    }

    fn climb(&mut self, findings: &mut Vec<Finding>) -> End {
        loop {
            let last = self.last();
            if self.trusted.contains(last) {
                return End::Trusted;
            }
            // A root's own signature proves nothing; one that cannot be verified is a root too.
            let unverifiable = matches!(last.public_key_type(), PublicKeyType::Other(_));
            if last.is_self_signed() || (last.is_self_issued() && unverifiable) {
                return End::Root;
            }
            // Of those that bear the issuer's name, the first that signed; one with the right key
            // identifier goes before the others.
            let (mut named, mut issuer) = (None, None);
            for candidate in self.trusted.iter().chain(&self.unused) {
                match candidate.issues(last) {
                    Issues::No => continue,
                    Issues::NameOnly => {}
                    Issues::Yes if key_ids_agree(candidate, last) => {
                        issuer = Some(candidate);
                        break;
                    }
                    Issues::Yes => issuer = issuer.or(Some(candidate)),
                }
                named = named.or(Some(candidate));
            }
            match issuer {
                Some(issuer) => {
                    let issuer = issuer.clone();
                    if !key_ids_agree(&issuer, last) {
                        findings.push(key_id_differs(&issuer, last));
                    }
                    // A path never passes a certificate twice.
                    if self.path.contains(&issuer) {
                        return End::Gap;
                    }
                    if let Some(given) = self.unused.iter().position(|other| *other == issuer) {
                        self.unused.remove(given);
                        self.presented += 1;
                    }
                    self.path.push(issuer);
                }
                None => {
                    let Some(named) = named else { return End::Gap };
                    findings.push(not_the_signer(named, last));
                    return End::Impostor;
                }
            }
        }
    }

    fn judge_end(&self, end: End, findings: &mut Vec<Finding>) {
        let last = self.last();
        let known = || names(self.trusted);
        match end {
            End::Impostor => return,
            End::Root if !self.trusted.is_empty() => {
                let same_name = |other: &&Certificate| other.subject() == last.subject();
                findings.push(match self.trusted.iter().find(same_name) {
                    Some(other) => made_anew(other, last),
                    None => Finding::new(
                        Check::RootUnknown,
                        format!(
                            "The chain ends in the root {}, which is none of the CAs that DPS \
                             knows: {}.",
                            name(last),
                            known()
                        ),
                        format!(
                            "Upload and verify it: az iot dps certificate create --dps-name DPS \
                             --resource-group GROUP --name root --verified true --path {ROOT_FILE}"
                        ),
                    ),
                });
            }
            End::Gap => {
                let below = self.unused.iter().all(Certificate::is_ca) && !self.unused.is_empty();
                if below || !self.trusted.is_empty() {
                    let goal = match below {
                        true => format!("the file goes on with {}", names(&self.unused)),
                        false => format!("DPS knows {}", known()),
                    };
                    findings.push(Finding::new(
                        Check::IssuerMissing,
                        format!(
                            "{} was issued by {:?}, whose certificate is not in the file; {goal}.",
                            name(last),
                            last.issuer()
                        ),
                        format!(
                            "Add the certificate of {:?} to the chain file: cat device.cert.pem \
                             intermediate.cert.pem root.cert.pem > full-chain.cert.pem",
                            last.issuer()
                        ),
                    ));
                    return;
                }
                if self.path.len() == 1 {
                    findings.push(Finding::new(
                        Check::LeafAlone,
                        format!(
                            "The file holds only {}; the certificate of its issuer {:?} would not \
                             be sent.",
                            name(last),
                            last.issuer()
                        ),
                        "Unless this very certificate is enrolled, append its issuers: cat \
                         device.cert.pem intermediate.cert.pem root.cert.pem > full-chain.cert.pem",
                    ));
                }
            }
            End::Trusted if self.presented < self.path.len() => {
                let below = &self.path[self.presented - 1];
                let namesake = self.unused.iter().any(|other| other.subject() == last.subject());
                findings.push(ends_below(below, last, namesake));
            }
            End::Trusted | End::Root => {}
        }
        // Above the first trusted certificate, its own issuers are no strangers.
        let mut above = vec![last];
        loop {
            let issuers = self.unused.iter().find(|other| {
                !above.contains(other)
                    && above.iter().any(|below| other.issues(below) == Issues::Yes)
            });
            match issuers {
                Some(issuer) => above.push(issuer),
                None => break,
            }
        }
        for stranger in self.unused.iter().filter(|other| !above.contains(other)) {
            findings.push(Finding::new(
                Check::Stranger,
                format!(
                    "The certificate {} is not part of the path from the leaf {} upward.",
                    name(stranger),
                    name(&self.path[0])
                ),
                "Remove it from the chain file: a device sends its own chain and nothing else.",
            ));
        }
    }
}

const ROOT_FILE: &str = "certs/azure-iot-test-only.root.ca.cert.pem";

/// What each certificate of the path says about itself.
fn judge(path: &[Certificate], now: OffsetDateTime, findings: &mut Vec<Finding>) {
    let mut authorities_below = 0;
    for (index, certificate) in path.iter().enumerate() {
        let is_leaf = index == 0;
        judge_dates(certificate, now, findings);
        judge_form(certificate, is_leaf, findings);
        if is_leaf {
            judge_leaf(certificate, findings);
            continue;
        }
        judge_authority(certificate, &path[index - 1], authorities_below, findings);
        // RFC 5280, section 6.1.4 (l): self-issued certificates do not count.
        if !certificate.is_self_issued() {
            authorities_below += 1;
        }
    }
}

fn judge_dates(certificate: &Certificate, now: OffsetDateTime, findings: &mut Vec<Finding>) {
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let span = || {
        format!(
            "it is valid from {} to {}, and this clock says {}",
            date(from),
            date(until),
            date(now)
        )
    };
    if now < from {
        findings.push(Finding::new(
            Check::NotYetValid,
            format!(
                "{} is not valid for another {}: {}.",
                name(certificate),
                ago(from - now),
                span()
            ),
            "Set this device's clock, for example: timedatectl set-ntp true. If the clock is \
             right, issue the certificate again.",
        ));
    } else if now > until {
        findings.push(Finding::new(
            Check::Expired,
            format!("{} expired {} ago: {}.", name(certificate), ago(now - until), span()),
            issue_again(certificate),
        ));
    } else if (now - from) > (until - from) * 4 / 5 {
        findings.push(Finding::new(
            Check::ExpiresSoon,
            format!("{} has {} left: {}.", name(certificate), ago(until - now), span()),
            issue_again(certificate),
        ));
    }
}

fn judge_form(certificate: &Certificate, is_leaf: bool, findings: &mut Vec<Finding>) {
    let extensions = certificate.extensions();
    for (oids, what) in [
        (&extensions.unknown_critical, "a critical extension that is not known here"),
        (&extensions.damaged, "an extension that is damaged or stands twice"),
    ] {
        if !oids.is_empty() {
            findings.push(Finding::new(
                Check::BadExtension,
                format!("{} has {what}: {}.", name(certificate), oids.join(", ")),
                "Issue it again without that extension.",
            ));
        }
    }
    if certificate.version() < 3 && (is_leaf || !certificate.is_self_issued()) {
        findings.push(Finding::new(
            Check::OldVersion,
            format!(
                "{} is an X.509 version {} certificate, which cannot say what it is for.",
                name(certificate),
                certificate.version()
            ),
            "Issue it again with its extensions: openssl needs -extfile or -copy_extensions for \
             that; dps chain sets them.",
        ));
    }
    if matches!(certificate.signed_with(), SignedWith::Sha1Rsa | SignedWith::Sha1Ecdsa)
        && !certificate.is_self_issued()
    {
        findings.push(Finding::new(
            Check::WeakSignature,
            format!(
                "{} is signed by {}, which services may refuse.",
                name(certificate),
                certificate.signature_algorithm()
            ),
            "Issue it again with SHA-256: openssl ca -md sha256.",
        ));
    }
    if extensions.excludes_client_auth() {
        let purposes = extensions.extended_key_usage.as_deref().unwrap_or_default().join(", ");
        findings.push(Finding::new(
            Check::NoClientAuth,
            format!("{} is meant for {purposes} and not for clientAuth.", name(certificate)),
            "Issue it again with extendedKeyUsage = clientAuth, as the tutorial's profile usr_cert \
             does.",
        ));
    }
}

fn judge_leaf(leaf: &Certificate, findings: &mut Vec<Finding>) {
    if leaf.extensions().key_usage.is_some_and(|usage| !usage.authenticates()) {
        findings.push(Finding::new(
            Check::NoDigitalSignature,
            format!(
                "The key usage of {} is {}, without digitalSignature.",
                name(leaf),
                leaf.key_usage().unwrap_or_default().join(", ")
            ),
            "Issue it again with keyUsage = critical, digitalSignature.",
        ));
    }
    if leaf.is_ca() {
        findings.push(Finding::new(
            Check::LeafIsCa,
            format!(
                "The leaf {} is a CA certificate (CA:TRUE), and a device is an end entity.",
                name(leaf)
            ),
            "Put the device's own certificate first in the file, or issue it as one: dps chain \
             device REGISTRATION_ID",
        ));
        return;
    }
    let registration_id = match leaf.common_name() {
        None => Err(format!("{} has no common name", name(leaf))),
        Some(common_name) => RegistrationId::parse_common_name(common_name)
            .map(drop)
            .map_err(|error| error.message().to_owned()),
    };
    if let Err(reason) = registration_id {
        findings.push(Finding::new(
            Check::NoRegistrationId,
            format!("The common name of a device is its registration ID, but {reason}."),
            "Issue it again with the registration ID as its common name: dps chain device \
             REGISTRATION_ID",
        ));
    }
}

fn judge_authority(
    authority: &Certificate,
    below: &Certificate,
    authorities_below: u32,
    findings: &mut Vec<Finding>,
) {
    // RFC 5280, section 6.1.4 (k): a certificate of version 1 is a CA only as a known root.
    let old_root = authority.version() < 3 && authority.is_self_issued();
    if !authority.is_ca() && !old_root {
        findings.push(Finding::new(
            Check::NotACa,
            format!(
                "{} issued {}, and is not a CA certificate (CA:TRUE).",
                name(authority),
                name(below)
            ),
            "Make an intermediate CA and issue the device certificate from it: dps chain \
             intermediate",
        ));
    }
    if let Some(allowed) = authority.path_length()
        && authorities_below > allowed
    {
        findings.push(Finding::new(
            Check::PathTooLong,
            format!(
                "{} allows {allowed} CAs below it (pathlen:{allowed}), and there are \
                 {authorities_below}.",
                name(authority)
            ),
            format!(
                "Issue the CA again with pathlen:{authorities_below} or more, or leave an \
                 intermediate out."
            ),
        ));
    }
    if authority.extensions().key_usage.is_some_and(|usage| !usage.signs_certificates()) {
        findings.push(Finding::new(
            Check::NoCertificateSigning,
            format!(
                "The key usage of the CA {} is {}, without keyCertSign.",
                name(authority),
                authority.key_usage().unwrap_or_default().join(", ")
            ),
            "Issue the CA again with keyUsage = critical, digitalSignature, cRLSign, keyCertSign.",
        ));
    }
}

/// Whether the issued certificate names its issuer's key, where both name one.
fn key_ids_agree(issuer: &Certificate, issued: &Certificate) -> bool {
    match (&issuer.extensions().subject_key_id, &issued.extensions().authority_key_id) {
        (Some(has), Some(wanted)) => has == wanted,
        _ => true,
    }
}

fn key_id_differs(issuer: &Certificate, issued: &Certificate) -> Finding {
    Finding::new(
        Check::KeyIdDiffers,
        format!(
            "{} names in authorityKeyIdentifier another key than its issuer {} has in \
             subjectKeyIdentifier.",
            name(issued),
            name(issuer)
        ),
        "Issue the lower certificate again from the CA certificate that stands in the chain.",
    )
}

/// The issuer is a CA that DPS knows, and the device would not send it; `namesake` where the file
/// has another certificate of its name.
///
/// Microsoft's documents of enrollment groups have the chain go up to and including a certificate
/// that is verified with DPS; the readme of the C SDK's X.509 sample leaves that one out.
pub(crate) fn ends_below(below: &Certificate, known: &Certificate, namesake: bool) -> Finding {
    Finding::new(
        Check::EndsBelowKnown,
        format!(
            "{} was issued by {}, a CA that DPS knows, whose certificate is not in the file.",
            name(below),
            name(known)
        ),
        match namesake {
            true => "Put that certificate into the chain file, in place of the one of its name.",
            false => {
                "Append that certificate to the chain file: cat ca.cert.pem >> full-chain.cert.pem"
            }
        },
    )
}

/// A certificate of the issuer's name is there, but its key does not verify the signature.
fn not_the_signer(candidate: &Certificate, issued: &Certificate) -> Finding {
    match unverifiable(candidate, issued) {
        Some(how) => Finding::new(
            Check::SignatureUnsupported,
            format!("{} is {how}, which cannot be verified.", name(issued)),
            "Use CAs with RSA keys of 2048 bits or more, EC P-256 or EC P-384, and SHA-256.",
        ),
        None => made_anew(candidate, issued),
    }
}

/// Why nobody here can tell whether the candidate signed it.
pub(super) fn unverifiable(candidate: &Certificate, issued: &Certificate) -> Option<String> {
    use SignedWith::{Ed25519, Md5Rsa, Other, Sha1Ecdsa, Sha512Ecdsa};

    match (issued.signed_with(), candidate.public_key_type()) {
        (algorithm @ (Other | Md5Rsa | Sha1Ecdsa | Sha512Ecdsa), _) => {
            Some(format!("signed by {}", algorithm.name()))
        }
        (_, PublicKeyType::Supported(short)) if short.is_too_short() => {
            Some(format!("signed by a key of the kind {short}"))
        }
        (algorithm, PublicKeyType::Other(key)) if algorithm != Ed25519 => {
            Some(format!("signed by a key of the kind {key}"))
        }
        _ => None,
    }
}

fn made_anew(known: &Certificate, found: &Certificate) -> Finding {
    let evidence = match known.subject() == found.subject() {
        true => format!(
            "The chain ends in {}, but DPS knows another certificate of that name with another \
             key.",
            name(found)
        ),
        false => format!(
            "The CA {} did not sign {}: the name of the issuer matches and the key does not.",
            name(known),
            name(found)
        ),
    };
    Finding::new(
        Check::IssuerMadeAnew,
        evidence,
        "The CA was made anew under the same name. Issue the chain again from the CA that is \
         enrolled, or enroll the new one.",
    )
}

/// The subject, with the beginning of the thumbprint that tells two of one name apart.
fn name(certificate: &Certificate) -> String {
    format!("{:?} (SHA-1 {}…)", certificate.subject(), &certificate.sha1_thumbprint()[..8])
}

fn names(certificates: &[Certificate]) -> String {
    certificates.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn ago(span: time::Duration) -> String {
    let plural = |n: i64, unit: &str| match n {
        1 => format!("1 {unit}"),
        n => format!("{n} {unit}s"),
    };
    match (span.whole_days(), span.whole_hours(), span.whole_minutes()) {
        (0, 0, minutes) => plural(minutes, "minute"),
        (0, hours, _) => plural(hours, "hour"),
        (days, ..) => plural(days, "day"),
    }
}
