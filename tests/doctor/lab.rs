//! Chains that no honest CA would issue.

use dps_core::doctor::Doctor;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};

/// A root, an intermediate and a device, each as a test wants it.
pub(crate) struct Lab {
    pub(crate) params: [CertificateParams; 3],
    /// What the issuer says of itself when it issues, where that differs.
    pub(crate) issuer_params: Option<CertificateParams>,
    keys: [KeyPair; 3],
}

pub(crate) const ROOT: usize = 0;
pub(crate) const INTERMEDIATE: usize = 1;
pub(crate) const LEAF: usize = 2;

impl Lab {
    pub(crate) fn new() -> Self {
        let params = ["Root", "Intermediate", "device-01"].map(|name| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = OffsetDateTime::now_utc() - Duration::minutes(5);
            params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
            params.use_authority_key_identifier_extension = true;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages =
                vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            params
        });
        let keys = [(); 3].map(|()| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        let mut lab = Self { params, issuer_params: None, keys };
        lab.params[LEAF].is_ca = IsCa::ExplicitNoCa;
        lab.params[LEAF].key_usages = vec![KeyUsagePurpose::DigitalSignature];
        lab.params[LEAF].extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        lab
    }

    pub(crate) fn leaf_key(&self) -> String {
        self.keys[LEAF].serialize_pem()
    }

    /// PEM of the root, the intermediate and the leaf.
    pub(crate) fn certificates(&self) -> [String; 3] {
        [ROOT, INTERMEDIATE, LEAF].map(|level| {
            let above = level.saturating_sub(1);
            let issuer = match (&self.issuer_params, level) {
                (Some(params), LEAF) => params,
                _ => &self.params[above],
            };
            let issuer = Issuer::from_params(issuer, &self.keys[above]);
            self.params[level].signed_by(&self.keys[level], &issuer).unwrap().pem()
        })
    }

    /// The doctor of a device that holds all of it, below a verified root.
    pub(crate) fn doctor(&self) -> Doctor {
        let [root, intermediate, leaf] = self.certificates();
        Doctor::new()
            .certificate(leaf + &intermediate + &root)
            .key(self.leaf_key())
            .authorities(root)
    }
}
