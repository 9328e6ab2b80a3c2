//! Commands of clients on open transactions.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::access::{
    counts_people, is_let_in, is_operator, is_owner, lets_in, may_see, may_submit,
    redact_expression_error,
};
use super::checked::{CheckedInput, StepInput};
use super::eval_context::{Bindings, EvalActor};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger, submissions};
use super::record::{
    ActorId, ActorRef, OpenStep, StepClaim, StuckReason, Submission, Tx, TxStatus,
};
use super::view::view;
use crate::engine::core::preconditions::require_match;
use crate::engine::core::record::RecordKey;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{Definition, StepDefinition, StepKind, StepTarget};
use crate::engine::{Actor, AttemptEvent, Event, IfMatch, InputError, Outcome, Refusal};
use crate::types::TxId;

/// Maximum length of the reason of a cancellation, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// Returns the actor as expressions see it.
pub(super) fn asker(resolved: &ResolvedActor) -> EvalActor {
    EvalActor {
        actor: resolved.actor.clone(),
        elevated_until: resolved.session.as_ref().and_then(|session| session.elevated_until),
        facts: resolved
            .session
            .as_ref()
            .map_or_else(|| "{}".into(), |session| session.facts.clone()),
    }
}

/// Returns the transaction, if the actor may know of it, and its definition.
pub(super) fn load_visible(
    unit: &UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    if_match: Option<&IfMatch>,
) -> Result<(Arc<Tx>, Arc<Definition>), DecideError> {
    let none = || DecideError::Refused(Refusal::NotFound("transaction"));
    let tx = unit.shared_tx(id)?.ok_or_else(none)?;
    let definition = unit.definition(tx.workflow.clone(), tx.version)?;
    // Whether a step was fixed to a user is a record of its own, and seldom decides.
    if !may_see(&tx, &definition, &resolved.actor, false) {
        let user = resolved.actor.user().ok_or_else(none)?;
        if !unit.was_asked(user.username.clone(), id)? {
            return Err(none());
        }
    }
    let revision = unit.revision(&RecordKey::Tx(id))?.unwrap_or(unit.context.revision);
    require_match(if_match, revision)?;
    Ok((tx, definition))
}

/// Returns the step, if it is open.
fn open_step<'t>(tx: &'t Tx, step: &str) -> Result<&'t OpenStep, Refusal> {
    if tx.paused {
        return Err(Refusal::Paused);
    }
    let named = |open: &&OpenStep| open.is_client && open.step.as_str() == step;
    tx.open.iter().find(named).ok_or_else(|| {
        let client = tx.open.iter().filter(|open| open.is_client);
        Refusal::StepNotOpen { open_steps: client.map(|open| open.step.clone()).collect() }
    })
}

fn require_let_in(
    tx: &Tx,
    definition: &Definition,
    open: &OpenStep,
    actor: &Actor,
) -> Result<(), Refusal> {
    if may_submit(tx, definition, open, actor) {
        return Ok(());
    }
    if counts_people(definition, open) && is_let_in(tx, definition, open, actor) {
        return Err(Refusal::PeopleOnly);
    }
    Err(Refusal::NotAllowed("this step waits for somebody else"))
}

fn require_free(
    open: &OpenStep,
    resolved: &ResolvedActor,
    unit: &UnitOfWork<'_>,
) -> Result<(), DecideError> {
    match &open.claim {
        Some(claim)
            if unit.context.now < claim.until && !is_person(unit, claim.by.id, resolved)? =>
        {
            Err(Refusal::Claimed { by: claim.by.name.clone(), until: claim.until }.into())
        }
        _ => Ok(()),
    }
}

/// Returns whether the actor is the person with this recorded id. For an anonymous session, also
/// the user that it became: an earlier version of this program did not move what such a session had
/// done.
fn is_person(
    unit: &UnitOfWork<'_>,
    noted: ActorId,
    resolved: &ResolvedActor,
) -> Result<bool, DecideError> {
    if noted.is(&resolved.actor) {
        return Ok(true);
    }
    let (ActorId::Session(session), Some(user)) = (noted, resolved.actor.user()) else {
        return Ok(false);
    };
    let became = unit.session(session)?.and_then(|session| session.user.as_ref());
    Ok(became.is_some_and(|became| became.id == user.id))
}

/// Refuses a person whose submission was counted already.
fn require_not_count_yet(
    unit: &UnitOfWork<'_>,
    open: &OpenStep,
    resolved: &ResolvedActor,
) -> Result<(), DecideError> {
    for submission in &open.submissions {
        if is_person(unit, submission.by.id, resolved)? {
            return Err(Refusal::AlreadyCounted.into());
        }
    }
    Ok(())
}

/// Submits a step.
pub(in crate::engine) fn submit(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    name: &str,
    input: &Value,
    if_match: Option<&IfMatch>,
    checked: Option<&CheckedInput>,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, if_match)?;
    let made = take(unit, resolved, &tx, &definition, (name, input, checked));
    redact_expression_error(made, &definition, &resolved.actor, is_owner(&tx, &resolved.actor))
}

fn take(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    tx: &Arc<Tx>,
    definition: &Arc<Definition>,
    (name, input, before): (&str, &Value, Option<&CheckedInput>),
) -> Result<Outcome, DecideError> {
    let id = tx.id;
    let open = open_step(tx, name)?;
    require_let_in(tx, definition, open, &resolved.actor)?;
    require_free(open, resolved, unit)?;
    let number = Interpreter::step(definition, &open.step)?;
    let step = &definition.steps[number];
    let taken = tx.taken.get(&step.name).copied().unwrap_or(0);
    if step.max_submissions.is_some_and(|max| taken >= max) {
        return Err(Refusal::StepUsedUp { step: step.name.clone() }.into());
    }
    let who = ActorRef::of(&resolved.actor);
    require_not_count_yet(unit, open, resolved)?;
    let before = before.and_then(|one| one.step(&tx.workflow, tx.version, &step.name));
    let checked = before.cloned().unwrap_or_else(|| StepInput::of(step, input));
    let StepInput { whole: input, stored } = checked?;
    let submission = Submission { by: who, input: stored.clone(), at: unit.context.now };
    let collected = u32::try_from(open.submissions.len() + 1).unwrap_or(u32::MAX);
    // Only the expressions of a step with a quorum may name them.
    let all = step.quorum.as_ref().map(|_| submissions(&open.submissions, &submission).into());
    let bindings = Bindings { input: Some(input), submissions: all, ..Bindings::default() };
    let asker = asker(resolved);
    let mut interpreter =
        Interpreter::new(unit, id, Arc::clone(definition), asker, Trigger::Request);
    interpreter.require_hold(step, &bindings)?;
    if collected < open.quorum {
        interpreter.emit(TxEvent::StepCounted {
            place: open.place,
            step: step.name.clone(),
            submission,
        })?;
        // A person who was counted has nothing left to do here, and others are awaited.
        if open.claim.is_some() {
            interpreter.emit(TxEvent::Released { group: open.group })?;
        }
    } else {
        interpreter.attempt(step, Some(open), &bindings, Some(stored))?;
        if leads_back(step) {
            follow(&mut interpreter, step, open, &bindings)?;
        } else {
            interpreter.close_siblings(open)?;
            interpreter.proceed(step.next.as_ref(), Some(open), open.join, &bindings)?;
        }
    }
    interpreter.settle()?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Submits the open step that lets a hook in; of several the one that opened first.
pub(in crate::engine) fn deliver(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    input: &Value,
    undated: Option<u128>,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    if undated.is_some_and(|message| tx.heard.contains(&message)) {
        let view = view(unit, &resolved.actor, id)?;
        return Ok(Outcome::Transaction { view, created: false });
    }
    let step = waiting_for(&tx, &definition, resolved)?.step.clone();
    let taken = submit(unit, resolved, id, step.as_str(), input, None, None)?;
    if let Some(message) = undated {
        let event = Box::new(TxEvent::Heard { message });
        unit.emit(Event::Tx { tx: id, event })?;
    }
    Ok(taken)
}

/// Returns the first open step that the actor may submit.
fn waiting_for<'t>(
    tx: &'t Tx,
    definition: &Definition,
    resolved: &ResolvedActor,
) -> Result<&'t OpenStep, Refusal> {
    let waits =
        |open: &&OpenStep| open.is_client && may_submit(tx, definition, open, &resolved.actor);
    tx.open.iter().find(waits).ok_or(Refusal::StepNotOpen { open_steps: Vec::new() })
}

/// Returns whether a step may open again and leave its siblings as they are.
fn leads_back(step: &StepDefinition) -> bool {
    fn stays(target: &StepTarget) -> bool {
        match target {
            StepTarget::Stay => true,
            StepTarget::When(cases) => cases.iter().any(|(_, target)| stays(target)),
            StepTarget::Step(_)
            | StepTarget::Any(_)
            | StepTarget::All(_)
            | StepTarget::End(_)
            | StepTarget::Cancel(_) => false,
        }
    }
    step.next.as_ref().is_some_and(stays)
}

/// Goes to the target of a step that may stay open: its siblings close only if it does not.
fn follow(
    interpreter: &mut Interpreter<'_, '_>,
    step: &StepDefinition,
    open: &OpenStep,
    bindings: &Bindings,
) -> Result<(), DecideError> {
    let target = match &step.next {
        Some(target) => interpreter.chosen(target, bindings)?,
        None => None,
    };
    if !matches!(target, Some(StepTarget::Stay)) {
        interpreter.close_siblings(open)?;
    }
    interpreter.proceed(target, Some(open), open.join, bindings)
}

/// Checks the input of a step and returns it twice: complete for expressions, and without secrets
/// for the record.
pub(super) fn checked(
    step: &StepDefinition,
    input: &Value,
) -> Result<(Value, Arc<Value>), Refusal> {
    let StepKind::Client { input: schema, .. } = &step.kind else {
        return Err(Refusal::StepNotOpen { open_steps: Vec::new() });
    };
    match schema {
        Some(schema) => {
            schema.check(input).map_err(Refusal::InvalidInput)?;
            Ok((schema.completed(input), Arc::new(schema.storable(input))))
        }
        None if input.as_object().is_some_and(serde_json::Map::is_empty) || input.is_null() => {
            let nothing = Value::Object(serde_json::Map::new());
            Ok((nothing.clone(), Arc::new(nothing)))
        }
        None => {
            let message = "this step takes no input";
            Err(Refusal::InvalidInput(vec![InputError::new("", "unknown-field", message)]))
        }
    }
}

/// Records a wrong or expired code: the attempt, and after the last one the failure target. A wrong
/// code counts over all transactions; an expired one was compared with nothing.
pub(in crate::engine) fn note_wrong_code(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    step: Option<&str>,
    challenge: &Arc<str>,
    is_wrong: bool,
) -> Result<(), DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    let open = match step {
        Some(step) => open_step(&tx, step)?.clone(),
        None => waiting_for(&tx, &definition, resolved)?.clone(),
    };
    let number = Interpreter::step(&definition, &open.step)?;
    let step = &definition.steps[number];
    let asker = asker(resolved);
    let mut interpreter = Interpreter::new(unit, id, Arc::clone(&definition), asker, Trigger::Time);
    if is_wrong && let Some(failed) = interpreter.tx()?.challenge(challenge) {
        let counters = super::challenge::counters(&interpreter, failed)?;
        interpreter.unit.emit(AttemptEvent::CodeFailed { counters })?;
    }
    interpreter.emit(TxEvent::ChallengeFailed { id: challenge.clone() })?;
    if interpreter.tx()?.challenge(challenge).is_some_and(|challenge| challenge.attempts_left == 0)
    {
        super::challenge::withdraw(&mut interpreter, challenge)?;
        let default = StepTarget::Cancel("code-exhausted".into());
        let target = step.exhausted.as_ref().unwrap_or(&default);
        let before = interpreter.unit.savepoint();
        return match super::timers::leave(&mut interpreter, &open, target)
            .and_then(|()| interpreter.settle())
        {
            Err(DecideError::Refused(refusal)) => {
                // The attempt counts even if the failure target is refused: the transaction ends,
                // or waits for an operator.
                interpreter.unit.back_to(before);
                interpreter.give_up(&open.step, open.join, &refusal)?;
                interpreter.settle()
            }
            left => left,
        };
    }
    interpreter.settle()
}

/// Claims an open step and its siblings.
pub(in crate::engine) fn claim(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    name: &str,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    let open = open_step(&tx, name)?;
    require_let_in(&tx, &definition, open, &resolved.actor)?;
    require_free(open, resolved, unit)?;
    let by = ActorRef::of(&resolved.actor);
    // A person who was counted could only keep others out.
    require_not_count_yet(unit, open, resolved)?;
    // A claim of one step covers its siblings, so their longest span counts.
    let siblings = tx.open.iter().filter(|other| other.group == open.group);
    let spans = siblings.filter_map(|other| definition.step(&other.step)?.claim);
    let Some(span) = spans.max() else { return Err(Refusal::NotClaimable.into()) };
    let until = unit.context.now.plus(span);
    let claim = StepClaim { by, until };
    let asker = asker(resolved);
    let group = open.group;
    let mut interpreter = Interpreter::new(unit, id, definition, asker, Trigger::Request);
    interpreter.emit(TxEvent::Claimed { group, claim })?;
    interpreter.settle()?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Releases a claim: the actor's own, or any for an operator. Without a claim nothing happens.
pub(in crate::engine) fn release(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    name: &str,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    let open = open_step(&tx, name)?;
    if !is_operator(&resolved.actor) {
        if !may_submit(&tx, &definition, open, &resolved.actor) {
            return Err(Refusal::NotAllowed("this step waits for somebody else").into());
        }
        require_free(open, resolved, unit)?;
    }
    if open.claim.is_some() {
        let (group, asker) = (open.group, asker(resolved));
        let mut interpreter = Interpreter::new(unit, id, definition, asker, Trigger::Request);
        interpreter.emit(TxEvent::Released { group })?;
    }
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Sends a new code, for an actor that may submit a step that waits for it.
pub(in crate::engine) fn resend(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    challenge: &str,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    let submits =
        |open: &OpenStep| open.is_client && may_submit(&tx, &definition, open, &resolved.actor);
    if !is_owner(&tx, &resolved.actor) && !tx.open.iter().any(submits) {
        return Err(Refusal::NotAllowed("the code is for somebody else").into());
    }
    let asker = asker(resolved);
    let mut interpreter = Interpreter::new(unit, id, definition, asker, Trigger::Request);
    super::challenge::resend(&mut interpreter, challenge)?;
    interpreter.settle()?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Cancels a transaction.
pub(in crate::engine) fn cancel(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    reason: Option<&str>,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, if_match)?;
    let may = is_operator(&resolved.actor)
        || lets_in(&definition.cancel, &resolved.actor, Some(&tx), &[]);
    if !may {
        return Err(Refusal::NotAllowed("only others may cancel this transaction").into());
    }
    if reason.is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        let message = format!("must have at most {REASON_BYTES_MAX} bytes");
        let error = InputError::new("/reason", "too-long", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if tx.status.is_ended() {
        return Err(Refusal::AlreadyEnded.into());
    }
    if tx.ending.is_some() {
        return Err(Refusal::AlreadyCancelled.into());
    }
    if tx.pivot {
        return Err(Refusal::PastPivot.into());
    }
    let asker = asker(resolved);
    let mut interpreter = Interpreter::new(unit, id, definition, asker, Trigger::Request);
    interpreter.emit(TxEvent::CancelAsked { reason: reason.map(Into::into) })?;
    interpreter.compensate(TxStatus::Cancelled, "cancelled".into())?;
    interpreter.settle()?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Repair of a stuck transaction by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Tries the step again.
    Retry,
    /// Skips the step.
    Skip {
        /// Reason.
        reason: String,
    },
    /// Replaces the data and tries the step again.
    Replace {
        /// The new data, as a whole.
        data: Map<String, Value>,
    },
}

/// Repairs a stuck transaction.
pub(in crate::engine) fn repair(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    repair: &Repair,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    if !is_operator(&resolved.actor) {
        return Err(Refusal::NotAllowed("this needs the role abide:operator").into());
    }
    if tx.paused {
        return Err(Refusal::Paused.into());
    }
    let Some(stuck) = tx.stuck.clone() else { return Err(Refusal::NotStuck.into()) };
    let skipped = match repair {
        Repair::Retry | Repair::Replace { .. } => None,
        Repair::Skip { reason } => Some((stuck.step.clone(), Arc::from(reason.as_str()))),
    };
    let asker = asker(resolved);
    let mut interpreter = Interpreter::new(unit, id, Arc::clone(&definition), asker, Trigger::Time);
    let skips = skipped.is_some();
    if let Repair::Replace { data } = repair {
        let removed = match &*tx.data {
            Value::Object(old) => old.keys().filter(|key| !data.contains_key(*key)).cloned(),
            _ => return Err(Refusal::NotFound("data").into()),
        };
        let removed = removed.collect();
        interpreter.emit(TxEvent::DataSet { set: Arc::new(data.clone()), removed })?;
    }
    interpreter.emit(TxEvent::Retried { skipped })?;
    if tx.ending.is_some() {
        if skips && let Some(done) = tx.done.last() {
            interpreter.keep_roles(std::slice::from_ref(done))?;
            interpreter.emit(TxEvent::StepUndone { step: done.step.clone() })?;
        }
        interpreter.undo_all()?;
    } else if !super::call::retake(&mut interpreter, &stuck.step, skips)? {
        go_on(&mut interpreter, &stuck, skips)?;
    }
    let next = interpreter.tx()?.stuck_too.first().cloned();
    if let (Some(next), None) = (next, &interpreter.tx()?.stuck) {
        interpreter.emit(TxEvent::Stuck(next))?;
    }
    interpreter.settle()?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Resumes a step that was refused after the pivot, in its branch. A step whose time had come is
/// still open and is taken; any other one opens anew.
fn go_on(
    interpreter: &mut Interpreter<'_, '_>,
    stuck: &StuckReason,
    skips: bool,
) -> Result<(), DecideError> {
    let definition = Arc::clone(&interpreter.definition);
    let number = Interpreter::step(&definition, &stuck.step)?;
    let step = &definition.steps[number];
    let mut waits = interpreter.tx()?.open.iter();
    let open = waits.find(|open| open.step == step.name && open.join == stuck.join).cloned();
    let open = open.filter(|_| matches!(step.kind, StepKind::Wait(_)));
    match (open, skips) {
        (Some(open), false) => interpreter.take_by_time(&open, step),
        (Some(open), true) => {
            interpreter.emit(TxEvent::StepClosed { place: open.place, step: step.name.clone() })?;
            interpreter.close_siblings(&open)?;
            interpreter.proceed(step.next.as_ref(), Some(&open), stuck.join, &Bindings::default())
        }
        (None, true) => {
            interpreter.proceed(step.next.as_ref(), None, stuck.join, &Bindings::default())
        }
        (None, false) => {
            let target = StepTarget::Step(step.name.clone());
            interpreter.go(&target, None, stuck.join, &Bindings::default())
        }
    }
}
