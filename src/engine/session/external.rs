//! Commands of the sessions that other frameworks store under their own keys.

use serde_json::{Map, Value};

use super::record::{Stored, StoredId};
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::user::User;
use crate::engine::{InputError, Outcome, Refusal, SessionEvent};
use crate::types::{Span, Username};

/// Minimum idle time-out: a shorter one would end a session before its framework uses it.
const IDLE_MIN: Span = Span::from_seconds(1);

/// Maximum idle time-out.
const IDLE_MAX: Span = Span::from_hours(400 * 24);

pub(in crate::engine) fn put(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    data: &Map<String, Value>,
    idle: Option<Span>,
    username: Option<&Username>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let key = resolved.key()?;
    let id = StoredId { key: key.id, digest: inputs.stored };
    let idle = idle.unwrap_or(unit.rules.profile.idle);
    if idle < IDLE_MIN || idle > IDLE_MAX {
        let message = format!("must be from {IDLE_MIN} to {IDLE_MAX}");
        let error = InputError::new("/idle", "out-of-range", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let json = crate::engine::core::json_change::text(data);
    let bytes_max = unit.rules.data_bytes_max;
    if json.len() > bytes_max {
        return Err(Refusal::TooLarge { what: "the session data", bytes_max }.into());
    }
    let user = match username {
        None => None,
        Some(username) => {
            key.require_cover(username)?;
            let user = crate::engine::user::user_or_not_found(unit, username)?;
            key.require_reach(user)?;
            if user.disabled {
                return Err(Refusal::NotAllowed("the user is disabled").into());
            }
            Some((user.names(), user.epoch))
        }
    };
    let created = alive(unit, id)?.is_none();
    let now = unit.context.now;
    let timer_at = now.plus(idle);
    let stored = Stored { data: json, idle, user, last_seen_at: now, timer_at };
    let view = stored.view(unit.context.revision);
    unit.emit(SessionEvent::ExternalWritten { id, stored: Box::new(stored) })?;
    Ok(Outcome::Stored { stored: view, created })
}

pub(in crate::engine) fn touch(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let id = StoredId { key: resolved.key()?.id, digest: inputs.stored };
    if alive(unit, id)?.is_some_and(|stored| stored.wants_touch(unit.context.now)) {
        unit.emit(SessionEvent::ExternalTouched { id })?;
    }
    Ok(Outcome::Done)
}

pub(in crate::engine) fn delete(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let id = StoredId { key: resolved.key()?.id, digest: inputs.stored };
    if unit.stored(id)?.is_some() {
        unit.emit(SessionEvent::ExternalEnded { id })?;
    }
    Ok(Outcome::Done)
}

/// Returns the session if it has not ended.
pub(in crate::engine) fn alive<'d>(
    unit: &'d UnitOfWork<'_>,
    id: StoredId,
) -> Result<Option<&'d Stored>, DecideError> {
    let Some(stored) = unit.stored(id)? else { return Ok(None) };
    let user: Option<&User> = match &stored.user {
        Some((user, _)) => unit.user(user.id)?,
        None => None,
    };
    Ok(Some(stored).filter(|stored| stored.is_alive(user, unit.context.now)))
}
