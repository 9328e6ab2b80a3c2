//! The compactor's thread: merges memory into sled, syncs and notes it, writes snapshots and lets the
//! index adopt them, retires segments. One after the other in one thread: between two merges sled
//! stands exactly at one revision.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::StoreError;
use super::checkpoint::{Checkpoint, CheckpointFile, Position};
use super::memtables::FrozenMemtable;
use super::shared::Shared;
use super::snapshot::{self, Snapshot, SnapshotReader, SnapshotRow, SnapshotWriter};
use super::value_location::ENTRY_BYTES_MAX;

/// Rows that a snapshot takes in, or that the index adopts, between two merges.
const SNAPSHOT_ROWS: usize = 20_000;
/// A look at the room after so many bytes that sled may have written meanwhile: each key that is
/// merged may write its whole leaf, with as many entries as a leaf holds before it splits.
const LOOK_EVERY_BYTES: usize = 4 * 1024 * 1024;
const LEAF_ENTRIES: usize = 16;
/// Pause between two checks of the disk space.
const DISK_SPACE_WAIT: Duration = Duration::from_millis(100);

/// Pause before another snapshot is tried after one could not be written.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);

/// A snapshot on its way.
#[derive(Debug)]
enum SnapshotWork {
    /// It is being written.
    Write(SnapshotWriter),
    /// It is on the disk, and the index is adopting it.
    Adopt(SnapshotReader),
}

/// State of the compactor's thread.
#[derive(Debug)]
pub(super) struct Compactor {
    shared: Arc<Shared>,
    checkpoint: CheckpointFile,
    /// Where sled stands.
    applied: Position,
    /// Where sled is known to stand on the disk.
    checkpointed: Position,
    /// The snapshot that the index has adopted.
    snapshot: Option<Snapshot>,
    making: Option<SnapshotWork>,
    snapshot_dir: PathBuf,
    snapshot_not_before: Instant,
}

impl Compactor {
    /// Goes on with a sled that stands, noted, at `noted`, with the snapshot that it has adopted and one
    /// that it has not.
    pub(super) fn new(
        shared: Arc<Shared>,
        checkpoint: CheckpointFile,
        checkpointed: Position,
        (snapshot, unadopted): (Option<Snapshot>, Option<Snapshot>),
    ) -> Result<Self, StoreError> {
        let snapshot_dir = shared.options.dir.join("base");
        let snapshot_not_before = Instant::now();
        let making = unadopted.map(Snapshot::reader).transpose()?.map(SnapshotWork::Adopt);
        Ok(Self {
            shared,
            checkpoint,
            applied: checkpointed,
            checkpointed,
            snapshot,
            making,
            snapshot_dir,
            snapshot_not_before,
        })
    }

    /// Runs until the store is abandoned, or is closing and everything is merged and noted.
    ///
    /// After an error sled is not believed any more: what a failed sync left unwritten, a later
    /// sync that succeeds would not write either. The next start makes it anew.
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            if let Err(error) = self.checkpoint.write(&Checkpoint::DISTRUST) {
                tracing::error!(%error, "could not note that the index is not to be believed");
            }
            self.shared.fail(&error);
        }
    }

    fn work(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        loop {
            let pause = match self.making {
                Some(_) => Duration::ZERO,
                None => shared.options.apply_interval,
            };
            shared.await_compaction(pause);
            if shared.is_abandoned() {
                return Ok(());
            }
            let drained = shared.is_drained();
            if !self.merge()? {
                return Ok(());
            }
            let behind = shared.journal.bytes_between(self.checkpointed, self.applied);
            if drained {
                return if behind > 0 { self.checkpoint() } else { Ok(()) };
            }
            if behind >= shared.options.checkpoint_after_bytes {
                self.checkpoint()?;
            }
            self.snapshot()?;
        }
    }

    /// Merges what is in memory into sled; false: abandoned on the way.
    fn merge(&mut self) -> Result<bool, StoreError> {
        let shared = self.shared.clone();
        let nothing_new = shared.memory.read().position.revision == self.applied.revision;
        if nothing_new || !shared.disk_space.allows_index()? {
            return Ok(!shared.is_abandoned());
        }
        let FrozenMemtable { memtable, position, .. } = shared.memory.freeze();
        let mut unseen_bytes = LOOK_EVERY_BYTES;
        for (key, entry) in memtable.iter() {
            if unseen_bytes >= LOOK_EVERY_BYTES {
                if !self.await_room()? {
                    return Ok(false);
                }
                unseen_bytes = 0;
            }
            shared.index.apply(key, entry)?;
            unseen_bytes += leaf_bytes(key);
        }
        // sled divides a leaf that has grown too large when it comes by it the next time, a reader's
        // time too. It is done here: a reader has no business to write, least of all on a full disk.
        for (key, _) in memtable.iter() {
            shared.index.revision(key)?;
        }
        if let Some(SnapshotWork::Write(writing)) = &mut self.making
            && let Err(error) = writing.amend(&memtable)
        {
            self.give_up_base(&error);
        }
        // At once, while there is room that was looked at: sled must have nothing left to write when
        // somebody else fills the disk.
        shared.index.set_applied(position.revision)?;
        shared.index.sync()?;
        shared.counters.applied(memtable.len());
        shared.memory.applied();
        shared.work.notify_all();
        self.applied = position;
        Ok(true)
    }

    /// Waits while there is no room to merge; false: abandoned.
    fn await_room(&self) -> Result<bool, StoreError> {
        while !self.shared.disk_space.allows_index()? {
            // A store that closes does not wait: the journal has it all, the next start merges it.
            if self.shared.is_abandoned() || self.shared.is_drained() {
                return Ok(false);
            }
            self.shared.await_compaction(DISK_SPACE_WAIT);
        }
        Ok(!self.shared.is_abandoned())
    }

    /// Says in the checkpoint how far sled is on the disk; takes no new room.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.checkpoint.write(&Checkpoint { index: shared.index.id(), position: self.applied })?;
        self.checkpointed = self.applied;
        shared.counters.checkpoint();
        shared.counters.sled_bytes(shared.index.disk_bytes()?);
        self.retire()
    }

    /// Begins a snapshot when the journal has outgrown the last one, or goes on with the one begun.
    fn snapshot(&mut self) -> Result<(), StoreError> {
        if let Some(SnapshotWork::Adopt(_)) = &self.making {
            return self.adopt();
        }
        if let Err(error) = self.write_base() {
            self.give_up_base(&error);
        }
        Ok(())
    }

    /// A snapshot that cannot be written costs nothing but the room of the journal that it would have
    /// freed, so that is no reason to stop.
    fn give_up_base(&mut self, error: &StoreError) {
        tracing::warn!(%error, "could not write a base; trying again later");
        self.making = None;
        if let Err(error) = snapshot::remove_unfinished(&self.snapshot_dir) {
            tracing::warn!(%error, "could not remove what was written of it");
        }
        self.snapshot_not_before = Instant::now() + SNAPSHOT_PAUSE;
    }

    fn write_base(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        if self.making.is_none() {
            let last =
                self.snapshot.as_ref().map_or(Position::start(), |snapshot| snapshot.position);
            let last_bytes = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes);
            let behind = shared.journal.bytes_between(last, self.applied);
            let due = behind >= shared.options.base_after_bytes.max(last_bytes)
                && Instant::now() >= self.snapshot_not_before;
            // It holds no more than the last one and what was written since.
            if !due
                || shared.disk_space.is_short()
                || !shared.disk_space.allows(last_bytes + behind)?
            {
                return Ok(());
            }
            let number = self.snapshot.as_ref().map_or(1, |snapshot| snapshot.number + 1);
            self.making =
                Some(SnapshotWork::Write(SnapshotWriter::begin(&self.snapshot_dir, number)?));
        }
        let Some(SnapshotWork::Write(writing)) = &mut self.making else { return Ok(()) };
        let is_through = writing.walk(&shared.index, SNAPSHOT_ROWS)?;
        if !shared.disk_space.allows_index()? {
            // Somebody else takes the room: what is left of it is the index's.
            return Err(StoreError::NoSpace);
        }
        if !is_through {
            return Ok(());
        }
        if let Some(SnapshotWork::Write(writing)) = self.making.take() {
            let snapshot = writing.finish(self.applied)?;
            shared.counters.snapshot(snapshot.bytes);
            let reader = snapshot.clone().reader()?;
            shared.values.add(snapshot);
            self.making = Some(SnapshotWork::Adopt(reader));
        }
        Ok(())
    }

    /// Lets the index adopt some more of the snapshot that is on the disk. When all is done and noted,
    /// nothing is read any more from older snapshots, nor from the journal before the snapshot's position.
    fn adopt(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let mut rows = 0;
        let mut unseen_bytes = LOOK_EVERY_BYTES;
        while rows < SNAPSHOT_ROWS {
            if unseen_bytes >= LOOK_EVERY_BYTES {
                if !self.await_room()? {
                    return Ok(());
                }
                unseen_bytes = 0;
            }
            let Some(SnapshotWork::Adopt(reader)) = &mut self.making else { return Ok(()) };
            let Some(block) = reader.next_block()? else { return self.adopted() };
            rows += block.len();
            for SnapshotRow { row, deleted, start } in block {
                if !deleted {
                    shared.index.adopt(&row.key, row.revision, &row.value, start)?;
                    unseen_bytes += leaf_bytes(&row.key);
                }
            }
        }
        shared.index.sync()
    }

    fn adopted(&mut self) -> Result<(), StoreError> {
        let Some(SnapshotWork::Adopt(SnapshotReader { snapshot, .. })) = self.making.take() else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.index.set_adopted(snapshot.number)?;
        shared.index.sync()?;
        self.checkpoint.write(&Checkpoint { index: shared.index.id(), position: self.applied })?;
        self.checkpointed = self.applied;
        shared.values.keep_only(snapshot.number);
        snapshot.remove_others()?;
        self.snapshot = Some(snapshot);
        self.retire()
    }

    /// Lets go of segments that neither the snapshot nor the checkpoint needs.
    fn retire(&self) -> Result<(), StoreError> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let base_is_older = snapshot.position.revision <= self.checkpointed.revision;
        let needless = if base_is_older { snapshot.position } else { self.checkpointed };
        self.shared.journal.retire(needless, self.shared.options.journal_retain_bytes)
    }
}

/// Returns the bytes that writing `key` into sled may take on the disk.
fn leaf_bytes(key: &Bytes) -> usize {
    (key.len() + ENTRY_BYTES_MAX) * LEAF_ENTRIES
}
