//! Port 8883 for one test alone.

use std::{env, fs::File, future::Future, path::Path, process::Stdio, time::Duration};

use tokio::{net::TcpListener, process::Command, time::timeout};

use crate::{ADDRESS, install, sdk::Sdk};

/// Set for a test process that has a network namespace to itself.
const INSIDE: &str = "DPS_INTEROP_PRIVATE_NETWORK";
const DEADLINE: Duration = Duration::from_secs(180);

/// Installs the SDK and runs the scenario of the test of this name where its port is free: in
/// this same test binary, started anew in a network namespace of its own where the system allows
/// that, else here, one test at a time.
pub(crate) async fn run<F>(test: &str, sdk: Sdk, scenario: fn(Sdk) -> F)
where
    F: Future<Output = ()>,
{
    if env::var_os(INSIDE).is_some() {
        bring_loopback_up().await;
        return scenario(sdk).await;
    }
    install::ensure(sdk).await;
    match permitted().await {
        Ok(unshare) => run_inside(unshare, test).await,
        Err(reason) => {
            let lock = install::shared_folder().join("port-8883.lock");
            let lock = File::create(lock).expect("a lock file");
            lock.lock().expect("the lock");
            if let Err(error) = TcpListener::bind(ADDRESS).await {
                panic!(
                    "Microsoft's SDKs need port 8883. A network namespace is not allowed here \
                     ({reason}), and {} is not free: {error}",
                    ADDRESS
                );
            }
            scenario(sdk).await;
        }
    }
}

/// The arguments by which util-linux' `unshare` makes a network namespace here: as root, or as
/// anyone where user namespaces are allowed.
async fn permitted() -> Result<&'static [&'static str], String> {
    let mut reasons = Vec::new();
    for arguments in [["--net"].as_slice(), &["--net", "--map-root-user"]] {
        match Command::new("unshare").args(arguments).arg("true").output().await {
            Ok(output) if output.status.success() => return Ok(arguments),
            Ok(output) => reasons.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => return Err(format!("no unshare command: {error}")),
        }
    }
    Err(reasons.join("; "))
}

async fn run_inside(unshare: &[&str], test: &str) {
    let running = Command::new("unshare")
        .args(unshare)
        .arg(env::current_exe().expect("this test binary"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, running)
        .await
        .unwrap_or_else(|_| panic!("{test} was not done within {DEADLINE:?}"))
        .expect("unshare runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    // A name that no test has would succeed too.
    assert!(
        output.status.success() && printed.contains("test result: ok. 1 passed"),
        "in its network namespace:\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A new network namespace has a loopback interface that is down.
async fn bring_loopback_up() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python/loopback_up.py");
    let output = Command::new("python3").arg(script).output().await.expect("python3 runs");
    dps_tests::assert_success("bringing the loopback interface up", &output);
}
