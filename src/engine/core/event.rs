//! Events: what a commit did, in the past tense.

use std::sync::Arc;

use serde_json::Value;

use super::attempts::Counter;
use super::json_text::{Told, told};
use super::record::{ApiKey, Link, Session, Stored, StoredId, User, ValueKey};
use crate::engine::ledger::{Account, AccountChange, Asset, Hold, Transfer};
use crate::engine::transaction::{Published, TxEvent};
use crate::engine::{RoleChanges, UserChange, UserRef};
use crate::types::{
    AccountId, ProfileName, SessionId, Span, Time, TokenHash, TxId, UserId, Username, ValueName,
    WorkflowName,
};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its bearer logged out.
    Logout,
    /// It was ended by its user from another session, or by an administrator.
    Revoked,
    /// It was not used for too long.
    Idle,
    /// It reached its absolute end.
    Expired,
    /// Its user opened more sessions than may be.
    TooMany,
    /// The password was changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// The API key that opened it was revoked.
    KeyRevoked,
}

impl EndReason {
    /// For the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::TooMany => "too-many",
            Self::PasswordChanged => "password-changed",
            Self::UserDisabled => "user-disabled",
            Self::UserDeleted => "user-deleted",
            Self::KeyRevoked => "key-revoked",
        }
    }
}

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    /// A password.
    Login,
    /// Nobody.
    Anonymous,
    /// A service.
    OnBehalf,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session was opened.
    SessionOpened {
        /// It.
        session: Box<Session>,
        /// How.
        by: OpenedBy,
    },
    /// An anonymous session became a user's, under a new token.
    SessionUpgraded {
        /// Which.
        session: SessionId,
        /// Whose it is now.
        user: UserRef,
        /// Its new token.
        token: TokenHash,
        /// Its time-outs now.
        profile: Option<ProfileName>,
        /// How long it lives without use now.
        idle: Span,
        /// When it ends now.
        expires_at: Time,
    },
    /// A session was noted to be in use.
    SessionTouched {
        /// Which.
        session: SessionId,
    },
    /// A session has a new token.
    SessionTokenReplaced {
        /// Which.
        session: SessionId,
        /// Its new token.
        token: TokenHash,
    },
    /// The password was proved again.
    SessionElevated {
        /// In which session.
        session: SessionId,
        /// Until when that counts.
        until: Time,
    },
    /// A session's timer fired before its end, since it was in use.
    SessionRescheduled {
        /// Which.
        session: SessionId,
        /// When its timer fires now.
        due: Time,
    },
    /// A session ended.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A session's data was written.
    SessionDataWritten {
        /// Whose.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// What services and effects note about a session was changed.
    SessionFactsWritten {
        /// Of which.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// Somebody did not prove a password.
    LoginFailed {
        /// The user that was meant, if there is one.
        user: Option<UserRef>,
        /// The counters that count it.
        counters: Vec<Counter>,
        /// The address.
        address: Option<Arc<str>>,
    },
    /// A wrong one-time code was given. Its transaction says so too.
    CodeFailed {
        /// The counters that count it.
        counters: Vec<Counter>,
    },
    /// Failures of an anonymous session are those of the user that it became.
    FailuresMoved {
        /// The session's counter.
        from: Counter,
        /// The user's.
        to: Counter,
    },
    /// A success after failures, which no longer count.
    FailuresForgotten {
        /// The counters that forget them.
        counters: Vec<Counter>,
    },
    /// A user was created.
    UserCreated {
        /// It.
        user: Box<User>,
    },
    /// An administrator changed a user.
    UserChanged {
        /// Whom.
        user: UserId,
        /// What; attributes as they are now.
        change: Box<UserChange>,
    },
    /// Which changes of a user's roles by transactions stand.
    RoleChangesNoted {
        /// Whose.
        user: UserId,
        /// All that stand.
        changes: Box<RoleChanges>,
    },
    /// A user has a new password.
    PasswordSet {
        /// Who.
        user: UserId,
        /// Its hash.
        hash: Arc<str>,
    },
    /// A user's password is hashed with stronger parameters now.
    PasswordRehashed {
        /// Who.
        user: UserId,
        /// Its hash.
        hash: Arc<str>,
    },
    /// All sessions of a user ended, those of other frameworks too.
    SessionsVoided {
        /// Of whom.
        user: UserId,
    },
    /// A user's data was written.
    UserDataWritten {
        /// Whose.
        user: UserId,
        /// All of it now.
        json: Arc<str>,
    },
    /// A user was deleted.
    UserDeleted {
        /// Who.
        user: UserRef,
    },
    /// A single-use link was made.
    LinkMade {
        /// Its hash.
        hash: TokenHash,
        /// What it is for.
        link: Link,
    },
    /// A single-use link was used, replaced, or became too old.
    LinkEnded {
        /// Its hash.
        hash: TokenHash,
    },
    /// An API key was created.
    KeyCreated {
        /// It.
        key: Box<ApiKey>,
    },
    /// An API key was revoked.
    KeyRevoked {
        /// It.
        key: Box<ApiKey>,
        /// Whether the sessions that it opened live on.
        keep_sessions: bool,
    },
    /// Another framework's session was stored.
    StoredWritten {
        /// Which.
        id: StoredId,
        /// It.
        stored: Box<Stored>,
    },
    /// Another framework's session was noted to be in use.
    StoredTouched {
        /// Which.
        id: StoredId,
    },
    /// The timer of another framework's session fired before its end, since it was in use.
    StoredRescheduled {
        /// Which.
        id: StoredId,
        /// When its timer fires now.
        due: Time,
    },
    /// Another framework's session ended.
    StoredEnded {
        /// Which.
        id: StoredId,
    },
    /// Something happened in a transaction.
    Tx {
        /// In which.
        tx: TxId,
        /// What.
        event: Box<TxEvent>,
    },
    /// Something that is told and changes no record by itself.
    Told {
        /// Its type.
        kind: &'static str,
        /// What the log keeps of it.
        data: Value,
    },
    /// A version of a workflow was published.
    WorkflowPublished {
        /// It.
        published: Box<Published>,
    },
    /// A workflow takes no new starts.
    WorkflowRetired {
        /// Which.
        name: WorkflowName,
    },
    /// A reference value was written.
    ValuePut {
        /// Which.
        id: ValueKey,
        /// The value, as JSON text.
        json: Arc<str>,
    },
    /// It was said who else may read a set of reference values.
    ValueSetChanged {
        /// Which.
        set: ValueName,
        /// Whether anybody may.
        read_anyone: bool,
    },
    /// A reference value was forgotten.
    ValueDeleted {
        /// Which.
        id: ValueKey,
    },
    /// Somebody was refused what they may not do.
    Denied {
        /// What.
        what: Arc<str>,
        /// The refusal's code.
        code: &'static str,
        /// The user that it was about, if it was a login.
        user: Option<Username>,
    },
    /// An asset was put.
    AssetPut {
        /// It.
        asset: Box<Asset>,
    },
    /// An account was opened.
    AccountOpened {
        /// It.
        account: Box<Account>,
    },
    /// An account was changed.
    AccountChanged {
        /// Which.
        account: AccountId,
        /// Its asset's digits after the point.
        scale: u8,
        /// What.
        change: Box<AccountChange>,
    },
    /// An account was closed.
    AccountClosed {
        /// Which.
        account: AccountId,
    },
    /// A transfer was posted.
    TransferPosted {
        /// It.
        transfer: Box<Transfer>,
    },
    /// An amount was reserved.
    HoldPlaced {
        /// The hold.
        hold: Box<Hold>,
    },
    /// An amount that was reserved leaves the account: a [`Event::TransferPosted`] follows.
    HoldCaptured {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// What is posted, in minor units.
        amount: i128,
        /// What is released, in minor units.
        released: i128,
    },
    /// What was left of a hold was released.
    HoldVoided {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// How much, in minor units.
        released: i128,
    },
    /// What was left of a hold was released at its time.
    HoldExpired {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// How much, in minor units.
        released: i128,
    },
}

impl Event {
    /// Its type, as the log and the feed have it.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::SessionOpened { .. } => "abide.session.opened",
            Self::SessionUpgraded { .. } => "abide.session.upgraded",
            Self::SessionTouched { .. } => "abide.session.touched",
            Self::SessionTokenReplaced { .. } => "abide.session.token_replaced",
            Self::SessionElevated { .. } => "abide.session.elevated",
            Self::SessionRescheduled { .. } => "abide.session.rescheduled",
            Self::SessionEnded { .. } => "abide.session.ended",
            Self::SessionDataWritten { .. } => "abide.session.data_written",
            Self::SessionFactsWritten { .. } => "abide.session.facts_written",
            Self::LoginFailed { .. } => "abide.login.failed",
            Self::CodeFailed { .. } => "abide.code.failed",
            Self::FailuresMoved { .. } => "abide.code.failures_moved",
            Self::FailuresForgotten { .. } => "abide.login.failures_forgotten",
            Self::UserCreated { .. } => "abide.user.created",
            Self::UserChanged { .. } => "abide.user.changed",
            Self::RoleChangesNoted { .. } => "abide.user.role_changes_noted",
            Self::PasswordSet { .. } => "abide.user.password_set",
            Self::PasswordRehashed { .. } => "abide.user.password_rehashed",
            Self::SessionsVoided { .. } => "abide.user.sessions_voided",
            Self::UserDataWritten { .. } => "abide.user.data_written",
            Self::UserDeleted { .. } => "abide.user.deleted",
            Self::LinkMade { .. } => "abide.link.made",
            Self::LinkEnded { .. } => "abide.link.ended",
            Self::KeyCreated { .. } => "abide.key.created",
            Self::KeyRevoked { .. } => "abide.key.revoked",
            Self::StoredWritten { .. } => "abide.stored.written",
            Self::StoredTouched { .. } => "abide.stored.touched",
            Self::StoredRescheduled { .. } => "abide.stored.rescheduled",
            Self::StoredEnded { .. } => "abide.stored.ended",
            Self::Tx { event, .. } => event.kind(),
            Self::Told { kind, .. } => kind,
            Self::WorkflowPublished { .. } => "abide.workflow.published",
            Self::WorkflowRetired { .. } => "abide.workflow.retired",
            Self::ValuePut { .. } => "abide.value.put",
            Self::ValueSetChanged { .. } => "abide.value.set_changed",
            Self::ValueDeleted { .. } => "abide.value.deleted",
            Self::Denied { .. } => "abide.denied",
            Self::AssetPut { .. } => "abide.asset.put",
            Self::AccountOpened { .. } => "abide.account.opened",
            Self::AccountChanged { .. } => "abide.account.changed",
            Self::AccountClosed { .. } => "abide.account.closed",
            Self::TransferPosted { .. } => "abide.transfer.posted",
            Self::HoldPlaced { .. } => "abide.hold.placed",
            Self::HoldCaptured { .. } => "abide.hold.captured",
            Self::HoldVoided { .. } => "abide.hold.voided",
            Self::HoldExpired { .. } => "abide.hold.expired",
        }
    }

    /// Whether the log keeps it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self {
            Self::Tx { event, .. } => event.is_told(),
            Self::Told { kind, .. } => *kind != crate::engine::webhook::NOTED,
            // The transaction tells of a code.
            Self::RoleChangesNoted { .. }
            | Self::CodeFailed { .. }
            | Self::FailuresMoved { .. } => false,
            _ => true,
        }
    }

    /// Whether other services are told of other things from here on, or by other keys.
    #[must_use]
    pub fn changes_webhooks(&self) -> bool {
        matches!(self, Self::Told { kind, .. } if kind.starts_with("abide.webhook."))
            && self.is_told()
    }

    /// What the log keeps of it, as JSON text: never a secret, a hash of one, or what people keep as data.
    #[must_use]
    pub fn log_data(&self) -> String {
        match self {
            Self::Told { data, .. } => data.to_string(),
            _ => self.told().into_text(),
        }
    }

    fn told(&self) -> Told {
        match self {
            Self::SessionOpened { session, by } => told!({
                "session": session.id,
                "user": session.user.as_ref().map(|user| &user.username),
                "by": match by {
                    OpenedBy::Login => "login",
                    OpenedBy::Anonymous => "anonymous",
                    OpenedBy::OnBehalf => "on-behalf",
                },
                "via": session.via.as_ref().map(|key| key.id),
                "address": session.address.as_deref(),
                "expires_at": session.expires_at,
            }),
            Self::SessionUpgraded { session, user, expires_at, .. } => told!({
                "session": session, "user": user.username, "expires_at": expires_at,
            }),
            Self::SessionTouched { session }
            | Self::SessionTokenReplaced { session, .. }
            | Self::SessionDataWritten { session, .. }
            | Self::SessionFactsWritten { session, .. } => told!({ "session": session }),
            Self::SessionElevated { session, until } => {
                told!({ "session": session, "until": until })
            }
            Self::SessionRescheduled { session, due } => told!({ "session": session, "due": due }),
            Self::SessionEnded { session, reason } => {
                told!({ "session": session, "reason": reason.as_str() })
            }
            Self::LoginFailed { user, address, .. } => told!({
                "user": user.as_ref().map(|user| &user.username), "address": address.as_deref(),
            }),
            Self::UserCreated { user } => told!({
                "user": user.id, "username": user.username, "roles": &*user.roles,
            }),
            Self::UserChanged { user, change } => told!({
                "user": user,
                "roles": change.roles,
                "disabled": change.disabled,
                "name_changed": change.name.is_some(),
                "attributes_changed": change.attributes.is_some(),
            }),
            Self::RoleChangesNoted { user, .. }
            | Self::PasswordSet { user, .. }
            | Self::PasswordRehashed { user, .. }
            | Self::SessionsVoided { user }
            | Self::UserDataWritten { user, .. } => told!({ "user": user }),
            Self::UserDeleted { user } => told!({ "user": user.id, "username": user.username }),
            Self::LinkMade { link, .. } => {
                told!({ "user": link.user, "expires_at": link.expires_at })
            }
            Self::CodeFailed { .. }
            | Self::FailuresMoved { .. }
            | Self::FailuresForgotten { .. }
            | Self::LinkEnded { .. }
            | Self::Told { .. } => told!({}),
            Self::KeyCreated { key } => told!({
                "key": key.id, "name": &*key.name, "roles": &*key.roles,
                "on_behalf": &*key.on_behalf,
            }),
            Self::KeyRevoked { key, keep_sessions } => told!({
                "key": key.id, "name": &*key.name, "roles": &*key.roles,
                "on_behalf": &*key.on_behalf, "keep_sessions": keep_sessions,
            }),
            Self::StoredWritten { id, stored } => told!({
                "key": id.key, "user": stored.user.as_ref().map(|(user, _)| &user.username),
            }),
            Self::StoredTouched { id }
            | Self::StoredRescheduled { id, .. }
            | Self::StoredEnded { id } => told!({ "key": id.key }),
            Self::Tx { tx, event } => {
                let mut told = event.told();
                told.put("transaction", tx);
                told
            }
            Self::WorkflowPublished { published } => told!({
                "workflow": published.name, "version": published.version,
            }),
            Self::WorkflowRetired { name } => told!({ "workflow": name }),
            Self::ValueSetChanged { set, read_anyone } => {
                told!({ "set": set, "read_anyone": read_anyone })
            }
            Self::ValuePut { id, .. } | Self::ValueDeleted { id } => {
                told!({ "set": id.set, "key": id.key })
            }
            Self::Denied { what, code, user } => {
                told!({ "what": &**what, "code": code, "user": user })
            }
            Self::AssetPut { .. }
            | Self::AccountOpened { .. }
            | Self::AccountChanged { .. }
            | Self::AccountClosed { .. }
            | Self::TransferPosted { .. }
            | Self::HoldPlaced { .. }
            | Self::HoldCaptured { .. }
            | Self::HoldVoided { .. }
            | Self::HoldExpired { .. } => crate::engine::ledger::log::data(self),
        }
    }
}
