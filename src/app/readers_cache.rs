//! Cache of the readers of each workflow, by version. Definitions are large, and a list would have
//! to read all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::engine::WorkflowReaders;
use crate::types::WorkflowName;

/// Maximum number of workflows whose readers are cached, at some hundred bytes each: more than
/// there can be.
const WORKFLOWS_MAX: usize = 2000;

type ByWorkflow = HashMap<WorkflowName, (u32, Arc<WorkflowReaders>), RandomState>;

#[derive(Default)]
pub(super) struct ReadersCache(Mutex<ByWorkflow>);

impl ReadersCache {
    /// Returns the readers of a version of a workflow, if they are cached.
    pub(super) fn get(&self, name: &WorkflowName, version: u32) -> Option<Arc<WorkflowReaders>> {
        let cached = self.lock();
        let (of, readers) = cached.get(name)?;
        (*of == version).then(|| Arc::clone(readers))
    }

    /// Inserts the readers of a version of a workflow.
    pub(super) fn insert(&self, name: WorkflowName, version: u32, readers: Arc<WorkflowReaders>) {
        let mut cached = self.lock();
        if cached.len() >= WORKFLOWS_MAX {
            cached.clear();
        }
        cached.insert(name, (version, readers));
    }

    fn lock(&self) -> MutexGuard<'_, ByWorkflow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
