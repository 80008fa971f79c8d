//! What a caller holds, before it is opened into an [`Identity`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{
    chain::{self, CertificateChain},
    error::{ErrorKind, Result},
    identity::Identity,
    key::{Passphrase, PrivateKey},
    pem,
    signer::Signer,
};

/// A certificate chain and a key, wherever they are kept.
pub struct Credential {
    chain: Source,
    key: Key,
    passphrase: Option<Passphrase>,
    authorities: Option<Source>,
}

enum Key {
    Source(Source),
    Signer(Arc<dyn Signer>),
}

enum Source {
    File(PathBuf),
    Memory(&'static str, Zeroizing<Vec<u8>>),
}

impl Credential {
    /// A PEM file with the full chain, and a PEM file with the leaf's private key.
    pub fn pem_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(chain.into()), Key::Source(Source::File(key.into())))
    }

    /// The full chain and the leaf's private key as PEM text.
    pub fn pem(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let key = Source::Memory("the private key", Zeroizing::new(key.into()));
        Self::new(Source::chain(chain.into()), Key::Source(key))
    }

    /// The full chain as PEM text, with a key that signs and stays where it is.
    pub fn signer(chain: impl Into<Vec<u8>>, signer: Arc<dyn Signer>) -> Self {
        Self::new(Source::chain(chain.into()), Key::Signer(signer))
    }

    /// A PEM file with the full chain, with a key that signs and stays where it is.
    pub fn signer_with_chain_file(chain: impl Into<PathBuf>, signer: Arc<dyn Signer>) -> Self {
        Self::new(Source::File(chain.into()), Key::Signer(signer))
    }

    fn new(chain: Source, key: Key) -> Self {
        Self { chain, key, passphrase: None, authorities: None }
    }

    /// The passphrase of an encrypted key.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// The CA certificates that DPS knows, as a PEM file: the verified root, or the enrollment
    /// group's own. With them a missing intermediate is found before dialling.
    pub fn authorities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(Source::File(path.into()));
        self
    }

    /// As [`authorities_file`](Self::authorities_file), from PEM text.
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(Source::chain(pem.into()));
        self
    }

    /// Reads the chain and the key and proves that they belong together.
    pub fn open(self) -> Result<Identity> {
        self.try_open().map_err(|error| error.during("open credential"))
    }

    fn try_open(self) -> Result<Identity> {
        let chain = self.chain.parse(CertificateChain::from_pem)?;
        for warning in chain.warnings() {
            tracing::warn!("{}: {warning}", self.chain);
        }
        let identity = match self.key {
            Key::Signer(signer) => Identity::from_signer(chain, signer)
                .map_err(|error| error.in_context(&self.chain))?,
            Key::Source(source) => {
                let passphrase = self.passphrase.as_ref();
                let key = source.parse(|bytes| PrivateKey::from_pem(bytes, passphrase))?;
                Identity::from_key(chain, key).map_err(|error| {
                    error.in_context(format_args!("{source} and {}", self.chain))
                })?
            }
        };
        if let Some(source) = &self.authorities {
            let authorities = source.parse(chain::certificates_from_pem)?;
            let reached = identity.chain().check_reaches(&authorities);
            reached.map_err(|error| error.in_context(&self.chain))?;
        }
        Ok(identity)
    }
}

impl Source {
    fn chain(bytes: Vec<u8>) -> Self {
        Self::Memory("the certificate chain", Zeroizing::new(bytes))
    }

    fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        match self {
            Self::File(path) => parse(&pem::read(path)?),
            Self::Memory(_, bytes) => parse(bytes),
        }
        .map_err(|error| match error.kind() {
            // It names the file already.
            ErrorKind::FileNotReadable => error,
            _ => error.in_context(self),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => Path::display(path).fmt(f),
            Self::Memory(what, _) => f.write_str(what),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, ..)", self.chain)
    }
}
