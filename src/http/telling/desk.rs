//! What one subscription is being told: what waits in memory, what rests, and what is to be read
//! again when its turn comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::app::EventId;
use crate::types::{Span, Time, TxId};

/// Most events of one subscription that are on their way at once, each of another transaction.
pub(super) const LANES_MAX: usize = 8;

/// Most of these that are tried again: whatever a receiver does not take, or takes long to refuse,
/// what comes anew has places of its own.
const RETRIES_MAX: usize = 4;

/// Most transactions that lag behind and are noted as such: the record of a subscription is
/// written with each note.
const LAGS_MAX: usize = 100;

/// A receiver that took nothing for so long was away. When it takes something again, nothing rests
/// any longer: what failed meanwhile may rest for hours, and what comes anew waits for its room.
pub(super) const AWAY: Span = Span::from_minutes(5);

/// What is told one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// A dead letter that is told again.
    Letter(u64),
    /// The events of a transaction, or those of none.
    Of(Option<TxId>),
}

/// An event to be told.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) lane: Lane,
    /// What it is called.
    pub(super) id: EventId,
    pub(super) body: Bytes,
}

/// What a desk holds at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Lanes of which something is not over.
    pub(super) lanes: usize,
    /// Events in memory, and bytes of them.
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// Events in memory of one lane: with more, it is read again.
    pub(super) of_lane: usize,
}

impl Default for Room {
    fn default() -> Self {
        // A subscription whose receiver is away holds some megabytes; one that is up is never out
        // of work with this.
        Self { lanes: 5000, events: 5000, bytes: 8 * 1024 * 1024, of_lane: 64 }
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// This is sent.
    Send(Message),
    /// What a transaction, or none, has after this event is read again, and its first is sent then.
    Read { tx: Option<TxId>, after: EventId, most: usize },
}

/// Where a subscription stands: what is over is not told again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stands {
    /// Up to here all is over, but for what lags.
    pub(super) after: EventId,
    /// The transactions that lag.
    pub(super) lags: Vec<Lagging>,
}

/// A transaction, or what is of none, that lags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lagging {
    pub(super) tx: Option<TxId>,
    /// Up to this event all of it is over.
    pub(super) after: EventId,
    /// How often the next one was tried in vain, and when it is tried again.
    pub(super) tried: u32,
    pub(super) again_at: Option<Time>,
}

/// What of a lane is not over.
#[derive(Debug)]
struct Left {
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

impl Left {
    fn is_behind(&self) -> bool {
        self.held_to < self.known_to
    }
}

/// What is read and not over. A lane has a place only while an attempt is on its way. What failed
/// rests, and nothing of its transaction stays in memory meanwhile but where it stands: however
/// much there is behind it, others have the room.
#[derive(Debug)]
pub(super) struct Desk {
    room: Room,
    lanes: BTreeMap<Lane, Left>,
    /// These lanes, without those of letters, by where each stands.
    stand: BTreeSet<(EventId, Lane)>,
    /// The lanes whose first may be sent, in the order in which that came to be; those that are
    /// tried again apart.
    ready: VecDeque<Lane>,
    again: VecDeque<Lane>,
    /// The lanes whose first failed, by when it is sent again.
    resting: BTreeSet<(Time, Lane)>,
    /// The lanes in which one is on its way, and whether that is tried again.
    busy: BTreeMap<Lane, bool>,
    /// What waits in memory, without letters.
    events: usize,
    bytes: usize,
    /// The last event that was read, wanted or not.
    read_to: EventId,
    /// Since when nothing was taken of what was tried; `None`: the last was.
    vain_since: Option<Time>,
}

impl Desk {
    /// A desk that goes on where one stood.
    pub(super) fn new(room: Room, after: EventId, lags: &[Lagging]) -> Self {
        let mut desk = Self {
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
        for Lagging { tx, after, tried, again_at } in lags {
            let lane = Lane::Of(*tx);
            desk.open(lane, *after, desk.read_to);
            if let Some(left) = desk.lanes.get_mut(&lane) {
                (left.tried, left.again_at) = (*tried, *again_at);
            }
            match again_at {
                Some(at) => {
                    desk.ready.pop_back();
                    desk.resting.insert((*at, lane));
                }
                None if *tried > 0 => desk.again.extend(desk.ready.pop_back()),
                None => {}
            }
        }
        desk
    }

    fn open(&mut self, lane: Lane, after: EventId, known_to: EventId) {
        if matches!(lane, Lane::Of(_)) {
            self.stand.insert((after, lane));
        }
        let (waiting, held_to) = (VecDeque::new(), after);
        let left = Left { after, waiting, held_to, known_to, tried: 0, again_at: None };
        self.lanes.insert(lane, left);
        self.ready.push_back(lane);
    }

    fn close(&mut self, lane: Lane) {
        if let Some(left) = self.lanes.remove(&lane) {
            self.stand.remove(&(left.after, lane));
        }
    }

    /// Everything up to here was read.
    pub(super) const fn read(&mut self, to: EventId) {
        self.read_to = to;
    }

    /// Up to where everything was read.
    pub(super) const fn read_to(&self) -> EventId {
        self.read_to
    }

    /// Takes an event that was read; one that will be read again anyway it leaves.
    pub(super) fn take(&mut self, message: Message) {
        let lane = message.lane;
        if !self.lanes.contains_key(&lane) {
            let after = message.id.before();
            self.open(lane, after, after);
        }
        let Some(left) = self.lanes.get_mut(&lane) else { return };
        let has_room = left.tried == 0 && left.waiting.len() < self.room.of_lane;
        if matches!(lane, Lane::Letter(_)) || !left.is_behind() && has_room {
            self.put(message);
        } else {
            left.known_to = message.id;
        }
    }

    fn put(&mut self, message: Message) {
        let Some(left) = self.lanes.get_mut(&message.lane) else { return };
        if matches!(message.lane, Lane::Of(_)) {
            self.events += 1;
            self.bytes += message.body.len();
        }
        left.held_to = message.id;
        left.known_to = left.known_to.max(message.id);
        left.waiting.push_back(message);
    }

    /// One waits no more.
    fn gone(&mut self, message: &Message) {
        if matches!(message.lane, Lane::Of(_)) {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(message.body.len());
        }
    }

    /// Whether dead letters are being told again.
    pub(super) fn has_letters(&self) -> bool {
        matches!(self.lanes.first_key_value(), Some((Lane::Letter(_), _)))
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        let Room { lanes, events, bytes, .. } = self.room;
        self.lanes.len() < lanes && self.events < events && self.bytes < bytes
    }

    /// Whose turn it is, if there is a place.
    pub(super) fn next(&mut self, now: Time) -> Option<Turn> {
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
            (None, Lane::Of(tx)) => {
                // Behind what may fail again nothing needs to be in memory.
                let most = if left.tried > 0 { 1 } else { self.room.of_lane };
                Some(Turn::Read { tx, after: left.after, most })
            }
            (None, Lane::Letter(_)) => None,
        }
    }

    /// What a lane has that was read again; `more`: it was read up to here, and there may be more.
    /// Whether all of it was over before.
    pub(super) fn reread(
        &mut self,
        lane: Lane,
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

    fn move_to(&mut self, lane: Lane, after: EventId) {
        if let Some(left) = self.lanes.get_mut(&lane) {
            self.stand.remove(&(left.after, lane));
            left.after = after;
            if matches!(lane, Lane::Of(_)) {
                self.stand.insert((after, lane));
            }
        }
    }

    /// When the first of those that rest is sent again.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// One was not taken: how often that is so now.
    pub(super) fn failed(&mut self, lane: Lane, now: Time) -> u32 {
        self.vain_since.get_or_insert(now);
        let Some(left) = self.lanes.get_mut(&lane) else { return 0 };
        left.tried += 1;
        left.tried
    }

    /// One was taken. A receiver that is back has all that rests tried, a few at a time. One that
    /// takes everything but some is not back, and what it does not take rests on.
    pub(super) fn taken(&mut self, now: Time) {
        let vain = self.vain_since.take().map(|since| now.since(since));
        if vain.is_some_and(|vain| vain >= AWAY) {
            let resting = std::mem::take(&mut self.resting);
            self.again.extend(resting.into_iter().map(|(_, lane)| lane));
        }
    }

    /// How often the first of a lane was tried in vain.
    #[cfg(test)]
    pub(super) fn tried(&self, lane: Lane) -> u32 {
        self.lanes.get(&lane).map_or(0, |left| left.tried)
    }

    /// It is sent again then. What is of a transaction is read again for it.
    pub(super) fn again(&mut self, message: Message, at: Time) {
        let lane = message.lane;
        self.busy.remove(&lane);
        self.resting.insert((at, lane));
        let Some(left) = self.lanes.get_mut(&lane) else { return };
        left.again_at = Some(at);
        if matches!(lane, Lane::Letter(_)) {
            left.waiting.push_front(message);
            return;
        }
        left.held_to = left.after;
        for message in std::mem::take(&mut left.waiting) {
            self.gone(&message);
        }
    }

    /// One is over, taken or not.
    pub(super) fn over(&mut self, message: &Message) {
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
    pub(super) fn stands(&self) -> Stands {
        let mut lags = Vec::new();
        for (after, lane) in &self.stand {
            let left = self.lanes.get(lane).filter(|left| left.is_behind() || left.tried > 0);
            match (lane, left) {
                (Lane::Of(tx), Some(left)) if lags.len() < LAGS_MAX => {
                    let (tried, again_at) = (left.tried, left.again_at);
                    lags.push(Lagging { tx: *tx, after: *after, tried, again_at });
                }
                _ => return Stands { after: *after, lags },
            }
        }
        Stands { after: self.read_to, lags }
    }
}
