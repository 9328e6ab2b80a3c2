//! A work queue: steps that may be claimed, in the order in which they become free.
//!
//! A step is in its queue under the time from which it may be claimed. A claim moves it to the time
//! at which the claim lapses, so claimed steps lie behind free ones and become free again without a
//! timer. While its transaction is paused, a step is in no queue: many paused steps do not hide
//! those behind them.
//!
//! Candidates for a claim are found outside of the executor, in durable records; the code here
//! decides which of them are still free.

use super::access::may_submit;
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::record::{ActorRef, OpenStep, StepClaim, Tx};
use super::submit::asker;
use super::view::view;
use crate::engine::core::record::IndexEntry;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::Definition;
use crate::engine::{Actor, InputError, Outcome, Refusal};
use crate::types::{Span, StepName, Time, TxId, WorkflowName};

/// Maximum number of steps of one claim: the answer contains that many transactions.
pub const QUEUE_CLAIMS_MAX: usize = 50;

/// Maximum number of candidates of one claim: some more than are claimed, since others may claim
/// them first.
pub const QUEUE_CANDIDATES_MAX: usize = QUEUE_CLAIMS_MAX + 64;

/// Maximum size of the records that one claim reads, in bytes, but at least one record: reading
/// them blocks the executor.
const CLAIM_BYTES_MAX: usize = 256 * 1024;

/// Request of a worker for steps of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAsk {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The step.
    pub step: StepName,
    /// Maximum number of steps to claim.
    pub limit: usize,
    /// Length of the claim; `None`, or longer than the step allows: as long as it allows.
    pub span: Option<Span>,
    /// Candidates, found beforehand, in the order in which they are tried.
    pub candidates: Vec<Candidate>,
}

/// Transaction in which a step seemed free for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The transaction.
    pub tx: TxId,
    /// Size of its record, in bytes.
    pub bytes: usize,
}

/// Adds an open step to its queue, or removes it.
pub(super) fn put(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    open: &OpenStep,
    put: bool,
) -> Result<(), DecideError> {
    if !open.queued {
        return Ok(());
    }
    let Some(tx) = unit.tx(id)? else { return Ok(()) };
    if put && tx.paused {
        return Ok(());
    }
    let mark = IndexEntry::Queued(tx.workflow.clone(), open.step.clone(), open.free_at(), id);
    if put {
        unit.mark(mark);
    } else {
        unit.unmark(mark);
    }
    Ok(())
}

/// Adds all open steps of a transaction to their queues, or removes them.
pub(super) fn put_all(unit: &mut UnitOfWork<'_>, id: TxId, to: bool) -> Result<(), DecideError> {
    let open = unit.tx(id)?.map(|tx| tx.open.clone()).unwrap_or_default();
    open.iter().try_for_each(|open| put(unit, id, open, to))
}

/// Moves the steps of a group to the place that a claim, or its end, gives them.
pub(super) fn move_group(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    group: u32,
    claim: Option<&StepClaim>,
) -> Result<(), DecideError> {
    let Some(tx) = unit.tx(id)? else { return Ok(()) };
    let steps: Vec<OpenStep> = tx.open.iter().filter(|open| open.group == group).cloned().collect();
    for open in steps {
        put(unit, id, &open, false)?;
        put(unit, id, &OpenStep { claim: claim.cloned(), ..open }, true)?;
    }
    Ok(())
}

/// Claims steps that wait, the longest free first. Nobody else gets them until the claim lapses.
pub(in crate::engine) fn claim_queued(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &QueueAsk,
) -> Result<Outcome, DecideError> {
    if ask.limit == 0 || ask.limit > QUEUE_CLAIMS_MAX {
        let message = format!("must be from 1 to {QUEUE_CLAIMS_MAX}");
        let error = InputError::new("/limit", "out-of-range", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if ask.span == Some(Span::ZERO) {
        let error = InputError::new("/for", "out-of-range", "must be longer than nothing");
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let none = || Refusal::NotFound("workflow");
    let latest = unit.workflow(ask.workflow.clone())?.ok_or_else(none)?.latest;
    let definition = unit.definition(ask.workflow.clone(), latest)?;
    let step = definition.step(&ask.step).ok_or(Refusal::NotFound("step"))?;
    if step.claim.is_none() {
        return Err(Refusal::NotClaimable.into());
    }
    // All steps are found before any is claimed: finding changes nothing.
    let found = find(unit, resolved, ask)?;
    let mut views = Vec::with_capacity(found.len());
    for (id, group, until) in found {
        let definition = {
            let Some(tx) = unit.tx(id)? else { continue };
            let (workflow, version) = (tx.workflow.clone(), tx.version);
            unit.definition(workflow, version)?
        };
        let claim = StepClaim { by: ActorRef::of(&resolved.actor), until };
        let mut interpreter =
            Interpreter::new(unit, id, definition, asker(resolved), Trigger::Request);
        interpreter.emit(TxEvent::Claimed { group, claim })?;
        interpreter.settle()?;
        views.push(*view(unit, &resolved.actor, id)?);
    }
    Ok(Outcome::Claimed { views })
}

/// Returns the transactions, the groups of their steps, and the end of each claim.
fn find(
    unit: &UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &QueueAsk,
) -> Result<Vec<(TxId, u32, Time)>, DecideError> {
    let now = unit.context.now;
    let (mut found, mut taken, mut examined) = (Vec::new(), 0, 0);
    for candidate in ask.candidates.iter().take(QUEUE_CANDIDATES_MAX) {
        if found.len() == ask.limit || taken >= CLAIM_BYTES_MAX || examined >= 2 * CLAIM_BYTES_MAX {
            break;
        }
        examined += candidate.bytes;
        let Some(tx) = unit.tx(candidate.tx)? else { continue };
        if tx.workflow != ask.workflow {
            continue;
        }
        let definition = unit.definition(tx.workflow.clone(), tx.version)?;
        let Some(open) = free_step(tx, &definition, &ask.step, &resolved.actor, now) else {
            continue;
        };
        let Some(most) = definition.step(&open.step).and_then(|step| step.claim) else { continue };
        taken += candidate.bytes;
        let until = now.plus(ask.span.unwrap_or(most).min(most));
        found.push((candidate.tx, open.group, until));
    }
    Ok(found)
}

/// Returns the open step with this name that the actor may claim from the queue now, if there is
/// one.
#[must_use]
pub fn free_step<'t>(
    tx: &'t Tx,
    definition: &Definition,
    step: &StepName,
    actor: &Actor,
    now: Time,
) -> Option<&'t OpenStep> {
    let waits = |open: &&OpenStep| open.step == *step && open.queued;
    let open = tx.open.iter().filter(waits).min_by_key(|open| open.free_at())?;
    let counted = open.submissions.iter().any(|submission| submission.by.id.is(actor));
    let is_free = open.free_at() <= now && !tx.paused && !counted;
    (is_free && may_submit(tx, definition, open, actor)).then_some(open)
}
