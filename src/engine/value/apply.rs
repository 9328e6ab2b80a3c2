//! Changes of the records by events of reference values.

use super::event::ValueEvent;
use crate::engine::core::record::{Record, RecordKey};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};

/// What is kept of a set of reference values that anybody may read; others have no record.
const READ_ANYONE: &str = r#"{"read":["anyone"]}"#;

/// Applies an event.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &ValueEvent,
) -> Result<(), DecideError> {
    match event {
        ValueEvent::Put { id, json } => {
            unit.put(RecordKey::Value(id.clone()), Record::Data(json.clone()));
            Ok(())
        }
        ValueEvent::SetChanged { set, read_anyone: true } => {
            unit.put(RecordKey::ValueSet(set.clone()), Record::Data(READ_ANYONE.into()));
            Ok(())
        }
        ValueEvent::SetChanged { set, read_anyone: false } => {
            unit.delete(RecordKey::ValueSet(set.clone()));
            Ok(())
        }
        ValueEvent::Deleted { id } => {
            unit.delete(RecordKey::Value(id.clone()));
            Ok(())
        }
    }
}
