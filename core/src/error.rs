//! The one error type, and the one table of error kinds.
//!
//! Every language binding exports this table; none retypes it. A kind's number and name never
//! change once published.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The result of a fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($($(#[$note:meta])* $kind:ident = $code:literal, $name:literal, $retryable:literal, $sentence:literal;)+) => {
        /// What went wrong, as a number and a name that mean the same in every language.
        ///
        /// The hundreds tell the stage: 1xx the credential, 2xx TLS, 3xx the transport, 4xx the
        /// service refused, 5xx the registration, 6xx the hub, 9xx this SDK and its caller.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = $sentence] $(#[$note])* $kind = $code,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name that every language shows, such as `DPS_UNAUTHORIZED`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// Whether the same call may succeed later with nothing changed on this side.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$kind => $retryable,)+ }
            }

            /// One sentence that says what the kind means.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$kind => $sentence,)+ }
            }
        }
    };
}

error_kinds! {
    FileNotReadable = 101, "DPS_FILE_NOT_READABLE", false, "A file could not be read.";
    FileNotWritable = 102, "DPS_FILE_NOT_WRITABLE", false, "A file could not be written.";
    CertificateMalformed = 103, "DPS_CERTIFICATE_MALFORMED", false, "A certificate could not be parsed.";
    KeyMalformed = 104, "DPS_KEY_MALFORMED", false, "A private key could not be parsed.";
    WrongFileContent = 105, "DPS_WRONG_FILE_CONTENT", false, "A file holds something other than what was expected.";
    PassphraseRequired = 106, "DPS_PASSPHRASE_REQUIRED", false, "The private key is encrypted and no passphrase was given.";
    PassphraseWrong = 107, "DPS_PASSPHRASE_WRONG", false, "The passphrase does not decrypt the private key.";
    KeyUnsupported = 108, "DPS_KEY_UNSUPPORTED", false, "The key is of a type or size that is not supported.";
    KeyMismatch = 109, "DPS_KEY_MISMATCH", false, "The private key does not belong to the leaf certificate.";
    CertificateNotInChain = 110, "DPS_CERTIFICATE_NOT_IN_CHAIN", false, "A certificate in the chain is not part of the path from the leaf.";
    IssuerMissing = 111, "DPS_ISSUER_MISSING", false, "A certificate between the leaf and the root is missing.";
    ChainBroken = 112, "DPS_CHAIN_BROKEN", false, "A link of the certificate chain does not hold.";
    CertificateExpired = 113, "DPS_CERTIFICATE_EXPIRED", false, "A certificate has expired.";
    CertificateNotYetValid = 114, "DPS_CERTIFICATE_NOT_YET_VALID", false, "A certificate is not valid yet, or the clock is wrong.";
    RegistrationIdInvalid = 115, "DPS_REGISTRATION_ID_INVALID", false, "The registration ID breaks the naming rule.";
    RegistrationIdMismatch = 116, "DPS_REGISTRATION_ID_MISMATCH", false, "The registration ID differs from the common name of the leaf certificate.";
    Signer = 117, "DPS_SIGNER", false, "The signer failed.";

    ServerNotTrusted = 201, "DPS_SERVER_NOT_TRUSTED", false, "The server's certificate does not lead to a trusted root.";
    ServerNameMismatch = 202, "DPS_SERVER_NAME_MISMATCH", false, "The server's certificate is for another host name.";
    ServerCertificateInvalid = 203, "DPS_SERVER_CERTIFICATE_INVALID", false, "The server's certificate is expired, not valid yet, or unusable.";
    TlsRefused = 204, "DPS_TLS_REFUSED", false, "The TLS handshake was refused.";

    HostInvalid = 301, "DPS_HOST_INVALID", false, "The host is not a host name.";
    HostNotFound = 302, "DPS_HOST_NOT_FOUND", true, "The host name could not be resolved.";
    ConnectionFailed = 303, "DPS_CONNECTION_FAILED", true, "The connection could not be opened.";
    ConnectionLost = 304, "DPS_CONNECTION_LOST", true, "The connection was lost.";
    RequestTimeout = 305, "DPS_REQUEST_TIMEOUT", true, "The other side did not answer in time.";
    ProtocolViolation = 306, "DPS_PROTOCOL_VIOLATION", false, "The other side sent something that the protocol does not allow.";
    /// Reserved: this version connects through no proxy.
    ProxyFailed = 307, "DPS_PROXY_FAILED", true, "The proxy did not open the connection.";

    BadRequest = 400, "DPS_BAD_REQUEST", false, "The service rejected the request as malformed.";
    Unauthorized = 401, "DPS_UNAUTHORIZED", false, "The service did not accept the device's credential.";
    Forbidden = 403, "DPS_FORBIDDEN", false, "The service forbids the request.";
    NotFound = 404, "DPS_NOT_FOUND", false, "The service knows no such thing.";
    Conflict = 409, "DPS_CONFLICT", false, "The request conflicts with what the service already has.";
    PreconditionFailed = 412, "DPS_PRECONDITION_FAILED", true, "Somebody else changed the record first.";
    Throttled = 429, "DPS_THROTTLED", true, "The service is throttling requests.";
    ServiceFault = 450, "DPS_SERVICE_FAULT", true, "The service failed.";
    ServiceRefused = 451, "DPS_SERVICE_REFUSED", false, "The service refused the request with a status that has no kind of its own.";

    EnrollmentDisabled = 501, "DPS_ENROLLMENT_DISABLED", false, "The enrollment of this device is disabled.";
    AllocationFailed = 502, "DPS_ALLOCATION_FAILED", false, "The service accepted the device but could not assign it to a hub.";
    UnknownStatus = 503, "DPS_UNKNOWN_STATUS", false, "The service answered with a registration status that this version does not know.";
    DeadlineExceeded = 504, "DPS_DEADLINE_EXCEEDED", true, "The deadline passed before the work was done.";
    Cancelled = 505, "DPS_CANCELLED", false, "The caller cancelled the work.";

    MessageTooLarge = 601, "DPS_MESSAGE_TOO_LARGE", false, "The message is larger than the hub accepts.";
    MessageInvalid = 602, "DPS_MESSAGE_INVALID", false, "The message cannot be sent as it is.";
    MessageRejected = 603, "DPS_MESSAGE_REJECTED", false, "The hub dropped the connection each time this message was sent.";
    NotDelivered = 604, "DPS_NOT_DELIVERED", true, "Messages were not acknowledged before the client closed.";
    Closed = 605, "DPS_CLOSED", false, "The client is closed.";

    InvalidArgument = 901, "DPS_INVALID_ARGUMENT", false, "An argument is invalid.";
    Unsupported = 902, "DPS_UNSUPPORTED", false, "This is not supported.";
    Forked = 903, "DPS_FORKED", false, "The client belongs to the process that this one was forked from.";
    Internal = 999, "DPS_INTERNAL", false, "A fault of this SDK.";
}

impl ErrorKind {
    /// The number that every language shows.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The kind that stands for an HTTP-like status of the service.
    pub fn from_status(status: u16) -> Self {
        match status {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            412 => Self::PreconditionFailed,
            429 => Self::Throttled,
            500..=599 => Self::ServiceFault,
            _ => Self::ServiceRefused,
        }
    }
}

impl fmt::Display for ErrorKind {
    /// Writes its [`name`](Self::name).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the service said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceDetails {
    /// The HTTP-like status, such as 401.
    pub status: Option<u16>,
    /// The service's own number, such as 401002: the status times 1000 plus a sub-code.
    pub error_code: Option<u32>,
    /// The service's message, verbatim.
    pub message: Option<String>,
    /// The ID that Microsoft support asks for.
    pub tracking_id: Option<String>,
    /// How long the service asks the caller to wait.
    pub retry_after: Option<Duration>,
}

/// What had not come when time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The address of the host's name.
    Address,
    /// The connection, or the first word of whoever accepted it.
    Connection,
    /// The end of the TLS handshake.
    Handshake,
    /// The answer to what was sent.
    Answer,
    /// The hub that the service was looking for.
    Hub,
}

/// An error of this crate.
///
/// `Display` gives one line: what was being done, what happened and to which file or host, what
/// the service said, and what to do about it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    service: Option<ServiceDetails>,
    hint: Option<String>,
    path: Option<PathBuf>,
    missing: Option<Missing>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` whose `message` says what happened, to which file or host.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: "",
            message: message.into(),
            service: None,
            hint: None,
            path: None,
            missing: None,
            source: None,
        }))
    }

    /// What the system said of a file or a folder.
    pub(crate) fn on_file(kind: ErrorKind, path: &Path, error: io::Error) -> Self {
        let message = format!("{}: {}", path.display(), io_reason(&error));
        Self::new(kind, message).with_path(path).with_source(error)
    }

    /// Something that this build does without.
    #[cfg(not(all(feature = "aws-lc", feature = "encrypted-keys", feature = "public-roots")))]
    pub(crate) fn left_out(what: &str) -> Self {
        let message = format!("this is the small build of the library, which leaves out {what}");
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Names what was being done, unless a deeper layer has named it already.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        if self.0.operation.is_empty() {
            self.0.operation = operation;
        }
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Says what had not come when time ran out.
    pub(crate) fn awaiting(mut self, missing: Missing) -> Self {
        self.0.missing = Some(missing);
        self
    }

    /// Says which file or folder could not be read or written.
    pub(crate) fn with_path(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_owned());
        self
    }

    /// Adds what the service said.
    #[must_use]
    pub fn with_service(mut self, service: ServiceDetails) -> Self {
        self.0.service = Some(service);
        self
    }

    /// Puts `prefix` before the message: the file or host, where only the caller knows it.
    #[must_use]
    pub fn in_context(mut self, prefix: impl fmt::Display) -> Self {
        self.0.message = format!("{prefix}: {}", self.0.message);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done, such as `register`; empty where nothing was named.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What happened, without the hint and the service's words.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the service said, if it was the service that refused.
    pub fn service(&self) -> Option<&ServiceDetails> {
        self.0.service.as_ref()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The file or folder that could not be read or written; `None` where the error is about its
    /// content, or about something else.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// What had not come when time ran out, where it did.
    pub(crate) fn missing(&self) -> Option<Missing> {
        self.0.missing
    }

    /// Whether the same call may succeed later with nothing changed on this side.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }

    /// How long the service asks the caller to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.service.as_ref().and_then(|service| service.retry_after)
    }

    /// A copy that shares the source, for several waiters of one failure.
    pub(crate) fn replicate(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            operation: self.0.operation,
            message: self.0.message.clone(),
            service: self.0.service.clone(),
            hint: self.0.hint.clone(),
            path: self.0.path.clone(),
            missing: self.0.missing,
            source: self.0.source.clone(),
        }))
    }
}

/// The reason of an I/O error without "(os error 2)".
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if !inner.operation.is_empty() {
            write!(f, "{}: ", inner.operation)?;
        }
        write!(f, "{}", inner.message)?;
        if let Some(service) = &inner.service {
            write!(f, "{service}")?;
        }
        write!(f, " [{}]", inner.kind.name())?;
        if let Some(hint) = &inner.hint {
            write!(f, " {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServiceDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = &self.message {
            write!(f, " \"{message}\"")?;
        }
        let mut separator = " (";
        let mut item = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            let written = write!(f, "{separator}{name} {value}");
            separator = ", ";
            written
        };
        if let Some(status) = self.status {
            item(f, "status", &status)?;
        }
        if let Some(error_code) = self.error_code {
            item(f, "errorCode", &error_code)?;
        }
        if let Some(tracking_id) = &self.tracking_id {
            item(f, "trackingId", tracking_id)?;
        }
        if let Some(retry_after) = self.retry_after {
            item(f, "retry-after", &format_args!("{} s", retry_after.as_secs()))?;
        }
        if separator == ", " { write!(f, ")") } else { Ok(()) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("service", &self.0.service)
            .field("hint", &self.0.hint)
            .field("source", &self.0.source)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ordered() {
        for pair in ErrorKind::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code(), "{:?} before {:?}", pair[0], pair[1]);
        }
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(names.iter().all(|name| name.starts_with("DPS_")));
    }

    #[test]
    fn one_line_says_what_happened_what_the_service_said_and_what_to_do() {
        let error = Error::new(ErrorKind::Unauthorized, "0ne00000A0A refused device-01")
            .during("register")
            .with_service(ServiceDetails {
                status: Some(401),
                error_code: Some(401_002),
                message: Some("CA certificate not found.".into()),
                tracking_id: Some("t-1".into()),
                retry_after: None,
            })
            .with_hint("Send the intermediates too.");
        assert_eq!(
            error.to_string(),
            "register: 0ne00000A0A refused device-01 \"CA certificate not found.\" \
             (status 401, errorCode 401002, trackingId t-1) [DPS_UNAUTHORIZED] \
             Send the intermediates too."
        );
    }
}
