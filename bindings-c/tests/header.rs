//! The committed header is the one that the sources give.
//!
//! After a change of the interface: `DPS_WRITE_HEADER=1 cargo test -p dps-c --test header`.

use std::{env, fmt::Write as _, fs, path::Path};

use dps_core::{ErrorKind, HubClient, ProvisioningClient};

#[test]
fn the_committed_header_is_up_to_date() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = here.join("include/dps_core.h");
    let generated = generate(here);
    if env::var_os("DPS_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).expect("the header is writable");
    }
    let committed = fs::read_to_string(&path).expect("the header is there");
    let differs = committed.lines().zip(generated.lines()).position(|(ours, new)| ours != new);
    assert!(
        committed == generated,
        "include/dps_core.h is out of date, from line {}; run this test with DPS_WRITE_HEADER=1",
        differs.map_or(committed.lines().count(), |line| line) + 1
    );
}

/// The header names the core's defaults.
#[test]
fn the_deadlines_in_the_header_are_the_cores() {
    let header = generate(Path::new(env!("CARGO_MANIFEST_DIR")));
    let (registration, hub) = (ProvisioningClient::DEFAULT_DEADLINE, HubClient::CONNECT_WITHIN);
    let sentence = format!("{} and {} seconds unless set", registration.as_secs(), hub.as_secs());
    assert!(header.contains(&sentence), "{sentence}");
}

fn generate(here: &Path) -> String {
    let mut config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("the settings");
    let after_includes = config.after_includes.get_or_insert_default();
    *after_includes = format!("{}{}{after_includes}", version(), statuses());
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_crate(here)
        .with_config(config)
        .generate()
        .expect("the sources are understood")
        .write(&mut header);
    String::from_utf8(header).expect("a header in UTF-8")
}

fn version() -> String {
    format!(
        "\n\n/* The version of this header; dps_version gives that of the library. */\n\
         #define DPS_VERSION \"{}\"\n#define DPS_VERSION_MAJOR {}\n#define DPS_VERSION_MINOR {}\n\
         #define DPS_VERSION_PATCH {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    )
}

/// The core's table, so that there is no second list to keep.
fn statuses() -> String {
    let mut text = String::from("\n/* What a dps_status may be. */\nenum {\n");
    let mut entry = |name: &str, code: u32, sentence: &str| {
        writeln!(text, "    /* {sentence} */\n    {name} = {code},").expect("a string grows");
    };
    entry("DPS_OK", 0, "Everything went well.");
    for kind in ErrorKind::ALL {
        entry(kind.name(), kind.code(), kind.sentence());
    }
    text + "};\n"
}
