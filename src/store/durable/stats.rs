//! Figures of a running store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::types::Revision;

/// Upper bounds of the sync histogram's buckets, in microseconds; the last bucket has none.
pub const SYNC_BOUNDS_US: [u64; 12] =
    [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 102_400, 409_600];

/// Counted while the store runs; never reset.
#[derive(Debug, Default)]
pub(super) struct StoreCounters {
    commits: AtomicU64,
    groups: AtomicU64,
    group_bytes: AtomicU64,
    sync_us: AtomicU64,
    syncs: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
    applied: AtomicU64,
    checkpoints: AtomicU64,
    snapshots: AtomicU64,
    base_bytes: AtomicU64,
    sled_bytes: AtomicU64,
}

impl StoreCounters {
    pub(super) fn group(&self, commits: u32, bytes: usize, sync: Duration) {
        self.commits.fetch_add(u64::from(commits), Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.group_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        self.sync_us.fetch_add(us, Ordering::Relaxed);
        let bucket = SYNC_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.syncs.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn applied(&self, keys: usize) {
        self.applied.fetch_add(keys as u64, Ordering::Relaxed);
    }

    pub(super) fn checkpoint(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, bytes: u64) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        self.base_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn sled_bytes(&self, bytes: u64) {
        self.sled_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn fill(&self, stats: &mut Stats) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.commits = load(&self.commits);
        stats.groups = load(&self.groups);
        stats.group_bytes = load(&self.group_bytes);
        stats.sync_us = load(&self.sync_us);
        stats.syncs = std::array::from_fn(|at| load(&self.syncs[at]));
        stats.applied_keys = load(&self.applied);
        stats.checkpoints = load(&self.checkpoints);
        stats.snapshots = load(&self.snapshots);
        stats.base_bytes = load(&self.base_bytes);
        stats.sled_bytes = load(&self.sled_bytes);
    }
}

/// Figures of a store since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The last durable revision.
    pub durable: Revision,
    /// Commits made durable since the start.
    pub commits: u64,
    /// Groups they were written in.
    pub groups: u64,
    /// Bytes of these groups as they lie in the journal.
    pub group_bytes: u64,
    /// Microseconds spent in writes and syncs of groups, in all.
    pub sync_us: u64,
    /// Groups by the time that their write and sync took; bounds in [`SYNC_BOUNDS_US`].
    pub syncs: [u64; SYNC_BOUNDS_US.len() + 1],
    /// Keys merged into sled.
    pub applied_keys: u64,
    /// Number of checkpoints.
    pub checkpoints: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Bytes on their way to the journal.
    pub staged_bytes: u64,
    /// Bytes of durable commits that sled does not have yet.
    pub overlay_bytes: u64,
    /// Bytes of the journal's segments.
    pub journal_bytes: u64,
    /// Bytes of the last snapshot that was written since the start.
    pub base_bytes: u64,
    /// Bytes of sled's files at the last checkpoint.
    pub sled_bytes: u64,
    /// Bytes free on the disk at the last look.
    pub free_bytes: u64,
    /// Whether ordinary commits are refused for want of room.
    pub short_of_space: bool,
}
