//! Transactions that start, submit and cancel each other, within one commit.
//!
//! What is refused in the other one refuses the effect, and with it the step that it stands in. A
//! transaction that is on its way is not led back to: its record would change under it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::checked::StartInput;
use super::eval_context::{Bindings, EvalActor, failed};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::record::{Compensation, Owner, TxStatus};
use super::start::{Begin, Referred, referred};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{AllowedActor, Definition, StepGuard, Template};
use crate::engine::{Actor, Refusal};
use crate::types::{ScheduleId, SessionId, TxId, WorkflowName};

/// Deepest chain of transactions that lead to each other in one commit.
const DEPTH_MAX: u32 = 8;

/// Most transactions that others start, submit or cancel in one commit: each is as much work as a
/// request, and the executor does nothing else meanwhile.
const LINKS_MAX: u32 = 32;

/// What `start` says.
pub(super) struct Start<'e> {
    pub(super) workflow: &'e Template,
    pub(super) reference: &'e Template,
    pub(super) input: Option<&'e Template>,
    pub(super) owner: Option<&'e Template>,
}

impl<'d> Interpreter<'_, 'd> {
    /// Leads to other transactions.
    fn lead<T>(
        &mut self,
        there: impl FnOnce(&mut UnitOfWork<'d>, &ResolvedActor) -> Result<T, DecideError>,
    ) -> Result<T, DecideError> {
        let resolved = ResolvedActor::of_workflow(self.tx()?.workflow.clone(), self.id);
        let links = self.unit.link(self.id);
        let depth = u32::try_from(self.unit.linked().len()).unwrap_or(u32::MAX);
        let led = if depth > DEPTH_MAX {
            Err(Refusal::LinkedTooFar { max: DEPTH_MAX }.into())
        } else if links > LINKS_MAX {
            Err(Refusal::LinkedTooFar { max: LINKS_MAX }.into())
        } else {
            there(self.unit, &resolved)
        };
        self.unit.unlink();
        led
    }

    /// Refuses to lead back to what is on its way.
    fn require_rest(&self, id: TxId) -> Result<(), Refusal> {
        if id == self.id || self.unit.linked().contains(&id) {
            return Err(Refusal::LinkedTooFar { max: DEPTH_MAX });
        }
        Ok(())
    }

    fn input_of(
        &self,
        input: Option<&Template>,
        frame: &Bindings,
        what: &str,
    ) -> Result<Map<String, Value>, DecideError> {
        input.map_or_else(|| Ok(Map::new()), |input| self.object(input, frame, what))
    }

    /// Starts another transaction, once for its reference.
    pub(super) fn start_other(
        &mut self,
        start: &Start<'_>,
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let workflow = self.text(start.workflow, frame, "the name of a workflow")?;
        let workflow: WorkflowName =
            workflow.parse().map_err(|_| DecideError::Refused(Refusal::NotFound("workflow")))?;
        let reference = self.text(start.reference, frame, "a reference")?;
        let input = self.input_of(start.input, frame, "start")?;
        let owner = match start.owner {
            None => self.tx()?.owner.clone(),
            Some(owner) => match self.made(owner, frame)?.into_json() {
                Value::Null => self.tx()?.owner.clone(),
                Value::String(name) => Owner::User(self.user(&name)?),
                _ => return Err(failed("the owner must be a user's name".to_owned())),
            },
        };
        let session = self.tx()?.session;
        let started = self.lead(|unit, resolved| {
            begin(unit, resolved, (workflow, &reference), &input, owner, session)
        })?;
        undo.extend(started.map(Compensation::Cancel));
        Ok(())
    }

    /// Submits a step of another transaction.
    pub(super) fn submit_other(
        &mut self,
        transaction: &Template,
        step: &Template,
        input: Option<&Template>,
        frame: &Bindings,
    ) -> Result<(), DecideError> {
        let none = || DecideError::Refused(Refusal::NotFound("transaction"));
        let id = self.text(transaction, frame, "the id of a transaction")?;
        let id: TxId = id.parse().map_err(|_| none())?;
        let step = self.text(step, frame, "the name of a step")?;
        let input = Value::Object(self.input_of(input, frame, "submit")?);
        self.require_rest(id)?;
        let tx = self.unit.tx(id)?.ok_or_else(none)?;
        let definition = self.unit.definition(tx.workflow.clone(), tx.version)?;
        let asks = definition.steps.iter().find(|one| one.name.as_str() == step);
        let code = |guard: &StepGuard| matches!(guard, StepGuard::Challenge { .. });
        if asks.is_some_and(|step| step.guard.iter().any(code)) {
            // Attempts are counted where a person makes them.
            return Err(Refusal::NotAllowed("a step with a one-time code is a person's").into());
        }
        self.lead(|unit, resolved| {
            super::submit::submit(unit, resolved, id, &step, &input, None, None)
        })
        .map(drop)
    }

    /// Cancels a transaction that was started by this one. What can only go forward goes on.
    pub(super) fn cancel_other(&mut self, id: TxId) -> Result<(), DecideError> {
        let Some(tx) = self.unit.tx(id)? else { return Ok(()) };
        if tx.status.is_ended() || tx.ending.is_some() || tx.pivot {
            return Ok(());
        }
        self.require_rest(id)?;
        let (workflow, version) = (tx.workflow.clone(), tx.version);
        self.lead(|unit, _| {
            let definition = unit.definition(workflow, version)?;
            let mut walk =
                Interpreter::new(unit, id, definition, EvalActor::system(), Trigger::Time);
            let reason = Some("the transaction that started it was undone".into());
            walk.emit(TxEvent::CancelAsked { reason })?;
            walk.compensate(TxStatus::Cancelled, "cancelled".into())?;
            walk.settle()
        })
    }
}

/// Begins a transaction for a workflow; `None`: it was started before.
fn begin(
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
    // Whoever asked sees this one's failure as its workflow would: not what is hidden there.
    let definition = Arc::clone(&begin.definition);
    let made = begin.begin(unit, input.stored, Some((fact, record)));
    super::access::discreet(made, &definition, &resolved.actor, false).map(Some)
}

/// Begins a transaction because it is time for it.
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

/// Whether a workflow may be started for an owner: by the workflow that starts it, or because the
/// owner could. Nobody who is gone owns anything new.
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
