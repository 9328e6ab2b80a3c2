//! The applier's thread: merges memory into sled, syncs and notes it, writes bases, retires
//! segments. One after the other in one thread: between two merges sled stands exactly at one
//! revision.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::StoreError;
use super::base::{Base, BaseWriter};
use super::note::{Note, NoteFile, Position};
use super::shared::Shared;
use super::tables::Frozen;

/// Rows of sled that a base takes in between two merges.
const BASE_ROWS: usize = 20_000;
/// A look at the room after so many bytes that sled may have written meanwhile: each key that is
/// merged may write its whole leaf, with as many values as a leaf holds before it splits.
const LOOK_EVERY_BYTES: usize = 4 * 1024 * 1024;
const LEAF_VALUES: usize = 16;
/// How long to wait for room on the disk before looking again.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// How long after a base that could not be written another is tried.
const BASE_PAUSE: Duration = Duration::from_secs(30);

/// What the applier knows.
#[derive(Debug)]
pub(super) struct Applier {
    shared: Arc<Shared>,
    note: NoteFile,
    /// Where sled stands.
    applied: Position,
    /// Where sled is known to stand on the disk.
    noted: Position,
    base: Option<Base>,
    writing: Option<BaseWriter>,
    base_dir: PathBuf,
    base_not_before: Instant,
}

impl Applier {
    /// Goes on with a sled that stands, noted, at `noted`.
    pub(super) fn new(
        shared: Arc<Shared>,
        note: NoteFile,
        noted: Position,
        base: Option<Base>,
    ) -> Self {
        let base_dir = shared.options.dir.join("base");
        let base_not_before = Instant::now();
        Self { shared, note, applied: noted, noted, base, writing: None, base_dir, base_not_before }
    }

    /// Runs until the store is abandoned, or is closing and everything is merged and noted.
    ///
    /// After an error sled is not believed any more: what a failed sync left unwritten, a later
    /// sync that succeeds would not write either. The next start makes it anew.
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            if let Err(error) = self.note.write(&Note::DISTRUST) {
                tracing::error!(%error, "could not note that the index is not to be believed");
            }
            self.shared.fail(&error);
        }
    }

    fn work(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        loop {
            let pause = match self.writing {
                Some(_) => Duration::ZERO,
                None => shared.options.apply_interval,
            };
            shared.await_apply(pause);
            if shared.is_abandoned() {
                return Ok(());
            }
            let drained = shared.is_drained();
            if !self.merge()? {
                return Ok(());
            }
            let behind = shared.journal.bytes_between(self.noted, self.applied);
            if drained {
                return if behind > 0 { self.checkpoint() } else { Ok(()) };
            }
            if behind >= shared.options.checkpoint_after_bytes {
                self.checkpoint()?;
            }
            self.base();
        }
    }

    /// Merges what is in memory into sled; false: abandoned on the way.
    fn merge(&mut self) -> Result<bool, StoreError> {
        let shared = self.shared.clone();
        let nothing_new = shared.memory.read().position.revision == self.applied.revision;
        if nothing_new || !shared.room.allows_index()? {
            return Ok(!shared.is_abandoned());
        }
        let Frozen { table, position, .. } = shared.memory.freeze();
        let mut unseen_bytes = LOOK_EVERY_BYTES;
        for (key, slot) in table.iter() {
            if unseen_bytes >= LOOK_EVERY_BYTES {
                if !self.await_room()? {
                    return Ok(false);
                }
                unseen_bytes = 0;
            }
            shared.index.apply(key, slot)?;
            let value_bytes = slot.value.as_ref().map_or(0, Bytes::len);
            unseen_bytes += (key.len() + value_bytes) * LEAF_VALUES;
        }
        // sled divides a leaf that has grown too large when it comes by it the next time, a reader's
        // time too. It is done here: a reader has no business to write, least of all on a full disk.
        for (key, _) in table.iter() {
            shared.index.get(key)?;
        }
        if let Some(Err(error)) = self.writing.as_mut().map(|writing| writing.amend(&table)) {
            tracing::warn!(%error, "could not write a base; trying again later");
            self.writing = None;
            self.base_not_before = Instant::now() + BASE_PAUSE;
        }
        // At once, while there is room that was looked at: sled must have nothing left to write when
        // somebody else fills the disk.
        shared.index.set_applied(position.revision)?;
        shared.index.sync()?;
        shared.counters.applied(table.len());
        shared.memory.applied();
        shared.work.notify_all();
        self.applied = position;
        Ok(true)
    }

    /// Waits while there is no room to merge; false: abandoned.
    fn await_room(&self) -> Result<bool, StoreError> {
        while !self.shared.room.allows_index()? {
            // A store that closes does not wait: the journal has it all, the next start merges it.
            if self.shared.is_abandoned() || self.shared.is_drained() {
                return Ok(false);
            }
            self.shared.await_apply(ROOM_WAIT);
        }
        Ok(!self.shared.is_abandoned())
    }

    /// Says in the note how far sled is on the disk; takes no new room.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.note.write(&Note { index: shared.index.id(), position: self.applied })?;
        self.noted = self.applied;
        shared.counters.checkpoint();
        shared.counters.sled_bytes(shared.index.disk_bytes()?);
        self.retire()
    }

    /// Begins a base when the journal has outgrown the last one, or goes on with the one begun.
    /// A base that cannot be written costs nothing but the room of the journal that it would have
    /// freed, so that is no reason to stop.
    fn base(&mut self) {
        if let Err(error) = self.write_base() {
            tracing::warn!(%error, "could not write a base; trying again later");
            self.writing = None;
            self.base_not_before = Instant::now() + BASE_PAUSE;
        }
    }

    fn write_base(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        if self.writing.is_none() {
            let last = self.base.as_ref().map_or(Position::start(), |base| base.position);
            let last_bytes = self.base.as_ref().map_or(0, |base| base.bytes);
            let behind = shared.journal.bytes_between(last, self.applied);
            let due = behind >= shared.options.base_after_bytes.max(last_bytes)
                && Instant::now() >= self.base_not_before;
            if !due || shared.room.is_short() || !shared.room.allows(last_bytes)? {
                return Ok(());
            }
            self.writing = Some(BaseWriter::begin(&self.base_dir)?);
        }
        let Some(writing) = &mut self.writing else { return Ok(()) };
        if !writing.walk(&shared.index, BASE_ROWS)? {
            return Ok(());
        }
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let base = writing.finish(self.applied)?;
        shared.counters.base(base.bytes);
        base.remove_others()?;
        self.base = Some(base);
        self.retire()
    }

    /// Lets go of segments that neither the base nor the note needs.
    fn retire(&self) -> Result<(), StoreError> {
        let Some(base) = &self.base else { return Ok(()) };
        let base_is_older = base.position.revision <= self.noted.revision;
        let needless = if base_is_older { base.position } else { self.noted };
        self.shared.journal.retire(needless, self.shared.options.journal_retain_bytes)
    }
}
