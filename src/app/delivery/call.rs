//! Calls to other services on their way: what is due is read from the store, begun, sent, and what
//! came of it handed to the executor.
//!
//! Nothing here is needed after a crash: what is due and what was on its way lies in the store. The
//! executor never waits for a call. Each destination has its own queue, so many attempts at once,
//! a rate, and a breaker: one that fails time after time is left alone for a while and then asked
//! once.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, json};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::destination::{AttemptHealth, Destination};
use super::excerpt::excerpt;
use super::panic::catch_panic;
use crate::app::App;
use crate::app::notifier::CallFigures;
use crate::engine::{
    Actor, CallAttempt, CallResult, CallState, Command, IndexEntry, Outcome, Record, RecordKey,
    Refusal, filled_ask,
};
use crate::outbound::{HttpClient, HttpRequest, HttpResponse, SendError, ServerAddress};
use crate::records::{Key, read_fact};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{Time, TxId, secret_name};

/// Calls that wait in memory for their turn; what is due beyond that waits in the store.
const WAITING_MAX: usize = 50_000;

/// One destination has at most this part of them, and this one whatever the others have: one that
/// does not answer, with ever so much that waits for it, takes no other's place.
const SHARE: usize = 10;
const SHARE_LEAST: usize = 200;

/// Most pages of what is due that are read before others have their turn: some milliseconds.
const PAGES_MAX: usize = 5;

/// How long the dispatcher sleeps at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most destinations of which failures are remembered while nothing waits for them.
const DESTINATIONS_MAX: usize = 10_000;

/// How long to wait before a command that found the queue full is tried again.
const BUSY_FOR: Duration = Duration::from_millis(20);

/// What calls may cost, and what they carry.
#[derive(Clone)]
pub struct CallSettings {
    /// Where this server is reached by others: what a callback's address begins with.
    pub public_url: String,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Most attempts at once.
    pub in_flight_max: usize,
    /// Most attempts at once at one destination.
    pub per_destination_max: usize,
    /// Most attempts a second at one destination; `None`: no limit.
    pub per_second: Option<u32>,
    /// About so many calls wait in memory for their turn.
    pub waiting_max: usize,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8080".to_owned(),
            secrets: BTreeMap::new(),
            in_flight_max: 2048,
            per_destination_max: 256,
            per_second: None,
            waiting_max: WAITING_MAX,
        }
    }
}

impl fmt::Debug for CallSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSettings")
            .field("public_url", &self.public_url)
            .field("secrets", &self.secrets.keys())
            .finish_non_exhaustive()
    }
}

/// Calls that are being made, until this is stopped.
pub struct CallWorker(JoinHandle<()>);

impl CallWorker {
    /// Makes no more. Attempts on their way are cut: they count as unknown.
    pub async fn stop(self) {
        self.0.abort();
        // It was aborted, or has ended by itself.
        drop(self.0.await);
    }
}

impl App {
    /// Begins to make the calls that are due.
    #[must_use]
    pub fn start_calls(self: &Arc<Self>, client: HttpClient, settings: CallSettings) -> CallWorker {
        let sender = Arc::new(CallSender { app: Arc::clone(self), client, settings });
        CallWorker(tokio::spawn(async move {
            // What is due and on its way lies in the store: whoever begins anew finds it there.
            while catch_panic(Dispatcher::new(Arc::clone(&sender)).run()).await.is_none() {
                tracing::error!("calls are begun anew after a panic; see the log above");
                tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await;
            }
        }))
    }

    /// What is measured of calls.
    #[must_use]
    pub fn call_figures(&self) -> CallFigures {
        self.notifier.figures()
    }

    /// The calls that are due by now, first the one that was due first, and when the next one is.
    /// For whoever makes calls by hand: scenarios of workflows.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn calls_due(&self) -> Result<DueCalls, Refusal> {
        let (found, next) = self.due_calls(Time::ZERO, self.now(), PAGE_ROWS_MAX)?;
        let calls = found.into_iter().map(|(_, tx, number)| (tx, number)).collect();
        Ok(DueCalls { calls, next })
    }

    /// Calls that are due from one time to another; when there are no more, the next one's time.
    fn due_calls(
        &self,
        from: Time,
        to: Time,
        most: usize,
    ) -> Result<(Vec<Due>, Option<Time>), Refusal> {
        let first = Key::IndexEntry(IndexEntry::CallDue(from, TxId::new(0), 0)).encode();
        let mut range = KeyRange::prefix(Key::CALLS_DUE);
        range.from = Bound::Included(first.into());
        let mut found = Vec::new();
        loop {
            let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.guard(page.map_err(Into::into))?;
            for row in &page.rows {
                let Some(Key::IndexEntry(IndexEntry::CallDue(due, tx, number))) =
                    Key::decode(&row.key)
                else {
                    continue;
                };
                if due > to {
                    return Ok((found, Some(due)));
                }
                found.push((due, tx, number));
                if found.len() >= most {
                    return Ok((found, Some(due)));
                }
            }
            let Some(next) = page.next else { return Ok((found, None)) };
            range.from = Bound::Excluded(next);
        }
    }

    /// Does a command for the server itself, however busy it is.
    ///
    /// # Errors
    /// What the engine refuses, and [`Refusal::Stopping`].
    pub async fn call_until_accepted(&self, command: Command) -> Result<Outcome, Refusal> {
        loop {
            match self.call(command.clone(), Actor::System).await {
                Err(Refusal::Busy { .. }) => {
                    tokio::time::sleep_until(Instant::now() + BUSY_FOR).await;
                }
                Err(Refusal::NoRoom) => tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await,
                done => return done,
            }
        }
    }
}

type Due = (Time, TxId, u32);

/// Calls that are due: the transaction and the call's number in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueCalls {
    /// First the one that was due first.
    pub calls: Vec<(TxId, u32)>,
    /// When the next one is.
    pub next: Option<Time>,
}

/// The key of what is due from a time on.
fn due_from(at: Time) -> Bytes {
    Key::IndexEntry(IndexEntry::CallDue(at, TxId::new(0), 0)).encode().into()
}

/// An attempt's place among those that are on their way: it is given back when its task ends,
/// however that ends.
struct InFlightCall {
    destination: Arc<str>,
    call: (TxId, u32),
    /// Whether it tries if a destination that was left alone answers again.
    tries: bool,
}

struct Dispatcher {
    sender: Arc<CallSender>,
    attempts: JoinSet<AttemptHealth>,
    /// The places that are taken, by the task that has each.
    in_flight: HashMap<Id, InFlightCall>,
    destinations: BTreeMap<Arc<str>, Destination>,
    /// Whose turn it was last: the others come before it when places are scarce.
    served: Arc<str>,
    /// What waits for its turn.
    queued: HashSet<(TxId, u32)>,
    /// What is on its way.
    out: HashSet<(TxId, u32)>,
    /// What was on its way and due again already when it was read: it is read again.
    again_from: Time,
    waiting: usize,
    /// Everything before this that is durable was read.
    next: Bound<Bytes>,
    next_due: Option<Time>,
}

impl Dispatcher {
    fn new(sender: Arc<CallSender>) -> Self {
        Self {
            sender,
            attempts: JoinSet::new(),
            in_flight: HashMap::new(),
            destinations: BTreeMap::new(),
            served: "".into(),
            queued: HashSet::new(),
            out: HashSet::new(),
            again_from: Time::MAX,
            waiting: 0,
            next: Bound::Included(due_from(Time::ZERO)),
            next_due: None,
        }
    }

    async fn run(mut self) {
        let app = Arc::clone(&self.sender.app);
        if self.sender.forget_lost().await.is_err() {
            return;
        }
        let mut notifier = app.notifier.staged.subscribe();
        // Whose commits may not have been durable yet when they were taken.
        let mut kept = Time::MAX;
        loop {
            // What was staged by now is durable before it is looked for.
            let staged = *notifier.borrow_and_update();
            if app.store.durable_at(staged).await.is_err() {
                return;
            }
            let rung = Time::from_ms(app.notifier.from.swap(u64::MAX, Ordering::AcqRel));
            self.back_to(due_from(rung.min(kept)));
            let Ok(more) = self.read() else { return };
            // By the next turn they are known.
            kept = if *notifier.borrow() == staged { Time::MAX } else { rung };
            let wake = self.start(&app);
            let Ok(refilled) = self.refill() else { return };
            let more = refilled || more;
            self.note(&app);
            tokio::select! {
                changed = notifier.changed() => if changed.is_err() { return },
                Some(done) = self.attempts.join_next_with_id() => {
                    self.done(done);
                    while let Some(done) = self.attempts.try_join_next_with_id() {
                        self.done(done);
                    }
                }
                () = tokio::task::yield_now(), if more => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// From here on it is read again.
    fn back_to(&mut self, key: Bytes) {
        if let Bound::Included(at) | Bound::Excluded(at) = &self.next
            && key <= *at
        {
            self.next = Bound::Included(key);
        }
    }

    /// Reads a part of what is due into the queues; whether there is more.
    fn read(&mut self) -> Result<bool, Refusal> {
        let app = Arc::clone(&self.sender.app);
        let now = app.now();
        let mut range = KeyRange::prefix(Key::CALLS_DUE);
        for _ in 0..PAGES_MAX {
            range.from = self.next.clone();
            let page = app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = app.guard(page.map_err(Into::into))?;
            self.next_due = None;
            for row in &page.rows {
                let Some(Key::IndexEntry(IndexEntry::CallDue(due, tx, number))) =
                    Key::decode(&row.key)
                else {
                    continue;
                };
                if due > now {
                    self.next_due = Some(due);
                    break;
                }
                self.queue(&app, due, (tx, number), &row.key)?;
            }
            match page.next {
                Some(next) if self.next_due.is_none() => self.next = Bound::Excluded(next),
                _ => {
                    self.next = Bound::Included(due_from(now));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Puts a call that is due into the queue of its destination, if there is room.
    fn queue(
        &mut self,
        app: &App,
        due: Time,
        call: (TxId, u32),
        key: &Bytes,
    ) -> Result<(), Refusal> {
        if self.out.contains(&call) {
            self.again_from = self.again_from.min(due);
            return Ok(());
        }
        if self.queued.contains(&call) {
            return Ok(());
        }
        let Some(name) = asked_of(app, call)? else { return Ok(()) };
        let most = self.share();
        let destination = self.destinations.entry(name.into()).or_default();
        if destination.queue.len() >= most || destination.more_from.is_some() {
            if destination.more_from.as_ref().is_none_or(|from| key < from) {
                destination.more_from = Some(key.clone());
            }
            return Ok(());
        }
        destination.queue.push_back(call);
        self.queued.insert(call);
        self.waiting += 1;
        Ok(())
    }

    /// How many may wait for one destination.
    fn share(&self) -> usize {
        let all = self.sender.settings.waiting_max;
        let part = if self.waiting < all { SHARE } else { SHARE_LEAST };
        (all / part).max(1)
    }

    /// Reads on what waits in the store for one that has room again, until it has its share;
    /// whether there may be more. Of the others nothing is there that was not read, and for this
    /// one nothing is read twice: all that is due costs as much as there is of it.
    fn refill(&mut self) -> Result<bool, Refusal> {
        let app = Arc::clone(&self.sender.app);
        let most = self.share();
        let has_room = |at: &Destination| at.queue.len() <= most / 2;
        let wanting = self.destinations.iter_mut().filter(|(_, at)| has_room(at));
        let wanting = wanting.filter(|(_, at)| at.more_from.is_some());
        let Some((name, at)) = wanting.min_by(|one, other| one.1.more_from.cmp(&other.1.more_from))
        else {
            return Ok(false);
        };
        let mut range = KeyRange::prefix(Key::CALLS_DUE);
        if let Some(from) = at.more_from.take() {
            range.from = Bound::Included(from);
        }
        for _ in 0..PAGES_MAX {
            let page = app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = app.guard(page.map_err(Into::into))?;
            for row in page.rows {
                let is_read_yet = match &self.next {
                    Bound::Included(next) => row.key < *next,
                    Bound::Excluded(last) => row.key <= *last,
                    Bound::Unbounded => false,
                };
                if !is_read_yet {
                    return Ok(true);
                }
                let Some(Key::IndexEntry(IndexEntry::CallDue(_, tx, number))) =
                    Key::decode(&row.key)
                else {
                    continue;
                };
                let call = (tx, number);
                if self.out.contains(&call) || self.queued.contains(&call) {
                    continue;
                }
                if asked_of(&app, call)?.as_deref() != Some(&**name) {
                    continue;
                }
                if at.queue.len() >= most {
                    at.more_from = Some(row.key);
                    return Ok(true);
                }
                at.queue.push_back(call);
                self.queued.insert(call);
                self.waiting += 1;
            }
            let Some(next) = page.next else { return Ok(true) };
            range.from = Bound::Excluded(next);
        }
        if let Bound::Excluded(last) = range.from {
            at.more_from = Some(last);
        }
        Ok(true)
    }

    /// Starts what may be started; when to look again.
    fn start(&mut self, app: &App) -> Instant {
        let now = Instant::now();
        let mut wake = now + LOOK_EVERY;
        if let Some(due) = self.next_due {
            wake = wake.min(now + Duration::from_millis(due.since(app.now()).ms().max(1)));
        }
        self.destinations.retain(|_, at| !at.is_idle(now));
        let settings = &self.sender.settings;
        let pause = settings.per_second.map(|rate| Duration::from_secs(1) / rate.max(1));
        let mut destinations: Vec<_> = self.destinations.iter_mut().collect();
        let behind = destinations.partition_point(|(name, _)| **name <= self.served);
        destinations.rotate_left(behind);
        for (name, destination) in destinations {
            while !destination.queue.is_empty() {
                if self.attempts.len() >= settings.in_flight_max {
                    return wake;
                }
                let tries = destination.is_left_alone();
                let most = if tries { 1 } else { settings.per_destination_max };
                if destination.out >= most {
                    break;
                }
                if let Some(not_before) = destination.not_before(now) {
                    wake = wake.min(not_before);
                    break;
                }
                let Some((tx, number)) = destination.queue.pop_front() else { break };
                self.served.clone_from(name);
                destination.sends(now, pause);
                self.waiting -= 1;
                self.queued.remove(&(tx, number));
                self.out.insert((tx, number));
                let sender = Arc::clone(&self.sender);
                let task = self.attempts.spawn(async move {
                    match catch_panic(sender.attempt(tx, number)).await {
                        Some(verdict) => verdict,
                        None => sender.lose(tx, number).await,
                    }
                });
                let place =
                    InFlightCall { destination: Arc::clone(name), call: (tx, number), tries };
                self.in_flight.insert(task.id(), place);
            }
        }
        wake
    }

    fn done(&mut self, done: Result<(Id, AttemptHealth), JoinError>) {
        let (task, verdict) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "an attempt at a call did not end by itself");
                (error.id(), AttemptHealth::Nothing)
            }
        };
        let Some(InFlightCall { destination: name, call, tries }) = self.in_flight.remove(&task)
        else {
            return;
        };
        self.out.remove(&call);
        let again_from = std::mem::replace(&mut self.again_from, Time::MAX);
        self.back_to(due_from(again_from));
        let Some(destination) = self.destinations.get_mut(&name) else { return };
        let now = Instant::now();
        destination.came(&name, verdict, tries, now);
        if self.destinations.len() > DESTINATIONS_MAX {
            self.destinations.retain(|_, at| at.is_needed(now));
        }
    }

    fn note(&self, app: &App) {
        let counters = &app.notifier.counters;
        let open = self.destinations.values().filter(|at| at.is_left_alone()).count();
        counters.in_flight.store(self.attempts.len() as u64, Ordering::Relaxed);
        counters.waiting.store(self.waiting as u64, Ordering::Relaxed);
        counters.breakers_open.store(open as u64, Ordering::Relaxed);
    }
}

/// The server that a call is made to, as its address means it and without what is asked of it;
/// `None`: there is no such call any more.
fn asked_of(app: &App, (tx, number): (TxId, u32)) -> Result<Option<String>, Refusal> {
    let read = read_fact(&*app.store, View::Committed, &RecordKey::Tx(tx));
    let Some((record, _)) = app.guard(read)? else { return Ok(None) };
    let Record::Tx(tx) = &*record else { return Ok(None) };
    let Some(call) = tx.call(number) else { return Ok(None) };
    let target = call.ask.url.parse::<Uri>().ok().and_then(|uri| ServerAddress::of(&uri).ok());
    Ok(Some(target.map_or_else(String::new, |target| target.to_string())))
}

/// Makes single attempts.
struct CallSender {
    app: Arc<App>,
    client: HttpClient,
    settings: CallSettings,
}

impl CallSender {
    /// Attempts that were on their way when the server ended are on no way now.
    async fn forget_lost(&self) -> Result<(), Refusal> {
        let mut range = KeyRange::prefix(Key::CALLS_OUT);
        let count = AtomicUsize::new(0);
        loop {
            let page =
                self.app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.app.guard(page.map_err(Into::into))?;
            let mut ends = JoinSet::new();
            for row in &page.rows {
                let Some(Key::IndexEntry(IndexEntry::CallOut(tx, number))) = Key::decode(&row.key)
                else {
                    continue;
                };
                let what = "the server ended before the answer";
                let Some(command) = self.lost(tx, number, what)? else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let app = Arc::clone(&self.app);
                ends.spawn(async move { app.call_until_accepted(command).await });
            }
            while let Some(ended) = ends.join_next().await {
                if let Ok(Err(Refusal::Stopping)) = ended {
                    return Err(Refusal::Stopping);
                }
            }
            let Some(next) = page.next else { break };
            range.from = Bound::Excluded(next);
        }
        match count.into_inner() {
            0 => {}
            count => tracing::info!(count, "calls were on their way at the last end"),
        }
        Ok(())
    }

    /// That an attempt is over of which nothing was heard; `None`: none is on its way.
    fn lost(&self, tx: TxId, number: u32, what: &str) -> Result<Option<Command>, Refusal> {
        let read = read_fact(&*self.app.store, View::Committed, &RecordKey::Tx(tx));
        let read = self.app.guard(read)?.map(|(record, _)| record);
        let Some(Record::Tx(found)) = read.as_deref() else { return Ok(None) };
        let call = found.call(number).filter(|call| matches!(call.state, CallState::InFlight(_)));
        Ok(call.map(|call| {
            let result = Box::new(CallResult::Lost { what: what.to_owned() });
            Command::EndCall { tx, number, attempt: call.attempts, result }
        }))
    }

    /// An attempt ended in a panic: what it came to is unknown.
    async fn lose(&self, tx: TxId, number: u32) -> AttemptHealth {
        self.app.notifier.counters.lost.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%tx, number, "an attempt at a call ended in a panic; see the log above");
        let what = "the attempt ended in an error of the server";
        if let Ok(Some(command)) = self.lost(tx, number, what) {
            self.note(tx, number, command).await;
        }
        AttemptHealth::Nothing
    }

    async fn note(&self, tx: TxId, number: u32, command: Command) {
        if let Err(error) = self.app.call_until_accepted(command).await {
            // It stays marked as on its way, and is lost at the next start.
            tracing::error!(%tx, number, %error, "the answer to a call could not be noted");
        }
    }

    async fn attempt(&self, tx: TxId, number: u32) -> AttemptHealth {
        let attempt_spec =
            match self.app.call_until_accepted(Command::BeginCall { tx, number }).await {
                Ok(Outcome::CallBegun(attempt_spec)) => attempt_spec,
                Ok(_) => return AttemptHealth::Nothing,
                Err(error) => {
                    tracing::warn!(%tx, number, %error, "a call could not be begun");
                    return AttemptHealth::Nothing;
                }
            };
        let (result, verdict) = match self.request(&attempt_spec) {
            Err(what) => (CallResult::NotSent { what }, AttemptHealth::Nothing),
            Ok(request) => self.exchange(&attempt_spec, request).await,
        };
        let attempt = attempt_spec.attempt;
        let result = Box::new(result);
        self.note(tx, number, Command::EndCall { tx, number, attempt, result }).await;
        verdict
    }

    async fn exchange(
        &self,
        attempt_spec: &CallAttempt,
        request: HttpRequest,
    ) -> (CallResult, AttemptHealth) {
        let counters = &self.app.notifier.counters;
        match self.client.send(request).await {
            Ok(reply) => {
                let status = reply.status;
                let counter = if (200..300).contains(&status) {
                    &counters.succeeded
                } else {
                    &counters.refused
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if matches!(status, 401 | 403) {
                    counters.denied.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        tx = %attempt_spec.tx, call = attempt_spec.number, status,
                        "a called service does not let the server in"
                    );
                }
                let ailing = status >= 500 || status == 429;
                let verdict =
                    if ailing { AttemptHealth::Unhealthy } else { AttemptHealth::Healthy };
                let excerpt = self.excerpt(attempt_spec, &reply.body);
                (answered(reply, self.app.wall_now(), excerpt), verdict)
            }
            Err(SendError::Egress(error)) => {
                tracing::error!(tx = %attempt_spec.tx, call = attempt_spec.number, %error, "a call is not allowed");
                (CallResult::NotSent { what: error.to_string() }, AttemptHealth::Nothing)
            }
            Err(failure) => {
                counters.lost.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(tx = %attempt_spec.tx, call = attempt_spec.number, %failure, "no answer");
                (CallResult::Lost { what: failure.to_string() }, AttemptHealth::Unhealthy)
            }
        }
    }

    /// The beginning of an answer without what only the service and the server are to know.
    fn excerpt(&self, attempt_spec: &CallAttempt, body: &[u8]) -> Arc<str> {
        let secrets = self.settings.secrets.values().map(String::as_str);
        let callback = std::iter::once(attempt_spec.callback.as_str());
        excerpt(body, secrets.chain(callback).chain(attempt_spec.code.as_deref()))
    }

    /// The request of an attempt, with all that is not stored in its place.
    fn request(&self, attempt_spec: &CallAttempt) -> Result<HttpRequest, String> {
        let settings = &self.settings;
        let unset = Cell::new(None);
        let known = |what: &str| match what.split_once(':') {
            Some(("secret", name)) => {
                let name = secret_name(name);
                let found = settings.secrets.get(&name).cloned();
                if found.is_none() {
                    unset.set(Some(name));
                }
                found
            }
            Some(("code", _)) => attempt_spec.code.clone(),
            None if what == "callback" => {
                Some(format!("{}/v1/callbacks/{}", settings.public_url, attempt_spec.callback))
            }
            _ => None,
        };
        let key = &self.app.rules.challenge_key;
        let fill = |text: &str| {
            let missing = || {
                let name = unset.take().unwrap_or_else(|| "NAME".to_owned());
                format!("the secret {name} is not set (ABIDE_SECRET_{name}), or is a hook's")
            };
            filled_ask(key, attempt_spec.tx, text, &known).ok_or_else(missing)
        };
        let ask = &attempt_spec.ask;
        let uri = fill(&ask.url)?;
        let uri: Uri = uri.parse().map_err(|_| "its address is none".to_owned())?;
        let method: Method = ask.method.parse().map_err(|_| "its method is none".to_owned())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &ask.headers {
            let name = HeaderName::try_from(&**name).map_err(|_| format!("no header: {name}"))?;
            let mut value = HeaderValue::try_from(fill(value)?)
                .map_err(|_| format!("the header {name} has characters that none may have"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut own = |name: &'static str, text: &str| -> Result<(), String> {
            let value = HeaderValue::try_from(text).map_err(|_| format!("no header: {name}"))?;
            headers.insert(name, value);
            Ok(())
        };
        own("idempotency-key", &attempt_spec.key)?;
        let op = if attempt_spec.purpose.as_str() == "undo" { "undo" } else { "do" };
        own("abide-op", op)?;
        let span = u64::from(attempt_spec.number) << 32 | u64::from(attempt_spec.attempt);
        match self.app.notifier.traces.of(attempt_spec.tx) {
            None => {
                own("traceparent", &format!("00-{:032x}-{span:016x}-01", attempt_spec.tx.bits()))?;
            }
            Some(trace) => {
                own("traceparent", &trace.parent_of(span))?;
                trace.state().map_or(Ok(()), |state| own("tracestate", state))?;
            }
        }
        let body = match &ask.body {
            None => Bytes::new(),
            Some(text) => {
                let body = serde_json::from_str(text).map_err(|error| error.to_string())?;
                if !headers.contains_key(http::header::CONTENT_TYPE) {
                    let json = HeaderValue::from_static("application/json");
                    headers.insert(http::header::CONTENT_TYPE, json);
                }
                filled_body(body, &fill)?.to_string().into()
            }
        };
        let timeout = Duration::from_millis(ask.timeout.ms());
        Ok(HttpRequest { method, uri, headers, body, timeout })
    }
}

/// A body with what its markers stand for. It was a body before, so it nests as deep as one may.
fn filled_body(
    body: Value,
    fill: &impl Fn(&str) -> Result<String, String>,
) -> Result<Value, String> {
    Ok(match body {
        Value::String(text) => Value::String(fill(&text)?),
        Value::Array(items) => Value::Array(
            items.into_iter().map(|item| filled_body(item, fill)).collect::<Result<_, _>>()?,
        ),
        Value::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, value)| Ok((key, filled_body(value, fill)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other,
    })
}

fn answered(reply: HttpResponse, now: Time, excerpt: Arc<str>) -> CallResult {
    let retry_after = reply.retry_after(now);
    let HttpResponse { status, headers, body, truncated } = reply;
    let texts = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))));
    let headers = Value::Object(texts.collect());
    let body = match serde_json::from_slice(&body) {
        // The beginning of something longer is no JSON, even where it looks like some; and JSON that is
        // nested deeper than a request's may be is kept as text.
        Ok(body) if !truncated && is_within(&body, BODY_DEPTH_MAX) => body,
        _ => match readable(&body, truncated) {
            "" => Value::Null,
            text => json!(text),
        },
    };
    CallResult::Answered { status, headers, body, truncated, retry_after, excerpt }
}

/// Maximum nesting of a service's JSON, as of a request's body.
const BODY_DEPTH_MAX: usize = 64;

/// Whether JSON has at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(entries) => {
            levels > 0 && entries.values().all(|entry| is_within(entry, levels - 1))
        }
        _ => true,
    }
}

/// The text of a body; of the beginning of one, without the character that is cut in two.
fn readable(body: &[u8], truncated: bool) -> &str {
    match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    }
}
