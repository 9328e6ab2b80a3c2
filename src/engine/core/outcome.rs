//! Outcomes: what a command did, as its caller may see it.

use std::sync::Arc;

use crate::engine::bulk::Job;
use crate::engine::schedule::Schedule;
use crate::engine::transaction::{TxView, WorkflowView};
use crate::engine::webhook::Webhook;
use crate::engine::{Account, Asset, Hold, KeyRef, Transfer, UserRef};
use crate::types::{
    KeyId, ProfileName, Revision, Role, SessionId, Time, Token, UserId, UserPattern, Username,
};

/// A JSON object as it is stored, and the commit that last changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The object, as compact JSON text.
    pub json: Arc<str>,
    /// The commit that last changed it (its `ETag`).
    pub revision: Revision,
}

/// A session, as its bearer may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whose it is; `None`: an anonymous one.
    pub user: Option<UserRef>,
    /// The user's roles.
    pub roles: Arc<[Role]>,
    /// When it was opened.
    pub created_at: Time,
    /// When it was last seen in use, to a twentieth of the idle time-out.
    pub last_seen_at: Time,
    /// When it ends if it is not used.
    pub idle_expires_at: Time,
    /// When it ends whatever happens.
    pub expires_at: Time,
    /// Until when the password counts as freshly proved.
    pub elevated_until: Option<Time>,
    /// Its time-outs, if not the default ones.
    pub profile: Option<ProfileName>,
    /// The API key that opened it on the user's behalf.
    pub via: Option<KeyRef>,
    /// The address that it was opened from.
    pub address: Option<Arc<str>>,
    /// The `User-Agent` that it was opened with, cut to a bounded length.
    pub agent: Option<Arc<str>>,
    /// What effects and services have noted about it: a JSON object as compact text.
    pub facts: Arc<str>,
    /// The commit that last changed it; its data has a revision of its own.
    pub revision: Revision,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its id.
    pub id: UserId,
    /// The name to log in with.
    pub username: Username,
    /// The name to show.
    pub name: Option<Arc<str>>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// What administrators note about it: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// When it was created.
    pub created_at: Time,
    /// The commit that last changed it.
    pub revision: Revision,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// The name that its maker gave it.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// For whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// When it was created.
    pub created_at: Time,
    /// The commit that created it.
    pub revision: Revision,
}

/// Another framework's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredView {
    /// The session as the framework has it, and its revision.
    pub data: Data,
    /// Whose it is.
    pub user: Option<UserRef>,
    /// When it ends if it is not used.
    pub idle_expires_at: Time,
}

/// What a command did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A session was opened, or has a new token: login, upgrade, on behalf, rotation, elevation.
    Session {
        /// The session.
        session: SessionView,
        /// Its token, for this answer alone.
        token: Token,
        /// Whether the command created it.
        created: bool,
    },
    /// So many sessions were ended.
    Ended {
        /// How many.
        count: u32,
    },
    /// Session or user data was written.
    Data(Data),
    /// A user was created.
    UserCreated(UserView),
    /// A user was changed, or its password set by a link.
    UserChanged(UserView),
    /// A single-use link was made.
    LinkMade {
        /// Its secret, for this answer alone.
        link: Token,
        /// Until when it can be used.
        expires_at: Time,
    },
    /// An API key was created.
    KeyCreated {
        /// The key.
        key: KeyView,
        /// Its secret, for this answer alone.
        token: Token,
    },
    /// Another framework's session was stored.
    Stored {
        /// Its revision, and what it is now.
        stored: StoredView,
        /// Whether there was none under this key.
        created: bool,
    },
    /// An asset was put.
    Asset {
        /// It.
        asset: Asset,
        /// Whether there was none.
        created: bool,
    },
    /// An account was opened, changed or closed.
    Account {
        /// As it is now.
        account: Box<Account>,
        /// The commit that last changed it.
        revision: Revision,
        /// Whether the command opened it.
        created: bool,
    },
    /// Transfers were posted, or had been.
    Transfers {
        /// They, in the order in which they were asked for.
        transfers: Vec<Transfer>,
        /// The commit that last changed one of them.
        revision: Revision,
        /// Whether the command posted one of them.
        created: bool,
    },
    /// A hold was placed, captured or voided.
    Hold {
        /// As it is now.
        hold: Box<Hold>,
        /// The commit that last changed it.
        revision: Revision,
        /// Whether the command placed it.
        created: bool,
        /// What was posted by the capture.
        transfer: Option<Box<Transfer>>,
    },
    /// A transaction was started or changed, or had been.
    Transaction {
        /// As the actor may see it now.
        view: Box<TxView>,
        /// Whether the command started it.
        created: bool,
    },
    /// Transactions were claimed from a queue.
    Claimed {
        /// They, in the order of the queue.
        views: Vec<TxView>,
    },
    /// A subscription was made or changed.
    Webhook(Box<Webhook>),
    /// A schedule was made.
    Schedule(Box<Schedule>),
    /// Something is done to many transactions.
    Job(Box<Job>),
    /// A version of a workflow was published, or had been.
    Workflow {
        /// It.
        view: Box<WorkflowView>,
        /// Whether the command published it.
        created: bool,
    },
    /// A reference value was written.
    Value {
        /// The value, as JSON text.
        json: Arc<str>,
        /// The commit that last changed it.
        revision: Revision,
        /// Whether there was none.
        created: bool,
    },
    /// An attempt at a call begins.
    CallBegun(Box<crate::engine::transaction::CallAttempt>),
    /// It is done, and there is nothing to say about it.
    Done,
}
