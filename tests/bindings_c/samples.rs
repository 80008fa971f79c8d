//! The samples of `samples/c`, edited as the tutorial says, built by make (with the sanitizers) and
//! by CMake, and run for both of the tutorial's devices.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dps_core::chain::certificates_from_pem;
use dps_emulator::{Action, Cut, Fault, Step};
use dps_tests::{assert_success, text, tutorial_certificate, tutorial_key};
use serde_json::json;

use crate::{
    library::{Link, compile, folder, prefix, root, source},
    world::{World, edited_hsm},
};

/// cmake and pkgconf as PyPI has them, so that the tests need neither on the machine.
const TOOLS: [&str; 2] = ["cmake==4.1.2", "pkgconf==2.5.1.post1"];

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_print_the_tutorials_lines() {
    let tools = tools();
    let world = tutorial_world().await;
    let hub = world.cloud.emulator().hubs()[0].clone();
    for device in ["device-01", "device-02"] {
        let sources = edited(device, world.cloud.emulator().id_scope());
        let by_make = built_by_make(sources.path(), &tools);
        let by_cmake = built_by_cmake(sources.path(), &tools);
        for built in [by_make, by_cmake] {
            let printed = world.run(&built.join("prov_dev_client_sample"), &[]).await;
            let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
            let registered = format!(
                "Registration Information received from service: {hub}, deviceId: {device}"
            );
            // The tutorial, "Run the sample"; the version line is ours.
            let until_registered = [
                concat!("Provisioning API Version: ", env!("CARGO_PKG_VERSION")),
                "",
                "Registering Device",
                "",
                "Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED",
                "Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING",
                "",
                &registered,
            ];
            assert_eq!(lines, [&until_registered[..], &["Press enter key to exit:"]].concat());

            let printed = world.run(&built.join("prov_dev_client_ll_sample"), &[]).await;
            let expected = [
                concat!("Provisioning API Version: ", env!("CARGO_PKG_VERSION")).to_owned(),
                concat!("Iothub API Version: ", env!("CARGO_PKG_VERSION")).to_owned(),
                "Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED".to_owned(),
                "Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING".to_owned(),
                format!("Registration Information received from service: {hub}!"),
                "Creating IoTHub Device handle".to_owned(),
                "Sending 1 messages to IoTHub every 2 seconds for 2 messages".to_owned(),
                "IoTHubClient_LL_SendEventAsync accepted message [1] for transmission to IoT Hub."
                    .to_owned(),
                "Message [1] was acknowledged by IoT Hub".to_owned(),
                "IoTHubClient_LL_SendEventAsync accepted message [2] for transmission to IoT Hub."
                    .to_owned(),
                "Message [2] was acknowledged by IoT Hub".to_owned(),
                "Press any enter to continue:".to_owned(),
            ];
            assert_eq!(printed.lines().collect::<Vec<_>>(), expected);

            let chain = tutorial_certificate(&format!("{device}-full-chain"));
            let arguments =
                [world.cloud.emulator().id_scope(), text(&chain), text(&tutorial_key(device))]
                    .map(str::to_owned);
            let arguments = arguments.each_ref().map(String::as_str);
            let printed = world.run(&built.join("custom_hsm_sign"), &arguments).await;
            let lines: Vec<_> = printed.lines().collect();
            assert_eq!(lines, [&until_registered[..], &["Message delivered"]].concat());
        }
        // Three from each of the two builds.
        assert_eq!(world.cloud.feed(&hub, device).await.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_fails_says_why() {
    let tools = tools();
    let world = World::new().await;
    // The tutorial's chain is unknown to this emulator.
    let sources = edited("device-01", world.cloud.emulator().id_scope());
    let built = built_by_make(sources.path(), &tools);
    let outcome = world.outcome(&built.join("prov_dev_client_sample"), &[]).await;
    let printed = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert_eq!(outcome.status.code(), Some(1), "{printed}");
    assert!(printed.contains("Failure registering device: DPS_UNAUTHORIZED"), "{printed}");
    assert!(printed.contains("401002"), "{printed}");
}

/// The device is deleted while it is connected: the loop ends, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_the_hub_refuses_ends() {
    let tools = tools();
    let world = tutorial_world().await;
    let faults = world.cloud.emulator().faults();
    faults.add(Fault::new(Step::Telemetry, Action::Cut(Cut::Before)).expect("a rule"));
    faults.add(Fault::new(Step::HubConnect, Action::Refuse(5)).expect("a rule").nth(2));
    let sources = edited("device-01", world.cloud.emulator().id_scope());
    let built = built_by_make(sources.path(), &tools);
    let outcome = world.outcome(&built.join("prov_dev_client_ll_sample"), &[]).await;
    let printed = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert_eq!(outcome.status.code(), Some(1), "{printed}");
    assert!(printed.contains("Message [1] was not delivered: "), "{printed}");
    assert!(printed.contains("Failure encountered on telemetry DPS_UNAUTHORIZED"), "{printed}");
}

/// A command that is gone before it is written to gives an error, not the signal of a broken pipe.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_whose_command_cannot_run_says_so() {
    let world = World::new().await;
    let program = compile("command", &[source("command.c")], Link::Static, &[]);
    let printed = world.run(&program, &[]).await;
    assert!(printed.contains("Failure: DPS_SIGNER\n"), "{printed}");
    assert!(printed.contains("the command did not sign"), "{printed}");
}

/// As a project outside the repository finds the shared library.
#[test]
fn the_shared_library_is_found_by_pkg_config_and_cmake() {
    let tools = tools();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        fs::write(folder.path().join(name), content).expect("a file is written");
    };
    file(
        "main.c",
        "#include <stdio.h>\n#include <dps_core.h>\n\
         int main(void) { return puts(dps_version()) < 0; }\n",
    );
    file(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.13)\nproject(consumer C)\n\
         find_package(dps_core 0.1 REQUIRED)\nadd_executable(by_cmake main.c)\n\
         target_link_libraries(by_cmake PRIVATE dps_core::shared)\n",
    );
    let step = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
            .current_dir(folder.path())
            .output()
            .expect("the tool runs");
        assert_success(text(program), &output);
        String::from_utf8(output.stdout).expect("text")
    };
    let flags = step(&tools.join("pkgconf"), &["--cflags", "--libs", "dps_core"]);
    let mut arguments = vec!["main.c", "-o", "by_pkg_config"];
    arguments.extend(flags.split_whitespace());
    step(Path::new("cc"), &arguments);
    let found = format!("-DCMAKE_PREFIX_PATH={}", prefix().display());
    step(&tools.join("cmake"), &["-S", ".", "-B", "build", &found]);
    step(&tools.join("cmake"), &["--build", "build"]);
    for program in ["by_pkg_config", "build/by_cmake"] {
        let ran = Command::new(folder.path().join(program))
            .env("LD_LIBRARY_PATH", prefix().join("lib"))
            .output()
            .expect("it runs");
        assert_success(program, &ran);
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), env!("CARGO_PKG_VERSION"));
    }
}

/// The emulator, set up as the tutorial sets Azure up, for the tutorial's own chain.
async fn tutorial_world() -> World {
    let world = World::new().await;
    let certificate = |name: &str| {
        let pem = fs::read(tutorial_certificate(name)).expect("a certificate of the tutorial");
        certificates_from_pem(&pem).expect("a certificate").remove(0)
    };
    let root = certificate("azure-iot-test-only.root.ca");
    let intermediate = certificate("azure-iot-test-only.intermediate");
    world.cloud.put_certificate("tutorial-root", &root, true).await;
    let primary = json!({ "certificate": intermediate.to_pem() });
    let x509 = json!({ "signingCertificates": { "primary": primary } });
    let attestation = json!({ "type": "x509", "x509": x509 });
    let group = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
    world.cloud.put_group("tutorial-group", &group).await;
    world
}

/// The samples with the constants that the tutorial has one edit.
fn edited(device: &str, id_scope: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = root().join("samples/c");
    for file in ["Makefile", "CMakeLists.txt", "custom_hsm_sign.c"] {
        fs::copy(samples.join(file), folder.path().join(file)).expect("a sample");
    }
    for file in ["prov_dev_client_sample.c", "prov_dev_client_ll_sample.c"] {
        let source = fs::read_to_string(samples.join(file)).expect("a sample");
        assert!(source.contains("\"[ID Scope]\""), "{file}");
        let source = source.replace("[ID Scope]", id_scope);
        fs::write(folder.path().join(file), source).expect("the edited sample is written");
    }
    let chain = tutorial_certificate(&format!("{device}-full-chain"));
    edited_hsm(folder.path(), device, &chain, &tutorial_key(device));
    folder
}

fn built_by_make(sources: &Path, tools: &Path) -> PathBuf {
    let made = Command::new("make")
        .arg(format!("PREFIX={}", prefix().display()))
        .arg("CFLAGS=-g -fsanitize=address,undefined -fno-sanitize-recover=all")
        .arg(format!("PKG_CONFIG={}", tools.join("pkgconf").display()))
        .current_dir(sources)
        .output()
        .expect("make runs");
    assert_success("make", &made);
    sources.to_owned()
}

fn built_by_cmake(sources: &Path, tools: &Path) -> PathBuf {
    let build = sources.join("build");
    let cmake = tools.join("cmake");
    let configured = Command::new(&cmake)
        .args(["-S", text(sources), "-B", text(&build)])
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()))
        .output()
        .expect("cmake runs");
    assert_success("cmake", &configured);
    let built = Command::new(&cmake).args(["--build", text(&build)]).output().expect("cmake runs");
    assert_success("cmake --build", &built);
    build
}

/// The folder of the tools' programs; installed once.
pub(crate) fn tools() -> PathBuf {
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let venv = folder().join("tools");
    let stamp = venv.join(TOOLS.join("+"));
    if !stamp.exists() {
        let _ = fs::remove_dir_all(&venv);
        let made = Command::new("python3").args(["-m", "venv", text(&venv)]).output();
        assert_success("python3 -m venv", &made.expect("python3 is installed"));
        let installed = Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"])
            .args(TOOLS)
            .output()
            .expect("pip runs");
        assert_success("pip install of cmake and pkgconf", &installed);
        fs::write(&stamp, "").expect("the stamp of a whole installation");
    }
    venv.join("bin")
}
