//! What may be done to API keys.

use super::decide::{CommandInputs, ResolvedActor};
use super::draft::{DecideError, UnitOfWork};
use super::state::{ApiKey, Timer, TimerOf};
use super::{EndReason, Event, FieldError, Outcome, Refusal, Rules};
use crate::types::{KeyId, Role, SessionId, Span, UserPattern};

/// Maximum number of sessions that one commit ends because their API key was revoked: some
/// milliseconds of work.
const SESSIONS_PER_COMMIT_MAX: usize = 20;

/// Time between two of these commits.
const PAUSE: Span = Span::from_ms(1);

pub(super) fn create(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    name: &str,
    roles: &[Role],
    on_behalf: &[UserPattern],
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    acting.require_admin()?;
    super::users::require_fit(Some(name), Some(roles))?;
    if on_behalf.len() > Rules::ROLES_MAX {
        let message = format!("must have at most {} entries", Rules::ROLES_MAX);
        let error = FieldError::new("/on_behalf", "too-many", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if draft.key_count()? >= Rules::KEYS_MAX as u64 {
        return Err(Refusal::LimitReached { what: "API keys", max: Rules::KEYS_MAX }.into());
    }
    let key = ApiKey {
        id: evidence.key,
        token: evidence.token()?.hash(),
        name: name.into(),
        roles: roles.into(),
        on_behalf: on_behalf.into(),
        created_at: draft.moment.now,
    };
    let view = key.view(draft.moment.revision);
    draft.emit(Event::KeyCreated { key: Box::new(key) })?;
    Ok(Outcome::KeyCreated { key: view, token: evidence.token()?.clone() })
}

pub(super) fn revoke(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    id: KeyId,
    keep_sessions: bool,
) -> Result<Outcome, DecideError> {
    acting.require_admin()?;
    let key = draft.key(id)?.ok_or(Refusal::NotFound("API key"))?.clone();
    draft.emit(Event::KeyRevoked { key: Box::new(key), keep_sessions })?;
    if !keep_sessions {
        end_sessions_via(draft, id, SessionId::new(0))?;
    }
    Ok(Outcome::Done)
}

/// Ends the sessions that a revoked key opened, as many as one commit takes; a timer ends the rest.
/// All of them are dead at once for who shows their tokens, since the key is gone.
pub(super) fn end_sessions_via(
    draft: &mut UnitOfWork<'_>,
    key: KeyId,
    after: SessionId,
) -> Result<(), DecideError> {
    let mut list = draft.sessions_via(key, after)?.to_vec();
    let mut is_more = draft.slice(&mut list, SESSIONS_PER_COMMIT_MAX);
    let mut seen = None;
    for session in &list {
        if seen.is_some() && draft.is_slice_over() {
            is_more = true;
            break;
        }
        seen = Some(*session);
        draft.emit(Event::SessionEnded { session: *session, reason: EndReason::KeyRevoked })?;
    }
    if let Some(last) = seen.filter(|_| is_more) {
        let due = draft.moment.now.plus(PAUSE);
        draft.arm(Timer { due, what: TimerOf::EndVia(key, last) });
    }
    Ok(())
}
