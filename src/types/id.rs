//! Ids for machines: prefixed, ordered by time of creation, with one spelling each.

use std::fmt;
use std::str::FromStr;

use super::{ParseError, ascii, serde_from_text};

/// Crockford's base32 in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of the text form after the prefix: 26 times 5 bits hold the 128 bits of a UUID.
const DIGITS: usize = 26;

/// Value of each character; invalid characters have [`NO_DIGIT`].
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while (value as usize) < ALPHABET.len() {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = u8::MAX;

fn digits(number: u128) -> [u8; DIGITS] {
    let mut rest = number;
    let mut text = [b'0'; DIGITS];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

/// Returns the text form of a prefix and 128 bits.
pub(super) fn spelled(prefix: &str, bits: u128) -> String {
    let digits = digits(bits);
    let mut text = String::with_capacity(prefix.len() + digits.len());
    text.push_str(prefix);
    text.push_str(ascii(&digits));
    text
}

fn number(text: &str) -> Option<u128> {
    let text = text.as_bytes();
    // The first character holds three bits only; more would not fit into 128.
    if text.len() != DIGITS || !(b'0'..=b'7').contains(&text[0]) {
        return None;
    }
    text.iter().try_fold(0, |number: u128, character| match VALUES[usize::from(*character)] {
        NO_DIGIT => None,
        digit => Some(number << 5 | u128::from(digit)),
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// 128 bits of a `UUIDv7` (RFC 9562): later ids are larger, to the millisecond. Each id has
        /// one text form.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// Returns the id with these 128 bits.
            #[must_use]
            pub const fn new(bits: u128) -> Self {
                Self(bits)
            }

            /// Returns the 128 bits; their order is the order of creation.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// Returns the text form. It is built in one pass because every answer needs it.
            fn written(self) -> [u8; $prefix.len() + DIGITS] {
                let mut text = [0; $prefix.len() + DIGITS];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                rest.copy_from_slice(&digits(self.0));
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ascii(&self.written()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(ascii(&self.written()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.strip_prefix($prefix).and_then(number).map(Self).ok_or(ParseError::new(
                    concat!("must be \"", $prefix, "\" and 26 characters of 0-9 and a-z without i, l, o, u"),
                ))
            }
        }
    };
}

id! {
    /// Names a session.
    SessionId, "ses_"
}
id! {
    /// Names a user for ever; the user name is for people.
    UserId, "usr_"
}
id! {
    /// Names an API key.
    KeyId, "key_"
}
id! {
    /// Names a transaction.
    TxId, "tx_"
}
id! {
    /// Names a job that acts on many transactions.
    JobId, "job_"
}
id! {
    /// Names a schedule.
    ScheduleId, "sch_"
}
id! {
    /// Names a webhook.
    WebhookId, "whk_"
}
serde_from_text!(SessionId UserId KeyId TxId JobId ScheduleId WebhookId);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_back_keeps_the_bits_and_the_order(a: u128, b: u128) {
            let (left, right) = (UserId::new(a), UserId::new(b));
            prop_assert_eq!(left.to_string().parse::<UserId>().unwrap(), left);
            prop_assert_eq!(left.to_string().cmp(&right.to_string()), a.cmp(&b));
        }
    }

    #[test]
    fn there_is_one_spelling() {
        let id = SessionId::new(u128::MAX).to_string();
        assert_eq!(id, "ses_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        for wrong in [
            "",
            "ses_",
            "ses_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "SES_7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ses_7Zzzzzzzzzzzzzzzzzzzzzzzzz",
            "usr_7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ses_7zzzzzzzzzzzzzzzzzzzzzzzzi",
            "ses_7zzzzzzzzzzzzzzzzzzzzzzzz",
            "ses_7zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "ses_7zzzzzzzzzzzzzzzzzzzzzzzzé",
        ] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
