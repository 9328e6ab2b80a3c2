//! Commands of sessions.

use std::sync::Arc;

use super::lifecycle::{elevate_session, end_sessions_of, with_token};
use super::record::Session;
use crate::engine::attempt::{has_failures, require_not_wait};
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::user::{require_proved, user_or_not_found};
use crate::engine::{
    AttemptEvent, EndReason, InputError, OpenedBy, Outcome, Profile, Refusal, Rules, SessionEvent,
    UserEvent, UserRef,
};
use crate::types::{ProfileName, Role, SessionId, Username};

pub(in crate::engine) fn login(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: &Username,
    profile: Option<&ProfileName>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let times = times(unit.rules, profile)?;
    let counters = inputs.login_counters();
    require_not_wait(unit, &counters)?;
    let user = unit.user_named(username)?.ok_or(Refusal::InvalidCredentials)?.clone();
    require_proved(&user, inputs)?;
    if user.disabled {
        return Err(Refusal::InvalidCredentials.into());
    }
    if has_failures(unit, &counters)? {
        unit.emit(AttemptEvent::FailuresForgotten { counters })?;
    }
    if let Some(hash) = &inputs.password_hash {
        unit.emit(UserEvent::PasswordRehashed { user: user.id, hash: hash.clone() })?;
    }
    make_room(unit, &user.names())?;
    let anonymous = resolved.session.as_ref().filter(|session| session.user.is_none());
    let Some(anonymous) = anonymous else {
        let session = new_session(unit, inputs, Some(user.names()), profile, times)?;
        return open(unit, session, OpenedBy::Login, user.roles.clone(), inputs);
    };
    let id = anonymous.id;
    unit.emit(SessionEvent::Upgraded {
        session: id,
        user: user.names(),
        token: inputs.token()?.hash(),
        profile: profile.cloned(),
        idle: times.idle,
        expires_at: unit.context.now.plus(times.absolute),
    })?;
    crate::engine::transaction::move_wrong_codes(unit, id, user.id)?;
    crate::engine::transaction::adopt(unit, id, &user.names(), crate::types::TxId::new(0))?;
    with_token(unit, id, user.roles, inputs, true)
}

pub(in crate::engine) fn open_anonymous(
    unit: &mut UnitOfWork<'_>,
    profile: Option<&ProfileName>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    if !unit.rules.anonymous_open {
        return Err(Refusal::NotAllowed("anonymous sessions are not allowed here").into());
    }
    let times = times(unit.rules, profile)?;
    let mut session = new_session(unit, inputs, None, profile, times)?;
    session.began_anonymous = true;
    open(unit, session, OpenedBy::Anonymous, [].into(), inputs)
}

pub(in crate::engine) fn open_on_behalf(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: &Username,
    create: bool,
    profile: Option<&ProfileName>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let key = resolved.key()?;
    key.require_cover(username)?;
    let times = times(unit.rules, profile)?;
    let (user, is_new) = match unit.user_named(username)? {
        Some(user) => (user.clone(), false),
        None if !create || crate::engine::user::is_taken(unit, username)? => {
            return Err(Refusal::NotFound("user").into());
        }
        None => {
            crate::engine::user::require_free(resolved, username, "/user")?;
            (crate::engine::user::new_user(unit, username, inputs), true)
        }
    };
    key.require_reach(&user)?;
    if user.disabled {
        return Err(Refusal::NotAllowed("the user is disabled").into());
    }
    if is_new {
        unit.emit(UserEvent::Created { user: Box::new(user.clone()) })?;
    }
    make_room(unit, &user.names())?;
    let mut session = new_session(unit, inputs, Some(user.names()), profile, times)?;
    session.via = Some(key.names());
    open(unit, session, OpenedBy::OnBehalf, user.roles, inputs)
}

pub(in crate::engine) fn touch(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
) -> Result<Outcome, DecideError> {
    let session = resolved.session()?;
    if session.wants_touch(unit.context.now) {
        unit.emit(SessionEvent::Touched { session: session.id })?;
    }
    Ok(Outcome::Done)
}

pub(in crate::engine) fn logout(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
) -> Result<Outcome, DecideError> {
    let session = resolved.session()?.id;
    unit.emit(SessionEvent::Ended { session, reason: EndReason::Logout })?;
    Ok(Outcome::Done)
}

pub(in crate::engine) fn rotate(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let session = resolved.session()?.id;
    unit.emit(SessionEvent::TokenReplaced { session, token: inputs.token()?.hash() })?;
    with_token(unit, session, roles(resolved), inputs, false)
}

pub(in crate::engine) fn elevate(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let (session, user) = resolved.user()?;
    require_not_wait(unit, &inputs.session_counters())?;
    require_proved(user, inputs)?;
    elevate_session(unit, session.id, user, inputs)?;
    with_token(unit, session.id, roles(resolved), inputs, false)
}

pub(in crate::engine) fn end_one(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: SessionId,
) -> Result<Outcome, DecideError> {
    let none = Refusal::NotFound("session");
    let session = unit.session(id)?.filter(|session| session.is_alive(unit.context.now));
    let session = session.ok_or(none.clone())?;
    let own = resolved.session.as_ref().is_some_and(|current| {
        current.id == id || (current.user.is_some() && current.user == session.user)
    });
    if !own && !resolved.actor.is_admin() {
        return Err(none.into());
    }
    unit.emit(SessionEvent::Ended { session: id, reason: EndReason::Revoked })?;
    Ok(Outcome::Ended { count: 1 })
}

pub(in crate::engine) fn end_all(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: Option<&Username>,
    except_current: bool,
) -> Result<Outcome, DecideError> {
    let current = resolved.session.as_ref();
    let except = current.map(|session| session.id).filter(|_| except_current);
    let user = if let Some(username) = username {
        if resolved.actor.user().is_none_or(|user| user.username != *username) {
            resolved.require_admin()?;
        }
        user_or_not_found(unit, username)?.names()
    } else if let Some(user) = &resolved.session()?.user {
        user.clone()
    } else if except_current {
        // An anonymous session has no others beside it.
        return Ok(Outcome::Ended { count: 0 });
    } else {
        logout(unit, resolved)?;
        return Ok(Outcome::Ended { count: 1 });
    };
    let count = end_sessions_of(unit, &user, except, EndReason::Revoked)?;
    Ok(Outcome::Ended { count })
}

/// Ends the oldest sessions of a user until the limit allows one more.
fn make_room(unit: &mut UnitOfWork<'_>, user: &UserRef) -> Result<(), DecideError> {
    let max = unit.rules.sessions_per_user_max.clamp(1, Rules::SESSIONS_PER_USER_MAX);
    let list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
    let too_many = (list.len() + 1).saturating_sub(max);
    for session in list.into_iter().take(too_many) {
        unit.emit(SessionEvent::Ended { session, reason: EndReason::TooMany })?;
    }
    Ok(())
}

/// Returns the time-outs of a profile.
fn times(rules: &Rules, profile: Option<&ProfileName>) -> Result<Profile, Refusal> {
    match profile {
        None => Ok(rules.profile),
        Some(name) => rules.profiles.get(name).copied().ok_or_else(|| {
            let known: Vec<_> = rules.profiles.keys().map(ProfileName::as_str).collect();
            let message = match known.as_slice() {
                [] => "no profiles are configured".to_owned(),
                known => format!("must be one of: {}", known.join(", ")),
            };
            Refusal::InvalidInput(vec![InputError::new("/profile", "unknown-profile", message)])
        }),
    }
}

fn new_session(
    unit: &UnitOfWork<'_>,
    inputs: &CommandInputs,
    user: Option<UserRef>,
    profile: Option<&ProfileName>,
    times: Profile,
) -> Result<Session, Refusal> {
    let now = unit.context.now;
    let expires_at = now.plus(times.absolute);
    Ok(Session {
        id: inputs.session,
        token: inputs.token()?.hash(),
        user,
        began_anonymous: false,
        via: None,
        profile: profile.cloned(),
        idle: times.idle,
        created_at: now,
        created_revision: unit.context.revision,
        last_seen_at: now,
        expires_at,
        elevated_until: None,
        timer_at: now.plus(times.idle).min(expires_at),
        has_data: false,
        address: inputs.address.clone(),
        agent: inputs.agent.clone(),
        facts: crate::engine::core::json_change::EMPTY.into(),
    })
}

fn open(
    unit: &mut UnitOfWork<'_>,
    session: Session,
    by: OpenedBy,
    roles: Arc<[Role]>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let view = session.view(roles, unit.context.revision);
    unit.emit(SessionEvent::Opened { session: Box::new(session), by })?;
    Ok(Outcome::Session { session: view, token: inputs.token()?.clone(), created: true })
}

fn roles(resolved: &ResolvedActor) -> Arc<[Role]> {
    resolved.user.as_ref().map_or_else(|| [].into(), |user| user.roles.clone())
}
