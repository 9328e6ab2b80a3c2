//! The applier's thread: merges memory into sled, syncs and notes it, writes bases and lets the
//! index adopt them, retires segments. One after the other in one thread: between two merges sled
//! stands exactly at one revision.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::StoreError;
use super::base::{self, Base, BaseReader, BaseRow, BaseWriter};
use super::note::{Note, NoteFile, Position};
use super::place::ENTRY_BYTES_MAX;
use super::shared::Shared;
use super::tables::Frozen;

/// Rows that a base takes in, or that the index adopts, between two merges.
const BASE_ROWS: usize = 20_000;
/// A look at the room after so many bytes that sled may have written meanwhile: each key that is
/// merged may write its whole leaf, with as many entries as a leaf holds before it splits.
const LOOK_EVERY_BYTES: usize = 4 * 1024 * 1024;
const LEAF_ENTRIES: usize = 16;
/// How long to wait for room on the disk before looking again.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// How long after a base that could not be written another is tried.
const BASE_PAUSE: Duration = Duration::from_secs(30);

/// A base on its way.
#[derive(Debug)]
enum Making {
    /// It is being written.
    Write(BaseWriter),
    /// It is on the disk, and the index is adopting it.
    Adopt(BaseReader),
}

/// What the applier knows.
#[derive(Debug)]
pub(super) struct Applier {
    shared: Arc<Shared>,
    note: NoteFile,
    /// Where sled stands.
    applied: Position,
    /// Where sled is known to stand on the disk.
    noted: Position,
    /// The base that the index has adopted.
    base: Option<Base>,
    making: Option<Making>,
    base_dir: PathBuf,
    base_not_before: Instant,
}

impl Applier {
    /// Goes on with a sled that stands, noted, at `noted`, with the base that it has adopted and one
    /// that it has not.
    pub(super) fn new(
        shared: Arc<Shared>,
        note: NoteFile,
        noted: Position,
        (base, unadopted): (Option<Base>, Option<Base>),
    ) -> Result<Self, StoreError> {
        let base_dir = shared.options.dir.join("base");
        let base_not_before = Instant::now();
        let making = unadopted.map(Base::reader).transpose()?.map(Making::Adopt);
        Ok(Self { shared, note, applied: noted, noted, base, making, base_dir, base_not_before })
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
            let pause = match self.making {
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
            self.base()?;
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
        for (key, kept) in table.iter() {
            if unseen_bytes >= LOOK_EVERY_BYTES {
                if !self.await_room()? {
                    return Ok(false);
                }
                unseen_bytes = 0;
            }
            shared.index.apply(key, kept)?;
            unseen_bytes += leaf_bytes(key);
        }
        // sled divides a leaf that has grown too large when it comes by it the next time, a reader's
        // time too. It is done here: a reader has no business to write, least of all on a full disk.
        for (key, _) in table.iter() {
            shared.index.revision(key)?;
        }
        if let Some(Making::Write(writing)) = &mut self.making
            && let Err(error) = writing.amend(&table)
        {
            self.give_up_base(&error);
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
    fn base(&mut self) -> Result<(), StoreError> {
        if let Some(Making::Adopt(_)) = &self.making {
            return self.adopt();
        }
        if let Err(error) = self.write_base() {
            self.give_up_base(&error);
        }
        Ok(())
    }

    /// A base that cannot be written costs nothing but the room of the journal that it would have
    /// freed, so that is no reason to stop.
    fn give_up_base(&mut self, error: &StoreError) {
        tracing::warn!(%error, "could not write a base; trying again later");
        self.making = None;
        if let Err(error) = base::remove_unfinished(&self.base_dir) {
            tracing::warn!(%error, "could not remove what was written of it");
        }
        self.base_not_before = Instant::now() + BASE_PAUSE;
    }

    fn write_base(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        if self.making.is_none() {
            let last = self.base.as_ref().map_or(Position::start(), |base| base.position);
            let last_bytes = self.base.as_ref().map_or(0, |base| base.bytes);
            let behind = shared.journal.bytes_between(last, self.applied);
            let due = behind >= shared.options.base_after_bytes.max(last_bytes)
                && Instant::now() >= self.base_not_before;
            // It holds no more than the last one and what was written since.
            if !due || shared.room.is_short() || !shared.room.allows(last_bytes + behind)? {
                return Ok(());
            }
            let number = self.base.as_ref().map_or(1, |base| base.number + 1);
            self.making = Some(Making::Write(BaseWriter::begin(&self.base_dir, number)?));
        }
        let Some(Making::Write(writing)) = &mut self.making else { return Ok(()) };
        let is_through = writing.walk(&shared.index, BASE_ROWS)?;
        if !shared.room.allows_index()? {
            // Somebody else takes the room: what is left of it is the index's.
            return Err(StoreError::NoRoom);
        }
        if !is_through {
            return Ok(());
        }
        if let Some(Making::Write(writing)) = self.making.take() {
            let base = writing.finish(self.applied)?;
            shared.counters.base(base.bytes);
            let reader = base.clone().reader()?;
            shared.values.add(base);
            self.making = Some(Making::Adopt(reader));
        }
        Ok(())
    }

    /// Lets the index adopt some more of the base that is on the disk. When all is done and noted,
    /// nothing is read any more from older bases, nor from the journal before the base's position.
    fn adopt(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let mut rows = 0;
        let mut unseen_bytes = LOOK_EVERY_BYTES;
        while rows < BASE_ROWS {
            if unseen_bytes >= LOOK_EVERY_BYTES {
                if !self.await_room()? {
                    return Ok(());
                }
                unseen_bytes = 0;
            }
            let Some(Making::Adopt(reader)) = &mut self.making else { return Ok(()) };
            let Some(block) = reader.next_block()? else { return self.adopted() };
            rows += block.len();
            for BaseRow { row, deleted, spot } in block {
                if !deleted {
                    shared.index.adopt(&row.key, row.revision, &row.value, spot)?;
                    unseen_bytes += leaf_bytes(&row.key);
                }
            }
        }
        shared.index.sync()
    }

    fn adopted(&mut self) -> Result<(), StoreError> {
        let Some(Making::Adopt(BaseReader { base, .. })) = self.making.take() else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.index.set_adopted(base.number)?;
        shared.index.sync()?;
        self.note.write(&Note { index: shared.index.id(), position: self.applied })?;
        self.noted = self.applied;
        shared.values.keep_only(base.number);
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

/// What the disk may be asked for when `key` is written into sled.
fn leaf_bytes(key: &Bytes) -> usize {
    (key.len() + ENTRY_BYTES_MAX) * LEAF_ENTRIES
}
