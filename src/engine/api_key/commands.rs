//! Commands on API keys.

use super::record::ApiKey;
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::record::{Timer, TimerOf};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{ApiKeyEvent, EndReason, InputError, Outcome, Refusal, Rules, SessionEvent};
use crate::types::{KeyId, Role, SessionId, Span, UserPattern};

/// Maximum number of sessions that one commit ends because their API key was revoked: some
/// milliseconds of work.
const SESSIONS_PER_COMMIT_MAX: usize = 20;

/// Time between two of these commits.
const PAUSE: Span = Span::from_ms(1);

pub(in crate::engine) fn create(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    name: &str,
    roles: &[Role],
    on_behalf: &[UserPattern],
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    crate::engine::user::require_fit(Some(name), Some(roles))?;
    if on_behalf.len() > Rules::ROLES_MAX {
        let message = format!("must have at most {} entries", Rules::ROLES_MAX);
        let error = InputError::new("/on_behalf", "too-many", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if unit.key_count()? >= Rules::KEYS_MAX as u64 {
        return Err(Refusal::LimitReached { what: "API keys", max: Rules::KEYS_MAX }.into());
    }
    let key = ApiKey {
        id: inputs.key,
        token: inputs.token()?.hash(),
        name: name.into(),
        roles: roles.into(),
        on_behalf: on_behalf.into(),
        created_at: unit.context.now,
    };
    let view = key.view(unit.context.revision);
    unit.emit(ApiKeyEvent::Created { key: Box::new(key) })?;
    Ok(Outcome::KeyCreated { key: view, token: inputs.token()?.clone() })
}

pub(in crate::engine) fn revoke(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: KeyId,
    keep_sessions: bool,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let key = unit.key(id)?.ok_or(Refusal::NotFound("API key"))?.clone();
    unit.emit(ApiKeyEvent::Revoked { key: Box::new(key), keep_sessions })?;
    if !keep_sessions {
        end_sessions_via(unit, id, SessionId::new(0))?;
    }
    Ok(Outcome::Done)
}

/// Ends the sessions that a revoked key opened, as many as one commit takes; a timer ends the rest.
/// Their tokens are all refused at once, since the key is deleted.
pub(in crate::engine) fn end_sessions_via(
    unit: &mut UnitOfWork<'_>,
    key: KeyId,
    after: SessionId,
) -> Result<(), DecideError> {
    let mut list = unit.sessions_via(key, after)?.to_vec();
    let mut is_more = unit.slice(&mut list, SESSIONS_PER_COMMIT_MAX);
    let mut seen = None;
    for session in &list {
        if seen.is_some() && unit.is_slice_over() {
            is_more = true;
            break;
        }
        seen = Some(*session);
        unit.emit(SessionEvent::Ended { session: *session, reason: EndReason::KeyRevoked })?;
    }
    if let Some(last) = seen.filter(|_| is_more) {
        let due = unit.context.now.plus(PAUSE);
        unit.arm(Timer { due, what: TimerOf::EndVia(key, last) });
    }
    Ok(())
}
