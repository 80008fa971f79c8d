//! `dps emulator`: a local DPS with linked IoT hubs, until Ctrl-C.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use dps_core::{
    Error, ErrorKind, Source,
    chain::{Certificate, certificates_from_pem},
};
use dps_emulator::{Emulator, EmulatorError, Faults, TlsVersion};
use serde_json::{Map, json};

use crate::{
    interrupt,
    output::{Output, io_error, print},
};

#[derive(clap::Args)]
#[command(after_help = "Example:
  dps emulator --listen 127.0.0.1:8883 --data emulator.db --root-out emulator-root.pem

Clients reach it with two environment variables:
  DPS_CONNECT_TO=127.0.0.1:8883 SSL_CERT_FILE=$PWD/emulator-root.pem")]
pub(crate) struct Arguments {
    /// Where to listen; may be given several times
    #[arg(long, default_value = "127.0.0.1:8883", value_name = "ADDR[:PORT]")]
    listen: Vec<String>,
    /// The SQLite file that keeps the state [default: in memory]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The ID scope [default: 0ne00000A0A, or that of the data file]
    #[arg(long, value_name = "ID")]
    id_scope: Option<String>,
    /// The name of the DPS instance
    #[arg(long, value_name = "NAME")]
    dps_name: Option<String>,
    /// The host name of a linked hub; may be given several times
    #[arg(long, value_name = "NAME")]
    hub: Vec<String>,
    /// Write the root certificate of the server here
    #[arg(long, value_name = "FILE")]
    root_out: Option<PathBuf>,
    /// Speak this version of TLS alone [default: both]
    #[arg(long, value_name = "VERSION")]
    tls: Option<Tls>,
    /// The retry-after of answers while a hub is being assigned, in seconds
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// How many polls until a device is assigned
    #[arg(long, value_name = "N")]
    polls: Option<u32>,
    /// How many messages are kept of each device
    #[arg(long, value_name = "N")]
    retention: Option<u32>,
    /// A JSON file with faults to make on purpose
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tls {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<(), Error> {
    let root_out = arguments.root_out.clone();
    if let Some(path) = &root_out {
        check_replaceable(path)?;
    }
    let emulator = arguments.builder()?.start().await.map_err(|error| failure(&error))?;
    if let Some(path) = &root_out {
        std::fs::write(path, emulator.root_pem())
            .map_err(|error| io_error(&path.display().to_string(), &error))?;
    }
    // The signals are caught before anybody is told that the emulator is ready.
    let end = interrupt::caught()?;
    announce(&emulator, root_out.as_deref(), output)?;
    end.await?;
    emulator.stop().await;
    Ok(())
}

/// A file of certificates is replaced, such as that of the emulator before; a key never.
fn check_replaceable(path: &Path) -> Result<(), Error> {
    // Neither a pipe nor a terminal has anything to lose.
    if !path.is_file() {
        return Ok(());
    }
    let bytes = Source::file(path).read()?;
    // Nothing may be left over: the parser skips what stands beside the certificates.
    let certificates = certificates_from_pem(&bytes).unwrap_or_default();
    let text: String = certificates.iter().map(Certificate::to_pem).collect();
    let solid = |byte: &&u8| !byte.is_ascii_whitespace();
    if bytes.iter().filter(solid).eq(text.as_bytes().iter().filter(solid)) {
        return Ok(());
    }
    let message = format!("{}: the file holds something else than certificates", path.display());
    Err(Error::new(ErrorKind::FileNotWritable, message)
        .with_hint("Give --root-out a new file; this one is left as it is."))
}

impl Arguments {
    fn builder(self) -> Result<dps_emulator::Builder, Error> {
        let mut builder = Emulator::builder();
        for address in self.listen {
            builder = builder.listen(address);
        }
        for hub in self.hub {
            builder = builder.hub(hub);
        }
        if let Some(file) = self.data {
            builder = builder.data(file);
        }
        if let Some(id_scope) = self.id_scope {
            builder = builder.id_scope(id_scope);
        }
        if let Some(name) = self.dps_name {
            builder = builder.dps_name(name);
        }
        if let Some(version) = self.tls {
            builder = builder.tls(match version {
                Tls::V1_2 => TlsVersion::V1_2,
                Tls::V1_3 => TlsVersion::V1_3,
            });
        }
        if let Some(seconds) = self.retry_after {
            builder = builder.retry_after(seconds);
        }
        if let Some(polls) = self.polls {
            builder = builder.polls(polls);
        }
        if let Some(messages) = self.retention {
            builder = builder.retention(messages);
        }
        if let Some(path) = self.faults {
            let name = path.display();
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Error::new(ErrorKind::FileNotReadable, format!("{name}: {error}"))
            })?;
            builder = builder.faults(Faults::from_json(&text).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("{name}: {error}"))
            })?);
        }
        Ok(builder)
    }
}

/// One line, so that a script that reads it knows that the emulator is ready.
fn announce(emulator: &Emulator, root_out: Option<&Path>, output: &Output) -> Result<(), Error> {
    let endpoints: Vec<_> = emulator.endpoints().iter().map(ToString::to_string).collect();
    if output.is_json() {
        let hubs: Map<_, _> = emulator
            .hubs()
            .iter()
            .map(|hub| (hub.clone(), emulator.hub_connection_string(hub).into()))
            .collect();
        let ready = json!({
            "endpoints": endpoints,
            "connectTo": emulator.connect_to(),
            "rootCertificateFile": root_out,
            "idScope": emulator.id_scope(),
            "connectionString": emulator.connection_string(),
            "hubConnectionStrings": hubs,
        });
        return print(&ready.to_string());
    }
    let root = match root_out {
        Some(path) => format!("root certificate {}", path.display()),
        None => "root certificate by --root-out".into(),
    };
    print(&format!(
        "Ready on {}: ID scope {}, hubs {}, {root}; connection strings by --json",
        endpoints.join(", "),
        emulator.id_scope(),
        emulator.hubs().join(", ")
    ))
}

pub(crate) fn failure(error: &EmulatorError) -> Error {
    let (kind, hint) = match error {
        EmulatorError::InvalidSetting(_) => (ErrorKind::InvalidArgument, None),
        EmulatorError::Io { source, .. } if source.kind() == io::ErrorKind::AddrInUse => (
            ErrorKind::ConnectionFailed,
            Some(
                "Another program, perhaps another dps emulator, uses it: end that one, or take a \
                 free port by --listen 127.0.0.1:0.",
            ),
        ),
        EmulatorError::Io { .. } => (ErrorKind::ConnectionFailed, None),
        EmulatorError::Store(_) => (
            ErrorKind::FileNotWritable,
            Some(
                "End the emulator that uses the file, if one does; or give another file, in a \
                 folder that exists, by --data.",
            ),
        ),
        _ => (ErrorKind::Internal, None),
    };
    let told = Error::new(kind, error.to_string()).during("start the emulator");
    match hint {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}
