//! Applies each event to a transaction's record.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::event::TxEvent;
use super::record::{
    ActorId, ActorRef, CallPurpose, CallState, ChallengeState, CompletedStep, OpenStep, Owner,
    ServiceCall, Tx, TxHold, TxStatus,
};
use crate::engine::Digest;
use crate::engine::core::record::{IndexEntry, Record, RecordKey, Timer, TimerOf};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::ledger::Hold;
use crate::types::{HoldId, SessionId, TxId};

/// Maximum number of ended calls kept in the record; older ones are in the history only.
const OVER_KEPT: usize = 20;

/// Maximum number of service answers kept for one transaction: each takes up to 2 KB, and the
/// record stays small.
const ANSWERS_KEPT: usize = 20;

/// Applies an event to a transaction.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    event: &TxEvent,
) -> Result<(), DecideError> {
    if let TxEvent::Started(tx) = event {
        return start(unit, tx);
    }
    let now = unit.context.now;
    match event {
        TxEvent::StepOpened(open) => inbox(unit, id, open, true)?,
        TxEvent::StepClosed { place, .. }
        | TxEvent::StepTimedOut { place, .. }
        | TxEvent::StepFailed { place, .. }
        | TxEvent::StepTaken { place: Some(place), .. } => {
            let open = unit.tx(id)?.and_then(|tx| tx.at(*place)).cloned();
            if let Some(open) = open {
                inbox(unit, id, &open, false)?;
            }
        }
        TxEvent::CompensationBegan(_) => {
            let open = unit.tx(id)?.map(|tx| tx.open.clone()).unwrap_or_default();
            empty_inboxes(unit, id, &open)?;
        }
        TxEvent::Paused => super::queue::put_all(unit, id, false)?,
        TxEvent::Claimed { group, claim } => {
            super::queue::move_group(unit, id, *group, Some(claim))?;
        }
        TxEvent::Released { group } => super::queue::move_group(unit, id, *group, None)?,
        TxEvent::Migrated { version, open, unique, .. } => {
            migrate(unit, id, *version, open, *unique)?;
        }
        TxEvent::Stuck(_) => unit.mark(IndexEntry::Stuck(id)),
        TxEvent::Settled { timer_at, .. } => move_timer(unit, id, *timer_at)?,
        TxEvent::OwnerChanged(owner) => change_owner(unit, id, owner)?,
        TxEvent::Retried { .. } => unit.unmark(IndexEntry::Stuck(id)),
        TxEvent::Ended { .. } => end(unit, id)?,
        _ => {}
    }
    let change = |tx: &mut Tx| {
        tx.updated_at = now;
        change(tx, event, now);
    };
    let resolved = unit.tx(id)?.map(acting_sessions).unwrap_or_default();
    if !touches_calls(event) {
        unit.change_tx(id, change)?;
        return mark_acting(unit, id, &resolved);
    }
    let before = marks_of(unit, id, event)?;
    unit.change_tx(id, change)?;
    let after = marks_of(unit, id, event)?;
    for mark in before.difference(&after) {
        unit.unmark(mark.clone());
    }
    for mark in after.difference(&before) {
        unit.mark(mark.clone());
    }
    mark_acting(unit, id, &resolved)?;
    match event {
        TxEvent::Resumed => super::queue::put_all(unit, id, true),
        _ => Ok(()),
    }
}

/// Returns the anonymous sessions that were counted in open steps or have claimed them.
fn acting_sessions(tx: &Tx) -> BTreeSet<SessionId> {
    let counted = tx.open.iter().flat_map(|open| &open.submissions).map(|one| one.by.id);
    let claimed = tx.open.iter().filter_map(|open| open.claim.as_ref()).map(|claim| claim.by.id);
    let session = |id| match id {
        ActorId::Session(session) => Some(session),
        _ => None,
    };
    counted.chain(claimed).filter_map(session).collect()
}

/// Writes the index entries that find a session's transactions when the session becomes a user's.
fn mark_acting(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    before: &BTreeSet<SessionId>,
) -> Result<(), DecideError> {
    let after = unit.tx(id)?.map(acting_sessions).unwrap_or_default();
    for session in before.difference(&after) {
        unit.unmark(IndexEntry::ActedIn(*session, id));
    }
    for session in after.difference(before) {
        unit.mark(IndexEntry::ActedIn(*session, id));
    }
    Ok(())
}

const fn touches_all_calls(event: &TxEvent) -> bool {
    matches!(event, TxEvent::Paused | TxEvent::Resumed | TxEvent::CompensationBegan(_))
}

fn touches_calls(event: &TxEvent) -> bool {
    touches_all_calls(event) || event.call().is_some()
}

/// Returns the index entries of the calls that an event may change. A call has one while it is due
/// and the transaction is not paused, and one while an attempt is in flight.
fn marks_of(
    unit: &UnitOfWork<'_>,
    id: TxId,
    event: &TxEvent,
) -> Result<BTreeSet<IndexEntry>, DecideError> {
    let Some(tx) = unit.tx(id)? else { return Ok(BTreeSet::new()) };
    let (all, touched) = (touches_all_calls(event), event.call());
    let calls = tx.calls.iter().filter(|call| all || touched == Some(call.number));
    let marks = calls.filter_map(|call| match call.state {
        CallState::Due(at) if !tx.paused => Some(IndexEntry::CallDue(at, id, call.number)),
        CallState::InFlight(_) => Some(IndexEntry::CallOut(id, call.number)),
        CallState::Due(_)
        | CallState::AwaitingCallback(_)
        | CallState::AnswerHeld(_)
        | CallState::Done
        | CallState::Refused
        | CallState::Unknown
        | CallState::Dropped => None,
    });
    Ok(marks.collect())
}

/// Applies an event to the record alone.
#[expect(clippy::too_many_lines, reason = "one arm for each event, and the table is the point")]
fn change(tx: &mut Tx, event: &TxEvent, now: crate::types::Time) {
    match event {
        TxEvent::Paused => tx.paused = true,
        TxEvent::Resumed => tx.paused = false,
        TxEvent::Migrated {
            version,
            steps,
            open,
            joins,
            deadline,
            unique,
            taken,
            stuck,
            stuck_too,
            added,
        } => {
            tx.version = *version;
            tx.deadline = *deadline;
            tx.unique = *unique;
            tx.joins.clone_from(joins);
            let called = tx.calls.iter_mut().map(|call| &mut call.step);
            let done = tx.done.iter_mut().map(|done| &mut Arc::make_mut(done).step);
            let held = tx.holds.iter_mut().filter_map(|held| held.step.as_mut());
            for step in called.chain(done).chain(held) {
                if let Some(name) = steps.get(step) {
                    step.clone_from(name);
                }
            }
            tx.open.clone_from(open);
            tx.taken.clone_from(taken);
            tx.stuck.clone_from(stuck);
            tx.stuck_too.clone_from(stuck_too);
            for user in open.iter().flat_map(|open| &open.users) {
                if !tx.asked.contains(user) {
                    tx.asked.push(user.clone());
                }
            }
            if let Value::Object(data) = Arc::make_mut(&mut tx.data) {
                data.extend((**added).clone());
            }
        }
        TxEvent::Started(_) | TxEvent::Emitted { .. } | TxEvent::CancelAsked { .. } => {}
        TxEvent::Retried { .. } => {
            tx.stuck = None;
            tx.status =
                if tx.ending.is_some() { TxStatus::Compensating } else { tx.moving_status() };
        }
        TxEvent::CallMade(call) => {
            tx.next_call = tx.next_call.max(call.number + 1);
            if matches!(call.purpose, CallPurpose::Do { .. }) {
                *tx.taken.entry(call.step.clone()).or_default() += 1;
            }
            tx.calls.push((**call).clone());
        }
        TxEvent::CallBegan { number } => {
            if let Some(call) = call(tx, *number) {
                call.attempts += 1;
                call.state = CallState::InFlight(now);
            }
        }
        TxEvent::CallRetried { number, due, last } => {
            if let Some(call) = call(tx, *number) {
                call.state = CallState::Due(*due);
                call.last = Some(last.clone());
                call.unknown = true;
            }
        }
        TxEvent::CallAccepted { number, until } => {
            if let Some(call) = call(tx, *number) {
                call.state = CallState::AwaitingCallback(*until);
                call.last = Some("202".into());
                call.unknown = true;
            }
        }
        TxEvent::CallAnswered { number, answer } => {
            if let Some(call) = call(tx, *number) {
                call.answer = Some(answer.clone());
            }
            let answered = tx.calls.iter_mut().rev().filter(|call| call.answer.is_some());
            answered.skip(ANSWERS_KEPT).for_each(|call| call.answer = None);
        }
        TxEvent::CallKept { number, response } => {
            if let Some(call) = call(tx, *number) {
                call.state = CallState::AnswerHeld(response.clone());
            }
        }
        TxEvent::CallEnded { number, state, last, undo } => {
            end_call(tx, *number, state, last.as_ref(), undo.as_ref());
        }
        TxEvent::EffectsUndone { left, .. } => {
            if let Some(done) = tx.done.last_mut() {
                Arc::make_mut(done).undo.truncate(*left);
            }
        }
        TxEvent::CallUndone { .. } => {
            if let Some(done) = tx.done.last_mut()
                && !done.calls.is_empty()
            {
                let done = Arc::make_mut(done);
                done.calls.remove(0);
                done.undone += 1;
            }
        }
        // The event is emitted once.
        TxEvent::DeadlinePassed => tx.deadline = None,
        TxEvent::DataSet { set, removed } => {
            if let Value::Object(data) = Arc::make_mut(&mut tx.data) {
                for (key, value) in &**set {
                    data.insert(key.clone(), value.clone());
                }
                for key in removed {
                    data.remove(key);
                }
            }
        }
        TxEvent::StepOpened(open) => {
            tx.next_place = tx.next_place.max(open.place + 1).max(open.group + 1);
            tx.rounds += 1;
            for user in &open.users {
                if !tx.asked.contains(user) {
                    tx.asked.push(user.clone());
                }
            }
            tx.open.push((**open).clone());
        }
        TxEvent::StepClosed { place, .. }
        | TxEvent::StepTimedOut { place, .. }
        | TxEvent::StepFailed { place, .. } => {
            tx.open.retain(|open| open.place != *place);
        }
        TxEvent::StepCounted { place, step, submission } => {
            if let Some(open) = at(tx, *place) {
                open.submissions.push(submission.clone());
            }
            *tx.taken.entry(step.clone()).or_default() += 1;
        }
        TxEvent::StepTaken { place, done, counts, .. } => {
            match place {
                Some(place) => tx.open.retain(|open| open.place != *place),
                None => tx.rounds += 1,
            }
            if *counts {
                *tx.taken.entry(done.step.clone()).or_default() += 1;
            }
            if !done.undo.is_empty() || !done.calls.is_empty() {
                tx.done.push(Arc::new(done.clone()));
            }
        }
        TxEvent::Reminded { place, done, .. } => {
            if let Some(open) = at(tx, *place) {
                open.reminded += 1;
            }
            tx.done.extend(done.as_deref().cloned().map(Arc::new));
        }
        TxEvent::Claimed { group, claim } => {
            tx.open
                .iter_mut()
                .filter(|open| open.group == *group)
                .for_each(|open| open.claim = Some(claim.clone()));
        }
        TxEvent::Released { group } => {
            tx.open
                .iter_mut()
                .filter(|open| open.group == *group)
                .for_each(|open| open.claim = None);
        }
        TxEvent::Forked(join) => {
            tx.next_place = tx.next_place.max(join.id + 1);
            tx.joins.push(join.clone());
        }
        TxEvent::Joined { join } => {
            if let Some(found) = tx.joins.iter_mut().find(|other| other.id == *join) {
                found.left = found.left.saturating_sub(1);
            }
            tx.joins.retain(|join| join.left > 0);
        }
        TxEvent::BranchReopened { join } => {
            if let Some(found) = tx.joins.iter_mut().find(|other| other.id == *join) {
                found.left = found.left.saturating_add(1);
            }
        }
        TxEvent::BranchesClosed { joins } => tx.joins.retain(|join| !joins.contains(&join.id)),
        TxEvent::PivotPassed => tx.pivot = true,
        // Each took a step, so there are no more of these than steps taken.
        TxEvent::Heard { message } => tx.heard.push(*message),
        TxEvent::HoldNamed { hold, name, key, step } => {
            if let Some(held) = tx.holds.iter_mut().find(|held| held.hold.id == *hold) {
                held.name = name.clone();
                held.key.clone_from(key);
                held.step = Some(step.clone());
            }
        }
        TxEvent::ChallengeIssued(challenge) => {
            tx.challenges.retain(|other| other.id != challenge.id);
            tx.challenges.push(challenge.clone());
        }
        TxEvent::ChallengeFailed { id } => {
            if let Some(challenge) = tx.challenges.iter_mut().find(|other| other.id == *id) {
                challenge.attempts_left = challenge.attempts_left.saturating_sub(1);
            }
        }
        TxEvent::ChallengePassed { id } => set_challenge(tx, id, ChallengeState::Passed),
        TxEvent::ChallengeWithdrawn { id } => set_challenge(tx, id, ChallengeState::Withdrawn),
        TxEvent::CompensationBegan(ending) => {
            tx.open.clear();
            tx.joins.clear();
            tx.stuck = None;
            tx.stuck_too.clear();
            tx.paused = false;
            tx.status = TxStatus::Compensating;
            tx.ending = Some(ending.clone());
            if ending.status == TxStatus::Completed {
                tx.done.retain(|done| done.left);
            }
        }
        TxEvent::StepUndone { .. } => {
            tx.done.pop();
        }
        TxEvent::Stuck(stuck) => {
            tx.status = TxStatus::Stuck;
            tx.stuck_too.retain(|other| other != stuck);
            match &tx.stuck {
                None => tx.stuck = Some(stuck.clone()),
                Some(_) => tx.stuck_too.push(stuck.clone()),
            }
        }
        TxEvent::OwnerChanged(owner) => tx.owner = owner.clone(),
        TxEvent::PersonKnown { session, user } => know_person(tx, *session, user),
        TxEvent::Ended { status, outcome } => {
            tx.status = *status;
            tx.outcome = Some(outcome.clone());
            tx.open.clear();
            tx.joins.clear();
            tx.done.clear();
            tx.ending = None;
            tx.stuck = None;
            tx.stuck_too.clear();
            tx.unique = None;
        }
        TxEvent::Settled { status, timer_at } => {
            tx.status = *status;
            tx.timer_at = *timer_at;
        }
    }
}

/// Attributes the open-step actions of an anonymous session to the user that it became. Of two
/// submissions of one person the first counts.
fn know_person(tx: &mut Tx, session: SessionId, user: &ActorRef) {
    for open in &mut tx.open {
        for submission in &mut open.submissions {
            if submission.by.id == ActorId::Session(session) {
                submission.by = user.clone();
            }
        }
        let mut seen = Vec::with_capacity(open.submissions.len());
        open.submissions.retain(|submission| {
            let is_first = !seen.contains(&submission.by.id);
            seen.push(submission.by.id);
            is_first
        });
        if let Some(claim) = &mut open.claim
            && claim.by.id == ActorId::Session(session)
        {
            claim.by = user.clone();
        }
    }
}

fn call(tx: &mut Tx, number: u32) -> Option<&mut ServiceCall> {
    tx.calls.iter_mut().find(|call| call.number == number)
}

fn end_call(
    tx: &mut Tx,
    number: u32,
    state: &CallState,
    last: Option<&Arc<str>>,
    undo: Option<&CompletedStep>,
) {
    if let Some(call) = call(tx, number) {
        call.state = state.clone();
        call.ask = call.ask.emptied();
        if *state == CallState::Done {
            call.answer = None;
        }
        if last.is_some() {
            call.last = last.cloned();
        }
    }
    if !tx.status.is_ended() {
        tx.done.extend(undo.cloned().map(Arc::new));
    }
    let over = tx.calls.iter().filter(|call| call.state.is_over()).count();
    let mut surplus = over.saturating_sub(OVER_KEPT);
    tx.calls.retain(|call| {
        let goes = surplus > 0 && call.state.is_over();
        surplus -= usize::from(goes);
        !goes
    });
}

fn at(tx: &mut Tx, place: u32) -> Option<&mut OpenStep> {
    tx.open.iter_mut().find(|open| open.place == place)
}

fn set_challenge(tx: &mut Tx, id: &str, state: ChallengeState) {
    if let Some(challenge) = tx.challenges.iter_mut().find(|other| *other.id == *id) {
        challenge.state = state;
    }
}

fn start(unit: &mut UnitOfWork<'_>, tx: &Tx) -> Result<(), DecideError> {
    unit.mark(IndexEntry::TxOf((&tx.owner).into(), tx.id));
    unit.mark(IndexEntry::OpenOf((&tx.owner).into(), tx.id));
    if let Some(session) = tx.session
        && (tx.ends_with_session || matches!(tx.owner, Owner::Anonymous(_)))
    {
        unit.mark(IndexEntry::EndWith(session, tx.id));
    }
    if let Some(digest) = tx.unique {
        let fact = RecordKey::One(tx.workflow.clone(), digest);
        unit.put(fact, Record::One(tx.id));
    }
    count(unit, tx, 1)?;
    unit.put(RecordKey::Tx(tx.id), Record::Tx(Arc::new(tx.clone())));
    Ok(())
}

fn end(unit: &mut UnitOfWork<'_>, id: TxId) -> Result<(), DecideError> {
    let Some(tx) = unit.tx(id)?.cloned() else { return Ok(()) };
    empty_inboxes(unit, id, &tx.open)?;
    unit.unmark(IndexEntry::OpenOf((&tx.owner).into(), id));
    if let Some(session) = tx.session {
        unit.unmark(IndexEntry::EndWith(session, id));
    }
    if tx.stuck.is_some() || tx.status == TxStatus::Stuck {
        unit.unmark(IndexEntry::Stuck(id));
    }
    if let Some(schedule) = tx.schedule {
        // Another start of the schedule may wait for this end.
        let due = unit.context.now;
        unit.arm(Timer { due, what: TimerOf::Schedule(schedule) });
    }
    if let Some(digest) = tx.unique {
        unit.delete(RecordKey::One(tx.workflow.clone(), digest));
    }
    count(unit, &tx, -1)
}

/// Moves the index entries of a transaction to another version.
fn migrate(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    version: u32,
    open: &[OpenStep],
    unique: Option<Digest>,
) -> Result<(), DecideError> {
    let Some(tx) = unit.tx(id)?.cloned() else { return Ok(()) };
    if tx.unique != unique {
        if let Some(digest) = tx.unique {
            unit.delete(RecordKey::One(tx.workflow.clone(), digest));
        }
        if let Some(digest) = unique {
            unit.put(RecordKey::One(tx.workflow.clone(), digest), Record::One(id));
        }
    }
    empty_inboxes(unit, id, &tx.open)?;
    count(unit, &tx, -1)?;
    count(unit, &Tx { version, ..tx }, 1)?;
    open.iter().try_for_each(|open| inbox(unit, id, open, true))
}

/// Changes the number of open transactions of a version.
fn count(unit: &mut UnitOfWork<'_>, tx: &Tx, by: i64) -> Result<(), DecideError> {
    let fact = RecordKey::OpenCount(tx.workflow.clone(), tx.version);
    let count = unit.count(&fact)?.saturating_add_signed(by);
    unit.put(fact, Record::Count(count));
    Ok(())
}

fn move_timer(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    to: Option<crate::types::Time>,
) -> Result<(), DecideError> {
    let from = unit.tx(id)?.and_then(|tx| tx.timer_at);
    if from != to {
        if let Some(due) = from {
            unit.disarm(Timer { due, what: TimerOf::Tx(id) });
        }
        if let Some(due) = to {
            unit.arm(Timer { due, what: TimerOf::Tx(id) });
        }
    }
    Ok(())
}

fn change_owner(unit: &mut UnitOfWork<'_>, id: TxId, owner: &Owner) -> Result<(), DecideError> {
    let Some(tx) = unit.tx(id)?.cloned() else { return Ok(()) };
    unit.unmark(IndexEntry::TxOf((&tx.owner).into(), id));
    unit.mark(IndexEntry::TxOf(owner.into(), id));
    if !tx.status.is_ended() {
        unit.unmark(IndexEntry::OpenOf((&tx.owner).into(), id));
        unit.mark(IndexEntry::OpenOf(owner.into(), id));
        if let Owner::Anonymous(session) = tx.owner
            && !tx.ends_with_session
        {
            unit.unmark(IndexEntry::EndWith(session, id));
        }
    }
    Ok(())
}

/// Removes all open steps from the inboxes of roles.
fn empty_inboxes(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    open: &[OpenStep],
) -> Result<(), DecideError> {
    open.iter().try_for_each(|open| super::queue::put(unit, id, open, false))?;
    for role in open.iter().flat_map(|open| &open.roles) {
        unit.unmark(IndexEntry::RoleInbox(role.clone(), id));
    }
    Ok(())
}

/// Adds a step to its inboxes, or removes it. Another open step that waits in the same inbox keeps
/// the transaction there.
fn inbox(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    open: &OpenStep,
    put: bool,
) -> Result<(), DecideError> {
    super::queue::put(unit, id, open, put)?;
    let others: Vec<OpenStep> = match unit.tx(id) {
        Ok(Some(tx)) if !put => {
            tx.open.iter().filter(|other| other.place != open.place).cloned().collect()
        }
        _ => Vec::new(),
    };
    for role in &open.roles {
        let row = IndexEntry::RoleInbox(role.clone(), id);
        if put {
            unit.mark(row);
        } else if !others.iter().any(|other| other.roles.contains(role)) {
            unit.unmark(row);
        }
    }
    for user in &open.users {
        // The entry stays when the step is closed: the user may still see the outcome.
        if put {
            unit.mark(IndexEntry::UserInbox(user.clone(), id));
        }
    }
    Ok(())
}

/// Returns a hold of a transaction.
pub(in crate::engine) fn find_hold(
    unit: &UnitOfWork<'_>,
    tx: TxId,
    id: &HoldId,
) -> Result<Option<Hold>, DecideError> {
    let held = unit.tx(tx)?.and_then(|tx| tx.holds.iter().find(|held| held.hold.id == *id));
    Ok(held.map(|held| held.hold.clone()))
}

/// Puts a hold into its transaction's record.
pub(in crate::engine) fn put_hold(
    unit: &mut UnitOfWork<'_>,
    tx: TxId,
    hold: &Hold,
) -> Result<(), DecideError> {
    let new = || TxHold { name: "".into(), key: None, step: None, hold: hold.clone() };
    unit.change_tx(tx, |tx| match tx.holds.iter_mut().find(|held| held.hold.id == hold.id) {
        Some(known) => known.hold = hold.clone(),
        None => tx.holds.push(new()),
    })
}
