//! Traces of callers that transactions belong to, so that calls to other services continue them.
//!
//! They are held in memory: after a restart a call has a trace of its own, by its transaction's id.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{Command, Outcome, Refusal};
use crate::types::{TraceContext, TxId};

/// Number of entries after which the older half is forgotten: under 10 MiB with the longest state.
const ENTRIES: usize = 4096;

/// The traces of requests under way and of the transactions that they changed.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// True if a request ever came with one: most servers never get one.
    is_used: AtomicBool,
    requests: Mutex<Recent<Arc<str>>>,
    transactions: Mutex<Recent<TxId>>,
}

impl Traces {
    /// Notes the trace of a request, before its command is admitted.
    pub(super) fn note(&self, request: &Arc<str>, trace: TraceContext) {
        self.is_used.store(true, Ordering::Release);
        lock(&self.requests).put(Arc::clone(request), trace);
    }

    /// A request changes this transaction, which belongs to the request's trace from now on.
    pub(super) fn attach(&self, request: &str, tx: impl FnOnce() -> Option<TxId>) {
        if !self.is_used.load(Ordering::Acquire) {
            return;
        }
        let Some(trace) = lock(&self.requests).get(request) else { return };
        if let Some(tx) = tx() {
            lock(&self.transactions).put(tx, trace);
        }
    }

    /// Returns the trace of the last request that changed a transaction.
    pub(super) fn of(&self, tx: TxId) -> Option<TraceContext> {
        lock(&self.transactions).get(&tx)
    }
}

/// Returns the transaction that a command changes or has started.
pub(super) fn changed(command: &Command, result: Result<&Outcome, &Refusal>) -> Option<TxId> {
    match result {
        Ok(Outcome::Transaction { view, .. }) => Some(view.tx.id),
        _ => command.transaction(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The map is consistent between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A map that forgets its older half when it is full.
#[derive(Debug)]
struct Recent<K> {
    newer: HashMap<K, TraceContext>,
    older: HashMap<K, TraceContext>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new() }
    }
}

impl<K: Eq + Hash> Recent<K> {
    fn put(&mut self, key: K, trace: TraceContext) {
        if self.newer.len() >= ENTRIES / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, trace);
    }

    fn get<Q>(&self, key: &Q) -> Option<TraceContext>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.newer.get(key).or_else(|| self.older.get(key)).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::*;

    #[test]
    fn transaction_belongs_to_the_trace_of_the_last_request_that_changed_it() {
        let context = |digit: &str| -> TraceContext {
            format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16)).parse().unwrap()
        };
        let (traces, tx) = (Traces::default(), TxId::new(7));
        traces.attach("one", || Some(tx));
        assert_eq!(traces.of(tx), None);
        for digit in ["1", "2"] {
            traces.note(&digit.into(), context(digit));
            traces.attach(digit, || Some(tx));
            assert_eq!(traces.of(tx), Some(context(digit)));
        }
        traces.attach("no such request", || Some(tx));
        assert_eq!(traces.of(tx), Some(context("2")));
    }

    #[test]
    fn the_number_of_traces_is_bounded() {
        let context: TraceContext = format!("00-{:032x}-{:016x}-01", 1, 1).parse().unwrap();
        let mut recent = Recent::default();
        for key in 0..10 * ENTRIES {
            recent.put(key, context.clone());
            assert!(recent.newer.len() + recent.older.len() <= ENTRIES);
        }
        assert!(recent.get(&(10 * ENTRIES - 1)).is_some() && recent.get(&0).is_none());
    }
}
