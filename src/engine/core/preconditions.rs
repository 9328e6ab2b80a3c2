//! Preconditions of a change (RFC 9110, section 13): which thing a command is about, and whether
//! that is as its caller expects.
//!
//! They are checked here for every command, so none can forget them. A precondition is looked at only
//! where the command would have succeeded or been refused by the state of things: who may not know of
//! a thing is not told its revision.

use super::inputs::CommandInputs;
use super::record::RecordKey;
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::session::StoredId;
use crate::engine::user::User;
use crate::engine::{Actor, Refusal, iso_asset};
use crate::types::{AssetCode, Revision, SessionId, UserId, Username};

/// The revisions of an `If-Match` header: one of them must be the current one. Empty: nothing
/// matches (a header of weak or foreign tags). A header of `*` is no condition here, since every
/// thing that it can be sent for exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Vec<Revision>);

/// What a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `*`: whatever there is.
    Any,
    /// These revisions.
    OneOf(Vec<Revision>),
}

impl Expected {
    fn names(&self, current: Option<Revision>) -> bool {
        match self {
            Self::Any => current.is_some(),
            Self::OneOf(revisions) => current.is_some_and(|current| revisions.contains(&current)),
        }
    }
}

/// The conditions that come with a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`: the thing must be one of these.
    pub if_match: Option<Expected>,
    /// `If-None-Match`: the thing must be none of these; with [`Expected::Any`] it must not exist.
    pub if_none_match: Option<Expected>,
}

impl Preconditions {
    fn hold(&self, current: Option<Revision>) -> bool {
        self.if_match.as_ref().is_none_or(|expected| expected.names(current))
            && !self.if_none_match.as_ref().is_some_and(|expected| expected.names(current))
    }
}

/// Refuses when the current revision is none of those that the caller has seen.
pub(in crate::engine) fn require_match(
    if_match: Option<&IfMatch>,
    current: Revision,
) -> Result<(), Refusal> {
    match if_match {
        Some(IfMatch(seen)) if !seen.contains(&current) => {
            Err(Refusal::RevisionMismatch { current })
        }
        _ => Ok(()),
    }
}

/// Thing whose revision the conditions of a request name.
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

/// Returns the refusal of a change whose preconditions do not hold. `unit` is one in which nothing
/// was changed yet.
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

/// Data that was never written has the revision of what it belongs to.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_rfc_9110_says() {
        let one = |revision| Some(Expected::OneOf(vec![Revision::new(revision)]));
        let now = Some(Revision::new(5));
        let holds = |if_match, if_none_match, current| {
            Preconditions { if_match, if_none_match }.hold(current)
        };
        let any = || Some(Expected::Any);
        assert!(holds(None, None, now) && holds(None, None, None));
        assert!(holds(any(), None, now) && !holds(any(), None, None));
        assert!(
            holds(one(5), None, now) && !holds(one(4), None, now) && !holds(one(5), None, None)
        );
        assert!(!holds(Some(Expected::OneOf(Vec::new())), None, now));
        assert!(!holds(None, any(), now) && holds(None, any(), None));
        assert!(!holds(None, one(5), now) && holds(None, one(4), now) && holds(None, one(5), None));
        assert!(!holds(one(5), one(5), now), "both must hold");
    }
}
