//! Commands of schedules, and their firing.

use serde_json::json;

use crate::engine::core::record::{Record, RecordKey, Timer, TimerOf};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::schedule::{Cron, CronFault};
use crate::engine::transaction::{self, Owner};
use crate::engine::{
    Actor, CatchUp, Event, Firing, InputError, Outcome, Overlap, Refusal, Schedule, ScheduleAsk,
    ScheduleOwner,
};
use crate::types::{ScheduleId, Span, Time, TxId};

/// Maximum number of schedules.
const SCHEDULES_MAX: u64 = 1000;

/// Maximum number of queued starts of one schedule.
const QUEUED_MAX: u32 = 100;

/// A start that is late by at most this time counts as punctual: a restart of the server takes a
/// while.
const GRACE: Span = Span::from_minutes(1);

/// Missed times that are older than this are not made up for.
const CATCH_UP_MAX: Span = Span::from_hours(24);

/// Creates a schedule.
pub(in crate::engine) fn create(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &ScheduleAsk,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let now = unit.context.now;
    let cron = Cron::new(&ask.cron, &ask.zone, now).map_err(|fault| {
        let (pointer, code, message) = match fault {
            CronFault::Expression(what) => ("/cron", "invalid-cron", what),
            CronFault::Zone => ("/zone", "unknown-zone", "there is no such time zone".to_owned()),
            CronFault::Never => ("/cron", "invalid-cron", "there is no such time".to_owned()),
        };
        Refusal::InvalidInput(vec![InputError::new(pointer, code, message)])
    })?;
    let none = || Refusal::NotFound("workflow");
    let head = unit.workflow(ask.workflow.clone())?.copied().ok_or_else(none)?;
    if head.retired {
        return Err(Refusal::WorkflowRetired.into());
    }
    let definition = unit.definition(ask.workflow.clone(), head.latest)?;
    transaction::check_start_input(&definition, &ask.input)?;
    let owner = match (&ask.owner, &resolved.actor) {
        (Some(name), _) => {
            unit.user_named(name)?.ok_or(Refusal::NotFound("user"))?;
            ScheduleOwner::User(name.clone())
        }
        (None, Actor::Key(key)) => ScheduleOwner::Key(key.key.id),
        (None, actor) => match actor.user() {
            Some(user) => ScheduleOwner::User(user.username.clone()),
            None => return Err(Refusal::NotFound("owner").into()),
        },
    };
    if unit.count(&RecordKey::ScheduleCount)? >= SCHEDULES_MAX {
        let max = usize::try_from(SCHEDULES_MAX).unwrap_or(usize::MAX);
        return Err(Refusal::LimitReached { what: "schedules", max }.into());
    }
    let schedule = Schedule {
        id: ScheduleId::new(unit.mint()),
        workflow: ask.workflow.clone(),
        cron: ask.cron.clone(),
        zone: ask.zone.clone(),
        input: ask.input.clone(),
        owner,
        overlap: ask.overlap,
        catch_up: ask.catch_up,
        next_at: cron.next(now),
        last: None,
        current: None,
        queued: 0,
        created_at: now,
    };
    unit.recount(RecordKey::ScheduleCount, true)?;
    tell(unit, "abide.schedule.created", &schedule)?;
    keep(unit, &schedule);
    Ok(Outcome::Schedule(Box::new(schedule)))
}

/// Deletes a schedule; the transactions that it started go on.
pub(in crate::engine) fn delete(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: ScheduleId,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let schedule = unit.schedule(id)?.cloned().ok_or(Refusal::NotFound("schedule"))?;
    if let Some(due) = schedule.next_at {
        unit.disarm(Timer { due, what: TimerOf::Schedule(id) });
    }
    unit.recount(RecordKey::ScheduleCount, false)?;
    tell(unit, "abide.schedule.deleted", &schedule)?;
    unit.delete(RecordKey::Schedule(id));
    Ok(Outcome::Done)
}

fn tell(
    unit: &mut UnitOfWork<'_>,
    kind: &'static str,
    schedule: &Schedule,
) -> Result<(), DecideError> {
    let data = json!({
        "schedule": schedule.id, "workflow": schedule.workflow, "cron": schedule.cron,
        "zone": schedule.zone,
    });
    unit.emit(Event::Notice { kind, data })
}

fn keep(unit: &mut UnitOfWork<'_>, schedule: &Schedule) {
    if let Some(due) = schedule.next_at {
        unit.arm(Timer { due, what: TimerOf::Schedule(schedule.id) });
    }
    unit.put(RecordKey::Schedule(schedule.id), Record::Schedule(Box::new(schedule.clone())));
}

/// Fires a schedule: its time has come, or the transaction that it started last has ended.
pub(in crate::engine) fn fire(
    unit: &mut UnitOfWork<'_>,
    id: ScheduleId,
    due: Time,
) -> Result<(), DecideError> {
    let Some(mut schedule) = unit.schedule(id)?.cloned() else { return Ok(()) };
    let now = unit.context.now;
    if schedule.next_at == Some(due) && due <= now {
        come(unit, &mut schedule, due)?;
    }
    if schedule.queued > 0 && !is_busy(unit, &schedule)? {
        schedule.queued -= 1;
        // A transaction that ends at once makes room for the next one in the same millisecond.
        let reference = format!("{}/{now}/{:032x}", schedule.id, unit.mint());
        start(unit, &mut schedule, now, &reference)?;
    }
    keep(unit, &schedule);
    Ok(())
}

/// Handles a time that has come, or that passed while the server was down.
fn come(unit: &mut UnitOfWork<'_>, schedule: &mut Schedule, due: Time) -> Result<(), DecideError> {
    let now = unit.context.now;
    let cron = match Cron::new(&schedule.cron, &schedule.zone, due) {
        Ok(cron) => Some(cron),
        Err(CronFault::Never) => None,
        // Another version, with other syntax or time zones, accepted the expression.
        Err(CronFault::Expression(_) | CronFault::Zone) => {
            schedule.next_at = None;
            return note(unit, schedule, due, None, Some("invalid-cron"));
        }
    };
    // A next time that is not later than the last one would fire for ever.
    let next = |after: Time| {
        let next = cron.as_ref().and_then(|cron| cron.next(after));
        next.filter(|next| *next > after)
    };
    if due.plus(GRACE) >= now {
        schedule.next_at = next(due);
    } else {
        match schedule.catch_up {
            CatchUp::None => {
                schedule.next_at = next(now);
                note(unit, schedule, due, None, Some("missed"))?;
                return Ok(());
            }
            CatchUp::One => schedule.next_at = next(now),
            CatchUp::All if due.plus(CATCH_UP_MAX) < now => {
                // It is too old; the times of the last day come next.
                schedule.next_at = next(Time::from_ms(now.ms() - CATCH_UP_MAX.ms()));
                note(unit, schedule, due, None, Some("missed"))?;
                return Ok(());
            }
            CatchUp::All => schedule.next_at = next(due),
        }
    }
    if schedule.overlap != Overlap::Allow && is_busy(unit, schedule)? {
        if schedule.overlap == Overlap::Queue && schedule.queued < QUEUED_MAX {
            schedule.queued += 1;
            return note(unit, schedule, due, None, Some("queued"));
        }
        return note(unit, schedule, due, None, Some("skipped"));
    }
    let reference = format!("{}/{due}", schedule.id);
    start(unit, schedule, due, &reference)
}

/// Returns whether the transaction that was started last is still open.
fn is_busy(unit: &UnitOfWork<'_>, schedule: &Schedule) -> Result<bool, DecideError> {
    match schedule.current {
        Some(id) => Ok(unit.tx(id)?.is_some_and(|tx| !tx.status.is_ended())),
        None => Ok(false),
    }
}

fn start(
    unit: &mut UnitOfWork<'_>,
    schedule: &mut Schedule,
    at: Time,
    reference: &str,
) -> Result<(), DecideError> {
    let before = unit.savepoint();
    match started(unit, schedule, reference) {
        Ok(id) => {
            schedule.current = Some(id);
            note(unit, schedule, at, Some(id), None)
        }
        Err(DecideError::Refused(refusal)) => {
            unit.back_to(before);
            let code = refusal.name().to_owned();
            note(unit, schedule, at, None, Some(&code))
        }
        Err(need) => Err(need),
    }
}

fn started(
    unit: &mut UnitOfWork<'_>,
    schedule: &Schedule,
    reference: &str,
) -> Result<TxId, DecideError> {
    let gone = || Refusal::NotFound("owner");
    let owner = match &schedule.owner {
        ScheduleOwner::User(name) => Owner::User(unit.user_named(name)?.ok_or_else(gone)?.names()),
        ScheduleOwner::Key(id) => Owner::Key(unit.key(*id)?.ok_or_else(gone)?.names()),
    };
    transaction::begin_scheduled(
        unit,
        &schedule.workflow,
        reference,
        &schedule.input,
        owner,
        schedule.id,
    )
}

fn note(
    unit: &mut UnitOfWork<'_>,
    schedule: &mut Schedule,
    at: Time,
    started: Option<TxId>,
    why_not: Option<&str>,
) -> Result<(), DecideError> {
    let data = json!({
        "schedule": schedule.id, "at": at, "transaction": started, "reason": why_not,
    });
    schedule.last = Some(Firing { at, started, why_not: why_not.map(str::to_owned) });
    unit.emit(Event::Notice { kind: "abide.schedule.fired", data })
}
