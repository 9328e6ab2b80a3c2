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
use crate::engine::{Actor, Command, Refusal, iso_asset};
use crate::types::{Revision, SessionId, UserId};

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

/// The refusal of a change whose preconditions do not hold. `unit` is one in which nothing was
/// changed yet.
pub(in crate::engine) fn unmet(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Option<Refusal>, DecideError> {
    let Some(preconditions) = &inputs.preconditions else { return Ok(None) };
    let current = current(unit, actor, command, inputs)?;
    Ok(match current {
        _ if preconditions.hold(current) => None,
        Some(current) => Some(Refusal::RevisionMismatch { current }),
        None => Some(Refusal::NothingToMatch),
    })
}

/// The revision of the thing that a command is about; `None`: there is none, or it is about nothing
/// that has a revision.
fn current(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Option<Revision>, DecideError> {
    let fact = match command {
        Command::Login { .. }
        | Command::OpenAnonymous { .. }
        | Command::OpenOnBehalf { .. }
        | Command::Touch
        | Command::EndSessions { .. }
        | Command::Register { .. }
        | Command::MakeSetUpLink
        | Command::UseLink { .. }
        | Command::CreateKey { .. }
        | Command::OpenAccount { .. }
        | Command::PostTransfers { .. }
        | Command::ReverseTransfers { .. }
        | Command::ChangeValueSet { .. }
        | Command::PlaceHold { .. }
        | Command::Start(_)
        | Command::Deliver { .. }
        | Command::ClaimQueued(_)
        | Command::BeginCall { .. }
        | Command::EndCall { .. }
        | Command::CallBack { .. }
        | Command::Bulk(_)
        | Command::CreateWebhook(_)
        | Command::NoteWebhook(_)
        | Command::CreateSchedule(_)
        | Command::NoteDenial { .. } => return Ok(None),
        Command::Logout | Command::Rotate | Command::Elevate { .. } => {
            let Some(session) = actor.session() else { return Ok(None) };
            RecordKey::Session(session)
        }
        Command::ChangeSessionData { .. } => {
            let Some(session) = actor.session() else { return Ok(None) };
            return session_data(unit, session);
        }
        Command::EndSession { session } | Command::ChangeFacts { session, .. } => {
            RecordKey::Session(*session)
        }
        Command::ChangePassword { .. } => {
            let Some(user) = actor.user() else { return Ok(None) };
            RecordKey::User(user.id)
        }
        Command::ChangeUserData { .. } => {
            let Some(user) = actor.user() else { return Ok(None) };
            return user_data(unit, user.id);
        }
        Command::ChangeUser { username, .. }
        | Command::DeleteUser { username, .. }
        | Command::MakeResetLink { username } => {
            let Some(user) = unit.user_named(username)? else { return Ok(None) };
            RecordKey::User(user.id)
        }
        Command::RevokeKey { key, .. } => RecordKey::Key(*key),
        Command::PutStored { .. } | Command::TouchStored { .. } | Command::DeleteStored { .. } => {
            let Actor::Key(key) = actor else { return Ok(None) };
            let id = StoredId { key: key.key.id, digest: inputs.stored };
            if crate::engine::session::external::alive(unit, id)?.is_none() {
                return Ok(None);
            }
            RecordKey::Stored(id)
        }
        Command::PutAsset { asset } => {
            let put = unit.revision(&RecordKey::Asset(asset.code.clone()))?;
            return Ok(put.or_else(|| iso_asset(&asset.code).map(|_| Revision::ZERO)));
        }
        Command::ChangeAccount { id, .. } | Command::CloseAccount { id, .. } => {
            RecordKey::Account(id.clone())
        }
        Command::ReverseTransfer { id } => RecordKey::Transfer(id.clone()),
        Command::CaptureHold { id, .. } | Command::VoidHold { id } => RecordKey::Hold(id.clone()),
        Command::Submit { tx, .. }
        | Command::Claim { tx, .. }
        | Command::Release { tx, .. }
        | Command::Resend { tx, .. }
        | Command::Cancel { tx, .. }
        | Command::Repair { tx, .. }
        | Command::Pause { tx, .. }
        | Command::Migrate { tx, .. } => RecordKey::Tx(*tx),
        Command::RotateWebhook { id }
        | Command::DeleteWebhook { id }
        | Command::ReplayDeadLetter { id, .. } => RecordKey::Webhook(*id),
        Command::DeleteSchedule { id } => RecordKey::Schedule(*id),
        Command::Publish { definition, .. } => RecordKey::Workflow(definition.name.clone()),
        Command::Retire { name } => RecordKey::Workflow(name.clone()),
        Command::PutValue { id, .. } | Command::DeleteValue { id } => RecordKey::Value(id.clone()),
    };
    unit.revision(&fact)
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
