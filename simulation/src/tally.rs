//! What a run has come to.

/// Counts of one run. Times are in milliseconds since the instant at which it all begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Whose devices these are.
    pub name: &'static str,
    /// How many there are.
    pub fleet: u64,
    /// How many have been served.
    pub served: u64,
    /// How many requests arrived: registrations, or connections to a hub.
    pub requests: u64,
    /// How many of these were refused.
    pub refused: u64,
    /// How many attempts nobody answered.
    pub unanswered: u64,
    /// How many connections were opened for it, with a TLS handshake each.
    pub connections: u64,
    /// The most requests in one second of the first minute.
    pub first_peak: u64,
    /// The most requests in one second after it.
    pub peak: u64,
    /// How often devices asked for the state of their registration, where they are counted one by
    /// one.
    pub polls: u64,
    /// How many of these were refused.
    pub polls_refused: u64,
    /// The most that were served in one window of the quota.
    pub fullest_window: u64,
    /// When half, nine tenths, 99 hundredths and all were served.
    pub milestones: [u64; 4],
    /// Requests and devices served, for each bin of time.
    pub bins: Vec<(u64, u64)>,
    /// How long a bin is.
    pub bin: u64,
    window: u64,
    second: (u64, u64),
    filling: (u64, u64),
}

impl Tally {
    /// An empty one, with bins and windows of so many milliseconds.
    pub fn new(name: &'static str, fleet: u64, bin: u64, window: u64) -> Self {
        Self {
            name,
            fleet,
            served: 0,
            requests: 0,
            refused: 0,
            unanswered: 0,
            connections: 0,
            first_peak: 0,
            peak: 0,
            polls: 0,
            polls_refused: 0,
            fullest_window: 0,
            milestones: [0; 4],
            bins: Vec::new(),
            bin,
            window,
            second: (0, 0),
            filling: (0, 0),
        }
    }

    /// `count` requests arrive, of which so many are served.
    pub fn arrived(&mut self, now: u64, count: u64, served: u64) {
        self.requests += count;
        self.refused += count - served;
        let second = now / 1000;
        if second != self.second.0 {
            self.second = (second, 0);
        }
        self.second.1 += count;
        let peak = if second < 60 { &mut self.first_peak } else { &mut self.peak };
        *peak = (*peak).max(self.second.1);
        let window = now / self.window;
        if window != self.filling.0 {
            self.filling = (window, 0);
        }
        self.filling.1 += served;
        self.fullest_window = self.fullest_window.max(self.filling.1);
        self.bin(now).0 += count;
    }

    /// `count` devices are done.
    pub fn done(&mut self, now: u64, count: u64) {
        if count == 0 {
            return;
        }
        let before = self.served;
        self.served += count;
        for (milestone, share) in self.milestones.iter_mut().zip([50, 90, 99, 100]) {
            let threshold = (self.fleet * share).div_ceil(100);
            if before < threshold && self.served >= threshold {
                *milestone = now;
            }
        }
        self.bin(now).1 += count;
    }

    /// Registrations or connections asked for, for each device.
    pub fn requests_each(&self) -> f64 {
        self.requests as f64 / self.fleet as f64
    }

    fn bin(&mut self, now: u64) -> &mut (u64, u64) {
        let index = (now / self.bin) as usize;
        if self.bins.len() <= index {
            self.bins.resize(index + 1, (0, 0));
        }
        &mut self.bins[index]
    }
}
