//! What a process holds, as Linux tells it: memory, threads, sockets.

use std::{fmt, fs, time::Duration};

use tokio::time::{Instant, sleep};

/// How much more memory the end may take than the first third did: the allocator's own coming and
/// going. A leak of a kilobyte at each of the thirty thousand registrations of an hour is far more.
const SLACK_KIB: u64 = 4 * 1024;

/// Threads for signers that may block; they end by themselves when they idle.
const SIGNING: &str = "dps-signing";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vitals {
    rss_kib: u64,
    /// Those for signers excepted.
    threads: u64,
    signing_threads: u64,
    sockets: u64,
}

impl Vitals {
    /// `None` where there is no `/proc`, or the process has ended.
    fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_kib = rss.trim().trim_end_matches(" kB").parse().ok()?;
        let names = fs::read_dir(format!("/proc/{process}/task")).ok()?.filter_map(|task| {
            // A thread may end while we look.
            fs::read_to_string(task.ok()?.path().join("comm")).ok()
        });
        let (signing, others): (Vec<_>, Vec<_>) =
            names.partition(|name| name.trim_end() == SIGNING);
        let open = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
        let sockets = open.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets = sockets.filter(|target| target.to_string_lossy().starts_with("socket:"));
        Some(Self {
            rss_kib,
            threads: others.len() as u64,
            signing_threads: signing.len() as u64,
            sockets: sockets.count() as u64,
        })
    }
}

/// The vitals of one process over time.
pub(crate) struct Watch {
    process: u32,
    at_rest: Option<Vitals>,
    /// By the share of the run that was over.
    seen: Vec<(f64, Vitals)>,
}

impl Watch {
    pub(crate) fn new(process: u32) -> Self {
        Self { process, at_rest: None, seen: Vec::new() }
    }

    /// Remembers what the process holds before it begins.
    pub(crate) fn at_rest(&mut self) {
        self.at_rest = Vitals::of(self.process);
        if self.at_rest.is_none() {
            eprintln!("NOT MEASURED: memory, threads and sockets, for want of /proc");
        }
    }

    pub(crate) fn look(&mut self, share: f64) {
        self.seen.extend(Vitals::of(self.process).map(|vitals| (share, vitals)));
    }

    /// Waits until the process holds no more threads and sockets than before it began.
    pub(crate) async fn wait_for_rest(&self, patience: Duration) {
        let Some(before) = self.at_rest else { return };
        let deadline = Instant::now() + patience;
        loop {
            let now = Vitals::of(self.process).expect("the process still runs");
            if now.sockets <= before.sockets && now.threads <= before.threads {
                return;
            }
            assert!(Instant::now() < deadline, "before it began: {before:?}; after: {now:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails unless the last third held what the first third held.
    pub(crate) fn assert_flat(&self) {
        if self.at_rest.is_none() {
            return;
        }
        let early = self.highest(0.0..1.0 / 3.0);
        let late = self.highest(2.0 / 3.0..1.0);
        let flat = late.rss_kib <= early.rss_kib + SLACK_KIB
            // A socket more for each connection that is being renewed at this very moment.
            && late.sockets <= early.sockets + early.sockets / 4
            && late.threads <= early.threads
            && late.signing_threads <= 8;
        assert!(flat, "first third: {early:?}; last third: {late:?}");
    }

    /// The highest of each, in a part of the run.
    fn highest(&self, part: std::ops::Range<f64>) -> Vitals {
        let seen = self.seen.iter().filter(|(share, _)| part.contains(share));
        let highest = seen.map(|(_, vitals)| *vitals).reduce(|one, other| Vitals {
            rss_kib: one.rss_kib.max(other.rss_kib),
            threads: one.threads.max(other.threads),
            signing_threads: one.signing_threads.max(other.signing_threads),
            sockets: one.sockets.max(other.sockets),
        });
        highest.expect("a look in each third")
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at_rest.is_none() {
            return f.write_str("nothing measured");
        }
        let [first, second, third] =
            [0.0..1.0 / 3.0, 1.0 / 3.0..2.0 / 3.0, 2.0 / 3.0..1.0].map(|part| self.highest(part));
        let row = |name: &str, of: fn(&Vitals) -> u64| {
            format!("{name} {} / {} / {}", of(&first), of(&second), of(&third))
        };
        write!(
            f,
            "by thirds: {} KiB, {}, {}, {}",
            row("memory", |vitals| vitals.rss_kib),
            row("threads", |vitals| vitals.threads),
            row("signing threads", |vitals| vitals.signing_threads),
            row("sockets", |vitals| vitals.sockets),
        )
    }
}
