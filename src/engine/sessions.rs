//! What may be done to sessions.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::attempts::{has_failures, require_not_wait};
use super::decide::{
    CommandInputs, ResolvedActor, end_sessions_of, require_match, require_proved, user_or_not_found,
};
use super::draft::{DecideError, UnitOfWork};
use super::state::{RecordKey, Session, User};
use super::{
    Data, DataChange, EndReason, Event, FieldError, IfMatch, OpenedBy, Outcome, Profile, Refusal,
    Rules, UserRef,
};
use crate::types::{ProfileName, Role, SessionId, Username};

/// Most bytes of a session's facts as compact JSON: they lie in the session's own record, which
/// each note of activity writes anew.
pub(super) const FACTS_BYTES_MAX: usize = 4 * 1024;

pub(super) fn login(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    username: &Username,
    profile: Option<&ProfileName>,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let times = times(draft.rules, profile)?;
    let counters = evidence.login_counters();
    require_not_wait(draft, &counters)?;
    let user = draft.user_named(username)?.ok_or(Refusal::InvalidCredentials)?.clone();
    require_proved(&user, evidence)?;
    if user.disabled {
        return Err(Refusal::InvalidCredentials.into());
    }
    if has_failures(draft, &counters)? {
        draft.emit(Event::FailuresForgotten { counters })?;
    }
    if let Some(hash) = &evidence.hashed {
        draft.emit(Event::PasswordRehashed { user: user.id, hash: hash.clone() })?;
    }
    make_room(draft, &user.names())?;
    let anonymous = acting.session.as_ref().filter(|session| session.user.is_none());
    let Some(anonymous) = anonymous else {
        let session = new_session(draft, evidence, Some(user.names()), profile, times)?;
        return open(draft, session, OpenedBy::Login, user.roles.clone(), evidence);
    };
    let id = anonymous.id;
    draft.emit(Event::SessionUpgraded {
        session: id,
        user: user.names(),
        token: evidence.token()?.hash(),
        profile: profile.cloned(),
        idle: times.idle,
        expires_at: draft.moment.now.plus(times.absolute),
    })?;
    super::tx::move_wrong_codes(draft, id, user.id)?;
    super::tx::adopt(draft, id, &user.names(), crate::types::TxId::new(0))?;
    with_token(draft, id, user.roles, evidence, true)
}

pub(super) fn open_anonymous(
    draft: &mut UnitOfWork<'_>,
    profile: Option<&ProfileName>,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    if !draft.rules.anonymous_open {
        return Err(Refusal::NotAllowed("anonymous sessions are not allowed here").into());
    }
    let times = times(draft.rules, profile)?;
    let mut session = new_session(draft, evidence, None, profile, times)?;
    session.began_anonymous = true;
    open(draft, session, OpenedBy::Anonymous, [].into(), evidence)
}

pub(super) fn open_on_behalf(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    username: &Username,
    create: bool,
    profile: Option<&ProfileName>,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let key = acting.key()?;
    key.require_cover(username)?;
    let times = times(draft.rules, profile)?;
    let (user, is_new) = match draft.user_named(username)? {
        Some(user) => (user.clone(), false),
        None if !create || super::decide::is_taken(draft, username)? => {
            return Err(Refusal::NotFound("user").into());
        }
        None => {
            super::users::require_free(acting, username, "/user")?;
            (super::users::new_user(draft, username, evidence), true)
        }
    };
    key.require_reach(&user)?;
    if user.disabled {
        return Err(Refusal::NotAllowed("the user is disabled").into());
    }
    if is_new {
        draft.emit(Event::UserCreated { user: Box::new(user.clone()) })?;
    }
    make_room(draft, &user.names())?;
    let mut session = new_session(draft, evidence, Some(user.names()), profile, times)?;
    session.via = Some(key.names());
    open(draft, session, OpenedBy::OnBehalf, user.roles, evidence)
}

pub(super) fn touch(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
) -> Result<Outcome, DecideError> {
    let session = acting.session()?;
    if session.wants_touch(draft.moment.now) {
        draft.emit(Event::SessionTouched { session: session.id })?;
    }
    Ok(Outcome::Done)
}

pub(super) fn logout(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
) -> Result<Outcome, DecideError> {
    let session = acting.session()?.id;
    draft.emit(Event::SessionEnded { session, reason: EndReason::Logout })?;
    Ok(Outcome::Done)
}

pub(super) fn rotate(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let session = acting.session()?.id;
    draft.emit(Event::SessionTokenReplaced { session, token: evidence.token()?.hash() })?;
    with_token(draft, session, roles(acting), evidence, false)
}

pub(super) fn elevate(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let (session, user) = acting.user()?;
    require_not_wait(draft, &evidence.session_counters())?;
    require_proved(user, evidence)?;
    elevate_session(draft, session.id, user, evidence)?;
    with_token(draft, session.id, roles(acting), evidence, false)
}

/// The password was proved in this session: a new token, and for some time an elevation.
pub(super) fn elevate_session(
    draft: &mut UnitOfWork<'_>,
    session: SessionId,
    user: &User,
    evidence: &CommandInputs,
) -> Result<(), DecideError> {
    let counters = evidence.session_counters();
    if has_failures(draft, &counters)? {
        draft.emit(Event::FailuresForgotten { counters })?;
    }
    if draft.user(user.id)?.is_some_and(|now| now.credential == user.credential)
        && let Some(hash) = &evidence.hashed
    {
        draft.emit(Event::PasswordRehashed { user: user.id, hash: hash.clone() })?;
    }
    let until = draft.moment.now.plus(draft.rules.elevation);
    draft.emit(Event::SessionElevated { session, until })?;
    draft.emit(Event::SessionTokenReplaced { session, token: evidence.token()?.hash() })
}

pub(super) fn end_one(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    id: SessionId,
) -> Result<Outcome, DecideError> {
    let none = Refusal::NotFound("session");
    let session = draft.session(id)?.filter(|session| session.is_alive(draft.moment.now));
    let session = session.ok_or(none.clone())?;
    let own = acting.session.as_ref().is_some_and(|current| {
        current.id == id || (current.user.is_some() && current.user == session.user)
    });
    if !own && !acting.actor.is_admin() {
        return Err(none.into());
    }
    draft.emit(Event::SessionEnded { session: id, reason: EndReason::Revoked })?;
    Ok(Outcome::Ended { count: 1 })
}

pub(super) fn end_all(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    username: Option<&Username>,
    except_current: bool,
) -> Result<Outcome, DecideError> {
    let current = acting.session.as_ref();
    let except = current.map(|session| session.id).filter(|_| except_current);
    let user = if let Some(username) = username {
        if acting.actor.user().is_none_or(|user| user.username != *username) {
            acting.require_admin()?;
        }
        user_or_not_found(draft, username)?.names()
    } else if let Some(user) = &acting.session()?.user {
        user.clone()
    } else if except_current {
        // An anonymous session is alone.
        return Ok(Outcome::Ended { count: 0 });
    } else {
        logout(draft, acting)?;
        return Ok(Outcome::Ended { count: 1 });
    };
    let count = end_sessions_of(draft, &user, except, EndReason::Revoked)?;
    Ok(Outcome::Ended { count })
}

pub(super) fn change_data(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    change: &DataChange,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    let session = acting.session()?;
    let id = session.id;
    let revision = draft.revision(&RecordKey::SessionData(id))?.unwrap_or(session.created_revision);
    require_match(if_match, revision)?;
    let current = draft.session_data(id)?.cloned();
    let current = current.unwrap_or_else(|| super::data::EMPTY.into());
    let bytes_max = draft.rules.data_bytes_max;
    let json = super::data::change(&current, change, "the session data", bytes_max)?;
    if json == current {
        return Ok(Outcome::Data(Data { json, revision }));
    }
    draft.emit(Event::SessionDataWritten { session: id, json: json.clone() })?;
    Ok(Outcome::Data(Data { json, revision: draft.moment.revision }))
}

/// Changes what is noted about a session, for a service: of a user for whom it may act, or of an
/// anonymous session.
pub(super) fn change_facts(
    draft: &mut UnitOfWork<'_>,
    acting: &ResolvedActor,
    id: SessionId,
    patch: &Map<String, Value>,
) -> Result<Outcome, DecideError> {
    let key = acting.key()?;
    let session = draft.session(id)?.filter(|session| session.is_alive(draft.moment.now));
    let session = session.ok_or(Refusal::NotFound("session"))?;
    if let Some(user) = &session.user {
        // Of others' sessions a service is not even told that they exist.
        let user = draft.user(user.id)?.filter(|user| key.require_reach(user).is_ok());
        user.ok_or(Refusal::NotFound("session"))?;
    }
    let json = merge_facts(draft, id, patch)?;
    let revision = draft.revision(&RecordKey::Session(id))?.unwrap_or_default();
    Ok(Outcome::Data(Data { json, revision }))
}

/// Merges a patch (RFC 7396) into what is noted about a live session; gives all of it.
pub(super) fn merge_facts(
    draft: &mut UnitOfWork<'_>,
    session: SessionId,
    patch: &Map<String, Value>,
) -> Result<Arc<str>, DecideError> {
    let current = draft.session(session)?.ok_or(Refusal::NotFound("session"))?.facts.clone();
    let json = super::data::text(&super::data::merge(&current, patch));
    if json.len() > FACTS_BYTES_MAX {
        let (what, bytes_max) = ("the facts of a session", FACTS_BYTES_MAX);
        return Err(Refusal::TooLarge { what, bytes_max }.into());
    }
    if json != current {
        draft.emit(Event::SessionFactsWritten { session, json: json.clone() })?;
    }
    Ok(json)
}

/// Ends the oldest sessions of a user until there is room for one more.
fn make_room(draft: &mut UnitOfWork<'_>, user: &UserRef) -> Result<(), DecideError> {
    let max = draft.rules.sessions_per_user_max.clamp(1, Rules::SESSIONS_PER_USER_MAX);
    let list = draft.user_sessions(user.id)?.cloned().unwrap_or_default();
    let too_many = (list.len() + 1).saturating_sub(max);
    for session in list.into_iter().take(too_many) {
        draft.emit(Event::SessionEnded { session, reason: EndReason::TooMany })?;
    }
    Ok(())
}

/// The time-outs of a profile.
fn times(rules: &Rules, profile: Option<&ProfileName>) -> Result<Profile, Refusal> {
    match profile {
        None => Ok(rules.profile),
        Some(name) => rules.profiles.get(name).copied().ok_or_else(|| {
            let known: Vec<_> = rules.profiles.keys().map(ProfileName::as_str).collect();
            let message = match known.as_slice() {
                [] => "no profiles are configured".to_owned(),
                known => format!("must be one of: {}", known.join(", ")),
            };
            Refusal::InvalidInput(vec![FieldError::new("/profile", "unknown-profile", message)])
        }),
    }
}

fn new_session(
    draft: &UnitOfWork<'_>,
    evidence: &CommandInputs,
    user: Option<UserRef>,
    profile: Option<&ProfileName>,
    times: Profile,
) -> Result<Session, Refusal> {
    let now = draft.moment.now;
    let expires_at = now.plus(times.absolute);
    Ok(Session {
        id: evidence.session,
        token: evidence.token()?.hash(),
        user,
        began_anonymous: false,
        via: None,
        profile: profile.cloned(),
        idle: times.idle,
        created_at: now,
        created_revision: draft.moment.revision,
        last_seen_at: now,
        expires_at,
        elevated_until: None,
        timer_at: now.plus(times.idle).min(expires_at),
        has_data: false,
        address: evidence.address.clone(),
        agent: evidence.agent.clone(),
        facts: super::data::EMPTY.into(),
    })
}

fn open(
    draft: &mut UnitOfWork<'_>,
    session: Session,
    by: OpenedBy,
    roles: Arc<[Role]>,
    evidence: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let view = session.view(roles, draft.moment.revision);
    draft.emit(Event::SessionOpened { session: Box::new(session), by })?;
    Ok(Outcome::Session { session: view, token: evidence.token()?.clone(), created: true })
}

/// The answer that hands out a session's new token.
pub(super) fn with_token(
    draft: &UnitOfWork<'_>,
    id: SessionId,
    roles: Arc<[Role]>,
    evidence: &CommandInputs,
    created: bool,
) -> Result<Outcome, DecideError> {
    let session = draft.session(id)?.ok_or(Refusal::Unauthenticated)?;
    let session = session.view(roles, draft.moment.revision);
    Ok(Outcome::Session { session, token: evidence.token()?.clone(), created })
}

fn roles(acting: &ResolvedActor) -> Arc<[Role]> {
    acting.user.as_ref().map_or_else(|| [].into(), |user| user.roles.clone())
}

/// Merges (RFC 7396) into a session's data, for an effect of a workflow.
pub(super) fn merge_data(
    draft: &mut UnitOfWork<'_>,
    id: SessionId,
    patch: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), DecideError> {
    let current = draft.session_data(id)?.cloned();
    let current = current.unwrap_or_else(|| super::data::EMPTY.into());
    let change = DataChange::Merge(serde_json::Value::Object(patch.clone()));
    let bytes_max = draft.rules.data_bytes_max;
    let json = super::data::change(&current, &change, "the session data", bytes_max)?;
    if json == current {
        return Ok(());
    }
    draft.emit(Event::SessionDataWritten { session: id, json })
}
