//! Transactions that start, submit and cancel each other, within one commit.
//!
//! A refusal in the other transaction refuses the effect, and with it its step. A transaction that
//! is already being executed in this commit cannot be reached again: its record would change under
//! it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::checked::StartInput;
use super::eval_context::EvalActor;
use super::interpreter::Interpreter;
use super::record::Owner;
use super::start::{Begin, Referred, referred};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{AllowedActor, Definition};
use crate::engine::{Actor, Refusal};
use crate::types::{ScheduleId, SessionId, TxId, WorkflowName};

/// Maximum length of a chain of transactions that reach each other in one commit.
const DEPTH_MAX: u32 = 8;

/// Maximum number of transactions that others start, submit or cancel in one commit: each is as
/// much work as a request, and the executor does nothing else meanwhile.
const LINKS_MAX: u32 = 32;

impl<'d> Interpreter<'_, 'd> {
    /// Executes `there` in other transactions, with this workflow as the actor.
    pub(super) fn lead<T>(
        &mut self,
        there: impl FnOnce(&mut UnitOfWork<'d>, &ResolvedActor) -> Result<T, DecideError>,
    ) -> Result<T, DecideError> {
        let resolved = ResolvedActor::of_workflow(self.tx()?.workflow.clone(), self.id);
        let links = self.unit.link(self.id);
        let depth = u32::try_from(self.unit.linked().len()).unwrap_or(u32::MAX);
        let led = if depth > DEPTH_MAX {
            Err(Refusal::LinkDepthExceeded { max: DEPTH_MAX }.into())
        } else if links > LINKS_MAX {
            Err(Refusal::LinkDepthExceeded { max: LINKS_MAX }.into())
        } else {
            there(self.unit, &resolved)
        };
        self.unit.unlink();
        led
    }

    /// Refuses to reach a transaction that is already being executed in this commit.
    pub(super) fn require_rest(&self, id: TxId) -> Result<(), Refusal> {
        if id == self.id || self.unit.linked().contains(&id) {
            return Err(Refusal::LinkDepthExceeded { max: DEPTH_MAX });
        }
        Ok(())
    }
}

/// Starts a transaction for a workflow; `None`: it was started before.
pub(super) fn begin(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    (workflow, reference): (WorkflowName, &str),
    input: &Map<String, Value>,
    owner: Owner,
    session: Option<SessionId>,
) -> Result<Option<TxId>, DecideError> {
    let none = || Refusal::NotFound("workflow");
    let head = unit.workflow(workflow.clone())?.copied().ok_or_else(none)?;
    let definition = unit.definition(workflow.clone(), head.latest)?;
    if !lets_start(unit, &definition, &resolved.actor, &owner)? {
        return Err(Refusal::NotAllowed("this workflow lets others start it").into());
    }
    let input = StartInput::of(&definition, input);
    let (fact, record) = match referred(unit, &definition, reference, &input)? {
        Referred::Known(id) => {
            let own = unit.tx(id)?.is_some_and(|tx| tx.owner == owner);
            return if own { Ok(None) } else { Err(Refusal::ReferenceTaken.into()) };
        }
        Referred::New(fact, record) => (fact, record),
    };
    if head.retired {
        return Err(Refusal::WorkflowRetired.into());
    }
    let begin = Begin {
        workflow,
        version: head.latest,
        definition,
        reference: Some(reference.into()),
        owner,
        session,
        asker: super::submit::asker(resolved),
        schedule: None,
    };
    // The reason of a failure is shown as the starting workflow may see it, without hidden data.
    let definition = Arc::clone(&begin.definition);
    let made = begin.begin(unit, input.stored, Some((fact, record)));
    super::access::redact_expression_error(made, &definition, &resolved.actor, false).map(Some)
}

/// Starts a transaction for a schedule.
pub(in crate::engine) fn begin_scheduled(
    unit: &mut UnitOfWork<'_>,
    workflow: &WorkflowName,
    reference: &str,
    input: &Map<String, Value>,
    owner: Owner,
    schedule: ScheduleId,
) -> Result<TxId, DecideError> {
    let none = || Refusal::NotFound("workflow");
    let head = unit.workflow(workflow.clone())?.copied().ok_or_else(none)?;
    if head.retired {
        return Err(Refusal::WorkflowRetired.into());
    }
    let definition = unit.definition(workflow.clone(), head.latest)?;
    if !lets_start(unit, &definition, &Actor::System, &owner)? {
        return Err(Refusal::NotAllowed("this workflow lets others start it").into());
    }
    let input = StartInput::of(&definition, input);
    let Referred::New(fact, record) = referred(unit, &definition, reference, &input)? else {
        return Err(Refusal::ReferenceTaken.into());
    };
    let begin = Begin {
        workflow: workflow.clone(),
        version: head.latest,
        definition,
        reference: Some(reference.into()),
        owner,
        session: None,
        asker: EvalActor::system(),
        schedule: Some(schedule),
    };
    begin.begin(unit, input.stored, Some((fact, record)))
}

/// Returns whether a workflow may be started for an owner: by the workflow that starts it, or
/// because the owner may start it. An owner that no longer exists gets no new transaction.
fn lets_start(
    unit: &UnitOfWork<'_>,
    definition: &Definition,
    actor: &Actor,
    owner: &Owner,
) -> Result<bool, DecideError> {
    let gone = || DecideError::Refused(Refusal::NotFound("owner"));
    let roles: Arc<[_]> = match owner {
        Owner::User(user) => {
            let user = unit.user(user.id)?.filter(|user| !user.disabled).ok_or_else(gone)?;
            user.roles.clone()
        }
        Owner::Anonymous(session) => {
            let now = unit.context.now;
            unit.session(*session)?.filter(|session| session.is_alive(now)).ok_or_else(gone)?;
            [].into()
        }
        Owner::Key(key) => unit.key(key.id)?.ok_or_else(gone)?.roles.clone(),
    };
    Ok(definition.start.iter().any(|by| match by {
        AllowedActor::Workflow(_) => {
            super::access::lets_in(std::slice::from_ref(by), actor, None, &[])
        }
        AllowedActor::User => owner.user().is_some(),
        AllowedActor::Anyone => !matches!(owner, Owner::Key(_)),
        AllowedActor::ApiKey => matches!(owner, Owner::Key(_)),
        AllowedActor::Role(role) => roles.contains(role),
        AllowedActor::Owner | AllowedActor::Named(_) | AllowedActor::Hook(_) => false,
    }))
}
