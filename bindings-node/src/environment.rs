//! What belongs to one JavaScript thread: the way back to it from other threads, and the promises
//! that are waited for there.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use dps_core::{Error, ErrorKind};
use napi::{
    Env, JsValue, Unknown, ValueType,
    bindgen_prelude::{
        FnArgs, FromNapiValue, Function, FunctionRef, JsObjectValue, Object, ObjectRef, PromiseRaw,
        ToNapiValue, ValidateNapiValue,
    },
};
use napi_derive::napi;
use tokio::task::AbortHandle;

use crate::{
    error,
    js::{self, Deferred, Waker, invalid},
    log,
    queue::Queue,
    runtime,
};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Environment>>> = const { RefCell::new(None) };
}

/// The state of one JavaScript thread; never leaves it.
pub(crate) struct Environment {
    thread: JsThread,
    hooks: RefCell<ObjectRef<false>>,
    /// The class `Mqtt` of each copy of `index.js`.
    transports: RefCell<Vec<FunctionRef<(), Unknown<'static>>>>,
    waiting: RefCell<HashMap<u32, Waiting>>,
    last_call: Cell<u32>,
    enqueued: RefCell<Option<ObjectRef<false>>>,
    /// How many promises and open clients want the process to stay alive.
    reasons_to_live: Cell<usize>,
}

/// A promise that is not settled yet.
struct Waiting {
    deferred: Deferred,
    task: AbortHandle,
    /// Whether an abort signal is watched for it.
    watched: bool,
    /// Tells where it was asked for.
    trace: Option<FunctionRef<(), Unknown<'static>>>,
}

/// Makes this JavaScript thread ready; called once by `index.js` before anything else. `hooks` is
/// what only JavaScript can do:
///
/// - `DpsError`, the class; `Mqtt`, the class that stands for the transport;
/// - `trace()`: a function that tells where it was called from;
/// - `watch(signal, call)`: calls `abort(call, reason)` when the signal fires; `unwatch(call)`;
/// - `call(function, argument, done)`: calls, awaits, and hands the outcome to `done`;
/// - `keep(value)`: a function that returns the value;
/// - `adopt(security, method)`: `registrationId`, and `give()`, which promises what the method gives.
#[napi(catch_unwind, skip_typescript)]
pub fn install(env: &Env, hooks: Object<'_>) -> napi::Result<()> {
    let transport: Function<'_, (), Unknown<'static>> = hooks.get_named_property("Mqtt")?;
    let transport = transport.create_ref()?;
    let hooks = hooks.create_ref::<false>()?;
    // A second copy of index.js in this thread brings its own classes.
    if let Ok(environment) = Environment::current() {
        environment.hooks.replace(hooks);
        environment.transports.borrow_mut().push(transport);
        return Ok(());
    }
    let drain = env.create_function_from_closure("dpsCore", |context| {
        drain(context.env);
        Ok(())
    })?;
    let inner = Inner { queue: Queue::default(), waker: Waker::new(&drain)? };
    let environment = Environment {
        thread: JsThread(Arc::new(inner)),
        hooks: RefCell::new(hooks),
        transports: RefCell::new(vec![transport]),
        waiting: RefCell::default(),
        last_call: Cell::new(0),
        enqueued: RefCell::default(),
        reasons_to_live: Cell::new(0),
    };
    CURRENT.set(Some(Rc::new(environment)));
    runtime::enter();
    env.add_env_cleanup_hook((), |()| {
        if let Some(environment) = CURRENT.take() {
            environment.close();
        }
        runtime::leave();
    })?;
    Ok(())
}

/// Ends the wait of a call with the signal's reason; called by `index.js`.
#[napi(catch_unwind, skip_typescript)]
pub fn abort(env: &Env, call: u32, reason: Unknown<'_>) -> napi::Result<()> {
    let environment = Environment::current()?;
    let Some(waiting) = environment.waiting.borrow_mut().remove(&call) else {
        return Ok(());
    };
    waiting.task.abort();
    environment.live(env, false);
    waiting.deferred.reject(env, reason)
}

/// An abort signal that has not fired.
pub(crate) struct Signal<'env>(Object<'env>);

/// An abort signal that outlives the call it was given to.
pub(crate) struct KeptSignal(Option<FunctionRef<(), Unknown<'static>>>);

impl KeptSignal {
    /// Keeps the option `signal`.
    pub(crate) fn new(env: &Env, signal: Option<Unknown<'_>>) -> napi::Result<Self> {
        let Some(signal) = signal else { return Ok(Self(None)) };
        let keep: Function<'_, Unknown<'_>, Function<'_, (), Unknown<'static>>> =
            Environment::current()?.hook(env, "keep")?;
        Ok(Self(Some(keep.call(signal)?.create_ref()?)))
    }

    /// For one more wait.
    pub(crate) fn start<'env>(&self, env: &'env Env) -> Result<Start<'env>, Error> {
        let kept = |signal: &FunctionRef<_, _>| signal.borrow_back(env)?.call(());
        Start::new(
            env,
            self.0
                .as_ref()
                .map(kept)
                .transpose()
                .map_err(|error| Error::new(ErrorKind::Internal, error.reason.clone()))?,
        )
    }
}

/// What is told of a wait before it begins.
pub(crate) enum Start<'env> {
    Wait(Option<Signal<'env>>),
    /// The signal has fired already, with this reason.
    Aborted(Unknown<'env>),
}

impl<'env> Start<'env> {
    /// Reads the option `signal`.
    pub(crate) fn new(env: &Env, signal: Option<Unknown<'env>>) -> Result<Self, Error> {
        let Some(signal) = signal else { return Ok(Self::Wait(None)) };
        let read = |signal: Object<'env>| -> napi::Result<Self> {
            let is_function = |name| -> napi::Result<bool> {
                let value: Unknown<'_> = signal.get_named_property(name)?;
                Ok(value.get_type()? == ValueType::Function)
            };
            match signal.get::<bool>("aborted")? {
                Some(true) => Ok(Self::Aborted(signal.get_named_property("reason")?)),
                Some(false)
                    if is_function("addEventListener")? && is_function("removeEventListener")? =>
                {
                    Ok(Self::Wait(Some(Signal(signal))))
                }
                _ => Err(napi::Error::from_reason("it has not the properties of one")),
            }
        };
        let no_signal = || invalid("signal", "it is not an AbortSignal");
        let signal = js::object(signal).ok_or_else(no_signal)?;
        read(signal).map_err(|error| no_signal().with_source(js::caught(env, error)))
    }
}

/// The promise of what `future` gives. It keeps the process alive until it is settled, and the
/// signal, if there is one, rejects it with its own reason and cancels the future. An error tells
/// where the promise was asked for.
pub(crate) fn promise<'env, T, F>(
    env: &'env Env,
    started: Result<(Start<'env>, F), Error>,
) -> napi::Result<PromiseRaw<'env, ()>>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let trace: Function<'_, (), Function<'_, (), Unknown<'static>>> =
        Environment::current()?.hook(env, "trace")?;
    waited_for(env, started, Some(trace.call(())?.create_ref()?))
}

/// As [`promise`], for telemetry: to note where each message comes from takes as long as to send it.
pub(crate) fn untraced_promise<'env, T, F>(
    env: &'env Env,
    started: Result<(Start<'env>, F), Error>,
) -> napi::Result<PromiseRaw<'env, ()>>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    waited_for(env, started, None)
}

fn waited_for<'env, T, F>(
    env: &'env Env,
    started: Result<(Start<'env>, F), Error>,
    trace: Option<FunctionRef<(), Unknown<'static>>>,
) -> napi::Result<PromiseRaw<'env, ()>>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let (deferred, promise) = Deferred::new(env)?;
    let begun = started.and_then(|(start, future)| Ok((start, future, runtime::handle()?)));
    let (signal, future, runtime) = match begun {
        Ok((Start::Wait(signal), future, runtime)) => (signal, future, runtime),
        Ok((Start::Aborted(reason), ..)) => {
            deferred.reject(env, reason)?;
            return Ok(promise);
        }
        Err(error) => {
            deferred.reject(env, error::to_js(env, &error)?)?;
            return Ok(promise);
        }
    };
    let environment = Environment::current()?;
    let call = environment.next_call();
    let watched = signal.is_some();
    if let Some(Signal(signal)) = signal {
        let watch: Function<'_, FnArgs<(Object<'_>, u32)>, ()> = environment.hook(env, "watch")?;
        // It is the signal's own code that runs here, before anything has begun.
        if let Err(error) = watch.call((signal, call).into()) {
            let error = invalid("signal", "it cannot be listened to").with_source(error);
            deferred.reject(env, error::to_js(env, &error)?)?;
            return Ok(promise);
        }
    }
    let unsettled = Unsettled(Some(environment.thread()), call);
    let task = runtime.spawn(async move { unsettled.settle(future.await) });
    let waiting = Waiting { deferred, task: task.abort_handle(), watched, trace };
    environment.waiting.borrow_mut().insert(call, waiting);
    environment.live(env, true);
    Ok(promise)
}

/// Rejects the promise of a future that ends without a word, as a panic ends it.
struct Unsettled(Option<JsThread>, u32);

impl Unsettled {
    fn settle<T: ToNapiValue + Send + 'static>(mut self, outcome: Result<T, Error>) {
        if let Some(thread) = self.0.take() {
            let call = self.1;
            thread.run(move |env| settle(env, call, outcome));
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let call = self.1;
            let fault = Error::new(ErrorKind::Internal, "the work ended before it was done");
            thread.run(move |env| settle::<()>(env, call, Err(fault)));
        }
    }
}

fn settle<T: ToNapiValue>(env: &Env, call: u32, outcome: Result<T, Error>) -> napi::Result<()> {
    let environment = Environment::current()?;
    // Gone where a signal was quicker; then what came is dropped, and a connection closed with it.
    let Some(waiting) = environment.waiting.borrow_mut().remove(&call) else {
        return Ok(());
    };
    environment.live(env, false);
    match outcome {
        Ok(value) => waiting.deferred.resolve(env, value)?,
        Err(error) => {
            let error = error::to_js_from(env, &error, waiting.trace.as_ref())?;
            waiting.deferred.reject(env, error)?;
        }
    }
    // Last: what a signal of the user's own making throws here must not leave a promise pending.
    if waiting.watched {
        environment.hook::<Function<'_, u32, ()>>(env, "unwatch")?.call(call)?;
    }
    Ok(())
}

impl Environment {
    /// The state of the JavaScript thread that calls this.
    pub(crate) fn current() -> napi::Result<Rc<Self>> {
        CURRENT
            .with_borrow(|current| current.clone())
            .ok_or_else(|| napi::Error::from_reason("the environment is being torn down"))
    }

    /// One of the functions that [`install`] was given.
    pub(crate) fn hook<F>(&self, env: &Env, name: &str) -> napi::Result<F>
    where
        F: FromNapiValue + ValidateNapiValue,
    {
        self.hooks.borrow().get_value(env)?.get_named_property(name)
    }

    /// Whether the value is the class that stands for the transport.
    pub(crate) fn is_transport(&self, env: &Env, value: Unknown<'_>) -> napi::Result<bool> {
        for class in self.transports.borrow().iter() {
            if env.strict_equals(class.borrow_back(env)?.to_unknown(), value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The object that every acknowledged message resolves to, made the first time.
    pub(crate) fn enqueued<'env>(
        &self,
        env: &'env Env,
        make: impl FnOnce() -> napi::Result<Object<'env>>,
    ) -> napi::Result<Unknown<'env>> {
        let mut enqueued = self.enqueued.borrow_mut();
        let object = match &*enqueued {
            Some(object) => object.get_value(env)?,
            None => {
                let object = make()?;
                *enqueued = Some(object.create_ref()?);
                object
            }
        };
        Ok(object.to_unknown())
    }

    /// The way back to this thread.
    pub(crate) fn thread(&self) -> JsThread {
        self.thread.clone()
    }

    fn next_call(&self) -> u32 {
        let waiting = self.waiting.borrow();
        loop {
            self.last_call.set(self.last_call.get().wrapping_add(1));
            if !waiting.contains_key(&self.last_call.get()) {
                return self.last_call.get();
            }
        }
    }

    fn live(&self, env: &Env, more: bool) {
        let before = self.reasons_to_live.get();
        let after = if more { before + 1 } else { before.saturating_sub(1) };
        self.reasons_to_live.set(after);
        if (before == 0) != (after == 0) {
            // Fails only in an environment that is being torn down, where it does not matter.
            let _ = self.thread.0.waker.keep_alive(env, after > 0);
        }
    }

    fn close(&self) {
        for (_, waiting) in self.waiting.take() {
            waiting.task.abort();
        }
        log::forget(&self.thread);
        self.thread.0.queue.close();
    }
}

type Job = Box<dyn FnOnce(&Env) -> napi::Result<()> + Send>;

/// The way to a JavaScript thread from any other.
#[derive(Clone)]
pub(crate) struct JsThread(Arc<Inner>);

struct Inner {
    queue: Queue<Job>,
    waker: Waker,
}

impl JsThread {
    /// Runs the job there soon, in the order of the calls; drops it if the thread has ended.
    ///
    /// Many jobs are one wake-up of the event loop.
    pub(crate) fn run(&self, job: impl FnOnce(&Env) -> napi::Result<()> + Send + 'static) {
        self.0.queue.put(Box::new(job), || self.0.waker.wake());
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Keeps the process alive until what is returned is dropped, on whatever thread.
    pub(crate) fn keep_alive(&self, env: &Env) -> napi::Result<KeptAlive> {
        Environment::current()?.live(env, true);
        Ok(KeptAlive(self.clone()))
    }
}

/// A reason for the process to stay alive.
pub(crate) struct KeptAlive(JsThread);

impl Drop for KeptAlive {
    fn drop(&mut self) {
        self.0.run(|env| {
            Environment::current()?.live(env, false);
            Ok(())
        });
    }
}

fn drain(env: &Env) {
    let Ok(environment) = Environment::current() else { return };
    for job in environment.thread.0.queue.take() {
        // No panic may pass through Node. Whoever panicked has lost no more than this job.
        let run = AssertUnwindSafe(|| env.run_in_scope(|| job(env)));
        let fault = |_| Err(napi::Error::from_reason("dps-core panicked"));
        if let Err(error) = catch_unwind(run).unwrap_or_else(fault) {
            // What a callback of the user's threw, where no promise can carry it.
            env.fatal_exception(error);
        }
    }
}
