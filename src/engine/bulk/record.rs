//! Records of bulk operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::transaction::{Owner, Tx, TxStatus};
use crate::types::{JobId, StepName, Time, TxId, Username, WorkflowName};

/// Transactions that a bulk operation selects; a field that is `None` selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFilter {
    /// Workflow.
    pub workflow: Option<WorkflowName>,
    /// Version of the workflow.
    pub version: Option<u32>,
    /// Status.
    pub status: Option<String>,
    /// Name of the user who owns it.
    pub owner: Option<Username>,
    /// Step that is open in it.
    pub step: Option<StepName>,
}

/// Action of a bulk operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BulkAction {
    /// Retries stuck transactions.
    Retry,
    /// Cancels them.
    Cancel {
        /// Reason.
        reason: Option<String>,
    },
    /// Pauses them.
    Pause,
    /// Resumes them.
    Resume,
    /// Moves them to another version.
    Migrate {
        /// The version; `None`: the latest.
        version: Option<u32>,
        /// New names of steps, by their current names.
        steps: BTreeMap<StepName, StepName>,
    },
}

/// Request for a bulk operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkAsk {
    /// Transactions to select.
    pub filter: BulkFilter,
    /// Action.
    pub action: BulkAction,
    /// True if the transactions are only counted.
    pub dry_run: bool,
}

/// Transaction for which the action was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFailure {
    /// The transaction.
    pub transaction: TxId,
    /// The refusal's code.
    pub code: String,
    /// The refusal in words.
    pub message: String,
}

/// Bulk operation, with its progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Transactions to select.
    pub filter: BulkFilter,
    /// Action.
    pub action: BulkAction,
    /// True if the transactions are only counted.
    pub dry_run: bool,
    /// Name of the actor who requested it.
    pub by: String,
    /// The last transaction that was examined.
    pub after: TxId,
    /// First id that is left out: such transactions did not exist when the job began.
    pub until: TxId,
    /// Number of transactions that were examined.
    pub examined: u64,
    /// Number of transactions that the filter selects.
    pub matched: u64,
    /// Number of selected transactions that had already ended.
    #[serde(default)]
    pub skipped: u64,
    /// Number of transactions for which the action was done, or could be.
    pub done: u64,
    /// Number of transactions for which the action was refused.
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<BulkFailure>,
    /// Time at which it began.
    pub started_at: Time,
    /// Time at which it ended; `None`: it is running.
    pub ended_at: Option<Time>,
}

impl BulkFilter {
    pub(super) fn means(&self, tx: &Tx) -> bool {
        let owned =
            |name: &Username| matches!(&tx.owner, Owner::User(user) if user.username == *name);
        self.workflow.as_ref().is_none_or(|workflow| tx.workflow == *workflow)
            && self.version.is_none_or(|version| tx.version == version)
            && self
                .status
                .as_deref()
                .is_none_or(|status| TxStatus::named(status) == Some(tx.status))
            && self.owner.as_ref().is_none_or(owned)
            && self.step.as_ref().is_none_or(|step| tx.open.iter().any(|open| open.step == *step))
    }
}
