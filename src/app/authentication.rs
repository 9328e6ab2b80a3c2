//! Authentication: from a token to the actor, on the path of every request.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::api::AuthContext;
use super::application::App;
use super::token_caches::{CachedToken, CachedUser, OPENER_BYTES};
use crate::engine::{Actor, Command, Opens, Record, RecordKey, Refusal, StoredId, User};
use crate::records::{Key, ReadError, read_record, value};
use crate::store::{Store, Versioned, View};
use crate::types::{KeyId, Revision, SessionId, Token, TokenHash, UserId};

/// Reason for the end of a stream or a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// The session has ended, or the API key was revoked.
    SessionEnded,
    /// The session has a new token: it was rotated, elevated or upgraded.
    TokenReplaced,
    /// The server stops.
    Stopping,
}

impl App {
    /// Returns the identity of a token and notes the activity: a commit of its own, at most once in
    /// a twentieth of the idle time-out, and none while the store is full. Without a token the
    /// actor is nobody.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] for a token that is unknown, ended, expired or a link's;
    /// [`Refusal::Stopping`].
    pub async fn authenticate(&self, token: Option<&Token>) -> Result<AuthContext, Refusal> {
        let Some(token) = token else {
            return Ok(AuthContext { actor: Actor::Nobody, session: None });
        };
        let cached = self.look_up(token)?;
        let now = self.clock.now();
        if !cached.wants_touch(now) || !cached.take_touch(now) {
            return Ok(cached.access.clone());
        }
        // Boxed, since it is rare and its state would be moved for every request.
        match Box::pin(self.call(Command::Touch, cached.access.actor.clone())).await {
            Ok(_) => Ok(self.look_up(token)?.access.clone()),
            Err(refusal @ (Refusal::Unauthenticated | Refusal::Stopping)) => Err(refusal),
            // The store is full or busy. The session is alive all the same.
            Err(_) => Ok(cached.access.clone()),
        }
    }

    /// Returns the identity of a token without noting activity: for introspection, live streams,
    /// health checks.
    ///
    /// # Errors
    /// As [`App::authenticate`].
    pub fn inspect(&self, token: &Token) -> Result<AuthContext, Refusal> {
        self.look_up(token).map(|cached| cached.access.clone())
    }

    /// Returns the actor with its present roles.
    ///
    /// # Errors
    /// As [`App::authenticate`]; also when the token was replaced.
    pub fn current(&self, actor: &Actor) -> Result<Actor, Refusal> {
        match actor {
            Actor::Nobody | Actor::System | Actor::Hook(_) | Actor::Workflow(..) => {
                Ok(actor.clone())
            }
            Actor::Session(session) => {
                self.look_up_hash(session.token).map(|cached| cached.access.actor.clone())
            }
            Actor::Key(key) => match self.read_record(&RecordKey::Key(key.key.id))? {
                Some((Record::Key(key), _)) => Ok(key.actor()),
                _ => Err(Refusal::Unauthenticated),
            },
        }
    }

    /// Returns why an actor's streams and sockets end with this refusal.
    #[must_use]
    pub fn end_of(&self, actor: &Actor, refusal: &Refusal) -> FeedEnd {
        if *refusal == Refusal::Stopping {
            return FeedEnd::Stopping;
        }
        let Actor::Session(actor) = actor else { return FeedEnd::SessionEnded };
        match self.read_record(&RecordKey::Session(actor.session)) {
            Ok(Some((Record::Session(session), _)))
                if session.token != actor.token && session.is_alive(self.clock.now()) =>
            {
                FeedEnd::TokenReplaced
            }
            _ => FeedEnd::SessionEnded,
        }
    }

    fn look_up(&self, token: &Token) -> Result<Arc<CachedToken>, Refusal> {
        self.look_up_hash(token.hash())
    }

    fn look_up_hash(&self, hash: TokenHash) -> Result<Arc<CachedToken>, Refusal> {
        let cached = match self.caches.tokens.get(&hash) {
            Some(cached) if self.is_current(&cached)? => Some(cached),
            _ => self.guard(self.read_known(hash))?,
        };
        let alive = cached.filter(|cached| {
            cached.session.as_ref().is_none_or(|session| session.is_alive(self.clock.now()))
        });
        alive.ok_or(Refusal::Unauthenticated)
    }

    /// Returns whether a cached entry has the present user and API key. The token's own record is
    /// invalidated by each change.
    fn is_current(&self, cached: &CachedToken) -> Result<bool, Refusal> {
        if let Some(via) = cached.session.as_ref().and_then(|session| session.via.as_ref())
            && !self.guard(self.keeps_sessions(via.id))?
        {
            return Ok(false);
        }
        match cached.session.as_ref().and_then(|session| session.user.as_ref()) {
            None => Ok(true),
            Some(user) => Ok(self
                .guard(self.known_user(user.id))?
                .is_some_and(|user| user.revision == cached.user_revision && !user.disabled)),
        }
    }

    /// Returns whether the sessions that an API key opened are live.
    fn keeps_sessions(&self, id: KeyId) -> Result<bool, ReadError> {
        if let Some(keeps) = self.caches.openers.get(&id) {
            return Ok(keeps);
        }
        let (read_at, key) = read_at(&*self.store, &RecordKey::Key(id))?;
        let kept = RecordKey::KeptSessions(id);
        let keeps = key.is_some() || read_record(&*self.store, View::Committed, &kept)?.is_some();
        self.caches.openers.insert(id, keeps, OPENER_BYTES, read_at);
        Ok(keeps)
    }

    fn known_user(&self, id: UserId) -> Result<Option<CachedUser>, ReadError> {
        if let Some(cached) = self.caches.users.get(&id) {
            return Ok(Some(cached));
        }
        let record_key = RecordKey::User(id);
        let (read_at, row) = read_at(&*self.store, &record_key)?;
        let Some((Record::User(user), revision)) = row else { return Ok(None) };
        let User { disabled, roles, .. } = user;
        let cached = CachedUser { revision, disabled, roles };
        self.caches.users.insert(id, cached.clone(), cached.bytes(), read_at);
        Ok(Some(cached))
    }

    /// Reads a token's actor and session and caches them.
    fn read_known(&self, hash: TokenHash) -> Result<Option<Arc<CachedToken>>, ReadError> {
        let opens = read_record(&*self.store, View::Committed, &RecordKey::Token(hash))?;
        let Some((record, _)) = opens else { return Ok(None) };
        let (read_at, cached) = match &*record {
            Record::Opens(Opens::Session(id)) => self.read_session(hash, *id)?,
            Record::Opens(Opens::Key(id)) => {
                let (read_at, row) = read_at(&*self.store, &RecordKey::Key(*id))?;
                let Some((Record::Key(key), revision)) = row else { return Ok(None) };
                if key.token != hash {
                    return Ok(None);
                }
                let access = AuthContext { actor: key.actor(), session: None };
                let cached = CachedToken {
                    access,
                    session: None,
                    user_revision: revision,
                    touch_after_ms: AtomicU64::new(0),
                };
                (read_at, Some(cached))
            }
            _ => return Ok(None),
        };
        let Some(cached) = cached else { return Ok(None) };
        let cached = Arc::new(cached);
        self.caches.tokens.insert(hash, Arc::clone(&cached), cached.bytes(), read_at);
        Ok(Some(cached))
    }

    fn read_session(
        &self,
        hash: TokenHash,
        id: SessionId,
    ) -> Result<(Revision, Option<CachedToken>), ReadError> {
        let (read_at, row) = read_at(&*self.store, &RecordKey::Session(id))?;
        let Some((Record::Session(session), revision)) = row else { return Ok((read_at, None)) };
        // The token was replaced between the two reads.
        if session.token != hash {
            return Ok((read_at, None));
        }
        if let Some(via) = &session.via
            && !self.keeps_sessions(via.id)?
        {
            return Ok((read_at, None));
        }
        let user = match &session.user {
            None => None,
            Some(user) => match self.known_user(user.id)? {
                Some(user) if !user.disabled => Some(user),
                _ => return Ok((read_at, None)),
            },
        };
        let roles = user.as_ref().map_or_else(|| [].into(), |user| user.roles.clone());
        let view = Arc::new(session.view(roles.clone(), revision));
        let access = AuthContext { actor: session.actor(roles), session: Some(view) };
        let user_revision = user.map_or(Revision::ZERO, |user| user.revision);
        let cached = CachedToken {
            access,
            session: Some(session),
            user_revision,
            touch_after_ms: AtomicU64::new(0),
        };
        Ok((read_at, Some(cached)))
    }

    /// Returns an external session, for the API key that stored it. `touch`: counts as activity.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an actor that is no API key, [`Refusal::NotFound`],
    /// [`Refusal::Stopping`].
    pub async fn stored(
        &self,
        actor: &Actor,
        key: &crate::engine::StoredKey,
        touch: bool,
    ) -> Result<crate::engine::StoredView, Refusal> {
        let Actor::Key(api_key) = actor else {
            return Err(Refusal::NotAllowed("this needs an API key"));
        };
        let id = StoredId { key: api_key.key.id, digest: self.stored_digest(actor, key) };
        let not_found = Refusal::NotFound("session under this key");
        let mut touched = false;
        loop {
            let record_key = RecordKey::Stored(id);
            let row = self.guard(read_record(&*self.store, View::Committed, &record_key))?;
            let Some((record, revision)) = row else { return Err(not_found) };
            let Record::Stored(stored) = &*record else { return Err(not_found) };
            let user = match &stored.user {
                None => None,
                Some((user, _)) => {
                    let record_key = RecordKey::User(user.id);
                    self.guard(read_record(&*self.store, View::Committed, &record_key))?
                }
            };
            let user = match user.as_ref().map(|(record, _)| &**record) {
                Some(Record::User(user)) => Some(user),
                _ => None,
            };
            let now = self.clock.now();
            if !stored.is_alive(user, now) {
                return Err(not_found);
            }
            if !touch || touched || !stored.wants_touch(now) {
                return Ok(stored.view(revision));
            }
            touched = true;
            let touch = Command::TouchStored { key: key.clone() };
            if let Err(refusal @ (Refusal::Unauthenticated | Refusal::Stopping)) =
                self.call(touch, actor.clone()).await
            {
                return Err(refusal);
            }
            // Done, or full or busy: then it is alive all the same.
        }
    }
}

/// Reads a record that lies in one row, and the revision at which it was read.
fn read_at(
    store: &dyn Store,
    record_key: &RecordKey,
) -> Result<(Revision, Option<(Record, Revision)>), ReadError> {
    let key = Key::of(record_key).encode();
    let (read_at, mut rows) = store.get_many(&[&key])?;
    let record = match rows.pop().flatten() {
        None => None,
        Some(Versioned { revision, value }) => Some((value::decode(record_key, &value)?, revision)),
    };
    Ok((read_at, record))
}
