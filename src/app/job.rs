//! What the executor is asked to do, and what becomes of it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::{Payer, Permit};
use super::answers::{Kept, Keyed};
use super::{Answer, Render};
use crate::engine::{Actor, Command, CommandInputs, Outcome, Refusal};
use crate::store::{Receipt, StoreError};
use crate::types::{Revision, Span, Time};

/// What the executor is asked to do.
pub(super) enum Work {
    /// A command.
    Command(Box<Job>),
    /// Move the clock and let fire what is due by then.
    Advance { by: Span, reply: oneshot::Sender<Receipt> },
    /// Finish what was taken before, and end.
    Close,
}

/// A command and all that belongs to it.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) actor: Actor,
    pub(super) inputs: CommandInputs,
    pub(super) request: Arc<str>,
    pub(super) keyed: Option<Keyed>,
    /// There for a command with an Idempotency-Key.
    pub(super) render: Option<Render>,
    pub(super) reply: oneshot::Sender<Done>,
    /// The route of the request, for whoever looks for what took long; empty: there is none.
    pub(super) route: &'static str,
    /// Its place among what waits.
    pub(super) permit: Option<Permit>,
    /// When it came.
    pub(super) came: Instant,
    /// The due time for which it has waited: what is due up to there has happened.
    pub(super) waited_for: Option<Time>,
}

impl Job {
    /// By whom it is counted; `None`: it is the server's own.
    pub(super) fn payer(&self) -> Option<Payer> {
        self.permit.as_ref().and_then(Permit::payer)
    }

    /// A job that nobody renders an answer for yet, and where it is told what became of it.
    pub(super) fn new(
        command: Command,
        actor: Actor,
        inputs: CommandInputs,
        request: Arc<str>,
        keyed: Option<Keyed>,
    ) -> (Self, oneshot::Receiver<Done>) {
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
pub(super) struct Done {
    pub(super) end: End,
    /// Whether all that it rests on is durable.
    pub(super) durable: Result<Revision, StoreError>,
    /// The renderer, back to where it came from.
    pub(super) render: Option<Render>,
}

/// How a command ended.
pub(super) enum End {
    /// This became of it.
    TokenCache(Box<Result<Outcome, Refusal>>, Revision),
    /// This became of it, and the answer was kept.
    Kept(Answer),
    /// It had been answered before.
    Replayed(Kept),
}
