//! Transactions whose session or user ended, and transactions of an anonymous session that became a
//! user's.

use std::sync::Arc;

use super::eval_context::EvalActor;
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::record::{
    ActorId, ActorRef, CallPurpose, CallState, Owner, OwnerId, ServiceCall, TxStatus,
};
use crate::engine::core::record::{RecordKey, TX_PAGE, Timer, TimerOf};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{Event, UserRef};
use crate::types::{SessionId, Span, Time, TxId};

/// Pause between two slices, each of which is a commit.
const PAUSE: Span = Span::from_ms(1);

/// Interval after which transactions that were kept for a call in flight are checked again.
const AGAIN: Span = Span::from_minutes(1);

/// Schedules the cancellation of an ended owner's transactions, in commits of their own: there may
/// be many.
pub(in crate::engine) fn orphan(
    unit: &mut UnitOfWork<'_>,
    who: OwnerId,
) -> Result<(), DecideError> {
    if !unit.transactions(&page(who, TxId::new(0)))?.is_empty() {
        let due = unit.context.now;
        unit.arm(Timer { due, what: TimerOf::Orphans(who, TxId::new(0)) });
    }
    Ok(())
}

/// Returns the next page of the transactions that end with an owner.
fn page(who: OwnerId, after: TxId) -> RecordKey {
    match who {
        OwnerId::Session(session) => RecordKey::EndWith(session, after),
        OwnerId::User(_) | OwnerId::Key(_) => RecordKey::OpenOf(who, after),
    }
}

/// Cancels the transactions of an ended owner that are before their pivot; the others go on. A
/// transaction that ends with its session is kept while a call of it is in flight, and cancelled
/// afterwards.
pub(in crate::engine) fn cancel_orphans(
    unit: &mut UnitOfWork<'_>,
    who: OwnerId,
    after: TxId,
) -> Result<(), DecideError> {
    let mut list = unit.transactions(&page(who, after))?.to_vec();
    let mut is_more = unit.slice(&mut list, TX_PAGE);
    let (mut is_left, mut seen) = (false, None);
    for id in &list {
        if seen.is_some() && unit.is_slice_over() {
            is_more = true;
            break;
        }
        seen = Some(*id);
        let Some(tx) = unit.tx(*id)? else { continue };
        let is_over = tx.status.is_ended() || tx.ending.is_some() || tx.pivot;
        let code = match who {
            OwnerId::Session(session) => {
                let own = tx.owner == Owner::Anonymous(session);
                let ends = tx.ends_with_session && tx.session == Some(session);
                if is_over || !(own || ends) {
                    continue;
                }
                if tx.calls.iter().any(is_out) {
                    is_left = true;
                    continue;
                }
                "session-ended"
            }
            OwnerId::User(_) | OwnerId::Key(_) if is_over => continue,
            OwnerId::User(_) | OwnerId::Key(_) => "owner-gone",
        };
        let (workflow, version) = (tx.workflow.clone(), tx.version);
        let definition = unit.definition(workflow, version)?;
        unit.begin_links();
        let mut interpreter = Interpreter::new(
            unit,
            *id,
            Arc::clone(&definition),
            EvalActor::system(),
            Trigger::Time,
        );
        interpreter.compensate(TxStatus::Cancelled, code.into())?;
        interpreter.settle()?;
    }
    if let Some(last) = seen.filter(|_| is_more) {
        let due = unit.context.now.plus(PAUSE);
        unit.arm(Timer { due, what: TimerOf::Orphans(who, last) });
    }
    if is_left {
        // Rounded to whole minutes, so that all slices that kept transactions share one timer.
        let due = Time::from_ms((unit.context.now.ms() / AGAIN.ms() + 1) * AGAIN.ms());
        unit.arm(Timer { due, what: TimerOf::Orphans(who, TxId::new(0)) });
    }
    Ok(())
}

/// Returns whether a step waits for a call that may have been made.
fn is_out(call: &ServiceCall) -> bool {
    matches!(call.purpose, CallPurpose::Do { .. })
        && match call.state {
            CallState::InFlight(_) | CallState::AwaitingCallback(_) => true,
            CallState::Due(_) => call.unknown || call.attempts > 0,
            CallState::AnswerHeld(_)
            | CallState::Done
            | CallState::Refused
            | CallState::Unknown
            | CallState::Dropped => false,
        }
}

/// Gives the transactions of an anonymous session, and its votes and claims in other transactions,
/// to the user that it becomes.
pub(in crate::engine) fn adopt(
    unit: &mut UnitOfWork<'_>,
    session: SessionId,
    user: &UserRef,
    after: TxId,
) -> Result<(), DecideError> {
    // Transactions already given are no longer in this list: each slice begins at its start.
    let acted = RecordKey::ActedIn(session, TxId::new(0));
    let mut acted = unit.transactions(&acted)?.to_vec();
    let mut acts_more = unit.slice(&mut acted, TX_PAGE);
    let mut has_begun = false;
    for id in acted {
        if has_begun && unit.is_slice_over() {
            acts_more = true;
            break;
        }
        has_begun = true;
        let name = user.username.as_str().into();
        let user = ActorRef { id: ActorId::User(user.id), name };
        let event = TxEvent::PersonKnown { session, user };
        unit.emit(Event::Tx { tx: id, event: Box::new(event) })?;
    }
    let mut list = unit.transactions(&RecordKey::TxsOf(OwnerId::Session(session), after))?.to_vec();
    let mut is_more = unit.slice(&mut list, TX_PAGE);
    let mut seen = None;
    for id in &list {
        if has_begun && unit.is_slice_over() {
            is_more = true;
            break;
        }
        has_begun = true;
        seen = Some(*id);
        if unit.tx(*id)?.is_none_or(|tx| tx.owner != Owner::Anonymous(session)) {
            continue;
        }
        let event = TxEvent::OwnerChanged(Owner::User(user.clone()));
        unit.emit(Event::Tx { tx: *id, event: Box::new(event) })?;
    }
    if is_more || acts_more {
        let due = unit.context.now.plus(PAUSE);
        let reached = seen.unwrap_or(after);
        unit.arm(Timer { due, what: TimerOf::Adopt(session, reached) });
    }
    Ok(())
}

/// Continues giving the transactions of a session to its user, if the session still exists.
pub(in crate::engine) fn adopt_more(
    unit: &mut UnitOfWork<'_>,
    session: SessionId,
    after: TxId,
) -> Result<(), DecideError> {
    match unit.session(session)?.and_then(|session| session.user.clone()) {
        Some(user) => adopt(unit, session, &user, after),
        None => Ok(()),
    }
}
