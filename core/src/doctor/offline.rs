//! What files, names and the clock tell by themselves.

use std::{env, sync::Arc};

use time::{OffsetDateTime, macros::datetime};
use tokio::{sync::oneshot, time::timeout};
use zeroize::Zeroizing;

use super::{Check, Doctor, Finding, Limit, Report, certificates, remedy};
use crate::{
    chain::{self, Certificate, CertificateChain, Issues, date},
    error::{Error, ErrorKind, Result},
    identity,
    key::PrivateKey,
    pem::{self, Der},
    provisioning::GLOBAL_HOST,
    registration_id::RegistrationId,
    signer::{self, SIGN_LIMIT, Signer},
    source::{Named, Source},
    tls::SigningThreads,
    transport::Host,
};

/// When this program was made, at the earliest: no clock that is right shows less.
const MADE: OffsetDateTime = datetime!(2026-11-01 0:00 UTC);

/// What the later examinations need of the first.
pub(super) struct Examined {
    pub(super) report: Report,
    leaf: Option<Certificate>,
    chain: Option<CertificateChain>,
    key: Option<Key>,
    pub(super) host: Option<Host>,
}

/// How far the examination is to go; roots matter only to who connects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Files,
    Network,
}

pub(super) fn examine(doctor: &Doctor, reach: Reach) -> Result<Examined> {
    let mut report = Report::default();
    let now = chain::moment(doctor.now());
    if now < MADE {
        report.found(Finding::new(
            Check::ClockBeforeBuild,
            format!(
                "This device's clock shows {}, and this program was made after {}.",
                date(now),
                date(MADE)
            ),
            "Set the clock, for example: timedatectl set-ntp true",
        ));
    }
    let host = examine_host(doctor, &mut report);
    examine_roots(doctor, reach, &mut report)?;
    let files = Files::read(doctor, &mut report);
    let certificates = examine_chain(doctor, files.chain.as_ref(), &mut report)?;
    let leaf = certificates.first();
    examine_registration_id(doctor, leaf, &mut report);
    let key = match files.key_is_in_chain && leaf.is_none() {
        // The one file cannot be read, which is said already.
        true => None,
        false => examine_key(doctor, files.key.as_ref(), leaf, &mut report),
    };
    let chain = CertificateChain::from_der(
        certificates.iter().map(|certificate| certificate.der().to_vec()),
    );
    let leaf = leaf.cloned();
    Ok(Examined { report, leaf, chain: chain.ok(), key, host })
}

impl Examined {
    /// Has the signer prove here and now that its key is the leaf's.
    pub(super) fn prove(&mut self) {
        if let Some((leaf, signer)) = self.unproven() {
            let proof = identity::prove(&leaf, signer.as_ref());
            self.proven(proof, signer);
        }
    }

    /// As [`prove`](Self::prove), within half of the time that is left; a signer that may block is
    /// called on a thread of its own.
    pub(super) async fn prove_within(&mut self, limit: Limit) {
        if matches!(&self.key, Some(Key::Unproven(signer)) if !signer.may_block()) {
            return self.prove();
        }
        let Some((leaf, signer)) = self.unproven() else { return };
        let called = Arc::clone(&signer);
        let span = SIGN_LIMIT.min(limit.left() / 2);
        let (answer, proof) = oneshot::channel();
        SigningThreads::examining().execute(Box::new(move || {
            // Nobody waits for a proof that was due before there was a thread for it.
            if !answer.is_closed() {
                let _ = answer.send(identity::prove(&leaf, called.as_ref()));
            }
        }));
        match timeout(span, proof).await {
            Ok(Ok(proof)) => self.proven(proof, signer),
            Ok(Err(_)) => {
                let ended = Error::new(ErrorKind::Signer, "the signer's thread ended");
                self.proven(Err(ended), signer);
            }
            Err(_) => self.report.found(Finding::new(
                Check::SignerFailed,
                format!(
                    "What holds the key did not answer within {:.1} s, half of the time that there \
                     was.",
                    span.as_secs_f64()
                ),
                remedy(Check::SignerFailed),
            )),
        }
    }

    /// The signer whose key is to be proven, which answers for itself from now on.
    fn unproven(&mut self) -> Option<(Certificate, Arc<dyn Signer>)> {
        let signer = match self.key.take() {
            Some(Key::Unproven(signer)) => signer,
            key => {
                self.key = key;
                return None;
            }
        };
        Some((self.leaf.clone()?, signer))
    }

    fn proven(&mut self, proof: Result<()>, signer: Arc<dyn Signer>) {
        match proof {
            Ok(()) => self.key = Some(Key::Proven(signer)),
            Err(error) => {
                let check = match error.kind() {
                    ErrorKind::Signer => Check::SignerFailed,
                    _ => Check::KeyMismatch,
                };
                let fix = remedy(Check::SignerFailed);
                self.report.found(Finding::new(check, sentence(&error), fix));
            }
        }
    }

    /// The chain and what signs for its leaf, which was proven; where both are usable.
    pub(super) fn credential(&self) -> Option<(CertificateChain, Arc<dyn Signer>)> {
        match (&self.chain, &self.key) {
            (Some(chain), Some(Key::Proven(signer))) => Some((chain.clone(), Arc::clone(signer))),
            _ => None,
        }
    }
}

/// What is said to sign for the leaf.
enum Key {
    Proven(Arc<dyn Signer>),
    /// A signer whose key is not seen, and is yet to sign for its leaf.
    Unproven(Arc<dyn Signer>),
}

fn examine_host(doctor: &Doctor, report: &mut Report) -> Option<Host> {
    match Host::parse(&doctor.host) {
        Ok(host) => Some(host),
        Err(error) => {
            let fix = error.hint().unwrap_or("Write the host name alone.").to_owned();
            report.found(Finding::new(Check::HostInvalid, sentence(&error), fix));
            None
        }
    }
}

/// Microsoft, "TLS certificate updates for Azure IoT": devices should trust both DigiCert Global
/// Root G2 and Microsoft RSA Root Certificate Authority 2017; Baltimore CyberTrust Root expired in
/// May 2025.
fn examine_roots(doctor: &Doctor, reach: Reach, report: &mut Report) -> Result<()> {
    const NEEDED: [&str; 2] =
        ["DigiCert Global Root G2", "Microsoft RSA Root Certificate Authority 2017"];
    const OUTDATED: &str = "Baltimore CyberTrust Root";
    /// A file with more roots is a system's store, and what is in there is the system's business.
    const MOST_PINNED: usize = 20;

    let system = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let system = system
        .filter(|_| reach == Reach::Network)
        .map(|path| Named::new("the trust roots", Source::File(path.into())));
    let Some(input) = doctor.roots.as_ref().or(system.as_ref()) else { return Ok(()) };
    let roots = certificates(input)?;
    let elsewhere = doctor.connect_to.is_some()
        || env::var_os("DPS_CONNECT_TO").is_some_and(|target| !target.is_empty());
    if elsewhere || doctor.host != GLOBAL_HOST {
        return Ok(());
    }
    let holds = |name: &str| roots.iter().any(|root| root.common_name() == Some(name));
    let lacking: Vec<_> = NEEDED.into_iter().filter(|name| !holds(name)).collect();
    if !lacking.is_empty() {
        report.found(Finding::new(
            Check::TrustIncomplete,
            format!("{input}: {} not among the trust roots.", listed(&lacking)),
            "Add them to the file, or leave it out and use the system's store: unset SSL_CERT_FILE",
        ));
    }
    if holds(OUTDATED) && roots.len() <= MOST_PINNED {
        report.found(Finding::new(
            Check::TrustOutdated,
            format!("{input}: {OUTDATED} is among the trust roots, and expired in May 2025."),
            "Remove it from the file: no server of Azure uses it any more.",
        ));
    }
    Ok(())
}

fn listed(names: &[&str]) -> String {
    match names {
        [name] => format!("{name} is"),
        names => format!("{} are", names.join(" and ")),
    }
}

/// The two files of a credential, as far as they can be read.
struct Files<'a> {
    chain: Option<(&'a Named, Zeroizing<Vec<u8>>)>,
    key: Option<(&'a Named, Zeroizing<Vec<u8>>)>,
    /// Of a PKCS#12 file, which holds both.
    key_is_in_chain: bool,
}

impl<'a> Files<'a> {
    fn read(doctor: &'a Doctor, report: &mut Report) -> Self {
        let mut read = |input: &'a Option<Named>, check: Check| {
            let input = input.as_ref()?;
            match input.source().read() {
                Ok(bytes) => Some((input, bytes)),
                Err(error) => {
                    let fix = "Check the path, and that this user may read the file: ls -l FILE";
                    report.found(Finding::new(check, sentence(&error), fix));
                    None
                }
            }
        };
        let mut chain = read(&doctor.chain, Check::ChainUnreadable);
        let mut key = read(&doctor.key, Check::KeyWrongContent);
        let key_is_in_chain = doctor.key.is_none()
            && doctor.signer.is_none()
            && chain.as_ref().is_some_and(|(_, bytes)| Der::detect(bytes) == Some(Der::Pkcs12));
        if let (Some((chain_input, chain_bytes)), Some((key_input, key_bytes))) = (&chain, &key)
            && swapped(chain_bytes, key_bytes)
        {
            report.found(Finding::new(
                Check::KeyWrongContent,
                format!(
                    "{chain_input} holds the private key and {key_input} the certificates: they \
                     are swapped."
                ),
                "Give each as the other.",
            ));
            std::mem::swap(&mut chain, &mut key);
        } else if key_is_in_chain {
            key = chain.as_ref().map(|(input, bytes)| (*input, bytes.clone()));
        }
        Self { chain, key, key_is_in_chain }
    }
}

fn swapped(chain: &[u8], key: &[u8]) -> bool {
    let is_key = |bytes: &[u8]| {
        !matches!(PrivateKey::from_pem(bytes, None), Err(error) if matches!(error.kind(),
            ErrorKind::WrongFileContent | ErrorKind::KeyMalformed))
    };
    let holds_certificates = |bytes: &[u8]| chain::certificates_from_pem(bytes).is_ok();
    !holds_certificates(chain) && is_key(chain) && holds_certificates(key) && !is_key(key)
}

/// The certificates that the device would send, from the leaf upward.
fn examine_chain(
    doctor: &Doctor,
    file: Option<&(&Named, Zeroizing<Vec<u8>>)>,
    report: &mut Report,
) -> Result<Vec<Certificate>> {
    let read = |input: &Option<Named>| input.as_ref().map_or(Ok(Vec::new()), certificates);
    let known = read(&doctor.authorities)?;
    let (group, individual) = (read(&doctor.group)?, read(&doctor.individual)?);
    let mut certificates = Vec::new();
    if let Some((input, bytes)) = file {
        match chain::read_any(bytes, doctor.passphrase.as_ref()) {
            Ok((found, _)) => {
                examine_text(input, bytes, report);
                certificates = found;
            }
            Err(error) => report.found(unreadable(input, &error, Check::ChainUnreadable)),
        }
    }
    let (mut sent, mut path) = (Vec::new(), Vec::new());
    if !certificates.is_empty() {
        let verification = chain::verify(&certificates, &known, doctor.now());
        let clock_is_wrong = chain::moment(doctor.now()) < MADE;
        for finding in verification.findings() {
            let moot = match finding.check() {
                // A clock that is wrong is said once, and dates are not judged by it.
                Check::NotYetValid => clock_is_wrong,
                // An individual enrollment knows the very leaf, and needs no issuer.
                Check::LeafAlone | Check::EndsBelowKnown => {
                    matches!(verification.presented(), [leaf] if individual.contains(leaf))
                }
                _ => false,
            };
            if moot {
                continue;
            }
            let command = match finding.check() {
                Check::EndsBelowKnown => appending(doctor, &certificates, &known),
                _ => None,
            };
            report.found(match command {
                Some(command) => finding.clone().with_fix(command),
                None => finding.clone(),
            });
        }
        // What is above the CA that DPS knows is sent too. A chain that no device can open goes as
        // far as it holds.
        let whole = CertificateChain::from_der(
            certificates.iter().map(|certificate| certificate.der().to_vec()),
        );
        sent = match whole {
            Ok(chain) => chain.certificates().to_vec(),
            Err(_) => verification.presented().to_vec(),
        };
        path.clone_from(&sent);
        path.extend(verification.path().iter().skip(verification.presented().len()).cloned());
        if verification.holds() {
            let names: Vec<_> = verification.path().iter().map(Certificate::subject).collect();
            report.saw(format!("the chain {}", names.join(" <- ")));
        }
    }
    examine_enrollment(&group, &individual, &path, report);
    Ok(sent)
}

/// The command that appends the one CA that DPS knows, where both files are named and PEM.
fn appending(doctor: &Doctor, given: &[Certificate], known: &[Certificate]) -> Option<String> {
    let path = |input: &Option<Named>| match input.as_ref()?.source() {
        source @ Source::File(path) if Der::detect(&source.read().ok()?).is_none() => {
            // Nothing that a shell would read in another way.
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            path.to_str().filter(|text| text.chars().all(plain)).map(str::to_owned)
        }
        Source::File(_) | Source::Memory(_) => None,
    };
    let [known] = known else { return None };
    if given.iter().any(|other| other.subject() == known.subject()) {
        return None;
    }
    let (ca, chain) = (path(&doctor.authorities)?, path(&doctor.chain)?);
    Some(format!("Append that certificate to the chain file: cat {ca} >> {chain}"))
}

fn examine_enrollment(
    group: &[Certificate],
    individual: &[Certificate],
    path: &[Certificate],
    report: &mut Report,
) {
    if let Some(end_entity) = group.iter().find(|certificate| !certificate.is_ca()) {
        report.found(Finding::new(
            Check::WrongEnrollment,
            format!(
                "{:?} is a device's certificate, and an enrollment group lists a CA's.",
                end_entity.subject()
            ),
            "Put it into an individual enrollment, or list its issuer in the group: az iot dps \
             enrollment-group create --certificate-path intermediate.cert.pem …",
        ));
    } else if let Some(top) = path.last()
        && !group.is_empty()
    {
        let listed = |certificate: &Certificate| {
            group.iter().any(|ca| {
                ca.subject() == certificate.subject()
                    && ca.public_key_info() == certificate.public_key_info()
            })
        };
        let issuer = group.iter().find(|ca| ca.issues(top) == Issues::Yes);
        let passes = path.iter().skip(1).any(listed);
        if let Some(ca) = issuer.filter(|_| !passes) {
            // Of a leaf alone another finding says so.
            if path.len() > 1 {
                report.found(chain::ends_below(top, ca, false));
            }
        } else if !passes {
            let names: Vec<_> = group.iter().map(|ca| format!("{:?}", ca.subject())).collect();
            let same_name = path
                .iter()
                .any(|certificate| group.iter().any(|ca| ca.subject() == certificate.subject()));
            let why = match same_name {
                true => "one of that name has another key: it was made anew",
                false => "none bears that name",
            };
            report.found(Finding::new(
                Check::NotEnrolled,
                format!(
                    "The enrollment group lists {}, and the chain does not pass it: {why}.",
                    names.join(", ")
                ),
                "List the chain's own CA in the group: az iot dps enrollment-group update \
                 --certificate-path intermediate.cert.pem …",
            ));
        }
    }
    if let Some(ca) = individual.iter().find(|certificate| certificate.is_ca()) {
        report.found(Finding::new(
            Check::WrongEnrollment,
            format!(
                "{:?} is a CA's certificate, and an individual enrollment holds the device's own.",
                ca.subject()
            ),
            "Put it into an enrollment group, or the device's own into the individual enrollment: \
             az iot dps enrollment create --certificate-path device.cert.pem …",
        ));
    } else if let Some(leaf) = path.first()
        && !individual.is_empty()
        && !individual.contains(leaf)
    {
        report.found(Finding::new(
            Check::EnrolledDiffers,
            format!(
                "The individual enrollment holds the certificate with the SHA-1 thumbprint {}, and \
                 the device has {}.",
                individual[0].sha1_thumbprint(),
                leaf.sha1_thumbprint()
            ),
            "Put the device's certificate into the enrollment: az iot dps enrollment update \
             --certificate-path device.cert.pem …",
        ));
    }
}

fn examine_registration_id(doctor: &Doctor, leaf: Option<&Certificate>, report: &mut Report) {
    let Some(asked_for) = &doctor.registration_id else { return };
    let common_name = leaf.and_then(Certificate::common_name);
    let fix = "Leave the registration ID out, and it is taken from the certificate; or issue the \
               certificate for it: dps chain device REGISTRATION_ID";
    match common_name {
        Some(common_name) if common_name == asked_for => {}
        Some(common_name) if common_name.eq_ignore_ascii_case(asked_for) => {
            report.found(Finding::new(
                Check::RegistrationIdCase,
                format!(
                    "The registration ID is {asked_for:?} and the common name is {common_name:?}; \
                     DPS compares them without regard to case, other programs may not."
                ),
                fix,
            ));
        }
        Some(common_name) => report.found(Finding::new(
            Check::RegistrationIdDiffers,
            format!("The registration ID is {asked_for:?} and the common name is {common_name:?}."),
            fix,
        )),
        None => {
            if let Err(error) = RegistrationId::parse_common_name(asked_for) {
                report.found(Finding::new(Check::NoRegistrationId, sentence(&error), fix));
            }
        }
    }
}

/// What signs for the leaf, where nothing is known against it.
fn examine_key(
    doctor: &Doctor,
    file: Option<&(&Named, Zeroizing<Vec<u8>>)>,
    leaf: Option<&Certificate>,
    report: &mut Report,
) -> Option<Key> {
    if let Some(Err(error)) = leaf.map(identity::supported_key_type) {
        let check = Check::KeyUnsupported;
        report.found(Finding::new(check, sentence(&error), remedy(check)));
        return None;
    }
    if let Some(signer) = &doctor.signer {
        return Some(Key::Unproven(signer::for_certificate(Arc::clone(signer), leaf?)));
    }
    let (input, bytes) = file?;
    examine_text(input, bytes, report);
    let key = match PrivateKey::from_pem(bytes, doctor.passphrase.as_ref()) {
        Ok(key) => key,
        Err(error) => {
            report.found(unreadable(input, &error, Check::KeyWrongContent));
            return None;
        }
    };
    if let Some(leaf) = leaf
        && leaf.public_key_info() != key.public_key_info()
    {
        report.found(Finding::new(
            Check::KeyMismatch,
            format!(
                "{input} holds a key of the type {}, which is not the key of {:?}.",
                key.key_type(),
                leaf.subject()
            ),
            "Give the key that the certificate was issued for; compare: openssl x509 -in CERT \
             -noout -pubkey, openssl pkey -in KEY -pubout",
        ));
        return None;
    }
    report.saw(format!("the private key, {}", key.key_type()));
    Some(Key::Proven(Arc::new(key)))
}

/// A file of the credential that cannot be used, and why.
fn unreadable(input: &Named, error: &Error, otherwise: Check) -> Finding {
    let (check, fix) = match error.kind() {
        ErrorKind::PassphraseRequired => {
            (Check::PassphraseMissing, remedy(Check::PassphraseMissing))
        }
        ErrorKind::PassphraseWrong => (Check::PassphraseWrong, remedy(Check::PassphraseWrong)),
        ErrorKind::KeyMalformed => (Check::KeyDamaged, remedy(Check::KeyDamaged)),
        ErrorKind::KeyUnsupported => {
            (Check::KeyUnsupported, "Convert it: openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW")
        }
        _ if otherwise == Check::KeyWrongContent => {
            (otherwise, "Give the file that holds the leaf's private key.")
        }
        _ => (
            otherwise,
            "Give the file that holds the chain as PEM: cat device.cert.pem intermediate.cert.pem \
             root.cert.pem > full-chain.cert.pem",
        ),
    };
    let fix = error.hint().unwrap_or(fix).to_owned();
    Finding::new(check, format!("{input}: {}.", error.message()), fix)
}

/// What a clipboard, an environment variable or a source file did to a text.
fn examine_text(input: &Named, bytes: &[u8], report: &mut Report) {
    // What cannot be read at all has a finding of its own.
    for what in pem::parse(bytes).map(|parsed| parsed.pasted).unwrap_or_default() {
        report.found(Finding::new(
            Check::Pasted,
            format!("{input} is not PEM as other programs expect it: {what}."),
            "Write it anew: dps chain convert FILE --to pem --out NEW",
        ));
    }
}

/// An error's message as a sentence of its own.
pub(super) fn sentence(error: &Error) -> String {
    let message = error.message();
    // A host or a file that it begins with keeps its name.
    if message.split(' ').next().is_some_and(|word| word.contains(['.', '/', ':', '\\'])) {
        return format!("{message}.");
    }
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => error.kind().sentence().to_owned(),
    }
}
