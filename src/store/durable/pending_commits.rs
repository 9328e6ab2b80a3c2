//! The stage: commits that were accepted and are on their way to the disk.
//!
//! A commit gets its revision, its place in a frame and its link of the chain here, while the
//! disk is busy with the group before. [`View::Staged`](super::super::View) looks here first.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::super::chain::ChainLink;
use super::super::{Batch, Promise, Receipt, StoreError, Write};
use super::checkpoint::Position;
use super::frame::{FrameBuilder, encoded_bytes, padded};
use super::memtables::KeyVersion;
use crate::types::Revision;
use bytes::Bytes;

type Waiter = Promise;

/// Largest memory of a frame that is kept to be used again.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// Frames whose memory is kept: one on its way to the disk, one that grows meanwhile.
const SPARES_MAX: usize = 2;

/// A write of a commit that has its place in a frame.
#[derive(Clone, Debug)]
pub(super) struct FramedWrite {
    /// The commit.
    pub(super) revision: Revision,
    /// The write.
    pub(super) write: Write,
    /// Where in the frame the value begins.
    pub(super) offset: usize,
}

/// Commits that will be one frame.
#[derive(Debug)]
pub(super) struct CommitGroup {
    /// Their bytes.
    pub(super) frame: FrameBuilder,
    /// Their writes, for the memtables.
    pub(super) writes: Vec<FramedWrite>,
    /// The last of them.
    pub(super) last: Revision,
    /// The chain's link after the last.
    pub(super) link: ChainLink,
    /// Number of commits.
    pub(super) commits: u32,
}

/// Everything between `commit` and the disk.
#[derive(Debug)]
pub(super) struct PendingCommits {
    /// Groups that wait, oldest first. The last one may still grow.
    groups: VecDeque<CommitGroup>,
    /// Bytes that the waiting groups and the one being written will take in the journal.
    bytes: usize,
    in_flight_bytes: usize,
    /// Newest writes that are not durable yet.
    pending: HashMap<Bytes, KeyVersion, RandomState>,
    waiters: VecDeque<(Revision, Waiter)>,
    last: Revision,
    link: ChainLink,
    /// A random secret of this process: salts are derived from it.
    salt_key: [u8; 32],
    group_bytes_max: usize,
    /// Memory of frames that were written: the next one is as large, mostly, and need not grow.
    spares: Vec<Vec<u8>>,
    /// Set once, when the store stops; what every later commit is answered.
    pub(super) stopped: Option<StoreError>,
}

impl PendingCommits {
    /// An empty stage behind `position`.
    pub(super) fn new(position: Position, salt_key: [u8; 32], group_bytes_max: usize) -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
            in_flight_bytes: 0,
            pending: HashMap::default(),
            waiters: VecDeque::new(),
            last: position.revision,
            link: position.link,
            salt_key,
            group_bytes_max,
            spares: Vec::new(),
            stopped: None,
        }
    }

    /// Bytes on their way to the journal.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.in_flight_bytes
    }

    /// The newest staged revision.
    pub(super) const fn last(&self) -> Revision {
        self.last
    }

    /// The newest staged write of `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<&KeyVersion> {
        self.pending.get(key)
    }

    /// The staged writes.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&Bytes, &KeyVersion)> {
        self.pending.iter()
    }

    /// Gives a checked batch the next revision.
    pub(super) fn push(&mut self, batch: Batch) -> Receipt {
        let bytes = encoded_bytes(&batch);
        let grows =
            |group: &CommitGroup| group.frame.payload_bytes() + bytes <= self.group_bytes_max;
        if !self.groups.back().is_some_and(grows) {
            let revision = self.last.next();
            self.groups.push_back(CommitGroup {
                frame: FrameBuilder::new(
                    revision,
                    self.link,
                    self.spares.pop().unwrap_or_default(),
                ),
                writes: Vec::new(),
                last: self.last,
                link: self.link,
                commits: 0,
            });
            self.bytes += padded(0);
        }
        let revision = self.last.next();
        let salt = self.salt(revision);
        if let Some(group) = self.groups.back_mut() {
            let (link, mut offsets) = group.frame.push(self.link, &salt, &batch);
            self.link = link;
            group.last = revision;
            group.link = self.link;
            group.commits += 1;
            group.writes.reserve(batch.writes.len());
            for write in batch.writes {
                let slot = KeyVersion { revision, value: write.value.clone() };
                self.pending.insert(write.key.clone(), slot);
                let offset = offsets.next(&write);
                group.writes.push(FramedWrite { revision, write, offset });
            }
        }
        self.last = revision;
        self.bytes += bytes;
        let (sender, receipt) = Receipt::pending(revision);
        self.waiters.push_back((revision, sender));
        receipt
    }

    /// A salt that nobody can find out once it is erased: its key is in memory only.
    fn salt(&self, revision: Revision) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.salt_key, &revision.get().to_le_bytes());
        let mut salt = [0; 16];
        salt.copy_from_slice(&hash.as_bytes()[..16]);
        salt
    }

    /// The oldest group, to be written now.
    pub(super) fn take(&mut self) -> Option<CommitGroup> {
        let group = self.groups.pop_front()?;
        self.in_flight_bytes = padded(group.frame.payload_bytes());
        let left = self.bytes.saturating_sub(self.in_flight_bytes);
        self.bytes = if self.groups.is_empty() { 0 } else { left };
        Some(group)
    }

    /// Everything up to `durable` is durable and visible: forgets it here; answers with those who
    /// wait for it. `spare` is the memory of the frame that is on the disk now.
    pub(super) fn settle(&mut self, durable: Revision, spare: Vec<u8>) -> Vec<Waiter> {
        self.in_flight_bytes = 0;
        if self.spares.len() < SPARES_MAX && spare.capacity() <= SPARE_BYTES_MAX {
            self.spares.push(spare);
        }
        // Few are left: those of the commits that came while the disk was busy.
        self.pending.retain(|_, slot| slot.revision > durable);
        let ready = self.waiters.partition_point(|(revision, _)| *revision <= durable);
        self.waiters.drain(..ready).map(|(_, waiter)| waiter).collect()
    }

    /// A receipt for a revision that is staged.
    pub(super) fn wait_for(&mut self, revision: Revision) -> Receipt {
        let (sender, receipt) = Receipt::pending(revision);
        let at = self.waiters.partition_point(|(waiting, _)| *waiting <= revision);
        self.waiters.insert(at, (revision, sender));
        receipt
    }

    /// Stops taking commits, and returns the receipts of those that wait.
    pub(super) fn stop(&mut self, why: &StoreError) -> Vec<Waiter> {
        self.stopped.get_or_insert_with(|| why.clone());
        self.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }
}
