//! `dps`: chains, registration, enrollment management and the local emulator in one command.

mod chain;
mod doctor;
mod emulator;
mod interrupt;
mod manage;
mod output;
mod passphrase;
mod quickstart;
mod register;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dps_core::Error;

use crate::output::Output;

/// Provision X.509 devices to Azure IoT Hub through DPS, or to the emulator that comes along.
#[derive(Parser)]
#[command(
    name = "dps",
    version,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done, 1 failed, 64 usage mistake, 75 failed for now (the same call may succeed later).

Example, the whole tutorial on this machine and without an account:
  dps quickstart"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The tutorial in one command: emulator, chain, enrollment group, two devices, telemetry.
    Quickstart(quickstart::Arguments),
    /// Make, show, check and convert certificates.
    #[command(
        subcommand,
        after_help = "Example, the tutorial's chain:
  dps chain root
  dps chain intermediate
  dps chain device device-01 device-02"
    )]
    Chain(chain::Command),
    /// Find what is wrong with a device's credential, clock, network or enrollment.
    Doctor(doctor::Arguments),
    /// Register a device with DPS, and optionally send a message to its hub.
    Register(register::Arguments),
    /// Run a local DPS with linked IoT hubs.
    Emulator(emulator::Arguments),
    /// The CA certificates of a DPS instance.
    #[command(
        subcommand,
        after_help = "Example:
  dps certificate list --dps-name my-dps-x509 -o table"
    )]
    Certificate(manage::certificate::Command),
    /// The enrollment groups of a DPS instance.
    #[command(
        subcommand,
        after_help = "Example:
  dps enrollment-group list --dps-name my-dps-x509 -o table"
    )]
    EnrollmentGroup(manage::enrollment_group::Command),
    /// The individual enrollments of a DPS instance.
    #[command(
        subcommand,
        after_help = "Example:
  dps enrollment list --dps-name my-dps-x509 -o table"
    )]
    Enrollment(manage::enrollment::Command),
    /// The devices of an IoT hub.
    #[command(
        subcommand,
        after_help = "Example:
  dps hub device list --hub-name contoso-hub-2 -o table"
    )]
    Hub(manage::hub::Command),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to report to when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let output = Output::new(arguments.json);
    output.show_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&output, &output::io_error("the runtime", &error)),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            // These have exit codes of their own.
            Command::Doctor(arguments) => return Ok(doctor::run(arguments, &output).await),
            Command::Quickstart(arguments) => return quickstart::run(arguments, &output).await,
            Command::Chain(command) => chain::run(command, &output),
            Command::Register(arguments) => register::run(arguments, &output).await,
            Command::Emulator(arguments) => emulator::run(arguments, &output).await,
            Command::Certificate(command) => manage::certificate::run(command, &output).await,
            Command::EnrollmentGroup(command) => {
                manage::enrollment_group::run(command, &output).await
            }
            Command::Enrollment(command) => manage::enrollment::run(command, &output).await,
            Command::Hub(command) => manage::hub::run(command, &output).await,
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // A key that is still being made is of use to nobody.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| fail(&output, &error))
}

/// `EX_USAGE` and `EX_TEMPFAIL` of sysexits(3).
const USAGE: u8 = 64;
const TRY_LATER: u8 = 75;

fn fail(output: &Output, error: &Error) -> ExitCode {
    output.error(error);
    ExitCode::from(match error.kind() {
        dps_core::ErrorKind::InvalidArgument | dps_core::ErrorKind::PassphraseRequired => USAGE,
        // Nothing changes by itself for who asked for one ETag: the record must be looked at again.
        dps_core::ErrorKind::PreconditionFailed => 1,
        _ if error.retryable() => TRY_LATER,
        _ => 1,
    })
}
