//! Sets the linker up for a Node addon, and for the shipped one lays its functions out.

use std::env;

fn main() {
    napi_build::setup();
    println!("cargo::rerun-if-changed=rare.ld");
    // "release" is every profile that inherits it.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-T,{}/rare.ld", env!("CARGO_MANIFEST_DIR"));
    }
}
