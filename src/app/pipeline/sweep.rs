//! Forgetting what has become too old and has no timer: answers, their counts, failed logins.
//!
//! Answers that are listed in blocks ([`live_keys`]) are forgotten block by block, the oldest first.
//! What is in no block is found by going through everything again and again, in slices.

use std::ops::Bound;

use bytes::Bytes;

use super::live_keys::KeyIndexing;
use super::{answers, live_keys};
use crate::engine::{Record, RecordKey};
use crate::records::{Key, ReadError, value};
use crate::store::{KeyRange, Order, Precondition, Row, Store, View, Write};
use crate::types::{Span, Time};

/// Rows looked at in one go.
const ROWS: usize = 64;

/// One go for so many answers kept: two rows are looked at for each that is added, so a whole
/// round takes no longer than it takes to keep half as many answers as there are. A block lists
/// about twice as many, so blocks are forgotten faster than they are added.
const ANSWERS_PER_GO: usize = ROWS / 2;

/// Of so many answers that are listed in blocks one counts as if it were not: what a crash left
/// in no block is found some time, and it costs next to nothing.
const LISTED_PER_UNLISTED: usize = 64;

/// After a whole round that found nothing too old it rests: what is there lives for hours more.
const REST: Span = Span::from_minutes(10);

/// What is swept.
const PREFIXES: [&[u8]; 3] = [Key::ANSWERS, Key::ANSWER_COUNTS, Key::ATTEMPTS];

/// Where the sweep stands.
#[derive(Default)]
pub(in crate::app) struct Sweep {
    prefix: usize,
    after: Option<Bytes>,
    /// Answers kept since the last look at everything, as far as they are in no block.
    kept: usize,
    /// Answers kept since the last look at blocks.
    listed: usize,
    /// Answers in blocks that are not counted in `kept` yet.
    uncounted: usize,
    /// Whether this round has found something.
    found: bool,
    /// When this round began.
    began: Time,
    /// Until when it rests.
    rests_until: Time,
}

impl Sweep {
    /// Counts an answer that was kept.
    pub(in crate::app) fn count(&mut self, listed: KeyIndexing) {
        self.listed += 1;
        match listed {
            KeyIndexing::Unlisted => self.kept += 1,
            KeyIndexing::InBlocks => {
                self.uncounted += 1;
                self.kept += self.uncounted / LISTED_PER_UNLISTED;
                self.uncounted %= LISTED_PER_UNLISTED;
            }
        }
    }

    /// Whether enough was added since the last go.
    pub(in crate::app) const fn is_due(&self) -> bool {
        self.rows_are_due() || self.blocks_are_due()
    }

    /// Whether enough was added since the last look at blocks.
    pub(in crate::app) const fn blocks_are_due(&self) -> bool {
        self.listed >= ANSWERS_PER_GO
    }

    /// Whether enough was added since the last look at everything.
    pub(in crate::app) const fn rows_are_due(&self) -> bool {
        self.kept >= ANSWERS_PER_GO
    }

    /// Blocks were looked at.
    pub(in crate::app) const fn looked_at_blocks(&mut self) {
        self.listed = self.listed.saturating_sub(ANSWERS_PER_GO);
    }

    /// Looks at the next rows and says what to delete of them.
    pub(in crate::app) fn page(
        &mut self,
        store: &dyn Store,
        now: Time,
    ) -> Result<(Vec<Precondition>, Vec<Write>), ReadError> {
        // What was kept while nobody came to sweep is made up for, go by go.
        self.kept = self.kept.saturating_sub(ANSWERS_PER_GO);
        if now < self.rests_until {
            self.kept = 0;
            return Ok((Vec::new(), Vec::new()));
        }
        let mut range = KeyRange::prefix(PREFIXES[self.prefix]);
        if let Some(after) = self.after.take() {
            range.from = Bound::Excluded(after);
        }
        if self.prefix == 0 && matches!(range.from, Bound::Included(_)) {
            self.began = now;
        }
        let page = store.scan(View::Staged, &range, Order::Ascending, ROWS)?;
        self.after = page.next;
        if self.after.is_none() {
            self.prefix = (self.prefix + 1) % PREFIXES.len();
        }
        let ends_round = self.prefix == 0 && self.after.is_none();
        let (mut preconditions, mut writes) = (Vec::new(), Vec::new());
        for row in page.rows {
            let keys = too_old(&row, now)?;
            if !keys.is_empty() {
                preconditions.push(Precondition::Unchanged(row.key, row.revision));
                writes.extend(keys.into_iter().map(|key| Write::delete(key.encode())));
            }
        }
        self.found |= !writes.is_empty();
        if ends_round {
            if !self.found {
                // From its beginning: what has become too old since is for the next round.
                self.rests_until = self.began.plus(REST);
            }
            self.found = false;
        }
        Ok((preconditions, writes))
    }
}

/// The keys to delete with this row; none: it stays.
fn too_old(row: &Row, now: Time) -> Result<Vec<Key>, ReadError> {
    Ok(match Key::decode(&row.key) {
        // The other parts go with the first.
        Some(Key::Answer(scope, digest, 0)) if answers::is_forgotten(&row.value, now) => {
            let parts = row.value.first().copied().unwrap_or(1);
            (0..parts).map(|part| Key::Answer(scope, digest, part)).collect()
        }
        Some(key @ Key::AnswerCount(_)) if live_keys::is_count_over(&key, &row.value, now)? => {
            vec![key]
        }
        Some(key @ Key::Attempts(digest)) => {
            match value::decode(&RecordKey::Attempts(digest), &row.value)? {
                Record::Attempts(attempts) if attempts.is_forgotten(now) => vec![key],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::memory::Memory;

    #[test]
    fn what_was_kept_while_nobody_swept_is_made_up_for() {
        let (store, mut sweep) = (Memory::new(), Sweep::default());
        let behind = PREFIXES.len();
        (0..behind * ANSWERS_PER_GO).for_each(|_| sweep.count(KeyIndexing::Unlisted));
        let mut goes = 0;
        while sweep.rows_are_due() {
            sweep.page(&store, Time::from_ms(1)).unwrap();
            goes += 1;
        }
        assert_eq!(goes, behind);
        // It rests now: what is kept meanwhile is no debt.
        (0..2 * ANSWERS_PER_GO).for_each(|_| sweep.count(KeyIndexing::Unlisted));
        sweep.page(&store, Time::from_ms(2)).unwrap();
        assert!(!sweep.rows_are_due());
    }
}
