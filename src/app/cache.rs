//! Decoded records for the path of every request, never older than what was acknowledged.
//!
//! The one who commits calls [`Fresh::invalidate`] with the revision that the commit will have
//! before it stages it. That takes the entry away and refuses, in its shard, whatever was read at
//! an earlier revision. So nobody finds an old entry once the commit is visible, and until then
//! everybody reads the store: what is acknowledged as ended is dead at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::types::Revision;

/// Shards: enough that a commit to one thing seldom hinders the caching of another.
const SHARDS: usize = 256;

struct Shard<K, V> {
    /// Nothing that was read before this revision may be put in.
    floor: Revision,
    entries: HashMap<K, V, RandomState>,
}

/// A bounded cache.
pub(super) struct Fresh<K, V> {
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K, V>>]>,
    per_shard_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> Fresh<K, V> {
    /// An empty one of at most so many entries.
    pub(super) fn new(entries_max: usize) -> Self {
        let shard = || Mutex::new(Shard { floor: Revision::ZERO, entries: HashMap::default() });
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            per_shard_max: (entries_max / SHARDS).max(1),
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry, if there is one.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.shard(key).entries.get(key).cloned()
    }

    /// Puts in what was read at a revision, unless something was staged since.
    pub(super) fn insert(&self, key: K, value: V, read_at: Revision) {
        let max = self.per_shard_max;
        let mut shard = self.shard(&key);
        if read_at < shard.floor {
            return;
        }
        if shard.entries.len() >= max && !shard.entries.contains_key(&key) {
            // Any one goes: the hasher is random, so nobody can aim at another's.
            let victim = shard.entries.keys().next().copied();
            if let Some(victim) = victim {
                shard.entries.remove(&victim);
            }
        }
        shard.entries.insert(key, value);
    }

    /// Takes the entry away because the commit of this revision changes it.
    pub(super) fn invalidate(&self, key: &K, revision: Revision) {
        let mut shard = self.shard(key);
        shard.entries.remove(key);
        shard.floor = shard.floor.max(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_commit_never_comes_back() {
        let cache = Fresh::new(1000);
        cache.insert(1, "old", Revision::new(5));
        assert_eq!(cache.get(&1), Some("old"));
        cache.invalidate(&1, Revision::new(6));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, "old", Revision::new(5));
        assert_eq!(cache.get(&1), None);
        cache.insert(1, "new", Revision::new(6));
        assert_eq!(cache.get(&1), Some("new"));
    }

    #[test]
    fn it_is_bounded() {
        let cache = Fresh::new(SHARDS * 2);
        for key in 0..10_000 {
            cache.insert(key, (), Revision::new(1));
        }
        let kept = (0..10_000).filter(|key| cache.get(key).is_some()).count();
        assert!(kept <= SHARDS * 2 && kept > SHARDS, "{kept}");
    }
}
