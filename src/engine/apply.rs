//! What each event makes of the records: the one transition function, live and in replay.

use std::sync::Arc;

use super::draft::{DecideError, UnitOfWork};
use super::state::{
    Holder, IndexEntry, Link, Opens, Record, RecordKey, Session, Stored, StoredId, Timer, TimerOf,
    User,
};
use super::tx::{OwnerId, WorkflowHead};
use super::{Event, UserChange, UserRef, attempts};
use crate::types::{SessionId, TokenHash, UserId};

/// What is kept of a set of reference values that anybody may read; others have no record.
const READ_ANYONE: &str = r#"{"read":["anyone"]}"#;

/// Applies an event. An event about something that is not there changes nothing: it cannot come
/// from a decision, only from a log that was cut.
#[expect(clippy::too_many_lines, reason = "one arm for each event, and the table is the point")]
pub(super) fn apply(draft: &mut UnitOfWork<'_>, event: &Event) -> Result<(), DecideError> {
    match event {
        Event::SessionOpened { session, .. } => open_session(draft, session),
        Event::SessionUpgraded { session, user, token, profile, idle, expires_at } => {
            let now = draft.moment.now;
            change_session(draft, *session, |session| {
                session.user = Some(user.clone());
                session.token = *token;
                session.profile.clone_from(profile);
                session.idle = *idle;
                session.expires_at = *expires_at;
                session.last_seen_at = now;
                session.timer_at = session.idle_expires_at();
            })?;
            let mut list = draft.user_sessions(user.id)?.cloned().unwrap_or_default();
            list.push(*session);
            draft.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
            Ok(())
        }
        Event::SessionTouched { session } => {
            let now = draft.moment.now;
            change_session(draft, *session, |session| session.last_seen_at = now)
        }
        Event::SessionTokenReplaced { session, token } => {
            let now = draft.moment.now;
            change_session(draft, *session, |session| {
                session.token = *token;
                session.last_seen_at = now;
            })
        }
        Event::SessionElevated { session, until } => {
            change_session(draft, *session, |session| session.elevated_until = Some(*until))
        }
        Event::SessionRescheduled { session, due } => {
            change_session(draft, *session, |session| session.timer_at = *due)
        }
        Event::SessionEnded { session, .. } => end_session(draft, *session),
        Event::SessionDataWritten { session, json } => {
            if draft.session(*session)?.is_some_and(|session| !session.has_data) {
                change_session(draft, *session, |session| session.has_data = true)?;
            }
            draft.put(RecordKey::SessionData(*session), Record::Data(json.clone()));
            Ok(())
        }
        Event::LoginFailed { counters, .. } | Event::CodeFailed { counters } => {
            attempts::count(draft, counters)
        }
        Event::FailuresMoved { from, to } => attempts::move_failures(draft, from, to),
        Event::FailuresForgotten { counters } => attempts::forget(draft, counters),
        Event::SessionFactsWritten { session, json } => {
            change_session(draft, *session, |session| session.facts = json.clone())
        }
        Event::UserCreated { user } => {
            if user.is_administrator() {
                draft.recount(RecordKey::AdministratorCount, true)?;
            }
            draft.put(RecordKey::Name(user.username.clone()), Record::Name(Holder::User(user.id)));
            draft.put(RecordKey::User(user.id), Record::User((**user).clone()));
            Ok(())
        }
        Event::UserChanged { user, change } => {
            if change.disabled == Some(true) {
                super::tx::orphan(draft, OwnerId::User(*user))?;
            }
            change_user(draft, *user, |user| {
                let UserChange { name, roles, attributes, disabled } = &**change;
                if let Some(name) = name {
                    user.name = name.as_deref().map(Into::into);
                }
                if let Some(roles) = roles {
                    user.roles = roles.as_slice().into();
                }
                if let Some(attributes) = attributes {
                    user.attributes = super::data::text(attributes);
                }
                if let Some(disabled) = disabled {
                    user.disabled = *disabled;
                }
            })
        }
        Event::RoleChangesNoted { user, changes } => {
            let fact = RecordKey::RoleChanges(*user);
            if changes.0.is_empty() {
                draft.delete(fact);
            } else {
                draft.put(fact, Record::RoleChanges((**changes).clone()));
            }
            Ok(())
        }
        Event::PasswordSet { user, hash } => change_user(draft, *user, |user| {
            user.password = Some(hash.clone());
            user.credential += 1;
        }),
        Event::PasswordRehashed { user, hash } => {
            change_user(draft, *user, |user| user.password = Some(hash.clone()))
        }
        Event::SessionsVoided { user } => change_user(draft, *user, |user| user.epoch += 1),
        Event::UserDataWritten { user, json } => {
            draft.put(RecordKey::UserData(*user), Record::Data(json.clone()));
            Ok(())
        }
        Event::UserDeleted { user } => delete_user(draft, user),
        Event::LinkMade { hash, link } => make_link(draft, *hash, *link),
        Event::LinkEnded { hash } => end_link(draft, *hash),
        Event::KeyCreated { key } => {
            draft.recount(RecordKey::KeyCount, true)?;
            draft.put(RecordKey::Token(key.token), Record::Opens(Opens::Key(key.id)));
            draft.put(RecordKey::Key(key.id), Record::Key((**key).clone()));
            Ok(())
        }
        Event::KeyRevoked { key, keep_sessions } => {
            draft.recount(RecordKey::KeyCount, false)?;
            if *keep_sessions {
                draft.put(RecordKey::KeptSessions(key.id), Record::Count(1));
            }
            draft.delete(RecordKey::Token(key.token));
            draft.delete(RecordKey::Key(key.id));
            Ok(())
        }
        Event::StoredWritten { id, stored } => {
            if let Some(old) = draft.stored(*id)? {
                let old = Timer { due: old.timer_at, what: TimerOf::Stored(*id) };
                draft.disarm(old);
            }
            draft.arm(Timer { due: stored.timer_at, what: TimerOf::Stored(*id) });
            draft.put(RecordKey::Stored(*id), Record::Stored((**stored).clone()));
            Ok(())
        }
        Event::StoredTouched { id } => {
            let now = draft.moment.now;
            change_stored(draft, *id, |stored| stored.last_seen_at = now)
        }
        Event::StoredRescheduled { id, due } => {
            change_stored(draft, *id, |stored| stored.timer_at = *due)
        }
        Event::StoredEnded { id } => {
            if let Some(stored) = draft.stored(*id)? {
                let timer = Timer { due: stored.timer_at, what: TimerOf::Stored(*id) };
                draft.disarm(timer);
                draft.delete(RecordKey::Stored(*id));
            }
            Ok(())
        }
        Event::Tx { tx, event } => super::tx::apply(draft, *tx, event),
        Event::WorkflowPublished { published } => {
            let (name, version) = (published.name.clone(), published.version);
            if draft.workflow(name.clone())?.is_none() {
                let count = draft.count(&RecordKey::WorkflowCount)?;
                draft.put(RecordKey::WorkflowCount, Record::Count(count + 1));
            }
            let head = WorkflowHead { latest: version, retired: false };
            draft.put(RecordKey::Workflow(name.clone()), Record::Workflow(head));
            let record = Record::Definition(Arc::new((**published).clone()));
            draft.put(RecordKey::Definition(name, version), record);
            Ok(())
        }
        Event::WorkflowRetired { name } => {
            if let Some(head) = draft.workflow(name.clone())?.copied() {
                let head = WorkflowHead { retired: true, ..head };
                draft.put(RecordKey::Workflow(name.clone()), Record::Workflow(head));
            }
            Ok(())
        }
        Event::ValuePut { id, json } => {
            draft.put(RecordKey::Value(id.clone()), Record::Data(json.clone()));
            Ok(())
        }
        Event::ValueSetChanged { set, read_anyone: true } => {
            draft.put(RecordKey::ValueSet(set.clone()), Record::Data(READ_ANYONE.into()));
            Ok(())
        }
        Event::ValueSetChanged { set, read_anyone: false } => {
            draft.delete(RecordKey::ValueSet(set.clone()));
            Ok(())
        }
        Event::ValueDeleted { id } => {
            draft.delete(RecordKey::Value(id.clone()));
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
        | Event::HoldExpired { .. } => super::ledger::apply::apply(draft, event),
    }
}

fn open_session(draft: &mut UnitOfWork<'_>, session: &Session) -> Result<(), DecideError> {
    draft.recount(RecordKey::SessionCount, true)?;
    if let Some(user) = &session.user {
        let mut list = draft.user_sessions(user.id)?.cloned().unwrap_or_default();
        list.push(session.id);
        draft.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
    }
    if let Some(via) = &session.via {
        draft.mark(IndexEntry::SessionVia(via.id, session.id));
    }
    draft.put(RecordKey::Token(session.token), Record::Opens(Opens::Session(session.id)));
    draft.arm(Timer { due: session.timer_at, what: TimerOf::Session(session.id) });
    draft.put(RecordKey::Session(session.id), Record::Session(session.clone()));
    Ok(())
}

/// Changes a session, and with it the token that reaches it and its timer.
fn change_session(
    draft: &mut UnitOfWork<'_>,
    id: SessionId,
    change: impl FnOnce(&mut Session),
) -> Result<(), DecideError> {
    let Some(old) = draft.session(id)?.cloned() else { return Ok(()) };
    let mut session = old.clone();
    change(&mut session);
    if session.token != old.token {
        draft.delete(RecordKey::Token(old.token));
        draft.put(RecordKey::Token(session.token), Record::Opens(Opens::Session(id)));
    }
    if session.timer_at != old.timer_at {
        draft.disarm(Timer { due: old.timer_at, what: TimerOf::Session(id) });
        draft.arm(Timer { due: session.timer_at, what: TimerOf::Session(id) });
    }
    draft.put(RecordKey::Session(id), Record::Session(session));
    Ok(())
}

fn end_session(draft: &mut UnitOfWork<'_>, id: SessionId) -> Result<(), DecideError> {
    let Some(session) = draft.session(id)?.cloned() else { return Ok(()) };
    if session.has_data && draft.session_data(id)?.is_some() {
        draft.delete(RecordKey::SessionData(id));
    }
    if let Some(user) = &session.user {
        let mut list = draft.user_sessions(user.id)?.cloned().unwrap_or_default();
        list.retain(|other| *other != id);
        if list.is_empty() {
            draft.delete(RecordKey::UserSessions(user.id));
        } else {
            draft.put(RecordKey::UserSessions(user.id), Record::Sessions(list));
        }
    }
    if let Some(via) = &session.via {
        draft.unmark(IndexEntry::SessionVia(via.id, id));
    }
    draft.recount(RecordKey::SessionCount, false)?;
    super::tx::orphan(draft, OwnerId::Session(id))?;
    draft.disarm(Timer { due: session.timer_at, what: TimerOf::Session(id) });
    draft.delete(RecordKey::Token(session.token));
    draft.delete(RecordKey::Session(id));
    Ok(())
}

fn change_user(
    draft: &mut UnitOfWork<'_>,
    id: UserId,
    change: impl FnOnce(&mut User),
) -> Result<(), DecideError> {
    let Some(old) = draft.user(id)?.cloned() else { return Ok(()) };
    let mut user = old.clone();
    change(&mut user);
    if user.is_administrator() != old.is_administrator() {
        draft.recount(RecordKey::AdministratorCount, user.is_administrator())?;
    }
    draft.put(RecordKey::User(id), Record::User(user));
    Ok(())
}

fn delete_user(draft: &mut UnitOfWork<'_>, user: &UserRef) -> Result<(), DecideError> {
    super::tx::orphan(draft, OwnerId::User(user.id))?;
    if draft.user_data(user.id)?.is_some() {
        draft.delete(RecordKey::UserData(user.id));
    }
    if draft.role_changes(user.id)?.is_some() {
        draft.delete(RecordKey::RoleChanges(user.id));
    }
    if draft.user(user.id)?.is_some_and(User::is_administrator) {
        draft.recount(RecordKey::AdministratorCount, false)?;
    }
    draft.put(RecordKey::Name(user.username.clone()), Record::Name(Holder::Gone));
    draft.delete(RecordKey::User(user.id));
    Ok(())
}

fn make_link(draft: &mut UnitOfWork<'_>, hash: TokenHash, link: Link) -> Result<(), DecideError> {
    if let Some(user) = link.user {
        change_user(draft, user, |user| user.link = Some(hash))?;
    }
    draft.arm(Timer { due: link.expires_at, what: TimerOf::Link(hash) });
    draft.put(RecordKey::Token(hash), Record::Opens(Opens::Link(link)));
    Ok(())
}

fn end_link(draft: &mut UnitOfWork<'_>, hash: TokenHash) -> Result<(), DecideError> {
    let Some(Opens::Link(link)) = draft.opens(hash)?.copied() else { return Ok(()) };
    if let Some(user) = link.user {
        change_user(draft, user, |user| {
            if user.link == Some(hash) {
                user.link = None;
            }
        })?;
    }
    draft.disarm(Timer { due: link.expires_at, what: TimerOf::Link(hash) });
    draft.delete(RecordKey::Token(hash));
    Ok(())
}

fn change_stored(
    draft: &mut UnitOfWork<'_>,
    id: StoredId,
    change: impl FnOnce(&mut Stored),
) -> Result<(), DecideError> {
    let Some(old) = draft.stored(id)?.cloned() else { return Ok(()) };
    let mut stored = old.clone();
    change(&mut stored);
    if stored.timer_at != old.timer_at {
        draft.disarm(Timer { due: old.timer_at, what: TimerOf::Stored(id) });
        draft.arm(Timer { due: stored.timer_at, what: TimerOf::Stored(id) });
    }
    draft.put(RecordKey::Stored(id), Record::Stored(stored));
    Ok(())
}
