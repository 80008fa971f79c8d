//! The task behind a `dps_hub`: takes messages in the order in which they were handed over, and
//! reports each one's fate to the mailbox, from which the caller's own thread takes it.

use std::{
    collections::VecDeque,
    ffi::c_void,
    future::{Future, poll_fn, ready},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use dps_core::{Error, ErrorKind, HubClient, Message, Result};
use tokio::{
    sync::{Notify, mpsc},
    task::unconstrained,
    time::sleep,
};

use crate::{
    error::{KnownError, dps_error, dps_status},
    ffi::UserData,
};

/// What the calls of C ask of the pump.
pub(crate) enum Order {
    /// Send this and tell that one.
    Send(Box<Message>, Receipt),
    /// Take no more and say goodbye, at this time at the latest, if there is one.
    Close(Option<Instant>),
}

/// Who waits for one message.
pub(crate) struct Receipt {
    pub(crate) addressee: Addressee,
    /// The room that the message takes until its fate was told.
    pub(crate) room: usize,
}

pub(crate) enum Addressee {
    /// A callback, run in the next call that delivers.
    Callback(extern "C" fn(*mut c_void, dps_status, *const dps_error), UserData),
    /// Nobody, as far as C is concerned.
    Nobody,
    /// The call that sent it, which waits.
    Call(Arc<OnceLock<Result<(), Arc<KnownError>>>>),
}

/// The fate of a message whose callback has not run yet.
pub(crate) struct Letter {
    pub(crate) receipt: Receipt,
    pub(crate) outcome: Result<(), Arc<KnownError>>,
}

/// Where the pump reports and the caller's thread looks.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    /// For a thread that waits while the shared runtime works.
    arrived: Condvar,
    /// For a polled runtime that works while its thread waits.
    rung: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    /// Counts the changes.
    pub(crate) version: u64,
    pub(crate) letters: VecDeque<Letter>,
    /// Messages whose fate has not been told.
    pub(crate) pending: usize,
    /// The room that they take, in KiB.
    pub(crate) room: usize,
    pub(crate) client: Option<HubClient>,
    /// Why the hub could not be connected to.
    pub(crate) refused: Option<Arc<KnownError>>,
    pub(crate) closing: bool,
    pub(crate) closed: Option<Result<(), Arc<KnownError>>>,
}

impl Mailbox {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed since `seen`, or until the time comes.
    pub(crate) fn wait(&self, seen: u64, until: Option<Instant>) {
        let unchanged = |state: &mut State| state.version == seen;
        let state = self.state();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) => drop(self.arrived.wait_timeout_while(state, left, unchanged)),
            None => drop(self.arrived.wait_while(state, unchanged)),
        }
    }

    /// Resolves when some mail has come since the last time.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// The next fate to tell, which counts as told from here on.
    pub(crate) fn next_letter(&self) -> Option<Letter> {
        let mut state = self.state();
        let letter = state.letters.pop_front()?;
        state.settle(&letter.receipt);
        let all_told = state.pending == 0;
        drop(state);
        if all_told {
            self.change(|_| {});
        }
        Some(letter)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.version = state.version.wrapping_add(1);
        drop(state);
        self.arrived.notify_all();
        self.rung.notify_one();
    }

    /// Takes the fates of messages, in one go: the lock and the bell cost more than a letter.
    fn report(&self, fates: impl IntoIterator<Item = (Receipt, Result<()>)>) {
        self.change(|state| {
            for (receipt, outcome) in fates {
                state.take(receipt, known(outcome));
            }
        });
    }
}

impl State {
    fn take(&mut self, receipt: Receipt, outcome: Result<(), Arc<KnownError>>) {
        match &receipt.addressee {
            Addressee::Callback(..) => self.letters.push_back(Letter { receipt, outcome }),
            Addressee::Nobody => self.settle(&receipt),
            Addressee::Call(slot) => {
                // There is one fate.
                let _ = slot.set(outcome);
                self.settle(&receipt);
            }
        }
    }

    fn settle(&mut self, receipt: &Receipt) {
        self.pending = self.pending.saturating_sub(1);
        self.room = self.room.saturating_sub(receipt.room);
    }
}

/// Connects, then sends until it is told to close or nobody is left to tell.
pub(crate) async fn pump(
    connect: impl Future<Output = Result<HubClient>>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mailbox: Arc<Mailbox>,
) {
    let _farewell = Farewell(Arc::clone(&mailbox));
    let mut early = Early::default();
    let client = match early.gather(connect, &mut orders).await {
        Some(Ok(client)) => client,
        Some(Err(error)) => return early.refuse(error, orders, &mailbox).await,
        // The handle was freed.
        None => return,
    };
    mailbox.change(|state| state.client = Some(client.clone()));

    let mut sends = InOrder::default();
    let mut fates = Vec::new();
    let mut taken = early.into_orders();
    let mut goodbyes = InOrder::default();
    let goodbye = loop {
        for order in taken.drain(..) {
            match order {
                Order::Send(message, receipt) => {
                    let sender = client.clone();
                    let send = async move { (receipt, sender.send(*message).await) };
                    // A poll that tokio's budget cuts short would leave it outside the queue.
                    sends.begin(Box::pin(unconstrained(send))).await;
                }
                // Each is the core's: of several, the one with the least patience decides.
                Order::Close(until) => {
                    let client = client.clone();
                    let goodbye = async move { client.close(time_left(until)).await };
                    goodbyes.begin(Box::pin(goodbye)).await;
                }
            }
        }
        // What else has met its fate meanwhile is told along.
        while let Some(fate) = sends.met().await {
            fates.push(fate);
        }
        if !fates.is_empty() {
            mailbox.report(fates.drain(..));
        }
        tokio::select! {
            count = orders.recv_many(&mut taken, MOST_ORDERS) => {
                if count == 0 {
                    // The handle was freed: the core lets go of the connection.
                    return;
                }
            }
            Some(fate) = sends.next(), if !sends.0.is_empty() => fates.push(fate),
            Some(goodbye) = goodbyes.next(), if !goodbyes.0.is_empty() => break goodbye,
        }
    };
    // The core has told each message its fate by now.
    while let Some(fate) = sends.next().await {
        fates.push(fate);
    }
    mailbox.report(fates);
    mailbox.change(|state| state.closed = Some(known(goodbye)));
}

/// What is waited for, one after the other, as a hub sends in order.
struct InOrder<T>(VecDeque<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Send + 'static> InOrder<T> {
    /// The first poll puts a message into the core's queue: their order is that of these calls.
    async fn begin(&mut self, mut work: Pin<Box<dyn Future<Output = T> + Send>>) {
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Pending => self.0.push_back(work),
            Poll::Ready(end) => self.0.push_back(Box::pin(ready(end))),
        }
    }

    /// The end of the oldest, if it is known.
    async fn met(&mut self) -> Option<T> {
        let oldest = self.0.front_mut()?;
        match poll_fn(|context| Poll::Ready(oldest.as_mut().poll(context))).await {
            Poll::Pending => None,
            Poll::Ready(end) => {
                self.0.pop_front();
                Some(end)
            }
        }
    }

    /// The end of the oldest, once it is known; `None` if there is none.
    async fn next(&mut self) -> Option<T> {
        let oldest = self.0.front_mut()?;
        let end = oldest.await;
        self.0.pop_front();
        Some(end)
    }
}

/// How many orders are taken at once.
const MOST_ORDERS: usize = 256;

/// Nobody waits for a pump that is no more, whatever ended it.
struct Farewell(Arc<Mailbox>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.closed.get_or_insert_with(|| {
                let error = Error::new(ErrorKind::Closed, "the connection's task has ended");
                Err(Arc::new(error.into()))
            });
        });
    }
}

/// What is handed over while the first connection is made.
#[derive(Default)]
struct Early {
    sends: Vec<Order>,
    /// Set once somebody wants to close: until when, if there is a limit.
    closing: Option<Option<Instant>>,
}

impl Early {
    /// Connects, and keeps what is handed over meanwhile. A close ends it as it would end a
    /// connection: when nothing waits for the hub, or when its time has come. `None` if nobody is
    /// left who could want a connection.
    async fn gather(
        &mut self,
        connect: impl Future<Output = Result<HubClient>>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<Result<HubClient>> {
        let mut connect = std::pin::pin!(connect);
        loop {
            if self.closing.is_some() && self.sends.is_empty() {
                return Some(Err(Error::new(ErrorKind::Closed, "the hub was closed")));
            }
            let limit = self.closing.flatten();
            tokio::select! {
                client = &mut connect => return Some(client),
                order = orders.recv() => match order? {
                    // Of several, the one with the least patience decides.
                    Order::Close(until) => {
                        let known = self.closing.flatten();
                        self.closing = Some(known.into_iter().chain(until).min());
                    }
                    send => self.sends.push(send),
                },
                () = sleep(time_left(limit)), if limit.is_some() => {
                    let message = "the hub was not connected to before it was closed";
                    return Some(Err(Error::new(ErrorKind::NotDelivered, message)));
                }
            }
        }
    }

    /// What is to be done once there is a connection.
    fn into_orders(self) -> Vec<Order> {
        let mut orders = self.sends;
        orders.extend(self.closing.map(Order::Close));
        orders
    }

    /// Tells everybody why there is no connection, until nobody is left.
    async fn refuse(
        self,
        why: Error,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mailbox: &Mailbox,
    ) {
        let goodbye = match self.sends.len() {
            0 => Ok(()),
            left => {
                let message = format!("{left} messages were not acknowledged: {}", why.message());
                Err(Error::new(ErrorKind::NotDelivered, message).during("close"))
            }
        };
        let why: Arc<KnownError> = Arc::new(why.into());
        let tell = |state: &mut State, order| match order {
            Order::Send(_, receipt) => state.take(receipt, Err(Arc::clone(&why))),
            // All that was taken has met its fate.
            Order::Close(_) => _ = state.closed.get_or_insert(Ok(())),
        };
        mailbox.change(|state| {
            self.sends.into_iter().for_each(|send| tell(state, send));
            match self.closing {
                Some(_) => state.closed = Some(known(goodbye)),
                None => state.refused = Some(Arc::clone(&why)),
            }
        });
        while let Some(order) = orders.recv().await {
            mailbox.change(|state| tell(state, order));
        }
    }
}

/// How long it is until then; as good as for ever without a limit.
fn time_left(until: Option<Instant>) -> Duration {
    until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()))
}

fn known(outcome: Result<()>) -> Result<(), Arc<KnownError>> {
    outcome.map_err(|error| Arc::new(error.into()))
}
