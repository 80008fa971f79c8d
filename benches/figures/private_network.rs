//! Port 8883, which is built into Microsoft's SDKs, for this run alone: in a network namespace of
//! its own where the system allows one.

use std::{
    env,
    net::TcpListener,
    path::Path,
    process::{Command, ExitStatus},
};

use dps_benches::Outcome;

/// Where the emulators listen.
pub(crate) const ADDRESS: &str = "127.0.0.1:8883";

const INSIDE: &str = "DPS_BENCH_PRIVATE_NETWORK";

/// Runs this program anew in a network of its own and gives how that ended; nothing if this is
/// that run already, or if it has to do with the network that is there.
pub(crate) fn enter() -> Outcome<Option<ExitStatus>> {
    if env::var_os(INSIDE).is_some() {
        // A new network namespace has a loopback interface that is down.
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/python/loopback_up.py");
        let status = Command::new("python3").arg(script).status()?;
        return if status.success() { Ok(None) } else { Err("no loopback interface".into()) };
    }
    // As root, or as anyone where user namespaces are allowed.
    for arguments in [["--net"].as_slice(), &["--net", "--map-root-user"]] {
        let tried = Command::new("unshare").args(arguments).arg("true").output();
        if tried.is_ok_and(|output| output.status.success()) {
            let mut anew = Command::new("unshare");
            anew.args(arguments).arg(env::current_exe()?).args(env::args_os().skip(1));
            return Ok(Some(anew.env(INSIDE, "1").status()?));
        }
    }
    TcpListener::bind(ADDRESS).map_err(|error| {
        format!("Microsoft's SDKs need port 8883; there is no network namespace to be had, and {ADDRESS} is not free: {error}")
    })?;
    Ok(None)
}
