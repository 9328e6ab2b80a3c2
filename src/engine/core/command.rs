//! Commands: the changes that an actor can request, with their arguments.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::Asset;
use crate::engine::DataChange;
use crate::engine::IfMatch;
use crate::engine::StoredKey;
use crate::engine::TransferAsk;
use crate::engine::UserChange;
use crate::engine::bulk::BulkAsk;
use crate::engine::schedule::ScheduleAsk;
use crate::engine::transaction::{CallResult, MigrateAsk, QueueAsk, Repair, StartAsk};
use crate::engine::value::ValueKey;
use crate::engine::webhook::{Replay, WebhookAsk, WebhookNews};
use crate::engine::workflow::Definition;
use crate::types::{
    AccountId, AssetCode, Decimal, HoldId, KeyId, Password, ProfileName, Role, ScheduleId,
    SessionId, Span, Token, TransferId, TxId, UserPattern, Username, ValueName, WebhookId,
    WorkflowName,
};

/// A change that an actor requests.
#[derive(Clone, Debug)]
pub enum Command {
    /// Opens a session for a user who proves the password. An anonymous session of the actor
    /// becomes the user's, under a new token; any other session of the actor continues beside the
    /// new one.
    Login {
        /// Username that the client claims.
        username: Username,
        /// The user's password.
        password: Password,
        /// Name of the time-outs; `None`: the default ones.
        profile: Option<ProfileName>,
    },
    /// Opens an anonymous session.
    OpenAnonymous {
        /// Name of the time-outs; `None`: the default ones.
        profile: Option<ProfileName>,
    },
    /// Opens a session for a user whom a service has authenticated.
    OpenOnBehalf {
        /// The user.
        username: Username,
        /// True if the command may create the user.
        create: bool,
        /// Name of the time-outs; `None`: the default ones.
        profile: Option<ProfileName>,
    },
    /// Records activity in the current session.
    Touch,
    /// Ends the current session.
    Logout,
    /// Gives the current session a new token.
    Rotate,
    /// Proves the password again: gives the session a new token, and for some time the right to
    /// commands that need a fresh password.
    Elevate {
        /// The user's password.
        password: Password,
    },
    /// Ends one session: the actor's own, or any for an administrator.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// Ends the sessions of a user.
    EndSessions {
        /// The user; `None`: the actor's own. Only administrators may end the sessions of other
        /// users.
        username: Option<Username>,
        /// True if the current session stays open.
        except_current: bool,
    },
    /// Changes the current session's data.
    ChangeSessionData {
        /// The change.
        change: DataChange,
        /// Expected revision of the data.
        if_match: Option<IfMatch>,
    },
    /// Changes the facts of a session, for a service that may act for its user.
    ChangeFacts {
        /// The session.
        session: SessionId,
        /// Merge patch (RFC 7396).
        patch: Map<String, Value>,
    },
    /// Creates a user.
    Register {
        /// Name for logins.
        username: Username,
        /// The password.
        password: Password,
        /// Display name.
        name: Option<String>,
        /// Roles; only an administrator may assign any.
        roles: Option<Vec<Role>>,
    },
    /// Changes the actor's own password; ends all other sessions and gives this one a new token.
    ChangePassword {
        /// The current password.
        current: Password,
        /// The new password.
        new: Password,
    },
    /// Changes the data that belongs to the actor's user.
    ChangeUserData {
        /// The change.
        change: DataChange,
        /// Expected revision of the data.
        if_match: Option<IfMatch>,
    },
    /// Changes a user, for an administrator.
    ChangeUser {
        /// The user.
        username: Username,
        /// The change.
        change: UserChange,
        /// Expected revision of the user.
        if_match: Option<IfMatch>,
    },
    /// Deletes a user and ends their sessions; the name is never assigned again.
    DeleteUser {
        /// The user.
        username: Username,
        /// Expected revision of the user.
        if_match: Option<IfMatch>,
    },
    /// Creates a single-use link with which a user sets a new password; it voids an earlier link.
    MakeResetLink {
        /// The user.
        username: Username,
    },
    /// Creates the single-use link with which the first administrator chooses a password. Only the
    /// server itself issues this command.
    MakeSetUpLink,
    /// Sets the password that a single-use link allows: a user's new one, or at the first start the
    /// administrator's.
    UseLink {
        /// Secret of the link.
        link: Token,
        /// The new password.
        password: Password,
    },
    /// Creates an API key.
    CreateKey {
        /// Name for people; not unique.
        name: String,
        /// Roles of the key.
        roles: Vec<Role>,
        /// Users for whom it may open sessions.
        on_behalf: Vec<UserPattern>,
    },
    /// Revokes an API key.
    RevokeKey {
        /// The key.
        key: KeyId,
        /// True if the sessions that the key opened on behalf of users stay open.
        keep_sessions: bool,
    },
    /// Stores an external session under the framework's own key.
    PutStored {
        /// The framework's key.
        key: StoredKey,
        /// The session as the framework has it.
        data: Map<String, Value>,
        /// Idle time-out; `None`: the default profile's.
        idle: Option<Span>,
        /// Owner: the session ends with the user's other sessions.
        user: Option<Username>,
    },
    /// Records activity in an external session.
    TouchStored {
        /// The framework's key.
        key: StoredKey,
    },
    /// Deletes an external session; succeeds also if there is none.
    DeleteStored {
        /// The framework's key.
        key: StoredKey,
    },
    /// Creates or changes an asset.
    PutAsset {
        /// The asset.
        asset: Asset,
    },
    /// Opens an account.
    OpenAccount {
        /// Its id.
        id: AccountId,
        /// Asset of the balance.
        asset: AssetCode,
        /// Owner; `None`: no owner.
        owner: Option<Username>,
        /// Minimum available balance; `None`: no limit.
        floor: Option<Decimal>,
        /// True if any session may read its balance.
        read_anyone: bool,
    },
    /// Changes an account; fields that are `None` stay as they are.
    ChangeAccount {
        /// The account.
        id: AccountId,
        /// Minimum available balance; the inner `None`: no limit.
        floor: Option<Option<Decimal>>,
        /// True if no amount may leave the account.
        frozen: Option<bool>,
        /// True if any session may read its balance.
        read_anyone: Option<bool>,
        /// Expected revision of the account.
        if_match: Option<IfMatch>,
    },
    /// Closes an empty account.
    CloseAccount {
        /// The account.
        id: AccountId,
        /// Expected revision of the account.
        if_match: Option<IfMatch>,
    },
    /// Posts transfers, all or none.
    PostTransfers {
        /// The transfers, in order.
        transfers: Vec<TransferAsk>,
    },
    /// Reverses a transfer: posts its opposite.
    ReverseTransfer {
        /// The transfer.
        id: TransferId,
    },
    /// Reverses transfers, all or none.
    ReverseTransfers {
        /// The transfers, in the order of the reversal.
        ids: Vec<TransferId>,
    },
    /// Reserves an amount.
    PlaceHold {
        /// Id of the hold; `None`: the server generates one.
        id: Option<HoldId>,
        /// The account.
        from: AccountId,
        /// The amount.
        amount: Decimal,
        /// Time to live; `None`: the hold stays until it is captured or voided.
        expires: Option<Span>,
    },
    /// Captures a hold: posts what it reserves.
    CaptureHold {
        /// The hold.
        id: HoldId,
        /// Account that receives the amount.
        to: AccountId,
        /// The amount; `None`: all that is left.
        amount: Option<Decimal>,
        /// True if the rest stays held.
        keep_rest: bool,
        /// Note for the statement.
        note: Option<Arc<str>>,
    },
    /// Voids a hold: releases what is left of it.
    VoidHold {
        /// The hold.
        id: HoldId,
    },
    /// Starts a transaction.
    Start(Box<StartAsk>),
    /// Submits a step of a transaction.
    Submit {
        /// The transaction.
        tx: TxId,
        /// The step, as the client named it.
        step: Arc<str>,
        /// The input.
        input: Value,
        /// Expected revision of the transaction.
        if_match: Option<IfMatch>,
    },
    /// Submits the open step that accepts messages of a hook.
    Deliver {
        /// The transaction.
        tx: TxId,
        /// The input.
        input: Value,
        /// Id of a message without a time: the transaction remembers it for ever, since only the id
        /// reveals a duplicate.
        undated: Option<u128>,
    },
    /// Claims an open step and its siblings.
    Claim {
        /// The transaction.
        tx: TxId,
        /// The step, as the client named it.
        step: Arc<str>,
    },
    /// Claims steps from the queue of a workflow.
    ClaimQueued(QueueAsk),
    /// Releases a claim.
    Release {
        /// The transaction.
        tx: TxId,
        /// The step, as the client named it.
        step: Arc<str>,
    },
    /// Sends a new one-time code.
    Resend {
        /// The transaction.
        tx: TxId,
        /// Name of the challenge.
        challenge: Arc<str>,
    },
    /// Cancels a transaction: its completed steps are compensated.
    Cancel {
        /// The transaction.
        tx: TxId,
        /// Reason, for the history.
        reason: Option<String>,
        /// Expected revision of the transaction.
        if_match: Option<IfMatch>,
    },
    /// Repairs a stuck transaction, for an operator.
    Repair {
        /// The transaction.
        tx: TxId,
        /// The repair.
        repair: Repair,
    },
    /// Begins an attempt at a due call. Only the server itself issues this command.
    BeginCall {
        /// The transaction.
        tx: TxId,
        /// Number of the call.
        number: u32,
    },
    /// Records the result of an attempt. Only the server itself issues this command.
    EndCall {
        /// The transaction.
        tx: TxId,
        /// Number of the call.
        number: u32,
        /// Number of the attempt.
        attempt: u32,
        /// Result of the attempt.
        result: Box<CallResult>,
    },
    /// Accepts the callback of a called service.
    CallBack {
        /// Last part of the callback address, which proves that the caller was given it.
        token: Arc<str>,
        /// Body of the callback.
        body: Value,
    },
    /// Pauses or resumes a transaction, for an operator.
    Pause {
        /// The transaction.
        tx: TxId,
        /// True to pause, false to resume.
        pause: bool,
    },
    /// Moves a transaction to another version of its workflow, for an operator.
    Migrate {
        /// The transaction.
        tx: TxId,
        /// The other version.
        ask: MigrateAsk,
    },
    /// Applies an action to many transactions, for an operator.
    Bulk(Box<BulkAsk>),
    /// Subscribes another service to events.
    CreateWebhook(WebhookAsk),
    /// Gives a webhook a new signing key.
    RotateWebhook {
        /// The webhook.
        id: WebhookId,
    },
    /// Deletes a webhook.
    DeleteWebhook {
        /// The webhook.
        id: WebhookId,
    },
    /// Delivers dead letters again, and resumes a webhook that had stopped.
    ReplayDeadLetter {
        /// The webhook.
        id: WebhookId,
        /// Dead letters to deliver.
        what: Replay,
    },
    /// Records the progress of a webhook's delivery. Only the server itself issues this command.
    NoteWebhook(Box<WebhookNews>),
    /// Creates a schedule.
    CreateSchedule(Box<ScheduleAsk>),
    /// Deletes a schedule.
    DeleteSchedule {
        /// The schedule.
        id: ScheduleId,
    },
    /// Publishes a version of a workflow.
    Publish {
        /// Source text of the definition.
        source: Arc<str>,
        /// The parsed definition.
        definition: Arc<Definition>,
    },
    /// Retires a workflow: it takes no new starts.
    Retire {
        /// The workflow.
        name: WorkflowName,
    },
    /// Writes a reference value.
    PutValue {
        /// Key of the value.
        id: ValueKey,
        /// The value.
        value: Value,
        /// Expected revision of the value.
        if_match: Option<IfMatch>,
    },
    /// Changes who else may read a set of reference values.
    ChangeValueSet {
        /// The set.
        set: ValueName,
        /// True if anybody may read it, even without a login.
        read_anyone: bool,
    },
    /// Deletes a reference value.
    DeleteValue {
        /// Key of the value.
        id: ValueKey,
    },
    /// Records in the audit log that an actor was denied a read.
    NoteDenial {
        /// Method and path of the read, as the API documents it: `GET /v1/users`.
        what: &'static str,
    },
}
