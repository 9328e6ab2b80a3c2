//! Changes of the records by each event: the one transition function, live and in replay.

use std::sync::Arc;

use super::event::Event;
use super::record::{Record, RecordKey};
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::WorkflowHead;
use crate::engine::{api_key, attempt, ledger, session, transaction, user, value};

impl UnitOfWork<'_> {
    /// Emits an event: applies it to the records and adds it to the changes.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when a record that the event changes was not loaded.
    pub fn emit(&mut self, event: impl Into<Event>) -> Result<(), DecideError> {
        let event = event.into();
        apply(self, &event)?;
        self.note(event);
        Ok(())
    }
}

/// Applies an event. An event about a record that does not exist changes nothing: no decision emits
/// such an event, only a truncated log can contain one.
fn apply(unit: &mut UnitOfWork<'_>, event: &Event) -> Result<(), DecideError> {
    match event {
        Event::Session(event) => session::apply(unit, event),
        Event::User(event) => user::apply(unit, event),
        Event::ApiKey(event) => api_key::apply(unit, event),
        Event::Value(event) => {
            value::apply(unit, event);
            Ok(())
        }
        Event::Attempt(event) => attempt::apply(unit, event),
        Event::Ledger(event) => ledger::apply(unit, event),
        Event::Tx { tx, event } => transaction::apply(unit, *tx, event),
        Event::WorkflowPublished { published } => {
            let (name, version) = (published.name.clone(), published.version);
            if unit.workflow(name.clone())?.is_none() {
                let count = unit.count(&RecordKey::WorkflowCount)?;
                unit.put(RecordKey::WorkflowCount, Record::Count(count + 1));
            }
            let head = WorkflowHead { latest: version, retired: false };
            unit.put(RecordKey::Workflow(name.clone()), Record::Workflow(head));
            let record = Record::Definition(Arc::new((**published).clone()));
            unit.put(RecordKey::Definition(name, version), record);
            Ok(())
        }
        Event::WorkflowRetired { name } => {
            if let Some(head) = unit.workflow(name.clone())?.copied() {
                let head = WorkflowHead { retired: true, ..head };
                unit.put(RecordKey::Workflow(name.clone()), Record::Workflow(head));
            }
            Ok(())
        }
        Event::Denied { .. } | Event::Notice { .. } => Ok(()),
    }
}
