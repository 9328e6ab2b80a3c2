//! Keys: one enum for everything that lies in the store, with prefixes that keep order.

use std::str::FromStr;

use crate::engine::{
    Actor, Digest, IndexEntry, OwnerId, RecordKey, StoredId, Timer, TimerOf, ValueKey, Who, WhoId,
};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, Revision, ScheduleId, SessionId, Time, TokenHash,
    TransferId, TxId, UserId, Username, ValueName, WebhookId, WorkflowName,
};

/// Whose an Idempotency-Key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A user's, in whatever session.
    User(UserId),
    /// An API key's.
    Key(KeyId),
    /// An anonymous session's.
    Session(SessionId),
    /// A hook's, by a hash of its name.
    Hook(u128),
}

impl Scope {
    /// Whose a key is that this actor sends; `None`: nobody's.
    #[must_use]
    pub fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Session(session) => Some(match &session.user {
                Some(user) => Self::User(user.id),
                None => Self::Session(session.session),
            }),
            Actor::Key(key) => Some(Self::Key(key.key.id)),
            Actor::Hook(_) => match Who::of(actor).id {
                WhoId::Hook(id) => Some(Self::Hook(id)),
                _ => None,
            },
            Actor::Nobody | Actor::Workflow(..) | Actor::System => None,
        }
    }
}

/// Every key of the store. Keys are ordered as their bytes are; what belongs together has a prefix
/// in common, and no key is a prefix of another kind's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The clock's marks.
    Clock,
    /// [`RecordKey::User`].
    User(UserId),
    /// [`RecordKey::Name`].
    Name(Username),
    /// A part of [`RecordKey::UserData`].
    UserData(UserId, u8),
    /// [`RecordKey::UserSessions`].
    UserSessions(UserId),
    /// [`RecordKey::RoleChanges`].
    RoleChanges(UserId),
    /// [`RecordKey::Session`].
    Session(SessionId),
    /// A part of [`RecordKey::SessionData`].
    SessionData(SessionId, u8),
    /// [`RecordKey::Token`].
    Token(TokenHash),
    /// [`RecordKey::Key`].
    ApiKey(KeyId),
    /// [`RecordKey::KeyCount`].
    KeyCount,
    /// [`RecordKey::AdministratorCount`].
    AdministratorCount,
    /// [`RecordKey::SessionCount`].
    SessionCount,
    /// [`RecordKey::KeptSessions`].
    KeptSessions(KeyId),
    /// A part of [`RecordKey::Stored`].
    Stored(StoredId, u8),
    /// [`RecordKey::Attempts`].
    Attempts(Digest),
    /// A timer, ordered by its due time.
    Timer(Timer),
    /// A part of the answer to an Idempotency-Key: whose, and a keyed hash of the key.
    Answer(Scope, Digest, u8),
    /// How many live Idempotency-Keys somebody has, by the hour.
    AnswerCount(Scope),
    /// A list of an actor's answers, under the hour (since the Unix epoch) and the commit that wrote
    /// it: those of one hour are forgotten together.
    AnswerBlock(u32, Scope, Revision),
    /// [`RecordKey::AssetCount`].
    AssetCount,
    /// [`RecordKey::Asset`].
    Asset(AssetCode),
    /// [`RecordKey::Totals`].
    Totals(AssetCode),
    /// [`RecordKey::Account`].
    Account(AccountId),
    /// That an account is a user's; nothing lies there.
    Owned(UserId, AccountId),
    /// A line of an account's statement: the commit, and its place among the rows of that.
    Entry(AccountId, Revision, u32),
    /// [`RecordKey::Hold`].
    Hold(HoldId),
    /// [`RecordKey::Transfer`].
    Transfer(TransferId),
    /// A part of [`RecordKey::Tx`].
    Tx(TxId, u8),
    /// By which lists find a transaction; nothing lies there.
    IndexEntry(IndexEntry),
    /// That a commit, and those whose revisions lie there, changed or told of a transaction whose
    /// record names them no more, or never did.
    TxLog(TxId, Revision),
    /// [`RecordKey::Reference`].
    Reference(WorkflowName, Digest),
    /// [`RecordKey::One`].
    One(WorkflowName, Digest),
    /// [`RecordKey::OpenCount`].
    OpenCount(WorkflowName, u32),
    /// [`RecordKey::Workflow`].
    Workflow(WorkflowName),
    /// [`RecordKey::WorkflowCount`].
    WorkflowCount,
    /// A part of [`RecordKey::Definition`].
    Definition(WorkflowName, u32, u8),
    /// [`RecordKey::Value`].
    Value(ValueKey),
    /// [`RecordKey::ValueSet`].
    ValueSet(ValueName),
    /// [`RecordKey::Job`].
    Job(JobId),
    /// [`RecordKey::Schedule`].
    Schedule(ScheduleId),
    /// [`RecordKey::ScheduleCount`].
    ScheduleCount,
    /// [`RecordKey::Webhook`].
    Webhook(WebhookId),
    /// [`RecordKey::WebhookCount`].
    WebhookCount,
    /// [`RecordKey::DeadLetter`].
    DeadLetter(WebhookId, u64),
}

/// The first byte of each kind: what is written once never changes its meaning.
mod tag {
    pub(super) const CLOCK: u8 = 0x02;
    pub(super) const USER: u8 = 0x10;
    pub(super) const NAME: u8 = 0x11;
    pub(super) const USER_DATA: u8 = 0x12;
    pub(super) const USER_SESSIONS: u8 = 0x13;
    pub(super) const ROLE_CHANGES: u8 = 0x14;
    pub(super) const SESSION: u8 = 0x20;
    pub(super) const SESSION_DATA: u8 = 0x21;
    pub(super) const TOKEN: u8 = 0x22;
    pub(super) const API_KEY: u8 = 0x30;
    pub(super) const KEY_COUNT: u8 = 0x31;
    pub(super) const ADMINISTRATOR_COUNT: u8 = 0x32;
    pub(super) const SESSION_COUNT: u8 = 0x33;
    pub(super) const KEPT_SESSIONS: u8 = 0x35;
    pub(super) const STORED: u8 = 0x38;
    pub(super) const ATTEMPTS: u8 = 0x40;
    pub(super) const TIMER: u8 = 0x50;
    pub(super) const ANSWER: u8 = 0x60;
    pub(super) const ANSWER_COUNT: u8 = 0x61;
    pub(super) const ANSWER_BLOCK: u8 = 0x62;
    pub(super) const ASSET_COUNT: u8 = 0x70;
    pub(super) const ASSET: u8 = 0x71;
    pub(super) const TOTALS: u8 = 0x72;
    pub(super) const ACCOUNT: u8 = 0x73;
    pub(super) const OWNED: u8 = 0x74;
    pub(super) const ENTRY: u8 = 0x75;
    pub(super) const HOLD: u8 = 0x76;
    pub(super) const TRANSFER: u8 = 0x77;
    pub(super) const TX: u8 = 0x80;
    pub(super) const TX_OF: u8 = 0x81;
    pub(super) const OPEN_OF: u8 = 0x82;
    pub(super) const END_WITH: u8 = 0x83;
    pub(super) const ROLE_INBOX: u8 = 0x84;
    pub(super) const USER_INBOX: u8 = 0x85;
    pub(super) const STUCK: u8 = 0x86;
    pub(super) const REFERENCE: u8 = 0x87;
    pub(super) const ONE: u8 = 0x88;
    pub(super) const OPEN_COUNT: u8 = 0x89;
    pub(super) const QUEUED: u8 = 0x8a;
    pub(super) const ACTED_IN: u8 = 0x8e;
    pub(super) const TX_LOG: u8 = 0x8f;
    pub(super) const SESSION_VIA: u8 = 0x8b;
    pub(super) const CALL_DUE: u8 = 0x8c;
    pub(super) const CALL_OUT: u8 = 0x8d;
    pub(super) const WORKFLOW: u8 = 0x90;
    pub(super) const WORKFLOW_COUNT: u8 = 0x91;
    pub(super) const DEFINITION: u8 = 0x92;
    pub(super) const VALUE: u8 = 0x93;
    pub(super) const VALUE_SET: u8 = 0x94;
    pub(super) const JOB: u8 = 0xb0;
    pub(super) const SCHEDULE: u8 = 0xb1;
    pub(super) const SCHEDULE_COUNT: u8 = 0xb2;
    pub(super) const WEBHOOK: u8 = 0xb3;
    pub(super) const WEBHOOK_COUNT: u8 = 0xb4;
    pub(super) const DEAD_LETTER: u8 = 0xb5;
}

impl Key {
    /// What all users' keys begin with.
    pub const USERS: &'static [u8] = &[tag::USER];
    /// What all sessions' keys begin with.
    pub const SESSIONS: &'static [u8] = &[tag::SESSION];
    /// What all API keys' keys begin with.
    pub const API_KEYS: &'static [u8] = &[tag::API_KEY];
    /// What all timers' keys begin with; in their order they fire.
    pub const TIMERS: &'static [u8] = &[tag::TIMER];
    /// What all answers' keys begin with.
    pub const ANSWERS: &'static [u8] = &[tag::ANSWER];
    /// What all answer counts' keys begin with.
    pub const ANSWER_COUNTS: &'static [u8] = &[tag::ANSWER_COUNT];
    /// What all lists of answers begin with; those of the oldest hour come first.
    pub const ANSWER_BLOCKS: &'static [u8] = &[tag::ANSWER_BLOCK];

    /// What the lists of an actor's answers of one hour begin with; the revision follows.
    #[must_use]
    pub fn blocks_of(hour: u32, scope: Scope) -> Vec<u8> {
        let mut prefix = vec![tag::ANSWER_BLOCK];
        prefix.extend_from_slice(&hour.to_be_bytes());
        put_scope(&mut prefix, &scope);
        prefix
    }

    /// What all failed logins' keys begin with.
    pub const ATTEMPTS: &'static [u8] = &[tag::ATTEMPTS];
    /// What the keys of all assets that were put begin with.
    pub const ASSETS: &'static [u8] = &[tag::ASSET];
    /// What all totals' keys begin with.
    pub const TOTALS: &'static [u8] = &[tag::TOTALS];
    /// What all accounts' keys begin with; the text of the id follows.
    pub const ACCOUNTS: &'static [u8] = &[tag::ACCOUNT];
    /// What all holds' keys begin with.
    pub const HOLDS: &'static [u8] = &[tag::HOLD];

    /// What all transactions' keys begin with; the id and the part follow.
    pub const TXS: &'static [u8] = &[tag::TX];
    /// What the marks of calls that are due begin with; in their order they are sent.
    pub const CALLS_DUE: &'static [u8] = &[tag::CALL_DUE];
    /// All transactions that are stuck.
    pub const STUCK: &'static [u8] = &[tag::STUCK];
    /// What the marks of calls that are on their way begin with.
    pub const CALLS_OUT: &'static [u8] = &[tag::CALL_OUT];
    /// What the keys of all workflows begin with; the text of the name follows.
    pub const WORKFLOWS: &'static [u8] = &[tag::WORKFLOW];

    /// What the keys of the commits that tell of a transaction begin with; the revision follows.
    #[must_use]
    pub fn log_of(tx: TxId) -> Vec<u8> {
        let mut prefix = Vec::new();
        put_id(&mut prefix, tag::TX_LOG, tx.bits());
        prefix
    }
    /// What the keys of all schedules begin with.
    pub const SCHEDULES: &'static [u8] = &[tag::SCHEDULE];

    /// What the keys of all webhooks begin with.
    pub const WEBHOOKS: &'static [u8] = &[tag::WEBHOOK];

    /// What the keys of a webhook's dead letters begin with; the number follows.
    #[must_use]
    pub fn dead_letters_of(webhook: WebhookId) -> Vec<u8> {
        let mut prefix = Vec::new();
        put_id(&mut prefix, tag::DEAD_LETTER, webhook.bits());
        prefix
    }

    /// What the index entries of the sessions that an API key opened begin with; the id follows.
    #[must_use]
    pub fn sessions_via(key: KeyId) -> Vec<u8> {
        let mut prefix = Vec::new();
        put_id(&mut prefix, tag::SESSION_VIA, key.bits());
        prefix
    }

    /// Where the timers begin that are due at this time or later.
    #[must_use]
    pub fn timers_from(due: Time) -> Vec<u8> {
        let mut key = Self::TIMERS.to_vec();
        key.extend(due.ms().to_be_bytes());
        key
    }

    /// What the keys of a set of reference values begin with; the text of the key follows.
    #[must_use]
    pub fn values_of(set: &ValueName) -> Vec<u8> {
        let mut prefix = vec![tag::VALUE];
        put_closed(&mut prefix, set.as_str());
        prefix
    }

    /// What the keys of an account's statement begin with.
    #[must_use]
    pub fn entries_of(account: &AccountId) -> Vec<u8> {
        let mut prefix = vec![tag::ENTRY];
        put_closed(&mut prefix, account.as_str());
        prefix
    }

    /// What the keys of a user's accounts begin with; the text of the id follows.
    #[must_use]
    pub fn owned_by(user: UserId) -> Vec<u8> {
        let mut prefix = Vec::new();
        put_id(&mut prefix, tag::OWNED, user.bits());
        prefix
    }

    /// The key of a fact; of one in parts, the first part's.
    #[must_use]
    pub fn of(fact: &RecordKey) -> Self {
        Self::part(fact, 0)
    }

    /// The key of one part of a fact.
    #[must_use]
    pub(super) fn part(fact: &RecordKey, part: u8) -> Self {
        match fact {
            RecordKey::User(id) => Self::User(*id),
            RecordKey::Name(name) => Self::Name(name.clone()),
            RecordKey::UserData(id) => Self::UserData(*id, part),
            RecordKey::UserSessions(id) => Self::UserSessions(*id),
            RecordKey::RoleChanges(id) => Self::RoleChanges(*id),
            RecordKey::Session(id) => Self::Session(*id),
            RecordKey::SessionData(id) => Self::SessionData(*id, part),
            RecordKey::Token(hash) => Self::Token(*hash),
            RecordKey::Key(id) => Self::ApiKey(*id),
            RecordKey::KeyCount => Self::KeyCount,
            RecordKey::SessionsVia(key, after) => {
                Self::IndexEntry(IndexEntry::SessionVia(*key, *after))
            }
            RecordKey::KeptSessions(key) => Self::KeptSessions(*key),
            RecordKey::AdministratorCount => Self::AdministratorCount,
            RecordKey::SessionCount => Self::SessionCount,
            RecordKey::Stored(id) => Self::Stored(*id, part),
            RecordKey::Attempts(digest) => Self::Attempts(*digest),
            RecordKey::AssetCount => Self::AssetCount,
            RecordKey::Asset(code) => Self::Asset(code.clone()),
            RecordKey::Totals(code) => Self::Totals(code.clone()),
            RecordKey::Account(id) => Self::Account(id.clone()),
            RecordKey::Hold(id) => Self::Hold(id.clone()),
            RecordKey::Transfer(id) => Self::Transfer(id.clone()),
            RecordKey::Tx(id) => Self::Tx(*id, part),
            RecordKey::OpenOf(who, after) => Self::IndexEntry(IndexEntry::OpenOf(*who, *after)),
            RecordKey::TxsOf(who, after) => Self::IndexEntry(IndexEntry::TxOf(*who, *after)),
            RecordKey::EndWith(session, after) => {
                Self::IndexEntry(IndexEntry::EndWith(*session, *after))
            }
            RecordKey::ActedIn(session, after) => {
                Self::IndexEntry(IndexEntry::ActedIn(*session, *after))
            }
            RecordKey::Asked(user, id) => {
                Self::IndexEntry(IndexEntry::UserInbox(user.clone(), *id))
            }
            RecordKey::Reference(name, digest) => Self::Reference(name.clone(), *digest),
            RecordKey::One(name, digest) => Self::One(name.clone(), *digest),
            RecordKey::OpenCount(name, version) => Self::OpenCount(name.clone(), *version),
            RecordKey::Workflow(name) => Self::Workflow(name.clone()),
            RecordKey::WorkflowCount => Self::WorkflowCount,
            RecordKey::Definition(name, version) => Self::Definition(name.clone(), *version, part),
            RecordKey::Value(id) => Self::Value(id.clone()),
            RecordKey::ValueSet(set) => Self::ValueSet(set.clone()),
            // Behind the last part of it.
            RecordKey::Txs(after) => Self::Tx(*after, u8::MAX),
            RecordKey::Job(id) => Self::Job(*id),
            RecordKey::Schedule(id) => Self::Schedule(*id),
            RecordKey::ScheduleCount => Self::ScheduleCount,
            RecordKey::Webhook(id) => Self::Webhook(*id),
            RecordKey::WebhookCount => Self::WebhookCount,
            RecordKey::DeadLetter((id, number)) => Self::DeadLetter(*id, *number),
        }
    }

    /// The key's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        out
    }

    /// Writes the key's bytes behind others.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Clock => out.push(tag::CLOCK),
            Self::User(id) => put_id(out, tag::USER, id.bits()),
            Self::Name(name) => put_text(out, tag::NAME, name.as_str()),
            Self::UserData(id, part) => {
                put_id(out, tag::USER_DATA, id.bits());
                out.push(*part);
            }
            Self::UserSessions(id) => put_id(out, tag::USER_SESSIONS, id.bits()),
            Self::RoleChanges(id) => put_id(out, tag::ROLE_CHANGES, id.bits()),
            Self::Session(id) => put_id(out, tag::SESSION, id.bits()),
            Self::SessionData(id, part) => {
                put_id(out, tag::SESSION_DATA, id.bits());
                out.push(*part);
            }
            Self::Token(hash) => {
                out.push(tag::TOKEN);
                out.extend_from_slice(hash.bytes());
            }
            Self::ApiKey(id) => put_id(out, tag::API_KEY, id.bits()),
            Self::KeptSessions(id) => put_id(out, tag::KEPT_SESSIONS, id.bits()),
            Self::KeyCount => out.push(tag::KEY_COUNT),
            Self::AdministratorCount => out.push(tag::ADMINISTRATOR_COUNT),
            Self::SessionCount => out.push(tag::SESSION_COUNT),
            Self::Stored(id, part) => {
                out.push(tag::STORED);
                put_stored(out, id);
                out.push(*part);
            }
            Self::Attempts(digest) => {
                out.push(tag::ATTEMPTS);
                out.extend_from_slice(digest);
            }
            Self::Timer(timer) => put_timer(out, timer),
            Self::Answer(scope, digest, part) => {
                out.push(tag::ANSWER);
                put_scope(out, scope);
                out.extend_from_slice(digest);
                out.push(*part);
            }
            Self::AnswerCount(scope) => {
                out.push(tag::ANSWER_COUNT);
                put_scope(out, scope);
            }
            Self::AnswerBlock(hour, scope, at) => put_block(out, *hour, scope, *at),
            Self::AssetCount => out.push(tag::ASSET_COUNT),
            Self::Asset(code) => put_text(out, tag::ASSET, code.as_str()),
            Self::Totals(code) => put_text(out, tag::TOTALS, code.as_str()),
            Self::Account(id) => put_text(out, tag::ACCOUNT, id.as_str()),
            Self::Owned(user, id) => {
                put_id(out, tag::OWNED, user.bits());
                out.extend_from_slice(id.as_str().as_bytes());
            }
            Self::Entry(id, revision, number) => {
                out.push(tag::ENTRY);
                put_closed(out, id.as_str());
                out.extend_from_slice(&revision.get().to_be_bytes());
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Hold(id) => put_text(out, tag::HOLD, id.as_str()),
            Self::Transfer(id) => put_text(out, tag::TRANSFER, id.as_str()),
            Self::Tx(id, part) => {
                put_id(out, tag::TX, id.bits());
                out.push(*part);
            }
            Self::IndexEntry(mark) => put_mark(out, mark),
            Self::TxLog(id, revision) => {
                put_id(out, tag::TX_LOG, id.bits());
                out.extend_from_slice(&revision.get().to_be_bytes());
            }
            Self::Reference(name, digest) => {
                put_named(out, tag::REFERENCE, name, digest);
            }
            Self::One(name, digest) => put_named(out, tag::ONE, name, digest),
            Self::OpenCount(name, version) => {
                put_named(out, tag::OPEN_COUNT, name, &version.to_be_bytes());
            }
            Self::Workflow(name) => put_text(out, tag::WORKFLOW, name.as_str()),
            Self::WorkflowCount => out.push(tag::WORKFLOW_COUNT),
            Self::Job(id) => put_id(out, tag::JOB, id.bits()),
            Self::Schedule(id) => put_id(out, tag::SCHEDULE, id.bits()),
            Self::ScheduleCount => out.push(tag::SCHEDULE_COUNT),
            Self::Webhook(id) => put_id(out, tag::WEBHOOK, id.bits()),
            Self::WebhookCount => out.push(tag::WEBHOOK_COUNT),
            Self::DeadLetter(id, number) => {
                put_id(out, tag::DEAD_LETTER, id.bits());
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Definition(name, version, part) => {
                put_named(out, tag::DEFINITION, name, &version.to_be_bytes());
                out.push(*part);
            }
            Self::ValueSet(set) => put_text(out, tag::VALUE_SET, set.as_str()),
            Self::Value(id) => {
                out.push(tag::VALUE);
                put_closed(out, id.set.as_str());
                out.extend_from_slice(id.key.as_str().as_bytes());
            }
        }
    }

    /// Reads a key's bytes; `None`: no key is written so.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let mut rest = Bytes(rest);
        let key = match *tag {
            tag::CLOCK => Self::Clock,
            tag::USER => Self::User(UserId::new(rest.id()?)),
            tag::NAME => Self::Name(rest.text()?),
            tag::USER_DATA => Self::UserData(UserId::new(rest.id()?), rest.byte()?),
            tag::USER_SESSIONS => Self::UserSessions(UserId::new(rest.id()?)),
            tag::ROLE_CHANGES => Self::RoleChanges(UserId::new(rest.id()?)),
            tag::SESSION => Self::Session(SessionId::new(rest.id()?)),
            tag::SESSION_DATA => Self::SessionData(SessionId::new(rest.id()?), rest.byte()?),
            tag::TOKEN => Self::Token(TokenHash::new(rest.array()?)),
            tag::API_KEY => Self::ApiKey(KeyId::new(rest.id()?)),
            tag::KEY_COUNT => Self::KeyCount,
            tag::KEPT_SESSIONS => Self::KeptSessions(KeyId::new(rest.id()?)),
            tag::SESSION_VIA => Self::IndexEntry(IndexEntry::SessionVia(
                KeyId::new(rest.id()?),
                SessionId::new(rest.id()?),
            )),
            tag::ACTED_IN => {
                Self::IndexEntry(IndexEntry::ActedIn(SessionId::new(rest.id()?), rest.tx()?))
            }
            tag::ADMINISTRATOR_COUNT => Self::AdministratorCount,
            tag::SESSION_COUNT => Self::SessionCount,
            tag::STORED => Self::Stored(rest.stored()?, rest.byte()?),
            tag::ATTEMPTS => Self::Attempts(rest.array()?),
            tag::TIMER => Self::Timer(rest.timer()?),
            tag::ANSWER => Self::Answer(rest.scope()?, rest.array()?, rest.byte()?),
            tag::ANSWER_COUNT => Self::AnswerCount(rest.scope()?),
            tag::ANSWER_BLOCK => {
                let hour = u32::from_be_bytes(rest.array()?);
                let scope = rest.scope()?;
                Self::AnswerBlock(hour, scope, Revision::new(u64::from_be_bytes(rest.array()?)))
            }
            tag::ASSET_COUNT => Self::AssetCount,
            tag::ASSET => Self::Asset(rest.text()?),
            tag::TOTALS => Self::Totals(rest.text()?),
            tag::ACCOUNT => Self::Account(rest.text()?),
            tag::OWNED => Self::Owned(UserId::new(rest.id()?), rest.text()?),
            tag::ENTRY => {
                let id = rest.closed()?;
                let revision = Revision::new(u64::from_be_bytes(rest.array()?));
                Self::Entry(id, revision, u32::from_be_bytes(rest.array()?))
            }
            tag::HOLD => Self::Hold(rest.text()?),
            tag::TRANSFER => Self::Transfer(rest.text()?),
            tag::TX => Self::Tx(rest.tx()?, rest.byte()?),
            tag::TX_OF => Self::IndexEntry(IndexEntry::TxOf(rest.owner()?, rest.tx()?)),
            tag::OPEN_OF => Self::IndexEntry(IndexEntry::OpenOf(rest.owner()?, rest.tx()?)),
            tag::END_WITH => {
                Self::IndexEntry(IndexEntry::EndWith(SessionId::new(rest.id()?), rest.tx()?))
            }
            tag::ROLE_INBOX => Self::IndexEntry(IndexEntry::RoleInbox(rest.closed()?, rest.tx()?)),
            tag::USER_INBOX => Self::IndexEntry(IndexEntry::UserInbox(rest.closed()?, rest.tx()?)),
            tag::STUCK => Self::IndexEntry(IndexEntry::Stuck(rest.tx()?)),
            tag::QUEUED => {
                let (name, step) = (rest.closed()?, rest.closed()?);
                let at = rest.time()?;
                Self::IndexEntry(IndexEntry::Queued(name, step, at, rest.tx()?))
            }
            tag::TX_LOG => {
                Self::TxLog(rest.tx()?, Revision::new(u64::from_be_bytes(rest.array()?)))
            }
            tag::CALL_DUE => {
                let due = rest.time()?;
                Self::IndexEntry(IndexEntry::CallDue(
                    due,
                    rest.tx()?,
                    u32::from_be_bytes(rest.array()?),
                ))
            }
            tag::CALL_OUT => {
                Self::IndexEntry(IndexEntry::CallOut(rest.tx()?, u32::from_be_bytes(rest.array()?)))
            }
            tag::REFERENCE => Self::Reference(rest.closed()?, rest.array()?),
            tag::ONE => Self::One(rest.closed()?, rest.array()?),
            tag::OPEN_COUNT => Self::OpenCount(rest.closed()?, u32::from_be_bytes(rest.array()?)),
            tag::WORKFLOW => Self::Workflow(rest.text()?),
            tag::WORKFLOW_COUNT => Self::WorkflowCount,
            tag::JOB => Self::Job(JobId::new(rest.id()?)),
            tag::SCHEDULE => Self::Schedule(ScheduleId::new(rest.id()?)),
            tag::SCHEDULE_COUNT => Self::ScheduleCount,
            tag::WEBHOOK => Self::Webhook(WebhookId::new(rest.id()?)),
            tag::WEBHOOK_COUNT => Self::WebhookCount,
            tag::DEAD_LETTER => {
                let id = WebhookId::new(rest.id()?);
                Self::DeadLetter(id, u64::from_be_bytes(rest.array()?))
            }
            tag::DEFINITION => {
                let name = rest.closed()?;
                Self::Definition(name, u32::from_be_bytes(rest.array()?), rest.byte()?)
            }
            tag::VALUE_SET => Self::ValueSet(rest.text()?),
            tag::VALUE => {
                let set = rest.closed()?;
                Self::Value(ValueKey { set, key: rest.text()? })
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(key)
    }
}

fn put_id(out: &mut Vec<u8>, tag: u8, bits: u128) {
    out.push(tag);
    out.extend_from_slice(&bits.to_be_bytes());
}

/// A workflow's name and what follows it.
fn put_named(out: &mut Vec<u8>, tag: u8, name: &WorkflowName, rest: &[u8]) {
    out.push(tag);
    put_closed(out, name.as_str());
    out.extend_from_slice(rest);
}

fn put_owner(out: &mut Vec<u8>, tag: u8, owner: OwnerId) {
    out.push(tag);
    match owner {
        OwnerId::User(id) => put_id(out, 1, id.bits()),
        OwnerId::Session(id) => put_id(out, 2, id.bits()),
        OwnerId::Key(id) => put_id(out, 3, id.bits()),
    }
}

/// The transaction comes last in each list of transactions, so that it is in the order of their
/// starts.
fn put_mark(out: &mut Vec<u8>, mark: &IndexEntry) {
    let id = match mark {
        IndexEntry::TxOf(owner, id) => {
            put_owner(out, tag::TX_OF, *owner);
            id
        }
        IndexEntry::OpenOf(owner, id) => {
            put_owner(out, tag::OPEN_OF, *owner);
            id
        }
        IndexEntry::EndWith(session, id) => {
            put_id(out, tag::END_WITH, session.bits());
            id
        }
        IndexEntry::RoleInbox(role, id) => {
            out.push(tag::ROLE_INBOX);
            put_closed(out, role.as_str());
            id
        }
        IndexEntry::UserInbox(user, id) => {
            out.push(tag::USER_INBOX);
            put_closed(out, user.as_str());
            id
        }
        IndexEntry::Stuck(id) => {
            out.push(tag::STUCK);
            id
        }
        IndexEntry::Queued(name, step, at, id) => {
            put_named(out, tag::QUEUED, name, &[]);
            put_closed(out, step.as_str());
            out.extend_from_slice(&at.ms().to_be_bytes());
            id
        }
        IndexEntry::CallDue(due, id, number) => {
            out.push(tag::CALL_DUE);
            out.extend_from_slice(&due.ms().to_be_bytes());
            out.extend_from_slice(&id.bits().to_be_bytes());
            return out.extend_from_slice(&number.to_be_bytes());
        }
        IndexEntry::ActedIn(session, id) => {
            put_id(out, tag::ACTED_IN, session.bits());
            id
        }
        IndexEntry::SessionVia(key, session) => {
            put_id(out, tag::SESSION_VIA, key.bits());
            return out.extend_from_slice(&session.bits().to_be_bytes());
        }
        IndexEntry::CallOut(id, number) => {
            put_id(out, tag::CALL_OUT, id.bits());
            return out.extend_from_slice(&number.to_be_bytes());
        }
    };
    out.extend_from_slice(&id.bits().to_be_bytes());
}

/// A name at the end of a key.
fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    out.extend_from_slice(text.as_bytes());
}

/// A name that more follows: closed by a byte that is smaller than any in a name, so that the
/// order is that of the names.
fn put_closed(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_stored(out: &mut Vec<u8>, id: &StoredId) {
    out.extend_from_slice(&id.key.bits().to_be_bytes());
    out.extend_from_slice(&id.digest);
}

fn put_block(out: &mut Vec<u8>, hour: u32, scope: &Scope, at: Revision) {
    out.extend(Key::blocks_of(hour, *scope));
    out.extend_from_slice(&at.get().to_be_bytes());
}

fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    match scope {
        Scope::User(id) => put_id(out, 1, id.bits()),
        Scope::Key(id) => put_id(out, 2, id.bits()),
        Scope::Session(id) => put_id(out, 3, id.bits()),
        Scope::Hook(id) => put_id(out, 4, *id),
    }
}

fn put_timer(out: &mut Vec<u8>, timer: &Timer) {
    out.push(tag::TIMER);
    out.extend_from_slice(&timer.due.ms().to_be_bytes());
    match &timer.what {
        TimerOf::Session(id) => put_id(out, 1, id.bits()),
        TimerOf::Stored(id) => {
            out.push(2);
            put_stored(out, id);
        }
        TimerOf::Link(hash) => {
            out.push(3);
            out.extend_from_slice(hash.bytes());
        }
        TimerOf::Hold(id) => put_text(out, 4, id.as_str()),
        TimerOf::Tx(id) => put_id(out, 5, id.bits()),
        TimerOf::Orphans(owner, after) => {
            put_owner(out, 6, *owner);
            out.extend_from_slice(&after.bits().to_be_bytes());
        }
        TimerOf::Schedule(id) => put_id(out, 20, id.bits()),
        TimerOf::Job(id) => put_id(out, 21, id.bits()),
        TimerOf::Adopt(session, after) => {
            put_id(out, 7, session.bits());
            out.extend_from_slice(&after.bits().to_be_bytes());
        }
        TimerOf::EndVia(key, after) => {
            put_id(out, 8, key.bits());
            out.extend_from_slice(&after.bits().to_be_bytes());
        }
    }
}

/// What is left of a key's bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn id(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    fn tx(&mut self) -> Option<TxId> {
        self.id().map(TxId::new)
    }

    fn owner(&mut self) -> Option<OwnerId> {
        Some(match self.byte()? {
            1 => OwnerId::User(UserId::new(self.id()?)),
            2 => OwnerId::Session(SessionId::new(self.id()?)),
            3 => OwnerId::Key(KeyId::new(self.id()?)),
            _ => return None,
        })
    }

    /// All that is left, as a name.
    fn text<T: FromStr>(&mut self) -> Option<T> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()?.parse().ok()
    }

    /// A name that more follows.
    fn closed<T: FromStr>(&mut self) -> Option<T> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    fn stored(&mut self) -> Option<StoredId> {
        Some(StoredId { key: KeyId::new(self.id()?), digest: self.array()? })
    }

    fn scope(&mut self) -> Option<Scope> {
        Some(match self.byte()? {
            1 => Scope::User(UserId::new(self.id()?)),
            2 => Scope::Key(KeyId::new(self.id()?)),
            3 => Scope::Session(SessionId::new(self.id()?)),
            4 => Scope::Hook(self.id()?),
            _ => return None,
        })
    }

    /// A time; none is written beyond the last one.
    fn time(&mut self) -> Option<Time> {
        let ms = u64::from_be_bytes(self.array()?);
        Some(Time::from_ms(ms)).filter(|time| time.ms() == ms)
    }

    fn timer(&mut self) -> Option<Timer> {
        let due = self.time()?;
        let what = match self.byte()? {
            1 => TimerOf::Session(SessionId::new(self.id()?)),
            2 => TimerOf::Stored(self.stored()?),
            3 => TimerOf::Link(TokenHash::new(self.array()?)),
            4 => TimerOf::Hold(self.text()?),
            5 => TimerOf::Tx(self.tx()?),
            6 => TimerOf::Orphans(self.owner()?, self.tx()?),
            20 => TimerOf::Schedule(ScheduleId::new(self.id()?)),
            21 => TimerOf::Job(JobId::new(self.id()?)),
            7 => TimerOf::Adopt(SessionId::new(self.id()?), self.tx()?),
            8 => TimerOf::EndVia(KeyId::new(self.id()?), SessionId::new(self.id()?)),
            _ => return None,
        };
        Some(Timer { due, what })
    }
}
