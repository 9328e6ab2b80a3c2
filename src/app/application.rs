//! The application as a whole: how it starts, what it answers, how it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::access::TokenCaches;
use super::clock::Clock;
use super::feed::Feed;
use super::passwords::Passwords;
use super::pipeline::admission::Permit;
use super::pipeline::answers::{self, AnswerLookup, IdempotentRequest, ReplayedAnswer};
use super::pipeline::executor::Executor;
use super::pipeline::job::{CompletedJob, Job, JobResult, QueueItem};
use super::pipeline::queue::Queue;
use super::pipeline::waiters::Waiters;
use super::read_pool::ReadPool;
use super::tx_list::ReadersCache;
use super::work_queue::SearchCursors;
use super::{
    ClientInfo, CommandAnswer, Envelope, Fingerprint, Hook, Idempotency, MemoryBudget, OpenError,
    Render, RunningApp, Secret, Settings, StopSignal,
};
use crate::engine::{
    Actor, ChallengeKey, CheckedInput, Command, CommandInputs, FIRST_ADMIN, Outcome, Preconditions,
    RecordKey, Refusal, Rules,
};
use crate::records::value::{self, ClockV1};
use crate::records::{Definitions, Key, ReadError, RecordCache, Scope, read_fact};
use crate::store::{Receipt, Store, StoreError, View};
use crate::types::{
    Password, Revision, Role, SessionId, Span, Time, Token, TraceContext, Username,
};

/// How long those who follow the feed have to notice its end.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// A jump of the clock at the start that is worth a word.
const JUMP: Span = Span::from_hours(1);

/// Longest step by which the clock can be moved.
const ADVANCE_MAX: Span = Span::from_hours(10 * 366 * 24);

/// The application: everything that the HTTP layer and the command line can ask for.
pub struct App {
    pub(super) store: Arc<dyn Store>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) rules: Arc<Rules>,
    pub(super) secret: Secret,
    pub(super) clock: Arc<Clock>,
    pub(super) caches: Arc<TokenCaches>,
    pub(super) passwords: Passwords,
    pub(super) reads: ReadPool,
    pub(super) memory: MemoryBudget,
    pub(super) places: SearchCursors,
    pub(super) readers: ReadersCache,
    pub(super) hooks: Vec<Hook>,
    pub(super) secret_names: Option<BTreeSet<String>>,
    pub(super) feed: Arc<Feed>,
    pub(super) notifier: Arc<super::notifier::Notifier>,
    dev: bool,
    pub(super) queue: Queue,
    /// Permits for checks of large inputs.
    checks: tokio::sync::Semaphore,
    waiters: Waiters,
    /// The reader of the log's end.
    tail: Mutex<Option<tokio::task::JoinHandle<()>>>,
    stop: watch::Sender<Option<String>>,
}

impl App {
    /// Starts the executor on the store and, as long as nobody has ever been the user `admin`,
    /// creates that administrator or the link by which one chooses a password.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        store: Arc<dyn Store>,
        secret: Secret,
        settings: Settings,
    ) -> Result<RunningApp, OpenError> {
        let Settings {
            rules,
            dev,
            password_cost,
            admin_password,
            hooks,
            secret_names,
            memory,
            stands_at,
        } = settings;
        let clock = Arc::new(match stands_at {
            Some(at) => Clock::standing(at),
            None => open_clock(&*store)?,
        });
        // From the secret that lies beside the store, so that no backup of the store makes codes.
        let challenge_key = ChallengeKey::new(secret.digest("one-time codes", &[]));
        let rules = Rules { challenge_key, ..rules };
        let caches = Arc::new(TokenCaches::new(memory.token_cache_bytes()));
        let rules = Arc::new(rules);
        let definitions = Arc::new(Definitions::new(memory.definition_cache_bytes()));
        let notifier = Arc::new(super::notifier::Notifier::new());
        let (stop, stopped) = watch::channel(None);
        let executor = Executor::new(
            Arc::clone(&store),
            Arc::clone(&definitions),
            Arc::clone(&rules),
            Arc::clone(&clock),
            Arc::clone(&caches),
            Arc::clone(&notifier),
            RecordCache::new(memory.record_cache_bytes()),
        );
        let no_thread = |source| OpenError::File { path: "a thread".to_owned(), source };
        let queue = Queue::start(executor, memory.command_queue_bytes(), stop.clone())
            .map_err(no_thread)?;
        let passwords = Passwords::start(password_cost).map_err(no_thread)?;
        let reads = ReadPool::start().map_err(no_thread)?;
        let feed = Arc::new(Feed::new(
            Arc::clone(&store),
            Arc::clone(&definitions),
            memory.log_cache_bytes(),
        ));
        let tail = tokio::spawn(Arc::clone(&feed).run());
        let app = Arc::new(Self {
            store,
            definitions,
            rules,
            secret,
            clock,
            caches,
            passwords,
            reads,
            memory,
            places: SearchCursors::default(),
            readers: ReadersCache::default(),
            hooks,
            secret_names,
            feed,
            notifier,
            dev,
            queue,
            checks: tokio::sync::Semaphore::new(1),
            waiters: Waiters::default(),
            tail: Mutex::new(Some(tail)),
            stop,
        });
        let set_up = app.set_up(admin_password).await?;
        Ok(RunningApp { app, set_up, stopped: stopped_by(stopped) })
    }

    /// Takes no more commands, finishes those it has, and ends the executor. What was staged is
    /// on its way to the disk; closing the store waits for that.
    pub async fn close(&self) {
        self.queue.close().await;
        self.feed.close();
        if timeout(LEAVE_TIME, self.feed.emptied()).await.is_err() {
            tracing::warn!("somebody still follows the feed");
        }
        self.reads.close();
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tail) = tail {
            tail.abort();
            // Cancelled is what it shall be.
            drop(tail.await);
        }
    }

    /// The server's time: never back, moved by [`App::advance_clock`].
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The threads for reads that may take a while.
    #[must_use]
    pub const fn reads(&self) -> &ReadPool {
        &self.reads
    }

    /// The memory that all of it may take.
    #[must_use]
    pub const fn memory(&self) -> MemoryBudget {
        self.memory
    }

    /// The rules that the application was opened with.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The fingerprint of a request for its Idempotency-Key.
    #[must_use]
    pub fn fingerprint(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Fingerprint {
        let parts = [method.as_bytes(), path.as_bytes(), query.as_bytes(), body];
        Fingerprint(self.secret.digest("request", &parts))
    }

    /// The same for a request whose meaning depends on the session that sends it (`current`): from
    /// another session of the same user it is another request.
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

    /// Does a command, in its turn, exactly once for its Idempotency-Key. The answer comes when
    /// everything that it rests on is durable. When the future is dropped the command still
    /// happens, if it was taken.
    pub async fn execute(&self, command: Command, envelope: Envelope) -> CommandAnswer {
        self.finish(self.begin(command, envelope)).await
    }

    /// A command is near: what must be awake for its commit is woken while it is still read.
    pub fn anticipate(&self) {
        self.store.anticipate();
    }

    /// Has a command taken into the queue, unless a password must be hashed first or it is answered
    /// without; [`App::finish`] waits for what comes of it. Apart, so that whoever waits keeps
    /// little: what a command needs is moved as seldom as can be.
    #[must_use]
    pub fn begin(&self, command: Command, envelope: Envelope) -> PendingCommand {
        let Envelope { actor, client, request, route, idempotency, preconditions, render } =
            envelope;
        let idempotent = match self.idempotent_request(&command, &actor, idempotency) {
            Ok(idempotent) => idempotent,
            Err(refusal) => return self.refused(&render, &refusal),
        };
        let is_long = Self::is_long_to_check(&command);
        if command.hashes() || is_long {
            // What waits to be checked is counted like what waits in the queue.
            let permit = match is_long.then(|| self.queue.admit(&actor, None, &command)) {
                Some(Err(refusal)) => return self.refused(&render, &refusal),
                permit => permit.and_then(Result::ok),
            };
            let ask = PreparingCommand {
                command,
                actor,
                client,
                request,
                route,
                idempotent,
                preconditions,
                render,
                permit,
            };
            return PendingCommand(PendingState::Preparing(Box::new(ask)));
        }
        match self.mint(&command, &actor, &client) {
            Ok(inputs) => {
                let inputs = CommandInputs { preconditions, ..inputs };
                self.take(Job::new(command, actor, inputs, request, idempotent), route, render)
            }
            Err(refusal) => self.refused(&render, &refusal),
        }
    }

    /// Notes the trace of the caller's that a request belongs to: the calls that it causes go on with
    /// it. Before its command is begun.
    pub fn note_trace(&self, request: &Arc<str>, trace: TraceContext) {
        self.notifier.traces.note(request, trace);
    }

    /// The answer to a command that was begun, when everything that it rests on is durable.
    pub async fn finish(&self, PendingCommand(stage): PendingCommand) -> CommandAnswer {
        match stage {
            PendingState::CommandAnswer(answered) => answered,
            // Boxed: it is seldom, and its room would be made and moved for every command.
            PendingState::Preparing(ask) => Box::pin(self.finish_preparing(*ask)).await,
            PendingState::Queued { done, spare } => self.answered(done, spare).await,
        }
    }

    async fn finish_preparing(&self, ask: PreparingCommand) -> CommandAnswer {
        let PreparingCommand {
            command,
            actor,
            client,
            request,
            route,
            idempotent,
            preconditions,
            render,
            permit,
        } = ask;
        if let Some(idempotent) = &idempotent {
            // The executor looks again, in order; this spares the work of hashing a password for
            // a request that was answered long ago, and that of checking a large input again.
            let now = self.clock.now();
            let known =
                answers::find_answer(&*self.store, View::Committed, idempotent, Vec::new(), now);
            if let Ok(Ok(AnswerLookup::CommandAnswer(kept, _))) = self.guard(known) {
                return self.replayed(kept, Some(render));
            }
        }
        let (command, checked) = self.check_aside(command).await;
        let begun = match self.prepare(&command, &actor, &client).await {
            Ok(inputs) => {
                let inputs = CommandInputs { checked, preconditions, ..inputs };
                let (mut job, done) = Job::new(command, actor, inputs, request, idempotent);
                job.permit = permit;
                self.take((job, done), route, render)
            }
            Err(refusal) => self.refused(&render, &refusal),
        };
        match begun.0 {
            PendingState::Queued { done, spare } => self.answered(done, spare).await,
            PendingState::CommandAnswer(answered) => answered,
            PendingState::Preparing(_) => unanswered(),
        }
    }

    /// Checks a large input on a blocking thread, so that it delays neither the executor nor the
    /// threads that serve connections. One at a time, since a machine has few cores.
    async fn check_aside(&self, command: Command) -> (Command, Option<Arc<CheckedInput>>) {
        if !Self::is_long_to_check(&command) {
            return (command, None);
        }
        // Never closed.
        let turn = self.checks.acquire().await;
        let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
        let command = Arc::new(command);
        let checks = Arc::clone(&command);
        let checking = tokio::task::spawn_blocking(move || {
            // What could not be read is found out again by who decides.
            let checked =
                super::pipeline::prepare::check(&*store, &definitions, &checks).ok().flatten();
            checked.map(Arc::new)
        });
        let checked = checking.await.ok().flatten();
        drop(turn);
        (Arc::unwrap_or_clone(command), checked)
    }

    /// Puts a job into the queue. Without a key nothing is kept, and the caller renders, not the
    /// executor.
    fn take(
        &self,
        asked: (Job, oneshot::Receiver<CompletedJob>),
        route: &'static str,
        render: Render,
    ) -> PendingCommand {
        let (mut job, done) = asked;
        job.route = route;
        let spare = if job.keyed.is_some() {
            job.render = Some(render);
            None
        } else {
            Some(render)
        };
        match self.enqueue(job) {
            Ok(()) => PendingCommand(PendingState::Queued { done, spare }),
            Err((job, refusal)) => match spare.or(job.render) {
                Some(render) => self.refused(&render, &refusal),
                None => PendingCommand(PendingState::CommandAnswer(unanswered())),
            },
        }
    }

    fn refused(&self, render: &Render, refusal: &Refusal) -> PendingCommand {
        PendingCommand(PendingState::CommandAnswer(new_answer((render)(
            Err(refusal),
            self.store.durable(),
        ))))
    }

    async fn answered(
        &self,
        done: oneshot::Receiver<CompletedJob>,
        spare: Option<Render>,
    ) -> CommandAnswer {
        match self.settle(done).await {
            Ok(CompletedJob { end: JobResult::Stored(answer), .. }) => new_answer(answer),
            Ok(CompletedJob { end: JobResult::Replayed(kept), render, .. }) => {
                self.replayed(kept, spare.or(render))
            }
            Ok(CompletedJob { end: JobResult::Decided(result, revision), render, .. }) => {
                spare.or(render).map_or_else(unanswered, |render| {
                    new_answer((render)(result.as_ref().as_ref(), revision))
                })
            }
            Err(refusal) => spare.map_or_else(unanswered, |render| {
                new_answer((render)(Err(&refusal), self.store.durable()))
            }),
        }
    }

    /// The stored answer to an earlier request.
    fn replayed(&self, kept: ReplayedAnswer, render: Option<Render>) -> CommandAnswer {
        let stored = match kept {
            ReplayedAnswer::Whole(answer) => return CommandAnswer { answer, replayed: true },
            ReplayedAnswer::Shown(stored) => stored,
        };
        let Some(render) = render else { return unanswered() };
        match self.render_again(&stored, &render) {
            Ok(answer) => CommandAnswer { answer, replayed: true },
            Err(refusal) => new_answer((render)(Err(&refusal), self.store.durable())),
        }
    }

    /// Moves the clock forward, in `--dev` and for an administrator, and answers with the new
    /// time when all that is due by then has happened.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::InvalidInput`], [`Refusal::Stopping`].
    pub async fn advance_clock(&self, actor: &Actor, by: Span) -> Result<Time, Refusal> {
        if !self.dev {
            return Err(Refusal::NotFound("clock to move: the server was not started with --dev"));
        }
        if !actor.is_admin() {
            return Err(Refusal::NotAllowed("this needs the role abide:admin"));
        }
        if by > ADVANCE_MAX {
            let message = format!("must be at most {ADVANCE_MAX}");
            let error = crate::engine::FieldError::new("/advance", "out-of-range", message);
            return Err(Refusal::InvalidInput(vec![error]));
        }
        let (reply, done) = oneshot::channel();
        self.queue.enqueue(QueueItem::Advance { by, reply }).map_err(|(_, refusal)| refusal)?;
        let receipt = done.await.map_err(|_| Refusal::Stopping)?;
        self.wait(receipt).await?;
        Ok(self.clock.now())
    }

    /// Does a command for the server itself or without an answer of its own: with no
    /// Idempotency-Key and nothing to render.
    ///
    /// # Errors
    /// Whatever refuses it.
    pub async fn call(&self, command: Command, actor: Actor) -> Result<Outcome, Refusal> {
        self.call_from(command, actor, &ClientInfo::default()).await
    }

    /// The same for a client.
    pub(super) async fn call_from(
        &self,
        command: Command,
        actor: Actor,
        client: &ClientInfo,
    ) -> Result<Outcome, Refusal> {
        let inputs = self.prepare(&command, &actor, client).await?;
        let (job, done) = Job::new(command, actor, inputs, "".into(), None);
        self.enqueue(job).map_err(|(_, refusal)| refusal)?;
        self.settle(done).await?.result()
    }

    /// Lets the audit log know of something. Nobody waits for it, and a full queue loses it: an
    /// audit of denials must not be a way to stop the server.
    pub(super) fn note(&self, command: Command, actor: Actor) {
        let mint = self.mint(&command, &actor, &ClientInfo::default());
        let Ok(inputs) = mint else { return };
        let (job, _) = Job::new(command, actor, inputs, "".into(), None);
        if self.enqueue(job).is_err() {
            tracing::warn!("a denial is missing in the audit log: the queue is full");
        }
    }

    /// What was read, or, when it could not be, the end of the process: nothing that rests on a
    /// store that cannot be read is right.
    pub(super) fn guard<T>(&self, read: Result<T, ReadError>) -> Result<T, Refusal> {
        read.map_err(|error| {
            tracing::error!(%error, "the store cannot be read: the server stops");
            self.stop.send_replace(Some(error.to_string()));
            Refusal::Stopping
        })
    }

    fn enqueue(&self, mut job: Job) -> Result<(), (Box<Job>, Refusal)> {
        if job.permit.is_none() {
            let address = job.inputs.address.as_deref();
            match self.queue.admit(&job.actor, address, &job.command) {
                Ok(permit) => job.permit = Some(permit),
                Err(refusal) => return Err((Box::new(job), refusal)),
            }
        }
        self.queue.enqueue(QueueItem::Command(Box::new(job))).map_err(
            |(work, refusal)| match work {
                QueueItem::Command(job) => (job, refusal),
                QueueItem::Advance { .. } | QueueItem::Close => unreachable!("a command was put"),
            },
        )
    }

    /// Waits until a command is done and all that it rests on is durable.
    async fn settle(&self, done: oneshot::Receiver<CompletedJob>) -> Result<CompletedJob, Refusal> {
        let mut done = self.waiters.wait(done).await.ok_or(Refusal::Stopping)?;
        let durable = std::mem::replace(&mut done.durable, Ok(Revision::ZERO));
        self.known(durable)?;
        Ok(done)
    }

    async fn wait(&self, receipt: Receipt) -> Result<(), Refusal> {
        self.known(receipt.await)
    }

    /// What is known of a commit: durable, or the end of the process.
    fn known(&self, durable: Result<Revision, StoreError>) -> Result<(), Refusal> {
        match durable {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a commit was not made durable: the server stops");
                self.stop.send_replace(Some(error.to_string()));
                Err(Refusal::Stopping)
            }
        }
    }

    fn idempotent_request(
        &self,
        command: &Command,
        actor: &Actor,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<IdempotentRequest>, Refusal> {
        let Some(Idempotency { key, fingerprint }) = idempotency else { return Ok(None) };
        let scope = Scope::of(actor).filter(|_| !command.answers_with_secret());
        let scope = scope.ok_or(Refusal::IdempotencyKeyNotSupported)?;
        // Under a transaction a key is that transaction's: the same one may be used in another.
        let digest = match command.transaction() {
            None => self.secret.digest("idempotency key", &[key.as_bytes()]),
            Some(tx) => {
                let parts: [&[u8]; 2] = [&tx.bits().to_be_bytes(), key.as_bytes()];
                self.secret.digest("idempotency key of a transaction", &parts)
            }
        };
        Ok(Some(IdempotentRequest { scope, digest, fingerprint: fingerprint.0 }))
    }

    /// The first administrator: created with a password, or by a link that is handed out once.
    async fn set_up(&self, password: Option<Password>) -> Result<Option<Token>, OpenError> {
        let refuse = |refusal: Refusal| OpenError::Refused(refusal.to_string());
        let username: Username =
            FIRST_ADMIN.parse().map_err(|_| refuse(Refusal::NotFound("user")))?;
        let holder = RecordKey::Name(username.clone());
        if read_fact(&*self.store, View::Committed, &holder)?.is_some() {
            if password.is_some() {
                tracing::warn!(
                    "ABIDE_ADMIN_PASSWORD is ignored: the user {FIRST_ADMIN} exists already and keeps \
                     its password"
                );
            }
            return Ok(None);
        }
        let Some(password) = password else {
            return match self.call(Command::MakeSetUpLink, Actor::System).await {
                Ok(Outcome::LinkMade { link, .. }) => Ok(Some(link)),
                Ok(_) => Ok(None),
                Err(refusal) => Err(refuse(refusal)),
            };
        };
        let roles = Some(vec![Role::admin()]);
        let register = Command::Register { username, password, name: None, roles };
        match self.call(register, Actor::System).await {
            Ok(_) => Ok(None),
            Err(Refusal::InvalidInput(errors)) => {
                let what: Vec<_> = errors.into_iter().map(|error| error.message).collect();
                Err(OpenError::Refused(format!("ABIDE_ADMIN_PASSWORD {}", what.join(", "))))
            }
            Err(refusal) => Err(refuse(refusal)),
        }
    }
}

/// A command on its way ([`App::begin`]).
pub struct PendingCommand(PendingState);

enum PendingState {
    /// It needs no turn.
    CommandAnswer(CommandAnswer),
    /// A password must be hashed first, or a large input checked.
    Preparing(Box<PreparingCommand>),
    /// It is in the queue. Who renders, where no answer is kept.
    Queued { done: oneshot::Receiver<CompletedJob>, spare: Option<Render> },
}

struct PreparingCommand {
    command: Command,
    actor: Actor,
    client: ClientInfo,
    request: Arc<str>,
    route: &'static str,
    idempotent: Option<IdempotentRequest>,
    preconditions: Option<Box<Preconditions>>,
    render: Render,
    permit: Option<Permit>,
}

fn new_answer(answer: super::Answer) -> CommandAnswer {
    CommandAnswer { answer, replayed: false }
}

/// For a command whose renderer went down with the executor: an answer without words.
fn unanswered() -> CommandAnswer {
    new_answer(super::Answer { status: 503, headers: Vec::new(), body: bytes::Bytes::new() })
}

fn stopped_by(mut stopped: watch::Receiver<Option<String>>) -> StopSignal {
    StopSignal(Box::pin(async move {
        let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The application was dropped without a failure: there is nothing to stop for.
            None => std::future::pending().await,
        }
    }))
}

/// The clock as the store left it.
fn open_clock(store: &dyn Store) -> Result<Clock, OpenError> {
    let marks = match store.get(View::Committed, &Key::Clock.encode())? {
        Some(row) => value::read_plain(&Key::Clock, &row.value).map_err(ReadError::from)?,
        None => ClockV1::default(),
    };
    let durable = store.durable();
    let before_last = Revision::new(durable.get().saturating_sub(1));
    // The log may have been cut before its last commit; the marks are there then.
    let last = store.read_log(before_last, 1).unwrap_or_default();
    let last_ms = last.first().map_or(0, |entry| entry.at_ms);
    let high = Time::from_ms(marks.high_ms.max(last_ms));
    let (clock, jump) = Clock::new(high, Span::from_ms(marks.advanced_ms));
    if jump > JUMP {
        tracing::warn!(
            last = %high,
            now = %clock.now(),
            "the clock is ahead of the last commit by {} s: the server was down, or the clock was \
             set forward; what is due by now happens first",
            jump.ms() / 1000
        );
    }
    Ok(clock)
}
