//! The one table of checks: what the doctor looks for, and under which ID.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works here and now, and may not elsewhere or later.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

macro_rules! checks {
    ($($check:ident = $id:literal, $severity:ident, $sentence:literal;)+) => {
        /// What the doctor looks for. An ID never changes its meaning once published.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $sentence] $check,)+
        }

        impl Check {
            /// Every check, in the order of its ID.
            pub const ALL: &'static [Self] = &[$(Self::$check),+];

            /// The ID, such as `DPS-C002`: C for the chain, K for the key, T for the clock, N for
            /// the network, S for the service.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$check => $id,)+ }
            }

            /// How bad it is when the check finds something.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$check => Severity::$severity,)+ }
            }

            /// One sentence that says what a finding of this check means.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$check => $sentence,)+ }
            }
        }
    };
}

checks! {
    ChainUnreadable = "DPS-C001", Error, "The certificate file cannot be read as certificates.";
    IssuerMissing = "DPS-C002", Error, "A certificate between the leaf and a CA that DPS knows is missing.";
    IssuerMadeAnew = "DPS-C003", Error, "A CA was made anew under the same name: its name matches and its key does not.";
    Stranger = "DPS-C004", Error, "A certificate in the file is not part of the device's chain.";
    RootUnknown = "DPS-C005", Error, "The chain ends in a root that is none of the CAs that DPS knows.";
    LeafAlone = "DPS-C006", Warning, "The device would send its leaf certificate alone.";
    Duplicate = "DPS-C007", Warning, "A certificate stands twice in the file.";
    NoRegistrationId = "DPS-C008", Error, "The common name of the leaf cannot be a registration ID.";
    RegistrationIdDiffers = "DPS-C009", Error, "The registration ID is not the common name of the leaf.";
    RegistrationIdCase = "DPS-C010", Warning, "The registration ID and the common name of the leaf differ in case.";
    LeafIsCa = "DPS-C011", Error, "The leaf is a CA certificate.";
    OldVersion = "DPS-C012", Error, "A certificate below the root is of an X.509 version before 3.";
    NotACa = "DPS-C013", Error, "A certificate that issued another is not a CA certificate.";
    PathTooLong = "DPS-C014", Error, "A CA of the chain allows fewer CAs below it than there are.";
    NoCertificateSigning = "DPS-C015", Error, "The key usage of a CA does not allow it to sign certificates.";
    NoDigitalSignature = "DPS-C016", Error, "The key usage of the leaf does not allow it to authenticate.";
    NoClientAuth = "DPS-C017", Warning, "The extended key usage of a certificate leaves out clientAuth.";
    KeyIdDiffers = "DPS-C018", Error, "A certificate names another key of its issuer than the issuer has.";
    BadExtension = "DPS-C019", Error, "A certificate has a critical extension that is not known, or a damaged one.";
    WeakSignature = "DPS-C020", Warning, "A certificate is signed with SHA-1.";
    SignatureUnsupported = "DPS-C021", Error, "A signature of the chain is of a kind that cannot be verified.";
    Expired = "DPS-C022", Error, "A certificate has expired.";
    ExpiresSoon = "DPS-C023", Warning, "A certificate has less than a fifth of its life left.";
    Pasted = "DPS-C024", Warning, "The file is not PEM as other programs expect it, and was understood all the same.";
    WrongEnrollment = "DPS-C025", Error, "The enrolled certificate is of the wrong kind for its enrollment.";
    EnrolledDiffers = "DPS-C026", Error, "The individual enrollment holds another certificate than the device has.";
    EndsBelowKnown = "DPS-C027", Warning, "The chain ends below the CA that DPS knows.";

    KeyWrongContent = "DPS-K001", Error, "The key file is missing, or holds something other than a private key.";
    KeyDamaged = "DPS-K002", Error, "The private key is damaged.";
    PassphraseMissing = "DPS-K003", Error, "The private key is encrypted and no passphrase was given.";
    PassphraseWrong = "DPS-K004", Error, "The passphrase does not decrypt the private key.";
    KeyUnsupported = "DPS-K005", Error, "The key is of a type or size that cannot be used.";
    KeyMismatch = "DPS-K006", Error, "The private key does not belong to the leaf certificate.";
    SignerFailed = "DPS-K007", Error, "The signer that holds the private key failed.";

    NotYetValid = "DPS-T001", Error, "A certificate is not valid yet, or this device's clock is behind.";
    ClockBeforeBuild = "DPS-T002", Error, "This device's clock shows a time before this program was made.";
    ClockSkew = "DPS-T003", Warning, "This device's clock and the server's differ by more than five minutes.";

    HostInvalid = "DPS-N001", Error, "The host is not a host name.";
    HostNotFound = "DPS-N002", Error, "The host name cannot be resolved.";
    MqttPortClosed = "DPS-N003", Error, "The port of MQTT, 8883 unless another is given, cannot be reached.";
    HttpsPortClosed = "DPS-N004", Warning, "Port 443 cannot be reached.";
    TlsFailed = "DPS-N005", Error, "The TLS handshake failed.";
    ServerNotTrusted = "DPS-N006", Error, "The server's certificate does not lead to a trusted root.";
    TrustIncomplete = "DPS-N007", Warning, "The trust roots lack one that Azure uses.";
    TrustOutdated = "DPS-N008", Warning, "The trust roots hold one that Azure uses no more.";
    CertificateNotAsked = "DPS-N009", Error, "The server did not ask for the device's certificate.";
    WebSocketRefused = "DPS-N010", Warning, "The WebSocket upgrade on port 443 was refused.";
    ServerCertificateInvalid = "DPS-N011", Error, "The server's certificate is expired, for another name, or unusable.";

    CaNotFound = "DPS-S001", Error, "DPS knows no CA of the chain that the device sent.";
    CertificateRefused = "DPS-S002", Error, "DPS refused the chain: a CA is not verified, or a link or a date does not hold.";
    NotEnrolled = "DPS-S003", Error, "No certificate of the chain is the one that an enrollment holds.";
    Unauthorized = "DPS-S004", Error, "DPS did not accept the credential, and does not say why.";
    RegistrationIdRefused = "DPS-S005", Error, "DPS refused the registration ID.";
    EnrollmentNotFound = "DPS-S006", Error, "DPS has no such enrollment or registration.";
    EnrollmentDisabled = "DPS-S007", Error, "The enrollment is disabled.";
    HubLinkBroken = "DPS-S008", Error, "DPS accepted the device, and its link to the IoT hub does not work.";
    AllocationRejected = "DPS-S009", Error, "The custom allocation function rejected the device or failed.";
    NoHub = "DPS-S010", Error, "No IoT hub is linked that the device could be assigned to.";
    Throttled = "DPS-S011", Warning, "The service throttles requests.";
    ServiceFault = "DPS-S012", Warning, "The service failed.";
    NoAnswer = "DPS-S013", Error, "The service did not answer, or was not done, in time.";
    HubRefused = "DPS-S014", Error, "The IoT hub refused a device that DPS had assigned to it.";
    UnknownRefusal = "DPS-S015", Error, "The service refused with words that are not known here.";
    AnswerUnknown = "DPS-S016", Error, "The server answered with something that is not understood here.";
}

impl Check {
    /// The page that explains the check, relative to the root of the source tree.
    pub fn page(self) -> String {
        format!("docs/findings/README.md#{}", self.id().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_of_their_family() {
        let mut ids: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
        assert!(ids.iter().all(|id| id.len() == 8 && "CKTNS".contains(&id[4..5])));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Check::ALL.len());
    }
}
