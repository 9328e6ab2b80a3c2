//! Entries of the log: the actor, the request and the events of a commit, beside its writes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{DecodeError, Key, Pack, value};
use crate::engine::{
    Actor, ApiKeyEvent, AttemptEvent, Changes, Event, LedgerEvent, Owner, OwnerId, ReadSet, Record,
    RecordKey, Session, SessionEvent, Tx, UserEvent,
};
use crate::types::{AccountId, KeyId, Revision, SessionId, TxId, UserId, Username, WorkflowName};

/// Largest entry that is read, in bytes: the store's limit for a batch.
const ENTRY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Room for most entries.
const USUAL_BYTES: usize = 1024;

/// Actor, request and events of a commit, in a form that outlives the program: names and JSON text.
/// An entry holds everything that decides who may see it, so reading the log needs no record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryV1 {
    /// `nobody`, `user`, `anonymous`, `key`, `hook`, `workflow` or `system`.
    pub actor: String,
    /// The user name, the key's id, the hook's or the workflow's name; empty for the others.
    pub who: String,
    /// The session, if it came with one.
    pub session: Option<String>,
    /// The API key that opened that session on the user's behalf.
    pub via: Option<String>,
    /// The `X-Request-Id`; empty for what no request asked for.
    pub request: String,
    /// The transactions that its events are of, as they were after it.
    pub txs: Vec<TxMarkV1>,
    /// The events.
    pub events: Vec<EventV1>,
}

/// Fields of a transaction that decide who may see its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxMarkV1 {
    id: u128,
    /// The workflow that it runs.
    pub workflow: String,
    /// The version of that.
    pub version: u32,
    owner: OwnerMarkV1,
    /// The users to whom a step was ever fixed.
    pub asked: Vec<String>,
    /// The commit that last wrote its record before this one; 0: none did. So a history in which
    /// one is left out does not fit together.
    pub before: u64,
}

/// Owner of a transaction. Stored as the number of the variant, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum OwnerMarkV1 {
    User(u128),
    Session(u128),
    Key(u128),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventV1 {
    /// Its type.
    pub kind: String,
    /// Its data, as JSON text.
    pub data: String,
    about: AboutV1,
}

/// Subject of an event. Stored as the number of the variant, which never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum AboutV1 {
    Server,
    Tx(u32),
    Session(u128, Option<u128>),
    User(u128),
    Key(u128),
    Accounts { accounts: Vec<(String, Option<u128>)>, tx: Option<u32> },
}

/// Subject of an event; it decides who may see the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The server: for auditors.
    Server,
    /// The transaction at this place of the entry's.
    Tx(usize),
    /// A session, and whose it is.
    Session(SessionId, Option<UserId>),
    /// A user.
    User(UserId),
    /// An API key.
    Key(KeyId),
    /// Accounts of the ledger.
    Accounts(Vec<AccountMark>, Option<usize>),
}

/// An account that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountMark {
    /// The owner.
    pub owner: Option<UserId>,
    /// Its id, as text.
    pub id: String,
}

impl<'a> TxMarkToWrite<'a> {
    fn new(tx: &'a Tx, before: Revision) -> Self {
        Self {
            id: tx.id.bits(),
            workflow: &tx.workflow,
            version: tx.version,
            owner: match &tx.owner {
                Owner::User(user) => OwnerMarkV1::User(user.id.bits()),
                Owner::Anonymous(session) => OwnerMarkV1::Session(session.bits()),
                Owner::Key(key) => OwnerMarkV1::Key(key.id.bits()),
            },
            asked: &tx.asked,
            before: before.get(),
        }
    }
}

impl TxMarkV1 {
    /// The transaction.
    #[must_use]
    pub const fn id(&self) -> TxId {
        TxId::new(self.id)
    }

    /// The owner.
    #[must_use]
    pub const fn owner(&self) -> OwnerId {
        match self.owner {
            OwnerMarkV1::User(id) => OwnerId::User(UserId::new(id)),
            OwnerMarkV1::Session(id) => OwnerId::Session(SessionId::new(id)),
            OwnerMarkV1::Key(id) => OwnerId::Key(KeyId::new(id)),
        }
    }
}

impl EventV1 {
    /// Returns the subject.
    #[must_use]
    pub fn about(&self) -> About {
        let place = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        match &self.about {
            AboutV1::Server => About::Server,
            AboutV1::Tx(tx) => About::Tx(place(*tx)),
            AboutV1::Session(session, user) => {
                About::Session(SessionId::new(*session), user.map(UserId::new))
            }
            AboutV1::User(user) => About::User(UserId::new(*user)),
            AboutV1::Key(key) => About::Key(KeyId::new(*key)),
            AboutV1::Accounts { accounts, tx } => {
                let mark = |(id, owner): &(String, Option<u128>)| AccountMark {
                    owner: owner.map(UserId::new),
                    id: id.clone(),
                };
                About::Accounts(accounts.iter().map(mark).collect(), tx.map(place))
            }
        }
    }
}

impl EntryV1 {
    /// Reads an entry's bytes.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        value::read(&"a log entry", 1, bytes, ENTRY_BYTES_MAX)
    }
}

/// An [`EntryV1`] that is written from where its parts lie.
#[derive(Debug, Serialize)]
pub struct EntryToWrite<'a> {
    actor: &'static str,
    who: Cow<'a, str>,
    session: Option<SessionId>,
    via: Option<KeyId>,
    request: &'a str,
    txs: Vec<TxMarkToWrite<'a>>,
    events: Vec<EventToWrite<'a>>,
}

/// A [`TxMarkV1`] that is written from where its parts lie.
#[derive(Debug, Serialize)]
struct TxMarkToWrite<'a> {
    id: u128,
    workflow: &'a WorkflowName,
    version: u32,
    owner: OwnerMarkV1,
    asked: &'a [Username],
    before: u64,
}

/// An [`EventV1`] that is written from where its parts lie.
#[derive(Debug, Serialize)]
struct EventToWrite<'a> {
    kind: &'a str,
    data: String,
    about: AboutV1,
}

impl<'a> EntryToWrite<'a> {
    /// Collects the entry of a commit.
    #[must_use]
    pub fn new(
        actor: &'a Actor,
        request: &'a str,
        changes: &'a Changes,
        facts: &'a ReadSet,
    ) -> Self {
        let (kind, who) = match actor {
            Actor::Nobody => ("nobody", "".into()),
            Actor::System => ("system", "".into()),
            Actor::Hook(name) => ("hook", name.as_str().into()),
            Actor::Workflow(name, _) => ("workflow", name.as_str().into()),
            Actor::Key(key) => ("key", key.key.id.to_string().into()),
            Actor::Session(session) => match &session.user {
                Some(user) => ("user", user.username.as_str().into()),
                None => ("anonymous", "".into()),
            },
        };
        let via = match actor {
            Actor::Session(session) => session.via.as_ref().map(|key| key.id),
            _ => None,
        };
        let mut marking = Marking { changes, facts, txs: Vec::new() };
        let published = changes.events.iter().filter(|event| event.is_published());
        let events = published
            .map(|event| EventToWrite {
                kind: event.kind(),
                data: event.log_data(),
                about: marking.about(event),
            })
            .collect();
        // Transactions that changed without an event too: a history is complete.
        for fact in changes.records.keys() {
            if let RecordKey::Tx(id) = fact {
                marking.tx(*id);
            }
        }
        let (session, txs) = (actor.session(), marking.txs);
        Self { actor: kind, who, session, via, request, txs, events }
    }

    /// The rows by which the history of each transaction finds the commit, where the record of
    /// that does not name it, since it is not changed.
    pub fn put_rows(&self, changes: &Changes, revision: Revision, pack: &mut Pack) {
        for tx in &self.txs {
            let id = TxId::new(tx.id);
            if !changes.records.contains_key(&RecordKey::Tx(id)) {
                pack.put(&Key::TxLog(id, revision), |_| {});
            }
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        value::write_into(&mut bytes, 1, self);
        bytes
    }
}

/// Finds what the events of one commit are about.
struct Marking<'a> {
    changes: &'a Changes,
    facts: &'a ReadSet,
    txs: Vec<TxMarkToWrite<'a>>,
}

impl<'a> Marking<'a> {
    /// A record as the commit leaves it; of one that it deletes, as it was.
    fn record(&self, fact: &RecordKey) -> Option<&'a Record> {
        match self.changes.records.get(fact) {
            Some(Some(record)) => Some(record),
            _ => self.facts.get(fact)?.as_ref().map(|(record, _)| &**record),
        }
    }

    fn tx(&mut self, id: TxId) -> Option<u32> {
        let place = self.txs.iter().position(|tx| tx.id == id.bits());
        let place = match place {
            Some(place) => place,
            None => match self.record(&RecordKey::Tx(id)) {
                Some(Record::Tx(tx)) => {
                    let before = self.facts.get(&RecordKey::Tx(id)).and_then(Option::as_ref);
                    let before = before.map_or(Revision::ZERO, |(_, revision)| *revision);
                    let mark = TxMarkToWrite::new(tx, before);
                    self.txs.push(mark);
                    self.txs.len() - 1
                }
                _ => return None,
            },
        };
        u32::try_from(place).ok()
    }

    fn session(&self, id: SessionId) -> AboutV1 {
        let user = match self.record(&RecordKey::Session(id)) {
            Some(Record::Session(Session { user, .. })) => user.as_ref().map(|user| user.id.bits()),
            _ => None,
        };
        AboutV1::Session(id.bits(), user)
    }

    fn accounts(&mut self, accounts: &[&AccountId], tx: Option<TxId>) -> AboutV1 {
        let mark = |id: &&AccountId| match self.record(&RecordKey::Account((*id).clone())) {
            Some(Record::Account(account)) => {
                let owner = account.owner.as_ref().map(|owner| owner.id.bits());
                (id.to_string(), owner)
            }
            _ => (id.to_string(), None),
        };
        let accounts = accounts.iter().map(mark).collect();
        AboutV1::Accounts { accounts, tx: tx.and_then(|tx| self.tx(tx)) }
    }

    /// Returns what an event is about; the server itself, where it is for auditors alone.
    fn about(&mut self, event: &Event) -> AboutV1 {
        match event {
            Event::Session(event) => self.about_session(event),
            Event::User(event) => about_user(event),
            Event::ApiKey(ApiKeyEvent::Created { key } | ApiKeyEvent::Revoked { key, .. }) => {
                AboutV1::Key(key.id.bits())
            }
            Event::Attempt(AttemptEvent::LoginFailed { user: Some(user), .. }) => {
                AboutV1::User(user.id.bits())
            }
            Event::Ledger(event) => self.about_ledger(event),
            Event::Tx { tx, .. } => self.tx(*tx).map_or(AboutV1::Server, AboutV1::Tx),
            Event::Attempt(
                AttemptEvent::LoginFailed { user: None, .. }
                | AttemptEvent::CodeFailed { .. }
                | AttemptEvent::FailuresMoved { .. }
                | AttemptEvent::FailuresForgotten { .. },
            )
            | Event::Value(_)
            | Event::WorkflowPublished { .. }
            | Event::WorkflowRetired { .. }
            | Event::Notice { .. }
            | Event::Denied { .. } => AboutV1::Server,
        }
    }

    fn about_session(&self, event: &SessionEvent) -> AboutV1 {
        match event {
            SessionEvent::Opened { session, .. } => {
                let user = session.user.as_ref().map(|user| user.id.bits());
                AboutV1::Session(session.id.bits(), user)
            }
            SessionEvent::Upgraded { session, .. }
            | SessionEvent::TokenReplaced { session, .. }
            | SessionEvent::DataWritten { session, .. }
            | SessionEvent::FactsWritten { session, .. }
            | SessionEvent::Elevated { session, .. }
            | SessionEvent::Ended { session, .. } => self.session(*session),
            SessionEvent::ExternalWritten { id, .. } | SessionEvent::ExternalEnded { id } => {
                AboutV1::Key(id.key.bits())
            }
            SessionEvent::Touched { .. }
            | SessionEvent::Rescheduled { .. }
            | SessionEvent::ExternalTouched { .. }
            | SessionEvent::ExternalRescheduled { .. } => AboutV1::Server,
        }
    }

    fn about_ledger(&mut self, event: &LedgerEvent) -> AboutV1 {
        match event {
            LedgerEvent::AssetPut { .. } => AboutV1::Server,
            LedgerEvent::AccountOpened { account } => {
                let owner = account.owner.as_ref().map(|owner| owner.id.bits());
                AboutV1::Accounts { accounts: vec![(account.id.to_string(), owner)], tx: None }
            }
            LedgerEvent::AccountChanged { account, .. }
            | LedgerEvent::AccountClosed { account } => self.accounts(&[account], None),
            LedgerEvent::TransferPosted { transfer } => {
                self.accounts(&[&transfer.from, &transfer.to], transfer.tx)
            }
            LedgerEvent::HoldPlaced { hold }
            | LedgerEvent::HoldCaptured { hold, .. }
            | LedgerEvent::HoldVoided { hold, .. }
            | LedgerEvent::HoldExpired { hold, .. } => self.accounts(&[&hold.account], hold.tx),
        }
    }
}

fn about_user(event: &UserEvent) -> AboutV1 {
    match event {
        UserEvent::Created { user } => AboutV1::User(user.id.bits()),
        UserEvent::Deleted { user } => AboutV1::User(user.id.bits()),
        UserEvent::Changed { user, .. }
        | UserEvent::PasswordSet { user, .. }
        | UserEvent::RoleChangesNoted { user, .. }
        | UserEvent::SessionsVoided { user }
        | UserEvent::DataWritten { user, .. } => AboutV1::User(user.bits()),
        UserEvent::PasswordRehashed { .. }
        | UserEvent::LinkMade { .. }
        | UserEvent::LinkEnded { .. } => AboutV1::Server,
    }
}
