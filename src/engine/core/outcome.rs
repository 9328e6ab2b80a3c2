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

/// Result of an accepted command.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The command opened a session or gave it a new token: login, upgrade, on behalf, rotation,
    /// elevation.
    Session {
        /// The session.
        session: SessionView,
        /// Its token; only this answer contains it.
        token: Token,
        /// True if the command created the session.
        created: bool,
    },
    /// The command ended sessions.
    Ended {
        /// Number of the ended sessions.
        count: u32,
    },
    /// The command wrote data of a session or user.
    Data(Data),
    /// The command created a user.
    UserCreated(UserView),
    /// The command changed a user, or set their password by a link.
    UserChanged(UserView),
    /// The command created a single-use link.
    LinkMade {
        /// Its secret; only this answer contains it.
        link: Token,
        /// Time at which the link expires.
        expires_at: Time,
    },
    /// The command created an API key.
    KeyCreated {
        /// The key.
        key: KeyView,
        /// Its secret; only this answer contains it.
        token: Token,
    },
    /// The command stored an external session.
    Stored {
        /// The session as it is now, with its revision.
        stored: StoredView,
        /// True if there was none under this key.
        created: bool,
    },
    /// The command created or changed an asset.
    Asset {
        /// The asset.
        asset: Asset,
        /// True if the command created it.
        created: bool,
    },
    /// The command opened, changed or closed an account.
    Account {
        /// The account as it is now.
        account: Box<Account>,
        /// The commit that last changed it.
        revision: Revision,
        /// True if the command opened it.
        created: bool,
    },
    /// The command posted transfers, or found them posted.
    Transfers {
        /// The transfers, in the order of the request.
        transfers: Vec<Transfer>,
        /// The commit that last changed one of them.
        revision: Revision,
        /// True if the command posted at least one of them.
        created: bool,
    },
    /// The command placed, captured or voided a hold.
    Hold {
        /// The hold as it is now.
        hold: Box<Hold>,
        /// The commit that last changed it.
        revision: Revision,
        /// True if the command placed it.
        created: bool,
        /// Transfer that the capture posted.
        transfer: Option<Box<Transfer>>,
    },
    /// The command started or changed a transaction, or found that it already had.
    Transaction {
        /// The transaction as the actor may see it now.
        view: Box<TxView>,
        /// True if the command started it.
        created: bool,
    },
    /// The command claimed transactions from a queue.
    Claimed {
        /// The transactions, in the order of the queue.
        views: Vec<TxView>,
    },
    /// The command created or changed a webhook.
    Webhook(Box<Webhook>),
    /// The command created a schedule.
    Schedule(Box<Schedule>),
    /// The command began an action on many transactions.
    Job(Box<Job>),
    /// The command published a version of a workflow, or found it published.
    Workflow {
        /// The workflow.
        view: Box<WorkflowView>,
        /// True if the command published it.
        created: bool,
    },
    /// The command wrote a reference value.
    Value {
        /// The value, as JSON text.
        json: Arc<str>,
        /// The commit that last changed it.
        revision: Revision,
        /// True if the command created it.
        created: bool,
    },
    /// The command began an attempt at a call.
    CallBegun(Box<crate::engine::transaction::CallAttempt>),
    /// The command is done; there is nothing to report.
    Done,
}
