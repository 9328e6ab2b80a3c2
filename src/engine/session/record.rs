//! Records of sessions, and their views for their bearers.

use std::fmt;
use std::sync::Arc;

use crate::engine::{Actor, Data, Digest, KeyRef, Rules, SessionActor, User, UserRef};
use crate::types::{KeyId, ProfileName, Revision, Role, SessionId, Span, Time, TokenHash};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Hash of its token.
    pub token: TokenHash,
    /// Its user; `None`: the session is anonymous.
    pub user: Option<UserRef>,
    /// True if it began as an anonymous session: answers to its Idempotency-Keys of that time
    /// remain its own.
    pub began_anonymous: bool,
    /// The API key that opened it.
    pub via: Option<KeyRef>,
    /// Its time-outs, if not the default ones.
    pub profile: Option<ProfileName>,
    /// Idle time-out.
    pub idle: Span,
    /// Time when it was opened.
    pub created_at: Time,
    /// The commit that opened it: the revision of its data until that is first written.
    pub created_revision: Revision,
    /// Time of the last recorded use.
    pub last_seen_at: Time,
    /// Time of its absolute end.
    pub expires_at: Time,
    /// Time until which the password counts as freshly proved.
    pub elevated_until: Option<Time>,
    /// Time when its timer fires: at or before its end.
    pub timer_at: Time,
    /// True if it has ever had data.
    pub has_data: bool,
    /// Address that opened it.
    pub address: Option<Arc<str>>,
    /// `User-Agent` that opened it.
    pub agent: Option<Arc<str>>,
    /// Facts that effects and services recorded: a JSON object as compact text.
    pub facts: Arc<str>,
}

impl Session {
    /// Returns the time when it ends if it is not used.
    #[must_use]
    pub fn idle_expires_at(&self) -> Time {
        self.last_seen_at.plus(self.idle).min(self.expires_at)
    }

    /// Returns whether it has not ended at this time. At the time of its end it is no longer alive.
    #[must_use]
    pub fn is_alive(&self, now: Time) -> bool {
        now < self.idle_expires_at()
    }

    /// Returns whether activity at this time is worth a write.
    #[must_use]
    pub fn wants_touch(&self, now: Time) -> bool {
        wants_touch(self.idle, self.last_seen_at, now)
    }

    /// Returns the view for its bearer.
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

    /// Returns its bearer.
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

    /// Returns the user's roles that count in this session. A session that was opened on behalf of
    /// a user never has one of Abide's powers, not even one that the user was given afterwards.
    fn within_reach(&self, roles: Arc<[Role]>) -> Arc<[Role]> {
        if self.via.is_none() || !roles.iter().any(Role::is_power) {
            return roles;
        }
        roles.iter().filter(|role| !role.is_power()).cloned().collect()
    }
}

/// Id of another framework's session: the API key that stores it, and a keyed hash of its key.
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
    /// Idle time-out.
    pub idle: Span,
    /// Its user, and that user's [`User::epoch`] when it was stored.
    pub user: Option<(UserRef, u64)>,
    /// Time of the last recorded use.
    pub last_seen_at: Time,
    /// Time when its timer fires: at or before its end.
    pub timer_at: Time,
}

impl Stored {
    /// Returns the time when it ends if it is not used.
    #[must_use]
    pub const fn idle_expires_at(&self) -> Time {
        self.last_seen_at.plus(self.idle)
    }

    /// Returns whether it has not ended at this time; `user` is the present record of its user.
    #[must_use]
    pub fn is_alive(&self, user: Option<&User>, now: Time) -> bool {
        let users_sessions_live = match &self.user {
            None => true,
            Some((_, epoch)) => user.is_some_and(|user| !user.disabled && user.epoch == *epoch),
        };
        users_sessions_live && now < self.idle_expires_at()
    }

    /// Returns whether activity at this time is worth a write.
    #[must_use]
    pub fn wants_touch(&self, now: Time) -> bool {
        wants_touch(self.idle, self.last_seen_at, now)
    }

    /// Returns the view for its framework.
    #[must_use]
    pub fn view(&self, revision: Revision) -> StoredView {
        StoredView {
            data: Data { json: self.data.clone(), revision },
            user: self.user.as_ref().map(|(user, _)| user.clone()),
            idle_expires_at: self.idle_expires_at(),
        }
    }
}

/// Returns whether a twentieth of the idle time-out has passed since the last recorded use. A
/// session in constant use costs 20 small writes per idle time-out, and lives at most a twentieth
/// shorter than it should.
fn wants_touch(idle: Span, last_seen_at: Time, now: Time) -> bool {
    now.since(last_seen_at).ms() >= (idle.ms() / Rules::TOUCH_PARTS).max(1)
}

/// View of a session for its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Its user; `None`: the session is anonymous.
    pub user: Option<UserRef>,
    /// The user's roles.
    pub roles: Arc<[Role]>,
    /// Time when it was opened.
    pub created_at: Time,
    /// Time of the last recorded use, accurate to a twentieth of the idle time-out.
    pub last_seen_at: Time,
    /// Time when it ends if it is not used.
    pub idle_expires_at: Time,
    /// Time of its absolute end.
    pub expires_at: Time,
    /// Time until which the password counts as freshly proved.
    pub elevated_until: Option<Time>,
    /// Its time-outs, if not the default ones.
    pub profile: Option<ProfileName>,
    /// The API key that opened it on the user's behalf.
    pub via: Option<KeyRef>,
    /// The address that it was opened from.
    pub address: Option<Arc<str>>,
    /// The `User-Agent` that it was opened with, cut to a bounded length.
    pub agent: Option<Arc<str>>,
    /// Facts that effects and services recorded: a JSON object as compact text.
    pub facts: Arc<str>,
    /// The commit that last changed it; its data has its own revision.
    pub revision: Revision,
}

/// View of another framework's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredView {
    /// The session's data in the framework's form, and its revision.
    pub data: Data,
    /// Its user.
    pub user: Option<UserRef>,
    /// Time when it ends if it is not used.
    pub idle_expires_at: Time,
}

/// Key that another framework made for one of its sessions. It is as good as a password, so `Debug`
/// shows nothing of it and the store keeps a keyed hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey(Arc<str>);

impl StoredKey {
    /// Maximum length of a key, in bytes: more than any framework uses.
    pub const BYTES_MAX: usize = 512;

    /// Returns the key with this text; `None` if it is empty or longer than
    /// [`StoredKey::BYTES_MAX`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=Self::BYTES_MAX).contains(&text.len()).then(|| Self(text.into()))
    }

    /// Returns the text, for the one function that hashes it.
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
