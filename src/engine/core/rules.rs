//! What the configuration says that decisions depend on.

use std::collections::BTreeMap;

use crate::engine::transaction::ChallengeKey;
use crate::types::{ProfileName, Span};

/// The time-outs of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// It ends after so long without use.
    pub idle: Span,
    /// It ends after so long whatever happens.
    pub absolute: Span,
}

/// What the configuration says about sessions and users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether anybody may create a user.
    pub registration_open: bool,
    /// Whether sessions of nobody may be opened.
    pub anonymous_open: bool,
    /// Least characters of a password.
    pub password_chars_min: usize,
    /// Most sessions of one user; the next one ends the oldest.
    pub sessions_per_user_max: usize,
    /// The time-outs of a session that names no profile.
    pub profile: Profile,
    /// The time-outs that a login can name.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// How long a proved password counts as fresh.
    pub elevation: Span,
    /// How long a single-use link lives.
    pub link_life: Span,
    /// Most bytes of a session's data as compact JSON; the same for a user's data and
    /// attributes, and for another framework's session.
    pub data_bytes_max: usize,
    /// Maximum number of live Idempotency-Keys of one actor; beyond it the oldest are forgotten.
    pub idempotency_keys_max: u64,
    /// Maximum number of bytes that the live Idempotency-Keys of one actor take, with their answers.
    pub idempotency_bytes_max: u64,
    /// Whether transactions show the one-time codes that they wait for: for development only.
    pub codes_shown: bool,
    /// The key that one-time codes are derived with: from outside the store.
    pub challenge_key: ChallengeKey,
}

impl Rules {
    /// Most characters of a password: enough for any phrase, and a bound on the work of hashing.
    pub const PASSWORD_CHARS_MAX: usize = 128;
    /// Most sessions that [`Rules::sessions_per_user_max`] may allow: they all end in one commit.
    pub const SESSIONS_PER_USER_MAX: usize = 200;
    /// Most API keys.
    pub const KEYS_MAX: usize = 1000;
    /// Most roles of a user or a key, and most patterns of a key.
    pub const ROLES_MAX: usize = 64;
    /// Longest name to show, in bytes.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Longest `User-Agent` that is kept, in bytes.
    pub const AGENT_BYTES_MAX: usize = 256;
    /// The part of the idle time-out within which activity is not written again.
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
