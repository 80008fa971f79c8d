//! The doctor: what is wrong with a device's credential and what surrounds it.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
};

use dps_core::{
    Error, ErrorKind, SIGN_LIMIT, Source,
    doctor::{self, Doctor, Finding as CoreFinding, Report as CoreReport},
};
use pyo3::prelude::*;
use time::OffsetDateTime;
use tokio::task::block_in_place;

use crate::{
    bridge::Bridge,
    errors::OrRaise as _,
    options::{PassPhrase, deadline, source},
    process::{self, Process},
    signer::{PySigner, elsewhere},
    uses::InUse,
    work::{self, Asker, Outcome},
    x509::X509,
};

/// What `dps_core.doctor()` is made of.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct Examination {
    process: &'static Process,
    doctor: Arc<Doctor>,
    signer: Option<Arc<PySigner>>,
    _in_use: Option<InUse>,
    reach: Reach,
}

/// How far an examination goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Files,
    Network,
    Service,
}

#[pymethods]
impl Examination {
    #[new]
    #[pyo3(signature = (
        *,
        x509=None,
        certificate: "str | bytes | PathLike[str] | None" = None,
        key: "str | bytes | PathLike[str] | None" = None,
        pass_phrase=None,
        authorities: "str | bytes | PathLike[str] | None" = None,
        group_certificate: "str | bytes | PathLike[str] | None" = None,
        individual_certificate: "str | bytes | PathLike[str] | None" = None,
        registration_id=None,
        id_scope=None,
        host=None,
        connect_to=None,
        roots: "str | bytes | PathLike[str] | None" = None,
        at=None,
        deadline=None,
        wire=false,
        register=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new(
        py: Python<'_>,
        x509: Option<&Bound<'_, X509>>,
        certificate: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        pass_phrase: Option<PassPhrase>,
        authorities: Option<&Bound<'_, PyAny>>,
        group_certificate: Option<&Bound<'_, PyAny>>,
        individual_certificate: Option<&Bound<'_, PyAny>>,
        registration_id: Option<String>,
        id_scope: Option<String>,
        host: Option<String>,
        connect_to: Option<String>,
        roots: Option<&Bound<'_, PyAny>>,
        at: Option<OffsetDateTime>,
        deadline: Option<f64>,
        wire: bool,
        register: bool,
    ) -> PyResult<Self> {
        type Give<T> = fn(Doctor, T) -> Doctor;

        let deadline = self::deadline(py, deadline)?;
        let (mut doctor, signer) = match x509 {
            Some(_) if certificate.is_some() || key.is_some() || pass_phrase.is_some() => {
                let message = "an X509 has its own certificate, key and pass phrase";
                return Err(Error::new(ErrorKind::InvalidArgument, message)).or_raise(py);
            }
            Some(x509) => {
                // Nobody wants a signature after that.
                let patience = deadline.map_or(SIGN_LIMIT, |deadline| deadline.min(SIGN_LIMIT));
                let signer = x509.get().material().signer().cloned();
                (x509.get().give(Doctor::new(), patience), signer)
            }
            None => (Doctor::new(), None),
        };
        let inputs: [(_, &str, Give<Source>); 6] = [
            (certificate, "certificate", Doctor::certificate),
            (key, "key", Doctor::key),
            (authorities, "authorities", Doctor::authorities),
            (group_certificate, "group_certificate", Doctor::group_certificate),
            (individual_certificate, "individual_certificate", Doctor::individual_certificate),
            (roots, "roots", Doctor::roots),
        ];
        for (value, name, give) in inputs {
            if let Some(value) = value {
                doctor = give(doctor, source(value, name)?);
            }
        }
        let texts: [(_, Give<String>); 4] = [
            (registration_id, Doctor::registration_id),
            (id_scope, Doctor::id_scope),
            (host, Doctor::host),
            (connect_to, Doctor::connect_to),
        ];
        for (text, give) in texts {
            if let Some(text) = text {
                doctor = give(doctor, text);
            }
        }
        if let Some(passphrase) = pass_phrase {
            doctor = doctor.passphrase(passphrase.into());
        }
        if let Some(at) = at {
            doctor = doctor.clock(at.into());
        }
        if let Some(deadline) = deadline {
            doctor = doctor.deadline(deadline);
        }
        let reach = match (wire, register) {
            (_, true) => Reach::Service,
            (true, false) => Reach::Network,
            (false, false) => Reach::Files,
        };
        let _in_use = signer.as_ref().and_then(|signer| signer.in_use());
        let (process, doctor) = (process::current(), Arc::new(doctor));
        Ok(Self { process, doctor, signer, _in_use, reach })
    }

    /// Examines, and waits on this thread.
    #[pyo3(signature = () -> "Report")]
    fn run(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let visit = self.process.enter(py);
        if self.reach == Reach::Files && self.signer.is_none() {
            let report = visit.detach(|| self.doctor.offline()).or_raise(py)?;
            return Ok(Py::new(py, Report(report))?.into_any());
        }
        let handle = self.process.handle(py).or_raise(py)?;
        work::wait(py, &visit, None, |asker| Ok(work::spawn(&handle, asker, self.work())))
    }

    /// Examines; the event loop's future is resolved.
    fn start(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
    ) -> PyResult<u64> {
        let handle = self.process.handle(py).or_raise(py)?;
        if let Some(signer) = &self.signer {
            signer.bind(event_loop.clone().unbind());
        }
        bridge.start(py, future, None, |asker: Asker| Ok(work::spawn(&handle, asker, self.work())))
    }
}

impl Examination {
    fn work(&self) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
        let (doctor, reach, process) = (Arc::clone(&self.doctor), self.reach, self.process);
        let asks = self.signer.is_some();
        let mut examining = Box::pin(async move {
            match reach {
                Reach::Files if asks => elsewhere(process, move || doctor.offline()).await,
                Reach::Files => doctor.offline(),
                Reach::Network => doctor.wire().await,
                Reach::Service => doctor.service().await,
            }
            .map(|report| Outcome::Examined(Box::new(report)))
        });
        // It reads files.
        poll_fn(move |context| block_in_place(|| examining.as_mut().poll(context)))
    }
}

/// What the doctor found.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct Report(pub(crate) CoreReport);

#[pymethods]
impl Report {
    /// What is wrong, or soon will be.
    #[getter]
    fn findings(&self) -> Vec<Finding> {
        self.0.findings().iter().cloned().map(Finding).collect()
    }

    /// What was examined and is in order, one sentence each.
    #[getter]
    fn seen(&self) -> Vec<String> {
        self.0.seen().to_vec()
    }

    /// 0 nothing found, 1 warnings, 2 errors.
    #[getter]
    fn exit_code(&self) -> u8 {
        self.0.exit_code()
    }

    /// The report as JSON text: `exitCode`, `findings`, `seen`.
    fn to_json(&self) -> String {
        self.0.to_json().to_string()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        let ids: Vec<_> = self.0.findings().iter().map(|finding| finding.check().id()).collect();
        format!("<Report {}>", if ids.is_empty() { "nothing found".into() } else { ids.join(" ") })
    }
}

/// One thing that is wrong, or soon will be.
#[pyclass(frozen, eq, module = "dps_core")]
#[derive(PartialEq, Eq)]
pub(crate) struct Finding(CoreFinding);

#[pymethods]
impl Finding {
    /// What was looked for: a stable ID such as `DPS-C002`.
    #[getter]
    fn id(&self) -> &'static str {
        self.0.check().id()
    }

    /// `error`, or `warning` for what works here and now.
    #[getter]
    fn severity(&self) -> String {
        self.0.severity().to_string()
    }

    /// What a finding of this ID means.
    #[getter]
    fn sentence(&self) -> &'static str {
        self.0.check().sentence()
    }

    /// What was seen, with names and dates.
    #[getter]
    fn evidence(&self) -> &str {
        self.0.evidence()
    }

    /// What to do about it.
    #[getter]
    fn fix(&self) -> &str {
        self.0.fix()
    }

    /// The page that explains it, in this project's documentation.
    #[getter]
    fn page(&self) -> String {
        self.0.check().page()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Finding {} {}>", self.0.check().id(), self.0.severity())
    }
}

/// What an error means that there is already: its text, such as `401002 CA certificate not found.`
#[pyfunction]
pub(crate) fn decode_error(text: &str) -> Report {
    Report(doctor::decode(text))
}
