//! Transactions that cannot go on without an operator: the log and the measurements tell of them.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::application::App;
use crate::engine::{IndexEntry, Record, RecordKey, Refusal};
use crate::records::{Key, read_fact};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::TxId;

/// How often it is looked for them: a page of the store while there are few.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Most that are looked at, so that a look takes some milliseconds; of more the number is told as
/// this one.
const SEEN_MAX: usize = 10_000;

/// Most that one look tells the log of one by one.
const TOLD_MAX: usize = 20;

/// Which transactions are stuck, as they were found last.
#[derive(Default)]
pub(super) struct StuckWatch(BTreeSet<TxId>);

impl StuckWatch {
    /// Looks again; those that were not stuck before.
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
    /// Tells the log of each transaction that is stuck and was not before, and counts them, until
    /// the store cannot be read. What was stuck at the start is told once more.
    pub async fn watch_stuck(self: Arc<Self>) {
        let mut watch = StuckWatch::default();
        while let Ok(anew) = watch.look(&self) {
            for tx in anew.iter().take(TOLD_MAX) {
                let Ok(()) = self.tell_stuck(*tx) else { return };
            }
            if let Some(more) = anew.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
                tracing::warn!(more, "more transactions are stuck: an operator must look at them");
            }
            tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }

    /// How many transactions were stuck at the last look.
    #[must_use]
    pub fn stuck(&self) -> u64 {
        self.notifier.counters.stuck.load(Ordering::Relaxed)
    }

    /// Says where it is stuck and by which refusal, and not in which words: these may hold data
    /// that only some may read.
    fn tell_stuck(&self, id: TxId) -> Result<(), Refusal> {
        let read = self.guard(read_fact(&*self.store, View::Committed, &RecordKey::Tx(id)))?;
        if let Some((record, _)) = read
            && let Record::Tx(tx) = &*record
            && let Some(stuck) = &tx.stuck
        {
            let (workflow, step, code) = (&tx.workflow, &stuck.step, &*stuck.code);
            tracing::warn!(
                tx = %id, %workflow, %step, code,
                "a transaction is stuck: an operator must look at it"
            );
        }
        Ok(())
    }
}
