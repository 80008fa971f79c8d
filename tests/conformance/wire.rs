//! What clients said, as lines that a case can spell out.

use std::collections::{BTreeMap, HashMap};

use dps_emulator::{Direction, Recorded, Transport};
use serde_json::Value;

/// What a CONNECT with a password says of it.
const HAS_PASSWORD: &str = " password=yes ";

/// The last packet of a client that is closed.
pub(crate) const FAREWELL: &str = "DISCONNECT";

/// How much later than at the earliest moment a packet may come, in milliseconds: a loaded machine
/// is slow, but what waits three times as long as it was told does not count.
const LATE: u64 = 10_000;

/// The longest payload that is shown whole.
const SHOWN: usize = 300;

/// What the golden lines of cases refer to by `@name`.
pub(crate) type Fragments = BTreeMap<String, Vec<String>>;

/// One packet of a client.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Milliseconds since the service's last answer before it, or since the packet before.
    pub(crate) after: u64,
}

/// The clients' packets, connection by connection.
pub(crate) fn transcript(recorded: &[Recorded]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut spoken = 0;
    let mut operation = None;
    let mut sent: HashMap<u16, (String, Vec<u8>)> = HashMap::new();
    for packet in recorded.iter().filter(|packet| packet.transport == Transport::Mqtt) {
        if packet.direction == Direction::Out {
            if packet.packet == "PUBLISH" {
                let body: Value = serde_json::from_slice(&packet.payload).unwrap_or_default();
                operation = body["operationId"].as_str().map(str::to_owned).or(operation);
                spoken = packet.elapsed_ms;
            }
            continue;
        }
        let mut text = describe(packet, &mut sent);
        if let Some(operation) = &operation {
            text = text.replace(operation.as_str(), "{operation}");
        }
        let after = packet.elapsed_ms.saturating_sub(spoken);
        lines.push((packet.connection, Line { text, after }));
        if packet.packet != "PUBACK" {
            spoken = packet.elapsed_ms;
        }
    }
    // The farewell of one connection may be read after the greeting of the next.
    lines.sort_by_key(|(connection, _)| *connection);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Puts what the passwords of the connections were, one after the other, in place of the fact that
/// there was one.
pub(crate) fn tell_passwords(lines: &mut [Line], passwords: Vec<String>) {
    let connects = lines.iter_mut().filter(|line| line.text.starts_with("CONNECT "));
    let keyed = connects.filter(|line| line.text.contains(HAS_PASSWORD));
    for (line, password) in keyed.zip(passwords) {
        line.text = line.text.replace(HAS_PASSWORD, &format!(" password={password} "));
    }
}

/// What each language must say, however far it comes and however often: the packets in the order
/// in which each came first, without the numbers of requests, the mark of repetition and the
/// farewell.
pub(crate) fn first_said(lines: &[String]) -> Vec<String> {
    let mut said = Vec::new();
    for line in lines {
        let line = line.replace(" dup ", " ");
        let line = match line.split_once("$rid=") {
            Some((head, tail)) => {
                format!("{head}$rid=…{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => line,
        };
        if line != FAREWELL && !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

fn describe(packet: &Recorded, sent: &mut HashMap<u16, (String, Vec<u8>)>) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    match packet.packet.as_str() {
        "CONNECT" => format!(
            "CONNECT client={} user={} password={} clean={} keep-alive={}",
            text(&packet.client_id),
            text(&packet.user_name),
            yes_or_no(packet.has_password),
            yes_or_no(packet.clean_session),
            packet.keep_alive.unwrap_or_default()
        ),
        "SUBSCRIBE" => format!("SUBSCRIBE qos={} {}", qos(packet), text(&packet.topic)),
        "PUBLISH" => {
            let topic = text(&packet.topic);
            let dup = match (packet.dup, packet.packet_id.and_then(|id| sent.get(&id))) {
                (false, _) => "",
                // MQTT 3.1.1, section 4.4: again with the packet identifier that it had.
                (true, Some((other, payload))) if *other == topic && *payload == packet.payload => {
                    " dup"
                }
                // The first was written before a cut, and never read.
                (true, None) => " dup",
                (true, Some(_)) => " dup-of-another",
            };
            if let Some(id) = packet.packet_id {
                sent.insert(id, (topic.clone(), packet.payload.clone()));
            }
            let retain = if packet.retain { " retain" } else { "" };
            let line = format!("PUBLISH qos={}{dup}{retain} {topic}", qos(packet));
            match std::str::from_utf8(&packet.payload) {
                Ok("") => line,
                Ok(body) if body.len() <= SHOWN => format!("{line} {body}"),
                _ => format!("{line} <{} bytes>", packet.payload.len()),
            }
        }
        other => other.to_owned(),
    }
}

fn qos(packet: &Recorded) -> String {
    packet.qos.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

fn yes_or_no(flag: Option<bool>) -> &'static str {
    if flag.unwrap_or_default() { "yes" } else { "no" }
}

/// The lines of a case with its fragments put in: `@register 2` is the fragment `register` with
/// `{}` replaced by `2`.
pub(crate) fn golden(lines: &[String], fragments: &Fragments) -> Vec<String> {
    let mut golden = Vec::new();
    for line in lines {
        let Some(reference) = line.strip_prefix('@') else {
            golden.push(line.clone());
            continue;
        };
        let (name, argument) = reference.split_once(' ').unwrap_or((reference, ""));
        let fragment = fragments.get(name).unwrap_or_else(|| panic!("no fragment {name:?}"));
        let fragment: Vec<_> = fragment.iter().map(|line| line.replace("{}", argument)).collect();
        golden.extend(self::golden(&fragment, fragments));
    }
    golden
}

/// Compares; the error shows both. A golden line `wait N` says that the packet after it came at
/// least N milliseconds after the service's last word, and not much later; `…` stands for any
/// packets.
pub(crate) fn compare(golden: &[String], lines: &[Line]) -> Result<(), String> {
    let mut seen = lines.iter();
    let mut least = 0_u64;
    let mut skips = false;
    let differ = |what: String| {
        let shown: Vec<_> = lines.iter().map(|line| format!("  {}", line.text)).collect();
        Err(format!(
            "on the wire: {what}\nexpected:\n  {}\nrecorded:\n{}",
            golden.join("\n  "),
            shown.join("\n")
        ))
    };
    for expected in golden {
        if let Some(wait) = expected.strip_prefix("wait ") {
            least = wait.parse().expect("milliseconds after `wait`");
            continue;
        }
        if expected == "…" {
            skips = true;
            continue;
        }
        let found = if skips {
            seen.find(|line| line.text == *expected)
        } else {
            seen.next().filter(|line| line.text == *expected)
        };
        skips = false;
        match found {
            None => return differ(format!("no {expected:?} at its place")),
            Some(line) if line.after < least => {
                return differ(format!("{expected:?} came {} ms too soon", least - line.after));
            }
            Some(line) if least > 0 && line.after > (3 * least).max(least + LATE) => {
                return differ(format!("{expected:?} came only after {} ms", line.after));
            }
            Some(_) => least = 0,
        }
    }
    match seen.next() {
        Some(line) if !skips => differ(format!("{:?} is too much", line.text)),
        _ => Ok(()),
    }
}
