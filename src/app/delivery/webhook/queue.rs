//! The queue of one webhook: what waits in memory, what is retried later, and what is read again
//! when its turn comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::app::feed::EventId;
use crate::types::{Span, Time, TxId};

/// Maximum number of attempts under way, each of another ordering key.
pub(super) const IN_FLIGHT_MAX: usize = 8;

/// Maximum number of these that are retries, so that new events always have places: also when a
/// receiver refuses much, or is slow to refuse it.
const RETRIES_MAX: usize = 4;

/// Maximum number of lagging transactions in a checkpoint: the webhook's record is written with
/// each.
const LAGGING_MAX: usize = 100;

/// Time without a success after which a receiver counts as having been away. With its next success
/// all delayed retries are due at once: some may be delayed by hours.
pub(super) const AWAY: Span = Span::from_minutes(5);

/// Messages with the same key are delivered one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OrderingKey {
    /// A dead letter that is replayed.
    DeadLetter(u64),
    /// The events of a transaction, or those of none.
    Transaction(Option<TxId>),
}

/// An event to be delivered.
#[derive(Debug)]
pub(super) struct EventMessage {
    pub(super) key: OrderingKey,
    pub(super) id: EventId,
    pub(super) body: Bytes,
}

/// Limits of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Ordering keys with undelivered events.
    pub(super) keys: usize,
    /// Events in memory.
    pub(super) events: usize,
    /// Bytes of the events in memory.
    pub(super) bytes: usize,
    /// Events in memory of one key; further ones are read again later.
    pub(super) events_per_key: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        // Some megabytes for a webhook whose receiver is away; enough to keep one busy that is up.
        Self { keys: 5000, events: 5000, bytes: 8 * 1024 * 1024, events_per_key: 64 }
    }
}

/// Next step of a worker.
#[derive(Debug)]
pub(super) enum NextStep {
    /// Attempt to deliver this message.
    Attempt(EventMessage),
    /// Read the events of a transaction, or of none, after this one; the first is attempted then.
    Read { tx: Option<TxId>, after: EventId, most: usize },
}

/// Position from which a delivery continues after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryCheckpoint {
    /// Everything up to here is delivered or given up, except for what lags.
    pub(super) after: EventId,
    pub(super) lagging: Vec<LaggingTransaction>,
}

/// A transaction, or the events of none, that lags behind the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaggingTransaction {
    pub(super) tx: Option<TxId>,
    /// Its events up to this one are delivered or given up.
    pub(super) after: EventId,
    /// Failed attempts of its next event.
    pub(super) attempts: u32,
    /// Time of the next attempt.
    pub(super) retry_at: Option<Time>,
}

/// Undelivered events of one ordering key.
#[derive(Debug)]
struct Backlog {
    /// Events up to this one are delivered or given up.
    after: EventId,
    /// The next events, in memory.
    waiting: VecDeque<EventMessage>,
    /// Last event that was taken into memory, and last event that is known. The events between them
    /// are read again.
    held_to: EventId,
    known_to: EventId,
    /// Failed attempts of the first event, and the time of its next attempt.
    attempts: u32,
    retry_at: Option<Time>,
}

impl Backlog {
    fn is_incomplete(&self) -> bool {
        self.held_to < self.known_to
    }
}

/// Events that were read and are not delivered. A key occupies a place only while an attempt is
/// under way. While it waits for a retry, only its position stays in memory: however much waits
/// behind it, others have the room.
#[derive(Debug)]
pub(super) struct DeliveryQueue {
    limits: QueueLimits,
    backlogs: BTreeMap<OrderingKey, Backlog>,
    /// Keys without dead letters, by position.
    positions: BTreeSet<(EventId, OrderingKey)>,
    /// Keys whose first event may be attempted, in the order in which they became ready; those of
    /// retries apart.
    ready: VecDeque<OrderingKey>,
    retries: VecDeque<OrderingKey>,
    /// Keys that wait for a retry, by its time.
    delayed: BTreeSet<(Time, OrderingKey)>,
    /// Keys with an attempt under way, and whether that is a retry.
    in_flight: BTreeMap<OrderingKey, bool>,
    /// Events in memory without dead letters, and their bytes.
    events: usize,
    bytes: usize,
    /// Last event that was read, wanted or not.
    read_to: EventId,
    /// Time since which no attempt succeeded; `None`: the last one did.
    failing_since: Option<Time>,
}

impl DeliveryQueue {
    /// Returns a queue that continues at a checkpoint.
    pub(super) fn new(limits: QueueLimits, after: EventId, lagging: &[LaggingTransaction]) -> Self {
        let mut queue = Self {
            limits,
            backlogs: BTreeMap::new(),
            positions: BTreeSet::new(),
            ready: VecDeque::new(),
            retries: VecDeque::new(),
            delayed: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            events: 0,
            bytes: 0,
            read_to: after,
            failing_since: None,
        };
        for LaggingTransaction { tx, after, attempts, retry_at } in lagging {
            let key = OrderingKey::Transaction(*tx);
            queue.open(key, *after, queue.read_to);
            if let Some(backlog) = queue.backlogs.get_mut(&key) {
                (backlog.attempts, backlog.retry_at) = (*attempts, *retry_at);
            }
            match retry_at {
                Some(at) => {
                    queue.ready.pop_back();
                    queue.delayed.insert((*at, key));
                }
                None if *attempts > 0 => queue.retries.extend(queue.ready.pop_back()),
                None => {}
            }
        }
        queue
    }

    fn open(&mut self, key: OrderingKey, after: EventId, known_to: EventId) {
        if matches!(key, OrderingKey::Transaction(_)) {
            self.positions.insert((after, key));
        }
        let (waiting, held_to) = (VecDeque::new(), after);
        let backlog = Backlog { after, waiting, held_to, known_to, attempts: 0, retry_at: None };
        self.backlogs.insert(key, backlog);
        self.ready.push_back(key);
    }

    fn close(&mut self, key: OrderingKey) {
        if let Some(backlog) = self.backlogs.remove(&key) {
            self.positions.remove(&(backlog.after, key));
        }
    }

    /// Notes that everything up to this event was read.
    pub(super) const fn note_read(&mut self, to: EventId) {
        self.read_to = to;
    }

    /// Returns the last event that was read.
    pub(super) const fn read_to(&self) -> EventId {
        self.read_to
    }

    /// Queues an event that was read, unless it will be read again anyway.
    pub(super) fn push(&mut self, message: EventMessage) {
        let key = message.key;
        if !self.backlogs.contains_key(&key) {
            let after = message.id.before();
            self.open(key, after, after);
        }
        let Some(backlog) = self.backlogs.get_mut(&key) else { return };
        let has_room = backlog.attempts == 0 && backlog.waiting.len() < self.limits.events_per_key;
        if matches!(key, OrderingKey::DeadLetter(_)) || !backlog.is_incomplete() && has_room {
            self.hold(message);
        } else {
            backlog.known_to = message.id;
        }
    }

    fn hold(&mut self, message: EventMessage) {
        let Some(backlog) = self.backlogs.get_mut(&message.key) else { return };
        if matches!(message.key, OrderingKey::Transaction(_)) {
            self.events += 1;
            self.bytes += message.body.len();
        }
        backlog.held_to = message.id;
        backlog.known_to = backlog.known_to.max(message.id);
        backlog.waiting.push_back(message);
    }

    /// Gives back the memory of an event.
    fn release(&mut self, message: &EventMessage) {
        if matches!(message.key, OrderingKey::Transaction(_)) {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(message.body.len());
        }
    }

    /// Returns whether dead letters are being replayed.
    pub(super) fn has_dead_letters(&self) -> bool {
        matches!(self.backlogs.first_key_value(), Some((OrderingKey::DeadLetter(_), _)))
    }

    /// Returns whether memory allows to read more.
    pub(super) fn has_room(&self) -> bool {
        let QueueLimits { keys, events, bytes, .. } = self.limits;
        self.backlogs.len() < keys && self.events < events && self.bytes < bytes
    }

    /// Returns what to do next, if there is a place for an attempt.
    pub(super) fn next(&mut self, now: Time) -> Option<NextStep> {
        while let Some((at, key)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, key));
            self.retries.push_back(key);
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let retries = self.in_flight.values().filter(|is_retry| **is_retry).count();
        let retry = if retries < RETRIES_MAX { self.retries.pop_front() } else { None };
        let key = retry.or_else(|| self.ready.pop_front())?;
        let backlog = self.backlogs.get_mut(&key)?;
        match (backlog.waiting.pop_front(), key) {
            (Some(message), _) => {
                self.in_flight.insert(key, backlog.attempts > 0);
                self.release(&message);
                Some(NextStep::Attempt(message))
            }
            (None, OrderingKey::Transaction(tx)) => {
                // A retry may fail again, so nothing behind it is taken into memory.
                let most = if backlog.attempts > 0 { 1 } else { self.limits.events_per_key };
                Some(NextStep::Read { tx, after: backlog.after, most })
            }
            (None, OrderingKey::DeadLetter(_)) => None,
        }
    }

    /// Queues the events of a key that were read again; `more`: the page ended here, and there may
    /// be more. Returns whether all of them were delivered before.
    pub(super) fn refill(
        &mut self,
        key: OrderingKey,
        found: Vec<EventMessage>,
        more: Option<EventId>,
    ) -> bool {
        let is_empty = found.is_empty();
        let last = found.last().map(|message| message.id);
        for message in found {
            self.hold(message);
        }
        let Some(backlog) = self.backlogs.get_mut(&key) else { return true };
        let is_retry = backlog.attempts > 0;
        match (last, more) {
            (None, None) => {
                self.close(key);
                return true;
            }
            (None, Some(to)) => {
                backlog.held_to = to;
                self.move_to(key, to);
            }
            (Some(last), None) => backlog.known_to = last,
            (Some(_), Some(_)) => {}
        }
        // Found events are attempted at once; a further read waits behind the others.
        let queue = if is_retry { &mut self.retries } else { &mut self.ready };
        if is_empty {
            queue.push_back(key);
        } else {
            queue.push_front(key);
        }
        false
    }

    fn move_to(&mut self, key: OrderingKey, after: EventId) {
        if let Some(backlog) = self.backlogs.get_mut(&key) {
            self.positions.remove(&(backlog.after, key));
            backlog.after = after;
            if matches!(key, OrderingKey::Transaction(_)) {
                self.positions.insert((after, key));
            }
        }
    }

    /// Returns the time of the next retry.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Counts a failed attempt. Returns the number of failed attempts.
    pub(super) fn count_failure(&mut self, key: OrderingKey, now: Time) -> u32 {
        self.failing_since.get_or_insert(now);
        let Some(backlog) = self.backlogs.get_mut(&key) else { return 0 };
        backlog.attempts += 1;
        backlog.attempts
    }

    /// Notes a success. After a receiver was away, all delayed retries become due, a few at a time.
    /// A receiver that accepts everything but some events was not away: their retries stay delayed.
    pub(super) fn note_success(&mut self, now: Time) {
        let failing_for = self.failing_since.take().map(|since| now.since(since));
        if failing_for.is_some_and(|time| time >= AWAY) {
            let delayed = std::mem::take(&mut self.delayed);
            self.retries.extend(delayed.into_iter().map(|(_, key)| key));
        }
    }

    /// Returns the number of failed attempts of a key's first event.
    #[cfg(test)]
    pub(super) fn attempts(&self, key: OrderingKey) -> u32 {
        self.backlogs.get(&key).map_or(0, |backlog| backlog.attempts)
    }

    /// Delays a message until its retry. The events of a transaction are read again for it.
    pub(super) fn delay_until(&mut self, message: EventMessage, at: Time) {
        let key = message.key;
        self.in_flight.remove(&key);
        self.delayed.insert((at, key));
        let Some(backlog) = self.backlogs.get_mut(&key) else { return };
        backlog.retry_at = Some(at);
        if matches!(key, OrderingKey::DeadLetter(_)) {
            backlog.waiting.push_front(message);
            return;
        }
        backlog.held_to = backlog.after;
        for message in std::mem::take(&mut backlog.waiting) {
            self.release(&message);
        }
    }

    /// Notes that a message is delivered or given up.
    pub(super) fn complete(&mut self, message: &EventMessage) {
        let key = message.key;
        self.in_flight.remove(&key);
        self.move_to(key, message.id);
        let Some(backlog) = self.backlogs.get_mut(&key) else { return };
        (backlog.attempts, backlog.retry_at) = (0, None);
        if backlog.waiting.is_empty() && !backlog.is_incomplete() {
            self.close(key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Returns the position from which a delivery continues after a restart.
    pub(super) fn checkpoint(&self) -> DeliveryCheckpoint {
        let mut lagging = Vec::new();
        for (after, key) in &self.positions {
            let backlog = self
                .backlogs
                .get(key)
                .filter(|backlog| backlog.is_incomplete() || backlog.attempts > 0);
            match (key, backlog) {
                (OrderingKey::Transaction(tx), Some(backlog)) if lagging.len() < LAGGING_MAX => {
                    let (attempts, retry_at) = (backlog.attempts, backlog.retry_at);
                    lagging.push(LaggingTransaction { tx: *tx, after: *after, attempts, retry_at });
                }
                _ => return DeliveryCheckpoint { after: *after, lagging },
            }
        }
        DeliveryCheckpoint { after: self.read_to, lagging }
    }
}
