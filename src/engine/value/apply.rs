//! Changes of the records by events of reference values.

use super::event::ValueEvent;
use crate::engine::core::record::{Record, RecordKey};
use crate::engine::core::unit_of_work::UnitOfWork;

/// Record of a set of reference values that everybody may read; other sets have none.
const READ_ANYONE: &str = r#"{"read":["anyone"]}"#;

/// Applies an event.
pub(in crate::engine) fn apply(unit: &mut UnitOfWork<'_>, event: &ValueEvent) {
    match event {
        ValueEvent::Put { id, json } => {
            unit.put(RecordKey::Value(id.clone()), Record::Data(json.clone()));
        }
        ValueEvent::SetChanged { set, read_anyone: true } => {
            unit.put(RecordKey::ValueSet(set.clone()), Record::Data(READ_ANYONE.into()));
        }
        ValueEvent::SetChanged { set, read_anyone: false } => {
            unit.delete(RecordKey::ValueSet(set.clone()));
        }
        ValueEvent::Deleted { id } => unit.delete(RecordKey::Value(id.clone())),
    }
}
