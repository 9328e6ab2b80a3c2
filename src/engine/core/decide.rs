//! Decision of a command: it ends in a refusal or in events.

use super::changes::Changes;
use super::inputs::{CommandInputs, PasswordEvidence};
use super::read_set::ReadSet;
use super::record::{RecordKey, Timer, TimerOf};
use super::resolved_actor::ResolvedActor;
use super::unit_of_work::{DecideError, DecisionContext, UnitOfWork};
use super::{target, timers};
use crate::engine::transaction;
use crate::engine::user::User;
use crate::engine::{Actor, AttemptEvent, Command, Event, Outcome, Refusal, Rules};
use crate::types::Time;

/// Maximum number of timers that fire in one commit, at split factor 1; the rest stays due.
pub const FIRINGS_MAX: usize = 400;

/// Result of a decision: the changes to commit and the answer. A refusal can have changes too: its
/// audit event and the count of failed logins.
#[derive(Debug)]
pub struct Decision {
    /// Changes to commit.
    pub changes: Changes,
    /// Answer to the caller.
    pub result: Result<Outcome, Refusal>,
}

/// Returns whether a command would be accepted, or refused only for a wrong password. The shell
/// calls this before it checks or hashes a password, so that a command that is refused for another
/// reason costs no hash. The decision is discarded.
///
/// # Errors
/// The key of the record that the caller must load before it calls again.
pub fn precheck(
    read_set: &ReadSet,
    rules: &Rules,
    context: DecisionContext,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<bool, RecordKey> {
    let assumed = CommandInputs { password: PasswordEvidence::Assumed, ..inputs.clone() };
    let decision = decide(read_set, rules, context, actor, command, &assumed)?;
    Ok(matches!(decision.result, Ok(_) | Err(Refusal::InvalidCredentials)))
}

/// Decides a command.
///
/// # Errors
/// The key of the record that the caller must load before it calls again.
pub fn decide(
    facts: &ReadSet,
    rules: &Rules,
    context: DecisionContext,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Decision, RecordKey> {
    let mut unit = UnitOfWork::new(facts, rules, context);
    unit.origin = inputs.origin;
    let done = ResolvedActor::of(&unit, actor)
        .and_then(|resolved| command.run(&mut unit, &resolved, inputs));
    let unmet = match &done {
        Err(DecideError::MissingRecord(fact)) => return Err(fact.clone()),
        Err(DecideError::Refused(refusal)) if !refusal.is_stored() => None,
        Ok(_) | Err(DecideError::Refused(_)) => {
            let unchanged = UnitOfWork::new(facts, rules, context);
            match target::unmet(&unchanged, actor, command.target(), inputs) {
                Ok(unmet) => unmet,
                Err(DecideError::MissingRecord(fact)) => return Err(fact),
                Err(DecideError::Refused(refusal)) => Some(refusal),
            }
        }
    };
    let refusal = match (done, unmet) {
        (_, Some(unmet)) => unmet,
        (Ok(outcome), None) => {
            return Ok(Decision { changes: unit.into_changes(), result: Ok(outcome) });
        }
        (Err(DecideError::MissingRecord(fact)), None) => return Err(fact),
        (Err(DecideError::Refused(refusal)), None) => {
            transaction::disclosed(&unit, actor, command, refusal)
        }
    };
    // A refusal that a due timer may lift is reported as overdue: the timers up to now fire first,
    // then the command is decided again.
    let waits = refusal.may_pass_with_time().then_some(context.now);
    let overdue = unit.into_changes().overdue.max(waits);
    let mut unit = UnitOfWork::new(facts, rules, context);
    unit.origin = inputs.origin;
    match note_refusal(&mut unit, actor, command, inputs, &refusal) {
        Err(DecideError::MissingRecord(fact)) => Err(fact),
        Ok(()) | Err(DecideError::Refused(_)) => {
            let changes = unit.into_changes();
            let overdue = overdue.max(changes.overdue);
            Ok(Decision { changes: Changes { overdue, ..changes }, result: Err(refusal) })
        }
    }
}

/// Fires the timers that are due now, in the order of their times. Timers that a firing sets fire
/// too if they are due by the `horizon`: the caller knows all due timers up to there. At least one
/// timer fires; the slice limit of the read set bounds the number of further ones.
///
/// # Errors
/// The keys of all records that the caller must load before it calls again.
pub fn decide_timers(
    facts: &ReadSet,
    rules: &Rules,
    context: DecisionContext,
    due: &[Timer],
    horizon: Time,
) -> Result<Changes, Vec<RecordKey>> {
    let mut unit = UnitOfWork::new(facts, rules, context);
    let mut needs = Vec::new();
    let mut due = due.iter();
    let mut next = due.next();
    for _ in 0..(FIRINGS_MAX / context.split_factor).max(1) {
        // Without undo budget a timer that starts a compensation could not make progress.
        if unit.undo_left() == 0 {
            break;
        }
        // A timer that a firing set and that is due already fires in its order.
        let set = unit.armed().next().filter(|timer| timer.due <= horizon).cloned();
        let timer = match (next, set) {
            (next, Some(set)) if next.is_none_or(|timer| set < *timer) => {
                // Each start of a schedule reads records that only the previous start names.
                // Several of them in one decision would repeat the decision for each.
                if matches!(set.what, TimerOf::Schedule(_)) {
                    break;
                }
                set
            }
            (Some(timer), _) => {
                next = due.next();
                timer.clone()
            }
            (None, _) => break,
        };
        if let Err(DecideError::MissingRecord(fact)) = timers::fire(&mut unit, timer) {
            needs.push(fact);
        }
        if unit.is_slice_over() {
            break;
        }
    }
    if needs.is_empty() { Ok(unit.into_changes()) } else { Err(needs) }
}

/// Emits the events that the log keeps of a refusal: failed password and code checks, and denials.
fn note_refusal(
    unit: &mut UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
    refusal: &Refusal,
) -> Result<(), DecideError> {
    let meant = match command {
        Command::Login { username, .. } => unit.user_named(username)?.map(User::names),
        Command::Elevate { .. } | Command::ChangePassword { .. } => actor.user().cloned(),
        _ => None,
    };
    match refusal {
        Refusal::WrongCode { challenge, .. } | Refusal::CodeExpired { challenge, .. } => {
            let (tx, step) = match command {
                Command::Submit { tx, step, .. } => (*tx, Some(&**step)),
                Command::Deliver { tx, .. } => (*tx, None),
                _ => return Ok(()),
            };
            let is_wrong = matches!(refusal, Refusal::WrongCode { .. });
            let resolved = ResolvedActor::of(unit, actor)?;
            transaction::note_wrong_code(unit, &resolved, tx, step, challenge, is_wrong)
        }
        Refusal::InvalidCredentials => unit.emit(AttemptEvent::LoginFailed {
            user: meant,
            counters: match command {
                Command::Login { .. } => inputs.login_counters(),
                _ => inputs.session_counters(),
            },
            address: inputs.address.clone(),
        }),
        Refusal::NotAllowed(_) | Refusal::ElevationNeeded | Refusal::TooManyAttempts { .. } => unit
            .emit(Event::Denied {
                what: command.name().into(),
                code: refusal.code(),
                user: meant.map(|user| user.username),
            }),
        _ => Ok(()),
    }
}
