//! The application: what it consists of, how it starts and how it ends. What it can do is in
//! `pipeline` (commands), `reads` and its neighbours (queries), `feed`, and `delivery`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::api::{AppSettings, OpenError};
use super::clock::ServerClock;
use super::feed::Feed;
use super::hooks::Hook;
use super::memory::MemoryBudget;
use super::notifier::Notifier;
use super::passwords::Passwords;
use super::pipeline::executor::Executor;
use super::pipeline::job::QueueItem;
use super::pipeline::queue::Queue;
use super::pipeline::waiters::Waiters;
use super::read_pool::ReadPool;
use super::readers_cache::ReadersCache;
use super::search_cursors::SearchCursors;
use super::secret::Secret;
use super::token_caches::TokenCaches;
use crate::engine::{
    Actor, ChallengeKey, Command, FIRST_ADMIN, InputError, Outcome, RecordKey, Refusal, Rules,
};
use crate::records::value::{self, ClockV1};
use crate::records::{Definitions, Key, ReadError, RecordCache, read_record};
use crate::store::{Store, View};
use crate::types::{Password, Revision, Role, Span, Time, Token, Username};

/// Time that subscribers of the feed have to notice its end.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// Jump of the clock at the start that is logged.
const JUMP: Span = Span::from_hours(1);

/// Longest step by which the clock can be moved.
const ADVANCE_MAX: Span = Span::from_hours(10 * 366 * 24);

/// The application: everything that the HTTP layer and the command line can ask for.
pub struct App {
    pub(super) store: Arc<dyn Store>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) rules: Arc<Rules>,
    pub(super) secret: Secret,
    pub(super) clock: Arc<ServerClock>,
    pub(super) caches: Arc<TokenCaches>,
    pub(super) passwords: Passwords,
    pub(super) reads: ReadPool,
    pub(super) memory: MemoryBudget,
    pub(super) search_cursors: SearchCursors,
    pub(super) readers: ReadersCache,
    pub(super) hooks: Vec<Hook>,
    pub(super) secret_names: Option<BTreeSet<String>>,
    pub(super) feed: Arc<Feed>,
    pub(super) notifier: Arc<Notifier>,
    dev: bool,
    pub(super) queue: Queue,
    /// One permit: large inputs are checked one at a time.
    pub(super) checks: tokio::sync::Semaphore,
    pub(super) waiters: Waiters,
    /// The task that reads the end of the log.
    tail: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Receives the reason for which the process must end.
    pub(super) stop: watch::Sender<Option<String>>,
}

/// An application that runs.
pub struct RunningApp {
    /// The application.
    pub app: Arc<App>,
    /// Single-use secret with which the user `admin` chooses a password ([`Command::UseLink`]), at
    /// the first start without [`AppSettings::admin_password`]. Shown once and stored nowhere.
    pub set_up: Option<Token>,
    /// Resolves when the process must end.
    pub stopped: StopSignal,
}

/// Future that resolves with the reason when the process must end with an error: the store or the
/// executor has failed.
pub struct StopSignal(Pin<Box<dyn Future<Output = String> + Send>>);

impl Future for StopSignal {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        self.0.as_mut().poll(cx)
    }
}

impl App {
    /// Starts the application on a store. If the user `admin` never existed, creates that
    /// administrator, or the link by which one chooses a password.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        store: Arc<dyn Store>,
        secret: Secret,
        settings: AppSettings,
    ) -> Result<RunningApp, OpenError> {
        let admin_password = settings.admin_password.clone();
        let (stop, stopped) = watch::channel(None);
        let app = Arc::new(Self::start(store, secret, settings, stop)?);
        let set_up = app.set_up(admin_password).await?;
        Ok(RunningApp { app, set_up, stopped: stopped_by(stopped) })
    }

    fn start(
        store: Arc<dyn Store>,
        secret: Secret,
        settings: AppSettings,
        stop: watch::Sender<Option<String>>,
    ) -> Result<Self, OpenError> {
        let AppSettings {
            rules, dev, password_cost, hooks, secret_names, memory, stands_at, ..
        } = settings;
        let clock = Arc::new(match stands_at {
            Some(at) => ServerClock::standing(at),
            None => open_clock(&*store)?,
        });
        // Derived from the secret beside the store, so that a backup of the store makes no codes.
        let challenge_key = ChallengeKey::new(secret.digest("one-time codes", &[]));
        let rules = Arc::new(Rules { challenge_key, ..rules });
        let caches = Arc::new(TokenCaches::new(memory.token_cache_bytes()));
        let definitions = Arc::new(Definitions::new(memory.definition_cache_bytes()));
        let notifier = Arc::new(Notifier::new());
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
        Ok(Self {
            store,
            definitions,
            rules,
            secret,
            clock,
            caches,
            passwords,
            reads,
            memory,
            search_cursors: SearchCursors::default(),
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
        })
    }

    /// Accepts no more commands, executes the accepted ones, and ends the executor. What was staged
    /// is on its way to the disk; closing the store waits for that.
    pub async fn close(&self) {
        self.queue.close().await;
        self.feed.close();
        if timeout(LEAVE_TIME, self.feed.emptied()).await.is_err() {
            tracing::warn!("the feed still has subscribers");
        }
        self.reads.close();
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tail) = tail {
            tail.abort();
            // The result says only that the task was aborted.
            drop(tail.await);
        }
    }

    /// Returns the server's time. It never goes back and is moved by [`App::advance_clock`].
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Returns the threads for reads that may take long.
    #[must_use]
    pub const fn reads(&self) -> &ReadPool {
        &self.reads
    }

    /// Returns the memory budget.
    #[must_use]
    pub const fn memory(&self) -> MemoryBudget {
        self.memory
    }

    /// Returns the rules that the application was opened with.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Moves the clock forward, with `--dev` and for an administrator. Returns the new time when
    /// everything that is due by then has happened.
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
            let error = InputError::new("/advance", "out-of-range", message);
            return Err(Refusal::InvalidInput(vec![error]));
        }
        let (reply, done) = oneshot::channel();
        let item = QueueItem::MoveClock { by, reply };
        self.queue.enqueue(item).map_err(|(_, refusal)| refusal)?;
        let receipt = done.await.map_err(|_| Refusal::Stopping)?;
        self.wait(receipt).await?;
        Ok(self.clock.now())
    }

    /// Returns what was read. Stops the server if the store cannot be read, since nothing that
    /// rests on it would be right.
    pub(super) fn guard<T>(&self, read: Result<T, ReadError>) -> Result<T, Refusal> {
        read.map_err(|error| {
            tracing::error!(%error, "the store cannot be read; the server stops");
            self.stop.send_replace(Some(error.to_string()));
            Refusal::Stopping
        })
    }

    /// Creates the first administrator, with a password or by a link that is shown once.
    async fn set_up(&self, password: Option<Password>) -> Result<Option<Token>, OpenError> {
        let refuse = |refusal: Refusal| OpenError::Refused(refusal.to_string());
        let username: Username =
            FIRST_ADMIN.parse().map_err(|_| refuse(Refusal::NotFound("user")))?;
        let holder = RecordKey::Name(username.clone());
        if read_record(&*self.store, View::Committed, &holder)?.is_some() {
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

fn stopped_by(mut stopped: watch::Receiver<Option<String>>) -> StopSignal {
    StopSignal(Box::pin(async move {
        let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The application was dropped without a failure.
            None => std::future::pending().await,
        }
    }))
}

/// Opens the clock with the marks that the store holds.
fn open_clock(store: &dyn Store) -> Result<ServerClock, OpenError> {
    let marks = match store.get(View::Committed, &Key::Clock.encode())? {
        Some(row) => value::read_plain(&Key::Clock, &row.value).map_err(ReadError::from)?,
        None => ClockV1::default(),
    };
    let durable = store.durable();
    let before_last = Revision::new(durable.get().saturating_sub(1));
    // The log may have been cut before its last commit. The marks suffice then.
    let last = store.read_log(before_last, 1).unwrap_or_default();
    let last_ms = last.first().map_or(0, |entry| entry.at_ms);
    let high = Time::from_ms(marks.high_ms.max(last_ms));
    let (clock, jump) = ServerClock::new(high, Span::from_ms(marks.advanced_ms));
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
