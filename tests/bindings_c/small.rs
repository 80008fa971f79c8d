//! The small build for firmware, in the dev profile: what it leaves out is said, and the rest is
//! what the full build does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{OnceLock, PoisonError},
};

use dps_tests::{assert_success, text};

use crate::{
    library::{BUILDING, NATIVE, folder, prefix, root, source},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_small_build_says_what_it_leaves_out_and_serves_every_kind_of_key() {
    let mut world = World::new().await;
    for (name, key, options) in [
        ("SEC1_KEY", "KEY", ["ec", "-out"].as_slice()),
        ("PKCS1_KEY", "RSA_KEY", &["rsa", "-traditional", "-out"]),
        ("KEY_WITHOUT_PUBLIC", "KEY", &["ec", "-no_public", "-out"]),
        ("OLD_ENCRYPTED_KEY", "KEY", &["ec", "-aes256", "-passout", "pass:1234", "-out"]),
    ] {
        let other = folder().join(format!("small-{name}.pem"));
        let arguments = [options, &[text(&other), "-in", world.get(key)]].concat();
        let made = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert_success(name, &made);
        let written = fs::read_to_string(&other).expect("what openssl wrote");
        world.write(name, &format!("{name}.pem"), &written);
    }
    let program = compile("small", &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");

    let hub = &world.cloud.emulator().hubs()[0];
    // P-256 in two forms of its key, RSA in two of its own.
    for (device, messages) in
        [("device-01", 2), ("device-P384", 1), ("device-RSA", 2), ("device-hsm", 1)]
    {
        assert_eq!(world.cloud.feed(hub, device).await.len(), messages, "{device}");
    }
}

/// The sign hook with RSA, P-256 and P-384, TLS 1.2 and 1.3, and with a symmetric key; and the form
/// without a thread.
#[tokio::test(flavor = "multi_thread")]
async fn the_small_build_has_the_sign_hook_and_the_polling_form() {
    let sample = ["-Wno-unused-function"].as_slice();
    for (program, flags) in [("signer", sample), ("tokens", sample), ("polling", &[])] {
        let world = World::new().await;
        let program = compile(program, flags);
        assert_eq!(world.run(&program, &[]).await, "done\n");
    }
}

#[test]
fn both_builds_have_the_same_symbols_and_headers() {
    assert_eq!(symbols(&small_prefix().join("lib")), symbols(&prefix().join("lib")));
    for header in ["dps_core.h", "dps_hsm_link.h", "hsm_client_data.h"] {
        let of = |prefix: &Path| fs::read(prefix.join("include").join(header)).expect("a header");
        assert!(of(small_prefix()) == of(prefix()), "{header}");
    }
}

fn symbols(libraries: &Path) -> Vec<String> {
    let listed = Command::new("nm")
        .args(["-g", "--defined-only"])
        .arg(libraries.join("libdps_core.a"))
        .output()
        .expect("nm is installed");
    assert_success("nm", &listed);
    let listed = String::from_utf8(listed.stdout).expect("text");
    let mut symbols: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(str::to_owned)
        .collect();
    symbols.sort_unstable();
    symbols
}

/// The prefix tree of the small build.
fn small_prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        // Both builds write the same files before they are laid out.
        prefix();
        let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let small = folder().join("prefix-small");
        let made = Command::new(root().join("bindings-c/packaging/dist.sh"))
            .args([text(&small), "dev", "small"])
            .env("CARGO", env!("CARGO"))
            .output()
            .expect("the packaging script runs");
        assert_success("the packaging script", &made);
        small
    })
}

/// A program of `programs/` with the small library, and the sanitizers in it.
fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let program = folder().join(format!("{name}-small"));
    let compiled = Command::new("cc")
        .args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-g"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread"])
        .args(flags)
        .arg(format!("-I{}", small_prefix().join("include").display()))
        .arg(format!("-I{}", root().join("samples/c").display()))
        .arg(source(&format!("{name}.c")))
        .arg("-o")
        .arg(&program)
        .arg(small_prefix().join("lib/libdps_core.a"))
        .args(NATIVE)
        .output()
        .expect("a C compiler is installed");
    assert_success(&format!("compiling {name}"), &compiled);
    program
}
