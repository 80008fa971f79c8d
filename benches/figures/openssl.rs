//! What the tutorial uses to make certificates, once the CA is there.

use std::{fs, path::Path, process::Command, time::Instant};

use dps_benches::Outcome;

const DEVICES: usize = 20;

const PARAMETERS: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// How long it takes for one device, in microseconds.
pub(crate) fn a_device() -> Outcome<f64> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    openssl(folder, &[&["genpkey", "-out", "ca.key"], &PARAMETERS[..]].concat())?;
    openssl(folder, &["req", "-x509", "-key", "ca.key", "-subj", "/CN=ca", "-out", "ca.cert"])?;
    let start = Instant::now();
    for number in 0..DEVICES {
        let name = |extension: &str| format!("device-{number}.{extension}");
        let (key, csr, certificate) = (name("key"), name("csr"), name("cert"));
        let subject = format!("/CN=device-{number}");
        openssl(folder, &[&["genpkey", "-out", &key], &PARAMETERS[..]].concat())?;
        openssl(folder, &["req", "-new", "-key", &key, "-subj", &subject, "-out", &csr])?;
        let signing = ["x509", "-req", "-CA", "ca.cert", "-CAkey", "ca.key", "-days", "30"];
        let files = ["-in", &csr, "-out", &certificate];
        openssl(folder, &[&signing[..], &files].concat())?;
        let chain = [fs::read(folder.join(&certificate))?, fs::read(folder.join("ca.cert"))?];
        fs::write(folder.join(name("chain")), chain.concat())?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / DEVICES as f64)
}

fn openssl(folder: &Path, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}
