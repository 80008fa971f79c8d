//! What is wrong with a device's credential, clock, network or enrollment, said before dialling.
//!
//! ```no_run
//! # fn main() -> dps_core::Result<()> {
//! use dps_core::doctor::Doctor;
//!
//! let report = Doctor::new()
//!     .certificate_file("device-01-full-chain.cert.pem")
//!     .key_file("device-01.key.pem")
//!     .authorities_file("azure-iot-test-only.root.ca.cert.pem")
//!     .offline()?;
//! for finding in report.findings() {
//!     println!("{finding}");
//! }
//! # Ok(())
//! # }
//! ```

mod check;
mod finding;
mod offline;
mod report;
mod service;
mod wire;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use self::offline::Reach;
pub(crate) use self::service::{Shown, remedy, with_finding, with_slow_signer};
pub use self::{
    check::{Check, Severity},
    finding::Finding,
    report::Report,
    service::decode,
};
use crate::{
    chain,
    error::{Error, ErrorKind, Result},
    key::{Passphrase, PrivateKey},
    provisioning::GLOBAL_HOST,
    signer::Signer,
    source::{Named, Source},
};

/// Whoever waits for a diagnosis wants to know sooner than a device that has to get through.
const DEADLINE: Duration = Duration::from_secs(60);

/// Examines a device's credential and what surrounds it.
///
/// Give what there is; what is not given is not examined.
#[must_use = "nothing is examined before `offline`, `wire` or `service`"]
pub struct Doctor {
    chain: Option<Named>,
    key: Option<Named>,
    signer: Option<Arc<dyn Signer>>,
    passphrase: Option<Passphrase>,
    authorities: Option<Named>,
    group: Option<Named>,
    individual: Option<Named>,
    registration_id: Option<String>,
    id_scope: Option<String>,
    host: String,
    connect_to: Option<String>,
    roots: Option<Named>,
    clock: Option<SystemTime>,
    deadline: Duration,
}

impl Default for Doctor {
    fn default() -> Self {
        Self::new()
    }
}

impl Doctor {
    /// A doctor that has been given nothing yet.
    pub fn new() -> Self {
        Self {
            chain: None,
            key: None,
            signer: None,
            passphrase: None,
            authorities: None,
            group: None,
            individual: None,
            registration_id: None,
            id_scope: None,
            host: GLOBAL_HOST.into(),
            connect_to: None,
            roots: None,
            clock: None,
            deadline: DEADLINE,
        }
    }

    /// The file with the device's chain: PEM, DER or PKCS#12. Of a PKCS#12 file the private key is
    /// taken too, unless another is given.
    pub fn certificate_file(self, path: impl Into<PathBuf>) -> Self {
        self.certificate(Source::file(path))
    }

    /// As [`certificate_file`](Self::certificate_file), in memory or a [`Source`].
    pub fn certificate(mut self, file: impl Into<Source>) -> Self {
        self.chain = Some(Named::new("the certificate chain", file));
        self
    }

    /// The file with the leaf's private key: PEM, DER or PKCS#12.
    pub fn key_file(self, path: impl Into<PathBuf>) -> Self {
        self.key(Source::file(path))
    }

    /// As [`key_file`](Self::key_file), in memory or a [`Source`].
    pub fn key(mut self, file: impl Into<Source>) -> Self {
        self.key = Some(Named::new("the private key", file));
        self
    }

    /// What signs in place of a private key that can be read.
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The passphrase of an encrypted key or PKCS#12 file.
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// The file with the CA certificates that are verified in DPS.
    pub fn authorities_file(self, path: impl Into<PathBuf>) -> Self {
        self.authorities(Source::file(path))
    }

    /// As [`authorities_file`](Self::authorities_file), in memory or a [`Source`].
    pub fn authorities(mut self, file: impl Into<Source>) -> Self {
        self.authorities = Some(Named::new("the known CAs", file));
        self
    }

    /// The file with the certificate that the enrollment group lists.
    pub fn group_certificate_file(self, path: impl Into<PathBuf>) -> Self {
        self.group_certificate(Source::file(path))
    }

    /// As [`group_certificate_file`](Self::group_certificate_file), in memory or a [`Source`].
    pub fn group_certificate(mut self, file: impl Into<Source>) -> Self {
        self.group = Some(Named::new("the enrollment group's certificate", file));
        self
    }

    /// The file with the certificate that the device's individual enrollment holds.
    pub fn individual_certificate_file(self, path: impl Into<PathBuf>) -> Self {
        self.individual_certificate(Source::file(path))
    }

    /// As [`individual_certificate_file`](Self::individual_certificate_file), in memory or a [`Source`].
    pub fn individual_certificate(mut self, file: impl Into<Source>) -> Self {
        self.individual = Some(Named::new("the individual enrollment's certificate", file));
        self
    }

    /// The registration ID that the device uses, where it is not taken from its certificate.
    pub fn registration_id(mut self, registration_id: impl Into<String>) -> Self {
        self.registration_id = Some(registration_id.into());
        self
    }

    /// The ID scope, for [`service`](Self::service).
    pub fn id_scope(mut self, id_scope: impl Into<String>) -> Self {
        self.id_scope = Some(id_scope.into());
        self
    }

    /// The DPS endpoint, where it is not [`GLOBAL_HOST`].
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Where to connect to instead, as `HOST:PORT`, while the names stay the real ones.
    pub fn connect_to(mut self, host_and_port: impl Into<String>) -> Self {
        self.connect_to = Some(host_and_port.into());
        self
    }

    /// The file with the roots that the server's certificate must lead to.
    pub fn roots_file(self, path: impl Into<PathBuf>) -> Self {
        self.roots(Source::file(path))
    }

    /// As [`roots_file`](Self::roots_file), in memory or a [`Source`].
    pub fn roots(mut self, file: impl Into<Source>) -> Self {
        self.roots = Some(Named::new("the trust roots", file));
        self
    }

    /// The time to judge by, where it is not this device's clock.
    pub fn clock(mut self, now: SystemTime) -> Self {
        self.clock = Some(now);
        self
    }

    /// The longest that [`wire`](Self::wire) and [`service`](Self::service) may take, where it is
    /// not a minute. What has not answered by then is reported as a finding.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether a file turns out to be encrypted, and no passphrase was given.
    pub fn needs_passphrase(&self) -> bool {
        let encrypted = |result: Result<()>| {
            result.is_err_and(|error| error.kind() == ErrorKind::PassphraseRequired)
        };
        let reads = |input: &Option<Named>, read: fn(&[u8]) -> Result<()>| {
            input.as_ref().is_some_and(|input| encrypted(input.parse(read)))
        };
        self.passphrase.is_none()
            && (reads(&self.key, |bytes| PrivateKey::from_pem(bytes, None).map(drop))
                || reads(&self.chain, |bytes| chain::read_any(bytes, None).map(drop)))
    }

    /// Examines the files, the names and the clock.
    ///
    /// Fails only where an examination cannot be made: nothing was given, or a file that is to
    /// be compared with cannot be read. Returns when the signer has answered.
    pub fn offline(&self) -> Result<Report> {
        let files = [&self.chain, &self.key, &self.group, &self.individual];
        if files.iter().all(|input| input.is_none()) {
            return Err(cannot_run("no certificate and no key was given to examine"));
        }
        let mut examined = offline::examine(self, Reach::Files)?;
        examined.prove();
        Ok(examined.report)
    }

    /// As [`offline`](Self::offline), and then looks up the host, connects to ports 8883 and 443,
    /// performs the TLS handshake and the WebSocket upgrade, and compares the clocks.
    ///
    /// Ends within the [`deadline`](Self::deadline); dropping the future ends it at once. A signer
    /// that may block is called on another thread; files are read and keys are decrypted on this one.
    pub async fn wire(&self) -> Result<Report> {
        let limit = Limit::new(self.deadline);
        let mut examined = offline::examine(self, Reach::Network)?;
        examined.prove_within(limit).await;
        wire::examine(self, &mut examined, limit).await?;
        Ok(examined.report)
    }

    /// As [`wire`](Self::wire), and then registers the device.
    pub async fn service(&self) -> Result<Report> {
        let limit = Limit::new(self.deadline);
        let mut examined = offline::examine(self, Reach::Network)?;
        examined.prove_within(limit).await;
        service::can_run(self, &examined)?;
        if wire::examine(self, &mut examined, limit).await? {
            service::examine(self, &mut examined, limit).await?;
        }
        Ok(examined.report)
    }

    fn now(&self) -> SystemTime {
        self.clock.unwrap_or_else(SystemTime::now)
    }
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doctor")
            .field("host", &self.host)
            .field("id_scope", &self.id_scope)
            .finish_non_exhaustive()
    }
}

/// When one examination ends; `None` where that is further away than a clock can count.
#[derive(Clone, Copy)]
struct Limit(Option<Instant>);

impl Limit {
    fn new(span: Duration) -> Self {
        Self(Instant::now().checked_add(span))
    }

    fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }
}

/// What is compared with; without it there is nothing to say.
fn certificates(input: &Named) -> Result<Vec<chain::Certificate>> {
    input.parse(chain::certificates_from_pem)
}

fn cannot_run(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
