//! What one subscription is being told: what waits in memory, what rests, and what is to be read
//! again when its turn comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::app::EventId;
use crate::types::{Span, Time, TxId};

/// Most events of one subscription that are on their way at once, each of another transaction.
pub(in crate::app) const LANES_MAX: usize = 8;

/// Most of these that are tried again: whatever a receiver does not take, or takes long to refuse,
/// what comes anew has places of its own.
const RETRIES_MAX: usize = 4;

/// Most transactions that lag behind and are noted as such: the record of a subscription is
/// written with each note.
const LAGS_MAX: usize = 100;

/// A receiver that took nothing for so long was away. When it takes something again, nothing rests
/// any longer: what failed meanwhile may rest for hours, and what comes anew waits for its room.
pub(in crate::app) const AWAY: Span = Span::from_minutes(5);

/// What is told one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app) enum OrderingKey {
    /// A dead letter that is told again.
    DeadLetter(u64),
    /// The events of a transaction, or those of none.
    Of(Option<TxId>),
}

/// An event to be told.
#[derive(Debug)]
pub(in crate::app) struct Message {
    pub(in crate::app) lane: OrderingKey,
    /// What it is called.
    pub(in crate::app) id: EventId,
    pub(in crate::app) body: Bytes,
}

/// What a queue holds at most.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct QueueLimits {
    /// Lanes of which something is not over.
    pub(in crate::app) lanes: usize,
    /// Events in memory, and bytes of them.
    pub(in crate::app) events: usize,
    pub(in crate::app) bytes: usize,
    /// Events in memory of one lane: with more, it is read again.
    pub(in crate::app) of_lane: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        // A subscription whose receiver is away holds some megabytes; one that is up is never out
        // of work with this.
        Self { lanes: 5000, events: 5000, bytes: 8 * 1024 * 1024, of_lane: 64 }
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub(in crate::app) enum Turn {
    /// This is sent.
    Send(Message),
    /// What a transaction, or none, has after this event is read again, and its first is sent then.
    Read { tx: Option<TxId>, after: EventId, most: usize },
}

/// Where a subscription stands: what is over is not told again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct DeliveryCheckpoint {
    /// Up to here all is over, but for what lags.
    pub(in crate::app) after: EventId,
    /// The transactions that lag.
    pub(in crate::app) lags: Vec<LaggingTransaction>,
}

/// A transaction, or what is of none, that lags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct LaggingTransaction {
    pub(in crate::app) tx: Option<TxId>,
    /// Up to this event all of it is over.
    pub(in crate::app) after: EventId,
    /// How often the next one was tried in vain, and when it is tried again.
    pub(in crate::app) tried: u32,
    pub(in crate::app) again_at: Option<Time>,
}

/// What of a lane is not over.
#[derive(Debug)]
struct Backlog {
    /// Up to here all of it is over.
    after: EventId,
    /// What comes next.
    waiting: VecDeque<Message>,
    /// The last one that was taken into memory, and the last one that is known: those between
    /// them are read again.
    held_to: EventId,
    known_to: EventId,
    /// How often the first was tried in vain, and when it is tried again.
    tried: u32,
    again_at: Option<Time>,
}

impl Backlog {
    fn is_behind(&self) -> bool {
        self.held_to < self.known_to
    }
}

/// What is read and not over. A lane has a place only while an attempt is on its way. What failed
/// rests, and nothing of its transaction stays in memory meanwhile but where it stands: however
/// much there is behind it, others have the room.
#[derive(Debug)]
pub(in crate::app) struct DeliveryQueue {
    room: QueueLimits,
    lanes: BTreeMap<OrderingKey, Backlog>,
    /// These lanes, without those of letters, by where each stands.
    stand: BTreeSet<(EventId, OrderingKey)>,
    /// The lanes whose first may be sent, in the order in which that came to be; those that are
    /// tried again apart.
    ready: VecDeque<OrderingKey>,
    again: VecDeque<OrderingKey>,
    /// The lanes whose first failed, by when it is sent again.
    resting: BTreeSet<(Time, OrderingKey)>,
    /// The lanes in which one is on its way, and whether that is tried again.
    busy: BTreeMap<OrderingKey, bool>,
    /// What waits in memory, without letters.
    events: usize,
    bytes: usize,
    /// The last event that was read, wanted or not.
    read_to: EventId,
    /// Since when nothing was taken of what was tried; `None`: the last was.
    vain_since: Option<Time>,
}

impl DeliveryQueue {
    /// A queue that goes on where one stood.
    pub(in crate::app) fn new(
        room: QueueLimits,
        after: EventId,
        lags: &[LaggingTransaction],
    ) -> Self {
        let mut queue = Self {
            room,
            lanes: BTreeMap::new(),
            stand: BTreeSet::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            resting: BTreeSet::new(),
            busy: BTreeMap::new(),
            events: 0,
            bytes: 0,
            read_to: after,
            vain_since: None,
        };
        for LaggingTransaction { tx, after, tried, again_at } in lags {
            let lane = OrderingKey::Of(*tx);
            queue.open(lane, *after, queue.read_to);
            if let Some(left) = queue.lanes.get_mut(&lane) {
                (left.tried, left.again_at) = (*tried, *again_at);
            }
            match again_at {
                Some(at) => {
                    queue.ready.pop_back();
                    queue.resting.insert((*at, lane));
                }
                None if *tried > 0 => queue.again.extend(queue.ready.pop_back()),
                None => {}
            }
        }
        queue
    }

    fn open(&mut self, lane: OrderingKey, after: EventId, known_to: EventId) {
        if matches!(lane, OrderingKey::Of(_)) {
            self.stand.insert((after, lane));
        }
        let (waiting, held_to) = (VecDeque::new(), after);
        let left = Backlog { after, waiting, held_to, known_to, tried: 0, again_at: None };
        self.lanes.insert(lane, left);
        self.ready.push_back(lane);
    }

    fn close(&mut self, lane: OrderingKey) {
        if let Some(left) = self.lanes.remove(&lane) {
            self.stand.remove(&(left.after, lane));
        }
    }

    /// Everything up to here was read.
    pub(in crate::app) const fn read(&mut self, to: EventId) {
        self.read_to = to;
    }

    /// Up to where everything was read.
    pub(in crate::app) const fn read_to(&self) -> EventId {
        self.read_to
    }

    /// Takes an event that was read; one that will be read again anyway it leaves.
    pub(in crate::app) fn take(&mut self, message: Message) {
        let lane = message.lane;
        if !self.lanes.contains_key(&lane) {
            let after = message.id.before();
            self.open(lane, after, after);
        }
        let Some(left) = self.lanes.get_mut(&lane) else { return };
        let has_room = left.tried == 0 && left.waiting.len() < self.room.of_lane;
        if matches!(lane, OrderingKey::DeadLetter(_)) || !left.is_behind() && has_room {
            self.put(message);
        } else {
            left.known_to = message.id;
        }
    }

    fn put(&mut self, message: Message) {
        let Some(left) = self.lanes.get_mut(&message.lane) else { return };
        if matches!(message.lane, OrderingKey::Of(_)) {
            self.events += 1;
            self.bytes += message.body.len();
        }
        left.held_to = message.id;
        left.known_to = left.known_to.max(message.id);
        left.waiting.push_back(message);
    }

    /// One waits no more.
    fn gone(&mut self, message: &Message) {
        if matches!(message.lane, OrderingKey::Of(_)) {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(message.body.len());
        }
    }

    /// Whether dead letters are being told again.
    pub(in crate::app) fn has_letters(&self) -> bool {
        matches!(self.lanes.first_key_value(), Some((OrderingKey::DeadLetter(_), _)))
    }

    /// Whether more may be read.
    pub(in crate::app) fn has_room(&self) -> bool {
        let QueueLimits { lanes, events, bytes, .. } = self.room;
        self.lanes.len() < lanes && self.events < events && self.bytes < bytes
    }

    /// Whose turn it is, if there is a place.
    pub(in crate::app) fn next(&mut self, now: Time) -> Option<Turn> {
        while let Some((at, lane)) = self.resting.first().copied().filter(|(at, _)| *at <= now) {
            self.resting.remove(&(at, lane));
            self.again.push_back(lane);
        }
        if self.busy.len() >= LANES_MAX {
            return None;
        }
        let retries = self.busy.values().filter(|is_again| **is_again).count();
        let again = if retries < RETRIES_MAX { self.again.pop_front() } else { None };
        let lane = again.or_else(|| self.ready.pop_front())?;
        let left = self.lanes.get_mut(&lane)?;
        match (left.waiting.pop_front(), lane) {
            (Some(message), _) => {
                self.busy.insert(lane, left.tried > 0);
                self.gone(&message);
                Some(Turn::Send(message))
            }
            (None, OrderingKey::Of(tx)) => {
                // Behind what may fail again nothing needs to be in memory.
                let most = if left.tried > 0 { 1 } else { self.room.of_lane };
                Some(Turn::Read { tx, after: left.after, most })
            }
            (None, OrderingKey::DeadLetter(_)) => None,
        }
    }

    /// What a lane has that was read again; `more`: it was read up to here, and there may be more.
    /// Whether all of it was over before.
    pub(in crate::app) fn reread(
        &mut self,
        lane: OrderingKey,
        found: Vec<Message>,
        more: Option<EventId>,
    ) -> bool {
        let is_empty = found.is_empty();
        let last = found.last().map(|message| message.id);
        for message in found {
            self.put(message);
        }
        let Some(left) = self.lanes.get_mut(&lane) else { return true };
        let was_tried = left.tried > 0;
        match (last, more) {
            (None, None) => {
                self.close(lane);
                return true;
            }
            (None, Some(to)) => {
                left.held_to = to;
                self.move_to(lane, to);
            }
            (Some(last), None) => left.known_to = last,
            (Some(_), Some(_)) => {}
        }
        // What is there is sent at once; to look further the others are not kept waiting.
        let queue = if was_tried { &mut self.again } else { &mut self.ready };
        if is_empty {
            queue.push_back(lane);
        } else {
            queue.push_front(lane);
        }
        false
    }

    fn move_to(&mut self, lane: OrderingKey, after: EventId) {
        if let Some(left) = self.lanes.get_mut(&lane) {
            self.stand.remove(&(left.after, lane));
            left.after = after;
            if matches!(lane, OrderingKey::Of(_)) {
                self.stand.insert((after, lane));
            }
        }
    }

    /// When the first of those that rest is sent again.
    pub(in crate::app) fn wakes_at(&self) -> Option<Time> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// One was not taken: how often that is so now.
    pub(in crate::app) fn failed(&mut self, lane: OrderingKey, now: Time) -> u32 {
        self.vain_since.get_or_insert(now);
        let Some(left) = self.lanes.get_mut(&lane) else { return 0 };
        left.tried += 1;
        left.tried
    }

    /// One was taken. A receiver that is back has all that rests tried, a few at a time. One that
    /// takes everything but some is not back, and what it does not take rests on.
    pub(in crate::app) fn taken(&mut self, now: Time) {
        let vain = self.vain_since.take().map(|since| now.since(since));
        if vain.is_some_and(|vain| vain >= AWAY) {
            let resting = std::mem::take(&mut self.resting);
            self.again.extend(resting.into_iter().map(|(_, lane)| lane));
        }
    }

    /// How often the first of a lane was tried in vain.
    #[cfg(test)]
    pub(in crate::app) fn tried(&self, lane: OrderingKey) -> u32 {
        self.lanes.get(&lane).map_or(0, |left| left.tried)
    }

    /// It is sent again then. What is of a transaction is read again for it.
    pub(in crate::app) fn again(&mut self, message: Message, at: Time) {
        let lane = message.lane;
        self.busy.remove(&lane);
        self.resting.insert((at, lane));
        let Some(left) = self.lanes.get_mut(&lane) else { return };
        left.again_at = Some(at);
        if matches!(lane, OrderingKey::DeadLetter(_)) {
            left.waiting.push_front(message);
            return;
        }
        left.held_to = left.after;
        for message in std::mem::take(&mut left.waiting) {
            self.gone(&message);
        }
    }

    /// One is over, taken or not.
    pub(in crate::app) fn over(&mut self, message: &Message) {
        let lane = message.lane;
        self.busy.remove(&lane);
        self.move_to(lane, message.id);
        let Some(left) = self.lanes.get_mut(&lane) else { return };
        (left.tried, left.again_at) = (0, None);
        if left.waiting.is_empty() && !left.is_behind() {
            self.close(lane);
        } else {
            self.ready.push_back(lane);
        }
    }

    /// Where it goes on after a restart.
    pub(in crate::app) fn stands(&self) -> DeliveryCheckpoint {
        let mut lags = Vec::new();
        for (after, lane) in &self.stand {
            let left = self.lanes.get(lane).filter(|left| left.is_behind() || left.tried > 0);
            match (lane, left) {
                (OrderingKey::Of(tx), Some(left)) if lags.len() < LAGS_MAX => {
                    let (tried, again_at) = (left.tried, left.again_at);
                    lags.push(LaggingTransaction { tx: *tx, after: *after, tried, again_at });
                }
                _ => return DeliveryCheckpoint { after: *after, lags },
            }
        }
        DeliveryCheckpoint { after: self.read_to, lags }
    }
}
