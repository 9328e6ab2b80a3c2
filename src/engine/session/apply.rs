//! Changes of the records by events of sessions.

use super::event::SessionEvent;
use super::record::{Session, Stored, StoredId};
use crate::engine::core::record::{IndexEntry, Opens, Record, RecordKey, Timer, TimerOf};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::OwnerId;
use crate::types::SessionId;

/// Applies an event.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &SessionEvent,
) -> Result<(), DecideError> {
    match event {
        SessionEvent::Opened { session, .. } => open_session(unit, session),
        SessionEvent::Upgraded { session, user, token, profile, idle, expires_at } => {
            let now = unit.context.now;
            change_session(unit, *session, |session| {
                session.user = Some(user.clone());
                session.token = *token;
                session.profile.clone_from(profile);
                session.idle = *idle;
                session.expires_at = *expires_at;
                session.last_seen_at = now;
                session.timer_at = session.idle_expires_at();
            })?;
            let mut list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
            list.push(*session);
            unit.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
            Ok(())
        }
        SessionEvent::Touched { session } => {
            let now = unit.context.now;
            change_session(unit, *session, |session| session.last_seen_at = now)
        }
        SessionEvent::TokenReplaced { session, token } => {
            let now = unit.context.now;
            change_session(unit, *session, |session| {
                session.token = *token;
                session.last_seen_at = now;
            })
        }
        SessionEvent::Elevated { session, until } => {
            change_session(unit, *session, |session| session.elevated_until = Some(*until))
        }
        SessionEvent::Rescheduled { session, due } => {
            change_session(unit, *session, |session| session.timer_at = *due)
        }
        SessionEvent::Ended { session, .. } => end_session(unit, *session),
        SessionEvent::DataWritten { session, json } => {
            if unit.session(*session)?.is_some_and(|session| !session.has_data) {
                change_session(unit, *session, |session| session.has_data = true)?;
            }
            unit.put(RecordKey::SessionData(*session), Record::Data(json.clone()));
            Ok(())
        }
        SessionEvent::FactsWritten { session, json } => {
            change_session(unit, *session, |session| session.facts = json.clone())
        }
        SessionEvent::ExternalWritten { id, stored } => {
            if let Some(old) = unit.stored(*id)? {
                let old = Timer { due: old.timer_at, what: TimerOf::Stored(*id) };
                unit.disarm(old);
            }
            unit.arm(Timer { due: stored.timer_at, what: TimerOf::Stored(*id) });
            unit.put(RecordKey::Stored(*id), Record::Stored((**stored).clone()));
            Ok(())
        }
        SessionEvent::ExternalTouched { id } => {
            let now = unit.context.now;
            change_stored(unit, *id, |stored| stored.last_seen_at = now)
        }
        SessionEvent::ExternalRescheduled { id, due } => {
            change_stored(unit, *id, |stored| stored.timer_at = *due)
        }
        SessionEvent::ExternalEnded { id } => {
            if let Some(stored) = unit.stored(*id)? {
                let timer = Timer { due: stored.timer_at, what: TimerOf::Stored(*id) };
                unit.disarm(timer);
                unit.delete(RecordKey::Stored(*id));
            }
            Ok(())
        }
    }
}

fn open_session(unit: &mut UnitOfWork<'_>, session: &Session) -> Result<(), DecideError> {
    unit.recount(RecordKey::SessionCount, true)?;
    if let Some(user) = &session.user {
        let mut list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
        list.push(session.id);
        unit.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
    }
    if let Some(via) = &session.via {
        unit.mark(IndexEntry::SessionVia(via.id, session.id));
    }
    unit.put(RecordKey::Token(session.token), Record::Opens(Opens::Session(session.id)));
    unit.arm(Timer { due: session.timer_at, what: TimerOf::Session(session.id) });
    unit.put(RecordKey::Session(session.id), Record::Session(session.clone()));
    Ok(())
}

/// Changes a session, together with its token's record and its timer.
fn change_session(
    unit: &mut UnitOfWork<'_>,
    id: SessionId,
    change: impl FnOnce(&mut Session),
) -> Result<(), DecideError> {
    let Some(old) = unit.session(id)?.cloned() else { return Ok(()) };
    let mut session = old.clone();
    change(&mut session);
    if session.token != old.token {
        unit.delete(RecordKey::Token(old.token));
        unit.put(RecordKey::Token(session.token), Record::Opens(Opens::Session(id)));
    }
    if session.timer_at != old.timer_at {
        unit.disarm(Timer { due: old.timer_at, what: TimerOf::Session(id) });
        unit.arm(Timer { due: session.timer_at, what: TimerOf::Session(id) });
    }
    unit.put(RecordKey::Session(id), Record::Session(session));
    Ok(())
}

fn end_session(unit: &mut UnitOfWork<'_>, id: SessionId) -> Result<(), DecideError> {
    let Some(session) = unit.session(id)?.cloned() else { return Ok(()) };
    if session.has_data && unit.session_data(id)?.is_some() {
        unit.delete(RecordKey::SessionData(id));
    }
    if let Some(user) = &session.user {
        let mut list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
        list.retain(|other| *other != id);
        if list.is_empty() {
            unit.delete(RecordKey::UserSessions(user.id));
        } else {
            unit.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
        }
    }
    if let Some(via) = &session.via {
        unit.unmark(IndexEntry::SessionVia(via.id, id));
    }
    unit.recount(RecordKey::SessionCount, false)?;
    crate::engine::transaction::orphan(unit, OwnerId::Session(id))?;
    unit.disarm(Timer { due: session.timer_at, what: TimerOf::Session(id) });
    unit.delete(RecordKey::Token(session.token));
    unit.delete(RecordKey::Session(id));
    Ok(())
}

fn change_stored(
    unit: &mut UnitOfWork<'_>,
    id: StoredId,
    change: impl FnOnce(&mut Stored),
) -> Result<(), DecideError> {
    let Some(old) = unit.stored(id)?.cloned() else { return Ok(()) };
    let mut stored = old.clone();
    change(&mut stored);
    if stored.timer_at != old.timer_at {
        unit.disarm(Timer { due: old.timer_at, what: TimerOf::Stored(id) });
        unit.arm(Timer { due: stored.timer_at, what: TimerOf::Stored(id) });
    }
    unit.put(RecordKey::Stored(id), Record::Stored(stored));
    Ok(())
}
