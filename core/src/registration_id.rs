//! The registration ID: the name under which a device registers with DPS.

use std::{fmt, str::FromStr};

use crate::error::{Error, ErrorKind, Result};

/// A registration ID that follows the naming rule of DPS.
///
/// Letters, digits and `-` `.` `_` `:`; the last character a letter, a digit or `-`; at most 128
/// characters (64 with X.509, where it must fit the certificate's common name). DPS compares
/// without regard to case and keeps the case that was given.
///
/// Source: Microsoft, "Terms used with Azure IoT Hub Device Provisioning Service", registration ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(String);

impl RegistrationId {
    /// The longest registration ID.
    pub const MAX_LENGTH: usize = 128;

    /// The longest common name of an X.509 certificate (`ub-common-name` of RFC 5280, appendix
    /// A.1), and so the longest registration ID of an X.509 device.
    pub const MAX_COMMON_NAME_LENGTH: usize = 64;

    /// Checks `text` against the naming rule.
    pub fn parse(text: &str) -> Result<Self> {
        let problem = match text.chars().last() {
            None => Some("it is empty".to_owned()),
            Some(_) if text.chars().count() > Self::MAX_LENGTH => {
                Some(format!("it has {} characters; at most 128 are allowed", text.chars().count()))
            }
            Some(last) => match text.chars().find(|&c| !Self::allows(c)) {
                Some(bad) => Some(format!(
                    "{bad:?} is not allowed; only letters, digits and '-' '.' '_' ':' are"
                )),
                None if !(last.is_ascii_alphanumeric() || last == '-') => Some(format!(
                    "its last character is {last:?}; it must be a letter, a digit or '-'"
                )),
                None => None,
            },
        };
        match problem {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(Error::new(
                ErrorKind::RegistrationIdInvalid,
                format!("the registration ID {text:?} is not valid: {problem}"),
            )),
        }
    }

    /// As [`parse`](Self::parse), and fits the common name of a certificate.
    pub fn parse_common_name(text: &str) -> Result<Self> {
        let id = Self::parse(text)?;
        if text.len() > Self::MAX_COMMON_NAME_LENGTH {
            return Err(Error::new(
                ErrorKind::RegistrationIdInvalid,
                format!(
                    "the registration ID {text:?} has {} characters; the common name of a \
                     certificate holds at most 64",
                    text.len()
                ),
            ));
        }
        Ok(id)
    }

    /// The registration ID as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':')
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistrationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_naming_rule_of_dps() {
        for good in ["device-01", "A", "a.b_c:d-", "Ab-", &"x".repeat(128)] {
            assert_eq!(RegistrationId::parse(good).unwrap().as_str(), good);
        }
        for (bad, quoted) in [
            ("", "empty"),
            ("device.", "'.'"),
            ("device:", "':'"),
            ("a b", "' '"),
            ("dev@ice", "'@'"),
            ("gerät", "'ä'"),
            (&"x".repeat(129), "at most 128"),
        ] {
            let error = RegistrationId::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
            assert!(error.message().contains(quoted), "{error}");
        }
        let long = "x".repeat(65);
        assert!(RegistrationId::parse(&long).is_ok());
        let error = RegistrationId::parse_common_name(&long).unwrap_err();
        assert!(error.message().contains("at most 64"), "{error}");
    }
}
