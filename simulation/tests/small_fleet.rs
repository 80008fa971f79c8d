//! What must hold for a fleet of any size, on a small one.

use dps_simulation::{
    ASSIGNMENT, group,
    registration::{self, Program},
    report::{self, CHAPTERS},
    rival::{HUB, REGISTRATION},
    scenario::{self, AWAY, Question},
    service::{Polls, Refusal, RetryAfter, Service},
    tally::Tally,
};

const FLEET: u32 = 4000;
const RULES: [RetryAfter; 3] = [RetryAfter::Absent, RetryAfter::Constant(10), RetryAfter::Backlog];

fn tally() -> Tally {
    Tally::new("", FLEET.into(), 60_000, 60_000)
}

#[test]
fn everybody_is_served_within_the_quota_and_ours_are_refused_the_least() {
    let questions = CHAPTERS.each_ref().map(|chapter| chapter.question);
    let answers = scenario::run(&questions, FLEET, 7).unwrap();
    for (question, tallies) in questions.iter().zip(&answers) {
        let quota = match question {
            Question::Failover(rate) => *rate,
            _ => 1000,
        };
        let ours = &tallies[0];
        assert_eq!(ours.name, "dps-core");
        for tally in tallies {
            assert_eq!(tally.served, tally.fleet, "{question:?}: {}", tally.name);
            assert!(tally.fullest_window <= quota, "{question:?}: {}", tally.name);
            assert_eq!(
                tally.requests - tally.refused,
                tally.served,
                "{question:?}: {}",
                tally.name
            );
            let served = tally.bins.iter().map(|bin| bin.1).sum::<u64>();
            assert_eq!(served, tally.fleet, "{question:?}: {}", tally.name);
            if tally.name.ends_with("SDK") && *question != Question::Restart {
                // Where the service spreads the comebacks itself, nothing beats plain obedience.
                let allowed = match question {
                    Question::Boot(RetryAfter::Backlog) => tally.refused * 5 / 4,
                    _ => tally.refused,
                };
                assert!(ours.refused <= allowed, "{question:?}: {}", tally.name);
            }
        }
    }
    // The same seed, the same bytes.
    assert_eq!(scenario::run(&questions, FLEET, 7).unwrap(), answers);
    let text = report::write(&answers, FLEET, 7);
    for chapter in &CHAPTERS {
        assert!(text.contains(chapter.plot), "{}", chapter.plot);
    }
}

#[test]
fn another_seed_is_another_run() {
    let run = |seed| {
        let service = Service::dps(RetryAfter::Absent);
        registration::run(FLEET, Program::Stays, service, tally(), seed)
    };
    assert_ne!(run(1), run(2));
}

#[test]
fn ours_are_all_served_soon_after_the_quota_allows_it() {
    for rule in RULES {
        let service = Service::dps(rule);
        let floor = service.floor(FLEET.into());
        assert_eq!(floor, 180_000);
        let tally = registration::run(FLEET, Program::Stays, service, tally(), 3);
        // One wait after the last full minute; the longest is the four minutes that a service which
        // spreads the comebacks names here, and half of that.
        assert!(tally.milestones[3] <= floor + 360_000, "{rule:?}: {:?}", tally.milestones);
    }
}

#[test]
fn a_program_that_forgets_is_refused_no_less_often() {
    let run = |program| {
        let fleet = 20_000;
        let tally = Tally::new("", fleet.into(), 60_000, 60_000);
        registration::run(fleet, program, Service::dps(RetryAfter::Absent), tally, 3)
    };
    assert!(run(Program::Stays).refused * 3 < run(Program::StartsAnew).refused * 2);
}

#[test]
fn an_unthrottled_device_takes_one_request_of_any_sdk() {
    let one = || Tally::new("", 1, 60_000, 60_000);
    let dps = || Service::dps(RetryAfter::Absent);
    let ours = registration::run(1, Program::Stays, dps(), one(), 1);
    let theirs = REGISTRATION.map(|rival| group::run(&rival, 1, dps(), one(), ASSIGNMENT, 1));
    for tally in theirs.iter().chain([&ours]) {
        assert_eq!((tally.requests, tally.refused, tally.connections), (1, 0, 1));
        assert!(tally.milestones[3] < ASSIGNMENT + 1000, "{:?}", tally.milestones);
    }
}

#[test]
fn a_device_is_refused_its_sixth_poll_in_ten_seconds_and_ours_never_asks_for_it() {
    let mut polls = Polls::default();
    let answered = [0, 100, 200, 300, 400, 9_999, 10_000, 10_050].map(|now| polls.ask(now));
    assert_eq!(answered, [true, true, true, true, true, false, true, false]);

    let service = Service::dps(RetryAfter::Absent);
    let tally = registration::run(FLEET, Program::Stays, service, tally(), 3);
    assert!(tally.polls >= 2 * tally.served, "{} polls", tally.polls);
    assert_eq!(tally.polls_refused, 0);
}

#[test]
fn a_hub_that_is_away_answers_nobody_and_then_refuses_by_its_rate() {
    for rival in &HUB {
        let tally = Tally::new("", 500, 10_000, 1000);
        let tally = group::run(rival, 500, Service::hub(100, AWAY), tally, 0, 1);
        assert!(tally.unanswered >= 500, "{}", rival.name);
        assert!(tally.milestones[0] >= AWAY, "{}", rival.name);
        assert!(tally.fullest_window <= 100, "{}", rival.name);
    }
}

#[test]
fn comebacks_are_spread_over_the_backlog_and_nobody_is_left_out() {
    let mut service = Service::dps(RetryAfter::Backlog);
    assert_eq!(service.ask(0, 5500), 1000);
    let mut told = Vec::new();
    service.refuse(0, 4500, |count, refusal| told.push((count, refusal)));
    assert_eq!(told.iter().map(|(count, _)| count).sum::<u64>(), 4500);
    let minutes = [60, 120, 180, 240].map(|seconds| Refusal::Throttled(Some(seconds)));
    assert_eq!(told.iter().map(|(_, refusal)| *refusal).collect::<Vec<_>>(), minutes);
}
