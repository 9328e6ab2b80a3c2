//! Segment files: preallocated, written once from front to back, recycled under a new generation.
//!
//! A segment becomes part of the journal by its name, `NNNNNNNNNNNNNNNN.seg`, which it gets only
//! after its zeros and its header are on the disk and which is synced before the first frame is
//! written. So a write into a segment never needs metadata, and whatever an earlier use of the
//! file left behind has another generation.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::super::StoreError;
use super::super::chain::{ByteReader, ChainLink};
use super::files::{self, Io};
use super::frame::{ALIGN, Frame, FrameHeader, Generation, HEADER};
use crate::types::Revision;

/// Where the first frame begins: behind the header's page.
pub(super) const FIRST_FRAME: u64 = ALIGN as u64;
const MAGIC: [u8; 8] = *b"ABIDESEG";
const HEADER_BYTES: usize = 8 + 8 + 8 + 16 + 4;
/// An index entry for each so many bytes of frames: a read of the log skips at most this much.
const INDEX_EVERY_BYTES: u64 = 128 * 1024;

/// One segment of the journal.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its place in the journal, from 1.
    pub(super) sequence: u64,
    /// Its file.
    pub(super) path: PathBuf,
    /// Bytes of the file.
    pub(super) capacity: u64,
    /// This use of the file.
    pub(super) generation: Generation,
    file: File,
    /// The revision of its first commit and the chain's link before it.
    first: OnceLock<(Revision, ChainLink)>,
    /// Where frames begin, ascending, about one for each [`INDEX_EVERY_BYTES`].
    index: Mutex<Vec<(Revision, u64)>>,
}

/// The file name of the segment with this sequence.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:016}.seg")
}

impl Segment {
    /// Makes a segment out of a spare file of `capacity` bytes, or out of nothing, and syncs
    /// everything that a frame written into it will rely on. One that is there already is never
    /// replaced: there may be commits in it.
    pub(super) fn prepare(
        dir: &Path,
        sequence: u64,
        capacity: u64,
        spare: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let fresh = dir.join("prepare.tmp");
        let (from, file) = match spare {
            Some(spare) => (spare, files::open_rw(spare)?),
            None => (fresh.as_path(), zeroed(&fresh, capacity)?),
        };
        let mut generation = Generation::default();
        getrandom::fill(&mut generation).map_err(|error| StoreError::Open {
            path: from.to_path_buf(),
            what: format!("the system's random generator failed: {error}"),
        })?;
        file.write_all_at(&header(sequence, capacity, &generation), 0).io(from)?;
        file.sync_all().io(from)?;
        let path = dir.join(file_name(sequence));
        if path.try_exists().io(&path)? {
            return Err(StoreError::Open { path, what: "the segment is there already".into() });
        }
        fs::rename(from, &path).io(from)?;
        if let Err(error) = files::sync_dir(dir) {
            // Nobody has it, so it is made anew; if it stays, the next start finds it empty.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        Ok(Self::new(path, file, sequence, capacity, generation))
    }

    /// Opens a segment that is part of the journal.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = files::open_rw(path)?;
        let length = file.metadata().io(path)?.len();
        let damaged = |what: &str| files::damaged(path, 0, what);
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|_| damaged("shorter than a segment's header"))?;
        let (sequence, capacity, generation) =
            parse_header(&bytes).ok_or_else(|| damaged("the segment's header is damaged"))?;
        if path.file_name().and_then(|name| name.to_str()) != Some(&file_name(sequence)) {
            return Err(damaged("the segment's header belongs to another file name"));
        }
        if length < capacity {
            let what = format!("the segment ends here, its header says at {capacity}");
            return Err(files::damaged(path, length, what));
        }
        let segment = Self::new(path.to_path_buf(), file, sequence, capacity, generation);
        // Seals may stand before the first commit: one for each time the store was closed here.
        let mut at = FIRST_FRAME;
        while let Some(frame) = segment.frame_at(at)? {
            if frame.header.commits > 0 {
                segment.note_frame(&frame.header, at);
                break;
            }
            at += frame.header.padded() as u64;
        }
        Ok(segment)
    }

    fn new(
        path: PathBuf,
        file: File,
        sequence: u64,
        capacity: u64,
        generation: Generation,
    ) -> Self {
        Self {
            sequence,
            path,
            capacity,
            generation,
            file,
            first: OnceLock::new(),
            index: Mutex::default(),
        }
    }

    /// The revision of its first commit and the link before it; `None`: it has none yet.
    pub(super) fn first(&self) -> Option<(Revision, ChainLink)> {
        self.first.get().copied()
    }

    /// Where to begin to look for `revision`: a frame at or before it, with its first revision.
    pub(super) fn look_from(&self, revision: Revision) -> Option<(Revision, u64)> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = index.partition_point(|(first, _)| *first <= revision);
        index.get(behind.saturating_sub(1)).copied()
    }

    /// Takes checkpoint of a durable frame at `at`.
    pub(super) fn note_frame(&self, header: &FrameHeader, at: u64) {
        if header.commits == 0 {
            return;
        }
        self.first.get_or_init(|| (header.first, header.link));
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.last().is_none_or(|(_, last)| last + INDEX_EVERY_BYTES <= at) {
            index.push((header.first, at));
        }
    }

    /// Writes a finished frame, not synced.
    pub(super) fn write(&self, frame: &[u8], at: u64) -> Result<(), StoreError> {
        self.file.write_all_at(frame, at).io(&self.path)
    }

    /// Puts everything that was written on stable storage.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().io(&self.path)
    }

    /// Fills `bytes` with what lies at `at`.
    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    /// The frame at `at`, if a whole one of this generation is there.
    pub(super) fn frame_at(&self, at: u64) -> Result<Option<Frame>, StoreError> {
        let Some(header) = self.header_at(at)? else { return Ok(None) };
        let end = at.saturating_add((HEADER + header.payload_bytes) as u64);
        if end > self.capacity {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER + header.payload_bytes];
        self.file.read_exact_at(&mut bytes, at).io(&self.path)?;
        Ok(Frame::check(&Bytes::from(bytes), &self.generation))
    }

    /// Reads the bytes at `at` as a frame's header.
    pub(super) fn header_at(&self, at: u64) -> Result<Option<FrameHeader>, StoreError> {
        if at + HEADER as u64 > self.capacity {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.file.read_exact_at(&mut bytes, at).io(&self.path)?;
        Ok(FrameHeader::parse(&bytes))
    }

    /// The first whole frame of this generation at or after `at`.
    pub(super) fn next_frame(&self, mut at: u64) -> Result<Option<u64>, StoreError> {
        while at < self.capacity {
            if self.frame_at(at)?.is_some() {
                return Ok(Some(at));
            }
            at += ALIGN as u64;
        }
        Ok(None)
    }

    /// Writes what is at `at` once more, unchanged and not synced.
    pub(super) fn rewrite(&self, at: u64, bytes: usize) -> Result<(), StoreError> {
        let mut frame = vec![0; bytes];
        self.file.read_exact_at(&mut frame, at).io(&self.path)?;
        self.write(&frame, at)
    }

    /// Clears what lies in `from..to` and is not clear yet; true if anything was written.
    pub(super) fn clear(&self, from: u64, to: u64) -> Result<bool, StoreError> {
        let zeros = [0; ALIGN];
        let mut page = [0; ALIGN];
        let mut wrote = false;
        let mut at = from;
        while at < to.min(self.capacity) {
            let bytes = usize::try_from(self.capacity - at).unwrap_or(ALIGN).min(ALIGN);
            self.file.read_exact_at(&mut page[..bytes], at).io(&self.path)?;
            if page[..bytes] != zeros[..bytes] {
                self.file.write_all_at(&zeros[..bytes], at).io(&self.path)?;
                wrote = true;
            }
            at += bytes as u64;
        }
        Ok(wrote)
    }
}

fn zeroed(path: &Path, capacity: u64) -> Result<File, StoreError> {
    const CHUNK: usize = 1024 * 1024;
    let file = files::create(path)?;
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < capacity {
        let bytes = usize::try_from(capacity - at).unwrap_or(CHUNK).min(CHUNK);
        if let Err(error) = file.write_all_at(&zeros[..bytes], at) {
            drop(file);
            // A half-made file on a full disk must not keep the room; it has no other use.
            drop(fs::remove_file(path));
            return Err(error).io(path);
        }
        // In small pieces, so that the sync of a group of commits never waits for all of it.
        file.sync_data().io(path)?;
        at += bytes as u64;
    }
    Ok(file)
}

fn header(sequence: u64, capacity: u64, generation: &Generation) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ALIGN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&capacity.to_le_bytes());
    bytes.extend_from_slice(generation);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.resize(ALIGN, 0);
    bytes
}

fn parse_header(bytes: &[u8]) -> Option<(u64, u64, Generation)> {
    let mut rest = ByteReader(bytes);
    let (magic, sequence, capacity, generation) =
        (rest.array::<8>()?, rest.u64()?, rest.u64()?, rest.array()?);
    let checksum = rest.u32()?;
    let covered = bytes.get(..HEADER_BYTES - 4)?;
    (magic == MAGIC && checksum == crc32c::crc32c(covered))
        .then_some((sequence, capacity, generation))
}
