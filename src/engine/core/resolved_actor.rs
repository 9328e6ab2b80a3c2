//! The actor of a command, looked up again at the time of the decision.

use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::api_key::ApiKey;
use crate::engine::session::Session;
use crate::engine::user::User;
use crate::engine::{Actor, Refusal};
use crate::types::{TxId, WorkflowName};

/// The actor as it is at the time of the decision, not as it was at the token lookup.
pub(in crate::engine) struct ResolvedActor {
    /// The actor with its current roles.
    pub(in crate::engine) actor: Actor,
    /// Its session, which is alive.
    pub(in crate::engine) session: Option<Session>,
    /// Its user, who is not disabled.
    pub(in crate::engine) user: Option<User>,
    /// Its API key, which is not revoked.
    pub(in crate::engine) key: Option<ApiKey>,
}

impl ResolvedActor {
    /// Looks the actor up again. Refuses if its session, user or key is no longer valid.
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

    /// Returns the server itself as the actor.
    pub(in crate::engine) const fn of_system() -> Self {
        Self { actor: Actor::System, session: None, user: None, key: None }
    }

    /// Returns a transaction as the actor, which acts by an effect.
    pub(in crate::engine) const fn of_workflow(name: WorkflowName, tx: TxId) -> Self {
        Self { actor: Actor::Workflow(name, tx), session: None, user: None, key: None }
    }

    /// Returns its session, or refuses.
    pub(in crate::engine) fn session(&self) -> Result<&Session, Refusal> {
        self.session.as_ref().ok_or(Refusal::NotAllowed("this needs a session"))
    }

    /// Returns its session and user, or refuses.
    pub(in crate::engine) fn user(&self) -> Result<(&Session, &User), Refusal> {
        match (&self.session, &self.user) {
            (Some(session), Some(user)) => Ok((session, user)),
            _ => Err(Refusal::NotAllowed("this needs the session of a user")),
        }
    }

    /// Returns its API key, or refuses.
    pub(in crate::engine) fn key(&self) -> Result<&ApiKey, Refusal> {
        self.key.as_ref().ok_or(Refusal::NotAllowed("this needs an API key"))
    }

    /// Refuses all actors but administrators and services.
    pub(in crate::engine) fn require_admin_or_service(&self) -> Result<(), Refusal> {
        if self.key.is_some() || self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin or an API key"))
        }
    }

    /// Refuses all actors but the server itself.
    pub(in crate::engine) fn require_system(&self, why: &'static str) -> Result<(), Refusal> {
        if self.actor == Actor::System { Ok(()) } else { Err(Refusal::NotAllowed(why)) }
    }

    /// Refuses all actors but administrators.
    pub(in crate::engine) fn require_admin(&self) -> Result<(), Refusal> {
        if self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin"))
        }
    }
}
