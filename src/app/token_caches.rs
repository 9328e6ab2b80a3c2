//! Decoded records on the path of every request: tokens, users, and API keys that opened sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::api::AuthContext;
use super::token_cache::TokenCache;
use crate::engine::{Record, RecordKey, Rules, Session};
use crate::types::{KeyId, Revision, Role, Time, TokenHash, UserId};

/// Estimated bytes of a decoded token or user, without its texts and roles.
const ENTRY_BYTES: usize = 768;

/// Estimated bytes of what is cached of an API key that opened sessions.
pub(super) const OPENER_BYTES: usize = 64;

/// Estimated bytes of a role.
const ROLE_BYTES: usize = 64;

/// A token's actor and session, decoded.
pub(super) struct CachedToken {
    pub(super) access: AuthContext,
    /// The session, if the token is a session's.
    pub(super) session: Option<Session>,
    /// Revision of the user's roles.
    pub(super) user_revision: Revision,
    /// Activity before this time is not written again; in milliseconds since the Unix epoch.
    pub(super) touch_after_ms: AtomicU64,
}

/// The part of a user that requests depend on.
#[derive(Clone)]
pub(super) struct CachedUser {
    pub(super) revision: Revision,
    pub(super) disabled: bool,
    pub(super) roles: Arc<[Role]>,
}

/// Caches of decoded records on the path of every request.
pub(super) struct TokenCaches {
    pub(super) tokens: TokenCache<TokenHash, Arc<CachedToken>>,
    pub(super) users: TokenCache<UserId, CachedUser>,
    /// True if the sessions that an API key opened are live.
    pub(super) openers: TokenCache<KeyId, bool>,
}

impl TokenCaches {
    /// Returns empty caches with a limit on their bytes together.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            tokens: TokenCache::new(bytes_max / 4 * 3),
            users: TokenCache::new(bytes_max / 8),
            openers: TokenCache::new(bytes_max / 8),
        }
    }

    /// Removes what the commit of this revision changes, before it is staged.
    pub(super) fn invalidate(
        &self,
        records: &BTreeMap<RecordKey, Option<Record>>,
        revision: Revision,
    ) {
        for (record_key, record) in records {
            match (record_key, record) {
                (RecordKey::Token(hash), _) => self.tokens.invalidate(hash, revision),
                (RecordKey::Session(_), Some(Record::Session(session))) => {
                    self.tokens.invalidate(&session.token, revision);
                }
                (RecordKey::User(id), _) => self.users.invalidate(id, revision),
                (RecordKey::Key(id), _) => self.openers.invalidate(id, revision),
                // The end of a session or key deletes its token's record in the same commit.
                _ => {}
            }
        }
    }
}

impl CachedUser {
    /// Estimates its bytes.
    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.roles.len() * ROLE_BYTES
    }
}

impl CachedToken {
    /// Estimates its bytes. The session is held twice: as a record and as a view.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.session.as_ref().map_or(0, |session| {
            session.facts.len() + session.agent.as_ref().map_or(0, |agent| agent.len())
        });
        ENTRY_BYTES + texts + self.access.actor.roles().len() * ROLE_BYTES
    }

    pub(super) fn wants_touch(&self, now: Time) -> bool {
        self.session.as_ref().is_some_and(|session| session.wants_touch(now))
            && now.ms() >= self.touch_after_ms.load(Ordering::Acquire)
    }

    /// Returns whether this caller is the one that writes the activity.
    pub(super) fn take_touch(&self, now: Time) -> bool {
        let Some(session) = &self.session else { return false };
        let seen = self.touch_after_ms.load(Ordering::Acquire);
        let next = now.ms().saturating_add((session.idle.ms() / Rules::TOUCH_PARTS).max(1));
        now.ms() >= seen
            && self
                .touch_after_ms
                .compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }
}
