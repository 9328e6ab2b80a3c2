//! Records of bulk operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::transaction::{Owner, Tx, TxStatus};
use crate::types::{JobId, StepName, Time, TxId, Username, WorkflowName};

/// To which transactions something is done; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFilter {
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// In this version of it.
    pub version: Option<u32>,
    /// With this status.
    pub status: Option<String>,
    /// Of this user.
    pub owner: Option<Username>,
    /// In which this step is open.
    pub step: Option<StepName>,
}

/// What is done to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BulkAction {
    /// Stuck ones try again.
    Retry,
    /// They are cancelled.
    Cancel {
        /// Why.
        reason: Option<String>,
    },
    /// They stop.
    Pause,
    /// They go on.
    Resume,
    /// They are moved to another version.
    Migrate {
        /// Which; `None`: the latest.
        version: Option<u32>,
        /// Steps that are called otherwise there.
        steps: BTreeMap<StepName, StepName>,
    },
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkAsk {
    /// To which.
    pub filter: BulkFilter,
    /// What.
    pub action: BulkAction,
    /// Whether only to look to how many it would be done.
    pub dry_run: bool,
}

/// A transaction to which it could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFailure {
    /// Which.
    pub transaction: TxId,
    /// The refusal's code.
    pub code: String,
    /// The refusal in words.
    pub message: String,
}

/// What is done to many transactions, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// To which.
    pub filter: BulkFilter,
    /// What.
    pub action: BulkAction,
    /// Whether nothing is done but counted.
    pub dry_run: bool,
    /// Who asked for it.
    pub by: String,
    /// The last transaction that was looked at.
    pub after: TxId,
    /// This and later ones are left alone: they were not there when it began.
    pub until: TxId,
    /// How many were looked at.
    pub examined: u64,
    /// How many of them are meant.
    pub matched: u64,
    /// Number of those that had ended: nothing is left to be done to them.
    #[serde(default)]
    pub skipped: u64,
    /// To how many it was done, or could be.
    pub done: u64,
    /// To how many it could not be done.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<BulkFailure>,
    /// When it began.
    pub started_at: Time,
    /// When it ended; `None`: it goes on.
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
