//! What the library shows to a linker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dps_tests::{assert_success, text};

use crate::{
    library::{NATIVE, cargo, folder, prefix},
    samples::tools,
};

#[test]
fn the_libraries_define_nothing_but_dps() {
    for (file, flags) in [
        ("lib/libdps_core.so", ["-D", "--defined-only"].as_slice()),
        ("lib/libdps_core.a", ["-g", "--defined-only"].as_slice()),
    ] {
        let listed = Command::new("nm")
            .args(flags)
            .arg(prefix().join(file))
            .output()
            .expect("nm is installed");
        assert_success(file, &listed);
        let listed = String::from_utf8(listed.stdout).expect("text");
        let symbols: Vec<_> =
            listed.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
        assert!(symbols.len() > 80, "{file}: {} symbols", symbols.len());
        assert!(symbols.contains(&"dps_register"), "{file}");
        assert!(!symbols.contains(&"dps_test_panic"), "{file}");
        let strangers: Vec<_> =
            symbols.iter().filter(|symbol| !symbol.starts_with("dps_")).collect();
        assert!(strangers.is_empty(), "{file}: {strangers:?}");
    }
}

#[test]
fn the_native_libraries_are_those_that_rustc_names() {
    let mut arguments = vec!["rustc", "--package", "dps-c", "--lib", "--crate-type", "staticlib"];
    arguments.extend(["--", "--print", "native-static-libs"]);
    let named = cargo(&arguments);
    assert_success("cargo rustc", &named);
    let named = String::from_utf8(named.stderr).expect("text");
    let line = named.lines().find_map(|line| line.split_once("native-static-libs: "));
    let (_, libraries) = line.expect("rustc names the libraries");
    assert_eq!(libraries.split_whitespace().collect::<Vec<_>>(), NATIVE);

    let said = Command::new(tools().join("pkgconf"))
        .args(["--libs", "dps_core-static"])
        .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
        .output()
        .expect("pkgconf runs");
    assert_success("pkgconf", &said);
    let said = String::from_utf8(said.stdout).expect("text");
    assert!(said.trim().ends_with(&NATIVE.join(" ")), "{said}");
}

/// A second static library of Rust has its own copy of std; OpenSSL has the names of aws-lc.
#[test]
fn it_links_beside_another_static_library_of_rust_and_beside_openssl() {
    let folder = folder();
    let source = folder.join("second.rs");
    fs::write(
        &source,
        "#[unsafe(no_mangle)]\npub extern \"C\" fn second_length(n: usize) -> usize {\n    \
         std::panic::catch_unwind(|| format!(\"{n}\").len()).unwrap_or(0)\n}\n",
    )
    .expect("a library is written");
    let second = folder.join("libsecond.a");
    let compiled = Command::new("rustc")
        .args([
            "--edition=2024",
            "--crate-type=staticlib",
            "-O",
            text(&source),
            "-o",
            text(&second),
        ])
        .output()
        .expect("rustc runs");
    assert_success("rustc", &compiled);

    let program = folder.join("beside.c");
    fs::write(
        &program,
        "#include <stdio.h>\n#include \"dps_core.h\"\n\
         size_t second_length(size_t n);\n\
         /* Names that aws-lc and OpenSSL share. */\n\
         unsigned char *SHA256(const unsigned char *data, size_t length, unsigned char *hash);\n\
         const char *OpenSSL_version(int what);\n\
         int main(void) {\n    unsigned char hash[32];\n    dps_key *key = NULL;\n\
         \x20   if (dps_key_generate(DPS_KEY_EC_P256, &key, NULL) != DPS_OK) return 1;\n\
         \x20   dps_key_free(key);\n    (void)SHA256((const unsigned char *)\"abc\", 3, hash);\n\
         \x20   (void)printf(\"%d %02x%02x %.8s\\n\", (int)second_length(12345), hash[0], hash[1],\n\
         \x20                OpenSSL_version(0));\n    return 0;\n}\n",
    )
    .expect("a program is written");
    let openssl = "-l:libcrypto.so.3";
    for (name, first, last) in [
        ("beside_first", vec![openssl, text(&second)], vec![]),
        ("beside_last", vec![], vec![text(&second), openssl]),
    ] {
        let made = compile_between(name, &program, &first, &last);
        let ran = Command::new(made).output().expect("the program runs");
        assert_success(name, &ran);
        // FIPS 180-2, appendix B.1: the hash of "abc" begins with ba78.
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "5 ba78 OpenSSL \n", "{name}");
    }
}

/// Links a program with this library between others.
fn compile_between(name: &str, program: &Path, first: &[&str], last: &[&str]) -> PathBuf {
    let path = folder().join(name);
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror"])
        .arg("-I")
        .arg(prefix().join("include"))
        .arg(program)
        .arg("-Wl,--no-as-needed")
        .args(first)
        .arg(prefix().join("lib/libdps_core.a"))
        .args(last)
        .args(NATIVE)
        .arg("-o")
        .arg(&path)
        .output()
        .expect("a C compiler is installed");
    assert_success(name, &compiled);
    path
}
