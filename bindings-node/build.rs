//! Sets the linker up for a Node addon, and for the shipped one lays its functions out.

use std::env;

fn main() {
    napi_build::setup();
    println!("cargo::rerun-if-changed=rare.ld");
    // "release" is every profile that inherits it.
    let is = |name, wanted| env::var(name).is_ok_and(|value| value == wanted);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        for argument in
            ["-Xlinker", "-T", "-Xlinker", concat!(env!("CARGO_MANIFEST_DIR"), "/rare.ld")]
        {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}
