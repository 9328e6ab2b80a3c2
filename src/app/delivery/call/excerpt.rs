//! The beginning of what a service answered, for people: as text, and without secrets.

use std::sync::Arc;

/// Maximum length of an excerpt in bytes: enough for what a service says of an error, and as little
/// as twenty of them in one transaction's record allow.
const EXCERPT_BYTES_MAX: usize = 2048;

/// Stands for a secret.
const REDACTED: &str = "[redacted]";

/// Minimum length in bytes of a secret that is looked for: a shorter one is in every text.
const SECRET_BYTES_MIN: usize = 4;

/// Returns the beginning of a body without these secrets, which services like to repeat in what
/// they say of an error.
pub(in crate::app) fn excerpt<'s>(body: &[u8], secrets: impl Iterator<Item = &'s str>) -> Arc<str> {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        text = text.replace(secret, REDACTED);
        // As it is written in JSON.
        let quoted = serde_json::to_string(secret).unwrap_or_default();
        let quoted = quoted.trim_matches('"');
        if quoted != secret {
            text = text.replace(quoted, REDACTED);
        }
    }
    text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    let mut end = text.len().min(EXCERPT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &[u8]) -> Arc<str> {
        excerpt(body, ["s3cret-token", "a\"quote", "x"].into_iter())
    }

    #[test]
    fn excerpt_is_the_beginning_without_secrets() {
        for (body, expected) in [
            (&b"{\"error\":\"no\"}"[..], "{\"error\":\"no\"}"),
            (b"Bearer s3cret-token is not valid", "Bearer [redacted] is not valid"),
            (b"{\"sent\":\"a\\\"quote\"}", "{\"sent\":\"[redacted]\"}"),
            // One that is in every text is looked for in none.
            (b"x\x00y\nz", "xy\nz"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(&*of(body), expected);
        }
    }

    #[test]
    fn excerpt_is_bounded_and_cuts_no_secret_in_two() {
        let body = [vec![b'.'; 2043], b"s3cret-token".to_vec(), vec![b'.'; 9000]].concat();
        let excerpt = of(&body);
        assert_eq!(excerpt.len(), 2048);
        assert!(excerpt.ends_with("[reda"), "{excerpt}");
        assert_eq!(of("ä".repeat(2000).as_bytes()).len(), 2048);
        assert_eq!(of(&[b"x".to_vec(), "ä".repeat(2000).into_bytes()].concat()).len(), 2047);
    }
}
