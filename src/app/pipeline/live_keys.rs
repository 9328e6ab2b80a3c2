//! The live Idempotency-Keys of each actor: how many there are, in which order they came, and which
//! anonymous sessions' keys are a user's now.
//!
//! The answers themselves lie under hashes, in no order. So that the oldest are found without a
//! look at all of them, the keys of a busy actor are also listed in blocks: one row for each
//! [`BLOCK`] keys, under the hour and the actor. A key costs a step its share of two rows for each
//! block, which is a few instructions. The keys of an actor with few of them, and those of the last
//! block before a crash, are in no block; the slow part of [`super::sweep`] finds them.
//!
//! Beyond its limits an actor is not refused: its oldest block is shed, a block in each go, with a
//! warning and a metric.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::RandomState;

use crate::app::notifier::Notifier;
use crate::engine::{Digest, Rules};
use crate::records::answer::{AnswerBlockV1, AnswerCountV2};
use crate::records::value;
use crate::records::{Key, Pack, ReadError, Scope};
use crate::store::{KeyRange, Order, Row, Store, View, Write};
use crate::types::{Revision, SessionId, Span, Time, UserId};

/// How long an answer is kept. A message of a hook that is sent again later is no second one: its
/// time is too old by then ([`TOLERANCE`](crate::app::signature::TOLERANCE)), or it bears none and its
/// transaction knows it.
pub(in crate::app) const KEPT: Span = Span::from_hours(24);

/// Keys that are counted ahead of their use, and keys of one block: one commit of so many writes
/// the count, and one the block.
const BLOCK: u32 = 64;

/// Maximum number of actors whose counts are in memory, at up to 4 KiB each with a block that is
/// not written yet; beyond it all are forgotten.
const ACTORS_MAX: usize = 10_000;

/// Maximum number of anonymous sessions whose keys are looked up for one user: each costs each new
/// key of that user one more look into the store. Beyond it the oldest is dropped.
const ADOPTED_MAX: usize = 32;

/// Maximum number of actors that wait to have keys shed; others are noticed at their next block.
const SHEDDING_MAX: usize = 1000;

/// Bytes that the store takes for a key beside the answer: its key, its place in the index, its
/// share of a block.
const OVERHEAD_BYTES: u64 = 150;

/// Estimated bytes of a key that an earlier version counted without them.
const ESTIMATED_BYTES: u64 = 1024;

/// A warning of shed keys is logged at most so often.
const WARN_EVERY: Span = Span::from_minutes(1);

const HOUR_MS: u64 = 60 * 60 * 1000;

/// What is known of the live keys of those who used one lately. A count is written ahead, by at
/// most as many keys as the hour has had: not every commit writes it, and what a restart or the
/// hour's end forgets of it was counted too often, never too seldom.
pub(in crate::app) struct LiveKeys {
    rules: Arc<Rules>,
    notifier: Arc<Notifier>,
    actors: HashMap<Scope, ActorKeys, RandomState>,
    /// Actors over their limits.
    shedding: VecDeque<Scope>,
    warned_at: Time,
}

/// The live keys of one actor.
#[derive(Clone, Debug, Default)]
struct ActorKeys {
    /// As they are written.
    counts: AnswerCountV2,
    /// Keys that were counted ahead and are not used yet.
    left: u32,
    /// Bytes that are not counted yet.
    bytes: u64,
    /// Keys that are in no block yet: hash, commit, parts.
    unlisted: Vec<(Digest, Revision, u8)>,
}

/// One more live key, for the commit that keeps its answer.
#[derive(Debug)]
pub(in crate::app) struct KeyReservation {
    scope: Scope,
    /// What the commit writes of it.
    written: Option<Box<CountUpdate>>,
}

#[derive(Debug)]
struct CountUpdate {
    counts: AnswerCountV2,
    left: u32,
    block: Option<(u32, AnswerBlockV1)>,
}

impl KeyReservation {
    /// Writes what the commit writes of it.
    pub(in crate::app) fn put(&self, revision: Revision, pack: &mut Pack) {
        let Some(written) = &self.written else { return };
        let key = Key::AnswerCount(self.scope);
        pack.put(&key, |out| value::write_into(out, 2, &written.counts));
        if let Some((hour, block)) = &written.block {
            let key = Key::AnswerBlock(*hour, self.scope, revision);
            pack.put(&key, |out| value::write_into(out, 1, block));
        }
    }
}

/// The keys of an anonymous session become a user's, in the commit of its upgrade.
#[derive(Debug)]
pub(in crate::app) struct Adoption {
    session: Scope,
    user: Scope,
    counts: AnswerCountV2,
    block: Option<(u32, AnswerBlockV1)>,
}

impl Adoption {
    /// Writes what the commit writes of it.
    pub(in crate::app) fn put(&self, revision: Revision, pack: &mut Pack) {
        let key = Key::AnswerCount(self.user);
        pack.put(&key, |out| value::write_into(out, 2, &self.counts));
        pack.delete(&Key::AnswerCount(self.session));
        if let Some((hour, block)) = &self.block {
            let key = Key::AnswerBlock(*hour, self.session, revision);
            pack.put(&key, |out| value::write_into(out, 1, block));
        }
    }
}

/// How the keys of a key's actor are found again when they are too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum KeyIndexing {
    /// Block by block.
    InBlocks,
    /// Only by a look at everything.
    Unlisted,
}

impl LiveKeys {
    pub(in crate::app) fn new(rules: Arc<Rules>, notifier: Arc<Notifier>) -> Self {
        let actors = HashMap::default();
        Self { rules, notifier, actors, shedding: VecDeque::new(), warned_at: Time::ZERO }
    }

    /// Where an actor's keys are looked up beside its own scope: the anonymous sessions that became
    /// this user's while their keys are live.
    pub(in crate::app) fn adopted(
        &mut self,
        store: &dyn Store,
        scope: Scope,
        now: Time,
    ) -> Result<Vec<Scope>, ReadError> {
        let adopted = &self.load(store, scope)?.counts.adopted;
        let live = adopted.iter().filter(|(_, until_ms)| now.ms() < *until_ms);
        Ok(live.map(|(session, _)| Scope::Session(SessionId::new(*session))).collect())
    }

    /// Whether an actor has live keys of its own. A session that an earlier build upgraded kept its
    /// keys as its own, so they are looked up there until they expire.
    pub(in crate::app) fn has_live(
        &mut self,
        store: &dyn Store,
        scope: Scope,
        now: Time,
    ) -> Result<bool, ReadError> {
        let hours = &self.load(store, scope)?.counts.hours;
        Ok(hours.iter().any(|(hour, ..)| !is_past(*hour, now)))
    }

    /// Counts one more live key; [`LiveKeys::took`] when its commit is made.
    pub(in crate::app) fn next(
        &mut self,
        store: &dyn Store,
        scope: Scope,
        now: Time,
    ) -> Result<KeyReservation, ReadError> {
        let hour = hour_of(now);
        let actor = self.load(store, scope)?;
        if actor.left > 0 && actor.counts.hours.last().is_some_and(|(begun, ..)| *begun == hour) {
            return Ok(KeyReservation { scope, written: None });
        }
        let mut counts = actor.counts.clone();
        forget(&mut counts, now);
        if counts.hours.last().is_none_or(|(begun, ..)| *begun != hour) {
            counts.hours.push((hour, 0, 0));
        }
        let mut ahead = 1;
        if let Some((_, keys, bytes)) = counts.hours.last_mut() {
            ahead = (*keys).clamp(1, BLOCK);
            *keys = keys.saturating_add(ahead);
            *bytes = bytes.saturating_add(actor.bytes);
        }
        let is_full = actor.unlisted.len() >= BLOCK as usize;
        let block = is_full.then(|| (hour, block_of(&actor.unlisted)));
        Ok(KeyReservation {
            scope,
            written: Some(Box::new(CountUpdate { counts, left: ahead - 1, block })),
        })
    }

    /// The commit of a key is made: how its actor's keys are found again.
    pub(in crate::app) fn took(
        &mut self,
        KeyReservation { scope, written }: KeyReservation,
        (digest, revision): (Digest, Revision),
        (bytes, parts): (u64, u8),
    ) -> KeyIndexing {
        let actor = self.actors.entry(scope).or_default();
        if let Some(written) = written {
            actor.counts = written.counts;
            actor.left = written.left;
            actor.bytes = 0;
            if written.block.is_some() {
                actor.unlisted.clear();
            }
            let (keys, live_bytes) = live(&actor.counts);
            let is_over = is_over(&self.rules, keys, live_bytes);
            if is_over && self.shedding.len() < SHEDDING_MAX && !self.shedding.contains(&scope) {
                self.shedding.push_back(scope);
            }
        } else {
            actor.left = actor.left.saturating_sub(1);
        }
        actor.bytes += bytes + OVERHEAD_BYTES;
        actor.unlisted.push((digest, revision, parts));
        let (keys, _) = live(&actor.counts);
        if keys > 2 * u64::from(BLOCK) { KeyIndexing::InBlocks } else { KeyIndexing::Unlisted }
    }

    /// What the upgrade of an anonymous session does to its keys; `None`: it used none.
    pub(in crate::app) fn adopt(
        &mut self,
        store: &dyn Store,
        (session, user): (SessionId, UserId),
        now: Time,
    ) -> Result<Option<Adoption>, ReadError> {
        let from = Scope::Session(session);
        let ActorKeys { counts: mut moved, bytes, unlisted, .. } = self.load(store, from)?.clone();
        forget(&mut moved, now);
        let Some((hour, ..)) = moved.hours.last().copied() else { return Ok(None) };
        if let Some((.., last)) = moved.hours.last_mut() {
            *last += bytes;
        }
        let to = Scope::User(user);
        let mut counts = self.load(store, to)?.counts.clone();
        forget(&mut counts, now);
        for (hour, keys, bytes) in moved.hours {
            match counts.hours.binary_search_by_key(&hour, |(hour, ..)| *hour) {
                Ok(at) => {
                    counts.hours[at].1 = counts.hours[at].1.saturating_add(keys);
                    counts.hours[at].2 += bytes;
                }
                Err(at) => counts.hours.insert(at, (hour, keys, bytes)),
            }
        }
        counts.adopted.push((session.bits(), now.plus(KEPT).ms()));
        if counts.adopted.len() > ADOPTED_MAX {
            counts.adopted.remove(0);
            tracing::warn!(
                parent: None, %user,
                "the keys of the user's oldest anonymous session are forgotten: too many upgrades"
            );
        }
        let block = (!unlisted.is_empty()).then(|| (hour, block_of(&unlisted)));
        Ok(Some(Adoption { session: from, user: to, counts, block }))
    }

    /// The commit of an upgrade is made.
    pub(in crate::app) fn adopted_now(&mut self, adoption: Adoption) {
        self.actors.remove(&adoption.session);
        self.actors.entry(adoption.user).or_default().counts = adoption.counts;
    }

    /// Deletes the oldest keys of an actor that has more than it may, one block of them; `None`:
    /// nobody has.
    pub(in crate::app) fn shed(
        &mut self,
        store: &dyn Store,
        now: Time,
    ) -> Result<Option<Vec<Write>>, ReadError> {
        while let Some(scope) = self.shedding.front().copied() {
            let mut counts = self.load(store, scope)?.counts.clone();
            forget(&mut counts, now);
            let scopes = [vec![scope], self.adopted(store, scope, now)?].concat();
            let (keys, bytes) = live(&counts);
            let is_over = is_over(&self.rules, keys, bytes);
            let Some((hour, ..)) = counts.hours.first().copied().filter(|_| is_over) else {
                self.shedding.pop_front();
                continue;
            };
            let mut writes = Vec::new();
            let mut found = None;
            for scope in scopes {
                if let Some(row) = first(store, &Key::blocks_of(hour, scope))? {
                    found = Some((scope, row));
                    break;
                }
            }
            let mut shed = 0;
            if let Some((of, row)) = found {
                (writes, shed) = delete_block(store, of, &row)?;
                take_from_oldest(&mut counts, shed);
            } else {
                // What is in no block is found when it is too old.
                counts.hours.remove(0);
            }
            writes.push(Write::put(Key::AnswerCount(scope).encode(), value::write(2, &counts)));
            if let Some(actor) = self.actors.get_mut(&scope) {
                actor.counts = counts;
            }
            self.notifier.counters.keys_shed.fetch_add(shed, Ordering::Relaxed);
            if now.since(self.warned_at) >= WARN_EVERY || self.warned_at == Time::ZERO {
                self.warned_at = now;
                tracing::warn!(
                    parent: None, actor = ?scope, keys, bytes,
                    "an actor has more live Idempotency-Keys than it may; its oldest are forgotten"
                );
            }
            return Ok(Some(writes));
        }
        Ok(None)
    }

    fn load(&mut self, store: &dyn Store, scope: Scope) -> Result<&mut ActorKeys, ReadError> {
        if !self.actors.contains_key(&scope) {
            if self.actors.len() >= ACTORS_MAX {
                self.actors.clear();
            }
            let key = Key::AnswerCount(scope);
            let counts = match store.get(View::Staged, &key.encode())? {
                Some(row) => AnswerCountV2::read(&key, &row.value, ESTIMATED_BYTES)?,
                None => AnswerCountV2::default(),
            };
            self.actors.insert(scope, ActorKeys { counts, ..ActorKeys::default() });
        }
        Ok(self.actors.entry(scope).or_default())
    }
}

/// Deletes the oldest block of keys that are all too old; `None`: there is none.
pub(in crate::app) fn forget_block(
    store: &dyn Store,
    now: Time,
) -> Result<Option<Vec<Write>>, ReadError> {
    let Some(row) = first(store, Key::ANSWER_BLOCKS)? else { return Ok(None) };
    match Key::decode(&row.key) {
        Some(Key::AnswerBlock(hour, scope, _)) if is_past(hour, now) => {
            Ok(Some(delete_block(store, scope, &row)?.0))
        }
        _ => Ok(None),
    }
}

/// Whether an answer count says nothing any more.
pub(in crate::app) fn is_count_over(key: &Key, bytes: &[u8], now: Time) -> Result<bool, ReadError> {
    let mut counts = AnswerCountV2::read(key, bytes, ESTIMATED_BYTES)?;
    forget(&mut counts, now);
    Ok(counts.hours.is_empty() && counts.adopted.is_empty())
}

/// Deletes what a block lists and was not written again since, and the block; how many keys.
fn delete_block(
    store: &dyn Store,
    scope: Scope,
    row: &Row,
) -> Result<(Vec<Write>, u64), ReadError> {
    let mut writes = vec![Write::delete(row.key.clone())];
    let mut keys = 0;
    let key = Key::decode(&row.key).unwrap_or(Key::AnswerCount(scope));
    for (digest, revision, parts) in AnswerBlockV1::read(&key, &row.value)?.answers {
        let first = Key::Answer(scope, digest, 0).encode();
        let found = store.get(View::Staged, &first)?;
        if found.is_some_and(|found| found.revision.get() == revision) {
            keys += 1;
            let all = (0..parts.max(1)).map(|part| Key::Answer(scope, digest, part).encode());
            writes.extend(all.map(Write::delete));
        }
    }
    Ok((writes, keys))
}

fn first(store: &dyn Store, prefix: &[u8]) -> Result<Option<Row>, ReadError> {
    let page = store.scan(View::Staged, &KeyRange::prefix(prefix), Order::Ascending, 1)?;
    Ok(page.rows.into_iter().next())
}

fn block_of(unlisted: &[(Digest, Revision, u8)]) -> AnswerBlockV1 {
    let answers = unlisted.iter().map(|(digest, at, parts)| (*digest, at.get(), *parts));
    AnswerBlockV1 { answers: answers.collect() }
}

/// Takes keys from the oldest hour, and their part of its bytes.
fn take_from_oldest(counts: &mut AnswerCountV2, shed: u64) {
    let Some((_, keys, bytes)) = counts.hours.first_mut() else { return };
    let before = u64::from(*keys);
    let left = before.saturating_sub(shed);
    if left == 0 {
        counts.hours.remove(0);
        return;
    }
    *bytes = bytes.saturating_mul(left) / before;
    *keys = u32::try_from(left).unwrap_or(u32::MAX);
}

fn live(counts: &AnswerCountV2) -> (u64, u64) {
    let add = |(keys, bytes): (u64, u64), hour: &(u32, u32, u64)| {
        (keys + u64::from(hour.1), bytes.saturating_add(hour.2))
    };
    counts.hours.iter().fold((0, 0), add)
}

fn is_over(rules: &Rules, keys: u64, bytes: u64) -> bool {
    keys > rules.idempotency_keys_max || bytes > rules.idempotency_bytes_max
}

fn forget(counts: &mut AnswerCountV2, now: Time) {
    counts.hours.retain(|(begun, ..)| !is_past(*begun, now));
    counts.adopted.retain(|(_, until_ms)| now.ms() < *until_ms);
}

fn hour_of(now: Time) -> u32 {
    u32::try_from(now.ms() / HOUR_MS).unwrap_or(u32::MAX)
}

/// Whether all keys that began in this hour are forgotten.
fn is_past(hour: u32, now: Time) -> bool {
    Time::from_ms((u64::from(hour) + 1) * HOUR_MS).plus(KEPT) <= now
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Batch;
    use crate::store::memory::Memory;

    const SCOPE: Scope = Scope::User(UserId::new(1));

    fn keys() -> LiveKeys {
        LiveKeys::new(Arc::new(Rules::default()), Arc::new(Notifier::new()))
    }

    /// Uses a key; how many rows its commit writes beside the answer.
    fn using(keys: &mut LiveKeys, store: &Memory, number: u64, now: Time) -> usize {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        // What was not committed is counted again.
        drop(keys.next(store, SCOPE, now).unwrap());
        let one_more = keys.next(store, SCOPE, now).unwrap();
        let revision = store.durable().next();
        let mut pack = Pack::default();
        one_more.put(revision, &mut pack);
        let mut writes = pack.into_writes();
        let rows = writes.len();
        writes.push(Write::put(Key::Answer(SCOPE, digest, 0).encode(), vec![1]));
        assert_eq!(
            store.commit(Batch { writes, ..Batch::default() }).unwrap().revision(),
            revision
        );
        keys.took(one_more, (digest, revision), (100, 1));
        rows
    }

    fn counted(store: &Memory) -> AnswerCountV2 {
        let key = Key::AnswerCount(SCOPE);
        let row = store.get(View::Staged, &key.encode()).unwrap().unwrap();
        AnswerCountV2::read(&key, &row.value, 0).unwrap()
    }

    fn rows_under(store: &Memory, prefix: &[u8]) -> usize {
        let page = store.scan(View::Staged, &KeyRange::prefix(prefix), Order::Ascending, 200);
        page.unwrap().rows.len()
    }

    #[test]
    fn a_busy_actors_key_costs_a_share_of_two_rows_for_each_block() {
        let (store, mut keys) = (Memory::new(), keys());
        let now = Time::from_ms(1_700_000_000_000);
        let first: usize = (0..1000).map(|number| using(&mut keys, &store, number, now)).sum();
        let next: usize = (1000..2000).map(|number| using(&mut keys, &store, number, now)).sum();
        assert!(first <= 45 && next <= 33, "{first} {next}");
        let (count, bytes) = live(&counted(&store));
        assert!((2000..2064).contains(&count), "{count}");
        assert!(bytes <= 2000 * (100 + OVERHEAD_BYTES) && bytes > 1900 * (100 + OVERHEAD_BYTES));
        // Whoever starts anew reads what was written, and never counts too few.
        let mut again = self::keys();
        using(&mut again, &store, 2000, now);
        assert!(live(&counted(&store)).0 >= 2001);
    }

    #[test]
    fn blocks_are_forgotten_when_all_their_keys_are_and_spare_what_was_used_anew() {
        let (store, mut keys) = (Memory::new(), keys());
        let now = Time::from_ms(1_700_000_000_000);
        for number in 0..200 {
            using(&mut keys, &store, number, now);
        }
        assert!(forget_block(&store, now.plus(Span::from_hours(23))).unwrap().is_none());
        let late = now.plus(Span::from_hours(25));
        // This one was used again after its time.
        using(&mut keys, &store, 3, late);
        while let Some(writes) = forget_block(&store, late).unwrap() {
            drop(store.commit(Batch { writes, ..Batch::default() }).unwrap());
        }
        assert_eq!(rows_under(&store, Key::ANSWER_BLOCKS), 0);
        let mut digest = [0; 32];
        digest[7] = 3;
        let again = Key::Answer(SCOPE, digest, 0).encode();
        assert!(store.get(View::Staged, &again).unwrap().is_some());
        // The last eight were in no block yet.
        assert_eq!(rows_under(&store, Key::ANSWERS), 9);
        let row = store.get(View::Staged, &Key::AnswerCount(SCOPE).encode()).unwrap().unwrap();
        let key = Key::AnswerCount(SCOPE);
        assert!(!is_count_over(&key, &row.value, late).unwrap());
        assert!(is_count_over(&key, &row.value, late.plus(Span::from_hours(26))).unwrap());
    }

    #[test]
    fn one_user_has_a_bounded_number_of_sessions_keys_looked_up() {
        let (store, mut keys) = (Memory::new(), keys());
        let now = Time::from_ms(1_700_000_000_000);
        for number in 0..100_u128 {
            let session = SessionId::new(number);
            let one_more = keys.next(&store, Scope::Session(session), now).unwrap();
            keys.took(one_more, ([1; 32], Revision::new(1)), (100, 1));
            let adoption = keys.adopt(&store, (session, UserId::new(1)), now).unwrap().unwrap();
            keys.adopted_now(adoption);
        }
        let adopted = keys.adopted(&store, SCOPE, now).unwrap();
        assert_eq!(adopted.len(), ADOPTED_MAX);
        assert_eq!(adopted.last(), Some(&Scope::Session(SessionId::new(99))));
        assert!(keys.adopted(&store, SCOPE, now.plus(KEPT)).unwrap().is_empty());
    }
}
