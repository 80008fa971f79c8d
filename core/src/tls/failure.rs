//! What a failed TLS connection means to the user.

use std::{io, sync::Arc};

use rustls::{AlertDescription, CertificateError};

use super::{Roots, stepped::ThreadEnded};
use crate::{
    error::{Error, ErrorKind, io_reason},
    signer::SignerError,
    transport::Host,
};

/// Names why a handshake failed.
pub(super) fn handshake_failure(error: io::Error, host: &Host, roots: &Roots) -> Error {
    match rustls_error(&error) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            certificate_failure(reason.clone(), host, roots)
        }
        Some(_) => io_failure(error, host),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Error::new(
            ErrorKind::ConnectionLost,
            format!("{host} closed the connection in the middle of the TLS handshake"),
        )
        .with_source(error),
        None => io_failure(error, host),
    }
}

/// Names why an open connection failed. With TLS 1.3 the refusal of a client certificate arrives
/// here, at the first read.
pub(crate) fn io_failure(error: io::Error, host: &Host) -> Error {
    let failure = match rustls_error(&error) {
        Some(rustls::Error::AlertReceived(alert)) => Error::new(
            ErrorKind::TlsRefused,
            format!("{host} refused the TLS connection with the alert {alert:?}"),
        )
        .with_hint(alert_hint(*alert)),
        Some(rustls::Error::Other(other)) if other.0.is::<SignerError>() => {
            let failure = Error::new(
                ErrorKind::Signer,
                format!("the signer failed in the TLS handshake with {host}: {}", other.0),
            );
            // rustls' error does not name its source: the signer's own failure would be lost.
            return failure.with_source(Box::new(Arc::clone(&other.0)) as Box<_>);
        }
        Some(tls) => Error::new(ErrorKind::TlsRefused, format!("TLS with {host} failed: {tls}")),
        None if error.get_ref().is_some_and(|cause| cause.is::<ThreadEnded>()) => Error::new(
            ErrorKind::Signer,
            format!("the signer failed in the TLS handshake with {host}: {error}"),
        ),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::ConnectionLost, format!("{host} closed the connection"))
        }
        None => Error::new(
            ErrorKind::ConnectionLost,
            format!("the connection to {host} was lost: {}", io_reason(&error)),
        ),
    };
    failure.with_source(error)
}

fn certificate_failure(reason: CertificateError, host: &Host, roots: &Roots) -> Error {
    let clock = "If the certificate should be valid, this device's clock is wrong.";
    let (kind, what, hint) = match &reason {
        CertificateError::UnknownIssuer => (
            ErrorKind::ServerNotTrusted,
            format!("the certificate of {host} does not lead to any root of {roots}"),
            "Name the server's root certificate by SSL_CERT_FILE or the roots option. Azure uses \
             DigiCert Global Root G2 and Microsoft RSA Root Certificate Authority 2017; a proxy \
             that inspects TLS uses its own.",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            ErrorKind::ServerNameMismatch,
            format!(
                "the server that answered for {host} has a certificate for another name: {reason}"
            ),
            "Check the host name, and what the connection really reaches.",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            ErrorKind::ServerCertificateInvalid,
            format!("the certificate of {host} has expired: {reason}"),
            clock,
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            ErrorKind::ServerCertificateInvalid,
            format!("the certificate of {host} is not valid yet: {reason}"),
            clock,
        ),
        _ => (
            ErrorKind::ServerCertificateInvalid,
            format!("the certificate of {host} is not usable: {reason}"),
            "The server, or a proxy before it, presents a broken certificate.",
        ),
    };
    Error::new(kind, what).with_hint(hint).with_source(rustls::Error::InvalidCertificate(reason))
}

fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "A certificate of the device's chain has expired.",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            "The server did not accept the device's certificate: check the chain and the key."
        }
        AlertDescription::UnrecognisedName => "The server does not serve this host name.",
        AlertDescription::ProtocolVersion => {
            "The server, or a proxy before it, speaks neither TLS 1.2 nor 1.3: have it updated."
        }
        _ => "The server and this device found no common TLS parameters.",
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
