//! The checkpoint: up to which revision sled is known to be on the disk.
//!
//! Two slots of one page each, written in turn, each with a checksum: a torn write costs one slot
//! and the other still tells of the checkpoint before. The checkpoint names the sled directory that it
//! speaks of by a random id, so that it never vouches for another one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::super::chain::{ByteReader, ChainLink};
use super::files::{self, Io};
use super::frame::ALIGN;
use crate::types::Revision;

/// A place in the journal: behind the frame that ends with `revision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The last commit before the place.
    pub(super) revision: Revision,
    /// The chain's link there.
    pub(super) link: ChainLink,
    /// The segment's sequence.
    pub(super) segment: u64,
    /// Bytes into the segment.
    pub(super) offset: u64,
}

impl Position {
    pub(super) const BYTES: usize = 8 + 32 + 8 + 8;

    /// Before the first commit of a journal.
    pub(super) const fn start() -> Self {
        Self { revision: Revision::ZERO, link: ChainLink::START, segment: 1, offset: ALIGN as u64 }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.revision.get().to_le_bytes());
        bytes.extend_from_slice(&self.link.0);
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
    }

    pub(super) fn read(rest: &mut ByteReader<'_>) -> Option<Self> {
        Some(Self {
            revision: Revision::new(rest.u64()?),
            link: ChainLink(rest.array()?),
            segment: rest.u64()?,
            offset: rest.u64()?,
        })
    }
}

/// Names one sled directory.
pub(super) type IndexId = [u8; 16];

/// Contents of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The sled directory that it vouches for.
    pub(super) index: IndexId,
    /// Everything up to here is synced in it.
    pub(super) position: Position,
}

impl Checkpoint {
    /// Vouches for no index.
    pub(super) const DISTRUST: Self = Self { index: [0; 16], position: Position::start() };
}

const MAGIC: [u8; 8] = *b"ABIDENOT";
const SLOT: usize = 8 + 8 + 16 + Position::BYTES + 4;

/// The checkpoint's file, open for writing.
#[derive(Debug)]
pub(super) struct CheckpointFile {
    path: PathBuf,
    file: File,
    count: u64,
}

impl CheckpointFile {
    /// Opens the checkpoint, or makes an empty one; answers with what the newest whole slot says.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Checkpoint>), StoreError> {
        let (count, checkpoint) =
            newest(path)?.map_or((0, None), |(count, checkpoint)| (count, Some(checkpoint)));
        let file = files::private().truncate(false).open(path).io(path)?;
        if let Some(parent) = path.parent() {
            files::sync_dir(parent)?;
        }
        Ok((Self { path: path.to_path_buf(), file, count }, checkpoint))
    }

    /// Replaces the older slot and syncs it.
    pub(super) fn write(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.count += 1;
        let mut bytes = Vec::with_capacity(ALIGN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&checkpoint.index);
        checkpoint.position.write(&mut bytes);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(ALIGN, 0);
        let slot = (self.count % 2) * ALIGN as u64;
        self.file.write_all_at(&bytes, slot).io(&self.path)?;
        self.file.sync_all().io(&self.path)
    }
}

/// Reads the newest whole slot of a checkpoint, and changes nothing.
pub(super) fn read(path: &Path) -> Result<Option<Checkpoint>, StoreError> {
    Ok(newest(path)?.map(|(_, checkpoint)| checkpoint))
}

fn newest(path: &Path) -> Result<Option<(u64, Checkpoint)>, StoreError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.io(path)?,
    };
    let slots = bytes.chunks(ALIGN).take(2).filter_map(parse);
    Ok(slots.max_by_key(|(count, _)| *count))
}

fn parse(slot: &[u8]) -> Option<(u64, Checkpoint)> {
    let mut rest = ByteReader(slot);
    let magic = rest.array::<8>()?;
    let count = rest.u64()?;
    let index = rest.array()?;
    let position = Position::read(&mut rest)?;
    let right = rest.u32()? == crc32c::crc32c(slot.get(..SLOT - 4)?);
    (magic == MAGIC && right).then_some((count, Checkpoint { index, position }))
}
