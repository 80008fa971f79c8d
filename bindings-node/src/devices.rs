//! Devices by the thousand, made into a folder one after the other.

use std::{cell::RefCell, convert::Infallible, future::Future, mem, sync::Arc, thread};

use dps_core::{
    Error, ErrorKind, RegistrationId, Source,
    chain::{
        Batch, CsvRegistrationIds, Folder, Outcome, RegistrationIdRange, Validity, check_distinct,
    },
    key::KeyType,
};
use napi::{
    Env, Unknown,
    bindgen_prelude::{Object, PromiseRaw, This},
};
use napi_derive::napi;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use crate::{
    authority::{self, Authority, ISSUE_OPTIONS, Issuer},
    environment::{KeptSignal, Start, promise},
    error::thrown,
    js::{self, IntoJs, Late, Next, invalid},
    key::key_type,
    options::{self, text},
    security::{elsewhere, internal, source},
    signer::Waits,
};

/// Which devices to make, and where; beside these, `IssueOptions`. One of `registrationIds`,
/// `range`, `csv` and `csvFile` says which.
#[napi(object, object_to_js = false)]
pub struct DevicesOptions<'env> {
    /// The folder that the tutorial builds: its `certs` and `private` take the files. CA
    /// certificates in its `certs` that stand above the issuer complete the full chains.
    #[napi(ts_type = "string")]
    pub folder: Unknown<'env>,
    /// The CA that issues.
    #[napi(ts_type = "Authority")]
    pub issuer: Unknown<'env>,
    /// The registration IDs.
    #[napi(ts_type = "string[]")]
    pub registration_ids: Option<Unknown<'env>>,
    /// Registration IDs that differ in a number, such as `device-0001..device-1000`.
    #[napi(ts_type = "string")]
    pub range: Option<Unknown<'env>>,
    /// A CSV with the registration IDs: the column headed `registrationId` or `deviceId`, in any
    /// spelling of case, `_` and `-`; one column alone needs no header.
    #[napi(ts_type = "string | Uint8Array")]
    pub csv: Option<Unknown<'env>>,
    /// The path of such a CSV.
    #[napi(ts_type = "string")]
    pub csv_file: Option<Unknown<'env>>,
    /// The type of the devices' keys; `rsa-4096`, as in the tutorial, unless told.
    #[napi(ts_type = "KeyType")]
    pub key_type: Option<Unknown<'env>>,
    /// Makes what is there already anew.
    #[napi(ts_type = "boolean")]
    pub overwrite: Option<Unknown<'env>>,
}

/// The names in [`DevicesOptions`].
const DEVICES_OPTIONS: [&str; 8] =
    ["folder", "issuer", "registrationIds", "range", "csv", "csvFile", "keyType", "overwrite"];

/// A device of a batch, whose files are there.
#[napi(object, object_from_js = false)]
pub struct MadeDevice {
    /// Its registration ID.
    pub registration_id: String,
    /// Whether it was made, or finished, now; or was there already.
    #[napi(ts_type = "'made' | 'present'")]
    pub outcome: &'static str,
    /// The path of its full chain.
    pub cert_file: String,
    /// The path of its private key.
    pub key_file: String,
    /// How many devices of the batch are done, this one included.
    pub done: f64,
    /// How many devices the batch has.
    pub total: f64,
}

/// Makes devices in a folder, each with key, certificate and full chain, as `for await` asks for
/// them. What is there already is left as it is, so a batch that was interrupted is finished by
/// running it again. A signal, and leaving the loop, end it between two devices.
#[napi(catch_unwind, ts_args_type = "options: DevicesOptions", ts_return_type = "MakingDevices")]
pub fn make_devices(env: &Env, options: Unknown<'_>) -> napi::Result<MakingDevices> {
    let read = || {
        let signal =
            options::signal(env, options, &[&ISSUE_OPTIONS[..], &DEVICES_OPTIONS].concat())?;
        let signal = KeptSignal::new(env, signal).map_err(|error| internal(&error))?;
        let plan = Plan::read(env, options)?;
        let waits = plan.issuer.waits.clone();
        Ok(MakingDevices { batch: RefCell::new(State::Planned(Box::new(plan))), signal, waits })
    };
    read().map_err(|error| thrown(env, &error))
}

/// A batch that goes on as its next device is asked for.
#[napi]
pub struct MakingDevices {
    batch: RefCell<State>,
    signal: KeptSignal,
    /// Those of the issuer's signer.
    waits: Option<Arc<Waits>>,
}

enum State {
    Planned(Box<Plan>),
    Running(Running),
    Ended,
}

/// The thread that holds the batch, and the folder's lock with it.
struct Running {
    requests: UnboundedSender<Answer>,
    /// Ends when the thread has let go of the folder.
    ended: oneshot::Receiver<Infallible>,
}

/// Where the next device is told; `None` is the end.
type Answer = oneshot::Sender<NextDevice>;
type NextDevice = Result<Option<MadeDevice>, Error>;

#[napi]
impl MakingDevices {
    /// The batch itself, for `for await`.
    #[napi(
        catch_unwind,
        well_known_symbol = "asyncIterator",
        ts_return_type = "AsyncIterableIterator<MadeDevice>"
    )]
    pub fn iterator<'env>(&self, this: This<'env>) -> Object<'env> {
        this.object
    }

    /// Makes the next device.
    #[napi(catch_unwind, ts_return_type = "Promise<IteratorResult<MadeDevice, void>>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = self.signal.start(env);
        if let Ok(Start::Aborted(reason)) = started {
            let reason = napi::Error::from_unknown_without_coercion(reason);
            let stopped = self.stop();
            let told = async move {
                stopped.await;
                Ok(Late(Aborted(reason)))
            };
            return promise(env, Ok((Start::Wait(None), told)));
        }
        // Before a device is asked for: its signature may be wanted at once.
        let in_use = self.waits.as_ref().map(Waits::in_use);
        // A device that has begun is finished: the signal ends the batch before the next.
        let asked = started.and_then(|_| self.ask()).map(|answer| {
            let told = async move {
                let _in_use = in_use;
                match answer {
                    Some(answer) => elsewhere(answer).await.map(|device| Late(Next(device))),
                    None => Ok(Late(Next(None))),
                }
            };
            (Start::Wait(None), told)
        });
        promise(env, asked)
    }

    /// Ends the batch after the device that has begun; a `for await` that is left early calls it.
    #[napi(
        catch_unwind,
        js_name = "return",
        ts_return_type = "Promise<IteratorResult<MadeDevice, void>>"
    )]
    pub fn cancel<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let stopped = self.stop();
        let told = async move {
            stopped.await;
            Ok(Late(Next::<MadeDevice>(None)))
        };
        promise(env, Ok((Start::Wait(None), told)))
    }
}

impl MakingDevices {
    /// Asks for the next device; `None` where the batch has ended.
    fn ask(&self) -> Result<Option<oneshot::Receiver<NextDevice>>, Error> {
        let mut state = self.batch.borrow_mut();
        let running = match mem::replace(&mut *state, State::Ended) {
            State::Planned(plan) => plan.start()?,
            State::Running(running) => running,
            State::Ended => return Ok(None),
        };
        let (answer, device) = oneshot::channel();
        if running.requests.send(answer).is_err() {
            return Ok(None);
        }
        *state = State::Running(running);
        Ok(Some(device))
    }

    /// Ends once the folder is free for another batch.
    fn stop(&self) -> impl Future<Output = ()> + Send + 'static {
        let state = self.batch.replace(State::Ended);
        async move {
            if let State::Running(Running { requests, ended }) = state {
                drop(requests);
                // Its sender is dropped with the thread, and sends nothing.
                let _ = ended.await;
            }
        }
    }
}

/// What a batch is to make.
struct Plan {
    folder: Folder,
    issuer: Issuer,
    devices: Devices,
    key_type: KeyType,
    validity: Validity,
}

enum Devices {
    Listed(Vec<RegistrationId>),
    Range(RegistrationIdRange),
    Csv(Source),
}

type Ids<'a> = Box<dyn Iterator<Item = Result<RegistrationId, Error>> + 'a>;

impl Plan {
    fn read(env: &Env, options: Unknown<'_>) -> Result<Self, Error> {
        let validity = authority::validity(env, options)?;
        let DevicesOptions {
            folder,
            issuer,
            registration_ids,
            range,
            csv,
            csv_file,
            key_type,
            overwrite,
        } = js::options(env, options, "options")?;
        let devices = match (registration_ids, range, source("csv", csv, csv_file)?) {
            (Some(ids), None, None) => Devices::listed(env, ids)?,
            (None, Some(range), None) => {
                Devices::Range(RegistrationIdRange::parse(&text(range, "range")?)?)
            }
            (None, None, Some(csv)) => Devices::Csv(csv),
            _ => {
                return Err(invalid(
                    "options",
                    "one of registrationIds, range, csv and csvFile says which devices to make",
                ));
            }
        };
        let overwrite = overwrite.map(|value| options::boolean(value, "overwrite")).transpose()?;
        let folder = Folder::new(text(folder, "folder")?);
        Ok(Self {
            folder: match overwrite {
                Some(overwrite) => folder.overwrite(overwrite),
                None => folder,
            },
            issuer: Authority::from_argument(issuer)?,
            devices,
            key_type: self::key_type(key_type)?,
            validity,
        })
    }

    /// Starts the thread, which waits until it is asked for a device: a batch borrows its CA, and
    /// the few threads that read files are not for what takes hours.
    fn start(self: Box<Self>) -> Result<Running, Error> {
        let (requests, mut asked) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel();
        let work = move || {
            self.work(&mut asked);
            drop(alive);
        };
        thread::Builder::new().name("dps-core-devices".into()).spawn(work).map_err(|error| {
            Error::new(ErrorKind::Internal, "a thread could not be started").with_source(error)
        })?;
        Ok(Running { requests, ended })
    }

    fn work(&self, requests: &mut UnboundedReceiver<Answer>) {
        let Some(first) = requests.blocking_recv() else { return };
        let mut asked = Some(first);
        let ended = self.make(|device| {
            // Nobody listens where the environment has ended.
            let _ = asked.take().map(|answer| answer.send(Ok(Some(device))));
            asked = requests.blocking_recv();
            asked.is_some()
        });
        if let Some(answer) = asked {
            // As above.
            let _ = answer.send(ended.map(|()| None));
        }
        // No question slips in between the last answer and the end.
        requests.close();
        while let Some(answer) = requests.blocking_recv() {
            let _ = answer.send(Ok(None));
        }
    }

    /// Makes devices for as long as `more` wants the next. The folder is free again afterwards.
    fn make(&self, mut more: impl FnMut(MadeDevice) -> bool) -> Result<(), Error> {
        let (total, ids) = self.devices.ids()?;
        let batch = Batch::new(&self.folder, &self.issuer.authority, self.key_type, self.validity)?;
        for (before, id) in ids.enumerate() {
            let id = id?;
            let outcome = match batch.device(&id)? {
                Outcome::Made => "made",
                Outcome::Present => "present",
            };
            let device = MadeDevice {
                outcome,
                cert_file: self.folder.full_chain(id.as_str()).display().to_string(),
                key_file: self.folder.key(id.as_str()).display().to_string(),
                registration_id: id.as_str().to_owned(),
                done: (before + 1) as f64,
                total: total as f64,
            };
            if !more(device) {
                break;
            }
        }
        Ok(())
    }
}

impl Devices {
    fn listed(env: &Env, ids: Unknown<'_>) -> Result<Self, Error> {
        let ids = js::elements(env, ids, "registrationIds", |id| {
            RegistrationId::parse_common_name(&text(id, "registrationIds")?)
        })?;
        check_distinct(&ids)?;
        Ok(Self::Listed(ids))
    }

    /// How many there are, and which.
    fn ids(&self) -> Result<(u64, Ids<'_>), Error> {
        match self {
            Self::Listed(ids) => Ok((ids.len() as u64, Box::new(ids.iter().cloned().map(Ok)))),
            Self::Range(range) => Ok((range.remaining(), Box::new(range.clone()))),
            Self::Csv(csv) => {
                let ids = match csv {
                    Source::File(path) => CsvRegistrationIds::file(path)?,
                    Source::Memory(bytes) => CsvRegistrationIds::new(bytes.to_vec())?,
                };
                Ok((ids.remaining(), Box::new(ids)))
            }
        }
    }
}

/// The reason of the signal that has ended a batch, which rejects the promise as it is.
struct Aborted(napi::Error);

impl IntoJs for Aborted {
    fn into_js(self, _: &Env) -> napi::Result<Unknown<'_>> {
        Err(self.0)
    }
}
