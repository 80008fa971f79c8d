//! docs/scale.md, written by the run.

use std::fmt::Write as _;

use crate::{
    ASSIGNMENT, rival,
    scenario::{AWAY, Question},
    service::RetryAfter,
    single::{self, Delay},
    tally::Tally,
};

/// A chapter: its question, the name of its plot, its title, and what it says above its table.
pub struct Chapter {
    /// What is asked.
    pub question: Question,
    /// The plot's file, beside the text.
    pub plot: &'static str,
    title: &'static str,
    text: &'static str,
}

/// Everything that is asked, longest runs first.
pub const CHAPTERS: [Chapter; 6] = [
    Chapter {
        question: Question::Boot(RetryAfter::Absent),
        plot: "scale-boot-absent.svg",
        title: "All boot at once; 429 names no time",
        text: "Every device wants to be registered. A refusal says nothing about when to come back.",
    },
    Chapter {
        question: Question::Boot(RetryAfter::Constant(10)),
        plot: "scale-boot-constant.svg",
        title: "All boot at once; 429 says 10 s to everybody",
        text: "Nobody undercuts it.",
    },
    Chapter {
        question: Question::Boot(RetryAfter::Backlog),
        plot: "scale-boot-backlog.svg",
        title: "All boot at once; 429 spreads the comebacks",
        text: "A service as good as can be: comebacks are spread evenly, in whole minutes, over the \
               time in which the quota could serve all that were refused in the last minute, an hour \
               at most. The C SDK takes any number above 300 for 1, and its call ends after 60 s.",
    },
    Chapter {
        question: Question::Restart,
        plot: "scale-restart.svg",
        title: "A tenth of the fleet boots; what the memory is worth",
        text: "`register()` has a deadline, 120 s by default. A program that calls it again with the \
               same identity asks when the next attempt is due, because the identity remembers. A \
               program that ends with the error and is started again by its supervisor has \
               forgotten, and begins with the quickest retries each time. 429 names no time.",
    },
    Chapter {
        question: Question::Failover(100),
        plot: "scale-failover-100.svg",
        title: "All lose their hub; it comes back at 100 connections a second",
        text: "The published rate of a hub of tier S1. What nobody answered while it was away is not \
               counted as a request.",
    },
    Chapter {
        question: Question::Failover(6000),
        plot: "scale-failover-6000.svg",
        title: "All lose their hub; it comes back at 6,000 connections a second",
        text: "The published rate of one unit of tier S3.",
    },
];

/// The whole text; `answers` are the chapters' tallies in their order.
pub fn write(answers: &[Vec<Tally>], fleet: u32, seed: u64) -> String {
    let mut text = introduction(fleet, seed);
    for (chapter, tallies) in CHAPTERS.iter().zip(answers) {
        let floor = chapter.question.service().floor(chapter.question.fleet(fleet).into());
        let _ = write!(text, "\n## {}\n\n{}\n\n", chapter.title, chapter.text);
        let _ = write!(
            text,
            "At the quota's own limit the last of {} devices is served after {}.\n\n",
            grouped(chapter.question.fleet(fleet).into()),
            span(floor)
        );
        if let Some(ours) = tallies.first().filter(|ours| ours.polls > 0) {
            let _ = write!(
                text,
                "Of dps-core's {} polls {} were beyond a device's quota.\n\n",
                grouped(ours.polls),
                grouped(ours.polls_refused),
            );
        }
        text.push_str("| | 99 % served | all served | of the limit | requests | refused | each device | connections each | peak in the first minute | later |\n|---|---|---|---|---|---|---|---|---|---|\n");
        for tally in tallies {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.2} | {} | {} | {:.1} | {:.1} | {}/s | {}/s |",
                tally.name,
                span(tally.milestones[2]),
                span(tally.milestones[3]),
                tally.milestones[3] as f64 / floor as f64,
                grouped(tally.requests),
                grouped(tally.refused),
                tally.requests_each(),
                tally.connections as f64 / tally.fleet as f64,
                grouped(tally.first_peak),
                grouped(tally.peak),
            );
        }
        let _ = write!(text, "\n![Requests and devices served over time]({})\n", chapter.plot);
    }
    text.push_str(&alone(seed));
    text.push_str(LIMITS);
    text
}

fn introduction(fleet: u32, seed: u64) -> String {
    format!(
        "# Internet scale, by simulation\n\n\
         Written by `make simulate` (seed {seed}); the same seed gives the same bytes. Nothing here was \
         measured against Azure.\n\n\
         {} devices boot, or lose their hub, at the same instant. They know neither how many they are \
         nor what the service's quota is. dps-core's devices are the state machines that ship \
         (`core/src/provisioning/machine.rs`, `core/src/hub/machine.rs`, `core/src/backoff.rs`), one \
         for each device with its own jitter, in virtual time. The devices of Microsoft's C, Python \
         and Node SDKs wait as those SDKs do; where these waits are not random, devices in step are \
         counted together. \"Full jitter to 60 s\" is what textbooks recommend: each wait \
         uniform between nothing and a ceiling that doubles from 1 s to 60 s, without end.\n\n\
         The model of DPS is its published quota: 1,000 registrations in each minute, the others are \
         refused with 429. How it tells devices to come back is not published, so three rules are \
         assumed. The model of a hub is its published rate of new connections; it is away for {}, \
         where nobody answers, and then refuses with CONNACK 3 whoever is beyond the rate. A \
         connection takes 0.1 to 0.55 s, an answer 50 ms, an assignment 10 s, in which a device polls \
         every 3 s, as the recorded service asks for; of more than 5 polls in 10 s, the published \
         quota of a device, the others are refused with 429. Around each SDK stands the same program: when a call fails, it waits 10 s and calls again.\n\n\
         dps-core's rule: where nobody answers, full jitter to a minute, the first retry within \
         0.2 s. Where the service answers that it throttles or fails, the first retry comes within a \
         second, the ceiling doubles to a minute and then rises by an eighth each time, to half an \
         hour after 429 and to five minutes after a fault, and each wait is in its upper half: \
         whoever has been refused for long waits about an eighth as long again. `retry-after` is \
         never undercut.\n",
        grouped(fleet.into()),
        span(AWAY)
    )
}

/// What a single device pays for the politeness.
fn alone(seed: u64) -> String {
    let mut text = format!(
        "\n## One device alone\n\n\
        DPS refuses it for a while with 429 that names no time, then takes it. How much later than \
        that it is assigned: the median of 501 runs, and the worst. {} of each are the \
        assignment itself.\n\n| throttled for | dps-core |",
        span(ASSIGNMENT)
    );
    for rival in &rival::REGISTRATION {
        let _ = write!(text, " {} |", rival.name);
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for seconds in [0, 1, 10, 60, 600, 3600] {
        let throttled = seconds * 1000;
        let _ = write!(text, "| {} | {} |", span(throttled), delay(single::ours(throttled, seed)));
        for rival in &rival::REGISTRATION {
            let _ = write!(text, " {} |", delay(single::rival(rival, throttled, seed)));
        }
        text.push('\n');
    }
    text
}

const LIMITS: &str = "\n## What the model leaves out\n\n\
    The service is never worn down by what it refuses: it serves its quota in full under half a \
    million requests a second, which no real service promises. That favours whoever asks most. \
    Refusals cost no quota. Connections are never cut while a device waits. Whether DPS counts its \
    quota in minutes of the clock, whether refused devices are told a time, and how a hub refuses \
    connections beyond its rate, are assumptions. The waits of the other SDKs are those of their \
    versions in `tests/interop` and of the C SDK 1.15.0, as read in their source and seen in runs.\n";

fn delay(delay: Delay) -> String {
    format!("{}, {}", span(delay.median), span(delay.worst))
}

/// Milliseconds as people say them.
fn span(millis: u64) -> String {
    let seconds = millis as f64 / 1000.0;
    match millis {
        0..100_000 => format!("{seconds:.1} s"),
        100_000..12_000_000 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.2} h", seconds / 3600.0),
    }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
