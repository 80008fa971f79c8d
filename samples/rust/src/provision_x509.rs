//! The tutorial's device: registers through DPS with its X.509 chain, connects to the assigned hub
//! and sends a message.
//!
//! Environment, as in the tutorial: `PROVISIONING_HOST`, `PROVISIONING_IDSCOPE`,
//! `PROVISIONING_REGISTRATION_ID`, `CERTIFICATE_FILE`, `KEY_FILE`. Against the emulator also
//! `DPS_CONNECT_TO` and `SSL_CERT_FILE`.
#![allow(clippy::print_stdout, reason = "a sample talks to the person who runs it")]

use std::{env, error::Error, time::Duration};

use dps_core::{Credential, ProvisioningClient};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let identity =
        Credential::pem_files(variable("CERTIFICATE_FILE")?, variable("KEY_FILE")?).open()?;
    let assignment = ProvisioningClient::new(variable("PROVISIONING_IDSCOPE")?, &identity)
        .host(variable("PROVISIONING_HOST")?)
        .registration_id(variable("PROVISIONING_REGISTRATION_ID")?)
        .register()
        .await?;
    println!("registration succeeded");
    println!("assigned hub={}", assignment.assigned_hub());
    println!("deviceId={}", assignment.device_id());

    let hub = assignment.connect(&identity).await?;
    println!("Client connected");
    hub.send("Hello world").await?;
    println!("send status: MessageEnqueued");
    hub.close(Duration::from_secs(10)).await?;
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("set the environment variable {name}"))
}
