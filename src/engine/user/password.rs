//! The rules for a new password: length and commonness, no composition (OWASP ASVS 6.2).

use std::sync::Arc;

use crate::engine::core::inputs::{CommandInputs, PasswordCheck, PasswordEvidence};
use crate::engine::{InputError, Refusal, Rules, User};
use crate::types::{Password, Span, Username};

/// The passwords of 8 and more characters among the 20 000 most common ones, in byte order and
/// lower case: the list that Django ships (BSD-3-Clause), by Royce Williams.
const COMMON: &str = include_str!("common_passwords.txt");

/// Returns the faults of a new password; `pointer` names its field in the request.
pub(in crate::engine) fn faults(
    rules: &Rules,
    pointer: &str,
    username: Option<&Username>,
    password: &Password,
) -> Vec<InputError> {
    let text = password.reveal();
    let (min, max) = (rules.password_chars_min, Rules::PASSWORD_CHARS_MAX);
    // Code points: more or less the characters that people see.
    let chars = text.chars().count();
    if chars < min {
        let message = format!("must have at least {min} characters");
        return vec![InputError::new(pointer, "too-short", message)];
    }
    if chars > max {
        let message = format!("must have at most {max} characters");
        return vec![InputError::new(pointer, "too-long", message)];
    }
    let lower = text.to_lowercase();
    if is_common(&lower) || username.is_some_and(|name| name.as_str() == lower) {
        let message = "is among the passwords that are tried first; choose another one";
        return vec![InputError::new(pointer, "too-common", message)];
    }
    Vec::new()
}

/// Returns whether the list contains it: a binary search over the lines, without an index in
/// memory.
fn is_common(lower: &str) -> bool {
    let mut rest = COMMON;
    while !rest.is_empty() {
        let middle = rest.floor_char_boundary(rest.len() / 2);
        let start = rest[..middle].rfind('\n').map_or(0, |newline| newline + 1);
        let end = rest[start..].find('\n').map_or(rest.len(), |length| start + length);
        match rest[start..end].cmp(lower) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => rest = rest.get(end + 1..).unwrap_or_default(),
            std::cmp::Ordering::Greater => rest = &rest[..start],
        }
    }
    false
}

/// Refuses unless the command's password was proved to be the present one of this user.
pub(in crate::engine) fn require_proved(
    user: &User,
    inputs: &CommandInputs,
) -> Result<(), Refusal> {
    let proved = match inputs.password {
        PasswordEvidence::Unchecked => false,
        PasswordEvidence::Checked(PasswordCheck { user: checked, credential, matched }) => {
            matched && checked == Some(user.id) && credential == user.credential
        }
        PasswordEvidence::Assumed => true,
    };
    if proved { Ok(()) } else { Err(Refusal::InvalidCredentials) }
}

/// Returns the hash of the command's new password. It is missing only if the command was expected
/// to be refused, so that nothing was hashed, and now is not.
pub(in crate::engine) fn new_password_hash(inputs: &CommandInputs) -> Result<Arc<str>, Refusal> {
    if inputs.password == PasswordEvidence::Assumed {
        return Ok("".into());
    }
    inputs.password_hash.clone().ok_or(Refusal::Busy { retry_after: Span::from_seconds(1) })
}

/// Refuses a new password that breaks the rules.
pub(in crate::engine) fn require_good(
    rules: &Rules,
    pointer: &str,
    username: Option<&Username>,
    password: &Password,
) -> Result<(), Refusal> {
    let errors = faults(rules, pointer, username, password);
    if errors.is_empty() { Ok(()) } else { Err(Refusal::InvalidInput(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_list_is_found_and_nothing_else() {
        assert!(COMMON.lines().is_sorted());
        for line in COMMON.lines() {
            assert!(is_common(line), "{line}");
        }
        for other in ["", "a", "correct horse battery", "~~~~~~~~~", "0", "password12\n"] {
            assert!(!is_common(other), "{other}");
        }
    }

    #[test]
    fn length_is_counted_in_characters_at_both_ends() {
        let rules = Rules::default();
        let code = |text: String| {
            let faults = faults(&rules, "/password", None, &Password::new(text));
            faults.first().map(|fault| fault.code)
        };
        assert_eq!(code("x".repeat(11)), Some("too-short"));
        assert_eq!(code("\u{e9}".repeat(12)), None);
        assert_eq!(code("x".repeat(128)), None);
        assert_eq!(code("x".repeat(129)), Some("too-long"));
        assert_eq!(code("010203040506".into()), Some("too-common"));
    }
}
