//! The actor of a command, looked up again when the command is decided.

use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::api_key::ApiKey;
use crate::engine::session::Session;
use crate::engine::user::User;
use crate::engine::{Actor, Refusal};
use crate::types::{TxId, WorkflowName};

/// The actor as it is at this moment, not as it was when its token was looked up.
pub(in crate::engine) struct ResolvedActor {
    /// With its roles of now.
    pub(in crate::engine) actor: Actor,
    /// Its session, alive.
    pub(in crate::engine) session: Option<Session>,
    /// Its user, not disabled.
    pub(in crate::engine) user: Option<User>,
    /// Its API key, not revoked.
    pub(in crate::engine) key: Option<ApiKey>,
}

impl ResolvedActor {
    /// Looks the actor up again.
    pub(in crate::engine) fn of(unit: &UnitOfWork<'_>, actor: &Actor) -> Result<Self, DecideError> {
        let nobody =
            |actor: &Actor| Self { actor: actor.clone(), session: None, user: None, key: None };
        match actor {
            Actor::Nobody | Actor::Hook(_) | Actor::Workflow(..) | Actor::System => {
                Ok(nobody(actor))
            }
            Actor::Key(known) => {
                let key = unit.key(known.key.id)?.ok_or(Refusal::Unauthenticated)?;
                Ok(Self { actor: key.actor(), key: Some(key.clone()), ..nobody(actor) })
            }
            Actor::Session(known) => {
                let session = unit.session(known.session)?.ok_or(Refusal::Unauthenticated)?;
                if !session.is_alive(unit.context.now) || session.token != known.token {
                    return Err(Refusal::Unauthenticated.into());
                }
                if let Some(via) = &session.via
                    && !unit.keeps_sessions(via.id)?
                {
                    return Err(Refusal::Unauthenticated.into());
                }
                let user = match &session.user {
                    None => None,
                    Some(user) => Some(unit.user(user.id)?.ok_or(Refusal::Unauthenticated)?),
                };
                if user.is_some_and(|user| user.disabled) {
                    return Err(Refusal::Unauthenticated.into());
                }
                let roles = user.map_or_else(|| [].into(), |user| user.roles.clone());
                Ok(Self {
                    actor: session.actor(roles),
                    session: Some(session.clone()),
                    user: user.cloned(),
                    key: None,
                })
            }
        }
    }

    /// The server itself.
    pub(in crate::engine) const fn of_system() -> Self {
        Self { actor: Actor::System, session: None, user: None, key: None }
    }

    /// A transaction that acts by an effect.
    pub(in crate::engine) const fn of_workflow(name: WorkflowName, tx: TxId) -> Self {
        Self { actor: Actor::Workflow(name, tx), session: None, user: None, key: None }
    }

    /// Its session.
    pub(in crate::engine) fn session(&self) -> Result<&Session, Refusal> {
        self.session.as_ref().ok_or(Refusal::NotAllowed("this needs a session"))
    }

    /// Its session and user.
    pub(in crate::engine) fn user(&self) -> Result<(&Session, &User), Refusal> {
        match (&self.session, &self.user) {
            (Some(session), Some(user)) => Ok((session, user)),
            _ => Err(Refusal::NotAllowed("this needs the session of a user")),
        }
    }

    /// Its API key.
    pub(in crate::engine) fn key(&self) -> Result<&ApiKey, Refusal> {
        self.key.as_ref().ok_or(Refusal::NotAllowed("this needs an API key"))
    }

    /// Refuses all but administrators and services.
    pub(in crate::engine) fn require_admin_or_service(&self) -> Result<(), Refusal> {
        if self.key.is_some() || self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin or an API key"))
        }
    }

    /// Refuses all but the server itself.
    pub(in crate::engine) fn require_system(&self, why: &'static str) -> Result<(), Refusal> {
        if self.actor == Actor::System { Ok(()) } else { Err(Refusal::NotAllowed(why)) }
    }

    /// Refuses all but administrators.
    pub(in crate::engine) fn require_admin(&self) -> Result<(), Refusal> {
        if self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin"))
        }
    }
}
