//! Changes of sessions that commands of sessions and of users share.

use std::sync::Arc;

use crate::engine::attempt::has_failures;
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::user::User;
use crate::engine::{AttemptEvent, EndReason, Outcome, Refusal, SessionEvent, UserEvent, UserRef};
use crate::types::{Role, SessionId};

/// Elevates a session in which the password was proved, and gives it a new token.
pub(in crate::engine) fn elevate_session(
    unit: &mut UnitOfWork<'_>,
    session: SessionId,
    user: &User,
    inputs: &CommandInputs,
) -> Result<(), DecideError> {
    let counters = inputs.session_counters();
    if has_failures(unit, &counters)? {
        unit.emit(AttemptEvent::FailuresForgotten { counters })?;
    }
    if unit.user(user.id)?.is_some_and(|now| now.credential == user.credential)
        && let Some(hash) = &inputs.password_hash
    {
        unit.emit(UserEvent::PasswordRehashed { user: user.id, hash: hash.clone() })?;
    }
    let until = unit.context.now.plus(unit.rules.elevation);
    unit.emit(SessionEvent::Elevated { session, until })?;
    unit.emit(SessionEvent::TokenReplaced { session, token: inputs.token()?.hash() })
}

/// Returns the response that contains a session's new token.
pub(in crate::engine) fn with_token(
    unit: &UnitOfWork<'_>,
    id: SessionId,
    roles: Arc<[Role]>,
    inputs: &CommandInputs,
    created: bool,
) -> Result<Outcome, DecideError> {
    let session = unit.session(id)?.ok_or(Refusal::Unauthenticated)?;
    let session = session.view(roles, unit.context.revision);
    Ok(Outcome::Session { session, token: inputs.token()?.clone(), created })
}

/// Ends all sessions of a user except one, and those of other frameworks too. Returns the number of
/// ended sessions, without those of other frameworks.
pub(in crate::engine) fn end_sessions_of(
    unit: &mut UnitOfWork<'_>,
    user: &UserRef,
    except: Option<SessionId>,
    reason: EndReason,
) -> Result<u32, DecideError> {
    let list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
    let mut count = 0;
    for session in list.into_iter().filter(|session| Some(*session) != except) {
        unit.emit(SessionEvent::Ended { session, reason })?;
        count += 1;
    }
    unit.emit(UserEvent::SessionsVoided { user: user.id })?;
    Ok(count)
}
