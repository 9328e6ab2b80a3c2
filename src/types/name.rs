//! Names for people: users, roles, profiles, patterns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{KeyId, ParseError, SessionId, UserId, serde_from_text};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for Arc<str> {
            fn from(name: &$name) -> Self {
                Arc::clone(&name.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(ParseError::new($expected)) }
            }
        }
    };
}

/// Maximum length of a user name, a role, a profile or a pattern, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Returns whether a text is one first character and up to 63 that follow.
fn is_name(text: &str, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [head, tail @ ..] => {
            tail.len() < NAME_BYTES_MAX && first(*head) && tail.iter().all(|byte| rest(*byte))
        }
        [] => false,
    }
}

const fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

const fn in_username(byte: u8) -> bool {
    lower_or_digit(byte) || matches!(byte, b'.' | b'_' | b'@' | b'+' | b'-')
}

const fn in_role(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'-')
}

const fn in_pattern(byte: u8) -> bool {
    in_username(byte) || byte == b'*'
}

/// Prefix of the roles that Abide itself defines.
const ABIDE: &str = "abide:";

name! {
    /// Name that a person logs in with: `[a-z0-9][a-z0-9._@+-]{0,63}`. It is never given out again,
    /// not even after its user was deleted.
    Username,
    |text| is_name(text, lower_or_digit, in_username),
    "must be 1 to 64 characters of a-z, 0-9 and . _ @ + -, the first one of a-z or 0-9"
}
name! {
    /// Permission of an actor. Applications choose their own roles; `abide:*` are Abide's powers.
    /// `[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}`.
    Role,
    |text| is_name(text, |byte| byte.is_ascii_alphanumeric(), in_role)
        && (!text.starts_with(ABIDE) || Role::OWN.contains(&text)),
    "must be 1 to 64 characters of A-Z, a-z, 0-9 and . _ : / -, the first one a letter or digit; \
     of those that begin with \"abide:\" only admin, operator, publisher and auditor exist"
}
name! {
    /// Names a set of session time-outs in the configuration: `[a-z0-9][a-z0-9_-]{0,63}`.
    ProfileName,
    |text| is_name(text, lower_or_digit, |byte| lower_or_digit(byte) || matches!(byte, b'_' | b'-')),
    "must be 1 to 64 characters of a-z, 0-9, _ and -, the first one of a-z or 0-9"
}
name! {
    /// Users for whom an API key may act: a user name in which `*` matches any characters.
    UserPattern,
    |text| is_name(text, in_pattern, in_pattern),
    "must be 1 to 64 characters of a user name, where * stands for any characters"
}
name! {
    /// Names a workflow: `[a-z][a-z0-9-]{0,63}`.
    WorkflowName,
    |text| is_name(text, |byte| byte.is_ascii_lowercase(), |byte| lower_or_digit(byte) || byte == b'-'),
    "must be 1 to 64 characters of a-z, 0-9 and -, the first one of a-z"
}
name! {
    /// Names a step of a workflow: `[a-z][a-z0-9_-]{0,63}`, except the reserved words for targets.
    StepName,
    |text| is_name(text, |byte| byte.is_ascii_lowercase(), |byte| {
        lower_or_digit(byte) || matches!(byte, b'_' | b'-')
    }) && !matches!(text, "stay" | "end" | "cancel"),
    "must be 1 to 64 characters of a-z, 0-9, _ and -, the first one of a-z; `stay`, `end` and \
     `cancel` are no names of steps"
}
name! {
    /// Names an account: `[A-Za-z0-9][A-Za-z0-9:._-]{0,63}`.
    AccountId,
    is_free,
    "must be 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -, the first one a letter or digit"
}
name! {
    /// Names an asset: an ISO 4217 code, or a code that a client put: `[A-Z][A-Z0-9._-]{0,31}`.
    AssetCode,
    |text| text.len() <= 32 && is_name(text, |byte| byte.is_ascii_uppercase(), |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    }),
    "must be 1 to 32 characters of A-Z, 0-9 and . _ -, the first one of A-Z"
}
name! {
    /// Names a hold: `hold_` and 26 characters if the server made it, or a name that the client
    /// chose, `[A-Za-z0-9][A-Za-z0-9:._-]{0,63}`.
    HoldId,
    is_free,
    "must be 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -, the first one a letter or digit"
}
name! {
    /// Names a transfer: `tr_` and 26 characters if the server made it, or a name that the client
    /// chose, `[A-Za-z0-9][A-Za-z0-9:._-]{0,63}`.
    TransferId,
    is_free,
    "must be 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -, the first one a letter or digit"
}
name! {
    /// Names a set of reference values, or a value in it: `[A-Za-z0-9][A-Za-z0-9:._-]{0,63}`.
    ValueName,
    is_free,
    "must be 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -, the first one a letter or digit"
}
name! {
    /// Names a hook, which receives another service's messages: `[a-z][a-z0-9-]{0,63}`.
    HookName,
    |text| is_name(text, |byte| byte.is_ascii_lowercase(), |byte| lower_or_digit(byte) || byte == b'-'),
    "must be 1 to 64 characters of a-z, 0-9 and -, the first one of a-z"
}
serde_from_text!(
    HookName Username Role ProfileName UserPattern WorkflowName StepName AccountId AssetCode HoldId
    TransferId ValueName
);

/// Returns whether a text is a valid name that a client may choose.
fn is_free(text: &str) -> bool {
    is_name(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-'),
    )
}

impl HoldId {
    /// Returns the id that the server makes of 128 bits; later ids are larger.
    #[must_use]
    pub fn made(bits: u128) -> Self {
        Self(super::id::spelled("hold_", bits).into())
    }
}

impl TransferId {
    /// Returns the id that the server makes of 128 bits; later ids are larger.
    #[must_use]
    pub fn made(bits: u128) -> Self {
        Self(super::id::spelled("tr_", bits).into())
    }

    /// Ids that no new transfer gets: the API's paths use them in the place of a transfer's id.
    pub const RESERVED: &[&str] = &["reverse"];

    /// Returns whether no new transfer gets the id. A transfer of an older build keeps it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        Self::RESERVED.contains(&self.as_str())
    }
}

impl Username {
    /// Names that no new user gets: the API's paths use them in the place of a user's name.
    pub const RESERVED: &[&str] = &["me", "current"];

    /// Name of the server itself in expressions and answers, among the names of users.
    const SYSTEM: &str = "system";

    /// Prefixes of the ids of sessions, API keys and users. Expressions and answers name an
    /// anonymous session and an API key by its id, among the names of users.
    const RESERVED_PREFIXES: [&str; 3] = [SessionId::PREFIX, KeyId::PREFIX, UserId::PREFIX];

    /// Returns whether no new user gets the name. A user of an older build keeps it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let name = self.as_str();
        let is_id = Self::RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        is_id || name == Self::SYSTEM || Self::RESERVED.contains(&name)
    }
}

impl WorkflowName {
    /// Names that no new workflow gets: the API's paths use them in the place of a workflow's name.
    pub const RESERVED: &[&str] = &["check"];

    /// Returns whether no new workflow gets the name. A workflow of an older build keeps it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        Self::RESERVED.contains(&self.as_str())
    }
}

impl Role {
    /// Role with all permissions.
    pub const ADMIN: &'static str = "abide:admin";
    /// Role for operating transactions.
    pub const OPERATOR: &'static str = "abide:operator";
    /// Role for publishing definitions and values.
    pub const PUBLISHER: &'static str = "abide:publisher";
    /// Role for reading everything.
    pub const AUDITOR: &'static str = "abide:auditor";
    /// All roles that Abide itself defines.
    pub const OWN: [&'static str; 4] =
        [Self::ADMIN, Self::OPERATOR, Self::PUBLISHER, Self::AUDITOR];

    /// Returns the role of an administrator.
    #[must_use]
    pub fn admin() -> Self {
        Self(Self::ADMIN.into())
    }

    /// Returns whether it is one of Abide's powers, which no workflow grants and nobody has while
    /// acting on behalf of a user.
    #[must_use]
    pub fn is_power(&self) -> bool {
        self.0.starts_with(ABIDE)
    }
}

impl UserPattern {
    /// Returns whether the pattern covers this user.
    #[must_use]
    pub fn matches(&self, name: &Username) -> bool {
        // Greedy with one point to fall back to: linear in practice, bounded by 64 * 64.
        let (pattern, name) = (self.0.as_bytes(), name.0.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut fallback = None;
        while read < name.len() {
            if at < pattern.len() && pattern[at] == b'*' {
                fallback = Some((at, read));
                at += 1;
            } else if at < pattern.len() && pattern[at] == name[read] {
                at += 1;
                read += 1;
            } else if let Some((star, matched)) = fallback {
                fallback = Some((star, matched + 1));
                at = star + 1;
                read = matched + 1;
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_are_of_their_alphabet_and_length() {
        for good in ["a", "0", "alice", "a.b_c@d+e-f", &"x".repeat(64)] {
            assert!(good.parse::<Username>().is_ok(), "{good}");
        }
        for wrong in ["", "A", "-a", ".a", "a b", "a\u{e9}", "a\n", "a/b", &"x".repeat(65)] {
            assert!(wrong.parse::<Username>().is_err(), "{wrong}");
        }
        for good in ["teller", "Shop/Clerk:2", "abide:admin"] {
            assert!(good.parse::<Role>().is_ok(), "{good}");
        }
        for wrong in ["", "abide:root", "abide:", ":a", "a b"] {
            assert!(wrong.parse::<Role>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_covers_whom_it_spells() {
        let covers = |pattern: &str, name: &str| {
            pattern.parse::<UserPattern>().unwrap().matches(&name.parse().unwrap())
        };
        assert!(covers("*", "alice"));
        assert!(covers("alice", "alice"));
        assert!(covers("*@shop.example", "bob@shop.example"));
        assert!(covers("shop-*-eu", "shop-1-eu-eu"));
        assert!(covers("a*b*c", "aXbXbc".to_lowercase().as_str()));
        assert!(!covers("alice", "alice2"));
        assert!(!covers("*@shop.example", "bob@shop.example.org"));
        assert!(!covers("a*b", "ac"));
    }
}
