//! What the report, the servers and the clients of the benchmarks say to each other.
//!
//! Each runs in a process of its own, so that what is measured is the client's alone. A process
//! gets one JSON argument and prints one line of JSON.
#![forbid(unsafe_code)]

mod meter;

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
};

use dps_core::{Credential, Identity, tls::Roots, transport::Network};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::meter::{Latency, Meter, Reading, raise_file_limit};

/// What goes wrong in a benchmark ends it, whatever it is.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The hub that the servers stand for.
pub const HUB: &str = "contoso-hub-2.azure-devices.net";

/// The hub of a server on the port of Microsoft's SDKs, which reach no address but the hub's name.
pub const LOCAL_HUB: &str = "localhost";

/// Where a sink listens for Microsoft's SDKs, beside an emulator: the port is built into them.
pub const SINK_ADDRESS: &str = "127.0.0.2";

/// How many bytes a telemetry message has.
pub const MESSAGE_SIZE: usize = 256;

/// A server that answers, and the devices that may talk to it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Site {
    /// Where it listens.
    pub connect_to: String,
    /// The ID scope of its DPS; empty where there is only a hub.
    pub id_scope: String,
    /// The name of its hub.
    pub hub: String,
    /// The file of roots that its certificate leads to.
    pub roots: PathBuf,
    /// Where the devices' chains and keys are.
    pub devices: PathBuf,
}

/// What a server is to be.
#[derive(Serialize, Deserialize)]
pub enum Service {
    /// The emulator; an enrollment group takes this many devices, whose files it writes.
    Emulator {
        /// Where to write.
        folder: PathBuf,
        /// How many devices.
        devices: usize,
        /// `ADDRESS:PORT`, and then its hub is [`LOCAL_HUB`]; a free port of 127.0.0.1 if not given.
        #[serde(default)]
        listen: Option<String>,
        /// Cuts the connection of each device once, at this message, before it is handled.
        #[serde(default)]
        cut_at: Option<u32>,
    },
    /// A hub that acknowledges every message and keeps none.
    Sink {
        /// Where to write the root.
        folder: PathBuf,
        /// Where the devices' files are.
        devices: PathBuf,
        /// `ADDRESS:PORT`; a free port of 127.0.0.1 if not given.
        #[serde(default)]
        listen: Option<String>,
    },
}

/// What a client is to do and to measure.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// What.
    pub task: Task,
    /// By dps-core, or by rustls and the MQTT codec alone.
    pub by: By,
    /// Against what.
    pub site: Site,
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// dps-core.
    Core,
    /// tokio-rustls with the codec: the least that the same bytes on the wire can cost.
    Bare,
}

/// The work.
#[derive(Clone, Serialize, Deserialize)]
pub enum Task {
    /// Registers devices at the same time, each one time after the other.
    Register {
        /// How many devices.
        devices: usize,
        /// How many times, of all devices together.
        times: usize,
    },
    /// The same with the TLS handshake with DPS alone. Bare only.
    Handshake {
        /// How many devices.
        devices: usize,
        /// How many times, of all devices together.
        times: usize,
        /// What a device waits between a handshake and its end, in microseconds.
        pause: u64,
    },
    /// The whole life of a simple device: start, register, send, end.
    Device {
        /// How many messages, one at a time.
        messages: usize,
    },
    /// Sends messages of [`MESSAGE_SIZE`] bytes at QoS 1.
    Telemetry {
        /// How many.
        messages: usize,
        /// How many wait for their acknowledgements at the same time.
        at_once: usize,
    },
    /// Registers and connects devices that then stay connected.
    Fleet {
        /// How many.
        devices: usize,
    },
    /// Connects, sends a message, and then the one at which the server cuts the connection. Bare
    /// cannot.
    Reconnect {
        /// Which device.
        device: usize,
    },
    /// Many devices that register at the same time, each once.
    Registrations {
        /// How many devices.
        devices: usize,
        /// How many at the same time.
        at_once: usize,
    },
    /// Many devices that send at the same time.
    Messages {
        /// How many devices.
        devices: usize,
        /// How many messages each has under way.
        at_once: usize,
        /// How many messages each sends.
        messages: usize,
    },
    /// Makes a batch of devices: keys, certificates and their files. Bare: files of those sizes.
    Mint {
        /// For how many devices.
        devices: usize,
        /// Where to.
        folder: PathBuf,
    },
    /// Reads a full chain and shows it. dps-core only.
    Inspect {
        /// The type of every key of the chain.
        keys: Keys,
        /// How many times.
        times: usize,
    },
    /// Reads a full chain and verifies it against its root. dps-core only.
    Verify {
        /// The type of every key of the chain.
        keys: Keys,
        /// How many times.
        times: usize,
    },
}

/// The types of key that the measured chains have.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Keys {
    /// EC P-256.
    P256,
    /// RSA of 4096 bits, the tutorial's.
    Rsa4096,
}

impl Site {
    /// For what needs no server.
    pub fn nowhere() -> Self {
        let (connect_to, id_scope, hub) = (String::new(), String::new(), String::new());
        Self { connect_to, id_scope, hub, roots: PathBuf::new(), devices: PathBuf::new() }
    }

    /// The registration ID and device ID of device `number`.
    pub fn device_id(number: usize) -> String {
        format!("device-{number:05}")
    }

    /// The file with the full chain of device `number`.
    pub fn chain(&self, number: usize) -> PathBuf {
        self.devices.join(format!("{}-full-chain.cert.pem", Self::device_id(number)))
    }

    /// The file with the key of device `number`.
    pub fn key(&self, number: usize) -> PathBuf {
        self.devices.join(format!("{}.key.pem", Self::device_id(number)))
    }

    /// How dps-core reaches it.
    pub fn network(&self) -> Network {
        Network::default().connect_to(&self.connect_to).roots(Roots::pem_file(&self.roots))
    }

    /// Device `number`, as dps-core opens it.
    pub fn identity(&self, number: usize) -> dps_core::Result<Identity> {
        Credential::pem_files(self.chain(number), self.key(number)).open()
    }
}

/// The argument that a process was started with.
pub fn argument<T: DeserializeOwned>() -> Outcome<T> {
    let argument = env::args().nth(1).ok_or("started by `cargo bench`, with one JSON argument")?;
    Ok(serde_json::from_str(&argument)?)
}

/// Tells whoever started the process.
pub fn tell(answer: &impl Serialize) -> Outcome<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
