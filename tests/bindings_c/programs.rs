//! The test programs, each under the address and leak sanitizers.

use std::{fs, path::Path, process::Command};

use dps_core::ErrorKind;
use dps_emulator::{Action, Cut, Fault, Step};
use dps_tests::{assert_success, text};
use serde_json::Value;

use crate::{
    library::{Link, NATIVE, compile, dps, folder, prefix, root, source},
    world::{World, edited_hsm},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_core_is_in_the_catalogue() {
    let world = World::new().await;
    let program = compile("catalogue", &[source("catalogue.c")], Link::Static, &[]);
    let printed = world.run(&program, &[]).await;
    let kinds = ErrorKind::ALL.iter().map(|kind| {
        let retryable = u8::from(kind.retryable());
        format!("{} {} {retryable} {}", kind.code(), kind.name(), kind.sentence())
    });
    let expected: Vec<_> =
        std::iter::once("0 DPS_OK 0 Everything went well.".to_owned()).chain(kinds).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_calls_register_and_deliver_in_order() {
    let world = World::new().await;
    let program = compile("blocking", &[source("blocking.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");

    let hub = &world.cloud.emulator().hubs()[0];
    let feed = world.cloud.feed(hub, "device-01").await;
    // One with properties, 300 in order, ten from each of two threads, and the last.
    assert_eq!(feed.len(), 1 + 300 + 20 + 1, "{:?}", feed.first());
    let first = feed[0].to_string();
    assert!(first.contains("\"alert\"") && first.contains("no/yes"), "{first}");
    assert!(first.contains("application/json") && first.contains("m-1"), "{first}");
    assert!(first.contains("\"urn:azureiot:Security:SecurityAgent:1\""), "{first}");
    assert!(first.contains("2100-01-01T00:00:00Z") && first.contains("alerts"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_takes_no_thread_and_callbacks_may_call_back_in() {
    let world = World::new().await;
    let program = compile("polling", &[source("polling.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_inside_the_polling_calls_and_a_port_serves_dps_and_hub() {
    let world = World::new().await;
    let program = compile("names", &[source("names.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
    let hub = &world.cloud.emulator().hubs()[0];
    assert_eq!(world.cloud.feed(hub, "device-01").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_behind_the_sign_hook_serves_every_algorithm() {
    let world = World::new().await;
    let program = compile("signer", &[source("signer.c")], Link::Static, &["-Wno-unused-function"]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symmetric_key_behind_the_sign_hook_signs_tokens() {
    let world = World::new().await;
    let program = compile("tokens", &[source("tokens.c")], Link::Static, &["-Wno-unused-function"]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
    let hub = &world.cloud.emulator().hubs()[0];
    // One from each form; none from the calls that were refused.
    assert_eq!(world.cloud.feed(hub, "meter-individual").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_named_by_a_connection_string() {
    let world = World::new().await;
    let source = source("connection_strings.c");
    let program = compile("connection_strings", &[source], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
    let hub = &world.cloud.emulator().hubs()[0];
    for device in ["device-01", "meter-individual"] {
        assert_eq!(world.cloud.feed(hub, device).await.len(), 2, "{device}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_hsms_plug_in_at_run_time_and_by_linking() {
    let world = World::new().await;
    for (name, link) in [("hsm_static", Link::Static), ("hsm_shared", Link::Shared)] {
        let edited = tempfile::tempdir().expect("a folder");
        let (chain, key) = (world.get("SECOND_CHAIN"), world.get("SECOND_KEY"));
        let hsm = edited_hsm(edited.path(), "device-02", Path::new(chain), Path::new(key));
        let program = compile(name, &[source("hsm.c"), hsm], link, &[]);
        assert_eq!(world.run(&program, &[]).await, "done\n", "{name}");
    }
}

/// Archives, shared objects, and either before or after this library.
#[tokio::test(flavor = "multi_thread")]
async fn the_linked_hsm_is_found_however_it_is_linked() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (world.get("SECOND_CHAIN"), world.get("SECOND_KEY"));
    let hsm = edited_hsm(folder.path(), "device-02", Path::new(chain), Path::new(key));
    let (object, archive) = (folder.path().join("hsm.o"), folder.path().join("libhsm.a"));
    let shared = folder.path().join("libhsm.so");
    let include = format!("-I{}", prefix().join("include").display());
    let step = |program: &str, arguments: &[&str]| {
        let made = Command::new(program).args(arguments).output().expect("the compiler runs");
        assert_success(program, &made);
    };
    step("cc", &["-fPIC", &include, "-c", text(&hsm), "-o", text(&object)]);
    step("ar", &["crs", text(&archive), text(&object)]);
    step("cc", &["-shared", text(&object), "-o", text(&shared)]);
    let ours = prefix().join("lib/libdps_core.a");
    let our_shared = prefix().join("lib/libdps_core.so");
    for (index, libraries) in [
        [&archive, &ours],
        [&ours, &archive],
        [&shared, &ours],
        [&ours, &shared],
        [&archive, &our_shared],
        [&our_shared, &archive],
        [&shared, &our_shared],
        [&our_shared, &shared],
    ]
    .into_iter()
    .enumerate()
    {
        let program = folder.path().join(format!("linked-{index}"));
        let mut arguments = vec![text(&program), "-O1", "-std=c99", &include];
        let source = source("linked.c");
        arguments.insert(0, "-o");
        arguments.push(text(&source));
        arguments.extend(libraries.map(|library| text(library)));
        arguments.extend(NATIVE);
        step("cc", &arguments);
        let search = format!("{}:{}", folder.path().display(), prefix().join("lib").display());
        let ran = Command::new(&program).env("LD_LIBRARY_PATH", search).output().expect("it runs");
        assert_success(text(&program), &ran);
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "device-02\n", "{libraries:?}");
    }

    let program = compile("without_hsm", &[source("without_hsm.c")], Link::Static, &["-O0"]);
    assert_eq!(world.run(&program, &[]).await, "DPS_SIGNER\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn misuse_is_an_error_and_leaks_nothing() {
    let world = World::new().await;
    let program = compile("misuse", &[source("misuse.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn pkcs12_registers_from_a_file_and_from_memory() {
    let world = World::new().await;
    let program = compile("pkcs12", &[source("pkcs12.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

/// What it finds, it says as the command does.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_examines_in_c_as_on_the_command_line() {
    let mut world = World::new().await;
    world.write_forms();
    let program = compile("doctor", &[source("doctor.c")], Link::Static, &[]);
    let printed = world.run(&program, &[]).await;
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let printed: Vec<_> = printed.lines().map(json).collect();

    let (dps, get) = (dps(), |name| world.get(name));
    let examined = ["doctor", "--ca", get("AUTHORITIES"), "--cert"];
    let mut expected = Vec::new();
    for arguments in [
        [&examined[..], &[get("CHAIN"), "--key", get("OTHER_KEY")]].concat(),
        vec!["doctor", "--error", "401002 CA certificate not found."],
        vec!["chain", "inspect", get("CHAIN")],
    ] {
        let said = world.outcome(&dps, &[&["--json"], &arguments[..]].concat()).await;
        expected.push(json(&String::from_utf8(said.stdout).expect("text")));
    }
    assert_eq!(printed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_while_connecting_and_can_be_polled_and_given_up() {
    let world = World::new().await;
    let drop = Fault::new(Step::Telemetry, Action::Drop(true)).expect("a rule");
    world.cloud.emulator().faults().add(drop.device("device-stalled").times(0));
    // Each of four connections is cut by its first message; whoever comes back is refused.
    let cut = Fault::new(Step::Telemetry, Action::Cut(Cut::Before)).expect("a rule");
    world.cloud.emulator().faults().add(cut.device("device-refused").times(0));
    for nth in [2, 4, 6, 8] {
        let refuse = Fault::new(Step::HubConnect, Action::Refuse(5)).expect("a rule");
        world.cloud.emulator().faults().add(refuse.device("device-refused").nth(nth));
    }
    let program = compile("closing", &[source("closing.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_is_wiped_to_its_end_even_if_it_was_cut() {
    let world = World::new().await;
    let program = compile("strings", &[source("strings.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_raises_no_signal() {
    let world = World::new().await;
    let program = compile("broken_pipe", &[source("broken_pipe.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
    let hub = &world.cloud.emulator().hubs()[0];
    assert_eq!(world.cloud.feed(hub, "device-01").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forked_child_leaves_its_parents_connection_alone() {
    let world = World::new().await;
    let program = compile("fork", &[source("fork.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_comes_back_as_a_status() {
    let world = World::new().await;
    let program = compile("panic", &[source("panic.c")], Link::Panicking, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}

#[test]
fn the_headers_are_c99_and_cpp17() {
    let folder = folder();
    let all = "#include \"hsm_client_data.h\"\n#include \"dps_core.h\"\n#include \"dps_hsm_link.h\"\n\
               int main(void) { return 0; }\n";
    for (compiler, standard, file) in
        [("cc", "-std=c99", "all.c"), ("c++", "-std=c++17", "all.cpp")]
    {
        let path = folder.join(file);
        fs::write(&path, all).expect("a program is written");
        let compiled = Command::new(compiler)
            .args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"])
            .arg("-I")
            .arg(prefix().join("include"))
            .arg(&path)
            .output()
            .expect("the compiler is installed");
        assert_success(text(&path), &compiled);
    }
    // An HSM written for Microsoft's header compiles unchanged, as C and as C++.
    for (compiler, language, source) in [
        ("cc", "c", source("old_hsm.c")),
        ("c++", "c++", source("old_hsm.c")),
        ("c++", "c++", root().join("samples/c/custom_hsm_example.c")),
    ] {
        let compiled = Command::new(compiler)
            .args(["-Wall", "-Werror", "-x", language, "-fsyntax-only"])
            .arg("-I")
            .arg(prefix().join("include"))
            .arg(&source)
            .output()
            .expect("the compiler is installed");
        assert_success(text(&source), &compiled);
    }
}
