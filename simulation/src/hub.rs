//! dps-core's hub machine, one for each device, after the hub is lost.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use dps_core::{
    Error, ErrorKind, Result,
    sans_io::{
        Backoff,
        hub::{Machine, Waiter},
    },
    transport::Host,
};

use crate::{
    ANSWER, latency,
    service::{Refusal, Service},
    tally::Tally,
};

/// The devices have nothing to send: what is counted is how they come back.
enum Nobody {}

impl Waiter for Nobody {
    fn gave_up(&self) -> bool {
        match *self {}
    }

    fn resolve(self, _: Result<()>) {
        match self {}
    }
}

struct Device {
    machine: Machine<Nobody>,
    latency: u16,
}

/// Lets `fleet` devices lose their hub at the same instant and connect until all are back.
pub fn run(fleet: u32, mut service: Service, mut tally: Tally, seed: u64) -> Result<Tally> {
    let mut random = fastrand::Rng::with_seed(seed);
    let host = Host::parse("hub.example.net")?;
    let keep_alive = Duration::from_secs(60);
    let [lost, silent, refused] = [
        (ErrorKind::ConnectionLost, "lost"),
        (ErrorKind::ConnectionFailed, "refused"),
        (ErrorKind::ServiceFault, "server unavailable"),
    ]
    .map(|(kind, message)| Error::new(kind, message));
    let start = Instant::now();
    let mut devices = Vec::with_capacity(fleet as usize);
    let mut due = BinaryHeap::with_capacity(fleet as usize);
    for number in 0..fleet {
        let backoff = Backoff::new(Some(random.u64(..)));
        let mut machine = Machine::new(host.clone(), keep_alive, backoff);
        machine.connected(start, None);
        let wait = machine.lost(start, &lost);
        let latency = latency(&mut random);
        devices.push(Device { machine, latency });
        due.push(Reverse((arrival(0, wait, latency), number)));
    }
    while let Some(Reverse((now, number))) = due.pop() {
        let Device { machine, latency } = &mut devices[number as usize];
        tally.connections += 1;
        let served = service.ask(now, 1);
        let mut error = None;
        service.refuse(now, 1 - served, |_, refusal| {
            error = Some(if refusal == Refusal::Unreachable { &silent } else { &refused });
        });
        let heard = now + ANSWER;
        match error {
            None => {
                tally.arrived(now, 1, 1);
                tally.done(heard, 1);
            }
            Some(error) => {
                if error.kind() == ErrorKind::ServiceFault {
                    tally.arrived(now, 1, 0);
                } else {
                    tally.unanswered += 1;
                }
                due.push(Reverse((arrival(heard, machine.retry(error), *latency), number)));
            }
        }
    }
    Ok(tally)
}

/// When a device that waits from `now` on is at the hub.
fn arrival(now: u64, wait: Option<Duration>, latency: u16) -> u64 {
    let wait = wait.unwrap_or_default().as_millis();
    now + u64::try_from(wait).unwrap_or(u64::MAX / 2) + u64::from(latency)
}
