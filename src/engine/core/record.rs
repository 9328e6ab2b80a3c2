//! What is remembered: the records that events make and change.

use std::sync::Arc;

use crate::engine::attempt::Attempts;
use crate::engine::bulk::Job;
use crate::engine::ledger::{Account, Asset, Hold, Totals, Transfer};
use crate::engine::schedule::Schedule;
use crate::engine::transaction::{OwnerId, Published, Tx, WorkflowHead};
use crate::engine::user::RoleChanges;
use crate::engine::webhook::{DeadLetter, Webhook};
use crate::engine::{ApiKey, Digest, Holder, Link, Session, Stored, StoredId, User, ValueKey};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, Role, ScheduleId, SessionId, StepName, Time,
    TokenHash, TransferId, TxId, UserId, Username, ValueName, WebhookId, WorkflowName,
};

/// Most transactions that one look into a list of them shows.
pub const TX_PAGE: usize = 50;

/// What has a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The transaction.
    pub tx: TxId,
    /// A hash of the input that it was started with.
    pub input: Digest,
}

/// A key by which lists find a transaction; nothing lies there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexEntry {
    /// It is somebody's.
    TxOf(OwnerId, TxId),
    /// It is somebody's, and open.
    OpenOf(OwnerId, TxId),
    /// It is open, and ends with a session.
    EndWith(SessionId, TxId),
    /// It waits for somebody with a role.
    RoleInbox(Role, TxId),
    /// A step of it waits, or waited, for a user by name.
    UserInbox(Username, TxId),
    /// An operator must look at it.
    Stuck(TxId),
    /// A step of a workflow waits for workers, from this time on.
    Queued(WorkflowName, StepName, Time, TxId),
    /// A session, and not a transaction, that an API key opened.
    SessionVia(KeyId, SessionId),
    /// A call of it is due.
    CallDue(Time, TxId, u32),
    /// An attempt at a call of it is on its way.
    CallOut(TxId, u32),
    /// An anonymous session was counted in an open step of it, or has claimed one.
    ActedIn(SessionId, TxId),
}

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// A [`User`].
    User(UserId),
    /// Who has, or had, a name: a [`Holder`].
    Name(Username),
    /// The data that belongs to a user.
    UserData(UserId),
    /// The [`RoleChanges`] of a user.
    RoleChanges(UserId),
    /// The live sessions of a user, oldest first.
    UserSessions(UserId),
    /// A [`Session`].
    Session(SessionId),
    /// The data of a session.
    SessionData(SessionId),
    /// What a token opens: [`Opens`].
    Token(TokenHash),
    /// An [`ApiKey`].
    Key(KeyId),
    /// The next sessions that an API key opened, after one: a look into a list.
    SessionsVia(KeyId, SessionId),
    /// Whether the sessions that a revoked API key opened live on.
    KeptSessions(KeyId),
    /// How many API keys there are.
    KeyCount,
    /// How many users there are for whom [`User::is_administrator`] holds.
    AdministratorCount,
    /// How many live sessions there are.
    SessionCount,
    /// A [`Stored`].
    Stored(StoredId),
    /// Failed attempts at a secret: [`Attempts`].
    Attempts(Digest),
    /// An [`Asset`] that was put.
    Asset(AssetCode),
    /// How many assets were put.
    AssetCount,
    /// An [`Account`].
    Account(AccountId),
    /// A [`Hold`] outside of transactions.
    Hold(HoldId),
    /// A [`Transfer`].
    Transfer(TransferId),
    /// The [`Totals`] of an asset.
    Totals(AssetCode),
    /// A transaction.
    Tx(TxId),
    /// The next open transactions of somebody after one: a look into a list.
    OpenOf(OwnerId, TxId),
    /// The next transactions of somebody after one, ended ones too: a look into a list.
    TxsOf(OwnerId, TxId),
    /// The next transactions after one that end with a session: a look into a list.
    EndWith(SessionId, TxId),
    /// The next transactions after one in which an anonymous session was counted, or has claimed a
    /// step: a look into a list.
    ActedIn(SessionId, TxId),
    /// Whether a step of a transaction was ever fixed to a user.
    Asked(Username, TxId),
    /// What has a reference.
    Reference(WorkflowName, Digest),
    /// The open transaction with a value of `unique`.
    One(WorkflowName, Digest),
    /// How many transactions of a version are open.
    OpenCount(WorkflowName, u32),
    /// Where a workflow stands.
    Workflow(WorkflowName),
    /// How many workflows there are.
    WorkflowCount,
    /// A version of a workflow.
    Definition(WorkflowName, u32),
    /// A reference value.
    Value(ValueKey),
    /// Who else may read a set of reference values; there is one for a set that anybody may read.
    ValueSet(ValueName),
    /// The next transactions of all after one, oldest first: a look into a list.
    Txs(TxId),
    /// A [`Schedule`].
    Schedule(ScheduleId),
    /// How many schedules there are.
    ScheduleCount,
    /// A [`Job`].
    Job(JobId),
    /// A [`Webhook`].
    Webhook(WebhookId),
    /// How many webhooks there are.
    WebhookCount,
    /// A [`DeadLetter`] of a webhook, by its number.
    DeadLetter((WebhookId, u64)),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of [`RecordKey::User`].
    User(User),
    /// Of [`RecordKey::Name`].
    Name(Holder),
    /// Of [`RecordKey::UserData`] and [`RecordKey::SessionData`]: a JSON object as compact text; of
    /// [`RecordKey::Value`]: any JSON.
    Data(Arc<str>),
    /// Of [`RecordKey::RoleChanges`].
    RoleChanges(RoleChanges),
    /// Of [`RecordKey::UserSessions`], and of [`RecordKey::SessionsVia`] at most [`TX_PAGE`].
    Sessions(Vec<SessionId>),
    /// Of [`RecordKey::Session`].
    Session(Session),
    /// Of [`RecordKey::Token`].
    Opens(Opens),
    /// Of [`RecordKey::Key`].
    Key(ApiKey),
    /// Of [`RecordKey::KeyCount`], [`RecordKey::AssetCount`], [`RecordKey::AdministratorCount`],
    /// [`RecordKey::SessionCount`], [`RecordKey::KeptSessions`], [`RecordKey::OpenCount`], [`RecordKey::WorkflowCount`],
    /// [`RecordKey::ScheduleCount`] and [`RecordKey::WebhookCount`].
    Count(u64),
    /// Of [`RecordKey::Stored`].
    Stored(Stored),
    /// Of [`RecordKey::Attempts`].
    Attempts(Attempts),
    /// Of [`RecordKey::Asset`].
    Asset(Asset),
    /// Of [`RecordKey::Account`].
    Account(Account),
    /// Of [`RecordKey::Hold`].
    Hold(Hold),
    /// Of [`RecordKey::Transfer`].
    Transfer(Transfer),
    /// Of [`RecordKey::Totals`].
    Totals(Totals),
    /// Of [`RecordKey::Tx`].
    Tx(Arc<Tx>),
    /// Of [`RecordKey::OpenOf`], [`RecordKey::TxsOf`], [`RecordKey::EndWith`], [`RecordKey::ActedIn`],
    /// and [`RecordKey::Txs`]: at most [`TX_PAGE`].
    Transactions(Vec<TxId>),
    /// Of [`RecordKey::Asked`].
    Asked,
    /// Of [`RecordKey::Reference`].
    Reference(Reference),
    /// Of [`RecordKey::One`].
    One(TxId),
    /// Of [`RecordKey::Workflow`].
    Workflow(WorkflowHead),
    /// Of [`RecordKey::Definition`].
    Definition(Arc<Published>),
    /// Of [`RecordKey::Schedule`].
    Schedule(Box<Schedule>),
    /// Of [`RecordKey::Job`].
    Job(Box<Job>),
    /// Of [`RecordKey::Webhook`].
    Webhook(Box<Webhook>),
    /// Of [`RecordKey::DeadLetter`].
    DeadLetter(DeadLetter),
}

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// A session.
    Session(SessionId),
    /// What an API key may do.
    Key(KeyId),
    /// The setting of a password, once.
    Link(Link),
}

/// Something that happens at a time by itself. The order is the order in which they fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// When.
    pub due: Time,
    /// What.
    pub what: TimerOf,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerOf {
    /// The end of a session.
    Session(SessionId),
    /// The end of another framework's session.
    Stored(StoredId),
    /// The end of a link.
    Link(TokenHash),
    /// The expiry of a hold outside of transactions.
    Hold(HoldId),
    /// What is due next in a transaction.
    Tx(TxId),
    /// The end of transactions whose owner or session is gone, after one.
    Orphans(OwnerId, TxId),
    /// When a schedule starts a transaction, or one that it has started ends.
    Schedule(ScheduleId),
    /// The next slice of what is done to many transactions.
    Job(JobId),
    /// That the transactions of a session become its user's, after one.
    Adopt(SessionId, TxId),
    /// The end of the sessions that a revoked API key opened, after one.
    EndVia(KeyId, SessionId),
}

impl RecordKey {
    /// Whether it is a look into a list, which nothing keeps as it is until the commit: the one
    /// who commits is the only one who could change it.
    #[must_use]
    pub const fn is_look(&self) -> bool {
        matches!(
            self,
            Self::OpenOf(..)
                | Self::TxsOf(..)
                | Self::EndWith(..)
                | Self::ActedIn(..)
                | Self::SessionsVia(..)
                | Self::Txs(_)
        )
    }
}
