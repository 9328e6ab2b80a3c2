//! Cursors of searches for work: each actor's next search continues where the last one stopped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;

use crate::engine::OwnerId;
use crate::types::{StepName, Time, TxId, WorkflowName};

/// Maximum number of remembered cursors; beyond it all searches begin at the head again.
const PLACES_MAX: usize = 4096;

pub(super) type SearchKey = (Option<OwnerId>, WorkflowName, StepName);

/// Position at which an actor's next search continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SearchCursor {
    /// Behind this entry of the queue.
    Queue(Time, TxId),
    /// Behind this transaction among the actor's own, or among those that wait for the actor.
    Own(usize, TxId),
}

/// Cursors of searches that found too few.
#[derive(Default)]
pub(super) struct SearchCursors(Mutex<HashMap<SearchKey, SearchCursor, RandomState>>);

impl SearchCursors {
    pub(super) fn take(&self, of: &SearchKey) -> Option<SearchCursor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(of)
    }

    pub(super) fn put(&self, of: SearchKey, place: SearchCursor) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(of, place);
    }
}
