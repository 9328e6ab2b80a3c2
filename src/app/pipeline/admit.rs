//! Stage `admit`: a request becomes a job with its share of the queue, or is refused.

use std::sync::Arc;

use super::answers::IdempotentRequest;
use super::job::{CommandJob, QueueItem};
use super::pending::{PendingCommand, PendingState, UnpreparedCommand};
use super::respond::{new_answer, without_renderer};
use crate::app::App;
use crate::app::api::{ClientInfo, CommandAnswer, Envelope, Fingerprint, Idempotency, Render};
use crate::engine::{Actor, Command, CommandInputs, Outcome, Refusal};
use crate::records::Scope;
use crate::types::{SessionId, TraceContext};

impl App {
    /// Executes a command exactly once for its Idempotency-Key. The answer comes when everything
    /// that it rests on is durable. If the future is dropped, an admitted command is executed all
    /// the same.
    pub async fn execute(&self, command: Command, envelope: Envelope) -> CommandAnswer {
        self.respond(self.admit(command, envelope)).await
    }

    /// Wakes the threads that the commit of a command will need, while its request is still read.
    pub fn anticipate(&self) {
        self.store.anticipate();
    }

    /// Notes the caller's trace of a request, so that the calls which the request causes continue
    /// it. Called before the command is admitted.
    pub fn note_trace(&self, request: &Arc<str>, trace: TraceContext) {
        self.notifier.traces.note(request, trace);
    }

    /// Returns the fingerprint of a request for its Idempotency-Key.
    #[must_use]
    pub fn fingerprint(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Fingerprint {
        let parts = [method.as_bytes(), path.as_bytes(), query.as_bytes(), body];
        Fingerprint(self.secret.digest("request", &parts))
    }

    /// Returns the fingerprint of a request whose meaning depends on the session that sends it
    /// (`current`): from another session of the same user it is another request.
    #[must_use]
    pub fn fingerprint_in(
        &self,
        session: SessionId,
        (method, path, query, body): (&str, &str, &str, &[u8]),
    ) -> Fingerprint {
        let session = session.bits().to_be_bytes();
        let parts = [method.as_bytes(), path.as_bytes(), query.as_bytes(), body, &session];
        Fingerprint(self.secret.digest("request of a session", &parts))
    }

    /// Admits a command: puts it into the queue, unless it must be prepared first or is refused.
    /// [`App::respond`] waits for the answer. Both are apart, so that a command is moved as seldom
    /// as possible and what waits is small.
    #[must_use]
    pub fn admit(&self, command: Command, envelope: Envelope) -> PendingCommand {
        let Envelope { actor, client, request, route, idempotency, preconditions, render } =
            envelope;
        let key = match self.idempotent_request(&command, &actor, idempotency) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(&render, &refusal),
        };
        let is_long = Self::is_long_to_check(&command);
        if command.hashes() || is_long {
            // A large input takes its share of the queue before it is checked.
            let permit = match is_long.then(|| self.queue.reserve(&actor, None, &command)) {
                Some(Err(refusal)) => return self.refuse(&render, &refusal),
                permit => permit.and_then(Result::ok),
            };
            let unprepared = UnpreparedCommand {
                command,
                actor,
                client,
                request,
                route,
                key,
                preconditions,
                render,
                permit,
            };
            return PendingCommand(PendingState::Preparing(Box::new(unprepared)));
        }
        match self.new_inputs(&command, &actor, &client) {
            Ok(inputs) => {
                let inputs = CommandInputs { preconditions, ..inputs };
                let (job, result) = CommandJob::new(command, actor, inputs, request, key);
                self.queue_job(CommandJob { route, ..job }, result, render)
            }
            Err(refusal) => self.refuse(&render, &refusal),
        }
    }

    /// Puts a job into the queue. An answer that is not stored is rendered by the caller, not by
    /// the executor.
    pub(super) fn queue_job(
        &self,
        mut job: CommandJob,
        result: tokio::sync::oneshot::Receiver<super::job::CompletedJob>,
        render: Render,
    ) -> PendingCommand {
        let render = if job.key.is_some() {
            job.render = Some(render);
            None
        } else {
            Some(render)
        };
        match self.enqueue(job) {
            Ok(()) => PendingCommand(PendingState::Queued { result, render }),
            Err((job, refusal)) => match render.or(job.render) {
                Some(render) => self.refuse(&render, &refusal),
                None => PendingCommand(PendingState::Answered(without_renderer())),
            },
        }
    }

    pub(super) fn refuse(&self, render: &Render, refusal: &Refusal) -> PendingCommand {
        let answer = (render)(Err(refusal), self.store.durable());
        PendingCommand(PendingState::Answered(new_answer(answer)))
    }

    /// Executes a command of the server itself, or one without an answer of its own: it has no
    /// Idempotency-Key and no renderer.
    ///
    /// # Errors
    /// Every refusal of the command.
    pub async fn call(&self, command: Command, actor: Actor) -> Result<Outcome, Refusal> {
        self.call_from(command, actor, &ClientInfo::default()).await
    }

    /// Executes such a command on behalf of a client.
    pub(in crate::app) async fn call_from(
        &self,
        command: Command,
        actor: Actor,
        client: &ClientInfo,
    ) -> Result<Outcome, Refusal> {
        let inputs = self.prepare(&command, &actor, client).await?;
        let (job, result) = CommandJob::new(command, actor, inputs, "".into(), None);
        self.enqueue(job).map_err(|(_, refusal)| refusal)?;
        self.settle(result).await?.outcome()
    }

    /// Writes a denial into the audit log. Nothing waits for it, and a full queue loses it, so that
    /// denials cannot stop the server.
    pub(in crate::app) fn audit(&self, command: Command, actor: Actor) {
        let Ok(inputs) = self.new_inputs(&command, &actor, &ClientInfo::default()) else { return };
        let (job, _) = CommandJob::new(command, actor, inputs, "".into(), None);
        if self.enqueue(job).is_err() {
            tracing::warn!("queue is full; a denial is missing in the audit log");
        }
    }

    /// Puts a job into the queue, with its share of it. Returns the job if it is refused.
    fn enqueue(&self, mut job: CommandJob) -> Result<(), (Box<CommandJob>, Refusal)> {
        if job.permit.is_none() {
            let address = job.inputs.address.as_deref();
            match self.queue.reserve(&job.actor, address, &job.command) {
                Ok(permit) => job.permit = Some(permit),
                Err(refusal) => return Err((Box::new(job), refusal)),
            }
        }
        self.queue.enqueue(QueueItem::Command(Box::new(job))).map_err(
            |(item, refusal)| match item {
                QueueItem::Command(job) => (job, refusal),
                QueueItem::MoveClock { .. } | QueueItem::Close => {
                    unreachable!("a command was queued")
                }
            },
        )
    }

    /// Returns the scope and hash of a command's Idempotency-Key.
    fn idempotent_request(
        &self,
        command: &Command,
        actor: &Actor,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<IdempotentRequest>, Refusal> {
        let Some(Idempotency { key, fingerprint }) = idempotency else { return Ok(None) };
        let scope = Scope::of(actor).filter(|_| !command.answers_with_secret());
        let scope = scope.ok_or(Refusal::IdempotencyKeyNotSupported)?;
        // A key of a request on a transaction is that transaction's: another may use the same one.
        let digest = match command.transaction() {
            None => self.secret.digest("idempotency key", &[key.as_bytes()]),
            Some(tx) => {
                let parts: [&[u8]; 2] = [&tx.bits().to_be_bytes(), key.as_bytes()];
                self.secret.digest("idempotency key of a transaction", &parts)
            }
        };
        Ok(Some(IdempotentRequest { scope, digest, fingerprint: fingerprint.0 }))
    }
}
