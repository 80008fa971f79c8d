//! What goes wrong, and when: faults of the emulator, drawn from a seed.

use std::{collections::HashMap, fmt, time::Duration};

use dps_emulator::{Action, Cut, Fault, FaultControl, Step};

/// How often one device is struck, on average.
const STRUCK: Duration = Duration::from_millis(2500);

/// How many rules may wait for their moment. Beyond it the old ones are swept away: every message
/// is compared with every rule.
const MOST_RULES: u32 = 200;

/// The name of the device with this number.
pub(crate) fn device(number: usize) -> String {
    format!("device-{number:02}")
}

pub(crate) struct Weather {
    random: fastrand::Rng,
    devices: usize,
    faults: FaultControl,
    rules: u32,
    strikes: u64,
    /// How often the telemetry of each device was to be cut.
    cuts: HashMap<String, u64>,
}

impl Weather {
    pub(crate) fn new(seed: u64, devices: usize, faults: FaultControl) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, devices, faults, rules: 0, strikes: 0, cuts: HashMap::new() }
    }

    /// The time between two strikes.
    pub(crate) fn pause(&self) -> Duration {
        STRUCK / u32::try_from(self.devices).expect("a fleet, not a nation")
    }

    /// Arms one fault for one device.
    pub(crate) fn strike(&mut self) {
        let name = device(self.random.usize(..self.devices));
        let random = &mut self.random;
        let cut = if random.bool() { Cut::Before } else { Cut::After };
        let (step, action) = match random.u8(..16) {
            0 => (Step::Tls, Action::Cut(cut)),
            1 => (Step::Connect, Action::Cut(cut)),
            2 => (Step::Subscribe, Action::Cut(cut)),
            3 => (Step::Register, Action::Cut(cut)),
            4 => (Step::Poll, Action::Cut(cut)),
            5 => (Step::HubConnect, Action::Cut(cut)),
            // "Server unavailable", which passes.
            6 => (Step::HubConnect, Action::Refuse(3)),
            7 => (Step::Register, refusal(429)),
            8 => (Step::Poll, refusal(500)),
            9 => (Step::Telemetry, Action::Delay { ms: random.u64(..200) }),
            _ => (Step::Telemetry, Action::Cut(cut)),
        };
        if (step, &action) == (Step::Telemetry, &Action::Cut(cut)) {
            *self.cuts.entry(name.clone()).or_default() += 1;
        }
        let nth = match step {
            Step::Telemetry => random.u32(1..20),
            _ => 1,
        };
        if self.rules == MOST_RULES {
            self.clear_up();
        }
        self.rules += 1;
        self.strikes += 1;
        let fault = Fault::new(step, action).expect("a fault that makes sense");
        self.faults.add(fault.device(name).nth(nth));
    }

    /// Ends all that has been armed.
    pub(crate) fn clear_up(&mut self) {
        self.faults.clear();
        self.rules = 0;
    }

    /// How often the telemetry of this device can have been cut.
    pub(crate) fn cuts_of(&self, device: &str) -> u64 {
        self.cuts.get(device).copied().unwrap_or_default()
    }

    /// How often telemetry can have been cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.values().sum()
    }
}

fn refusal(code: u16) -> Action {
    Action::Status { code, retry_after: Some(1), error_code: None, message: None }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults armed, {} of them cuts of telemetry", self.strikes, self.cuts())
    }
}
