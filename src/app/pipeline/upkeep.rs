//! Commits of the server itself that no command and no timer decides: counts that an earlier
//! version did not keep, the clock's marks, and the sweep of expired rows.

use std::ops::Bound;
use std::sync::Arc;

use super::commit::{CommitRejection, CommitResult, PendingCommit};
use super::executor::{Executor, Fatal};
use super::live_keys;
use crate::engine::{Record, RecordKey};
use crate::records::{Key, ReadError, read_record, value};
use crate::store::{
    Batch, KeyRange, Order, PAGE_ROWS_MAX, Precondition, Row, Store, Urgency, View, Write,
};
use crate::types::Time;

impl Executor {
    /// Writes the counts of administrators and sessions into a store of a version that had none.
    pub(super) fn backfill_counts(&mut self) -> Result<(), Fatal> {
        let store = Arc::clone(&self.store);
        for (count_key, prefix) in
            [(RecordKey::AdministratorCount, Key::USERS), (RecordKey::SessionCount, Key::SESSIONS)]
        {
            if read_record(&*store, View::Staged, &count_key)?.is_some() {
                continue;
            }
            let Some(count) = count_rows(&*store, prefix)? else { continue };
            let key = Key::of(&count_key).encode();
            let preconditions = vec![Precondition::Absent(key.clone().into())];
            let writes = vec![Write::put(key, value::encode(&Record::Count(count)))];
            // Later counts would start from nothing without this one.
            if let Some(rejection) = self.write(self.now(), preconditions, writes)? {
                return Err(Fatal(format!("a count could not be written: {rejection}")));
            }
        }
        Ok(())
    }

    /// Writes the clock's marks at once, after the clock was moved by hand.
    pub(super) fn write_clock(&mut self) -> Result<(), Fatal> {
        self.clock_written_at = Time::ZERO;
        if let Some(error) = self.write(self.now(), Vec::new(), Vec::new())? {
            tracing::warn!(parent: None, %error, "the moved clock was not written");
        }
        Ok(())
    }

    /// Deletes some of the expired rows.
    pub(super) fn sweep(&mut self) -> Result<(), Fatal> {
        let now = self.now();
        let (preconditions, writes) = if self.sweep.is_block_due() {
            self.sweep.note_block();
            let writes = match self.live_keys.drop_oldest(&*self.store, now)? {
                Some(writes) => Some(writes),
                None => live_keys::delete_expired_block(&*self.store, now)?,
            };
            (Vec::new(), writes.unwrap_or_default())
        } else {
            self.sweep.page(&*self.store, now)?
        };
        if !writes.is_empty()
            && let Some(error) = self.write(now, preconditions, writes)?
        {
            tracing::warn!(parent: None, %error, "sweep of expired rows failed; will retry");
        }
        Ok(())
    }

    /// Stages rows that no decision wrote. Returns the rejection, if there was one.
    fn write(
        &mut self,
        now: Time,
        preconditions: Vec<Precondition>,
        writes: Vec<Write>,
    ) -> Result<Option<CommitRejection>, Fatal> {
        let urgency = Urgency::Reserved;
        let batch = Batch { preconditions, writes, urgency, ..Batch::default() };
        let pending = PendingCommit::of(batch);
        Ok(match self.stage(now, pending)? {
            CommitResult::Staged(_) => None,
            CommitResult::Rejected(rejection) => Some(rejection),
        })
    }
}

/// Counts the rows under a prefix that the count covers. Returns `None` if there is no row at all.
fn count_rows(store: &dyn Store, prefix: &[u8]) -> Result<Option<u64>, Fatal> {
    let mut range = KeyRange::prefix(prefix);
    let (mut rows, mut count) = (0, 0);
    loop {
        let page = store.scan(View::Staged, &range, Order::Ascending, PAGE_ROWS_MAX)?;
        rows += page.rows.len();
        for row in page.rows {
            count += u64::from(is_counted(&row)?);
        }
        match page.next {
            Some(next) => range.from = Bound::Excluded(next),
            None => return Ok((rows > 0).then_some(count)),
        }
    }
}

/// Returns whether a user's or a session's row is counted: all sessions, and users who are
/// administrators.
fn is_counted(row: &Row) -> Result<bool, Fatal> {
    match Key::decode(&row.key) {
        Some(Key::User(id)) => {
            let record =
                value::decode(&RecordKey::User(id), &row.value).map_err(ReadError::from)?;
            Ok(matches!(record, Record::User(user) if user.is_administrator()))
        }
        Some(Key::Session(_)) => Ok(true),
        _ => Err(Fatal("a key cannot be read; run abide verify".to_owned())),
    }
}
