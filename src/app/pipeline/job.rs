//! What the executor is asked to do, and what becomes of it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::{Payer, Permit};
use super::answers::{IdempotentRequest, ReplayedAnswer};
use crate::app::api::{Answer, Render};
use crate::engine::{Actor, Command, CommandInputs, Outcome, Refusal};
use crate::store::{Receipt, StoreError};
use crate::types::{Revision, Span, Time};

/// What the executor is asked to do.
pub(in crate::app) enum QueueItem {
    /// A command.
    Command(Box<Job>),
    /// Move the clock and let fire what is due by then.
    Advance { by: Span, reply: oneshot::Sender<Receipt> },
    /// Finish what was taken before, and end.
    Close,
}

/// A command and all that belongs to it.
pub(in crate::app) struct Job {
    pub(in crate::app) command: Command,
    pub(in crate::app) actor: Actor,
    pub(in crate::app) inputs: CommandInputs,
    pub(in crate::app) request: Arc<str>,
    pub(in crate::app) keyed: Option<IdempotentRequest>,
    /// There for a command with an Idempotency-Key.
    pub(in crate::app) render: Option<Render>,
    pub(in crate::app) reply: oneshot::Sender<CompletedJob>,
    /// The route of the request, for whoever looks for what took long; empty: there is none.
    pub(in crate::app) route: &'static str,
    /// Its place among what waits.
    pub(in crate::app) permit: Option<Permit>,
    /// When it came.
    pub(in crate::app) came: Instant,
    /// The due time for which it has waited: what is due up to there has happened.
    pub(in crate::app) waited_for: Option<Time>,
}

impl Job {
    /// By whom it is counted; `None`: it is the server's own.
    pub(in crate::app) fn payer(&self) -> Option<Payer> {
        self.permit.as_ref().and_then(Permit::payer)
    }

    /// A job that nobody renders an answer for yet, and where it is told what became of it.
    pub(in crate::app) fn new(
        command: Command,
        actor: Actor,
        inputs: CommandInputs,
        request: Arc<str>,
        keyed: Option<IdempotentRequest>,
    ) -> (Self, oneshot::Receiver<CompletedJob>) {
        let (reply, done) = oneshot::channel();
        let job = Self {
            command,
            actor,
            inputs,
            request,
            keyed,
            render: None,
            reply,
            route: "",
            permit: None,
            came: Instant::now(),
            waited_for: None,
        };
        (job, done)
    }
}

/// What became of a command.
pub(in crate::app) struct CompletedJob {
    pub(in crate::app) end: JobResult,
    /// Whether all that it rests on is durable.
    pub(in crate::app) durable: Result<Revision, StoreError>,
    /// The renderer, back to where it came from.
    pub(in crate::app) render: Option<Render>,
}

/// How a command ended.
pub(in crate::app) enum JobResult {
    /// This became of it.
    Decided(Box<Result<Outcome, Refusal>>, Revision),
    /// This became of it, and the answer was kept.
    Stored(Answer),
    /// It had been answered before.
    Replayed(ReplayedAnswer),
}

impl CompletedJob {
    /// Returns the result of a command that was sent without a renderer.
    pub(in crate::app) fn result(self) -> Result<Outcome, Refusal> {
        match self.end {
            JobResult::Decided(result, _) => *result,
            JobResult::Stored(_) | JobResult::Replayed(_) => Ok(Outcome::Done),
        }
    }
}
