//! dps-core's registration machine, one for each device.

use std::{cmp::Reverse, collections::BinaryHeap, mem, time::Duration};

use dps_core::{
    ProvisioningClient,
    sans_io::{
        Backoff,
        registration::{Action, Answer, Event, Machine, Operation, Request, Step, Throttling},
    },
};

use crate::{
    ANSWER, ASSIGNING, POLL, PROGRAM_PAUSE, latency,
    service::{Polls, Refusal, Service},
    tally::Tally,
};

/// What a program keeps between two calls of `register()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The identity, as a program does that runs on.
    Stays,
    /// Nothing, as a program does that ends with an error and is started again.
    StartsAnew,
}

enum Device {
    /// Between two calls, or before the first. When the throttling is over is in milliseconds
    /// since the beginning.
    Between(Option<(u64, Throttling)>),
    /// In a call.
    Calling {
        machine: Box<Machine>,
        started: u64,
        connecting: bool,
        /// What goes along with the connection.
        along: Option<Request>,
        assigning: Option<Assigning>,
    },
    Done,
}

/// What the service knows of a registration that it has accepted.
#[derive(Clone, Copy)]
struct Assigning {
    /// When a hub will be assigned.
    until: u64,
    polls: Polls,
}

struct Fleet {
    devices: Vec<(Device, u16)>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    service: Service,
    tally: Tally,
    random: fastrand::Rng,
    program: Program,
}

/// Lets `fleet` devices boot at the same instant and register until all are assigned.
pub fn run(fleet: u32, program: Program, service: Service, tally: Tally, seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let devices = (0..fleet).map(|_| (Device::Between(None), latency(&mut random))).collect();
    let due = (0..fleet).map(|device| Reverse((0, device))).collect();
    let mut fleet = Fleet { devices, due, service, tally, random, program };
    while let Some(Reverse((now, device))) = fleet.due.pop() {
        fleet.wake(now, device);
    }
    fleet.tally
}

impl Fleet {
    fn wake(&mut self, now: u64, number: u32) {
        match mem::replace(&mut self.devices[number as usize].0, Device::Done) {
            Device::Between(earlier) => {
                let deadline = ProvisioningClient::DEFAULT_DEADLINE;
                let mut machine = Box::new(match earlier {
                    Some((due, throttling)) => {
                        let until = millis(due.saturating_sub(now));
                        Machine::resume(deadline, Throttling { until, ..throttling })
                    }
                    None => Machine::new(deadline, Backoff::new(Some(self.random.u64(..)))),
                });
                let step = machine.start();
                self.drive(number, machine, None, now, now, step);
            }
            Device::Calling { mut machine, started, connecting, along, assigning } => {
                let event = if connecting { Event::Connected } else { Event::TimeOver };
                let mut step = machine.handle(event, millis(now - started));
                if let (Some(request), Action::Listen) = (along, &step.action) {
                    step.action = Action::Send(request);
                }
                self.drive(number, machine, assigning, started, now, step);
            }
            Device::Done => {}
        }
    }

    /// Does what the machine says until time has to pass.
    fn drive(
        &mut self,
        number: u32,
        mut machine: Box<Machine>,
        mut assigning: Option<Assigning>,
        started: u64,
        mut now: u64,
        mut step: Step,
    ) {
        loop {
            let until = started + u64::try_from(step.until.as_micros().div_ceil(1000)).unwrap_or(0);
            let (at, connecting, along) = match step.action {
                Action::Connect { along } => {
                    self.tally.connections += 1;
                    (now + u64::from(self.devices[number as usize].1), true, along)
                }
                Action::Pause | Action::Listen => (until, false, None),
                Action::Send(request) => {
                    let rid = request.rid.to_string();
                    let answer = match request.operation {
                        Operation::Register => self.register(now, &mut assigning, rid),
                        Operation::Poll { .. } => self.poll(now, &mut assigning, rid),
                    };
                    now += ANSWER;
                    step = machine.handle(Event::Answer(answer), millis(now - started));
                    continue;
                }
                Action::Finish(Ok(_)) => {
                    self.tally.done(now, 1);
                    return;
                }
                Action::Finish(Err(_)) => return self.call_again(number, &machine, started, now),
            };
            self.devices[number as usize].0 =
                Device::Calling { machine, started, connecting, along, assigning };
            self.due.push(Reverse((at, number)));
            return;
        }
    }

    fn register(&mut self, now: u64, assigning: &mut Option<Assigning>, rid: String) -> Answer {
        let served = self.service.ask(now, 1);
        self.tally.arrived(now, 1, served);
        if served == 1 {
            *assigning = Some(Assigning { until: now + ASSIGNING, polls: Polls::default() });
            return answer(rid, 202, Some(POLL_SECONDS), ASSIGNING_BODY);
        }
        let mut retry_after = None;
        self.service.refuse(now, 1, |_, refusal| {
            if let Refusal::Throttled(seconds) = refusal {
                retry_after = seconds;
            }
        });
        answer(rid, 429, retry_after, THROTTLED)
    }

    fn poll(&mut self, now: u64, assigning: &mut Option<Assigning>, rid: String) -> Answer {
        self.tally.polls += 1;
        let Some(assigning) = assigning else { return answer(rid, 404, None, UNKNOWN) };
        if !assigning.polls.ask(now) {
            self.tally.polls_refused += 1;
            return answer(rid, 429, None, THROTTLED);
        }
        match now < assigning.until {
            true => answer(rid, 202, Some(POLL_SECONDS), ASSIGNING_BODY),
            false => answer(rid, 200, None, ASSIGNED),
        }
    }

    /// The call has failed. Calls that fail at once because the next attempt is due after their
    /// deadline send nothing; they are left out.
    fn call_again(&mut self, number: u32, machine: &Machine, started: u64, now: u64) {
        let mut call = now + PROGRAM_PAUSE;
        let mut kept = None;
        if self.program == Program::Stays
            && let Some(throttling) = machine.throttling()
        {
            let due = started + u64::try_from(throttling.until.as_millis()).unwrap_or(u64::MAX) + 1;
            let deadline = ProvisioningClient::DEFAULT_DEADLINE.as_millis() as u64;
            let early = due.saturating_sub(deadline).saturating_sub(call);
            call += early.div_ceil(PROGRAM_PAUSE) * PROGRAM_PAUSE;
            kept = Some((due, throttling));
        }
        self.devices[number as usize].0 = Device::Between(kept);
        self.due.push(Reverse((call, number)));
    }
}

const POLL_SECONDS: u32 = (POLL / 1000) as u32;
const ASSIGNING_BODY: &str = r#"{"operationId":"5.506603669bd3e2bf.0","status":"assigning"}"#;
const ASSIGNED: &str = r#"{"operationId":"5.506603669bd3e2bf.0","status":"assigned","registrationState":{"assignedHub":"hub.example.net","deviceId":"device"}}"#;
const THROTTLED: &str =
    r#"{"errorCode":429001,"message":"Operations are being throttled for this tenant."}"#;

const UNKNOWN: &str = r#"{"errorCode":404002,"message":"Operation not found."}"#;

fn answer(rid: String, status: u16, retry_after: Option<u32>, body: &str) -> Answer {
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds.into()));
    Answer { rid, status, retry_after, body: body.into() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
