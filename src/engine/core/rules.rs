//! Settings on which decisions depend.

use std::collections::BTreeMap;

use crate::engine::transaction::ChallengeKey;
use crate::types::{ProfileName, Span};

/// Time-outs of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The session ends after this time without activity.
    pub idle: Span,
    /// The session ends this time after its start, in any case.
    pub absolute: Span,
}

/// Settings for sessions and users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// True if anybody may create a user.
    pub registration_open: bool,
    /// True if anonymous sessions may be opened.
    pub anonymous_open: bool,
    /// Minimum password length, in characters.
    pub password_chars_min: usize,
    /// Maximum number of sessions of one user; a further one ends the oldest.
    pub sessions_per_user_max: usize,
    /// Time-outs of a session that names no profile.
    pub profile: Profile,
    /// Time-outs that a login can name.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// Time for which a proved password counts as fresh.
    pub elevation: Span,
    /// Lifetime of a single-use link.
    pub link_life: Span,
    /// Maximum size of a session's data as compact JSON, in bytes; it also limits a user's data and
    /// attributes, and an external session.
    pub data_bytes_max: usize,
    /// Maximum number of live Idempotency-Keys of one actor; beyond it the server forgets the
    /// oldest.
    pub idempotency_keys_max: u64,
    /// Maximum size of one actor's live Idempotency-Keys with their answers, in bytes.
    pub idempotency_bytes_max: u64,
    /// True if transactions show the one-time codes that they wait for: for development only.
    pub codes_shown: bool,
    /// Key from which one-time codes are derived; it is kept outside of the store.
    pub challenge_key: ChallengeKey,
}

impl Rules {
    /// Maximum password length, in characters: enough for any phrase, and a bound on the work of
    /// hashing.
    pub const PASSWORD_CHARS_MAX: usize = 128;
    /// Largest value of [`Rules::sessions_per_user_max`]: all sessions of a user end in one commit.
    pub const SESSIONS_PER_USER_MAX: usize = 200;
    /// Maximum number of API keys.
    pub const KEYS_MAX: usize = 1000;
    /// Maximum number of roles of a user or a key, and of patterns of a key.
    pub const ROLES_MAX: usize = 64;
    /// Maximum length of a display name, in bytes.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Maximum length of a stored `User-Agent`, in bytes.
    pub const AGENT_BYTES_MAX: usize = 256;
    /// Divisor of the idle time-out: activity is written at most once in that part of it.
    pub const TOUCH_PARTS: u64 = 20;
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            registration_open: false,
            anonymous_open: false,
            password_chars_min: 12,
            sessions_per_user_max: 20,
            profile: Profile { idle: Span::from_minutes(30), absolute: Span::from_hours(12) },
            profiles: BTreeMap::new(),
            elevation: Span::from_minutes(10),
            link_life: Span::from_hours(24),
            data_bytes_max: 64 * 1024,
            // Two hundred requests a second, all day.
            idempotency_keys_max: 20_000_000,
            // Some 400 bytes for each of them.
            idempotency_bytes_max: 8 * 1024 * 1024 * 1024,
            codes_shown: false,
            challenge_key: ChallengeKey::new([0; 32]),
        }
    }
}
