//! Sweep of expired rows that have no timer: answers, their counts, failed logins.
//!
//! Answers that are listed in blocks ([`live_keys`]) are deleted block by block, the oldest first.
//! The others are found by scans of everything, page by page, round after round.

use std::ops::Bound;

use bytes::Bytes;

use super::live_keys::KeyIndexing;
use super::{answers, live_keys};
use crate::engine::{Record, RecordKey};
use crate::records::{Key, ReadError, value};
use crate::store::{KeyRange, Order, Precondition, Row, Store, View, Write};
use crate::types::{Span, Time};

/// Rows of one page of a scan.
const ROWS: usize = 64;

/// Number of new answers after which a page is scanned: two rows for each new one, so a round takes
/// no longer than storing half as many answers as there are. A block lists about twice as many, so
/// blocks are deleted faster than they are added.
const ANSWERS_PER_PAGE: usize = ROWS / 2;

/// Number of answers in blocks of which one counts as if it were in none: answers that a crash left
/// in no block are found at some time, at little cost.
const LISTED_PER_UNLISTED: usize = 64;

/// Rest after a round that found nothing expired: what is there lives for hours more.
const REST: Span = Span::from_minutes(10);

/// Prefixes of the rows that a round scans.
const PREFIXES: [&[u8]; 3] = [Key::ANSWERS, Key::ANSWER_COUNTS, Key::ATTEMPTS];

/// Position of the sweep.
#[derive(Default)]
pub(in crate::app) struct Sweep {
    prefix: usize,
    after: Option<Bytes>,
    /// New answers in no block since the last page.
    unlisted: usize,
    /// New answers since the last block.
    listed: usize,
    /// Answers in blocks that are not counted in `unlisted` yet.
    uncounted: usize,
    /// True if this round has found an expired row.
    found: bool,
    /// Start of this round.
    began: Time,
    /// End of the rest.
    rests_until: Time,
}

impl Sweep {
    /// Counts a new answer.
    pub(in crate::app) fn count(&mut self, listed: KeyIndexing) {
        self.listed += 1;
        match listed {
            KeyIndexing::Unlisted => self.unlisted += 1,
            KeyIndexing::InBlocks => {
                self.uncounted += 1;
                self.unlisted += self.uncounted / LISTED_PER_UNLISTED;
                self.uncounted %= LISTED_PER_UNLISTED;
            }
        }
    }

    /// Returns whether a page or a block is due.
    pub(in crate::app) const fn is_due(&self) -> bool {
        self.is_page_due() || self.is_block_due()
    }

    /// Returns whether a block is due.
    pub(in crate::app) const fn is_block_due(&self) -> bool {
        self.listed >= ANSWERS_PER_PAGE
    }

    /// Returns whether a page is due.
    pub(in crate::app) const fn is_page_due(&self) -> bool {
        self.unlisted >= ANSWERS_PER_PAGE
    }

    /// Notes that a block was examined.
    pub(in crate::app) const fn note_block(&mut self) {
        self.listed = self.listed.saturating_sub(ANSWERS_PER_PAGE);
    }

    /// Scans the next page and returns what to delete of it.
    pub(in crate::app) fn page(
        &mut self,
        store: &dyn Store,
        now: Time,
    ) -> Result<(Vec<Precondition>, Vec<Write>), ReadError> {
        // A backlog is worked off page by page.
        self.unlisted = self.unlisted.saturating_sub(ANSWERS_PER_PAGE);
        if now < self.rests_until {
            self.unlisted = 0;
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
            let keys = expired_keys(&row, now)?;
            if !keys.is_empty() {
                preconditions.push(Precondition::Unchanged(row.key, row.revision));
                writes.extend(keys.into_iter().map(|key| Write::delete(key.encode())));
            }
        }
        self.found |= !writes.is_empty();
        if ends_round {
            if !self.found {
                // Counted from its start: what has expired since is found in the next round.
                self.rests_until = self.began.plus(REST);
            }
            self.found = false;
        }
        Ok((preconditions, writes))
    }
}

/// Returns the keys to delete with a row; none if the row stays.
fn expired_keys(row: &Row, now: Time) -> Result<Vec<Key>, ReadError> {
    Ok(match Key::decode(&row.key) {
        // The other parts are deleted with the first.
        Some(Key::Answer(scope, digest, 0)) if answers::is_expired(&row.value, now) => {
            let parts = row.value.first().copied().unwrap_or(1);
            (0..parts).map(|part| Key::Answer(scope, digest, part)).collect()
        }
        Some(key @ Key::AnswerCount(_)) if live_keys::is_count_expired(&key, &row.value, now)? => {
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
    fn sweep_backlog_is_worked_off_page_by_page() {
        let (store, mut sweep) = (Memory::new(), Sweep::default());
        let behind = PREFIXES.len();
        (0..behind * ANSWERS_PER_PAGE).for_each(|_| sweep.count(KeyIndexing::Unlisted));
        let mut goes = 0;
        while sweep.is_page_due() {
            sweep.page(&store, Time::from_ms(1)).unwrap();
            goes += 1;
        }
        assert_eq!(goes, behind);
        // The sweep rests: what is stored meanwhile makes no backlog.
        (0..2 * ANSWERS_PER_PAGE).for_each(|_| sweep.count(KeyIndexing::Unlisted));
        sweep.page(&store, Time::from_ms(2)).unwrap();
        assert!(!sweep.is_page_due());
    }
}
