//! What each event makes of the records: the one transition function, live and in replay.

use std::sync::Arc;

use super::attempts;
use super::record::{
    Holder, IndexEntry, Link, Opens, Record, RecordKey, Session, Stored, StoredId, Timer, TimerOf,
    User,
};
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::{OwnerId, WorkflowHead};
use crate::engine::{Event, UserChange, UserRef};
use crate::types::{SessionId, TokenHash, UserId};

/// What is kept of a set of reference values that anybody may read; others have no record.
const READ_ANYONE: &str = r#"{"read":["anyone"]}"#;

/// Applies an event. An event about something that is not there changes nothing: it cannot come
/// from a decision, only from a log that was cut.
#[expect(clippy::too_many_lines, reason = "one arm for each event, and the table is the point")]
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &Event,
) -> Result<(), DecideError> {
    match event {
        Event::SessionOpened { session, .. } => open_session(unit, session),
        Event::SessionUpgraded { session, user, token, profile, idle, expires_at } => {
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
        Event::SessionTouched { session } => {
            let now = unit.context.now;
            change_session(unit, *session, |session| session.last_seen_at = now)
        }
        Event::SessionTokenReplaced { session, token } => {
            let now = unit.context.now;
            change_session(unit, *session, |session| {
                session.token = *token;
                session.last_seen_at = now;
            })
        }
        Event::SessionElevated { session, until } => {
            change_session(unit, *session, |session| session.elevated_until = Some(*until))
        }
        Event::SessionRescheduled { session, due } => {
            change_session(unit, *session, |session| session.timer_at = *due)
        }
        Event::SessionEnded { session, .. } => end_session(unit, *session),
        Event::SessionDataWritten { session, json } => {
            if unit.session(*session)?.is_some_and(|session| !session.has_data) {
                change_session(unit, *session, |session| session.has_data = true)?;
            }
            unit.put(RecordKey::SessionData(*session), Record::Data(json.clone()));
            Ok(())
        }
        Event::LoginFailed { counters, .. } | Event::CodeFailed { counters } => {
            attempts::count(unit, counters)
        }
        Event::FailuresMoved { from, to } => attempts::move_failures(unit, from, to),
        Event::FailuresForgotten { counters } => attempts::forget(unit, counters),
        Event::SessionFactsWritten { session, json } => {
            change_session(unit, *session, |session| session.facts = json.clone())
        }
        Event::UserCreated { user } => {
            if user.is_administrator() {
                unit.recount(RecordKey::AdministratorCount, true)?;
            }
            unit.put(RecordKey::Name(user.username.clone()), Record::Name(Holder::User(user.id)));
            unit.put(RecordKey::User(user.id), Record::User((**user).clone()));
            Ok(())
        }
        Event::UserChanged { user, change } => {
            if change.disabled == Some(true) {
                crate::engine::transaction::orphan(unit, OwnerId::User(*user))?;
            }
            change_user(unit, *user, |user| {
                let UserChange { name, roles, attributes, disabled } = &**change;
                if let Some(name) = name {
                    user.name = name.as_deref().map(Into::into);
                }
                if let Some(roles) = roles {
                    user.roles = roles.as_slice().into();
                }
                if let Some(attributes) = attributes {
                    user.attributes = super::json_change::text(attributes);
                }
                if let Some(disabled) = disabled {
                    user.disabled = *disabled;
                }
            })
        }
        Event::RoleChangesNoted { user, changes } => {
            let fact = RecordKey::RoleChanges(*user);
            if changes.0.is_empty() {
                unit.delete(fact);
            } else {
                unit.put(fact, Record::RoleChanges((**changes).clone()));
            }
            Ok(())
        }
        Event::PasswordSet { user, hash } => change_user(unit, *user, |user| {
            user.password = Some(hash.clone());
            user.credential += 1;
        }),
        Event::PasswordRehashed { user, hash } => {
            change_user(unit, *user, |user| user.password = Some(hash.clone()))
        }
        Event::SessionsVoided { user } => change_user(unit, *user, |user| user.epoch += 1),
        Event::UserDataWritten { user, json } => {
            unit.put(RecordKey::UserData(*user), Record::Data(json.clone()));
            Ok(())
        }
        Event::UserDeleted { user } => delete_user(unit, user),
        Event::LinkMade { hash, link } => make_link(unit, *hash, *link),
        Event::LinkEnded { hash } => end_link(unit, *hash),
        Event::KeyCreated { key } => {
            unit.recount(RecordKey::KeyCount, true)?;
            unit.put(RecordKey::Token(key.token), Record::Opens(Opens::Key(key.id)));
            unit.put(RecordKey::Key(key.id), Record::Key((**key).clone()));
            Ok(())
        }
        Event::KeyRevoked { key, keep_sessions } => {
            unit.recount(RecordKey::KeyCount, false)?;
            if *keep_sessions {
                unit.put(RecordKey::KeptSessions(key.id), Record::Count(1));
            }
            unit.delete(RecordKey::Token(key.token));
            unit.delete(RecordKey::Key(key.id));
            Ok(())
        }
        Event::StoredWritten { id, stored } => {
            if let Some(old) = unit.stored(*id)? {
                let old = Timer { due: old.timer_at, what: TimerOf::Stored(*id) };
                unit.disarm(old);
            }
            unit.arm(Timer { due: stored.timer_at, what: TimerOf::Stored(*id) });
            unit.put(RecordKey::Stored(*id), Record::Stored((**stored).clone()));
            Ok(())
        }
        Event::StoredTouched { id } => {
            let now = unit.context.now;
            change_stored(unit, *id, |stored| stored.last_seen_at = now)
        }
        Event::StoredRescheduled { id, due } => {
            change_stored(unit, *id, |stored| stored.timer_at = *due)
        }
        Event::StoredEnded { id } => {
            if let Some(stored) = unit.stored(*id)? {
                let timer = Timer { due: stored.timer_at, what: TimerOf::Stored(*id) };
                unit.disarm(timer);
                unit.delete(RecordKey::Stored(*id));
            }
            Ok(())
        }
        Event::Tx { tx, event } => crate::engine::transaction::apply(unit, *tx, event),
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
        Event::ValuePut { id, json } => {
            unit.put(RecordKey::Value(id.clone()), Record::Data(json.clone()));
            Ok(())
        }
        Event::ValueSetChanged { set, read_anyone: true } => {
            unit.put(RecordKey::ValueSet(set.clone()), Record::Data(READ_ANYONE.into()));
            Ok(())
        }
        Event::ValueSetChanged { set, read_anyone: false } => {
            unit.delete(RecordKey::ValueSet(set.clone()));
            Ok(())
        }
        Event::ValueDeleted { id } => {
            unit.delete(RecordKey::Value(id.clone()));
            Ok(())
        }
        Event::Denied { .. } | Event::Told { .. } => Ok(()),
        Event::AssetPut { .. }
        | Event::AccountOpened { .. }
        | Event::AccountChanged { .. }
        | Event::AccountClosed { .. }
        | Event::TransferPosted { .. }
        | Event::HoldPlaced { .. }
        | Event::HoldCaptured { .. }
        | Event::HoldVoided { .. }
        | Event::HoldExpired { .. } => crate::engine::ledger::apply::apply(unit, event),
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

/// Changes a session, and with it the token that reaches it and its timer.
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

fn change_user(
    unit: &mut UnitOfWork<'_>,
    id: UserId,
    change: impl FnOnce(&mut User),
) -> Result<(), DecideError> {
    let Some(old) = unit.user(id)?.cloned() else { return Ok(()) };
    let mut user = old.clone();
    change(&mut user);
    if user.is_administrator() != old.is_administrator() {
        unit.recount(RecordKey::AdministratorCount, user.is_administrator())?;
    }
    unit.put(RecordKey::User(id), Record::User(user));
    Ok(())
}

fn delete_user(unit: &mut UnitOfWork<'_>, user: &UserRef) -> Result<(), DecideError> {
    crate::engine::transaction::orphan(unit, OwnerId::User(user.id))?;
    if unit.user_data(user.id)?.is_some() {
        unit.delete(RecordKey::UserData(user.id));
    }
    if unit.role_changes(user.id)?.is_some() {
        unit.delete(RecordKey::RoleChanges(user.id));
    }
    if unit.user(user.id)?.is_some_and(User::is_administrator) {
        unit.recount(RecordKey::AdministratorCount, false)?;
    }
    unit.put(RecordKey::Name(user.username.clone()), Record::Name(Holder::Gone));
    unit.delete(RecordKey::User(user.id));
    Ok(())
}

fn make_link(unit: &mut UnitOfWork<'_>, hash: TokenHash, link: Link) -> Result<(), DecideError> {
    if let Some(user) = link.user {
        change_user(unit, user, |user| user.link = Some(hash))?;
    }
    unit.arm(Timer { due: link.expires_at, what: TimerOf::Link(hash) });
    unit.put(RecordKey::Token(hash), Record::Opens(Opens::Link(link)));
    Ok(())
}

fn end_link(unit: &mut UnitOfWork<'_>, hash: TokenHash) -> Result<(), DecideError> {
    let Some(Opens::Link(link)) = unit.opens(hash)?.copied() else { return Ok(()) };
    if let Some(user) = link.user {
        change_user(unit, user, |user| {
            if user.link == Some(hash) {
                user.link = None;
            }
        })?;
    }
    unit.disarm(Timer { due: link.expires_at, what: TimerOf::Link(hash) });
    unit.delete(RecordKey::Token(hash));
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
