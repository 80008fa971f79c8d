//! Which service a command calls, and over which route.

use std::{env, path::PathBuf};

use clap::Args;
use dps_core::{
    Error, ErrorKind,
    tls::Roots,
    transport::{Host, Network},
};
use zeroize::Zeroizing;

use super::client::Client;

/// A DPS instance, by its name in `-n` as well.
#[derive(Args)]
pub(super) struct Instance {
    /// Name of the DPS instance, to be sure that the connection string is that of this one.
    #[arg(long, short = 'n', value_name = "NAME")]
    dps_name: Option<String>,

    #[command(flatten)]
    service: Service,
}

/// A DPS instance where `-n` is the name of a certificate, as `az` has it.
#[derive(Args)]
pub(super) struct CertificateInstance {
    /// Name of the DPS instance, to be sure that the connection string is that of this one.
    #[arg(long, value_name = "NAME")]
    dps_name: Option<String>,

    #[command(flatten)]
    service: Service,
}

#[derive(Args)]
struct Service {
    /// Resource group of the instance; a connection string needs none.
    #[arg(long, short = 'g', value_name = "NAME")]
    resource_group: Option<String>,

    /// Connection string of a shared access policy of the instance.
    #[arg(
        long,
        short = 'l',
        env = "DPS_LOGIN",
        hide_env_values = true,
        value_name = "CONNECTION_STRING"
    )]
    login: Option<String>,

    #[command(flatten)]
    route: Route,
}

/// An IoT hub.
#[derive(Args)]
pub(super) struct Hub {
    /// Name of the hub, to be sure that the connection string is that of this one.
    #[arg(long, short = 'n', value_name = "NAME")]
    hub_name: Option<String>,

    /// Connection string of a shared access policy of the hub.
    #[arg(
        long,
        short = 'l',
        env = "DPS_HUB_LOGIN",
        hide_env_values = true,
        value_name = "CONNECTION_STRING"
    )]
    login: Option<String>,

    #[command(flatten)]
    route: Route,
}

#[derive(Args)]
struct Route {
    /// Connect to this address in place of the service's own, such as that of the emulator
    /// [env: DPS_CONNECT_TO].
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<String>,

    /// PEM file of the roots that the server's certificate must lead to [env: SSL_CERT_FILE]
    /// [default: those of the system].
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
}

/// A service that is ready to be called.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Whether it is Azure, whose answers to a connection string are fewer than the emulator's.
    pub(super) is_azure: bool,
}

impl Instance {
    pub(super) fn open(self) -> Result<Connection, Error> {
        self.service.open(self.dps_name)
    }
}

impl CertificateInstance {
    /// Fails for Azure, which keeps certificates in its management plane.
    pub(super) fn open(self) -> Result<Client, Error> {
        let connection = self.service.open(self.dps_name)?;
        if connection.is_azure {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the certificates of a DPS instance belong to Azure's management plane, which \
                 takes a token of Microsoft Entra ID and no connection string",
            )
            .with_hint(
                "Use the Azure portal or az iot dps certificate. For the emulator, give its \
                 address with --connect-to or DPS_CONNECT_TO.",
            ));
        }
        Ok(connection.client)
    }
}

impl Service {
    fn open(self, dps_name: Option<String>) -> Result<Connection, Error> {
        let login = given(self.login, "DPS_LOGIN")?;
        let (network, elsewhere) = self.route.network();
        let mut client = Client::login(&login, network)?;
        if client.host().as_str().contains(".azure-devices.") {
            let message = "the connection string is that of a hub, not of a DPS instance";
            return Err(Error::new(ErrorKind::InvalidArgument, message)
                .with_hint("That of the instance has HostName=….azure-devices-provisioning.net."));
        }
        agree("--dps-name", dps_name.as_deref(), client.host())?;
        if let Some(resource_group) = self.resource_group {
            client.resource_group = resource_group;
        }
        let is_azure =
            !elsewhere && client.host().as_str().contains(".azure-devices-provisioning.");
        Ok(Connection { client, is_azure })
    }
}

impl Hub {
    pub(super) fn open(self) -> Result<Connection, Error> {
        let login = given(self.login, "DPS_HUB_LOGIN")?;
        let (network, elsewhere) = self.route.network();
        let client = Client::login(&login, network)?;
        if client.host().as_str().contains(".azure-devices-provisioning.") {
            let message = "the connection string is that of a DPS instance, not of a hub";
            return Err(Error::new(ErrorKind::InvalidArgument, message)
                .with_hint("That of the hub has HostName=….azure-devices.net."));
        }
        agree("--hub-name", self.hub_name.as_deref(), client.host())?;
        let is_azure = !elsewhere && client.host().as_str().contains(".azure-devices.");
        Ok(Connection { client, is_azure })
    }
}

/// Not clap's to demand: not every command that takes one calls the service, and what is missing
/// is said in one form.
fn given(login: Option<String>, variable: &str) -> Result<Zeroizing<String>, Error> {
    login.filter(|login| !login.is_empty()).map(Zeroizing::new).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, "no connection string was given")
            .with_hint(format!("Give --login, or set {variable}."))
    })
}

impl Route {
    /// The network, and whether it leads elsewhere than names say.
    fn network(self) -> (Network, bool) {
        // Core reads the variable by itself, and then names it where it cannot be used.
        let variable = env::var_os("DPS_CONNECT_TO").is_some_and(|target| !target.is_empty());
        let mut network = Network::default();
        let target = self.connect_to.filter(|target| !target.is_empty());
        let elsewhere = target.is_some() || variable;
        if let Some(target) = target {
            network = network.connect_to(target);
        }
        if let Some(file) = self.roots {
            network = network.roots(Roots::pem_file(file));
        }
        (network, elsewhere)
    }
}

/// A name that is given must be that of the host: a connection string that was left in the
/// environment is not to change another instance than the one that was named.
fn agree(option: &str, name: Option<&str>, host: &Host) -> Result<(), Error> {
    let host = host.as_str();
    let instance = host.split('.').next().unwrap_or_default();
    match name {
        Some(name) if !name.eq_ignore_ascii_case(instance) && !name.eq_ignore_ascii_case(host) => {
            let message = format!("{option} is {name:?}, but the connection string is of {host}");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        _ => Ok(()),
    }
}
