//! Commands: what may be asked for, and with which facts.

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

/// What somebody asks to be changed.
#[derive(Clone, Debug)]
pub enum Command {
    /// Opens a session for whoever knows the password. With an anonymous session as the actor it
    /// becomes the user's, under a new token; with any other actor it opens one beside it.
    Login {
        /// Who says to be there.
        username: Username,
        /// The proof.
        password: Password,
        /// The time-outs, if not the default ones.
        profile: Option<ProfileName>,
    },
    /// Opens a session of nobody.
    OpenAnonymous {
        /// The time-outs, if not the default ones.
        profile: Option<ProfileName>,
    },
    /// Opens a session for a user whom a service has authenticated.
    OpenOnBehalf {
        /// For whom.
        username: Username,
        /// Whether to create the user if there is none.
        create: bool,
        /// The time-outs, if not the default ones.
        profile: Option<ProfileName>,
    },
    /// Notes that the current session is in use.
    Touch,
    /// Ends the current session.
    Logout,
    /// Gives the current session a new token.
    Rotate,
    /// Proves the password again: a new token, and for some time the right to what needs it fresh.
    Elevate {
        /// The proof.
        password: Password,
    },
    /// Ends one session: an own one, or for an administrator any.
    EndSession {
        /// Which.
        session: SessionId,
    },
    /// Ends the sessions of a user.
    EndSessions {
        /// Of whom; `None`: the actor's own. Others' are the administrators' to end.
        username: Option<Username>,
        /// Whether the current session stays.
        except_current: bool,
    },
    /// Changes the current session's data.
    ChangeSessionData {
        /// How.
        change: DataChange,
        /// At which revision of the data.
        if_match: Option<IfMatch>,
    },
    /// Changes what is noted about a session, for a service that may act for its user.
    ChangeFacts {
        /// Of which.
        session: SessionId,
        /// A merge patch (RFC 7396).
        patch: Map<String, Value>,
    },
    /// Creates a user.
    Register {
        /// The name to log in with.
        username: Username,
        /// The password.
        password: Password,
        /// The name to show.
        name: Option<String>,
        /// The roles; only an administrator may give any.
        roles: Option<Vec<Role>>,
    },
    /// Changes the actor's own password; ends all other sessions and gives this one a new token.
    ChangePassword {
        /// The proof.
        current: Password,
        /// The new one.
        new: Password,
    },
    /// Changes the data that belongs to the actor's user.
    ChangeUserData {
        /// How.
        change: DataChange,
        /// At which revision of the data.
        if_match: Option<IfMatch>,
    },
    /// Changes a user, for an administrator.
    ChangeUser {
        /// Whom.
        username: Username,
        /// What.
        change: UserChange,
        /// At which revision of the user.
        if_match: Option<IfMatch>,
    },
    /// Deletes a user and ends the sessions; the name is never given out again.
    DeleteUser {
        /// Whom.
        username: Username,
        /// At which revision of the user.
        if_match: Option<IfMatch>,
    },
    /// Makes a single-use link by which a user sets a new password; an older one is void.
    MakeResetLink {
        /// For whom.
        username: Username,
    },
    /// Makes the single-use link by which the first administrator chooses a password; for the
    /// server itself.
    MakeSetUpLink,
    /// Sets the password that a single-use link is for: a user's new one, or at the first start
    /// the administrator's.
    UseLink {
        /// The link's secret.
        link: Token,
        /// The new password.
        password: Password,
    },
    /// Creates an API key.
    CreateKey {
        /// A name for people; not unique.
        name: String,
        /// What it may do.
        roles: Vec<Role>,
        /// For whom it may open sessions.
        on_behalf: Vec<UserPattern>,
    },
    /// Revokes an API key.
    RevokeKey {
        /// Which.
        key: KeyId,
        /// Whether the sessions that it opened on behalf of users live on.
        keep_sessions: bool,
    },
    /// Stores another framework's session under the framework's own key.
    PutStored {
        /// The framework's key.
        key: StoredKey,
        /// The session as the framework has it.
        data: Map<String, Value>,
        /// How long it lives without use; `None`: the default profile's.
        idle: Option<Span>,
        /// Whose it is: it dies with the user's other sessions.
        user: Option<Username>,
    },
    /// Notes that another framework's session is in use.
    TouchStored {
        /// The framework's key.
        key: StoredKey,
    },
    /// Forgets another framework's session; also right if there is none.
    DeleteStored {
        /// The framework's key.
        key: StoredKey,
    },
    /// Puts an asset.
    PutAsset {
        /// It.
        asset: Asset,
    },
    /// Opens an account.
    OpenAccount {
        /// Its id.
        id: AccountId,
        /// What it is counted in.
        asset: AssetCode,
        /// Whose it is; `None`: nobody's.
        owner: Option<Username>,
        /// The least that may be available; `None`: no limit.
        floor: Option<Decimal>,
        /// Whether any session may read its balance.
        read_anyone: bool,
    },
    /// Changes an account; what is `None` stays.
    ChangeAccount {
        /// Which.
        id: AccountId,
        /// The least that may be available; the inner `None`: no limit.
        floor: Option<Option<Decimal>>,
        /// Whether nothing more may leave it.
        frozen: Option<bool>,
        /// Whether any session may read its balance.
        read_anyone: Option<bool>,
        /// At which revision of the account.
        if_match: Option<IfMatch>,
    },
    /// Closes an account that is empty.
    CloseAccount {
        /// Which.
        id: AccountId,
        /// At which revision of the account.
        if_match: Option<IfMatch>,
    },
    /// Posts transfers, all or none.
    PostTransfers {
        /// They, in their order.
        transfers: Vec<TransferAsk>,
    },
    /// Posts the opposite of a transfer.
    ReverseTransfer {
        /// Which.
        id: TransferId,
    },
    /// Posts the opposites of transfers, all or none.
    ReverseTransfers {
        /// They, in the order in which they are undone.
        ids: Vec<TransferId>,
    },
    /// Reserves an amount.
    PlaceHold {
        /// Its id; `None`: one is made.
        id: Option<HoldId>,
        /// The account.
        from: AccountId,
        /// How much.
        amount: Decimal,
        /// How long it lives; `None`: until it is resolved.
        expires: Option<Span>,
    },
    /// Posts what a hold reserves.
    CaptureHold {
        /// Which.
        id: HoldId,
        /// Where to.
        to: AccountId,
        /// How much; `None`: all that is left.
        amount: Option<Decimal>,
        /// Whether the rest stays held.
        keep_rest: bool,
        /// For the statement.
        note: Option<Arc<str>>,
    },
    /// Releases what is left of a hold.
    VoidHold {
        /// Which.
        id: HoldId,
    },
    /// Starts a transaction.
    Start(Box<StartAsk>),
    /// Submits a step of a transaction.
    Submit {
        /// Which.
        tx: TxId,
        /// The step, as it was named.
        step: Arc<str>,
        /// The input.
        input: Value,
        /// At which revision of the transaction.
        if_match: Option<IfMatch>,
    },
    /// Submits the open step that lets a hook in.
    Deliver {
        /// Of which.
        tx: TxId,
        /// The input.
        input: Value,
        /// The message, where nothing but its id tells an old one: it counts once for ever.
        undated: Option<u128>,
    },
    /// Claims an open step and its siblings.
    Claim {
        /// Which.
        tx: TxId,
        /// The step, as it was named.
        step: Arc<str>,
    },
    /// Claims steps from the queue of a workflow.
    ClaimQueued(QueueAsk),
    /// Gives a claim up.
    Release {
        /// Which.
        tx: TxId,
        /// The step, as it was named.
        step: Arc<str>,
    },
    /// Has a new one-time code sent.
    Resend {
        /// Which.
        tx: TxId,
        /// The challenge's name.
        challenge: Arc<str>,
    },
    /// Cancels a transaction: what was done is undone.
    Cancel {
        /// Which.
        tx: TxId,
        /// Why, for the history.
        reason: Option<String>,
        /// At which revision of the transaction.
        if_match: Option<IfMatch>,
    },
    /// Has a stuck transaction go on, for an operator.
    Repair {
        /// Which.
        tx: TxId,
        /// How.
        repair: Repair,
    },
    /// Begins an attempt at a call that is due; for the server itself.
    BeginCall {
        /// The transaction.
        tx: TxId,
        /// The call's number.
        number: u32,
    },
    /// What an attempt came to; for the server itself.
    EndCall {
        /// The transaction.
        tx: TxId,
        /// The call's number.
        number: u32,
        /// Which attempt it was.
        attempt: u32,
        /// What it came to.
        result: Box<CallResult>,
    },
    /// A called service's late answer.
    CallBack {
        /// What the address ends with: the proof.
        token: Arc<str>,
        /// The answer.
        body: Value,
    },
    /// Stops a transaction, or has it go on, for an operator.
    Pause {
        /// Which.
        tx: TxId,
        /// Whether it stops.
        pause: bool,
    },
    /// Moves a transaction to another version of its workflow, for an operator.
    Migrate {
        /// Which.
        tx: TxId,
        /// To where.
        ask: MigrateAsk,
    },
    /// Does something to many transactions, for an operator.
    Bulk(Box<BulkAsk>),
    /// Subscribes another service to events.
    CreateWebhook(WebhookAsk),
    /// Gives a subscription another key.
    RotateWebhook {
        /// Which.
        id: WebhookId,
    },
    /// Forgets a subscription.
    DeleteWebhook {
        /// Which.
        id: WebhookId,
    },
    /// Has events told again that could not be delivered, and a subscription that stopped go on.
    ReplayDeadLetter {
        /// Of which subscription.
        id: WebhookId,
        /// Which.
        what: Replay,
    },
    /// Notes how a subscription went on; for the server itself.
    NoteWebhook(Box<WebhookNews>),
    /// Makes a schedule.
    CreateSchedule(Box<ScheduleAsk>),
    /// Forgets a schedule.
    DeleteSchedule {
        /// Which.
        id: ScheduleId,
    },
    /// Publishes a version of a workflow.
    Publish {
        /// The document.
        source: Arc<str>,
        /// What it says.
        definition: Arc<Definition>,
    },
    /// Takes a workflow out of service.
    Retire {
        /// Which.
        name: WorkflowName,
    },
    /// Writes a reference value.
    PutValue {
        /// Which.
        id: ValueKey,
        /// The value.
        value: Value,
        /// At which revision of it.
        if_match: Option<IfMatch>,
    },
    /// Says who else may read a set of reference values.
    ChangeValueSet {
        /// Which.
        set: ValueName,
        /// Whether anybody may, without a login too.
        read_anyone: bool,
    },
    /// Forgets a reference value.
    DeleteValue {
        /// Which.
        id: ValueKey,
    },
    /// Keeps in the audit log that an actor was refused a read.
    NoteDenial {
        /// What was asked for, in the words of the API: `GET /v1/users`.
        what: &'static str,
    },
}
