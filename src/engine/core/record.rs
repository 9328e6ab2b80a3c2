//! What is remembered: the records that events make and change.

use std::sync::Arc;

use super::attempts::Attempts;
use crate::engine::bulk::Job;
use crate::engine::ledger::{Account, Asset, Hold, Totals, Transfer};
use crate::engine::schedule::Schedule;
use crate::engine::transaction::{OwnerId, Published, Tx, WorkflowHead};
use crate::engine::user::RoleChanges;
use crate::engine::webhook::{DeadLetter, Webhook};
use crate::engine::{Actor, KeyRef, KeyView, SessionView, StoredView, UserRef, UserView};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, ProfileName, Revision, Role, ScheduleId, SessionId,
    Span, StepName, Time, TokenHash, TransferId, TxId, UserId, UserPattern, Username, ValueName,
    WebhookId, WorkflowName,
};

/// A keyed hash of something that the store must not show.
pub type Digest = [u8; 32];

/// Names another framework's session: the API key that stores it, and a keyed hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredId {
    /// The API key.
    pub key: KeyId,
    /// The hash of the framework's key.
    pub digest: Digest,
}

/// Most transactions that one look into a list of them shows.
pub const TX_PAGE: usize = 50;

/// Names a reference value: what a publisher writes for expressions to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKey {
    /// The set: `prices`.
    pub set: ValueName,
    /// The key in it: `SKU-42`.
    pub key: ValueName,
}

impl ValueKey {
    /// The value with these names; `None`: no value has such a name.
    #[must_use]
    pub fn new(set: &str, key: &str) -> Option<Self> {
        Some(Self { set: set.parse().ok()?, key: key.parse().ok()? })
    }
}

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

/// Who has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This user.
    User(UserId),
    /// A user who was deleted: nobody gets the name again.
    Gone,
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

/// A single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whose password it sets; `None`: that of the administrator, who does not exist yet.
    pub user: Option<UserId>,
    /// From when on it is void.
    pub expires_at: Time,
    /// Who made it.
    pub maker: LinkMaker,
}

/// Who made a single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMaker {
    /// An administrator, or the server itself.
    Administrator,
    /// An API key: the link is void once the key is revoked.
    Key {
        /// The key.
        id: KeyId,
        /// Whether it had the role of an administrator.
        is_admin: bool,
    },
    /// An older build did not note it.
    Unknown,
}

impl LinkMaker {
    /// Whether its links are good for a user who has one of Abide's powers.
    #[must_use]
    pub const fn reaches_power(self) -> bool {
        match self {
            Self::Administrator => true,
            Self::Key { is_admin, .. } => is_admin,
            Self::Unknown => false,
        }
    }
}

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

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name to log in with.
    pub username: Username,
    /// The name to show.
    pub name: Option<Arc<str>>,
    /// The hash of the password (PHC string); `None`: nobody can log in with one.
    pub password: Option<Arc<str>>,
    /// Counts the passwords: one that was proved against an older count proves nothing.
    pub credential: u64,
    /// Counts the times when all sessions were ended: another framework's session that was stored
    /// under an older count is dead.
    pub epoch: u64,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// What administrators note: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// When it was created.
    pub created_at: Time,
    /// The commit that created it: the revision of its data until that is first written.
    pub created_revision: Revision,
    /// The link that sets its password, if there is one.
    pub link: Option<TokenHash>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// The token that is this key.
    pub token: TokenHash,
    /// A name for people.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// For whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// When it was created.
    pub created_at: Time,
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
        Actor::Session(crate::engine::SessionActor {
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

impl User {
    /// Its names.
    #[must_use]
    pub fn names(&self) -> UserRef {
        UserRef { id: self.id, username: self.username.clone() }
    }

    /// Whether it has one of Abide's powers.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.roles.iter().any(Role::is_power)
    }

    /// Whether it can log in and then do everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        !self.disabled && self.password.is_some() && self.roles.contains(&Role::admin())
    }

    /// As an administrator may see it.
    #[must_use]
    pub fn view(&self, revision: Revision) -> UserView {
        UserView {
            id: self.id,
            username: self.username.clone(),
            name: self.name.clone(),
            roles: self.roles.clone(),
            attributes: self.attributes.clone(),
            disabled: self.disabled,
            created_at: self.created_at,
            revision,
        }
    }
}

impl ApiKey {
    /// Its names.
    #[must_use]
    pub fn names(&self) -> KeyRef {
        KeyRef { id: self.id, name: self.name.clone() }
    }

    /// Its bearer.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Key(crate::engine::KeyActor {
            key: self.names(),
            roles: self.roles.clone(),
            on_behalf: self.on_behalf.clone(),
        })
    }

    /// Without its secret.
    #[must_use]
    pub fn view(&self, revision: Revision) -> KeyView {
        KeyView {
            id: self.id,
            name: self.name.clone(),
            roles: self.roles.clone(),
            on_behalf: self.on_behalf.clone(),
            created_at: self.created_at,
            revision,
        }
    }
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
            data: crate::engine::Data { json: self.data.clone(), revision },
            user: self.user.as_ref().map(|(user, _)| user.clone()),
            idle_expires_at: self.idle_expires_at(),
        }
    }
}

/// Activity is written once in a twentieth of the idle time-out: a session in constant use costs
/// 20 small writes in it, and lives at most a twentieth shorter than it should.
fn wants_touch(idle: Span, last_seen_at: Time, now: Time) -> bool {
    now.since(last_seen_at).ms() >= (idle.ms() / crate::engine::Rules::TOUCH_PARTS).max(1)
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
