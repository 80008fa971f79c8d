//! Deliberate faults, put into a copy of core: each must turn the cases red that it names.
//!
//! All are in one build of the copy, and one shim is linked with it; `DPS_PLANTED` in the shim's
//! environment wakes one of them. Core itself knows nothing of this.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use dps_tests::assert_success;
use libtest_mimic::Trial;
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::{
    agreement::{self, Outcomes},
    case::Case,
    trial,
    world::{Language, World, here, json, root},
};

/// Names the fault that is awake.
const PLANTED: &str = "DPS_PLANTED";

/// What is appended to the copy of core's `lib.rs`.
const SWITCH: &str = "
fn planted(name: &str) -> bool {
    std::env::var(\"DPS_PLANTED\").is_ok_and(|planted| planted == name)
}
";

/// A row of `faults.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// What is wrong, in a few words.
    name: String,
    /// Below `core/src`.
    file: String,
    /// Occurs there exactly once.
    find: String,
    /// `PLANTED` stands for whether the fault is awake.
    replace: String,
    /// The cases that must fail.
    #[serde(default)]
    red: Vec<String>,
    /// The cases that would not fail, did every language have the fault, but in which a language
    /// with it must disagree with the others.
    #[serde(default)]
    disagrees: Vec<String>,
}

/// One trial for each fault.
pub(crate) fn trials(
    cases: &[Arc<Case>],
    world: &Arc<World>,
    runtime: &Arc<Runtime>,
) -> Vec<Trial> {
    let faults: Arc<Vec<Fault>> = Arc::new(json("faults.json"));
    let shim: Arc<OnceLock<Result<PathBuf, String>>> = Arc::default();
    let trial_of = |index: usize| {
        let (faults, shim) = (Arc::clone(&faults), Arc::clone(&shim));
        let (world, runtime) = (Arc::clone(world), Arc::clone(runtime));
        let fault = &faults[index];
        let named = |name: &String| {
            let found = cases.iter().find(|case| case.name == *name);
            Arc::clone(found.unwrap_or_else(|| panic!("{}: no case {name}", fault.name)))
        };
        let red: Vec<_> = fault.red.iter().map(named).collect();
        let disagrees: Vec<_> = fault.disagrees.iter().map(named).collect();
        assert!(!red.is_empty() || !disagrees.is_empty(), "{} turns nothing red", fault.name);
        Trial::test(format!("fault::{}", fault.name.replace(' ', "-")), move || {
            let shim = shim.get_or_init(|| build(&faults)).as_ref()?;
            let run = |case: &Case, planted: Option<&str>| {
                let mut command = Command::new(shim);
                command.envs(planted.map(|planted| (PLANTED, planted)));
                runtime.block_on(trial::run(case, &world, command))
            };
            let asleep = |case: &Case| {
                run(case, None)
                    .map_err(|what| format!("{} is red without the fault: {what}", case.name))
            };
            let planted = Some(faults[index].name.as_str());
            for case in &red {
                asleep(case)?;
                if run(case, planted).is_ok() {
                    return Err(format!("{} stays green", case.name).into());
                }
            }
            for case in &disagrees {
                let outcomes = Outcomes::default();
                agreement::agree(case, Language::Rust, asleep(case)?, &outcomes)?;
                let faulty = run(case, planted)?;
                if agreement::agree(case, Language::C, faulty, &outcomes).is_ok() {
                    return Err(format!("nobody disagrees in {}", case.name).into());
                }
            }
            Ok(())
        })
    };
    (0..faults.len()).map(trial_of).collect()
}

/// Builds the shim with a copy of core that has every fault in it. The dependencies are those of
/// the workspace, already built.
fn build(faults: &[Fault]) -> Result<PathBuf, String> {
    let folder = root().join("target/conformance/planted");
    copy(root(), &folder, "Cargo.lock")?;
    copy_core(faults, &folder)?;
    let manifest = read(&root().join("Cargo.toml"))?;
    let (head, members) = manifest.split_once("members = [").ok_or("no members in Cargo.toml")?;
    let (_, tail) = members.split_once(']').ok_or("no end of the members in Cargo.toml")?;
    write(&folder.join("Cargo.toml"), &format!("{head}members = [\"core\", \"shim\"]{tail}"))?;
    // The shim alone, by the manifest of this package: the same dependencies with the same
    // features.
    let manifest = read(&here().join("Cargo.toml"))?;
    let (package, rest) = manifest.split_once("[[bin]]").ok_or("no programs in Cargo.toml")?;
    let (_, rest) = rest.split_once("[dependencies]").ok_or("no dependencies in Cargo.toml")?;
    let needless = ["dps-emulator", "dps-tests", "libtest-mimic", "tempfile"];
    let rest: Vec<_> =
        rest.lines().filter(|line| !needless.iter().any(|name| line.starts_with(name))).collect();
    let source = here().join("shim.rs");
    let program = "conformance-shim-planted";
    let manifest = format!(
        "{package}[[bin]]\nname = {program:?}\npath = {source:?}\n\n[dependencies]{}\n",
        rest.join("\n")
    );
    write(&folder.join("shim/Cargo.toml"), &manifest)?;
    let target = root().join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--bin", program, "--target-dir"])
        .arg(&target)
        .current_dir(&folder)
        .output()
        .map_err(|error| error.to_string())?;
    assert_success("the build of core with its faults", &built);
    Ok(target.join("debug").join(program))
}

fn copy_core(faults: &[Fault], folder: &Path) -> Result<(), String> {
    let mut sources = BTreeMap::new();
    let core = root().join("core");
    let mut folders = vec![core.join("src")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.insert(path.clone(), read(&path)?);
            }
        }
    }
    for Fault { name, file, find, replace, .. } in faults {
        let text = sources.get_mut(&core.join("src").join(file)).ok_or(format!("no {file}"))?;
        let places = text.matches(find.as_str()).count();
        if places != 1 {
            return Err(format!("{name}: {file} has {places} places of {find:?}"));
        }
        let awake = format!("crate::planted({name:?})");
        *text = text.replace(find.as_str(), &replace.replace("PLANTED", &awake));
    }
    sources.entry(core.join("src/lib.rs")).or_default().push_str(SWITCH);
    sources.insert(core.join("Cargo.toml"), read(&core.join("Cargo.toml"))?);
    for (path, text) in sources {
        let below = path.strip_prefix(root()).map_err(|error| error.to_string())?;
        write(&folder.join(below), &text)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), String> {
    write(&to.join(name), &read(&from.join(name))?)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes what is new: what stays as it is need not be built again.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| error.to_string())?;
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
