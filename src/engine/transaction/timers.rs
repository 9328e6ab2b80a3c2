//! Timers of a transaction.

use std::sync::Arc;

use super::call::waits_for_call;
use super::effects::{Effect, FlowChange};
use super::eval_context::{Bindings, EvalActor};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::record::{CallPurpose, CompletedStep, OpenStep, Tx, TxHold, TxStatus};
use crate::engine::core::record::{Timer, TimerOf};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::ledger::{self, HoldStatus};
use crate::engine::workflow::{Definition, Reminder, StepDefinition, StepKind, StepTarget};
use crate::types::{HoldId, Span, StepName, Time, TxId};

/// Pause between two commits that undo parts of a transaction.
const PAUSE: Span = Span::from_ms(1);

/// Kind of a timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The transaction's deadline.
    Deadline,
    /// The end of a hold.
    Hold(HoldId),
    /// A reminder of the step at this place, by its number among the step's reminders.
    Reminder(u32, u32),
    /// The end of the step at this place.
    Step(u32),
    /// The end of the wait for a callback.
    Callback(u32),
    /// The next part to undo.
    Undo,
}

/// Returns the time at which its timer must fire next.
pub(super) fn next_due(tx: &Tx, definition: &Definition) -> Option<Time> {
    earliest(tx, definition).map(|(at, _)| at)
}

/// Returns the timer that is due first. At the same time the order is: the deadline, holds,
/// reminders, steps, each in the order of creation.
fn earliest(tx: &Tx, definition: &Definition) -> Option<(Time, Due)> {
    all_due(tx, definition).min()
}

/// Returns all timers, unordered.
fn all_due(tx: &Tx, definition: &Definition) -> impl Iterator<Item = (Time, Due)> {
    let rests =
        tx.status.is_ended() || tx.ending.is_some() || tx.status == TxStatus::Stuck || tx.paused;
    let undoes = tx.ending.is_some() && tx.status == TxStatus::Compensating && !waits_for_call(tx);
    let undo = undoes.then(|| (tx.updated_at.plus(PAUSE), Due::Undo));
    let deadline = tx.deadline.map(|at| (at, Due::Deadline));
    let holds = tx.holds.iter().filter(|held| held.hold.status == HoldStatus::Held && !tx.pivot);
    let holds = holds
        .filter_map(|held| held.hold.expires_at.map(|at| (at, Due::Hold(held.hold.id.clone()))));
    let reminders = tx.open.iter().filter_map(|open| {
        let (after, _) = reminder(definition.step(&open.step)?, open.reminded)?;
        Some((open.opened_at.plus(after), Due::Reminder(open.place, open.reminded)))
    });
    // After a migration the step may no longer have an end by time.
    let ends = move |open: &&OpenStep| definition.step(&open.step).is_some_and(has_end);
    let steps = tx.open.iter().filter(ends);
    let steps = steps.filter_map(|open| Some((open.due?, Due::Step(open.place))));
    let callbacks =
        super::call::callbacks_due(tx).map(|(until, number)| (until, Due::Callback(number)));
    let all = deadline.into_iter().chain(holds).chain(reminders).chain(steps).chain(callbacks);
    all.filter(move |_| !rests).chain(undo)
}

/// Returns whether a timer ends this step.
const fn has_end(step: &StepDefinition) -> bool {
    matches!(step.kind, StepKind::Wait(_)) || step.timeout.is_some()
}

/// Returns all reminders of a step, in the order of their times.
fn reminders(step: &StepDefinition) -> Vec<(Span, &Reminder)> {
    let mut all: Vec<_> = step
        .remind
        .iter()
        .flat_map(|remind| remind.after.iter().map(move |after| (*after, remind)))
        .collect();
    all.sort_by_key(|(after, _)| *after);
    all
}

/// Returns the reminder of a step with this number.
fn reminder(step: &StepDefinition, number: u32) -> Option<(Span, &Reminder)> {
    reminders(step).get(usize::try_from(number).ok()?).copied()
}

/// Returns the number of reminders of an open step that count as fired after a migration: those
/// that fired in the old version, matched by their times, and new ones whose time has passed.
pub(super) fn reminded(
    open: &OpenStep,
    old: &StepDefinition,
    new: &StepDefinition,
    now: Time,
) -> u32 {
    let old = reminders(old);
    let sent = old.len().min(usize::try_from(open.reminded).unwrap_or(usize::MAX));
    let (sent, due) = old.split_at(sent);
    let last = sent.last().map(|(after, _)| *after);
    let behind = reminders(new).into_iter().take_while(|(after, _)| {
        let is_due = due.iter().any(|(other, _)| other == after);
        let is_sent = last.is_some_and(|last| *after <= last);
        !is_due && (is_sent || open.opened_at.plus(*after) <= now)
    });
    u32::try_from(behind.count()).unwrap_or(u32::MAX)
}

/// Fires a transaction's timer: executes one timer that is due at that time, and sets the next one,
/// which may be due already.
pub(in crate::engine) fn fire(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    due: Time,
) -> Result<(), DecideError> {
    let Some(tx) = unit.tx(id)? else { return Ok(()) };
    if tx.timer_at != Some(due) {
        return Ok(());
    }
    let (workflow, version) = (tx.workflow.clone(), tx.version);
    let definition = unit.definition(workflow, version)?;
    let asker = EvalActor::system();
    let mut interpreter = Interpreter::new(unit, id, Arc::clone(&definition), asker, Trigger::Time);
    let Some((at, what)) = earliest(interpreter.tx()?, &definition) else {
        return interpreter.settle();
    };
    let happened = interpreter.unit.events();
    if at <= interpreter.unit.context.now {
        let before = interpreter.unit.savepoint();
        match happen(&mut interpreter, &what).and_then(|()| interpreter.settle()) {
            Ok(()) => {}
            Err(DecideError::Refused(refusal)) => {
                // A timer that cannot proceed ends the transaction or leaves it to an operator; it
                // never fires for ever.
                interpreter.turn_back(before);
                let (step, join) = step_to_blame(interpreter.tx()?, &what)
                    .unwrap_or_else(|| (definition.first.clone(), None));
                let ended = match what {
                    Due::Reminder(place, _) => interpreter.emit(TxEvent::Reminded {
                        place,
                        step: step.clone(),
                        done: None,
                    }),
                    // The transaction ends already, so there is nothing to give up.
                    Due::Undo => interpreter.stick(&step, join, &refusal),
                    Due::Deadline | Due::Hold(_) | Due::Step(_) | Due::Callback(_) => {
                        interpreter.give_up(&step, join, &refusal)
                    }
                };
                match ended.and_then(|()| interpreter.settle()) {
                    Err(DecideError::Refused(_)) => {
                        interpreter.turn_back(before);
                        interpreter.stick(&step, join, &refusal)?;
                        let (status, timer_at) = (TxStatus::Stuck, None);
                        interpreter.emit(TxEvent::Settled { status, timer_at })?;
                    }
                    settled => settled?,
                }
            }
            Err(need) => return Err(need),
        }
    } else {
        interpreter.settle()?;
    }
    let now = interpreter.unit.context.now;
    if what == Due::Undo && interpreter.unit.events() == happened {
        // Other transactions used up the undo limit of this commit.
        let (status, timer_at) = (interpreter.tx()?.status, Some(now.plus(PAUSE)));
        return interpreter.emit(TxEvent::Settled { status, timer_at });
    }
    if at <= now && earliest(interpreter.tx()?, &definition) == Some((at, what)) {
        return pass_over(&mut interpreter, &definition);
    }
    // Another timer may be due at the very same time.
    if interpreter.tx()?.timer_at == Some(due) {
        interpreter.unit.arm(Timer { due, what: TimerOf::Tx(id) });
    }
    Ok(())
}

/// Sets the timer to the first one later than now. The timers that are due now had no effect and
/// would have none when they fire again: without this they would fire for ever and block everything
/// else.
fn pass_over(
    interpreter: &mut Interpreter<'_, '_>,
    definition: &Definition,
) -> Result<(), DecideError> {
    let now = interpreter.unit.context.now;
    let tx = interpreter.tx()?;
    let status = tx.status;
    let timer_at = all_due(tx, definition).map(|(at, _)| at).filter(|at| *at > now).min();
    interpreter.emit(TxEvent::Settled { status, timer_at })
}

fn step_to_blame(tx: &Tx, what: &Due) -> Option<(StepName, Option<u32>)> {
    let open = match what {
        Due::Reminder(place, _) | Due::Step(place) => tx.at(*place),
        Due::Callback(number) => {
            let call = tx.call(*number)?;
            let open = match call.purpose {
                CallPurpose::Do { place } => tx.at(place),
                CallPurpose::Undo | CallPurpose::Send => None,
            };
            return Some((call.step.clone(), open.and_then(|open| open.join)));
        }
        Due::Deadline | Due::Hold(_) => tx.open.first(),
        Due::Undo => return tx.done.last().map(|done| (done.step.clone(), None)),
    };
    open.map(|open| (open.step.clone(), open.join))
}

fn happen(interpreter: &mut Interpreter<'_, '_>, what: &Due) -> Result<(), DecideError> {
    match what {
        Due::Deadline if interpreter.tx()?.pivot => interpreter.emit(TxEvent::DeadlinePassed),
        Due::Deadline => interpreter.compensate(TxStatus::Expired, "deadline".into()),
        Due::Hold(id) => expire_hold_group(interpreter, id),
        Due::Reminder(place, _) => remind(interpreter, *place),
        Due::Step(place) => time_out(interpreter, *place),
        Due::Callback(number) => super::call::callback_late(interpreter, *number),
        Due::Undo => interpreter.undo_all(),
    }
}

fn expire_hold_group(
    interpreter: &mut Interpreter<'_, '_>,
    id: &HoldId,
) -> Result<(), DecideError> {
    let tx = interpreter.tx()?;
    let Some(held) = tx.holds.iter().find(|held| held.hold.id == *id).cloned() else {
        return Ok(());
    };
    // Holds of a group that expire together lead to their target once.
    let is_with = |other: &&TxHold| {
        other.hold.status == HoldStatus::Held
            && (&other.name, &other.step) == (&held.name, &held.step)
            && other.hold.expires_at == held.hold.expires_at
    };
    let together: Vec<_> = tx.holds.iter().filter(is_with).map(|held| held.hold.clone()).collect();
    for hold in &together {
        ledger::release_expired(interpreter.unit, hold)?;
    }
    let definition = Arc::clone(&interpreter.definition);
    if let Some((step, target)) = on_expiry(&definition, &held) {
        let join = interpreter.return_to_branch(step)?;
        interpreter.go(target, None, join, &Bindings::default())?;
    }
    Ok(())
}

/// Returns the step that placed a hold, and its target when the hold expires.
fn on_expiry<'d>(
    definition: &'d Definition,
    held: &TxHold,
) -> Option<(&'d StepName, &'d StepTarget)> {
    let of = |step: &'d StepDefinition| {
        let reminders = step.remind.iter().flat_map(|remind| &remind.effects);
        let mut effects = step.effects.iter().chain(reminders);
        let target = effects.find_map(|effect| leads_to(effect, &held.name))?;
        Some((&step.name, target))
    };
    match held.step.as_ref().and_then(|step| definition.step(step)) {
        Some(step) => of(step),
        // The transaction was migrated to a version without that step.
        None => definition.steps.iter().find_map(of),
    }
}

/// Returns the target of an expired hold of this name.
fn leads_to<'e>(effect: &'e Effect, name: &str) -> Option<&'e StepTarget> {
    match effect.kind.flow_change() {
        FlowChange::PlacesHold { hold, on_expiry } if hold == name => on_expiry,
        FlowChange::PlacesHold { .. }
        | FlowChange::None
        | FlowChange::UsesHold { .. }
        | FlowChange::IssuesChallenge { .. } => {
            effect.kind.nested().iter().find_map(|effect| leads_to(effect, name))
        }
    }
}

fn remind(interpreter: &mut Interpreter<'_, '_>, place: u32) -> Result<(), DecideError> {
    let Some(open) = interpreter.tx()?.at(place).cloned() else { return Ok(()) };
    let definition = Arc::clone(&interpreter.definition);
    let Some(step) = definition.step(&open.step) else { return Ok(()) };
    let mut undo = Vec::new();
    if let Some((_, remind)) = reminder(step, open.reminded) {
        interpreter.at = open.step.clone();
        interpreter.run_effects(&remind.effects, &Bindings::default(), &mut undo)?;
    }
    // Its effects are undone in order, like those of a step.
    let done = (!undo.is_empty()).then(|| {
        let step = open.step.clone();
        Box::new(CompletedStep {
            step,
            undo,
            calls: Vec::new(),
            undone: 0,
            left: false,
            key: "".into(),
        })
    });
    interpreter.emit(TxEvent::Reminded { place, step: open.step, done })
}

fn time_out(interpreter: &mut Interpreter<'_, '_>, place: u32) -> Result<(), DecideError> {
    let Some(open) = interpreter.tx()?.at(place).cloned() else { return Ok(()) };
    let definition = Arc::clone(&interpreter.definition);
    let Some(step) = definition.step(&open.step) else { return Ok(()) };
    if matches!(step.kind, StepKind::Wait(_)) {
        return interpreter.take_by_time(&open, step);
    }
    let Some(timeout) = &step.timeout else { return Ok(()) };
    leave(interpreter, &open, &timeout.next)
}

/// Leaves an open step for a target without taking it.
pub(super) fn leave(
    interpreter: &mut Interpreter<'_, '_>,
    open: &OpenStep,
    target: &StepTarget,
) -> Result<(), DecideError> {
    let event = TxEvent::StepTimedOut { place: open.place, step: open.step.clone() };
    interpreter.emit(event)?;
    let bindings = Bindings::default();
    let Some(target) = interpreter.chosen(target, &bindings)? else { return Ok(()) };
    if !matches!(target, StepTarget::Stay) {
        interpreter.close_siblings(open)?;
    }
    interpreter.go(target, Some(open), open.join, &bindings)
}
