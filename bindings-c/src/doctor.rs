//! What is wrong, said before dialling: `dps doctor` for C programs.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::{Mutex, PoisonError, mpsc},
    time::SystemTime,
};

use dps_core::{
    Error, ErrorKind, Result,
    chain::Inspection,
    doctor::{Doctor, Finding, Report, Severity, decode},
    key::Passphrase,
};

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle, Out},
    options::{Settings, dps_options},
    panic::{call, guard},
    runtime,
};

/// How far an examination goes: one of DPS_DOCTOR_...
pub type dps_doctor_reach = u32;
/// The files, the names and the clock. Opens no connection.
pub const DPS_DOCTOR_FILES: dps_doctor_reach = 1;
/// Also name lookup, ports 8883 and 443, the TLS handshake, the WebSocket upgrade, the clocks.
pub const DPS_DOCTOR_NETWORK: dps_doctor_reach = 2;
/// Also registers the device.
pub const DPS_DOCTOR_SERVICE: dps_doctor_reach = 3;

/// How bad a finding is: one of DPS_SEVERITY_...
pub type dps_severity = u32;
/// It works now, and soon or elsewhere will not.
pub const DPS_SEVERITY_WARNING: dps_severity = 1;
/// It does not work.
pub const DPS_SEVERITY_ERROR: dps_severity = 2;

/// What is to be examined. May serve several examinations.
pub struct dps_doctor {
    _private: [u8; 0],
}

impl Handle for dps_doctor {
    type Target = Mutex<Patient>;
}

/// The files are read when the examination is made, not before.
#[derive(Clone, Default)]
pub(crate) struct Patient {
    certificate: Option<String>,
    key: Option<String>,
    passphrase: Option<Passphrase>,
    authorities: Option<String>,
    group_certificate: Option<String>,
    individual_certificate: Option<String>,
}

impl Patient {
    fn doctor(self, settings: &Settings) -> Doctor {
        let with = |doctor, value: Option<String>, set: fn(Doctor, String) -> Doctor| match value {
            Some(value) => set(doctor, value),
            None => doctor,
        };
        let mut doctor = with(Doctor::new(), self.certificate, Doctor::certificate_file);
        doctor = with(doctor, self.key, Doctor::key_file);
        doctor = with(doctor, self.authorities, Doctor::authorities_file);
        doctor = with(doctor, self.group_certificate, Doctor::group_certificate_file);
        doctor = with(doctor, self.individual_certificate, Doctor::individual_certificate_file);
        if let Some(passphrase) = self.passphrase {
            doctor = doctor.passphrase(passphrase);
        }
        settings.examined_by(doctor)
    }
}

/// What an examination found. All texts belong to the report and live until dps_report_free.
pub struct dps_report {
    _private: [u8; 0],
}

impl Handle for dps_report {
    type Target = ReportTexts;
}

pub(crate) struct ReportTexts {
    report: Report,
    findings: Vec<FindingTexts>,
    json: CString,
}

struct FindingTexts {
    id: CString,
    sentence: CString,
    evidence: CString,
    fix: CString,
    page: CString,
}

impl From<Report> for ReportTexts {
    fn from(report: Report) -> Self {
        let texts = |finding: &Finding| FindingTexts {
            id: ffi::c_string(finding.check().id()),
            sentence: ffi::c_string(finding.check().sentence()),
            evidence: ffi::c_string(finding.evidence()),
            fix: ffi::c_string(finding.fix()),
            page: ffi::c_string(&finding.check().page()),
        };
        Self {
            findings: report.findings().iter().map(texts).collect(),
            json: ffi::c_string(&report.to_json().to_string()),
            report,
        }
    }
}

/// A doctor that has been given nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_new() -> *mut dps_doctor {
    guard(ptr::null_mut(), || ffi::give(Mutex::default()))
}

/// Frees a doctor.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_free(doctor: *mut dps_doctor) {
    guard((), || ffi::release(doctor));
}

/// The file with the device's chain: PEM, DER or PKCS#12. Of a PKCS#12 file the private key is
/// taken too, unless another is given.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_set_certificate_file(
    doctor: *mut dps_doctor,
    path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(doctor, path, "path", error, |patient| &mut patient.certificate)
}

/// The file with the leaf's private key: PEM, DER or PKCS#12. passphrase may be NULL; it is also
/// that of a PKCS#12 file given as the certificate, for which path may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_set_key_file(
    doctor: *mut dps_doctor,
    path: *const c_char,
    passphrase: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let doctor = ffi::hold(doctor, "doctor")?;
        let path = ffi::optional_text(path, "path")?.map(str::to_owned);
        let passphrase = ffi::optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        if path.is_none() && passphrase.is_none() {
            return Err(ffi::invalid("path and passphrase are both NULL").into());
        }
        let mut patient = doctor.lock().unwrap_or_else(PoisonError::into_inner);
        (patient.key, patient.passphrase) = (path, passphrase);
        Ok(())
    })
}

/// The file with the CA certificates that are verified in DPS.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_set_authorities_file(
    doctor: *mut dps_doctor,
    path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(doctor, path, "path", error, |patient| &mut patient.authorities)
}

/// The file with the certificate that the enrollment group lists.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_set_group_certificate_file(
    doctor: *mut dps_doctor,
    path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(doctor, path, "path", error, |patient| &mut patient.group_certificate)
}

/// The file with the certificate that the device's individual enrollment holds.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_set_individual_certificate_file(
    doctor: *mut dps_doctor,
    path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    set(doctor, path, "path", error, |patient| &mut patient.individual_certificate)
}

/// Examines what the doctor was given, as far as reach says. id_scope may be NULL, except for
/// DPS_DOCTOR_SERVICE. Of the options, which may be NULL, it heeds the host, the registration ID,
/// connect_to, the roots and the deadline. Blocks the calling thread.
///
/// Whatever is wrong is a finding of the report; the call itself fails only where no examination
/// can be made: nothing was given, or a file that is to be compared with cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_run(
    doctor: *const dps_doctor,
    reach: dps_doctor_reach,
    id_scope: *const c_char,
    options: *const dps_options,
    report: *mut *mut dps_report,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(report, "report")?;
        let patient = ffi::hold(doctor, "doctor")?;
        let patient = patient.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut doctor = patient.doctor(&Settings::of(options));
        if let Some(id_scope) = ffi::optional_text(id_scope, "id_scope")? {
            doctor = doctor.id_scope(id_scope);
        }
        let report = match reach {
            DPS_DOCTOR_FILES => doctor.offline()?,
            DPS_DOCTOR_NETWORK => awaited(async move { doctor.wire().await })?,
            DPS_DOCTOR_SERVICE => awaited(async move { doctor.service().await })?,
            other => return Err(ffi::invalid(format!("{other} is no reach of a doctor")).into()),
        };
        place.set(ffi::give(report.into()));
        Ok(())
    })
}

/// Explains an error that the user has already: the service's words and numbers, such as
/// "401002 CA certificate not found.", or an error of this library, such as "DPS_UNAUTHORIZED".
#[unsafe(no_mangle)]
pub extern "C" fn dps_doctor_decode(
    text: *const c_char,
    report: *mut *mut dps_report,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(report, "report")?;
        place.set(ffi::give(decode(ffi::text(text, "text")?).into()));
        Ok(())
    })
}

/// The report as JSON text, the same as `dps doctor --json` prints: exitCode, findings (id,
/// severity, sentence, evidence, fix, page), seen.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_json(report: *const dps_report) -> *const c_char {
    guard(ptr::null(), || {
        ffi::peek(report, |texts| ffi::borrowed(Some(&texts.json))).unwrap_or(ptr::null())
    })
}

/// The exit code of `dps doctor`: 0 nothing found, 1 warnings, 2 errors; for NULL 0.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_exit_code(report: *const dps_report) -> i32 {
    guard(0, || ffi::peek(report, |texts| texts.report.exit_code()).unwrap_or_default().into())
}

/// How many findings there are.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_len(report: *const dps_report) -> usize {
    guard(0, || ffi::peek(report, |texts| texts.findings.len()).unwrap_or_default())
}

/// The stable id of the finding at index, such as "DPS-C001"; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_id(report: *const dps_report, index: usize) -> *const c_char {
    text(report, index, |finding| &finding.id)
}

/// How bad the finding at index is; 0 beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_severity(report: *const dps_report, index: usize) -> dps_severity {
    guard(0, || {
        let severity = |texts: &ReportTexts| {
            texts.report.findings().get(index).map(|finding| match finding.severity() {
                Severity::Warning => DPS_SEVERITY_WARNING,
                Severity::Error => DPS_SEVERITY_ERROR,
            })
        };
        ffi::peek(report, severity).flatten().unwrap_or_default()
    })
}

/// What the finding at index is about, in one sentence; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_sentence(report: *const dps_report, index: usize) -> *const c_char {
    text(report, index, |finding| &finding.sentence)
}

/// What was seen, with names and dates; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_evidence(report: *const dps_report, index: usize) -> *const c_char {
    text(report, index, |finding| &finding.evidence)
}

/// What to do about it; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_fix(report: *const dps_report, index: usize) -> *const c_char {
    text(report, index, |finding| &finding.fix)
}

/// The page that explains the finding at index; NULL beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_page(report: *const dps_report, index: usize) -> *const c_char {
    text(report, index, |finding| &finding.page)
}

/// Frees a report and its texts.
#[unsafe(no_mangle)]
pub extern "C" fn dps_report_free(report: *mut dps_report) {
    guard((), || ffi::release(report));
}

/// What matters to DPS in the certificates of bytes (PEM, DER or PKCS#12), as JSON text, the same
/// as `dps chain inspect --json` prints. passphrase may be NULL. To be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_inspect(
    bytes: *const u8,
    bytes_len: usize,
    passphrase: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(json, "json")?;
        let bytes = ffi::bytes(bytes, bytes_len, "bytes")?;
        let passphrase = ffi::optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        let inspection = Inspection::new(bytes, passphrase.as_ref(), SystemTime::now())?;
        place.set(ffi::give_text(&inspection.to_json().to_string()));
        Ok(())
    })
}

/// Runs `examination` on the shared runtime and waits for its end.
fn awaited(examination: impl Future<Output = Result<Report>> + Send + 'static) -> Result<Report> {
    let (tell, told) = mpsc::channel();
    runtime::shared()?.spawn(async move {
        // The receiver waits for as long as this sender exists.
        let _ = tell.send(examination.await);
    });
    told.recv().unwrap_or_else(|mpsc::RecvError| {
        Err(Error::new(ErrorKind::Internal, "the examination ended without a result"))
    })
}

fn set(
    doctor: *mut dps_doctor,
    value: *const c_char,
    name: &str,
    error: *mut *mut dps_error,
    place: impl FnOnce(&mut Patient) -> &mut Option<String>,
) -> dps_status {
    call(error, || {
        let doctor = ffi::hold(doctor, "doctor")?;
        let value = ffi::text(value, name)?.to_owned();
        *place(&mut doctor.lock().unwrap_or_else(PoisonError::into_inner)) = Some(value);
        Ok(())
    })
}

fn text(
    report: *const dps_report,
    index: usize,
    text: impl FnOnce(&FindingTexts) -> &CString,
) -> *const c_char {
    guard(ptr::null(), || {
        ffi::peek(report, |texts| ffi::borrowed(texts.findings.get(index).map(text)))
            .unwrap_or(ptr::null())
    })
}
