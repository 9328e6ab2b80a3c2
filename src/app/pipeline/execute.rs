//! Stage `execute`: one command in its turn, from the lookup of a stored answer to its commit.

use std::sync::Arc;

use super::commit::{
    AnswerToCommit, CommitRejection, CommitResult, DecisionToCommit, StagedDecision,
};
use super::executor::{Executor, Fatal, SPLIT_FACTOR_MAX};
use super::idempotency::KeyState;
use super::job::{CommandContext, CommandJob, CompletedJob, JobResult};
use crate::app::traces::changed;
use crate::engine::{Changes, Command, Decision, Outcome, Refusal, decide};
use crate::records::Reader;
use crate::store::{BATCH_BYTES_MAX, Receipt, Urgency};
use crate::types::{Span, Time};

/// Maximum number of conflicts of one command. A conflict needs another writer, and the embedded
/// store has none, so more than one is a fault.
const CONFLICTS_MAX: usize = 3;

/// Result of one command in its turn.
enum Execution {
    /// The command has a result, which is final when the receipt resolves.
    Ended(JobResult, Receipt),
    /// The command is refused. It changed nothing and its answer is not stored.
    Refused(Refusal),
    /// A timer that is due by this time must fire first.
    WaitsForTimer(Time),
}

impl Executor {
    /// Executes a command in its turn and hands its result to the receipt, which delivers it when
    /// it is durable. Returns the job if a timer of what it touches must fire first
    /// ([`CommandJob::waited_for`] is set then).
    pub(super) fn execute(
        &mut self,
        now: Time,
        mut job: Box<CommandJob>,
    ) -> Result<Option<Box<CommandJob>>, Fatal> {
        self.store.anticipate();
        let (result, receipt) = match self.run(now, &job)? {
            Execution::Ended(result, receipt) => (result, receipt),
            // A refusal rests on what was read, which may not be durable yet.
            Execution::Refused(refusal) => (
                JobResult::Decided(Box::new(Err(refusal)), self.last),
                self.store.durable_at(self.last),
            ),
            Execution::WaitsForTimer(due) => {
                job.waited_for = Some(due);
                return Ok(Some(job));
            }
        };
        // Frees the actor's share of the queue before its answer goes out, so that its next command
        // finds room.
        drop(job.permit.take());
        let CommandJob { render, reply, .. } = *job;
        // The caller may be gone. The command is executed all the same.
        receipt.then(move |durable| drop(reply.send(CompletedJob { result, durable, render })));
        Ok(None)
    }

    /// Looks up the stored answer, decides, and commits; again after a conflict or in smaller
    /// parts.
    fn run(&mut self, now: Time, job: &CommandJob) -> Result<Execution, Fatal> {
        let CommandJob { command, actor, inputs, request, key, render, .. } = job;
        let context = CommandContext { command, actor, inputs };
        let (stale_parts, mut reservation) = match self.key_state(now, job)? {
            KeyState::New { stale_parts, reservation } => (stale_parts, reservation),
            KeyState::Answered(result, receipt) => return Ok(Execution::Ended(result, receipt)),
            KeyState::Reused => return Ok(Execution::Refused(Refusal::IdempotencyKeyReused)),
        };
        let (mut conflicts, mut split_factor) = (0, 1);
        while conflicts < CONFLICTS_MAX {
            let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
            let mut reader = self.reader(&store, &definitions);
            let Decision { changes, result } =
                self.decide(now, context, split_factor, &mut reader)?;
            if let Some(due) = self.overdue(&changes, job) {
                return Ok(Execution::WaitsForTimer(due));
            }
            let is_stored = result.as_ref().err().is_none_or(Refusal::is_stored);
            let stored = key.as_ref().zip(render.as_ref()).filter(|_| is_stored);
            if changes.events.is_empty() && stored.is_none() {
                let receipt = self.store.durable_at(self.last);
                let result = JobResult::Decided(Box::new(result), self.last);
                return Ok(Execution::Ended(result, receipt));
            }
            self.notifier.traces.attach(request, || changed(command, result.as_ref()));
            let can_split = changes.is_sliced && split_factor < SPLIT_FACTOR_MAX;
            let answer = stored.map(|(key, render)| AnswerToCommit {
                context,
                result: &result,
                key,
                render,
                stale_parts,
                reservation: &mut reservation,
            });
            let decision = DecisionToCommit {
                now,
                actor,
                request,
                urgency: urgency(command),
                changes,
                reader,
                answer,
            };
            match self.commit_decision(decision)? {
                CommitResult::Staged(StagedDecision { revision, receipt, answer }) => {
                    let decided = || JobResult::Decided(Box::new(result), revision);
                    let result = answer.map_or_else(decided, JobResult::Stored);
                    return Ok(Execution::Ended(result, receipt));
                }
                CommitResult::Rejected(CommitRejection::Conflict) => conflicts += 1,
                CommitResult::Rejected(CommitRejection::TooLarge(_)) if can_split => {
                    split_factor *= 2;
                }
                CommitResult::Rejected(rejection) => {
                    return Ok(Execution::Refused(refusal_of(&rejection, result)));
                }
            }
        }
        Err(Fatal("another process writes to this store".to_owned()))
    }

    /// Decides a command. Loads the records that the decision names as missing.
    fn decide(
        &self,
        now: Time,
        CommandContext { command, actor, inputs }: CommandContext<'_>,
        split_factor: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Decision, Fatal> {
        let context = self.context(now, inputs.seed, split_factor);
        loop {
            match decide(&reader.facts, &self.rules, context, actor, command, inputs) {
                Ok(decision) => {
                    #[cfg(test)]
                    crate::engine::require_replay(
                        &reader.facts,
                        &self.rules,
                        self.context(now, 0, 1),
                        &decision.changes,
                    );
                    return Ok(decision);
                }
                Err(missing) => reader.load(missing)?,
            }
        }
    }

    /// Returns the due time of a timer that must fire before the command is executed.
    fn overdue(&self, changes: &Changes, job: &CommandJob) -> Option<Time> {
        let due = changes.overdue?;
        let has_waited = job.waited_for.is_some_and(|waited_for| waited_for >= due);
        (!has_waited && self.is_behind()).then_some(due)
    }
}

/// Returns the urgency of a command's commit: some commands may use the space that is reserved.
fn urgency(command: &Command) -> Urgency {
    if command.is_reserved() { Urgency::Reserved } else { Urgency::Ordinary }
}

/// Returns the refusal of a command whose commit was rejected. A refusal that was only to be noted
/// is answered all the same; but a failed login that cannot be counted says nothing about the
/// password.
fn refusal_of(rejection: &CommitRejection, result: Result<Outcome, Refusal>) -> Refusal {
    if *rejection == CommitRejection::AnswerTooLarge {
        return Refusal::TooLarge { what: "an answer that is kept", bytes_max: 400 * 1024 };
    }
    match (rejection, result) {
        (_, Err(refusal)) if refusal != Refusal::InvalidCredentials => refusal,
        (CommitRejection::NoSpace, _) => Refusal::NoRoom,
        (CommitRejection::TooLarge(what), _) => {
            tracing::error!(parent: None, what, "a commit was not valid");
            Refusal::TooLarge { what: "a commit", bytes_max: BATCH_BYTES_MAX }
        }
        (
            CommitRejection::AnswerTooLarge | CommitRejection::Conflict | CommitRejection::Busy,
            _,
        ) => Refusal::Busy { retry_after: Span::from_seconds(1) },
    }
}
