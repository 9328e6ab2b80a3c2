//! Records of schedules.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::{KeyId, ScheduleId, Time, TxId, Username, WorkflowName};

/// What happens when it is time and the last transaction is still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Nothing is started.
    #[default]
    Skip,
    /// One is started when that one has ended.
    Queue,
    /// One is started beside it.
    Allow,
}

/// What happens with times that passed while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// Nothing.
    None,
    /// One start stands for all of them.
    #[default]
    One,
    /// Each of them, as far as they are not older than a day.
    All,
}

/// Whose the transactions are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleOwner {
    /// A user's.
    User(Username),
    /// A service's.
    Key(KeyId),
}

/// What became of one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Which time.
    pub at: Time,
    /// The transaction that was started.
    pub started: Option<TxId>,
    /// `skipped`, `queued`, or the code of the refusal; `None`: it was started.
    pub why_not: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleAsk {
    /// What is started.
    pub workflow: WorkflowName,
    /// When: five fields.
    pub cron: String,
    /// By the calendar of this zone.
    pub zone: String,
    /// The input of each start.
    pub input: Map<String, Value>,
    /// For whom; `None`: for who asks.
    pub owner: Option<Username>,
    /// When the last one is still open.
    pub overlap: Overlap,
    /// After the server was down.
    pub catch_up: CatchUp,
}

/// Transactions that the calendar starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// What is started.
    pub workflow: WorkflowName,
    /// When: five fields.
    pub cron: String,
    /// By the calendar of this zone.
    pub zone: String,
    /// The input of each start.
    pub input: Map<String, Value>,
    /// For whom.
    pub owner: ScheduleOwner,
    /// When the last one is still open.
    pub overlap: Overlap,
    /// After the server was down.
    pub catch_up: CatchUp,
    /// The next time; `None`: there is none any more.
    pub next_at: Option<Time>,
    /// What became of the last time.
    pub last: Option<Firing>,
    /// The transaction that was started last.
    pub current: Option<TxId>,
    /// How many starts wait for its end.
    pub queued: u32,
    /// When it was made.
    pub created_at: Time,
}
