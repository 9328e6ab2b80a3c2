//! The delivery of calls: queues by destination, their limits, and whose turn it is.

use std::collections::{BTreeMap, HashSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use tokio::sync::watch;
use tokio::time::Instant;

use super::circuit_breaker::Health;
use super::destination::Destination;
use super::sender::CallSender;
use super::settings::{CallId, SLEEP_MAX};
use crate::app::App;
use crate::app::delivery::worker::{Attempt, AttemptResult, Delivery, Turn};
use crate::engine::{IndexEntry, Record, RecordKey, Refusal};
use crate::outbound::ServerAddress;
use crate::records::{Key, read_record};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, Page, View};
use crate::types::{Revision, Time, TxId};

/// Divisor of the calls in memory for the share of one destination, so that one that does not
/// answer takes no other's place; while memory is full, the second one applies.
const SHARE: usize = 10;
const SHARE_WHEN_FULL: usize = 200;

/// Maximum number of pages of due calls that are read before attempts are made: some milliseconds.
const PAGES_MAX: usize = 5;

/// Maximum number of destinations whose failures are remembered while nothing waits for them.
const DESTINATIONS_MAX: usize = 10_000;

/// A call of which an attempt is made.
pub(super) struct CallMessage {
    destination: Arc<str>,
    call: CallId,
    /// True if the attempt finds out if a destination has recovered.
    is_probe: bool,
}

pub(super) struct Dispatcher {
    sender: Arc<CallSender>,
    /// Revision of the last staged commit that made a call due.
    staged: watch::Receiver<Revision>,
    /// Earliest due time of commits that may not have been durable when they were read.
    unread_from: Time,
    destinations: BTreeMap<Arc<str>, Destination>,
    /// Destination of the last attempt. The others come before it while places are scarce.
    served: Arc<str>,
    /// Calls in the queues.
    queued: HashSet<CallId>,
    /// Calls whose attempts are under way.
    in_flight: HashSet<CallId>,
    /// Earliest due time of a call that was due again while its attempt was under way.
    again_from: Time,
    /// All due calls before this key that are durable were read.
    next: Bound<Bytes>,
    next_due: Option<Time>,
}

impl Delivery for Dispatcher {
    type Message = CallMessage;
    type Response = Health;
    type Signal = ();

    async fn next_turn(&mut self, in_flight: usize) -> Result<Turn<CallMessage>, Refusal> {
        let app = Arc::clone(&self.sender.app);
        // Commits that are staged by now are durable before they are read.
        let staged = *self.staged.borrow_and_update();
        app.store.durable_at(staged).await.map_err(|_| Refusal::Stopping)?;
        let notified = Time::from_ms(app.notifier.from.swap(u64::MAX, Ordering::AcqRel));
        self.read_again_from(due_from(notified.min(self.unread_from)));
        let has_more = self.read()?;
        let is_newest = *self.staged.borrow() == staged;
        self.unread_from = if is_newest { Time::MAX } else { notified };
        let (messages, wakes_at) = self.start(&app, in_flight);
        let is_refilled = self.refill()?;
        self.count(&app, in_flight + messages.len());
        Ok(Turn { messages, wakes_at: Some(wakes_at), has_more: is_refilled || has_more })
    }

    fn attempt(&self, message: &CallMessage) -> Attempt<Health> {
        let (sender, call) = (Arc::clone(&self.sender), message.call);
        Box::pin(async move { sender.attempt_or_lose(call).await })
    }

    async fn signal(&mut self) -> Result<(), Refusal> {
        self.staged.changed().await.map_err(|_| Refusal::Stopping)
    }

    async fn on_signal(&mut self, (): ()) -> Result<ControlFlow<()>, Refusal> {
        Ok(ControlFlow::Continue(()))
    }

    async fn on_results(
        &mut self,
        results: Vec<AttemptResult<Self>>,
    ) -> Result<ControlFlow<()>, Refusal> {
        for AttemptResult { message, response } in results {
            self.end(&message, response.unwrap_or(Health::Unknown));
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Dispatcher {
    pub(super) fn new(sender: Arc<CallSender>) -> Self {
        let staged = sender.app.notifier.staged.subscribe();
        Self {
            sender,
            staged,
            unread_from: Time::MAX,
            destinations: BTreeMap::new(),
            served: "".into(),
            queued: HashSet::new(),
            in_flight: HashSet::new(),
            again_from: Time::MAX,
            next: Bound::Included(due_from(Time::ZERO)),
            next_due: None,
        }
    }

    /// Lets the next read begin at this key, if it is an earlier one.
    fn read_again_from(&mut self, key: Bytes) {
        if let Bound::Included(at) | Bound::Excluded(at) = &self.next
            && key <= *at
        {
            self.next = Bound::Included(key);
        }
    }

    /// Reads a part of the due calls into the queues. Returns whether there are more.
    fn read(&mut self) -> Result<bool, Refusal> {
        let app = Arc::clone(&self.sender.app);
        let now = app.now();
        for _ in 0..PAGES_MAX {
            let page = read_page(&app, self.next.clone())?;
            self.next_due = None;
            for row in &page.rows {
                let Some((due, call)) = due_call(&row.key) else { continue };
                if due > now {
                    self.next_due = Some(due);
                    break;
                }
                self.queue(&app, due, call, &row.key)?;
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

    /// Puts a due call into the queue of its destination, if the queue has room.
    fn queue(&mut self, app: &App, due: Time, call: CallId, key: &Bytes) -> Result<(), Refusal> {
        if self.in_flight.contains(&call) {
            self.again_from = self.again_from.min(due);
            return Ok(());
        }
        if self.queued.contains(&call) {
            return Ok(());
        }
        let Some(name) = destination_of(app, call)? else { return Ok(()) };
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
        Ok(())
    }

    /// Returns the maximum number of calls in the queue of one destination.
    fn share(&self) -> usize {
        let all = self.sender.settings.waiting_max;
        let part = if self.queued.len() < all { SHARE } else { SHARE_WHEN_FULL };
        (all / part).max(1)
    }

    /// Refills the queue of one destination from the store, until it has its share. Returns whether
    /// there may be more. The calls of the others in this range were read before, and no call of
    /// this one is read twice, so the cost is that of one pass over what is due.
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
        let Some(from) = at.more_from.take() else { return Ok(false) };
        let mut from = Bound::Included(from);
        for _ in 0..PAGES_MAX {
            let page = read_page(&app, from)?;
            for row in page.rows {
                let was_read = match &self.next {
                    Bound::Included(next) => row.key < *next,
                    Bound::Excluded(last) => row.key <= *last,
                    Bound::Unbounded => false,
                };
                if !was_read {
                    return Ok(true);
                }
                let Some((_, call)) = due_call(&row.key) else { continue };
                if self.in_flight.contains(&call)
                    || self.queued.contains(&call)
                    || destination_of(&app, call)?.as_deref() != Some(&**name)
                {
                    continue;
                }
                if at.queue.len() >= most {
                    at.more_from = Some(row.key);
                    return Ok(true);
                }
                at.queue.push_back(call);
                self.queued.insert(call);
            }
            let Some(next) = page.next else { return Ok(true) };
            from = Bound::Excluded(next);
        }
        if let Bound::Excluded(last) = from {
            at.more_from = Some(last);
        }
        Ok(true)
    }

    /// Takes the calls that may be attempted now. Returns them and when to look again.
    fn start(&mut self, app: &App, in_flight: usize) -> (Vec<CallMessage>, Instant) {
        let now = Instant::now();
        let mut wakes_at = now + SLEEP_MAX;
        if let Some(due) = self.next_due {
            let wait = Duration::from_millis(due.since(app.now()).ms().max(1));
            wakes_at = wakes_at.min(now + wait);
        }
        self.destinations.retain(|_, at| !at.is_idle(now));
        let settings = &self.sender.settings;
        let pause = settings.per_second.map(|rate| Duration::from_secs(1) / rate.max(1));
        let mut destinations: Vec<_> = self.destinations.iter_mut().collect();
        let behind = destinations.partition_point(|(name, _)| **name <= self.served);
        destinations.rotate_left(behind);
        let mut messages = Vec::new();
        for (name, destination) in destinations {
            while !destination.queue.is_empty() {
                if in_flight + messages.len() >= settings.in_flight_max {
                    return (messages, wakes_at);
                }
                let is_probe = destination.is_tripped();
                let most = if is_probe { 1 } else { settings.per_destination_max };
                if destination.in_flight >= most {
                    break;
                }
                if let Some(not_before) = destination.not_before(now) {
                    wakes_at = wakes_at.min(not_before);
                    break;
                }
                let Some(call) = destination.queue.pop_front() else { break };
                self.served.clone_from(name);
                destination.begin(now, pause);
                self.queued.remove(&call);
                self.in_flight.insert(call);
                messages.push(CallMessage { destination: Arc::clone(name), call, is_probe });
            }
        }
        (messages, wakes_at)
    }

    /// Notes that an attempt has ended.
    fn end(&mut self, message: &CallMessage, health: Health) {
        let CallMessage { destination: name, call, is_probe } = message;
        self.in_flight.remove(call);
        let again_from = std::mem::replace(&mut self.again_from, Time::MAX);
        self.read_again_from(due_from(again_from));
        let Some(destination) = self.destinations.get_mut(name) else { return };
        let now = Instant::now();
        destination.end(name, health, *is_probe, now);
        if self.destinations.len() > DESTINATIONS_MAX {
            self.destinations.retain(|_, at| at.is_needed(now));
        }
    }

    /// Updates the measurements.
    fn count(&self, app: &App, in_flight: usize) {
        let counters = &app.notifier.counters;
        let tripped = self.destinations.values().filter(|at| at.is_tripped()).count();
        counters.in_flight.store(in_flight as u64, Ordering::Relaxed);
        counters.waiting.store(self.queued.len() as u64, Ordering::Relaxed);
        counters.breakers_open.store(tripped as u64, Ordering::Relaxed);
    }
}

fn read_page(app: &App, from: Bound<Bytes>) -> Result<Page, Refusal> {
    let range = KeyRange { from, ..KeyRange::prefix(Key::CALLS_DUE) };
    let page = app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
    app.guard(page.map_err(Into::into))
}

/// Returns the server that a call goes to, in its canonical form without the path. Returns `None`
/// if the call does not exist any more.
fn destination_of(app: &App, (tx, number): CallId) -> Result<Option<String>, Refusal> {
    let read = read_record(&*app.store, View::Committed, &RecordKey::Tx(tx));
    let Some((record, _)) = app.guard(read)? else { return Ok(None) };
    let Record::Tx(tx) = &*record else { return Ok(None) };
    let Some(call) = tx.call(number) else { return Ok(None) };
    let target = call.ask.url.parse::<Uri>().ok().and_then(|uri| ServerAddress::of(&uri).ok());
    Ok(Some(target.map_or_else(String::new, |target| target.to_string())))
}

/// Returns the due time and the call of an index entry.
pub(super) fn due_call(key: &[u8]) -> Option<(Time, CallId)> {
    match Key::decode(key) {
        Some(Key::IndexEntry(IndexEntry::CallDue(due, tx, number))) => Some((due, (tx, number))),
        _ => None,
    }
}

/// Returns the first key of calls that are due from a time on.
fn due_from(at: Time) -> Bytes {
    Key::IndexEntry(IndexEntry::CallDue(at, TxId::new(0), 0)).encode().into()
}
