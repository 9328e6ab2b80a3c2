//! From a command to what happens: the ladder of refusals, then the events.

use std::sync::Arc;

use super::inputs::{CommandInputs, PasswordEvidence};
use super::record::{RecordKey, Timer, TimerOf};
use super::resolved_actor::ResolvedActor;
use super::unit_of_work::{Changes, DecideError, DecisionContext, ReadSet, UnitOfWork};
use super::{preconditions, timers};
use crate::engine::user::User;
use crate::engine::{Actor, AttemptEvent, Command, Event, Outcome, Refusal, Rules};
use crate::engine::{api_key, bulk, ledger, schedule, session, transaction, user, value, webhook};
use crate::types::Time;

/// Most firings of one commit, of the largest split factor: what is left stays due.
pub const FIRINGS_MAX: usize = 400;

/// What became of a command: the changes to commit, and what to answer. A refusal can have
/// changes too: what the audit log keeps of it, and the count of failed logins.
#[derive(Debug)]
pub struct Decision {
    /// What to commit.
    pub changes: Changes,
    /// What to answer.
    pub result: Result<Outcome, Refusal>,
}

/// Returns whether a command would be accepted, or refused only for a wrong password. The shell asks
/// this before it checks or hashes a password, so that a command which is refused for another reason
/// costs no hash. The decision is discarded.
///
/// # Errors
/// The record that must be loaded first.
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
/// The fact that must be loaded first; then decide again.
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
    let done = run(&mut unit, actor, command, inputs);
    let unmet = match &done {
        Err(DecideError::MissingRecord(fact)) => return Err(fact.clone()),
        Err(DecideError::Refused(refusal)) if !refusal.is_stored() => None,
        Ok(_) | Err(DecideError::Refused(_)) => {
            let unchanged = UnitOfWork::new(facts, rules, context);
            match preconditions::unmet(&unchanged, actor, command, inputs) {
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
    // What somebody else's time would give back is not refused before that time has come.
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

/// Lets the timers fire that are due at this moment, in the order of their times; those that they
/// set anew too, as far as they are due by the `horizon`: up to there the caller knows all that
/// are due. At least one fires, and as many as the limit of the facts leaves time for.
///
/// # Errors
/// All facts that must be loaded first; then decide again.
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
        // One that undoes something would have nothing left to do it with.
        if unit.undo_left() == 0 {
            break;
        }
        // What a firing sets anew and is due too takes its place in the order.
        let set = unit.armed().next().filter(|timer| timer.due <= horizon).cloned();
        let timer = match (next, set) {
            (next, Some(set)) if next.is_none_or(|timer| set < *timer) => {
                // Each start of a schedule reads what only the one before leads to: many of them in
                // one decision would be decided again for each.
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

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
fn run(
    unit: &mut UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let resolved = ResolvedActor::of(unit, actor)?;
    match command {
        Command::Login { username, profile, .. } => {
            session::login(unit, &resolved, username, profile.as_ref(), inputs)
        }
        Command::OpenAnonymous { profile } => {
            session::open_anonymous(unit, profile.as_ref(), inputs)
        }
        Command::OpenOnBehalf { username, create, profile } => {
            session::open_on_behalf(unit, &resolved, username, *create, profile.as_ref(), inputs)
        }
        Command::Touch => session::touch(unit, &resolved),
        Command::Logout => session::logout(unit, &resolved),
        Command::Rotate => session::rotate(unit, &resolved, inputs),
        Command::Elevate { .. } => session::elevate(unit, &resolved, inputs),
        Command::EndSession { session } => session::end_one(unit, &resolved, *session),
        Command::EndSessions { username, except_current } => {
            session::end_all(unit, &resolved, username.as_ref(), *except_current)
        }
        Command::ChangeSessionData { change, if_match } => {
            session::change_data(unit, &resolved, change, if_match.as_ref())
        }
        Command::ChangeFacts { session, patch } => {
            session::change_facts(unit, &resolved, *session, patch)
        }
        Command::Register { username, password, name, roles } => {
            let asked = user::Asked { username, password, name: name.as_deref() };
            user::register(unit, &resolved, &asked, roles.as_deref(), inputs)
        }
        Command::ChangePassword { new, .. } => user::change_password(unit, &resolved, new, inputs),
        Command::ChangeUserData { change, if_match } => {
            user::change_data(unit, &resolved, change, if_match.as_ref())
        }
        Command::ChangeUser { username, change, if_match } => {
            user::change(unit, &resolved, username, change, if_match.as_ref())
        }
        Command::DeleteUser { username, if_match } => {
            user::delete(unit, &resolved, username, if_match.as_ref())
        }
        Command::MakeResetLink { username } => {
            user::make_reset_link(unit, &resolved, username, inputs)
        }
        Command::MakeSetUpLink => user::make_set_up_link(unit, &resolved, inputs),
        Command::UseLink { link, password } => user::use_link(unit, link, password, inputs),
        Command::CreateKey { name, roles, on_behalf } => {
            api_key::create(unit, &resolved, name, roles, on_behalf, inputs)
        }
        Command::RevokeKey { key, keep_sessions } => {
            api_key::revoke(unit, &resolved, *key, *keep_sessions)
        }
        Command::PutStored { data, idle, user, .. } => {
            session::external::put(unit, &resolved, data, *idle, user.as_ref(), inputs)
        }
        Command::TouchStored { .. } => session::external::touch(unit, &resolved, inputs),
        Command::DeleteStored { .. } => session::external::delete(unit, &resolved, inputs),
        Command::PutAsset { .. }
        | Command::OpenAccount { .. }
        | Command::ChangeAccount { .. }
        | Command::CloseAccount { .. }
        | Command::PostTransfers { .. }
        | Command::ReverseTransfer { .. }
        | Command::ReverseTransfers { .. }
        | Command::PlaceHold { .. }
        | Command::CaptureHold { .. }
        | Command::VoidHold { .. } => ledger::commands::run(unit, &resolved, command),
        Command::Start(ask) => transaction::start(unit, &resolved, ask, inputs.checked.as_deref()),
        Command::Submit { tx, step, input, if_match } => {
            let checked = inputs.checked.as_deref();
            transaction::submit(unit, &resolved, *tx, step, input, if_match.as_ref(), checked)
        }
        Command::Deliver { tx, input, undated } => {
            transaction::deliver(unit, &resolved, *tx, input, *undated)
        }
        Command::Claim { tx, step } => transaction::claim(unit, &resolved, *tx, step),
        Command::ClaimQueued(ask) => transaction::claim_queued(unit, &resolved, ask),
        Command::Release { tx, step } => transaction::release(unit, &resolved, *tx, step),
        Command::Resend { tx, challenge } => transaction::resend(unit, &resolved, *tx, challenge),
        Command::Cancel { tx, reason, if_match } => {
            transaction::cancel(unit, &resolved, *tx, reason.as_deref(), if_match.as_ref())
        }
        Command::Repair { tx, repair } => transaction::repair(unit, &resolved, *tx, repair),
        Command::BeginCall { .. } | Command::EndCall { .. } if *actor != Actor::System => {
            Err(Refusal::NotAllowed("the server itself makes calls").into())
        }
        Command::BeginCall { tx, number } => transaction::begin_call(unit, *tx, *number),
        Command::EndCall { tx, number, attempt, result } => {
            transaction::end_call(unit, *tx, *number, *attempt, result)
        }
        Command::CallBack { token, body } => transaction::call_back(unit, token, body),
        Command::Pause { tx, pause } => transaction::pause(unit, &resolved, *tx, *pause),
        Command::Migrate { tx, ask } => transaction::migrate(unit, &resolved, *tx, ask),
        Command::Bulk(ask) => bulk::begin(unit, &resolved, ask),
        Command::CreateWebhook(ask) => webhook::create(unit, &resolved, ask),
        Command::RotateWebhook { id } => webhook::rotate(unit, &resolved, *id),
        Command::DeleteWebhook { id } => webhook::delete(unit, &resolved, *id),
        Command::ReplayDeadLetter { id, what } => webhook::replay(unit, &resolved, *id, *what),
        Command::NoteWebhook(news) => webhook::note(unit, &resolved, news),
        Command::CreateSchedule(ask) => schedule::create(unit, &resolved, ask),
        Command::DeleteSchedule { id } => schedule::delete(unit, &resolved, *id),
        Command::Publish { source, definition } => {
            transaction::publish(unit, &resolved, source, definition)
        }
        Command::Retire { name } => transaction::retire(unit, &resolved, name),
        Command::PutValue { id, value, if_match } => {
            value::put(unit, &resolved, id, value, if_match.as_ref())
        }
        Command::ChangeValueSet { set, read_anyone } => {
            value::change_set(unit, &resolved, set, *read_anyone)
        }
        Command::DeleteValue { id } => value::delete(unit, &resolved, id),
        Command::NoteDenial { what } => {
            let what = Arc::from(*what);
            unit.emit(Event::Denied { what, code: "not-allowed", user: None })?;
            Ok(Outcome::Done)
        }
    }
}

/// What the log keeps of a refusal: each failed proof of a password, each denial.
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
