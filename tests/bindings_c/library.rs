//! The library as `make dist-c` lays it out, built once per test process, in the dev profile; or the
//! one that `make dist-c` has made (`make test-dist-c`), as users get it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

use dps_tests::{assert_success, text};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace around the tests")
}

/// A folder of this test's own that outlives it.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindings_c");
    fs::create_dir_all(&folder).expect("a folder for the C library");
    folder
}

/// The prefix tree.
pub(crate) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = folder().join("prefix");
        // First the one with the forced panic, since both are built in the same place.
        let panicking = cargo(&["build", "--package", "dps-c", "--features", "forced-panic"]);
        assert_success("the library with the forced panic", &panicking);
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../debug/libdps_core.a");
        fs::copy(built, folder().join("libdps_core_panic.a")).expect("a copy of the library");

        if let Some(shipped) = env::var_os("DPS_C_PREFIX") {
            return shipped.into();
        }
        let script = root().join("bindings-c/packaging/dist.sh");
        let made = Command::new(script)
            .args([text(&prefix), "dev"])
            .env("CARGO", env!("CARGO"))
            .output()
            .expect("the packaging script runs");
        assert_success("the packaging script", &made);
        prefix
    })
}

/// The same library with `dps_test_panic` in it.
pub(crate) fn panicking_library() -> PathBuf {
    prefix();
    folder().join("libdps_core_panic.a")
}

/// Whoever builds the library holds it: cargo leaves the full build and the small one in the same
/// files.
pub(crate) static BUILDING: Mutex<()> = Mutex::new(());

/// Runs cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> std::process::Output {
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs")
}

/// The `dps` command.
pub(crate) fn dps() -> PathBuf {
    let built = cargo(&["build", "--quiet", "--package", "dps-cli", "--message-format=json"]);
    assert_success("the command", &built);
    let executable = String::from_utf8(built.stdout).expect("text").lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message["executable"].as_str()?.into())
    });
    executable.expect("cargo names what it has built")
}

/// What `pkg-config --libs` says for a static link.
pub(crate) const NATIVE: [&str; 7] =
    ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// How a program is linked.
#[derive(Clone, Copy)]
pub(crate) enum Link {
    Static,
    /// The static library with the forced panic.
    Panicking,
    Shared,
}

/// Compiles sources of C into a program, with the address and leak sanitizers in it.
pub(crate) fn compile(name: &str, sources: &[PathBuf], link: Link, flags: &[&str]) -> PathBuf {
    let prefix = prefix();
    let program = folder().join(name);
    let here = root().join("tests/bindings_c/programs");
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command
        .args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-g"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(prefix.join("include"))
        .arg("-I")
        .arg(here)
        .arg("-I")
        .arg(root().join("samples/c"))
        .args(sources)
        .arg("-o")
        .arg(&program);
    match link {
        Link::Static => command.arg(prefix.join("lib/libdps_core.a")).args(NATIVE),
        Link::Panicking => command.arg(panicking_library()).args(NATIVE),
        Link::Shared => command
            .arg("-L")
            .arg(prefix.join("lib"))
            .arg("-ldps_core")
            .arg(format!("-Wl,-rpath,{}", prefix.join("lib").display())),
    };
    let compiled = command.output().expect("a C compiler is installed");
    assert_success(&format!("compiling {name}"), &compiled);
    program
}

/// The path of a test program's source.
pub(crate) fn source(name: &str) -> PathBuf {
    root().join("tests/bindings_c/programs").join(name)
}
