//! The task behind a `dps_hub`: takes messages in the order in which they were handed over, and
//! reports each one's fate to the mailbox, from which the caller's own thread takes it.

use std::{
    collections::VecDeque,
    ffi::c_void,
    future::{Future, poll_fn, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use dps_core::{Error, ErrorKind, HubClient, Message, Result, hub::ConnectionState};
use tokio::{sync::mpsc, task::unconstrained, time::sleep};

use crate::{
    error::{KnownError, dps_error, dps_status},
    ffi::UserData,
    mailbox,
};

/// What the calls of C ask of the pump.
pub(crate) enum Order {
    /// Send this and tell that one.
    Send(Box<Message>, Receipt),
    /// Take no more and say goodbye, at this time at the latest, if there is one.
    Close(Option<Instant>),
}

/// A callback of C, and what it is called with.
pub(crate) type Callback = (extern "C" fn(*mut c_void, dps_status, *const dps_error), UserData);

/// What became of the messages of a hub, where its threads look.
pub(crate) type Mailbox = mailbox::Mailbox<HubClient, Callback, Arc<KnownError>>;
pub(crate) type State = mailbox::State<HubClient, Callback, Arc<KnownError>>;
pub(crate) type Receipt = mailbox::Receipt<Callback, Arc<KnownError>>;
pub(crate) type Addressee = mailbox::Addressee<Callback, Arc<KnownError>>;
pub(crate) type Letter = mailbox::Letter<Callback, Arc<KnownError>>;

/// Takes the fates of messages.
fn take(state: &mut State, fates: impl IntoIterator<Item = (Receipt, Result<()>)>) {
    for (receipt, outcome) in fates {
        state.take(receipt, known(outcome));
    }
}

/// Resolves once the client is closed, whoever closed it.
async fn closed(client: &HubClient) {
    let mut state = client.state();
    while state != ConnectionState::Closed {
        state = client.state_changed(&state).await;
    }
}

/// Why a client is closed that nobody closed.
fn stopped(client: &HubClient) -> Option<Arc<KnownError>> {
    client.stopped().map(|why| Arc::new(why.during("connect to hub").into()))
}

/// How the hub is connected to. In a box, which is freed once there is a connection: in place it
/// would take its 14 KB for as long as the hub lasts.
pub(crate) type Connect = Pin<Box<dyn Future<Output = Result<HubClient>> + Send>>;

/// Connects, then sends until it is told to close or nobody is left to tell.
pub(crate) async fn pump(
    connect: Connect,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mailbox: Arc<Mailbox>,
) {
    let _farewell = Farewell(Arc::clone(&mailbox));
    let mut early = Early::default();
    let client = match early.gather(connect, &mut orders).await {
        Some(Ok(client)) => client,
        Some(Err(end)) => return early.refuse(end, orders, &mailbox).await,
        // The handle was freed.
        None => return,
    };
    mailbox.change(|state| state.client = Some(client.clone()));

    let mut sends = InOrder::default();
    let mut fates = Vec::new();
    let mut taken = early.into_orders();
    let mut goodbyes = InOrder::default();
    let mut over = pin!(closed(&client));
    let (mut is_over, mut refused) = (false, None);
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
        // In one go: the lock and the bell cost more than a letter.
        if !fates.is_empty() || refused.is_some() {
            mailbox.change(|state| {
                take(state, fates.drain(..));
                if let Some(why) = &refused {
                    state.refuse(why);
                }
            });
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
            () = &mut over, if !is_over => (is_over, refused) = (true, stopped(&client)),
        }
    };
    // The core has told each message its fate by now.
    while let Some(fate) = sends.next().await {
        fates.push(fate);
    }
    mailbox.change(|state| {
        take(state, fates);
        if let Some(why) = stopped(&client) {
            state.refuse(&why);
        }
        state.end(known(goodbye));
    });
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

/// Why there is no connection.
enum Unconnected {
    /// The hub cannot be connected to.
    Refused(Error),
    /// Somebody closed it before.
    Closed(Error),
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
        mut connect: Connect,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<Result<HubClient, Unconnected>> {
        loop {
            if self.closing.is_some() && self.sends.is_empty() {
                let why = Error::new(ErrorKind::Closed, "the hub was closed");
                return Some(Err(Unconnected::Closed(why)));
            }
            let limit = self.closing.flatten();
            tokio::select! {
                client = &mut connect => return Some(client.map_err(Unconnected::Refused)),
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
                    let why = Error::new(ErrorKind::NotDelivered, message);
                    return Some(Err(Unconnected::Closed(why)));
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
        end: Unconnected,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mailbox: &Mailbox,
    ) {
        let (why, is_refused) = match end {
            Unconnected::Refused(why) => (why, true),
            Unconnected::Closed(why) => (why, false),
        };
        let goodbye = match self.sends.len() {
            0 => Ok(()),
            left => {
                let message = format!("{left} messages were not acknowledged: {}", why.message());
                Err(Error::new(ErrorKind::NotDelivered, message).during("close"))
            }
        };
        let why: Arc<KnownError> = Arc::new(why.into());
        let tell = |orders: Vec<Order>, goodbye: Option<Result<()>>| {
            mailbox.change(|state| {
                for order in orders {
                    match order {
                        Order::Send(_, receipt) => state.take(receipt, Err(Arc::clone(&why))),
                        Order::Close(_) => state.end(Ok(())),
                    }
                }
                if is_refused {
                    state.refuse(&why);
                }
                if let Some(goodbye) = goodbye {
                    state.end(known(goodbye));
                }
            });
        };
        tell(self.sends, self.closing.map(|_| goodbye));
        while let Some(order) = orders.recv().await {
            tell(vec![order], None);
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
