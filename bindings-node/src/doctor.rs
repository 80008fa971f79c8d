//! What is wrong with a device's credential, clock, network or enrollment, said before dialling.

use std::{convert::Infallible, future::Future, mem, sync::Arc, thread, time::SystemTime};

use dps_core::{
    Error, ErrorKind, SignatureAlgorithm, Source,
    chain::Inspection,
    doctor::{self, Doctor, Report},
    key::Passphrase,
};
use napi::{Env, Unknown, bindgen_prelude::PromiseRaw};
use napi_derive::napi;
use tokio::{runtime::Handle, select, sync::oneshot};

use crate::{
    environment::{Environment, JsThread, promise},
    error::thrown,
    js::{self, Json, Late, invalid},
    options::{self, optional_text, text},
    runtime::offload,
    security::{Key, Reference, X509_OPTIONS, X509Parts, elsewhere, internal, source},
    signer::{JsSigner, Waits, signing},
};

/// What the doctor is given, and how far it goes; beside these, the options of `X509` and
/// `DeadlineOptions`. What is not given is not examined.
#[napi(object, object_to_js = false)]
pub struct DoctorOptions<'env> {
    /// How far to go: `files` looks at what is given and at the clock; `network` also at DNS, the
    /// ports, TLS and the clock of the server; `service` registers the device too. `files` unless
    /// told.
    #[napi(ts_type = "'files' | 'network' | 'service'")]
    pub reach: Option<Unknown<'env>>,
    /// The certificate that the enrollment group lists.
    #[napi(ts_type = "string | Uint8Array")]
    pub group_certificate: Option<Unknown<'env>>,
    /// The path of a file with it.
    #[napi(ts_type = "string")]
    pub group_certificate_file: Option<Unknown<'env>>,
    /// The certificate that the device's individual enrollment holds.
    #[napi(ts_type = "string | Uint8Array")]
    pub individual_certificate: Option<Unknown<'env>>,
    /// The path of a file with it.
    #[napi(ts_type = "string")]
    pub individual_certificate_file: Option<Unknown<'env>>,
    /// The registration ID that the device uses, where it is not its certificate's common name.
    #[napi(ts_type = "string")]
    pub registration_id: Option<Unknown<'env>>,
    /// The ID scope; `service` needs it.
    #[napi(ts_type = "string")]
    pub id_scope: Option<Unknown<'env>>,
    /// The provisioning host, where it is not the global one.
    #[napi(ts_type = "string")]
    pub provisioning_host: Option<Unknown<'env>>,
    /// Where to connect to instead, as `host:port`, while the names stay the real ones. Where it is
    /// not given, `DPS_CONNECT_TO` decides.
    #[napi(ts_type = "string")]
    pub connect_to: Option<Unknown<'env>>,
    /// The roots that the server's certificate must lead to, as PEM, in place of the system's.
    #[napi(ts_type = "string | Uint8Array")]
    pub ca: Option<Unknown<'env>>,
}

/// The names in [`DoctorOptions`].
const DOCTOR_OPTIONS: [&str; 10] = [
    "reach",
    "groupCertificate",
    "groupCertificateFile",
    "individualCertificate",
    "individualCertificateFile",
    "registrationId",
    "idScope",
    "provisioningHost",
    "connectTo",
    "ca",
];

/// Examines a device's credential and what surrounds it. Rejects only where an examination cannot
/// be made: what is wrong with the device is in the report, which is that of `dps doctor --json`.
/// What has not answered by the deadline, a minute unless told, is a finding; where files alone are
/// examined, a signer has 30 seconds.
#[napi(
    catch_unwind,
    ts_args_type = "options: DoctorOptions",
    ts_return_type = "Promise<DoctorReport>"
)]
pub fn doctor<'env>(env: &'env Env, options: Unknown<'env>) -> napi::Result<PromiseRaw<'env, ()>> {
    let start = || {
        let (start, deadline) =
            options::deadline(env, options, &[&X509_OPTIONS[..], &DOCTOR_OPTIONS].concat())?;
        let mut case = Case::read(env, options)?;
        if let Some(deadline) = deadline {
            case.doctor = case.doctor.deadline(deadline);
        }
        Ok((start, case.examine()))
    };
    promise(env, start())
}

/// Verifies a chain, and that the key is its leaf's where one is given: every link, date and rule.
/// It holds where no finding of the report is an error; the report is that of
/// `dps chain verify --json`.
#[napi(
    catch_unwind,
    ts_args_type = "options: VerifyOptions",
    ts_return_type = "Promise<DoctorReport>"
)]
pub fn verify_chain<'env>(
    env: &'env Env,
    options: Unknown<'env>,
) -> napi::Result<PromiseRaw<'env, ()>> {
    let start = || {
        let start = options::wait(env, options, &X509_OPTIONS)?;
        let case = Case::given(X509Parts::read(env, options, "options")?)?;
        Ok((start, case.examine()))
    };
    promise(env, start())
}

/// What an error of the service means that is at hand already, such as
/// `401002 CA certificate not found`.
#[napi(catch_unwind, ts_args_type = "error: string", ts_return_type = "DoctorReport")]
pub fn explain_error(env: &Env, error: Unknown<'_>) -> napi::Result<Late<Json>> {
    let report = text(error, "error").map(|error| doctor::decode(&error));
    report.map(|report| json(&report)).map_err(|error| thrown(env, &error))
}

/// Certificates as PEM, DER or PKCS#12; beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct InspectOptions<'env> {
    /// The certificates.
    #[napi(ts_type = "string | Uint8Array")]
    pub cert: Option<Unknown<'env>>,
    /// The path of a file with them; errors then name the file.
    #[napi(ts_type = "string")]
    pub cert_file: Option<Unknown<'env>>,
    /// The passphrase of a PKCS#12 file.
    #[napi(ts_type = "string")]
    pub passphrase: Option<Unknown<'env>>,
}

/// Reads certificates, a chain or not, and tells what matters to DPS: that of
/// `dps chain inspect --json`.
#[napi(
    catch_unwind,
    ts_args_type = "options: InspectOptions",
    ts_return_type = "Promise<ChainInspection>"
)]
pub fn inspect_chain<'env>(
    env: &'env Env,
    options: Unknown<'env>,
) -> napi::Result<PromiseRaw<'env, ()>> {
    let start = || {
        let start = options::wait(env, options, &["cert", "certFile", "passphrase"])?;
        let InspectOptions { cert, cert_file, passphrase, .. } =
            js::options(env, options, "options")?;
        let certificates = source("cert", cert, cert_file)?
            .ok_or_else(|| invalid("options", "it has neither cert nor certFile"))?;
        let passphrase = optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        Ok((start, offload(move || inspect(&certificates, passphrase.as_ref()))))
    };
    promise(env, start())
}

fn inspect(certificates: &Source, passphrase: Option<&Passphrase>) -> Result<Late<Json>, Error> {
    let inspection = Inspection::read(certificates, passphrase, SystemTime::now())?;
    Ok(Late(Json(inspection.to_json())))
}

#[derive(Clone, Copy)]
enum Reach {
    Files,
    Network,
    Service,
}

/// How the doctor is given something.
type Give<T> = fn(Doctor, T) -> Doctor;

/// What is to be examined.
struct Case {
    doctor: Doctor,
    reach: Reach,
    signer: Option<ByFunction>,
}

/// A function of the user's that signs for the leaf.
struct ByFunction {
    function: Reference,
    algorithms: Vec<SignatureAlgorithm>,
    thread: JsThread,
}

impl Case {
    fn read(env: &Env, options: Unknown<'_>) -> Result<Self, Error> {
        let mut case = Self::given(X509Parts::read(env, options, "options")?)?;
        let DoctorOptions {
            reach,
            group_certificate: group,
            group_certificate_file: group_file,
            individual_certificate: individual,
            individual_certificate_file: individual_file,
            registration_id,
            id_scope,
            provisioning_host,
            connect_to,
            ca,
        } = js::options(env, options, "options")?;
        case.reach = match optional_text(reach, "reach")?.as_deref() {
            None | Some("files") => Reach::Files,
            Some("network") => Reach::Network,
            Some("service") => Reach::Service,
            Some(other) => {
                let found = format!("{other:?} is none of files, network, service");
                return Err(invalid("reach", &found));
            }
        };
        let group = source("groupCertificate", group, group_file)?;
        case.give(group, Doctor::group_certificate);
        let individual = source("individualCertificate", individual, individual_file)?;
        case.give(individual, Doctor::individual_certificate);
        case.give(source("ca", ca, None)?, Doctor::roots);
        let texts: [(_, &str, Give<String>); 4] = [
            (registration_id, "registrationId", Doctor::registration_id),
            (id_scope, "idScope", Doctor::id_scope),
            (provisioning_host, "provisioningHost", Doctor::host),
            (connect_to, "connectTo", Doctor::connect_to),
        ];
        for (value, name, give) in texts {
            if let Some(text) = optional_text(value, name)? {
                case.doctor = give(case.doctor, text);
            }
        }
        Ok(case)
    }

    /// With a certificate, a key and the CAs that are known, as far as they are there.
    fn given(parts: X509Parts) -> Result<Self, Error> {
        let X509Parts { chain, key, passphrase, authorities } = parts;
        let mut case = Self { doctor: Doctor::new(), reach: Reach::Files, signer: None };
        match key {
            Some(Key::Private(key)) => case.give(key, Doctor::key),
            Some(Key::Signer(function, algorithms)) => {
                if chain.is_none() {
                    let found = "it has a signer and no certificate to sign for";
                    return Err(invalid("options", found));
                }
                let thread = Environment::current().map_err(|error| internal(&error))?.thread();
                case.signer = Some(ByFunction { function, algorithms, thread });
            }
            None => {}
        }
        case.give(chain, Doctor::certificate);
        case.give(authorities, Doctor::authorities);
        if let Some(passphrase) = passphrase {
            case.doctor = case.doctor.passphrase(passphrase);
        }
        Ok(case)
    }

    fn give(&mut self, input: Option<Source>, give: Give<Source>) {
        if let Some(input) = input {
            self.doctor = give(mem::take(&mut self.doctor), input);
        }
    }

    /// The report; whoever drops the future ends the examination.
    fn examine(self) -> impl Future<Output = Result<Late<Json>, Error>> + Send + 'static {
        let reach = self.reach;
        let waits = Arc::<Waits>::default();
        let signers = self.signer.is_some().then(|| Arc::clone(&waits));
        let in_use = waits.in_use();
        async move {
            let doctor = move || self.doctor(waits);
            let examined = match reach {
                Reach::Files => signing(signers, move || doctor().offline()).await,
                Reach::Network => over_the_network(doctor, false).await,
                Reach::Service => over_the_network(doctor, true).await,
            };
            drop(in_use);
            examined.map(|report| json(&report))
        }
    }

    fn doctor(self, waits: Arc<Waits>) -> Doctor {
        let Self { doctor, signer, .. } = self;
        match signer {
            Some(ByFunction { function, algorithms, thread }) => doctor
                .signer(Arc::new(JsSigner::new(thread, function, algorithms, waits).of_device())),
            None => doctor,
        }
    }
}

/// Examines on a thread of its own, which may wait for the network for long: the few that read
/// files are not for that.
async fn over_the_network(
    doctor: impl FnOnce() -> Doctor + Send + 'static,
    register: bool,
) -> Result<Report, Error> {
    let (cancel, cancelled) = oneshot::channel::<Infallible>();
    let (answer, examined) = oneshot::channel();
    let runtime = Handle::current();
    let examine = move || {
        let doctor = doctor();
        runtime.block_on(async {
            select! {
                biased;
                _ = cancelled => {}
                // Nobody listens where the wait was over first.
                report = doctor.wire(), if !register => drop(answer.send(report)),
                report = doctor.service(), if register => drop(answer.send(report)),
            }
        });
    };
    thread::Builder::new().name("dps-core-doctor".into()).spawn(examine).map_err(|error| {
        Error::new(ErrorKind::Internal, "a thread could not be started").with_source(error)
    })?;
    let examined = elsewhere(examined).await;
    drop(cancel);
    examined
}

fn json(report: &Report) -> Late<Json> {
    Late(Json(report.to_json()))
}
