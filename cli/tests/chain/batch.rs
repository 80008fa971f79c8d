//! Batches: from a CSV, a range, and through interruptions.

use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use dps_core::{CertificateChain, key::PrivateKey};

use crate::{Folder, file_names};

/// What is there, name by name, without what a killed process was writing.
fn contents(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for part in ["certs", "private"] {
        for name in file_names(&folder.path(part)) {
            if !name.starts_with('.') {
                let path = folder.path(part).join(&name);
                contents.insert(format!("{part}/{name}"), fs::read(path).unwrap());
            }
        }
    }
    contents
}

fn assert_whole_and_matching(folder: &Folder, id: &str) {
    let chain = folder.text(&format!("certs/{id}-full-chain.cert.pem"));
    let chain = CertificateChain::from_pem(chain.as_bytes()).unwrap();
    assert_eq!(chain.certificates().len(), 3, "{id}");
    assert_eq!(chain.leaf().common_name(), Some(id));
    assert_eq!(chain.leaf().to_pem(), folder.text(&format!("certs/{id}.cert.pem")));
    let key = folder.text(&format!("private/{id}.key.pem"));
    let key = PrivateKey::from_pem(key.as_bytes(), None).unwrap();
    assert_eq!(key.public_key_info(), chain.leaf().public_key_info(), "{id}");
}

#[test]
fn a_batch_that_is_killed_at_random_points_is_finished_by_running_it_again() {
    const DEVICES: usize = 400;
    const KILLS: u64 = 10;

    let folder = Folder::new();
    let arguments =
        ["chain", "device", "--range", "device-001..device-400", "--key-type", "ec-p256"];
    let cas = contents(&folder).len();
    for kill in 0..KILLS {
        let before = contents(&folder);
        let goal = before.len() + 1 + fastrand::usize(..DEVICES / 5);
        let mut batch = folder.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while contents(&folder).len() < goal && batch.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the batch makes nothing");
        }
        let _ = batch.kill();
        batch.wait().unwrap();
        let after = contents(&folder);
        for (name, bytes) in &after {
            // Whole: each begins and ends as its kind does.
            let text = std::str::from_utf8(bytes).unwrap();
            assert!(
                text.starts_with("-----BEGIN ") && text.ends_with("-----\n"),
                "kill {kill}: {name}"
            );
        }
        for (name, bytes) in &before {
            assert_eq!(after.get(name), Some(bytes), "kill {kill}: {name} was touched");
        }
    }
    let before = contents(&folder);
    folder.run(&arguments);
    let after = contents(&folder);
    assert_eq!(after.len(), cas + 3 * DEVICES);
    for (name, bytes) in &before {
        assert_eq!(after.get(name), Some(bytes), "{name} was touched");
    }
    for index in 1..=DEVICES {
        assert_whole_and_matching(&folder, &format!("device-{index:03}"));
    }
    let left: Vec<_> = ["certs", "private"]
        .iter()
        .flat_map(|part| file_names(&folder.path(part)))
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // And there is nothing left to do.
    let again = folder.json(&arguments);
    assert_eq!((&again["made"], &again["present"]), (&0.into(), &DEVICES.into()));
}

#[test]
fn a_power_cut_leaves_empty_files_and_they_are_made_again() {
    let folder = Folder::new();
    let arguments = ["chain", "device", "--range", "d-1..d-6", "--key-type", "ec-p256"];
    folder.run(&arguments);
    fs::write(folder.path("certs/d-2-full-chain.cert.pem"), "").unwrap();
    fs::write(folder.path("certs/d-3.cert.pem"), "").unwrap();
    for file in ["certs/d-4.cert.pem", "certs/d-4-full-chain.cert.pem", "private/d-4.key.pem"] {
        fs::write(folder.path(file), "").unwrap();
    }
    // Of the fifth the key alone: what was issued for it is of no use.
    fs::write(folder.path("private/d-5.key.pem"), "").unwrap();
    let useless = folder.text("certs/d-5.cert.pem");
    let again = folder.json(&arguments);
    assert_eq!((&again["made"], &again["present"]), (&4.into(), &2.into()));
    assert_ne!(folder.text("certs/d-5.cert.pem"), useless);
    for index in 1..=6 {
        assert_whole_and_matching(&folder, &format!("d-{index}"));
    }
}

#[test]
fn a_csv_is_read_whole_before_anything_is_made() {
    let folder = Folder::new();
    let csv = folder.path("devices.csv");
    let arguments = ["chain", "device", "--from", "devices.csv", "--key-type", "ec-p256"];
    fs::write(&csv, "line,registrationId\n1,a-1\n2,a 2\n").unwrap();
    let (code, words) = folder.fails(&arguments);
    assert!(code == 1 && words.contains("devices.csv: line 3"), "{code} {words}");
    assert!(!folder.path("certs/a-1.cert.pem").exists());
    fs::write(&csv, "\u{feff}line;x,registrationId\r\n1,a-1\r\n2,a-2\r\n3,a-1\r\n").unwrap();
    let made = folder.json(&arguments);
    assert_eq!((&made["made"], &made["present"]), (&2.into(), &1.into()), "one stands twice");
    assert_whole_and_matching(&folder, "a-1");
    assert_whole_and_matching(&folder, "a-2");
}

#[test]
fn devices_that_would_have_the_same_files_are_refused_before_anything_is_made() {
    let folder = Folder::new();
    let before = contents(&folder);
    fs::write(folder.path("devices.csv"), "a:1\nb\na_1\n").unwrap();
    let in_file = "devices.csv: line 3: the registration ID \"a_1\" would have";
    for (ids, expected, words) in [
        (&["d9", "d9"][..], 64, "\"d9\" stands twice"),
        (&["a:1", "b", "a_1"], 64, "\"a_1\" would have the files of one before it"),
        (&["d9", "D9"], 64, "\"D9\" would have"),
        (&["--from", "devices.csv"], 1, in_file),
    ] {
        let (code, said) = folder.fails(&[&["chain", "device"], ids].concat());
        assert!(code == expected && said.contains(words), "{ids:?}: {code} {said}");
        assert_eq!(contents(&folder), before, "{ids:?}");
    }
}

#[test]
fn what_belongs_to_somebody_else_is_not_overwritten() {
    let folder = Folder::new();
    folder.run(&["chain", "device", "device-1", "--key-type", "ec-p256"]);
    let listed = folder.text("certs/device-1.cert.pem");
    // The same names in a batch: the device is there already.
    let batch = ["chain", "device", "--range", "device-1..device-2", "--key-type", "ec-p256"];
    assert_eq!(folder.json(&batch)["present"], 1);
    assert_eq!(folder.text("certs/device-1.cert.pem"), listed);
    // A key without its certificate is not ours to give away, nor is another CA's device.
    fs::write(folder.path("private/device-2.key.pem"), folder.text("private/device-1.key.pem"))
        .unwrap();
    let (code, words) = folder.fails(&batch);
    assert!(
        code == 1 && words.contains("device device-2") && words.contains("another key"),
        "{words}"
    );
    folder.run(&[&batch[..], &["--force"]].concat());
    assert_whole_and_matching(&folder, "device-1");
    assert_whole_and_matching(&folder, "device-2");
    assert_ne!(folder.text("certs/device-1.cert.pem"), listed, "--force makes them anew");
}
