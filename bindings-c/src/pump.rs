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
};

use crate::{
    error::{KnownError, dps_error, dps_status},
    ffi::UserData,
};

/// What the calls of C ask of the pump.
pub(crate) enum Order {
    /// Send this and tell that one.
    Send(Box<Message>, Receipt),
    /// Take no more and say goodbye; the limit is the core's to keep.
    Close(Duration),
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
    let mut early = VecDeque::new();
    let client = match connected(connect, &mut orders, &mut early).await {
        Some(Ok(client)) => client,
        Some(Err(error)) => {
            let refused: Arc<KnownError> = Arc::new(error.into());
            mailbox.change(|state| state.refused = Some(Arc::clone(&refused)));
            return refuse(early, orders, &mailbox, &refused).await;
        }
        None => {
            let closed = Error::new(ErrorKind::Closed, "the hub was closed while connecting");
            return refuse(early, orders, &mailbox, &Arc::new(closed.into())).await;
        }
    };
    mailbox.change(|state| state.client = Some(client.clone()));

    let mut sends = Sends::default();
    let mut fates = Vec::new();
    let mut taken = Vec::from(early);
    let mut closing: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = None;
    let goodbye = loop {
        for order in taken.drain(..) {
            match order {
                Order::Send(message, receipt) => {
                    let sender = client.clone();
                    let send = async move { (receipt, sender.send(*message).await) };
                    // A poll that tokio's budget cuts short would leave it outside the queue.
                    sends.begin(Box::pin(unconstrained(send))).await;
                }
                Order::Close(deadline) if closing.is_none() => {
                    let client = client.clone();
                    closing = Some(Box::pin(async move { client.close(deadline).await }));
                }
                Order::Close(_) => {}
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
            count = orders.recv_many(&mut taken, MOST_ORDERS), if closing.is_none() => {
                if count == 0 {
                    // The handle was freed: the core lets go of the connection.
                    return;
                }
            }
            Some(fate) = sends.next(), if !sends.0.is_empty() => fates.push(fate),
            goodbye = ended(&mut closing), if closing.is_some() => break goodbye,
        }
    };
    // The core has told each message its fate by now.
    while let Some(fate) = sends.next().await {
        fates.push(fate);
    }
    mailbox.report(fates);
    mailbox.change(|state| state.closed = Some(known(goodbye)));
}

/// A message's end.
type Fate = (Receipt, Result<()>);

type Sending = Pin<Box<dyn Future<Output = Fate> + Send>>;

/// The messages that wait for their acknowledgements, which a hub sends in order.
#[derive(Default)]
struct Sends(VecDeque<Sending>);

impl Sends {
    /// The first poll puts a message into the core's queue: their order is that of these calls.
    async fn begin(&mut self, mut send: Sending) {
        match poll_fn(|context| Poll::Ready(send.as_mut().poll(context))).await {
            Poll::Pending => self.0.push_back(send),
            Poll::Ready(fate) => self.0.push_back(Box::pin(ready(fate))),
        }
    }

    /// The end of the oldest, if it is known.
    async fn met(&mut self) -> Option<Fate> {
        let oldest = self.0.front_mut()?;
        match poll_fn(|context| Poll::Ready(oldest.as_mut().poll(context))).await {
            Poll::Pending => None,
            Poll::Ready(fate) => {
                self.0.pop_front();
                Some(fate)
            }
        }
    }

    /// The end of the oldest, once it is known; `None` if there is none.
    async fn next(&mut self) -> Option<Fate> {
        let oldest = self.0.front_mut()?;
        let fate = oldest.await;
        self.0.pop_front();
        Some(fate)
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

/// Connects, keeping what is handed over meanwhile; `None` if it is to be closed instead.
async fn connected(
    connect: impl Future<Output = Result<HubClient>>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    early: &mut VecDeque<Order>,
) -> Option<Result<HubClient>> {
    let mut connect = std::pin::pin!(connect);
    loop {
        tokio::select! {
            client = &mut connect => return Some(client),
            order = orders.recv() => match order {
                Some(Order::Close(_)) | None => return None,
                Some(order) => early.push_back(order),
            },
        }
    }
}

/// Tells everybody the same, until nobody is left.
async fn refuse(
    early: VecDeque<Order>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mailbox: &Mailbox,
    why: &Arc<KnownError>,
) {
    let tell = |order| match order {
        Order::Send(_, receipt) => {
            mailbox.change(|state| state.take(receipt, Err(Arc::clone(why))));
        }
        Order::Close(_) => mailbox.change(|state| state.closed = Some(Ok(()))),
    };
    early.into_iter().for_each(tell);
    mailbox.change(|state| {
        // The order to close was what ended the connecting.
        if state.closing {
            state.closed = Some(Ok(()));
        }
    });
    while let Some(order) = orders.recv().await {
        tell(order);
    }
}

/// The end of what is going on, if it is.
async fn ended(
    closing: &mut Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
) -> Result<()> {
    match closing {
        Some(closing) => closing.await,
        None => Ok(()),
    }
}

fn known(outcome: Result<()>) -> Result<(), Arc<KnownError>> {
    outcome.map_err(|error| Arc::new(error.into()))
}
