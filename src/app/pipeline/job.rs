//! Items of the queue: commands with everything that belongs to them, and their results.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::{Permit, QuotaOwner};
use super::answers::{IdempotentRequest, ReplayedAnswer};
use crate::app::api::{Answer, Render};
use crate::engine::{Actor, Command, CommandInputs, Outcome, Refusal};
use crate::store::{Receipt, StoreError};
use crate::types::{Revision, Span, Time};

/// An item of the queue.
pub(in crate::app) enum QueueItem {
    /// Execute a command.
    Command(Box<CommandJob>),
    /// Move the clock and fire what is due by then.
    MoveClock { by: Span, reply: oneshot::Sender<Receipt> },
    /// Finish what was accepted before, and end.
    Close,
}

/// A command and everything that belongs to it.
pub(in crate::app) struct CommandJob {
    pub(super) command: Command,
    pub(super) actor: Actor,
    pub(super) inputs: CommandInputs,
    pub(super) request: Arc<str>,
    pub(super) key: Option<IdempotentRequest>,
    /// Set for a command with an Idempotency-Key, whose answer the executor renders.
    pub(super) render: Option<Render>,
    pub(super) reply: oneshot::Sender<CompletedJob>,
    /// Route of the request, for the log of stalls; empty for the server's own commands.
    pub(super) route: &'static str,
    /// Share of the queue.
    pub(super) permit: Option<Permit>,
    /// Time of arrival.
    pub(super) arrived: Instant,
    /// Due time of the timer that the command has waited for.
    pub(super) waited_for: Option<Time>,
}

impl CommandJob {
    /// Returns the owner whose share the command uses; `None` for the server's own commands.
    pub(super) fn quota_owner(&self) -> Option<QuotaOwner> {
        self.permit.as_ref().and_then(Permit::quota_owner)
    }

    /// Returns a job without a renderer and the receiver of its result.
    pub(super) fn new(
        command: Command,
        actor: Actor,
        inputs: CommandInputs,
        request: Arc<str>,
        key: Option<IdempotentRequest>,
    ) -> (Self, oneshot::Receiver<CompletedJob>) {
        let (reply, result) = oneshot::channel();
        let job = Self {
            command,
            actor,
            inputs,
            request,
            key,
            render: None,
            reply,
            route: "",
            permit: None,
            arrived: Instant::now(),
            waited_for: None,
        };
        (job, result)
    }
}

/// A command with its result.
pub(in crate::app) struct CompletedJob {
    pub(super) result: JobResult,
    /// True if everything that the result rests on is durable.
    pub(super) durable: Result<Revision, StoreError>,
    /// The renderer of the job, returned to the caller.
    pub(super) render: Option<Render>,
}

/// Result of a command.
pub(super) enum JobResult {
    /// The command was decided at this revision; its answer is not stored.
    Decided(Box<Result<Outcome, Refusal>>, Revision),
    /// The command was decided and this answer is stored.
    Stored(Answer),
    /// The request was answered before.
    Replayed(ReplayedAnswer),
}

impl CompletedJob {
    /// Returns the result of a command that was sent without a renderer.
    pub(super) fn outcome(self) -> Result<Outcome, Refusal> {
        match self.result {
            JobResult::Decided(result, _) => *result,
            JobResult::Stored(_) | JobResult::Replayed(_) => Ok(Outcome::Done),
        }
    }
}

/// A command as the engine decides it.
#[derive(Clone, Copy)]
pub(super) struct CommandContext<'a> {
    pub(super) command: &'a Command,
    pub(super) actor: &'a Actor,
    pub(super) inputs: &'a CommandInputs,
}
