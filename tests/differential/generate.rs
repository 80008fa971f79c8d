//! Chains of every kind, sound and not, each from a seed.

use dps_core::chain::Certificate;
use fastrand::Rng;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, SerialNumber,
};
use time::{Duration, OffsetDateTime};

pub(crate) struct Generated {
    pub(crate) leaf: Certificate,
    /// What the device holds, in any order.
    pub(crate) presented: Vec<Certificate>,
    pub(crate) trusted: Vec<Certificate>,
    pub(crate) mutations: Vec<Mutation>,
    pub(crate) authority_without_constraints: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    Expired,
    NotYetValid,
    IssuerNotCa,
    IssuerWithoutConstraints,
    PathLength,
    NoCertificateSigning,
    NoDigitalSignature,
    NoClientAuth,
    AuthorityForServersOnly,
    AnotherKeyId,
    MadeAnew,
    DamagedSignature,
    UnknownCritical,
    Missing,
    Stranger,
    Twice,
    OtherRoot,
    TrustTheIntermediate,
    NoRootSent,
    LeafIsCa,
    NoKeyUsage,
}

impl Mutation {
    const ALL: [Self; 21] = [
        Self::Expired,
        Self::NotYetValid,
        Self::IssuerNotCa,
        Self::IssuerWithoutConstraints,
        Self::PathLength,
        Self::NoCertificateSigning,
        Self::NoDigitalSignature,
        Self::NoClientAuth,
        Self::AuthorityForServersOnly,
        Self::AnotherKeyId,
        Self::MadeAnew,
        Self::DamagedSignature,
        Self::UnknownCritical,
        Self::Missing,
        Self::Stranger,
        Self::Twice,
        Self::OtherRoot,
        Self::TrustTheIntermediate,
        Self::NoRootSent,
        Self::LeafIsCa,
        Self::NoKeyUsage,
    ];
}

pub(crate) struct Generator {
    keys: Vec<KeyPair>,
}

impl Generator {
    pub(crate) fn new() -> Self {
        let algorithms = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_RSA_SHA256,
            &PKCS_RSA_SHA256,
        ];
        let keys = algorithms.map(|algorithm| KeyPair::generate_for(algorithm).unwrap());
        Self { keys: keys.into() }
    }

    pub(crate) fn sound(&self) -> Generated {
        self.make(0, &mut Rng::with_seed(0), Vec::new())
    }

    pub(crate) fn chain(&self, seed: u64) -> Generated {
        let mut rng = Rng::with_seed(seed);
        let count = [0, 1, 1, 1, 1, 2][rng.usize(..6)];
        let mutations = (0..count).map(|_| Mutation::ALL[rng.usize(..Mutation::ALL.len())]);
        let mutations = mutations.collect();
        self.make(seed, &mut rng, mutations)
    }

    /// The names of the CAs are its own, so that one process can judge many chains at once.
    fn make(&self, seed: u64, rng: &mut Rng, mutations: Vec<Mutation>) -> Generated {
        let has = |mutation: Mutation| mutations.contains(&mutation);
        let depth = rng.usize(1..=4);
        let now = OffsetDateTime::now_utc();
        let mut keys: Vec<usize> = (0..self.keys.len()).collect();
        rng.shuffle(&mut keys);

        // From the root (0) down to the leaf (depth).
        let target = rng.usize(..depth + 1);
        let authority = rng.usize(..depth);
        let mut params: Vec<CertificateParams> = (0..=depth)
            .map(|level| {
                let name = match level {
                    0 => format!("Root of {seed}"),
                    level if level == depth => "device-01".to_owned(),
                    level => format!("Intermediate {level} of {seed}"),
                };
                let mut params = CertificateParams::default();
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, name);
                params.not_before = now - Duration::days(1);
                params.not_after = now + Duration::days(30);
                params.serial_number = Some(SerialNumber::from(rng.u64(1..)));
                params.use_authority_key_identifier_extension = true;
                if level < depth {
                    // Wide enough for every chain, and counted by us and by openssl.
                    params.is_ca = IsCa::Ca(match rng.bool() {
                        true => BasicConstraints::Unconstrained,
                        false => BasicConstraints::Constrained((depth - level) as u8),
                    });
                    params.key_usages =
                        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
                } else {
                    params.is_ca = IsCa::ExplicitNoCa;
                    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                }
                params
            })
            .collect();
        if has(Mutation::Expired) {
            params[target].not_before = now - Duration::days(40);
            params[target].not_after = now - Duration::days(1);
        }
        if has(Mutation::NotYetValid) {
            params[target].not_before = now + Duration::days(1);
        }
        if has(Mutation::IssuerNotCa) {
            params[authority].is_ca = IsCa::ExplicitNoCa;
        }
        if has(Mutation::IssuerWithoutConstraints) {
            params[authority].is_ca = IsCa::NoCa;
        }
        if has(Mutation::PathLength) {
            params[authority].is_ca = IsCa::Ca(BasicConstraints::Constrained(rng.u8(..2)));
        }
        if has(Mutation::NoCertificateSigning) {
            params[authority].key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        if has(Mutation::NoDigitalSignature) {
            params[depth].key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        }
        if has(Mutation::NoKeyUsage) {
            params[target].key_usages = Vec::new();
            params[depth].extended_key_usages = Vec::new();
        }
        if has(Mutation::NoClientAuth) {
            params[depth].extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        if has(Mutation::AuthorityForServersOnly) {
            params[authority].extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        if has(Mutation::LeafIsCa) {
            params[depth].is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if has(Mutation::UnknownCritical) {
            let mut extension =
                CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![0x05, 0x00]);
            extension.set_criticality(true);
            params[target].custom_extensions.push(extension);
        }

        let mut made: Vec<Certificate> = Vec::new();
        for level in 0..=depth {
            let key = &self.keys[keys[level]];
            let above = level.saturating_sub(1);
            let mut issuer = params[above].clone();
            if has(Mutation::AnotherKeyId) && level > 0 && above == authority {
                issuer.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
            }
            // A CA of the same name with another key: the next key of the pool.
            let anew = has(Mutation::MadeAnew) && level > 0 && above == authority;
            let issuer_key = match anew {
                true => &self.keys[keys[(above + depth + 1) % keys.len()]],
                false => &self.keys[keys[above]],
            };
            if anew {
                // Without the key identifiers, which would tell the two apart by themselves.
                params[level].use_authority_key_identifier_extension = rng.bool();
            }
            let issuer = Issuer::from_params(&issuer, issuer_key);
            let mut der = params[level].signed_by(key, &issuer).unwrap().der().to_vec();
            if has(Mutation::DamagedSignature) && level == target {
                let last = der.len() - 1;
                der[last] ^= 1;
            }
            made.push(Certificate::from_der(&der).unwrap());
        }

        let leaf = made[depth].clone();
        let root = made[0].clone();
        let mut presented: Vec<Certificate> = made.iter().rev().cloned().collect();
        if has(Mutation::Missing) && depth > 1 {
            presented.remove(rng.usize(1..depth));
        }
        if has(Mutation::NoRootSent) {
            presented.retain(|certificate| *certificate != root);
        }
        if presented.is_empty() || presented[0] != leaf {
            presented.insert(0, leaf.clone());
        }
        if has(Mutation::Stranger) {
            presented.push(self.stranger(seed, keys[depth + 1]));
        }
        if has(Mutation::Twice) {
            presented.push(presented[rng.usize(..presented.len())].clone());
        }
        if rng.bool() {
            rng.shuffle(&mut presented);
        }
        let trusted = if has(Mutation::OtherRoot) {
            vec![self.stranger(seed, keys[depth + 1])]
        } else if has(Mutation::TrustTheIntermediate) && depth > 1 {
            vec![made[rng.usize(1..depth)].clone()]
        } else {
            vec![root]
        };
        let authority_without_constraints = has(Mutation::IssuerWithoutConstraints);
        Generated { leaf, presented, trusted, mutations, authority_without_constraints }
    }

    /// A root that has nothing to do with the chain.
    fn stranger(&self, seed: u64, key: usize) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Somebody Else {seed}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
        let certificate = params.self_signed(&self.keys[key % self.keys.len()]).unwrap();
        Certificate::from_der(certificate.der()).unwrap()
    }
}
