//! What benches/prepare.sh has built and installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use dps_benches::{Outcome, SINK_ADDRESS, Site};

use crate::table::Who;

/// Where our packages and Microsoft's SDKs are, each in a place of its own.
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Outcome<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
        for name in ["python", "microsoft-python", "node", "microsoft-node", "c-programs", "dps"] {
            if !folder.join(name).exists() {
                return Err(format!("{name} is not installed; `make bench` installs it").into());
            }
        }
        Ok(Self { folder: folder.canonicalize()? })
    }

    /// Where all of that is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The interpreter, which looks for packages nowhere but where they were installed.
    pub(crate) fn python(&self, who: Who) -> Command {
        let environment = if who == Who::Theirs { "microsoft-python" } else { "python" };
        let mut command = Command::new(self.folder.join(environment).join("bin/python"));
        command.arg("-I");
        command
    }

    pub(crate) fn node(&self, who: Who) -> Command {
        let project = if who == Who::Theirs { "microsoft-node" } else { "node" };
        let mut command = Command::new("node");
        command.env("NODE_PATH", self.folder.join(project).join("node_modules"));
        command
    }

    /// A script of benches/python.
    pub(crate) fn python_script(&self, who: Who, name: &str, site: &Site) -> Command {
        let mut command = self.python(who);
        command.arg(script("python", name)).arg(who_is(who));
        told(command, site)
    }

    /// A script of benches/node.
    pub(crate) fn node_script(&self, who: Who, name: &str, site: &Site) -> Command {
        let mut command = self.node(who);
        command.arg(script("node", name)).arg(who_is(who));
        if who == Who::Theirs {
            // They know no other way to trust a root; it also changes how fast Node itself starts.
            command.env("NODE_EXTRA_CA_CERTS", &site.roots);
        }
        told(command, site)
    }

    /// A program of benches/c.
    pub(crate) fn c(&self, name: &str, site: &Site) -> Command {
        told(Command::new(self.folder.join("c-programs").join(name)), site)
    }

    /// The command as `make demo` builds it.
    pub(crate) fn dps(&self) -> Command {
        Command::new(self.folder.join("dps"))
    }
}

/// By which name a device reaches the sink: ours by its address beside a name, as with an emulator
/// anywhere; Microsoft's SDKs have nothing but the name.
pub(crate) fn sink_hub(who: Who, sink: &Site) -> &str {
    if who == Who::Theirs { SINK_ADDRESS } else { &sink.hub }
}

fn script(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name)
}

fn who_is(who: Who) -> &'static str {
    match who {
        Who::Ours => "ours",
        Who::Theirs => "theirs",
        Who::Bare => "bare",
    }
}

fn told(mut command: Command, site: &Site) -> Command {
    command.env("DPS_CONNECT_TO", &site.connect_to).env("SSL_CERT_FILE", &site.roots);
    command
}
