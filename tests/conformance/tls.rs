//! The certificates of this suite's own servers, and how they speak TLS.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::world::HUB;

/// The service's name, which clients check.
const DPS: &str = "global.azure-devices-provisioning.net";

/// A root, and a certificate below it for the service's name and the hub's.
pub(crate) struct Certificates {
    pub(crate) root_pem: String,
    pub(crate) leaf_pem: String,
    pub(crate) key_pem: String,
    root: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Certificates {
    pub(crate) fn new(expired: bool) -> Self {
        let key = || KeyPair::generate().expect("a key");
        let (root_key, leaf_key) = (key(), key());
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Conformance Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).expect("a root");
        let names = [DPS.to_owned(), HUB.to_owned()];
        let mut leaf = CertificateParams::new(names).expect("host names");
        let day = Duration::from_secs(24 * 3600);
        let end = if expired { SystemTime::now() - day } else { SystemTime::now() + day };
        leaf.not_before = (SystemTime::now() - 9 * day).into();
        leaf.not_after = end.into();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, root_key));
        let leaf = leaf.expect("a certificate");
        Self {
            root_pem: root.pem(),
            leaf_pem: leaf.pem(),
            key_pem: leaf_key.serialize_pem(),
            root: root.der().clone(),
            leaf: leaf.der().clone(),
            key: PrivatePkcs8KeyDer::from(leaf_key.serialize_der()),
        }
    }

    /// What accepts any client, and asks none for a certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_that(false)
    }

    /// What demands a certificate, and refuses each that no device has from here.
    pub(crate) fn mistrustful_acceptor(&self) -> TlsAcceptor {
        self.acceptor_that(true)
    }

    fn acceptor_that(&self, mistrusts: bool) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS");
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let builder = if mistrusts {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from(self.key.clone_key());
        let config = builder.with_single_cert(vec![self.leaf.clone()], key);
        TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
    }
}
