//! Stage `respond`: a caller gets its answer when everything that the answer rests on is durable.

use tokio::sync::oneshot;

use super::answers::{self, AnswerLookup, ReplayedAnswer};
use super::job::{CommandJob, CompletedJob, JobResult};
use super::pending::{PendingCommand, PendingState, UnpreparedCommand};
use crate::app::App;
use crate::app::api::{Answer, CommandAnswer, Render};
use crate::engine::{CommandInputs, Refusal};
use crate::store::{Receipt, StoreError, View};
use crate::types::Revision;

impl App {
    /// Returns the answer to an admitted command when everything that it rests on is durable.
    pub async fn respond(&self, PendingCommand(state): PendingCommand) -> CommandAnswer {
        match state {
            PendingState::Answered(answer) => answer,
            // Boxed, since it is rare and its state would be moved for every command.
            PendingState::Preparing(unprepared) => {
                Box::pin(self.respond_prepared(*unprepared)).await
            }
            PendingState::Queued { result, render } => self.answer(result, render).await,
        }
    }

    /// Prepares a command, puts it into the queue, and returns its answer.
    async fn respond_prepared(&self, unprepared: UnpreparedCommand) -> CommandAnswer {
        let UnpreparedCommand {
            command,
            actor,
            client,
            request,
            route,
            key,
            preconditions,
            render,
            permit,
        } = unprepared;
        if let Some(key) = &key {
            // A request that was answered long ago costs no hash and no check. The executor looks
            // again, in order.
            let now = self.clock.now();
            let found = answers::find_answer(&*self.store, View::Committed, key, Vec::new(), now);
            if let Ok(AnswerLookup::Found(answer, _)) = self.guard(found) {
                return self.replay(answer, Some(render));
            }
        }
        let (command, checked) = self.check_input(command).await;
        let pending = match self.prepare(&command, &actor, &client).await {
            Ok(inputs) => {
                let inputs = CommandInputs { checked, preconditions, ..inputs };
                let (job, result) = CommandJob::new(command, actor, inputs, request, key);
                self.queue_job(CommandJob { route, permit, ..job }, result, render)
            }
            Err(refusal) => self.refuse(&render, &refusal),
        };
        match pending.0 {
            PendingState::Queued { result, render } => self.answer(result, render).await,
            PendingState::Answered(answer) => answer,
            PendingState::Preparing(_) => without_renderer(),
        }
    }

    /// Waits for a result and renders it, if the executor has not.
    async fn answer(
        &self,
        result: oneshot::Receiver<CompletedJob>,
        render: Option<Render>,
    ) -> CommandAnswer {
        let CompletedJob { result, render: returned, .. } = match self.settle(result).await {
            Ok(completed) => completed,
            Err(refusal) => {
                return render.map_or_else(without_renderer, |render| {
                    new_answer((render)(Err(&refusal), self.store.durable()))
                });
            }
        };
        let render = render.or(returned);
        match result {
            JobResult::Stored(answer) => new_answer(answer),
            JobResult::Replayed(answer) => self.replay(answer, render),
            JobResult::Decided(result, revision) => render
                .map_or_else(without_renderer, |render| {
                    new_answer((render)(result.as_ref().as_ref(), revision))
                }),
        }
    }

    /// Returns the stored answer to an earlier request.
    fn replay(&self, stored: ReplayedAnswer, render: Option<Render>) -> CommandAnswer {
        let shown = match stored {
            ReplayedAnswer::Whole(answer) => return CommandAnswer { answer, replayed: true },
            ReplayedAnswer::Shown(shown) => shown,
        };
        let Some(render) = render else { return without_renderer() };
        match self.render_again(&shown, &render) {
            Ok(answer) => CommandAnswer { answer, replayed: true },
            Err(refusal) => new_answer((render)(Err(&refusal), self.store.durable())),
        }
    }

    /// Waits until a command has a result and everything that it rests on is durable.
    pub(super) async fn settle(
        &self,
        result: oneshot::Receiver<CompletedJob>,
    ) -> Result<CompletedJob, Refusal> {
        let mut completed = self.waiters.wait(result).await.ok_or(Refusal::Stopping)?;
        let durable = std::mem::replace(&mut completed.durable, Ok(Revision::ZERO));
        self.require_durable(durable)?;
        Ok(completed)
    }

    /// Waits until a commit is durable.
    pub(in crate::app) async fn wait(&self, receipt: Receipt) -> Result<(), Refusal> {
        self.require_durable(receipt.await)
    }

    /// Stops the server if a commit did not become durable.
    fn require_durable(&self, durable: Result<Revision, StoreError>) -> Result<(), Refusal> {
        match durable {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a commit was not made durable; the server stops");
                self.stop.send_replace(Some(error.to_string()));
                Err(Refusal::Stopping)
            }
        }
    }
}

/// Returns an answer to a request that was not answered before.
pub(super) fn new_answer(answer: Answer) -> CommandAnswer {
    CommandAnswer { answer, replayed: false }
}

/// Returns the answer to a command whose renderer was lost with the executor: it has no body.
pub(super) fn without_renderer() -> CommandAnswer {
    new_answer(Answer { status: 503, headers: Vec::new(), body: bytes::Bytes::new() })
}
