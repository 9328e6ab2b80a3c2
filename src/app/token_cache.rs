//! Cache of decoded records for the path of every request, never older than what was acknowledged.
//!
//! Before the executor stages a commit it calls [`TokenCache::invalidate`] with the commit's
//! revision. That removes the entry and makes its shard refuse everything that was read at an
//! earlier revision. So no request finds an old entry once the commit is visible, and until then
//! requests read the store: a session that was acknowledged as ended is dead at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::types::Revision;

/// Number of shards: enough that a commit to one record seldom prevents the caching of another.
const SHARDS: usize = 256;

struct Shard<K, V> {
    /// Records that were read before this revision are not inserted.
    floor: Revision,
    entries: HashMap<K, (V, usize), RandomState>,
    /// Estimated bytes of all entries.
    bytes: usize,
}

impl<K: Eq + Hash + Copy, V> Shard<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some((_, bytes)) = self.entries.remove(key) {
            self.bytes -= bytes;
        }
    }
}

/// A cache with a limit on the bytes of its entries.
pub(super) struct TokenCache<K, V> {
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K, V>>]>,
    bytes_per_shard_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> TokenCache<K, V> {
    /// Returns an empty cache with this limit.
    pub(super) fn new(bytes_max: usize) -> Self {
        let empty = || Shard { floor: Revision::ZERO, entries: HashMap::default(), bytes: 0 };
        let shard = || Mutex::new(empty());
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            bytes_per_shard_max: bytes_max / SHARDS,
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the entry, if there is one.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.shard(key).entries.get(key).map(|(value, _)| value.clone())
    }

    /// Inserts a record that was read at a revision, unless a commit was staged since. `bytes`
    /// estimates its size.
    pub(super) fn insert(&self, key: K, value: V, bytes: usize, read_at: Revision) {
        let max = self.bytes_per_shard_max;
        let mut shard = self.shard(&key);
        if read_at < shard.floor || bytes > max {
            return;
        }
        shard.remove(&key);
        while shard.bytes + bytes > max {
            // Evicts any entry. The hasher is random, so nobody can choose a victim.
            let Some(victim) = shard.entries.keys().next().copied() else { break };
            shard.remove(&victim);
        }
        shard.bytes += bytes;
        shard.entries.insert(key, (value, bytes));
    }

    /// Removes an entry because the commit of this revision changes it.
    pub(super) fn invalidate(&self, key: &K, revision: Revision) {
        let mut shard = self.shard(key);
        shard.remove(key);
        shard.floor = shard.floor.max(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_commit_never_comes_back() {
        let cache = TokenCache::new(100_000);
        cache.insert(1, "old", 100, Revision::new(5));
        assert_eq!(cache.get(&1), Some("old"));
        cache.invalidate(&1, Revision::new(6));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, "old", 100, Revision::new(5));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, "new", 100, Revision::new(6));
        assert_eq!(cache.get(&1), Some("new"));
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let cache = TokenCache::new(SHARDS * 200);
        for key in 0..10_000 {
            cache.insert(key, (), if key % 3 == 0 { 150 } else { 100 }, Revision::new(1));
        }
        let kept = (0..10_000).filter(|key| cache.get(key).is_some());
        let bytes: usize = kept.map(|key| if key % 3 == 0 { 150 } else { 100 }).sum();
        assert!(bytes <= SHARDS * 200 && bytes > SHARDS * 100, "{bytes}");
        cache.insert(1, (), 1000, Revision::new(1));
        let larger_than_its_shard = cache.shard(&1).bytes;
        assert!(larger_than_its_shard <= 200);
    }
}
