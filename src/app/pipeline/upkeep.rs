//! Commits of the server itself that no command and no timer decides.

use std::ops::Bound;
use std::sync::Arc;

use super::executor::{CommitInputs, Executor, Fatal};
use crate::engine::{Record, RecordKey};
use crate::records::{Key, ReadError, read_fact, value};
use crate::store::{
    Batch, KeyRange, Order, PAGE_ROWS_MAX, Precondition, Row, Urgency, View, Write,
};

impl Executor {
    /// A store that was written before there were these counts gets them, as if they had always
    /// been kept, before anything else happens.
    pub(in crate::app) fn backfill_counts(&mut self) -> Result<(), Fatal> {
        let store = Arc::clone(&self.store);
        for (record_key, prefix) in
            [(RecordKey::AdministratorCount, Key::USERS), (RecordKey::SessionCount, Key::SESSIONS)]
        {
            if read_fact(&*store, View::Staged, &record_key)?.is_some() {
                continue;
            }
            let mut range = KeyRange::prefix(prefix);
            let (mut rows, mut count) = (0, 0);
            loop {
                let page = store.scan(View::Staged, &range, Order::Ascending, PAGE_ROWS_MAX)?;
                rows += page.rows.len();
                for row in page.rows {
                    count += u64::from(counts(&row)?);
                }
                let Some(next) = page.next else { break };
                range.from = Bound::Excluded(next);
            }
            if rows == 0 {
                continue;
            }
            let key = Key::of(&record_key).encode();
            let batch = Batch {
                preconditions: vec![Precondition::Absent(key.clone().into())],
                writes: vec![Write::put(key, value::encode(&Record::Count(count)))],
                urgency: Urgency::Reserved,
                ..Batch::default()
            };
            // What is counted from here on would be counted from nothing.
            self.commit(self.clock.now(), CommitInputs { batch, ..CommitInputs::default() })??;
        }
        Ok(())
    }
}

/// Whether a user's or a session's row is among those that are counted.
fn counts(row: &Row) -> Result<bool, Fatal> {
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
