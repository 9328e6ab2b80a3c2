//! Changes of the records by events of API keys.

use super::event::ApiKeyEvent;
use crate::engine::core::record::{Opens, Record, RecordKey};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};

/// Applies an event.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &ApiKeyEvent,
) -> Result<(), DecideError> {
    match event {
        ApiKeyEvent::Created { key } => {
            unit.recount(RecordKey::KeyCount, true)?;
            unit.put(RecordKey::Token(key.token), Record::Opens(Opens::Key(key.id)));
            unit.put(RecordKey::Key(key.id), Record::Key((**key).clone()));
            Ok(())
        }
        ApiKeyEvent::Revoked { key, keep_sessions } => {
            unit.recount(RecordKey::KeyCount, false)?;
            if *keep_sessions {
                unit.put(RecordKey::KeptSessions(key.id), Record::Count(1));
            }
            unit.delete(RecordKey::Token(key.token));
            unit.delete(RecordKey::Key(key.id));
            Ok(())
        }
    }
}
