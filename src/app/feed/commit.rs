//! A decoded commit of the log, and what an actor may see of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::workflow::Definition;
use crate::engine::{
    Actor, OwnerId, REDACTED, Record, RecordKey, hidden, owns, sees_all, sees_workflow,
};
use crate::records::entry::{About, AccountMark, EntryV1, TxMarkV1};
use crate::records::{DecodeError, Definitions, ReadError};
use crate::store::{LogEntry, Store, View};
use crate::types::{Revision, Role, Time, TxId};

/// Id of an event: its commit, its position in the commit, and a mark that distinguishes the commit
/// from one of another log. Opaque for clients, and ordered as text. Ids are compared without their
/// marks.
#[derive(Clone, Copy, Debug)]
pub struct EventId {
    pub(super) revision: Revision,
    pub(super) place: u16,
    /// Mark of the commit ([`mark_of`]); zero if unknown.
    mark: u32,
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for EventId {}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.revision, self.place).cmp(&(other.revision, other.place))
    }
}

/// Returns the mark of a commit. Commits with the same revision in other stores, or in this one
/// before it was restored, were made at other times and have other marks.
pub(super) fn mark_of(entry: &LogEntry) -> u32 {
    u32::try_from(entry.at_ms & u64::from(u32::MAX)).unwrap_or(u32::MAX).max(1)
}

impl EventId {
    /// Position before every event.
    pub const START: Self = Self { revision: Revision::ZERO, place: u16::MAX, mark: 0 };

    /// Returns the position after every event of this commit and before those of the next.
    #[must_use]
    pub const fn end_of(revision: Revision) -> Self {
        Self { revision, place: u16::MAX, mark: 0 }
    }

    /// Returns the id with its commit's mark.
    pub(super) const fn with_mark(self, mark: u32) -> Self {
        Self { mark, ..self }
    }

    pub(super) const fn is_marked(self) -> bool {
        self.mark != 0
    }

    /// Returns whether the id has this commit's revision and mark.
    pub(super) fn is_of(self, entry: &LogEntry) -> bool {
        self.revision == entry.revision && self.mark == mark_of(entry)
    }

    /// Returns the position before the event.
    #[must_use]
    pub const fn before(self) -> Self {
        match self.place.checked_sub(1) {
            Some(place) => Self { place, ..self },
            None => Self::end_of(Revision::new(self.revision.get().saturating_sub(1))),
        }
    }

    /// Returns a number in the order of the ids.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.revision.get() << 16 | self.place as u64
    }

    /// Returns the commit after which the log is read for the events after this one.
    pub(super) const fn read_after(self) -> Revision {
        if self.place == u16::MAX {
            return self.revision;
        }
        Revision::new(self.revision.get().saturating_sub(1))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:04x}", self.revision.get(), self.place)?;
        if self.is_marked() { write!(f, "{:08x}", self.mark) } else { Ok(()) }
    }
}

impl FromStr for EventId {
    type Err = crate::types::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = crate::types::ParseError::new("must be the id of an event");
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !matches!(text.len(), 20 | 28) || !text.bytes().all(plain) {
            return Err(wrong);
        }
        let revision = u64::from_str_radix(&text[..16], 16).map_err(|_| wrong)?;
        let place = u16::from_str_radix(&text[16..20], 16).map_err(|_| wrong)?;
        let mark = match &text[20..] {
            "" => 0,
            mark => u32::from_str_radix(mark, 16).map_err(|_| wrong)?,
        };
        Ok(Self { revision: Revision::new(revision), place, mark })
    }
}

/// Actor of an event, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventActor {
    /// `nobody`, `user`, `anonymous`, `key`, `hook`, `workflow` or `system`.
    pub kind: String,
    /// User name, id of the API key, or name of the hook or workflow.
    pub name: Option<String>,
    /// API key that acted on the user's behalf.
    pub via: Option<String>,
}

/// An event as an actor may see it.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    /// Its id.
    pub id: EventId,
    /// Time of the event.
    pub at: Time,
    /// Its type.
    pub kind: Arc<str>,
    /// Actor of the event.
    pub actor: Arc<EventActor>,
    /// Id of the thing that the event is about.
    pub subject: Option<String>,
    /// Transaction of the event.
    pub transaction: Option<TxId>,
    /// Data of the event, as JSON text.
    pub data: Arc<str>,
}

/// Selection of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedScope {
    /// All events that the actor may see.
    All,
    /// Events of one transaction.
    Transaction(TxId),
    /// No events: only the end of the session matters.
    Nothing,
}

/// Estimated bytes of a commit without its entry, and of an event without its data.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// Events that were selected for an actor, with a limit on their number and bytes, but at least
/// one.
#[derive(Debug)]
pub(super) struct EventBatch {
    pub(super) events: Vec<FeedEvent>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

impl EventBatch {
    /// Returns an empty batch.
    pub(super) const fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events: Vec::new(), bytes: 0, events_max, bytes_max }
    }

    /// Returns whether the batch is full.
    pub(super) const fn is_full(&self) -> bool {
        self.events.len() >= self.events_max || self.bytes >= self.bytes_max
    }

    fn push(&mut self, event: FeedEvent) {
        self.bytes += EVENT_OVERHEAD_BYTES + event.data.len();
        self.events.push(event);
    }
}

/// A decoded commit.
#[derive(Debug)]
pub(super) struct FeedCommit {
    pub(super) revision: Revision,
    mark: u32,
    /// Estimated bytes in memory.
    pub(super) bytes: usize,
    at: Time,
    actor: Arc<EventActor>,
    pub(super) txs: Vec<FeedTransaction>,
    pub(super) events: Vec<CommitEvent>,
}

/// The part of a transaction that decides who may see its events.
#[derive(Debug)]
pub(super) struct FeedTransaction {
    pub(super) id: TxId,
    pub(super) owner: OwnerId,
    pub(super) asked: Vec<String>,
    pub(super) definition: Arc<Definition>,
}

#[derive(Debug)]
pub(super) struct CommitEvent {
    pub(super) kind: Arc<str>,
    data: Arc<str>,
    pub(super) about: About,
}

impl FeedCommit {
    /// Decodes a commit of the log.
    pub(super) fn read(
        store: &dyn Store,
        definitions: &Definitions,
        entry: &LogEntry,
    ) -> Result<Self, ReadError> {
        // The server's own commits have no events.
        let read = if entry.entry.is_empty() {
            EntryV1::default()
        } else {
            EntryV1::decode(&entry.entry)?
        };
        let EntryV1 { actor, who, via, txs, events, .. } = read;
        let name = (!who.is_empty()).then_some(who);
        let tx = |tx: TxMarkV1| FeedTransaction::read(store, definitions, tx);
        let event = |event: crate::records::entry::EventV1| CommitEvent {
            about: event.about(),
            kind: event.kind.into(),
            data: event.data.into(),
        };
        let bytes = EVENT_OVERHEAD_BYTES + 2 * entry.entry.len();
        Ok(Self {
            revision: entry.revision,
            mark: mark_of(entry),
            bytes,
            at: Time::from_ms(entry.at_ms),
            actor: Arc::new(EventActor { kind: actor, name, via }),
            txs: txs.into_iter().map(tx).collect::<Result<_, _>>()?,
            events: events.into_iter().map(event).collect(),
        })
    }

    /// Returns a commit without events.
    #[cfg(test)]
    pub(super) fn nothing(revision: Revision, bytes: usize) -> Self {
        let actor = EventActor { kind: String::new(), name: None, via: None };
        let (txs, events) = (Vec::new(), Vec::new());
        let actor = Arc::new(actor);
        Self { revision, mark: 1, bytes, at: Time::ZERO, actor, txs, events }
    }

    /// Adds the events after `after` that the actor may see, while there is room. Returns the
    /// position up to which the commit was examined. `owns_now` decides whether a transaction of an
    /// anonymous session is the actor's now: that session was the same person.
    pub(super) fn for_actor(
        &self,
        actor: &Actor,
        owns_now: &dyn Fn(TxId) -> bool,
        scope: FeedScope,
        after: EventId,
        into: &mut EventBatch,
    ) -> EventId {
        let end = EventId::end_of(self.revision).with_mark(self.mark);
        if end <= after {
            return after;
        }
        // Hidden keys of each transaction; `None`: all of it is hidden.
        let rights: Vec<_> = self.txs.iter().map(|tx| tx.hidden_from(actor, owns_now)).collect();
        for (place, event) in self.events.iter().enumerate() {
            let place = u16::try_from(place).unwrap_or(u16::MAX - 1);
            let id = EventId { revision: self.revision, place, mark: self.mark };
            let tx = event.tx();
            let wanted = match scope {
                FeedScope::All => true,
                FeedScope::Transaction(id) => {
                    tx.and_then(|tx| self.txs.get(tx)).is_some_and(|tx| tx.id == id)
                }
                FeedScope::Nothing => false,
            };
            if !wanted || id <= after {
                continue;
            }
            let hidden = match (&event.about, tx.and_then(|tx| rights.get(tx))) {
                (About::Tx(_), Some(Some(hidden))) => hidden.as_slice(),
                (About::Tx(_), _) => continue,
                (about, _) if sees(actor, about) => &[],
                _ => continue,
            };
            if into.is_full() {
                return id.before();
            }
            into.push(FeedEvent {
                id,
                at: self.at,
                kind: Arc::clone(&event.kind),
                actor: Arc::clone(&self.actor),
                subject: self.subject(&event.about),
                transaction: tx.and_then(|tx| self.txs.get(tx)).map(|tx| tx.id),
                data: event.without(hidden),
            });
        }
        end
    }

    fn subject(&self, about: &About) -> Option<String> {
        match about {
            About::Server => None,
            About::Tx(tx) => self.txs.get(*tx).map(|tx| tx.id.to_string()),
            About::Session(id, _) => Some(id.to_string()),
            About::User(id) => Some(id.to_string()),
            About::Key(id) => Some(id.to_string()),
            About::Accounts(accounts, _) => accounts.first().map(|account| account.id.clone()),
        }
    }
}

impl FeedTransaction {
    fn read(
        store: &dyn Store,
        definitions: &Definitions,
        mark: TxMarkV1,
    ) -> Result<Self, ReadError> {
        let wrong = |what: &str| DecodeError {
            key: format!("the log entry of {}", mark.id()),
            what: what.to_owned(),
        };
        let name = mark.workflow.parse().map_err(|_| wrong("it names no workflow"))?;
        let record_key = RecordKey::Definition(name, mark.version);
        let loaded = definitions.read(store, View::Committed, &record_key)?;
        let Some(Record::Definition(published)) = loaded.as_ref().map(|(record, _)| &**record)
        else {
            return Err(wrong("its workflow is not there").into());
        };
        let definition = Arc::clone(&published.definition);
        Ok(Self { id: mark.id(), owner: mark.owner(), asked: mark.asked, definition })
    }

    /// Returns the keys of its data that are hidden from the actor, or `None` if the whole
    /// transaction is. The rule of [`may_see`](crate::engine::may_see), applied to the log's record
    /// of it.
    fn hidden_from(&self, actor: &Actor, owns_now: &dyn Fn(TxId) -> bool) -> Option<Vec<&str>> {
        let is_asked = || {
            let user = actor.user().map(|user| user.username.as_str());
            user.is_some_and(|user| self.asked.iter().any(|asked| asked == user))
        };
        let was_anonymous = matches!(self.owner, OwnerId::Session(_));
        let owns = owns(self.owner, actor)
            || (was_anonymous && actor.user().is_some() && owns_now(self.id));
        let sees = owns || sees_workflow(&self.definition, actor) || is_asked();
        sees.then(|| hidden(&self.definition, actor, owns).collect())
    }
}

impl CommitEvent {
    fn tx(&self) -> Option<usize> {
        match self.about {
            About::Tx(tx) | About::Accounts(_, Some(tx)) => Some(tx),
            _ => None,
        }
    }

    /// Returns its data without the hidden keys. An input may repeat hidden data, so if any key is
    /// hidden, all inputs are.
    fn without(&self, hidden: &[&str]) -> Arc<str> {
        without(&self.data, hidden)
    }
}

impl FeedEvent {
    /// Returns the event without these keys of a transaction's data.
    #[must_use]
    pub fn without(self, hidden: &[&str]) -> Self {
        Self { data: without(&self.data, hidden), ..self }
    }
}

fn without(data: &Arc<str>, hidden: &[&str]) -> Arc<str> {
    if hidden.is_empty() {
        return Arc::clone(data);
    }
    let Ok(Value::Object(mut data)) = serde_json::from_str(data) else {
        return "{}".into();
    };
    data.remove("input");
    // The reason why a transaction is stuck may contain values that a failed expression used.
    if let Some(message) = data.get_mut("message") {
        *message = REDACTED.into();
    }
    let strip = |data: &mut Map<String, Value>| {
        data.retain(|key, _| !hidden.contains(&key.as_str()));
    };
    for part in ["data", "set", "added"] {
        if let Some(Value::Object(part)) = data.get_mut(part) {
            strip(part);
        }
    }
    if let Some(Value::Array(removed)) = data.get_mut("removed") {
        removed.retain(|key| key.as_str().is_none_or(|key| !hidden.contains(&key)));
    }
    Value::Object(data).to_string().into()
}

/// Returns whether the actor may see an event that is of no transaction.
fn sees(actor: &Actor, about: &About) -> bool {
    let is_user = |id| actor.user().is_some_and(|user| user.id == id);
    if is_auditor(actor) {
        return true;
    }
    match about {
        About::Server | About::Tx(_) => false,
        About::Session(id, user) => actor.session() == Some(*id) || user.is_some_and(is_user),
        About::User(id) => is_user(*id),
        About::Key(id) => matches!(actor, Actor::Key(key) if key.key.id == *id),
        About::Accounts(accounts, _) => {
            let owns = |account: &AccountMark| account.owner.is_some_and(is_user);
            matches!(actor, Actor::Key(_)) || accounts.iter().any(owns)
        }
    }
}

/// Returns whether the actor may see everything.
pub(super) fn is_auditor(actor: &Actor) -> bool {
    *actor == Actor::System || actor.has(Role::AUDITOR)
}

/// Returns whether the actor may see every event of this transaction's workflow.
pub(super) fn sees_all_of_workflow(actor: &Actor, tx: &FeedTransaction) -> bool {
    sees_all(actor) || sees_workflow(&tx.definition, actor)
}
