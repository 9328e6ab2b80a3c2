//! Outcomes: what a command did, as its caller may see it.

use std::sync::Arc;

use crate::engine::bulk::Job;
use crate::engine::schedule::Schedule;
use crate::engine::transaction::{TxView, WorkflowView};
use crate::engine::webhook::Webhook;
use crate::engine::{
    Account, Asset, Data, Hold, KeyView, SessionView, StoredView, Transfer, UserView,
};
use crate::types::{Revision, Time, Token};

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
