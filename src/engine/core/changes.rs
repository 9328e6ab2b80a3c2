//! Changes of one command: what is committed.

use std::collections::BTreeMap;

use super::event::Event;
use super::record::{IndexEntry, Record, RecordKey, Timer};
use crate::engine::ledger::AppendedRow;
use crate::types::Time;

/// All changes of one command, committed as one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Events, in the order in which they occurred.
    pub events: Vec<Event>,
    /// Records that the command creates or changes; `None`: deleted.
    pub records: BTreeMap<RecordKey, Option<Record>>,
    /// Timers that it sets (`true`) or removes (`false`).
    pub timers: BTreeMap<Timer, bool>,
    /// Rows that it adds.
    pub rows: Vec<AppendedRow>,
    /// Index entries that it adds (`true`) or removes (`false`).
    pub marks: BTreeMap<IndexEntry, bool>,
    /// True if the commit may do less of the work and leave the rest to later commits.
    pub is_sliced: bool,
    /// Latest due time, not later than now, of a pending timer in the records that were read. That
    /// timer must fire before this command.
    pub overdue: Option<Time>,
}
