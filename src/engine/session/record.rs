//! Records of sessions, and what their bearers see of them.

use std::fmt;
use std::sync::Arc;

use crate::engine::{Actor, Data, Digest, KeyRef, Rules, SessionActor, User, UserRef};
use crate::types::{KeyId, ProfileName, Revision, Role, SessionId, Span, Time, TokenHash};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The token that reaches it.
    pub token: TokenHash,
    /// Whose it is; `None`: an anonymous one.
    pub user: Option<UserRef>,
    /// Whether it began as an anonymous one: the answers to its Idempotency-Keys of that time
    /// stay its own.
    pub began_anonymous: bool,
    /// The API key that opened it.
    pub via: Option<KeyRef>,
    /// Its time-outs, if not the default ones.
    pub profile: Option<ProfileName>,
    /// How long it lives without use.
    pub idle: Span,
    /// When it was opened.
    pub created_at: Time,
    /// The commit that opened it: the revision of its data until that is first written.
    pub created_revision: Revision,
    /// When it was last noted to be in use.
    pub last_seen_at: Time,
    /// When it ends whatever happens.
    pub expires_at: Time,
    /// Until when the password counts as freshly proved.
    pub elevated_until: Option<Time>,
    /// When its timer fires: at or before its end.
    pub timer_at: Time,
    /// Whether it has ever had data.
    pub has_data: bool,
    /// From where it was opened.
    pub address: Option<Arc<str>>,
    /// With what it was opened.
    pub agent: Option<Arc<str>>,
    /// What effects and services have noted: a JSON object as compact text.
    pub facts: Arc<str>,
}

impl Session {
    /// When it ends if it is not used.
    #[must_use]
    pub fn idle_expires_at(&self) -> Time {
        self.last_seen_at.plus(self.idle).min(self.expires_at)
    }

    /// Whether it is still there at this time. At the very moment of its end it is not.
    #[must_use]
    pub fn is_alive(&self, now: Time) -> bool {
        now < self.idle_expires_at()
    }

    /// Whether activity at this time is worth a write.
    #[must_use]
    pub fn wants_touch(&self, now: Time) -> bool {
        wants_touch(self.idle, self.last_seen_at, now)
    }

    /// As its bearer may see it.
    #[must_use]
    pub fn view(&self, roles: Arc<[Role]>, revision: Revision) -> SessionView {
        SessionView {
            id: self.id,
            user: self.user.clone(),
            roles: self.within_reach(roles),
            created_at: self.created_at,
            last_seen_at: self.last_seen_at,
            idle_expires_at: self.idle_expires_at(),
            expires_at: self.expires_at,
            elevated_until: self.elevated_until,
            profile: self.profile.clone(),
            via: self.via.clone(),
            address: self.address.clone(),
            agent: self.agent.clone(),
            facts: self.facts.clone(),
            revision,
        }
    }

    /// Its bearer.
    #[must_use]
    pub fn actor(&self, roles: Arc<[Role]>) -> Actor {
        Actor::Session(SessionActor {
            session: self.id,
            token: self.token,
            user: self.user.clone(),
            roles: self.within_reach(roles),
            via: self.via.clone(),
        })
    }

    /// The user's roles that count in this session: one that was opened on behalf never has one
    /// of Abide's powers, not even one that the user was given afterwards.
    fn within_reach(&self, roles: Arc<[Role]>) -> Arc<[Role]> {
        if self.via.is_none() || !roles.iter().any(Role::is_power) {
            return roles;
        }
        roles.iter().filter(|role| !role.is_power()).cloned().collect()
    }
}

/// Names another framework's session: the API key that stores it, and a keyed hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredId {
    /// The API key.
    pub key: KeyId,
    /// The hash of the framework's key.
    pub digest: Digest,
}

/// Another framework's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The session: a JSON object as compact text.
    pub data: Arc<str>,
    /// How long it lives without use.
    pub idle: Span,
    /// Whose it is, and that user's [`User::epoch`] then.
    pub user: Option<(UserRef, u64)>,
    /// When it was last noted to be in use.
    pub last_seen_at: Time,
    /// When its timer fires: at or before its end.
    pub timer_at: Time,
}

impl Stored {
    /// When it ends if it is not used.
    #[must_use]
    pub const fn idle_expires_at(&self) -> Time {
        self.last_seen_at.plus(self.idle)
    }

    /// Whether it is still there at this time; `user` is its user as it is now.
    #[must_use]
    pub fn is_alive(&self, user: Option<&User>, now: Time) -> bool {
        let users_sessions_live = match &self.user {
            None => true,
            Some((_, epoch)) => user.is_some_and(|user| !user.disabled && user.epoch == *epoch),
        };
        users_sessions_live && now < self.idle_expires_at()
    }

    /// Whether activity at this time is worth a write.
    #[must_use]
    pub fn wants_touch(&self, now: Time) -> bool {
        wants_touch(self.idle, self.last_seen_at, now)
    }

    /// As its framework may see it.
    #[must_use]
    pub fn view(&self, revision: Revision) -> StoredView {
        StoredView {
            data: Data { json: self.data.clone(), revision },
            user: self.user.as_ref().map(|(user, _)| user.clone()),
            idle_expires_at: self.idle_expires_at(),
        }
    }
}

/// Activity is written once in a twentieth of the idle time-out: a session in constant use costs
/// 20 small writes in it, and lives at most a twentieth shorter than it should.
fn wants_touch(idle: Span, last_seen_at: Time, now: Time) -> bool {
    now.since(last_seen_at).ms() >= (idle.ms() / Rules::TOUCH_PARTS).max(1)
}

/// A session, as its bearer may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whose it is; `None`: an anonymous one.
    pub user: Option<UserRef>,
    /// The user's roles.
    pub roles: Arc<[Role]>,
    /// When it was opened.
    pub created_at: Time,
    /// When it was last seen in use, to a twentieth of the idle time-out.
    pub last_seen_at: Time,
    /// When it ends if it is not used.
    pub idle_expires_at: Time,
    /// When it ends whatever happens.
    pub expires_at: Time,
    /// Until when the password counts as freshly proved.
    pub elevated_until: Option<Time>,
    /// Its time-outs, if not the default ones.
    pub profile: Option<ProfileName>,
    /// The API key that opened it on the user's behalf.
    pub via: Option<KeyRef>,
    /// The address that it was opened from.
    pub address: Option<Arc<str>>,
    /// The `User-Agent` that it was opened with, cut to a bounded length.
    pub agent: Option<Arc<str>>,
    /// What effects and services have noted about it: a JSON object as compact text.
    pub facts: Arc<str>,
    /// The commit that last changed it; its data has a revision of its own.
    pub revision: Revision,
}

/// Another framework's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredView {
    /// The session as the framework has it, and its revision.
    pub data: Data,
    /// Whose it is.
    pub user: Option<UserRef>,
    /// When it ends if it is not used.
    pub idle_expires_at: Time,
}

/// A key that another framework made for one of its sessions; it is as good as a password, so
/// `Debug` shows nothing of it and the store keeps a keyed hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey(Arc<str>);

impl StoredKey {
    /// Longest key, in bytes: longer than any framework's.
    pub const BYTES_MAX: usize = 512;

    /// The key with this text; `None` when it is empty or longer than [`StoredKey::BYTES_MAX`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=Self::BYTES_MAX).contains(&text.len()).then(|| Self(text.into()))
    }

    /// The text, for the one place that hashes it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey")
    }
}
