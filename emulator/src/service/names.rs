//! Registration IDs, enrollment group IDs, and device IDs of hubs.

use super::Refusal;

/// Microsoft's sources differ in this rule; it is the union of what they let through
/// (concepts-service, the API specification, the CLI's help).
const RULE: &str = "1 to 128 of the characters A-Z a-z 0-9 - . _ : are allowed, \
                    the last one a letter, a digit or a dash";

/// The ID itself, or the refusal that quotes the rule.
pub(crate) fn checked<'a>(what: &str, id: &'a str) -> Result<&'a str, Refusal> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._:".contains(&c);
    let ends_well = id.bytes().last().is_some_and(|c| c.is_ascii_alphanumeric() || c == b'-');
    if ends_well && id.len() <= 128 && id.bytes().all(allowed) {
        Ok(id)
    } else {
        Err(Refusal::bad_request(format!("Invalid {what}: {RULE}.")))
    }
}

/// The device ID, or the refusal that quotes IoT Hub's rule. `%` and `;`, which the rule lets
/// through, are left out: no client can name such a device in a topic or in a user name.
pub(crate) fn checked_device(id: &str) -> Result<&str, Refusal> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._*?!(),:=@$'".contains(&c);
    if (1..=128).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(id);
    }
    Err(Refusal::bad_request(
        "Invalid deviceId: 1 to 128 of the characters A-Z a-z 0-9 - . _ * ? ! ( ) , : = @ $ ' \
         are allowed.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_character_and_the_length_are_judged() {
        for good in ["device-01", "A", "a.b_c:d", "x-", &"a".repeat(128)] {
            assert!(checked("registration ID", good).is_ok(), "{good}");
        }
        for bad in ["", "device.", "device 1", "gerät", "a/b", &"a".repeat(129)] {
            assert!(checked("registration ID", bad).is_err(), "{bad}");
        }
    }
}
