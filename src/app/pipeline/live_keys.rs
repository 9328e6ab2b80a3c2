//! Live Idempotency-Keys of each actor: their number and order, and the anonymous sessions whose
//! keys now belong to a user.
//!
//! The answers lie under hashes, in no order. To find the oldest without a scan of all, the keys of
//! a busy actor are also listed in blocks: one row for each [`BLOCK`] keys, under the hour and the
//! actor. So a key costs its share of two rows for each block. The keys of an actor with few of
//! them, and those of the last block before a crash, are in no block; the scan of [`super::sweep`]
//! finds them.
//!
//! An actor beyond its limits is not refused: its oldest block is dropped, with a warning and a
//! metric.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::RandomState;

use super::answers::{ANSWER_LIFETIME, StoredSize};
use crate::app::notifier::Notifier;
use crate::engine::{Digest, Rules};
use crate::records::answer::{AnswerBlockV1, AnswerCountV2};
use crate::records::value;
use crate::records::{Key, Pack, ReadError, Scope};
use crate::store::{KeyRange, Order, Row, Store, View, Write};
use crate::types::{Revision, SessionId, Span, Time, UserId};

/// Number of keys that are counted ahead of their use, and of one block: one commit in this many
/// writes the count, and one the block.
const BLOCK: u32 = 64;

/// Maximum number of actors whose counts are in memory, at up to 4 KiB each with an unwritten
/// block; beyond it all are dropped and read again.
const ACTORS_MAX: usize = 10_000;

/// Maximum number of anonymous sessions whose keys are looked up for one user: each costs each new
/// key of that user one more read. Beyond it the oldest is dropped.
const ADOPTED_MAX: usize = 32;

/// Maximum number of actors that wait for their oldest keys to be dropped; others are noticed at
/// their next block.
const OVER_LIMIT_MAX: usize = 1000;

/// Bytes that the store needs for a key beside the answer: the key itself, its index entry, its
/// share of a block.
const OVERHEAD_BYTES: u64 = 150;

/// Estimated bytes of a key whose size an earlier version did not count.
const ESTIMATED_BYTES: u64 = 1024;

/// Shortest time between two warnings of dropped keys.
const WARN_EVERY: Span = Span::from_minutes(1);

const HOUR_MS: u64 = 60 * 60 * 1000;

/// Counts of live keys of recent actors. A count is written ahead, by at most as many keys as the
/// hour has had, so that not every commit writes it: a restart or the end of the hour makes it too
/// high, never too low.
pub(in crate::app) struct LiveKeys {
    rules: Arc<Rules>,
    notifier: Arc<Notifier>,
    actors: HashMap<Scope, ActorKeys, RandomState>,
    /// Actors over their limits, whose oldest keys are dropped.
    over_limit: VecDeque<Scope>,
    warned_at: Time,
}

/// Live keys of one actor.
#[derive(Clone, Debug, Default)]
struct ActorKeys {
    /// Counts as they are stored.
    counts: AnswerCountV2,
    /// Number of keys that were counted ahead and not used yet.
    left: u32,
    /// Bytes that are not in the stored counts yet.
    bytes: u64,
    /// Keys in no block yet: hash, commit, number of parts.
    unlisted: Vec<(Digest, Revision, u8)>,
}

/// A count of one more live key, for the commit that stores its answer.
#[derive(Debug)]
pub(in crate::app) struct KeyReservation {
    scope: Scope,
    /// Rows that the commit writes; `None`: the key was counted ahead.
    written: Option<Box<CountUpdate>>,
}

#[derive(Debug)]
struct CountUpdate {
    counts: AnswerCountV2,
    left: u32,
    block: Option<(u32, AnswerBlockV1)>,
}

impl KeyReservation {
    /// Writes the rows into the commit.
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

/// Change of the owner of keys: from an anonymous session to the user of its upgrade.
#[derive(Debug)]
pub(in crate::app) struct KeyAdoption {
    session: Scope,
    user: Scope,
    counts: AnswerCountV2,
    block: Option<(u32, AnswerBlockV1)>,
}

impl KeyAdoption {
    /// Writes the rows into the commit.
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

/// Way in which the expired keys of an actor are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum KeyIndexing {
    /// By blocks.
    InBlocks,
    /// By a scan of everything.
    Unlisted,
}

impl LiveKeys {
    pub(in crate::app) fn new(rules: Arc<Rules>, notifier: Arc<Notifier>) -> Self {
        let actors = HashMap::default();
        Self { rules, notifier, actors, over_limit: VecDeque::new(), warned_at: Time::ZERO }
    }

    /// Returns the scopes in which a user's keys are looked up beside its own: upgraded anonymous
    /// sessions whose keys are live.
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

    /// Returns whether an actor has live keys of its own. A session that an earlier version
    /// upgraded has kept its keys, so they are looked up there until they expire.
    pub(in crate::app) fn has_live(
        &mut self,
        store: &dyn Store,
        scope: Scope,
        now: Time,
    ) -> Result<bool, ReadError> {
        let hours = &self.load(store, scope)?.counts.hours;
        Ok(hours.iter().any(|(hour, ..)| !is_past(*hour, now)))
    }

    /// Counts one more live key; [`LiveKeys::commit`] follows when its commit is staged.
    pub(in crate::app) fn reserve(
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

    /// Notes that the commit of a key is staged. Returns how the keys of its actor are found again.
    pub(in crate::app) fn commit(
        &mut self,
        KeyReservation { scope, written }: KeyReservation,
        (digest, revision): (Digest, Revision),
        StoredSize { bytes, parts }: StoredSize,
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
            if is_over
                && self.over_limit.len() < OVER_LIMIT_MAX
                && !self.over_limit.contains(&scope)
            {
                self.over_limit.push_back(scope);
            }
        } else {
            actor.left = actor.left.saturating_sub(1);
        }
        actor.bytes += bytes + OVERHEAD_BYTES;
        actor.unlisted.push((digest, revision, parts));
        let (keys, _) = live(&actor.counts);
        if keys > 2 * u64::from(BLOCK) { KeyIndexing::InBlocks } else { KeyIndexing::Unlisted }
    }

    /// Returns the adoption of an anonymous session's keys by its user; `None` if it has none.
    pub(in crate::app) fn adopt(
        &mut self,
        store: &dyn Store,
        (session, user): (SessionId, UserId),
        now: Time,
    ) -> Result<Option<KeyAdoption>, ReadError> {
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
        counts.adopted.push((session.bits(), now.plus(ANSWER_LIFETIME).ms()));
        if counts.adopted.len() > ADOPTED_MAX {
            counts.adopted.remove(0);
            tracing::warn!(
                parent: None, %user,
                "too many upgraded sessions; Idempotency-Keys of the oldest are dropped"
            );
        }
        let block = (!unlisted.is_empty()).then(|| (hour, block_of(&unlisted)));
        Ok(Some(KeyAdoption { session: from, user: to, counts, block }))
    }

    /// Notes that the commit of an adoption is staged.
    pub(in crate::app) fn finish_adoption(&mut self, adoption: KeyAdoption) {
        self.actors.remove(&adoption.session);
        self.actors.entry(adoption.user).or_default().counts = adoption.counts;
    }

    /// Deletes the oldest block of an actor that has too many keys. Returns `None` if no actor has.
    pub(in crate::app) fn drop_oldest(
        &mut self,
        store: &dyn Store,
        now: Time,
    ) -> Result<Option<Vec<Write>>, ReadError> {
        while let Some(scope) = self.over_limit.front().copied() {
            let mut counts = self.load(store, scope)?.counts.clone();
            forget(&mut counts, now);
            let scopes = [vec![scope], self.adopted(store, scope, now)?].concat();
            let (keys, bytes) = live(&counts);
            let is_over = is_over(&self.rules, keys, bytes);
            let Some((hour, ..)) = counts.hours.first().copied().filter(|_| is_over) else {
                self.over_limit.pop_front();
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
            let mut dropped = 0;
            if let Some((of, row)) = found {
                (writes, dropped) = delete_block(store, of, &row)?;
                take_from_oldest(&mut counts, dropped);
            } else {
                // Keys in no block are found when they have expired.
                counts.hours.remove(0);
            }
            writes.push(Write::put(Key::AnswerCount(scope).encode(), value::write(2, &counts)));
            if let Some(actor) = self.actors.get_mut(&scope) {
                actor.counts = counts;
            }
            self.notifier.counters.keys_shed.fetch_add(dropped, Ordering::Relaxed);
            if now.since(self.warned_at) >= WARN_EVERY || self.warned_at == Time::ZERO {
                self.warned_at = now;
                tracing::warn!(
                    parent: None, actor = ?scope, keys, bytes,
                    "actor has too many live Idempotency-Keys; the oldest are dropped"
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

/// Deletes the oldest block whose keys have all expired. Returns `None` if there is none.
pub(in crate::app) fn delete_expired_block(
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

/// Returns whether an answer count has expired with all its keys.
pub(in crate::app) fn is_count_expired(
    key: &Key,
    bytes: &[u8],
    now: Time,
) -> Result<bool, ReadError> {
    let mut counts = AnswerCountV2::read(key, bytes, ESTIMATED_BYTES)?;
    forget(&mut counts, now);
    Ok(counts.hours.is_empty() && counts.adopted.is_empty())
}

/// Deletes a block and the answers that it lists, unless they were written again since. Returns the
/// number of keys.
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

/// Returns whether all keys that began in this hour are forgotten.
fn is_past(hour: u32, now: Time) -> bool {
    Time::from_ms((u64::from(hour) + 1) * HOUR_MS).plus(ANSWER_LIFETIME) <= now
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
        // A reservation that was not committed is counted again.
        drop(keys.reserve(store, SCOPE, now).unwrap());
        let one_more = keys.reserve(store, SCOPE, now).unwrap();
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
        keys.commit(one_more, (digest, revision), StoredSize { bytes: 100, parts: 1 });
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
        // After a restart the stored counts are read, which are never too low.
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
        assert!(delete_expired_block(&store, now.plus(Span::from_hours(23))).unwrap().is_none());
        let late = now.plus(Span::from_hours(25));
        // This one was used again after its time.
        using(&mut keys, &store, 3, late);
        while let Some(writes) = delete_expired_block(&store, late).unwrap() {
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
        assert!(!is_count_expired(&key, &row.value, late).unwrap());
        assert!(is_count_expired(&key, &row.value, late.plus(Span::from_hours(26))).unwrap());
    }

    #[test]
    fn one_user_has_a_bounded_number_of_sessions_keys_looked_up() {
        let (store, mut keys) = (Memory::new(), keys());
        let now = Time::from_ms(1_700_000_000_000);
        for number in 0..100_u128 {
            let session = SessionId::new(number);
            let one_more = keys.reserve(&store, Scope::Session(session), now).unwrap();
            keys.commit(one_more, ([1; 32], Revision::new(1)), StoredSize { bytes: 100, parts: 1 });
            let adoption = keys.adopt(&store, (session, UserId::new(1)), now).unwrap().unwrap();
            keys.finish_adoption(adoption);
        }
        let adopted = keys.adopted(&store, SCOPE, now).unwrap();
        assert_eq!(adopted.len(), ADOPTED_MAX);
        assert_eq!(adopted.last(), Some(&Scope::Session(SessionId::new(99))));
        assert!(keys.adopted(&store, SCOPE, now.plus(ANSWER_LIFETIME)).unwrap().is_empty());
    }
}
