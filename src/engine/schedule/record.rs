//! Records of schedules.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::{KeyId, ScheduleId, Time, TxId, Username, WorkflowName};

/// Behaviour if a time comes while the last transaction is still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The schedule starts nothing.
    #[default]
    Skip,
    /// The schedule starts a transaction when the open one has ended.
    Queue,
    /// The schedule starts a transaction beside the open one.
    Allow,
}

/// Behaviour for times that passed while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// The schedule makes up for none of them.
    None,
    /// One start replaces all of them.
    #[default]
    One,
    /// The schedule makes up for each of them that is at most a day old.
    All,
}

/// Owner of the started transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleOwner {
    /// A user.
    User(Username),
    /// A service, by its API key.
    Key(KeyId),
}

/// Result of one scheduled time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The scheduled time.
    pub at: Time,
    /// The transaction that was started.
    pub started: Option<TxId>,
    /// `skipped`, `missed`, `queued`, `invalid-cron` or the code of the refusal; `None`: it was
    /// started.
    pub why_not: Option<String>,
}

/// A request to create a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleAsk {
    /// Workflow to start.
    pub workflow: WorkflowName,
    /// Cron expression of five fields.
    pub cron: String,
    /// Time zone of the expression.
    pub zone: String,
    /// The input of each start.
    pub input: Map<String, Value>,
    /// Owner of the started transactions; `None`: the requester.
    pub owner: Option<Username>,
    /// Behaviour while the last transaction is still open.
    pub overlap: Overlap,
    /// Behaviour after the server was down.
    pub catch_up: CatchUp,
}

/// Transactions that the calendar starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Workflow to start.
    pub workflow: WorkflowName,
    /// Cron expression of five fields.
    pub cron: String,
    /// Time zone of the expression.
    pub zone: String,
    /// The input of each start.
    pub input: Map<String, Value>,
    /// Owner of the started transactions.
    pub owner: ScheduleOwner,
    /// Behaviour while the last transaction is still open.
    pub overlap: Overlap,
    /// Behaviour after the server was down.
    pub catch_up: CatchUp,
    /// Next time; `None`: none is left.
    pub next_at: Option<Time>,
    /// Result of the last time.
    pub last: Option<Firing>,
    /// The transaction that was started last.
    pub current: Option<TxId>,
    /// Number of starts that wait for its end.
    pub queued: u32,
    /// Time when it was created.
    pub created_at: Time,
}
