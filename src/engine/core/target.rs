//! Things whose revision the conditions of a request name, and the check of these conditions.

use super::inputs::CommandInputs;
use super::record::RecordKey;
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::session::StoredId;
use crate::engine::user::User;
use crate::engine::{Actor, Refusal, iso_asset};
use crate::types::{AssetCode, Revision, SessionId, UserId, Username};

/// The thing whose revision the conditions of a request name.
#[derive(Debug)]
pub(in crate::engine) enum Target<'a> {
    /// Nothing that has a revision.
    Nothing,
    /// A record.
    Record(RecordKey),
    /// The session of the request.
    CurrentSession,
    /// The data of the session of the request.
    SessionData,
    /// The user of the request.
    OwnUser,
    /// The data of the user of the request.
    OwnUserData,
    /// The user with a name.
    User(&'a Username),
    /// The session of another framework that the request names.
    ExternalSession,
    /// An asset; those of ISO 4217 exist without a record.
    Asset(&'a AssetCode),
}

/// Returns the refusal of a change whose preconditions do not hold. `unit` must contain no changes
/// yet.
pub(in crate::engine) fn unmet(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    target: Target<'_>,
    inputs: &CommandInputs,
) -> Result<Option<Refusal>, DecideError> {
    let Some(preconditions) = &inputs.preconditions else { return Ok(None) };
    let current = current(unit, actor, target, inputs)?;
    Ok(match current {
        _ if preconditions.hold(current) => None,
        Some(current) => Some(Refusal::RevisionMismatch { current }),
        None => Some(Refusal::NothingToMatch),
    })
}

/// Returns the revision of a target; `None`: it does not exist.
fn current(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    target: Target<'_>,
    inputs: &CommandInputs,
) -> Result<Option<Revision>, DecideError> {
    let key = match target {
        Target::Nothing => return Ok(None),
        Target::Record(key) => Some(key),
        Target::CurrentSession => actor.session().map(RecordKey::Session),
        Target::SessionData => {
            let Some(session) = actor.session() else { return Ok(None) };
            return session_data(unit, session);
        }
        Target::OwnUser => actor.user().map(|user| RecordKey::User(user.id)),
        Target::OwnUserData => {
            let Some(user) = actor.user() else { return Ok(None) };
            return user_data(unit, user.id);
        }
        Target::User(username) => unit.user_named(username)?.map(|user| RecordKey::User(user.id)),
        Target::ExternalSession => {
            let Actor::Key(key) = actor else { return Ok(None) };
            let id = StoredId { key: key.key.id, digest: inputs.stored };
            crate::engine::session::external::alive(unit, id)?.map(|_| RecordKey::Stored(id))
        }
        Target::Asset(code) => {
            let put = unit.revision(&RecordKey::Asset(code.clone()))?;
            return Ok(put.or_else(|| iso_asset(code).map(|_| Revision::ZERO)));
        }
    };
    key.map_or(Ok(None), |key| unit.revision(&key))
}

/// Returns the revision of a session's data; unwritten data has the revision of the session's
/// creation.
fn session_data(unit: &UnitOfWork<'_>, id: SessionId) -> Result<Option<Revision>, DecideError> {
    let written = unit.revision(&RecordKey::SessionData(id))?;
    let created = unit.session(id)?.map(|session| session.created_revision);
    Ok(written.or(created))
}

fn user_data(unit: &UnitOfWork<'_>, id: UserId) -> Result<Option<Revision>, DecideError> {
    let written = unit.revision(&RecordKey::UserData(id))?;
    let created = unit.user(id)?.map(|user: &User| user.created_revision);
    Ok(written.or(created))
}
