//! Changes of one command: what is committed.

use std::collections::BTreeMap;

use super::event::Event;
use super::record::{IndexEntry, Record, RecordKey, Timer};
use crate::engine::ledger::Row;
use crate::types::Time;

/// What a command changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The records that it made or changed; `None`: deleted.
    pub records: BTreeMap<RecordKey, Option<Record>>,
    /// The timers that it set (`true`) or took away.
    pub timers: BTreeMap<Timer, bool>,
    /// The rows that it adds.
    pub rows: Vec<Row>,
    /// The marks that it sets (`true`) or takes away.
    pub marks: BTreeMap<IndexEntry, bool>,
    /// Whether less of it could be done at once, and the rest in later commits.
    pub is_sliced: bool,
    /// The latest time that was due by then, and had not happened yet, in what was read: it must
    /// happen first.
    pub overdue: Option<Time>,
}
