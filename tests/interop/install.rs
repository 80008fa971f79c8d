//! The SDKs, installed from their registries by the clients that everyone uses, once for all test
//! processes; a change of the pinned versions or of the interpreter installs them anew.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::sdk::Sdk;

/// An installation takes about fifteen seconds; a slow mirror may take far longer.
const DEADLINE: Duration = Duration::from_secs(600);
/// Written last, so that an installation without it is not whole.
const STAMP: &str = "complete";

const PYTHON_PACKAGES: &str = include_str!("python/requirements.txt");
const NODE_PACKAGES: &str = include_str!("node/package.json");

/// The folder that test processes share.
pub(crate) fn shared_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../interop")
}

/// Where an SDK is, or will be.
pub(crate) fn folder(sdk: Sdk) -> PathBuf {
    let (name, interpreter, packages) = match sdk {
        Sdk::Python => ("python", "python3", PYTHON_PACKAGES),
        Sdk::Node => ("node", "node", NODE_PACKAGES),
    };
    let version = std::process::Command::new(interpreter).arg("--version").output();
    let version = version.unwrap_or_else(|error| {
        panic!("the {sdk:?} SDK cannot be installed: there is no {interpreter} command: {error}")
    });
    let mut hasher = DefaultHasher::new();
    (version.stdout, packages).hash(&mut hasher);
    shared_folder().join(format!("{name}-{:016x}", hasher.finish()))
}

/// Installs an SDK, unless it is there already.
pub(crate) async fn ensure(sdk: Sdk) {
    let folder = folder(sdk);
    let stamp = folder.join(STAMP);
    if stamp.exists() {
        return;
    }
    fs::create_dir_all(shared_folder()).expect("a folder for the SDKs");
    // Others wait here for as long as the one that installs.
    let lock = File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if stamp.exists() {
        return;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what was left half installed is removed");
    }
    fs::create_dir(&folder).expect("a folder for the SDK");
    match sdk {
        Sdk::Python => {
            fs::write(folder.join("requirements.txt"), PYTHON_PACKAGES).expect("a file is written");
            run(sdk, &folder, &lock, "python3", &["-m", "venv", "."]).await;
            let install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input"];
            let packages = ["--requirement", "requirements.txt"];
            run(sdk, &folder, &lock, "./bin/python", &[install.as_slice(), &packages].concat())
                .await;
        }
        Sdk::Node => {
            fs::write(folder.join("package.json"), NODE_PACKAGES).expect("a file is written");
            run(sdk, &folder, &lock, "npm", &["install", "--no-audit", "--no-fund"]).await;
        }
    }
    File::create(stamp).expect("the stamp of a whole installation");
}

async fn run(sdk: Sdk, folder: &Path, lock: &File, program: &str, arguments: &[&str]) {
    let failed = |cause: String| -> ! {
        panic!(
            "the {sdk:?} SDK cannot be installed: `{program} {}` {cause}\n\
             It needs Python 3 with venv and pip, Node with npm, and their package registries.",
            arguments.join(" ")
        )
    };
    // Resolved here: whether a relative program is looked up before or after the change of folder
    // differs between systems.
    let path = match program.strip_prefix("./") {
        Some(relative) => folder.join(relative),
        None => PathBuf::from(program),
    };
    let running = Command::new(path)
        .args(arguments)
        .current_dir(folder)
        // An empty file, and the lock: an installer that outlives a killed test still holds it.
        .stdin(Stdio::from(lock.try_clone().expect("a second handle of the lock")))
        .kill_on_drop(true)
        .output();
    match timeout(DEADLINE, running).await {
        Err(_) => failed(format!("was not done within {DEADLINE:?}")),
        Ok(Err(error)) => failed(format!("does not run: {error}")),
        Ok(Ok(output)) if !output.status.success() => failed(format!(
            "ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
        Ok(Ok(_)) => {}
    }
}
