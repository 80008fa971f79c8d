//! What the service tells: by registering the device, or from an error that the user has already.

use std::ops::Range;

use super::{
    Check, Doctor, Finding, Limit, Report, Severity, cannot_run,
    offline::{Examined, sentence},
};
use crate::{
    chain::CertificateChain,
    credential::CHAIN,
    error::{Error, ErrorKind, Missing, Result},
    identity::Identity,
    provisioning::ProvisioningClient,
};

/// Whether there is anything to register with: asked before anything is dialled.
pub(super) fn can_run(doctor: &Doctor, examined: &Examined) -> Result<()> {
    if doctor.id_scope.is_none() {
        return Err(cannot_run("a registration needs the ID scope"));
    }
    // Where a finding says why there is no credential, that is the answer.
    let told = examined.report.findings().iter().any(|f| f.severity() == Severity::Error);
    if examined.credential().is_none() && !told {
        return Err(cannot_run("a registration needs a certificate and a private key"));
    }
    Ok(())
}

pub(super) async fn examine(doctor: &Doctor, examined: &mut Examined, limit: Limit) -> Result<()> {
    let (Some(id_scope), Some((chain, signer))) = (&doctor.id_scope, examined.credential()) else {
        return Ok(());
    };
    let identity = Identity::from_proven_signer(chain, signer, CHAIN);
    let mut client = ProvisioningClient::new(id_scope, &identity)
        .host(&doctor.host)
        .deadline(limit.left())
        .network(doctor.network());
    if let Some(registration_id) = &doctor.registration_id {
        client = client.registration_id(registration_id);
    }
    match client.register().await {
        Ok(assignment) => examined.report.saw(format!(
            "the registration: assigned to {} as {}",
            assignment.assigned_hub(),
            assignment.device_id()
        )),
        Err(error) => {
            let finding = explain(&error, Shown::by(&identity), Some(id_scope));
            // What has no finding is a mistake in what the doctor was given.
            examined.report.found(finding.ok_or(error)?);
        }
    }
    Ok(())
}

/// What the device showed to be let in, as far as it is known.
#[derive(Clone, Copy)]
pub(crate) enum Shown<'a> {
    Unknown,
    Chain(&'a CertificateChain),
    SymmetricKey,
}

impl<'a> Shown<'a> {
    pub(crate) fn by(identity: &'a Identity) -> Self {
        identity.chain().map_or(Self::SymmetricKey, Self::Chain)
    }
}

/// What an error means that the user has already: the service's words and numbers, such as
/// `401002 CA certificate not found.`, in a log or in JSON; or an error of this SDK, such as
/// `DPS_UNAUTHORIZED`.
pub fn decode(text: &str) -> Report {
    let code = after_error_code(text).or_else(|| numbers(text).find(|number| means(*number)));
    let own = ErrorKind::ALL.iter().copied().find(|kind| names(text, kind.name()));
    let status = code.map(|code| code / 1000).or_else(|| own.and_then(status_of));
    let staged = own.and_then(|kind| Some((kind, stage(kind)?)));
    // The service's own words and codes say most. "disabled" may be said of anything, and a number
    // of three digits may be anything.
    let finding = match (meaning(status, code, text), staged) {
        (Meaning(Check::UnknownRefusal | Check::EnrollmentDisabled), Some((kind, check))) => {
            match check {
                Check::EnrollmentDisabled | Check::HubLinkBroken => {
                    Meaning(check).finding(Shown::Unknown, None)
                }
                _ => Finding::new(check, kind.sentence(), remedy(check)),
            }
        }
        (Meaning(Check::UnknownRefusal), None) => {
            let status = numbers(text).find(|number| (400..600).contains(number));
            meaning(status, None, "").finding(Shown::Unknown, None)
        }
        (said, _) => said.finding(Shown::Unknown, None),
    };
    let mut report = Report::default();
    report.found(finding);
    report
}

/// The codes of the service have six digits: its status, and what is wrong.
const CODES: Range<u32> = 400_000..600_000;

/// Whether a code says something by itself.
fn means(code: u32) -> bool {
    CODES.contains(&code)
        && !matches!(meaning(Some(code / 1000), Some(code), ""), Meaning(Check::UnknownRefusal))
}

/// What the service itself calls its code: `"errorCode":401002`, `errorCode 401002`.
fn after_error_code(text: &str) -> Option<u32> {
    let text = text.to_ascii_lowercase();
    text.split("errorcode").skip(1).find_map(|rest| {
        let rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok().filter(|code| CODES.contains(code))
    })
}

/// The numbers of a text that stand alone: neither the digits of a name, a serial number or a
/// tracking ID, nor a part of a time, a fraction or an address.
fn numbers(text: &str) -> impl Iterator<Item = u32> {
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    text.split(move |c: char| !in_word(c)).filter_map(|word| {
        let mut parts = word.split(['.', ':']).filter(|part| part.starts_with(char::is_numeric));
        match (parts.next(), parts.next()) {
            (Some(only), None) => only.parse().ok(),
            // As in 11:20:17.468296Z.
            _ => None,
        }
    })
}

/// Whether the text has this word, and not only as a part of another.
fn names(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|other| other == word)
}

/// The error with the finding that explains it as its hint.
pub(crate) fn with_finding(error: Error, shown: Shown<'_>, id_scope: Option<&str>) -> Error {
    match explain(&error, shown, id_scope) {
        Some(finding) => hinting(error, &finding),
        None => error,
    }
}

/// The error of a deadline that passed while a signer was silent, with that as its hint.
pub(crate) fn with_slow_signer(error: Error) -> Error {
    let evidence = "What holds the key had not answered.";
    let check = Check::SignerFailed;
    hinting(error, &Finding::new(check, evidence, remedy(check)))
}

fn hinting(error: Error, finding: &Finding) -> Error {
    let id = finding.check().id();
    let hint = match finding.evidence() == sentence(&error) {
        true => format!("{id}: {}", finding.fix()),
        false => format!("{id}: {} {}", finding.evidence(), finding.fix()),
    };
    error.with_hint(hint)
}

/// The finding that explains why a credential was not opened or a registration failed. `None`
/// where the mistake is the caller's own, such as an argument, or ours: the error says it all.
fn explain(error: &Error, shown: Shown<'_>, id_scope: Option<&str>) -> Option<Finding> {
    if error.service().is_none()
        && let Some(check) = error.missing().map(late).or_else(|| stage(error.kind()))
    {
        return Some(match (check, error.missing()) {
            (Check::EnrollmentDisabled, _) => Meaning(check).finding(shown, id_scope),
            (_, Some(Missing::Hub)) => Finding::new(
                check,
                sentence(error),
                "Give a longer deadline; a device that still waits after some minutes waits for a \
                 hub that DPS cannot reach: look at the link between the DPS instance and its hubs.",
            ),
            _ => Finding::new(check, sentence(error), error.hint().unwrap_or(remedy(check))),
        });
    }
    let service = error.service();
    let words = service.and_then(|service| service.message.as_deref()).unwrap_or_default();
    // A refusal of the MQTT connection has neither words nor numbers.
    let status = service.and_then(|service| service.status).map(u32::from);
    let status = status.or_else(|| status_of(error.kind()));
    if service.is_none() && status.is_none() {
        return None;
    }
    let meaning = match meaning(status, service.and_then(|service| service.error_code), words) {
        // A refusal of the allocation keeps its kind where its words are new.
        Meaning(Check::UnknownRefusal) if error.kind() == ErrorKind::AllocationFailed => {
            Meaning(Check::HubLinkBroken)
        }
        Meaning(Check::UnknownRefusal) if error.kind() == ErrorKind::EnrollmentDisabled => {
            Meaning(Check::EnrollmentDisabled)
        }
        meaning => meaning,
    };
    Some(meaning.finding(shown, id_scope))
}

/// The check for what had not come when time ran out.
fn late(missing: Missing) -> Check {
    match missing {
        Missing::Address => Check::HostNotFound,
        Missing::Connection => Check::MqttPortClosed,
        Missing::Handshake => Check::TlsFailed,
        Missing::Answer | Missing::Hub => Check::NoAnswer,
    }
}

/// The check for what goes wrong on this side of the service, or on the way to it.
fn stage(kind: ErrorKind) -> Option<Check> {
    Some(match kind {
        ErrorKind::CertificateMalformed => Check::ChainUnreadable,
        ErrorKind::IssuerMissing => Check::IssuerMissing,
        ErrorKind::ChainBroken => Check::IssuerMadeAnew,
        ErrorKind::CertificateNotInChain => Check::Stranger,
        ErrorKind::CertificateExpired => Check::Expired,
        ErrorKind::CertificateNotYetValid => Check::NotYetValid,
        ErrorKind::RegistrationIdInvalid => Check::NoRegistrationId,
        ErrorKind::RegistrationIdMismatch => Check::RegistrationIdDiffers,
        ErrorKind::KeyMalformed => Check::KeyDamaged,
        ErrorKind::PassphraseRequired => Check::PassphraseMissing,
        ErrorKind::PassphraseWrong => Check::PassphraseWrong,
        ErrorKind::KeyUnsupported => Check::KeyUnsupported,
        ErrorKind::KeyMismatch => Check::KeyMismatch,
        ErrorKind::Signer => Check::SignerFailed,
        ErrorKind::ServerNotTrusted => Check::ServerNotTrusted,
        ErrorKind::ServerNameMismatch | ErrorKind::ServerCertificateInvalid => {
            Check::ServerCertificateInvalid
        }
        ErrorKind::TlsRefused => Check::TlsFailed,
        ErrorKind::HostInvalid => Check::HostInvalid,
        ErrorKind::HostNotFound => Check::HostNotFound,
        ErrorKind::ConnectionFailed | ErrorKind::ProxyFailed => Check::MqttPortClosed,
        ErrorKind::ConnectionLost | ErrorKind::RequestTimeout | ErrorKind::DeadlineExceeded => {
            Check::NoAnswer
        }
        ErrorKind::ProtocolViolation | ErrorKind::UnknownStatus => Check::AnswerUnknown,
        ErrorKind::EnrollmentDisabled => Check::EnrollmentDisabled,
        ErrorKind::AllocationFailed => Check::HubLinkBroken,
        _ => return None,
    })
}

/// The status of a refusal that came without one, as the CONNACK of MQTT does.
fn status_of(kind: ErrorKind) -> Option<u32> {
    match kind {
        ErrorKind::ServiceFault => Some(500),
        ErrorKind::ServiceRefused => Some(0),
        kind => Some(kind.code()).filter(|code| (400..450).contains(code)),
    }
}

/// What to do where the error itself does not say it.
pub(crate) fn remedy(check: Check) -> &'static str {
    match check {
        Check::ChainUnreadable => {
            "Copy the file again from where it was made, as a whole; or issue it again: dps chain \
             renew REGISTRATION_ID"
        }
        Check::IssuerMissing | Check::IssuerMadeAnew | Check::Stranger => {
            "Look at the chain, certificate by certificate: dps chain inspect FILE"
        }
        Check::Expired => {
            "Issue it again: dps chain renew REGISTRATION_ID; a CA with its key: dps chain root \
             --keep-key, dps chain intermediate --keep-key"
        }
        Check::NotYetValid => "Set this device's clock, for example: timedatectl set-ntp true",
        Check::NoRegistrationId => {
            "Issue the certificate with a registration ID as its common name: dps chain device \
             REGISTRATION_ID"
        }
        Check::RegistrationIdDiffers => {
            "Give the common name that the certificate was issued for, or no registration ID: it is \
             then taken from the certificate."
        }
        Check::KeyDamaged => "Copy the file again from where it was made, as a whole.",
        Check::PassphraseMissing => "Give the passphrase: --passphrase-file FILE",
        Check::PassphraseWrong => {
            "Give the passphrase that the file was encrypted with; mind a line end at its end."
        }
        Check::KeyUnsupported => {
            "Make one that every service takes: dps chain device REGISTRATION_ID --key-type ec-p256"
        }
        Check::KeyMismatch => "Give the key that the certificate was issued for.",
        Check::SignerFailed => {
            "Look at the signer's own messages, and at the key that it was told to use."
        }
        Check::HostInvalid => {
            "Write the host name alone, such as global.azure-devices-provisioning.net."
        }
        Check::HostNotFound => "Check the spelling, the DNS server and the network.",
        Check::MqttPortClosed => {
            "Have outgoing TCP to the port allowed, which is 8883 unless another is given; examine \
             it: dps doctor --wire"
        }
        Check::AnswerUnknown => {
            "Check the host name and what answers for it: dps doctor --wire; if it is DPS, update \
             this program."
        }
        _ => "Examine the way to the service: dps doctor --wire",
    }
}

/// What a refusal of the service is about.
struct Meaning(Check);

/// Tells refusals apart by what they say, then by their code, then by their status.
///
/// Sources: Microsoft, "Troubleshooting with Azure IoT Hub Device Provisioning Service"; the
/// messages as users of the SDKs report them, listed with docs/findings.
fn meaning(status: Option<u32>, code: Option<u32>, words: &str) -> Meaning {
    let words = words.to_ascii_lowercase();
    let says = |text: &str| words.contains(text);
    Meaning(if says("ca certificate not found") {
        Check::CaNotFound
    } else if says("signing certificate info did not match") {
        Check::NotEnrolled
    } else if says("invalid certificate") {
        Check::CertificateRefused
    } else if says("iothubunauthorizedaccess") {
        Check::HubLinkBroken
    } else if says("custom allocation failed") || code == Some(400_207) {
        Check::AllocationRejected
    } else if code == Some(400_208) {
        Check::NoHub
    } else if code == Some(400_004)
        || says("invalid registrationid")
        || says("link address did not match")
    {
        Check::RegistrationIdRefused
    } else if says("devicenotfound")
        || says("hub refused")
        || (says("connack 5") && !says("azure-devices-provisioning"))
    {
        Check::HubRefused
    } else {
        match status {
            Some(401) => Check::Unauthorized,
            Some(404) => Check::EnrollmentNotFound,
            Some(429) => Check::Throttled,
            Some(500..=599) => Check::ServiceFault,
            _ if says("disabled") => Check::EnrollmentDisabled,
            _ => Check::UnknownRefusal,
        }
    })
}

impl Meaning {
    /// What was refused, told by what the device sent, where that is known.
    fn finding(&self, shown: Shown<'_>, id_scope: Option<&str>) -> Finding {
        let chain = match shown {
            Shown::Chain(chain) => Some(chain),
            Shown::Unknown | Shown::SymmetricKey => None,
        };
        let fine = match shown {
            Shown::SymmetricKey => "The device's symmetric key is fine",
            Shown::Unknown | Shown::Chain(_) => "The device's certificate is fine",
        };
        let top = chain.map(CertificateChain::top);
        let sent = match (chain, top) {
            (Some(chain), Some(top)) => match chain.certificates().len() {
                1 => format!("The device sent only its leaf {:?}", top.subject()),
                n => format!("The device sent {n} certificates, up to {:?}", top.subject()),
            },
            _ => "The device sent its chain".to_owned(),
        };
        let root = match top {
            Some(top) if top.is_self_signed() => format!("{:?}", top.subject()),
            Some(top) => format!("{:?}", top.issuer()),
            None => "of the chain".to_owned(),
        };
        let scope = id_scope.map(|scope| format!(" {scope}")).unwrap_or_default();
        let incomplete = top.is_some_and(|top| !top.is_self_signed());
        let (evidence, fix) = match self.0 {
            Check::CaNotFound if incomplete => (
                format!("{sent}; the certificate of {root}, which issued it, is missing."),
                "Send the full chain, up to a certificate that is verified in DPS: cat \
                 device.cert.pem intermediate.cert.pem root.cert.pem > full-chain.cert.pem"
                    .to_owned(),
            ),
            Check::CaNotFound => (
                format!("{sent}, and none of their issuers is in the DPS instance{scope}."),
                format!(
                    "Send the full chain, and upload and verify the root {root}: az iot dps \
                     certificate create --verified true --path root.cert.pem …"
                ),
            ),
            Check::CertificateRefused => (
                format!("{sent}, and DPS does not accept a link of it, or its root."),
                format!(
                    "Upload the root {root} to the DPS instance and verify it, and enroll a \
                     certificate of this chain; check the chain itself: dps chain verify FILE"
                ),
            ),
            Check::NotEnrolled => (
                format!(
                    "{sent}. None of them is the certificate that the enrollment holds: the \
                     intermediate was made anew, or another one was enrolled."
                ),
                "List the chain's own intermediate in the group: az iot dps enrollment-group \
                 update --certificate-path intermediate.cert.pem …"
                    .to_owned(),
            ),
            // The service says the same of all of these.
            Check::Unauthorized if matches!(shown, Shown::SymmetricKey) => (
                "DPS says no more than that the key is not accepted.".to_owned(),
                format!(
                    "Check the ID scope{scope}, the registration ID, this machine's clock, and the \
                     key: it must be that of the device's individual enrollment, or the one derived \
                     for the registration ID, in this letter case, from its enrollment group's key. \
                     The group's key itself is not accepted."
                ),
            ),
            Check::Unauthorized => (
                "DPS says no more than that the credential is not accepted.".to_owned(),
                format!(
                    "Check the ID scope{scope}, that a certificate of this chain is enrolled (a CA \
                     in a group, the device's own in an individual enrollment), and that the \
                     registration ID is the common name of the leaf."
                ),
            ),
            Check::RegistrationIdRefused => (
                "The registration ID breaks the naming rule, or is not the common name of the \
                 leaf."
                    .to_owned(),
                "Use letters, digits and '-' '.' '_' ':', the last a letter, a digit or '-', at \
                 most 64; leave the registration ID out, and it is taken from the certificate."
                    .to_owned(),
            ),
            Check::EnrollmentNotFound => (
                "DPS has no enrollment or registration of that name.".to_owned(),
                format!("Check the ID scope{scope} and the enrollment: dps enrollment-group list"),
            ),
            Check::EnrollmentDisabled if matches!(shown, Shown::SymmetricKey) => (
                "The enrollment that decides about this device is disabled.".to_owned(),
                "Enable the device's individual enrollment, which decides even when it is \
                 disabled, or its enrollment group."
                    .to_owned(),
            ),
            Check::EnrollmentDisabled => (
                "The enrollment that decides about this device is disabled.".to_owned(),
                "Enable the device's individual enrollment or its enrollment group; the lowest \
                 enrolled certificate of the chain decides, even when it is disabled."
                    .to_owned(),
            ),
            Check::HubLinkBroken => (
                format!(
                    "{fine}: DPS has authenticated the device, and could not register it with the \
                     hub."
                ),
                "Look at the enrollment's allocation policy and at the link between the DPS \
                 instance and its hubs: unlink and link the hub again after its keys have changed: \
                 az iot dps linked-hub create …"
                    .to_owned(),
            ),
            Check::AllocationRejected => (
                format!(
                    "{fine}: the function behind the custom allocation policy has refused the \
                     device, or failed."
                ),
                "Read the function's own log, and look at the enrollment's allocation policy."
                    .to_owned(),
            ),
            Check::NoHub => (
                format!("{fine}: there is no hub to assign the device to."),
                "Link an IoT hub to the DPS instance, or to the enrollment: az iot dps linked-hub \
                 create …"
                    .to_owned(),
            ),
            Check::Throttled => (
                "The service takes no more requests for now.".to_owned(),
                "Try again later; spread the first boots of a fleet.".to_owned(),
            ),
            Check::ServiceFault => (
                "The service has failed by itself.".to_owned(),
                "Try again later; where it lasts, look at the status of Azure.".to_owned(),
            ),
            Check::HubRefused => (
                "The hub knows the device by another certificate, or not at all.".to_owned(),
                "Register the device again: the hub keeps the thumbprint of the certificate it \
                 was registered with."
                    .to_owned(),
            ),
            _ => (
                "These words are not known here.".to_owned(),
                "Look the words up, or ask Microsoft support with the tracking ID.".to_owned(),
            ),
        };
        Finding::new(self.0, evidence, fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_of_a_failed_registration_has_its_finding() {
        for (kind, check) in [
            (ErrorKind::CertificateExpired, Check::Expired),
            (ErrorKind::RegistrationIdMismatch, Check::RegistrationIdDiffers),
            (ErrorKind::HostNotFound, Check::HostNotFound),
            (ErrorKind::ConnectionFailed, Check::MqttPortClosed),
            (ErrorKind::TlsRefused, Check::TlsFailed),
            (ErrorKind::DeadlineExceeded, Check::NoAnswer),
            (ErrorKind::EnrollmentDisabled, Check::EnrollmentDisabled),
            (ErrorKind::ProtocolViolation, Check::AnswerUnknown),
            (ErrorKind::Unauthorized, Check::Unauthorized),
            (ErrorKind::ServiceFault, Check::ServiceFault),
            (ErrorKind::BadRequest, Check::UnknownRefusal),
        ] {
            let finding = explain(&Error::new(kind, "it failed"), Shown::Unknown, None).unwrap();
            assert_eq!(finding.check(), check);
            assert!(!finding.fix().is_empty());
        }
        let own = Error::new(ErrorKind::Internal, "a mistake of ours");
        assert_eq!(explain(&own, Shown::Unknown, None), None);
    }
}
