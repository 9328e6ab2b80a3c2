//! Commands of bulk operations: one action on many transactions, in slices. Each slice is its own
//! commit, so that other commands wait for one slice at most.

use serde_json::json;

use crate::engine::core::record::{Record, RecordKey, Timer, TimerOf};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::transaction::{self, ActorRef, MigrateAsk, Repair};
use crate::engine::{Actor, BulkAction, BulkAsk, BulkFailure, Event, Job, Outcome, Refusal};
use crate::types::{JobId, Role, Span, TxId};

/// Number of transactions in one slice: their commit takes some milliseconds.
const SLICE: usize = 20;

/// Maximum number of failures that are kept with their reasons; the others are only counted.
const FAILURES_MAX: usize = 20;

/// Time for which a job is kept after its end.
const KEPT: Span = Span::from_hours(7 * 24);

/// Pause between two slices, in which other commands are executed.
const PAUSE: Span = Span::from_ms(1);

/// Begins a job; its first slice is in the same commit.
pub(in crate::engine) fn begin(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &BulkAsk,
) -> Result<Outcome, DecideError> {
    if resolved.actor != Actor::System && !resolved.actor.has(Role::OPERATOR) {
        return Err(Refusal::NotAllowed("this needs the role abide:operator").into());
    }
    let id = JobId::new(unit.mint());
    // Ids begin with their time, and within a millisecond they are unordered: the whole current
    // millisecond is included, so that no existing transaction is missed.
    let until = TxId::new(u128::from(unit.context.now.plus(Span::from_ms(1)).ms()) << 80);
    let job = Box::new(Job {
        id,
        filter: ask.filter.clone(),
        action: ask.action.clone(),
        dry_run: ask.dry_run,
        by: ActorRef::of(&resolved.actor).name.to_string(),
        after: TxId::new(0),
        until,
        examined: 0,
        matched: 0,
        skipped: 0,
        done: 0,
        failed: 0,
        failures: Vec::new(),
        started_at: unit.context.now,
        ended_at: None,
    });
    let data = json!({ "job": id, "action": job.action, "dry_run": job.dry_run });
    unit.emit(Event::Notice { kind: "abide.bulk.began", data })?;
    let job = slice(unit, job)?;
    Ok(Outcome::Job(job))
}

/// Executes the next slice of a job, or deletes the job when its retention is over.
pub(in crate::engine) fn fire(unit: &mut UnitOfWork<'_>, id: JobId) -> Result<(), DecideError> {
    let Some(job) = unit.job(id)?.cloned() else { return Ok(()) };
    if job.ended_at.is_some() {
        unit.delete(RecordKey::Job(id));
        return Ok(());
    }
    slice(unit, job).map(drop)
}

fn slice(unit: &mut UnitOfWork<'_>, mut job: Box<Job>) -> Result<Box<Job>, DecideError> {
    let page = unit.transactions(&RecordKey::Txs(job.after))?.to_vec();
    let mut page: Vec<TxId> = page.into_iter().take_while(|id| *id < job.until).collect();
    unit.slice(&mut page, SLICE);
    let resolved = ResolvedActor::of_system();
    let (mut examined, mut last) = (0, None);
    for id in &page {
        if last.is_some() && unit.is_slice_over() {
            break;
        }
        last = Some(*id);
        examined += 1;
        let Some(tx) = unit.tx(*id)?.filter(|tx| job.filter.means(tx)) else { continue };
        job.matched += 1;
        if tx.status.is_ended() {
            job.skipped += 1;
            continue;
        }
        let before = unit.savepoint();
        // Link limits apply to each transaction alone.
        unit.begin_links();
        match act(unit, &resolved, *id, &job.action) {
            Ok(_) => job.done += 1,
            Err(DecideError::Refused(refusal)) => {
                unit.back_to(before);
                job.failed += 1;
                if job.failures.len() < FAILURES_MAX {
                    let (code, message) = (refusal.name().to_owned(), refusal.to_string());
                    job.failures.push(BulkFailure { transaction: *id, code, message });
                }
            }
            Err(need) => return Err(need),
        }
        if job.dry_run {
            unit.back_to(before);
        }
    }
    job.examined += examined;
    let now = unit.context.now;
    let due = if let Some(last) = last {
        job.after = last;
        now.plus(PAUSE)
    } else {
        job.ended_at = Some(now);
        let data = json!({
            "job": job.id, "matched": job.matched, "done": job.done, "failed": job.failed,
            "skipped": job.skipped,
        });
        unit.emit(Event::Notice { kind: "abide.bulk.ended", data })?;
        now.plus(KEPT)
    };
    unit.arm(Timer { due, what: TimerOf::Job(job.id) });
    unit.put(RecordKey::Job(job.id), Record::Job(job.clone()));
    Ok(job)
}

fn act(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    action: &BulkAction,
) -> Result<Outcome, DecideError> {
    match action {
        BulkAction::Retry => transaction::repair(unit, resolved, id, &Repair::Retry),
        BulkAction::Cancel { reason } => {
            transaction::cancel(unit, resolved, id, reason.as_deref(), None)
        }
        BulkAction::Pause => transaction::pause(unit, resolved, id, true),
        BulkAction::Resume => transaction::pause(unit, resolved, id, false),
        BulkAction::Migrate { version, steps } => {
            let ask = MigrateAsk { version: *version, steps: steps.clone(), dry_run: false };
            transaction::migrate(unit, resolved, id, &ask)
        }
    }
}
