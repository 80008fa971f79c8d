//! What a certificate says about its own use (RFC 5280, section 4.2.1).

use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, ParsedExtension},
};

/// The extensions that decide whether a certificate may stand where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// `basicConstraints`: whether it is a CA, and how many CAs may follow it.
    pub(crate) basic_constraints: Option<(bool, Option<u32>)>,
    pub(crate) key_usage: Option<KeyUsage>,
    /// The purposes of `extKeyUsage`, by the name that OpenSSL gives them or as an identifier.
    pub(crate) extended_key_usage: Option<Vec<String>>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<Vec<u8>>,
    /// Critical, and not known here: RFC 5280, section 4.2, has such a certificate refused.
    pub(crate) unknown_critical: Vec<String>,
    /// What cannot be parsed, or stands twice.
    pub(crate) damaged: Vec<String>,
}

/// The bits of `keyUsage` (RFC 5280, section 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUsage(u16);

impl KeyUsage {
    const NAMES: [&'static str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.has(*bit)).map(|(_, n)| n)
    }

    /// Whether the key may authenticate a TLS client.
    pub(crate) fn authenticates(self) -> bool {
        self.has(0) || self.has(4)
    }

    pub(crate) fn signs_certificates(self) -> bool {
        self.has(5)
    }

    fn has(self, bit: usize) -> bool {
        self.0 & (1 << bit) != 0
    }
}

impl Extensions {
    pub(super) fn new(certificate: &X509Certificate<'_>) -> Self {
        let mut found = Self::default();
        let mut seen = Vec::new();
        for extension in certificate.extensions() {
            let oid = extension.oid.to_id_string();
            if seen.contains(&oid) {
                found.damaged.push(oid);
                continue;
            }
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    found.basic_constraints =
                        Some((constraints.ca, constraints.path_len_constraint));
                }
                ParsedExtension::KeyUsage(usage) => {
                    found.key_usage = Some(KeyUsage(usage.flags));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    found.extended_key_usage = Some(purposes(usage));
                }
                ParsedExtension::SubjectKeyIdentifier(id) => {
                    found.subject_key_id = Some(id.0.to_vec());
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    found.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::ParseError { .. } => found.damaged.push(oid.clone()),
                // Not judged here, and so refused where the certificate insists on them.
                ParsedExtension::UnsupportedExtension { .. }
                | ParsedExtension::NameConstraints(_)
                    if extension.critical =>
                {
                    found.unknown_critical.push(oid.clone());
                }
                _ => {}
            }
            seen.push(oid);
        }
        found
    }

    /// Whether the purposes, where they are listed, leave out TLS clients.
    pub(crate) fn excludes_client_auth(&self) -> bool {
        self.extended_key_usage.as_ref().is_some_and(|purposes| {
            !purposes.iter().any(|purpose| purpose == "clientAuth" || purpose == ANY)
        })
    }
}

const ANY: &str = "anyExtendedKeyUsage";

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, ANY),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}
