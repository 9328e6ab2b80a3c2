//! Changes of the records by events of users.

use super::event::UserEvent;
use super::record::{Holder, Link, User, UserChange};
use crate::engine::UserRef;
use crate::engine::core::record::{Opens, Record, RecordKey, Timer, TimerOf};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::OwnerId;
use crate::types::{TokenHash, UserId};

/// Applies an event.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &UserEvent,
) -> Result<(), DecideError> {
    match event {
        UserEvent::Created { user } => {
            if user.is_administrator() {
                unit.recount(RecordKey::AdministratorCount, true)?;
            }
            unit.put(RecordKey::Name(user.username.clone()), Record::Name(Holder::User(user.id)));
            unit.put(RecordKey::User(user.id), Record::User((**user).clone()));
            Ok(())
        }
        UserEvent::Changed { user, change } => {
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
                    user.attributes = crate::engine::core::json_change::text(attributes);
                }
                if let Some(disabled) = disabled {
                    user.disabled = *disabled;
                }
            })
        }
        UserEvent::RoleChangesNoted { user, changes } => {
            let fact = RecordKey::RoleChanges(*user);
            if changes.0.is_empty() {
                unit.delete(fact);
            } else {
                unit.put(fact, Record::RoleChanges((**changes).clone()));
            }
            Ok(())
        }
        UserEvent::PasswordSet { user, hash } => change_user(unit, *user, |user| {
            user.password = Some(hash.clone());
            user.credential += 1;
        }),
        UserEvent::PasswordRehashed { user, hash } => {
            change_user(unit, *user, |user| user.password = Some(hash.clone()))
        }
        UserEvent::SessionsVoided { user } => change_user(unit, *user, |user| user.epoch += 1),
        UserEvent::DataWritten { user, json } => {
            unit.put(RecordKey::UserData(*user), Record::Data(json.clone()));
            Ok(())
        }
        UserEvent::Deleted { user } => delete_user(unit, user),
        UserEvent::LinkMade { hash, link } => make_link(unit, *hash, *link),
        UserEvent::LinkEnded { hash } => end_link(unit, *hash),
    }
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
