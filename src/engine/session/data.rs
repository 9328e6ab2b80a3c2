//! Data of a session, and the facts that effects and services record about it.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::core::json_change;
use crate::engine::core::preconditions::require_match;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{Data, DataChange, EMPTY, IfMatch, Outcome, RecordKey, Refusal, SessionEvent};
use crate::types::SessionId;

/// Maximum size of a session's facts as compact JSON, in bytes. The session's own record holds
/// them, and each record of activity writes it anew.
pub(in crate::engine) const FACTS_BYTES_MAX: usize = 4 * 1024;

pub(in crate::engine) fn change_data(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    change: &DataChange,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    let session = resolved.session()?;
    let id = session.id;
    let revision = unit.revision(&RecordKey::SessionData(id))?.unwrap_or(session.created_revision);
    require_match(if_match, revision)?;
    let current = unit.session_data(id)?.cloned();
    let current = current.unwrap_or_else(|| EMPTY.into());
    let bytes_max = unit.rules.data_bytes_max;
    let json = json_change::change(&current, change, "the session data", bytes_max)?;
    if json == current {
        return Ok(Outcome::Data(Data { json, revision }));
    }
    unit.emit(SessionEvent::DataWritten { session: id, json: json.clone() })?;
    Ok(Outcome::Data(Data { json, revision: unit.context.revision }))
}

/// Changes the facts of a session on behalf of a service: the session of a user for whom it may
/// act, or an anonymous one.
pub(in crate::engine) fn change_facts(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: SessionId,
    patch: &Map<String, Value>,
) -> Result<Outcome, DecideError> {
    let key = resolved.key()?;
    let session = unit.session(id)?.filter(|session| session.is_alive(unit.context.now));
    let session = session.ok_or(Refusal::NotFound("session"))?;
    if let Some(user) = &session.user {
        // A service does not even learn that the sessions of other users exist.
        let user = unit.user(user.id)?.filter(|user| key.require_reach(user).is_ok());
        user.ok_or(Refusal::NotFound("session"))?;
    }
    let json = merge_facts(unit, id, patch)?;
    let revision = unit.revision(&RecordKey::Session(id))?.unwrap_or_default();
    Ok(Outcome::Data(Data { json, revision }))
}

/// Merges a patch (RFC 7396) into the facts of a session. Returns all of them.
pub(in crate::engine) fn merge_facts(
    unit: &mut UnitOfWork<'_>,
    session: SessionId,
    patch: &Map<String, Value>,
) -> Result<Arc<str>, DecideError> {
    let current = unit.session(session)?.ok_or(Refusal::NotFound("session"))?.facts.clone();
    let json = json_change::text(&json_change::merge(&current, patch));
    if json.len() > FACTS_BYTES_MAX {
        let (what, bytes_max) = ("the facts of a session", FACTS_BYTES_MAX);
        return Err(Refusal::TooLarge { what, bytes_max }.into());
    }
    if json != current {
        unit.emit(SessionEvent::FactsWritten { session, json: json.clone() })?;
    }
    Ok(json)
}

/// Merges a patch (RFC 7396) into a session's data, for an effect of a workflow.
pub(in crate::engine) fn merge_data(
    unit: &mut UnitOfWork<'_>,
    id: SessionId,
    patch: &Map<String, Value>,
) -> Result<(), DecideError> {
    let current = unit.session_data(id)?.cloned();
    let current = current.unwrap_or_else(|| EMPTY.into());
    let change = DataChange::Merge(Value::Object(patch.clone()));
    let bytes_max = unit.rules.data_bytes_max;
    let json = json_change::change(&current, &change, "the session data", bytes_max)?;
    if json == current {
        return Ok(());
    }
    unit.emit(SessionEvent::DataWritten { session: id, json })
}
