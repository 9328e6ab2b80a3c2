//! Cache of decoded commits, shared by all readers: subscriptions at the same position, or catching
//! up over the same part, decode each commit once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use super::commit::FeedCommit;
use crate::types::Revision;

/// Recently read commits.
pub(super) struct LogCache {
    bytes_max: usize,
    cached: Mutex<CachedCommits>,
}

#[derive(Default)]
struct CachedCommits {
    commits: HashMap<Revision, Arc<FeedCommit>, RandomState>,
    /// Commits in the order of their insertion.
    order: VecDeque<Revision>,
    bytes: usize,
}

impl LogCache {
    /// Returns an empty cache with a limit on its bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, cached: Mutex::default() }
    }

    /// Returns a commit, if it is cached.
    pub(super) fn get(&self, revision: Revision) -> Option<Arc<FeedCommit>> {
        self.lock().commits.get(&revision).cloned()
    }

    /// Returns at most `limit` cached commits after `after`, without a gap.
    pub(super) fn run_after(&self, after: Revision, limit: usize) -> Vec<Arc<FeedCommit>> {
        let cached = self.lock();
        let mut run = Vec::new();
        let mut next = after.next();
        while run.len() < limit
            && let Some(commit) = cached.commits.get(&next)
        {
            run.push(Arc::clone(commit));
            next = next.next();
        }
        run
    }

    /// Inserts commits. The oldest insertions make room.
    pub(super) fn put(&self, read: &[Arc<FeedCommit>]) {
        let mut cached = self.lock();
        for commit in read {
            if commit.bytes > self.bytes_max || cached.commits.contains_key(&commit.revision) {
                continue;
            }
            cached.bytes += commit.bytes;
            cached.order.push_back(commit.revision);
            cached.commits.insert(commit.revision, Arc::clone(commit));
            while cached.bytes > self.bytes_max {
                let Some(oldest) = cached.order.pop_front() else { break };
                if let Some(gone) = cached.commits.remove(&oldest) {
                    cached.bytes -= gone.bytes;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, CachedCommits> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_cache_keeps_what_came_last_within_its_bytes() {
        let cache = LogCache::new(1000);
        let commits: Vec<_> = (1..=20)
            .map(|number| Arc::new(FeedCommit::nothing(Revision::new(number), 100)))
            .collect();
        cache.put(&commits);
        cache.put(&commits[15..]);
        let run = |after, limit| {
            let run = cache.run_after(Revision::new(after), limit);
            run.iter().map(|commit| commit.revision.get()).collect::<Vec<_>>()
        };
        assert_eq!(run(9, 64), Vec::<u64>::new());
        assert_eq!(run(10, 3), [11, 12, 13]);
        assert_eq!(run(17, 64), [18, 19, 20]);
        cache.put(&[Arc::new(FeedCommit::nothing(Revision::new(21), 5000))]);
        assert!(cache.get(Revision::new(21)).is_none() && cache.get(Revision::new(20)).is_some());
        assert!(cache.lock().bytes <= 1000);
    }
}
