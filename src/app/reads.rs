//! Queries of sessions, users, API keys and measurements, as of what is durable.

use std::time::Instant;

use super::application::App;
use super::read_budget::PAGE_BYTES_MAX;
use super::{ExecutorFigures, ListPage, PageRequest};
use crate::engine::{
    Actor, Command, Data, EMPTY, KeyView, Record, RecordKey, Refusal, SessionView, User, UserRef,
    UserView,
};
use crate::records::{DecodeError, Key, ReadError, read_record, value};
use crate::store::{KeyRange, Order, View};
use crate::types::{KeyId, Revision, Role, SessionId, UserId, Username};

impl App {
    /// Returns the data of the actor's session.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an actor without a session, [`Refusal::Unauthenticated`] when
    /// the session has ended meanwhile, [`Refusal::Stopping`].
    pub fn session_data(&self, actor: &Actor) -> Result<Data, Refusal> {
        let id = actor.session().ok_or(Refusal::NotAllowed("this needs a session"))?;
        // The data first: if the session exists after that, it existed with the data.
        let data = self.data(&RecordKey::SessionData(id))?;
        let (session, _) = self.session_record(id)?.ok_or(Refusal::Unauthenticated)?;
        Ok(data.unwrap_or_else(|| no_data(session.created_revision)))
    }

    /// Returns the live sessions of a user, newest first (at most
    /// [`Rules::SESSIONS_PER_USER_MAX`](crate::engine::Rules::SESSIONS_PER_USER_MAX)); an anonymous
    /// actor has its own one. `username`: another user, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn sessions(
        &self,
        actor: &Actor,
        username: Option<&Username>,
    ) -> Result<Vec<SessionView>, Refusal> {
        let user = match (username, actor.user()) {
            (Some(asked), own) if own.is_none_or(|own| own.username != *asked) => {
                self.require_see_all(actor, "GET /v1/sessions?user=")?;
                self.user_named(asked)?.0.names()
            }
            (_, Some(own)) => own.clone(),
            (_, None) => {
                let id = actor.session().ok_or(Refusal::NotAllowed("this needs a session"))?;
                return Ok(self.session_view(id)?.into_iter().collect());
            }
        };
        let list = self.read_record(&RecordKey::UserSessions(user.id))?;
        let Some((Record::Sessions(list), _)) = list else { return Ok(Vec::new()) };
        let mut views = Vec::with_capacity(list.len());
        for id in list.into_iter().rev() {
            views.extend(self.session_view(id)?);
        }
        Ok(views)
    }

    /// Returns a live session by its id: an own one, or any for an administrator or auditor.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn session(&self, actor: &Actor, id: SessionId) -> Result<SessionView, Refusal> {
        let none = Refusal::NotFound("session");
        let view = self.session_view(id)?.ok_or(none.clone())?;
        let own = actor.session() == Some(id)
            || actor.user().is_some_and(|own| view.user.as_ref() == Some(own));
        if own || actor.has(Role::AUDITOR) { Ok(view) } else { Err(none) }
    }

    /// Returns the actor's user.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an actor that is no user, [`Refusal::Unauthenticated`] when the
    /// user was deleted meanwhile, [`Refusal::Stopping`].
    pub fn own_user(&self, actor: &Actor) -> Result<UserView, Refusal> {
        let (user, revision) = self.own(actor)?;
        Ok(user.view(revision))
    }

    /// Returns the data of the actor's user.
    ///
    /// # Errors
    /// As [`App::own_user`].
    pub fn user_data(&self, actor: &Actor) -> Result<Data, Refusal> {
        let (user, _) = self.own(actor)?;
        let data = self.data(&RecordKey::UserData(user.id))?;
        Ok(data.unwrap_or_else(|| no_data(user.created_revision)))
    }

    /// Returns a user, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn user(&self, actor: &Actor, username: &Username) -> Result<UserView, Refusal> {
        self.require_see_all(actor, "GET /v1/users/{username}")?;
        let (user, revision) = self.user_named(username)?;
        Ok(user.view(revision))
    }

    /// Returns the users, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn users(
        &self,
        actor: &Actor,
        page: PageRequest<UserId>,
    ) -> Result<ListPage<UserView, UserId>, Refusal> {
        self.require_see_all(actor, "GET /v1/users")?;
        let after = page.after.map(|id| Key::User(id).encode());
        let (rows, more) =
            self.guard(self.page(Key::USERS, after, page.limit, |key| match key {
                Key::User(id) => Some(RecordKey::User(id)),
                _ => None,
            }))?;
        Ok(into_page(rows, more, |record, revision| match record {
            Record::User(user) => Some((user.id, user.view(revision))),
            _ => None,
        }))
    }

    /// Returns the API keys, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn keys(
        &self,
        actor: &Actor,
        page: PageRequest<KeyId>,
    ) -> Result<ListPage<KeyView, KeyId>, Refusal> {
        self.require_see_all(actor, "GET /v1/api-keys")?;
        let after = page.after.map(|id| Key::ApiKey(id).encode());
        let (rows, more) =
            self.guard(self.page(Key::API_KEYS, after, page.limit, |key| match key {
                Key::ApiKey(id) => Some(RecordKey::Key(id)),
                _ => None,
            }))?;
        Ok(into_page(rows, more, |record, revision| match record {
            Record::Key(key) => Some((key.id, key.view(revision))),
            _ => None,
        }))
    }

    /// Returns the number of commands that wait for the executor.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.queue.depth()
    }

    /// Returns the revision of a record. A caller that shows the record with it reads this first:
    /// then no change that is not shown has this revision.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn revision_of(&self, record_key: &RecordKey) -> Result<Revision, Refusal> {
        let found = self.guard(read_record(&*self.store, View::Committed, record_key))?;
        found.map(|(_, revision)| revision).ok_or(Refusal::NotFound("record"))
    }

    /// Returns the number of Idempotency-Keys that were dropped before their time since the start.
    #[must_use]
    pub fn keys_shed(&self) -> u64 {
        self.notifier.counters.keys_shed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the estimated bytes of the record cache.
    #[must_use]
    pub fn record_cache_bytes(&self) -> u64 {
        self.notifier.counters.record_cache_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the memory of the commands that wait for the executor, in bytes.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Returns the measurements of the executor.
    #[must_use]
    pub fn executor_figures(&self) -> ExecutorFigures {
        self.queue.figures()
    }

    /// Returns why the executor does not move although something waits for it.
    #[must_use]
    pub fn executor_stuck(&self, now: Instant) -> Option<String> {
        self.queue.stuck(now)
    }

    /// Returns the number of open sessions.
    #[must_use]
    pub fn live_sessions(&self) -> u64 {
        let found = read_record(&*self.store, View::Committed, &RecordKey::SessionCount);
        match self.guard(found).ok().flatten().as_ref().map(|(record, _)| &**record) {
            Some(Record::Count(count)) => *count,
            _ => 0,
        }
    }

    /// Refuses an actor that may not read everything, and writes the denial into the audit log.
    pub(super) fn require_see_all(&self, actor: &Actor, what: &'static str) -> Result<(), Refusal> {
        if *actor == Actor::System || actor.has(Role::AUDITOR) {
            return Ok(());
        }
        if *actor == Actor::Nobody {
            return Err(Refusal::Unauthenticated);
        }
        self.audit(Command::NoteDenial { what }, actor.clone());
        Err(Refusal::NotAllowed("this needs the role abide:admin or abide:auditor"))
    }

    fn own(&self, actor: &Actor) -> Result<(User, Revision), Refusal> {
        let needs_user = Refusal::NotAllowed("this needs the session of a user");
        let UserRef { id, .. } = actor.user().ok_or(needs_user)?;
        match self.read_record(&RecordKey::User(*id))? {
            Some((Record::User(user), revision)) => Ok((user, revision)),
            _ => Err(Refusal::Unauthenticated),
        }
    }

    fn user_named(&self, username: &Username) -> Result<(User, Revision), Refusal> {
        let holder = self.read_record(&RecordKey::Name(username.clone()))?;
        let Some((Record::Name(crate::engine::Holder::User(id)), _)) = holder else {
            return Err(Refusal::NotFound("user"));
        };
        match self.read_record(&RecordKey::User(id))? {
            Some((Record::User(user), revision)) => Ok((user, revision)),
            _ => Err(Refusal::NotFound("user")),
        }
    }

    fn session_record(
        &self,
        id: SessionId,
    ) -> Result<Option<(crate::engine::Session, Revision)>, Refusal> {
        let now = self.clock.now();
        Ok(match self.read_record(&RecordKey::Session(id))? {
            Some((Record::Session(session), revision)) if session.is_alive(now) => {
                Some((session, revision))
            }
            _ => None,
        })
    }

    fn session_view(&self, id: SessionId) -> Result<Option<SessionView>, Refusal> {
        let Some((session, revision)) = self.session_record(id)? else { return Ok(None) };
        let roles = match &session.user {
            None => [].into(),
            Some(user) => match self.guard(self.user_by_id(user.id))? {
                Some(user) => user.roles,
                None => return Ok(None),
            },
        };
        Ok(Some(session.view(roles, revision)))
    }

    fn data(&self, record_key: &RecordKey) -> Result<Option<Data>, Refusal> {
        Ok(match self.read_record(record_key)? {
            Some((Record::Data(json), revision)) => Some(Data { json, revision }),
            _ => None,
        })
    }

    pub(super) fn read_record(
        &self,
        record_key: &RecordKey,
    ) -> Result<Option<(Record, Revision)>, Refusal> {
        let loaded = self.guard(read_record(&*self.store, View::Committed, record_key))?;
        Ok(loaded.map(|(record, revision)| {
            let record = std::sync::Arc::unwrap_or_clone(record);
            (record, revision)
        }))
    }

    /// Returns a page of one kind of record, newest first, of bounded size, and whether there are
    /// more.
    fn page(
        &self,
        prefix: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
        record_key: impl Fn(Key) -> Option<RecordKey>,
    ) -> Result<(Vec<(Record, Revision)>, bool), ReadError> {
        let mut range = KeyRange::prefix(prefix);
        if let Some(after) = after {
            range = range.before(after.into());
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            let wanted = (limit - records.len()).min(RECORDS_AT_ONCE);
            let page = self.store.scan(View::Committed, &range, Order::Descending, wanted)?;
            for row in page.rows {
                let what = || DecodeError {
                    key: format!("{:?}", row.key),
                    what: "no such key is written".to_owned(),
                };
                let record_key = Key::decode(&row.key).and_then(&record_key).ok_or_else(what)?;
                bytes += row.value.len();
                records.push((value::decode(&record_key, &row.value)?, row.revision));
            }
            match page.next {
                Some(next) if records.len() < limit && bytes < PAGE_BYTES_MAX => {
                    range = range.before(next);
                }
                next => return Ok((records, next.is_some())),
            }
        }
    }
}

/// Number of records that are read at once: users and keys have some 20 KiB at most.
const RECORDS_AT_ONCE: usize = 64;

fn no_data(revision: Revision) -> Data {
    Data { json: EMPTY.into(), revision }
}

fn into_page<T, I: Copy>(
    rows: Vec<(Record, Revision)>,
    more: bool,
    view: impl Fn(Record, Revision) -> Option<(I, T)>,
) -> ListPage<T, I> {
    let mut last = None;
    let mut items = Vec::with_capacity(rows.len());
    for (record, revision) in rows {
        if let Some((id, item)) = view(record, revision) {
            last = Some(id);
            items.push(item);
        }
    }
    ListPage { items, next: last.filter(|_| more) }
}
