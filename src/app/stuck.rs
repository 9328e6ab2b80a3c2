//! Stuck transactions, which need an operator: in the log and in the metrics.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::application::App;
use crate::engine::{IndexEntry, Record, RecordKey, Refusal};
use crate::records::{Key, read_record};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::TxId;

/// Interval between two scans: each reads one page of the store while there are few.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Maximum number that is counted, so that a scan takes some milliseconds.
const SEEN_MAX: usize = 10_000;

/// Maximum number that one scan logs individually.
const LOGGED_MAX: usize = 20;

/// Stuck transactions at the last scan.
#[derive(Default)]
pub(super) struct StuckWatch(BTreeSet<TxId>);

impl StuckWatch {
    /// Scans again. Returns the transactions that were not stuck before.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub(super) fn look(&mut self, app: &App) -> Result<Vec<TxId>, Refusal> {
        let mut range = KeyRange::prefix(Key::STUCK);
        let mut stuck = BTreeSet::new();
        while stuck.len() < SEEN_MAX {
            let page = app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = app.guard(page.map_err(Into::into))?;
            let found = page.rows.iter().filter_map(|row| match Key::decode(&row.key) {
                Some(Key::IndexEntry(IndexEntry::Stuck(tx))) => Some(tx),
                _ => None,
            });
            stuck.extend(found);
            let Some(next) = page.next else { break };
            range.from = Bound::Excluded(next);
        }
        app.notifier.counters.stuck.store(stuck.len() as u64, Ordering::Relaxed);
        let anew = stuck.difference(&self.0).copied().collect();
        self.0 = stuck;
        Ok(anew)
    }
}

impl App {
    /// Logs each transaction that has become stuck and counts all, until the store cannot be read.
    /// At the start, all that are stuck are logged.
    pub async fn watch_stuck(self: Arc<Self>) {
        let mut watch = StuckWatch::default();
        while let Ok(anew) = watch.look(&self) {
            for tx in anew.iter().take(LOGGED_MAX) {
                let Ok(()) = self.log_stuck(*tx) else { return };
            }
            if let Some(more) = anew.len().checked_sub(LOGGED_MAX).filter(|more| *more > 0) {
                tracing::warn!(more, "more transactions are stuck; they need an operator");
            }
            tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }

    /// Returns the number of stuck transactions at the last scan.
    #[must_use]
    pub fn stuck(&self) -> u64 {
        self.notifier.counters.stuck.load(Ordering::Relaxed)
    }

    /// Logs the step and the code of the refusal, but not its text, which may contain restricted
    /// data.
    fn log_stuck(&self, id: TxId) -> Result<(), Refusal> {
        let read = self.guard(read_record(&*self.store, View::Committed, &RecordKey::Tx(id)))?;
        if let Some((record, _)) = read
            && let Record::Tx(tx) = &*record
            && let Some(stuck) = &tx.stuck
        {
            let (workflow, step, code) = (&tx.workflow, &stuck.step, &*stuck.code);
            tracing::warn!(
                tx = %id, %workflow, %step, code,
                "transaction is stuck; it needs an operator"
            );
        }
        Ok(())
    }
}
