//! Records: the state that events create and change.

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

/// Maximum number of transactions that one index scan returns.
pub const TX_PAGE: usize = 50;

/// The transaction that was started with a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The transaction.
    pub tx: TxId,
    /// Hash of the input at its start.
    pub input: Digest,
}

/// Index entry by which lists find a transaction or session. It has no value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexEntry {
    /// A transaction, by owner.
    TxOf(OwnerId, TxId),
    /// An open transaction, by owner.
    OpenOf(OwnerId, TxId),
    /// An open transaction that ends with a session.
    EndWith(SessionId, TxId),
    /// A transaction that waits for anybody with a role.
    RoleInbox(Role, TxId),
    /// A transaction of which a step waits, or waited, for a user by name.
    UserInbox(Username, TxId),
    /// A stuck transaction, which needs an operator.
    Stuck(TxId),
    /// A step of a workflow that waits for workers, from this time on.
    Queued(WorkflowName, StepName, Time, TxId),
    /// A session that an API key opened.
    SessionVia(KeyId, SessionId),
    /// A due call of a transaction.
    CallDue(Time, TxId, u32),
    /// A call of a transaction with an attempt in flight.
    CallOut(TxId, u32),
    /// A transaction in which an anonymous session was counted in an open step, or claimed one.
    ActedIn(SessionId, TxId),
}

/// Key of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// A [`User`].
    User(UserId),
    /// The [`Holder`] of a username, now or formerly.
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
    /// The thing that a token opens: [`Opens`].
    Token(TokenHash),
    /// An [`ApiKey`].
    Key(KeyId),
    /// Index scan: the next sessions that an API key opened, after one.
    SessionsVia(KeyId, SessionId),
    /// Nonzero if the sessions that a revoked API key opened stay open.
    KeptSessions(KeyId),
    /// Number of API keys.
    KeyCount,
    /// Number of users for whom [`User::is_administrator`] holds.
    AdministratorCount,
    /// Number of live sessions.
    SessionCount,
    /// A [`Stored`].
    Stored(StoredId),
    /// Failed attempts at a secret: [`Attempts`].
    Attempts(Digest),
    /// An [`Asset`] that is not built in.
    Asset(AssetCode),
    /// Number of assets that are not built in.
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
    /// Index scan: the next open transactions of an owner, after one.
    OpenOf(OwnerId, TxId),
    /// Index scan: the next transactions of an owner, after one, ended ones included.
    TxsOf(OwnerId, TxId),
    /// Index scan: the next transactions that end with a session, after one.
    EndWith(SessionId, TxId),
    /// Index scan: the next transactions, after one, in which an anonymous session was counted or
    /// claimed a step.
    ActedIn(SessionId, TxId),
    /// Present if a step of a transaction was ever assigned to a user by name.
    Asked(Username, TxId),
    /// The transaction with a [`Reference`].
    Reference(WorkflowName, Digest),
    /// The open transaction with a value of `unique`.
    One(WorkflowName, Digest),
    /// Number of open transactions of a version.
    OpenCount(WorkflowName, u32),
    /// Latest version and state of a workflow: [`WorkflowHead`].
    Workflow(WorkflowName),
    /// Number of workflows.
    WorkflowCount,
    /// A version of a workflow.
    Definition(WorkflowName, u32),
    /// A reference value.
    Value(ValueKey),
    /// Readers of a set of reference values. The record exists only if anybody may read the set.
    ValueSet(ValueName),
    /// Index scan: the next transactions of all owners, after one, oldest first.
    Txs(TxId),
    /// A [`Schedule`].
    Schedule(ScheduleId),
    /// Number of schedules.
    ScheduleCount,
    /// A [`Job`].
    Job(JobId),
    /// A [`Webhook`].
    Webhook(WebhookId),
    /// Number of webhooks.
    WebhookCount,
    /// A [`DeadLetter`] of a webhook, by its number.
    DeadLetter((WebhookId, u64)),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Value of [`RecordKey::User`].
    User(User),
    /// Value of [`RecordKey::Name`].
    Name(Holder),
    /// Value of [`RecordKey::UserData`] and [`RecordKey::SessionData`]: a JSON object as compact
    /// text; of [`RecordKey::Value`]: any JSON.
    Data(Arc<str>),
    /// Value of [`RecordKey::RoleChanges`].
    RoleChanges(RoleChanges),
    /// Value of [`RecordKey::UserSessions`], and of [`RecordKey::SessionsVia`] at most [`TX_PAGE`].
    Sessions(Vec<SessionId>),
    /// Value of [`RecordKey::Session`].
    Session(Session),
    /// Value of [`RecordKey::Token`].
    Opens(Opens),
    /// Value of [`RecordKey::Key`].
    Key(ApiKey),
    /// Value of [`RecordKey::KeyCount`], [`RecordKey::AssetCount`],
    /// [`RecordKey::AdministratorCount`], [`RecordKey::SessionCount`], [`RecordKey::KeptSessions`],
    /// [`RecordKey::OpenCount`], [`RecordKey::WorkflowCount`], [`RecordKey::ScheduleCount`] and
    /// [`RecordKey::WebhookCount`].
    Count(u64),
    /// Value of [`RecordKey::Stored`].
    Stored(Stored),
    /// The random part starts in the lowest quarter of its range, so that counting never overflows.
    Attempts(Attempts),
    /// Value of [`RecordKey::Asset`].
    Asset(Asset),
    /// Value of [`RecordKey::Account`].
    Account(Account),
    /// Value of [`RecordKey::Hold`].
    Hold(Hold),
    /// Value of [`RecordKey::Transfer`].
    Transfer(Transfer),
    /// Value of [`RecordKey::Totals`].
    Totals(Totals),
    /// Value of [`RecordKey::Tx`].
    Tx(Arc<Tx>),
    /// Value of [`RecordKey::OpenOf`], [`RecordKey::TxsOf`], [`RecordKey::EndWith`],
    /// [`RecordKey::ActedIn`] and [`RecordKey::Txs`]: at most [`TX_PAGE`].
    Transactions(Vec<TxId>),
    /// Value of [`RecordKey::Asked`].
    Asked,
    /// Value of [`RecordKey::Reference`].
    Reference(Reference),
    /// Value of [`RecordKey::One`].
    One(TxId),
    /// Value of [`RecordKey::Workflow`].
    Workflow(WorkflowHead),
    /// Value of [`RecordKey::Definition`].
    Definition(Arc<Published>),
    /// Value of [`RecordKey::Schedule`].
    Schedule(Box<Schedule>),
    /// Value of [`RecordKey::Job`].
    Job(Box<Job>),
    /// Value of [`RecordKey::Webhook`].
    Webhook(Box<Webhook>),
    /// Value of [`RecordKey::DeadLetter`].
    DeadLetter(DeadLetter),
}

/// The thing that a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// A session.
    Session(SessionId),
    /// The rights of an API key.
    Key(KeyId),
    /// Setting a password, once.
    Link(Link),
}

/// A timer. Timers are ordered as they fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// Time at which it fires.
    pub due: Time,
    /// Subject of the timer.
    pub what: TimerOf,
}

/// Subject of a timer.
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
    /// The next due work of a transaction.
    Tx(TxId),
    /// Cancellation of the transactions, after one, whose owner or session is gone.
    Orphans(OwnerId, TxId),
    /// The next start of a schedule, or the end of a transaction that it started.
    Schedule(ScheduleId),
    /// The next slice of a job.
    Job(JobId),
    /// Transfer of a session's transactions, after one, to the user that the session became.
    Adopt(SessionId, TxId),
    /// The end of the sessions that a revoked API key opened, after one.
    EndVia(KeyId, SessionId),
}

impl RecordKey {
    /// Returns whether the key is an index scan. The commit does not check that its result is
    /// unchanged: only the executor could change it.
    #[must_use]
    pub const fn is_range_read(&self) -> bool {
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
