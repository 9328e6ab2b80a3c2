//! Commands on reference values.

use std::sync::Arc;

use serde_json::Value;

use super::record::ValueKey;
use crate::engine::core::preconditions::require_match;
use crate::engine::core::record::RecordKey;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::require_publish;
use crate::engine::{Actor, IfMatch, Outcome, Refusal, ValueEvent};
use crate::types::{Revision, ValueName};

/// Maximum size of a reference value, in bytes of compact JSON.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Writes a reference value.
pub(in crate::engine) fn put(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &ValueKey,
    value: &Value,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    require_write_values(&resolved.actor)?;
    let fact = RecordKey::Value(id.clone());
    let current = unit.value(id.clone())?.cloned();
    let revision = unit.revision(&fact)?;
    require_match(if_match, revision.unwrap_or(Revision::ZERO))?;
    let json: Arc<str> = value.to_string().into();
    if json.len() > VALUE_BYTES_MAX {
        let what = "a reference value";
        return Err(Refusal::TooLarge { what, bytes_max: VALUE_BYTES_MAX }.into());
    }
    let created = current.is_none();
    let revision = match (current, revision) {
        (Some(current), Some(revision)) if current == json => revision,
        _ => {
            unit.emit(ValueEvent::Put { id: id.clone(), json: json.clone() })?;
            unit.context.revision
        }
    };
    Ok(Outcome::Value { json, revision, created })
}

/// Sets whether everybody may read a set of reference values.
pub(in crate::engine) fn change_set(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    set: &ValueName,
    read_anyone: bool,
) -> Result<Outcome, DecideError> {
    require_write_values(&resolved.actor)?;
    if unit.value_set(set.clone())?.is_some() != read_anyone {
        unit.emit(ValueEvent::SetChanged { set: set.clone(), read_anyone })?;
    }
    Ok(Outcome::Done)
}

/// Deletes a reference value.
pub(in crate::engine) fn delete(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &ValueKey,
) -> Result<Outcome, DecideError> {
    require_write_values(&resolved.actor)?;
    if unit.value(id.clone())?.is_none() {
        return Err(Refusal::NotFound("value").into());
    }
    unit.emit(ValueEvent::Deleted { id: id.clone() })?;
    Ok(Outcome::Done)
}

fn require_write_values(actor: &Actor) -> Result<(), Refusal> {
    if matches!(actor, Actor::Key(_)) { Ok(()) } else { require_publish(actor) }
}
