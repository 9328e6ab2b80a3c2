//! Snapshots: all records at one revision, packed and checksummed in one file.
//!
//! ```text
//! snapshot   = magic [8], blocks, footer
//! block  = bytes u32, crc32c u32, rows
//! row    = revision u64, key bytes u16, value bytes u32 (u32::MAX: deleted), key, value
//! footer = magic [8], number u64, position (56 bytes), blocks u64, rows u64, crc32c u32
//! ```
//!
//! Written while commits go on: the index is walked in slices between two merges of memory into it,
//! and what a merge changes behind the walk is appended as rows of its own. Later rows of a key win,
//! so when the walk is through, the file is exact at the last merge's revision.
//!
//! Not compressed: when a snapshot is on the disk, the index *adopts* it. Values that lie elsewhere are
//! from then on read from it, each at its own place, and what they came from may go.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::chain::{ByteReader, length};
use super::super::{KeyRange, Order, Row, StoreError};
use super::checkpoint::Position;
use super::files::{self, Io};
use super::index::Index;
use super::memtable::Memtable;
use super::value_location::{ValueFile, ValueStart};
use crate::types::Revision;

const MAGIC: [u8; 8] = *b"ABIDEBAS";
const MAGIC_FOOTER: [u8; 8] = *b"ABIDEEND";
const BLOCK_HEADER: usize = 8;
const BLOCK_BYTES: usize = 256 * 1024;
/// No block is larger: one row takes a block over [`BLOCK_BYTES`] by at most one value.
const BLOCK_BYTES_MAX: u32 = 1024 * 1024;
const FOOTER: usize = 8 + 8 + Position::BYTES + 8 + 8 + 4;
const DELETED: u32 = u32::MAX;

/// The file name of a snapshot that is being written.
const UNFINISHED: &str = "base.tmp";

/// Removes what was written of a snapshot that nobody finishes.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    files::remove(&dir.join(UNFINISHED))
}

/// The file name of the snapshot with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:010}.base")
}

/// A snapshot in the making.
#[derive(Debug)]
pub(super) struct SnapshotWriter {
    number: u64,
    dir: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    block: Vec<u8>,
    blocks: u64,
    rows: u64,
    bytes: u64,
    /// The last key that the walk has passed.
    cursor: Option<Bytes>,
}

impl SnapshotWriter {
    /// Begins the snapshot with this number in `dir`.
    pub(super) fn begin(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let path = dir.join(UNFINISHED);
        let mut file = BufWriter::new(files::create(&path)?);
        file.write_all(&MAGIC).io(&path)?;
        Ok(Self {
            number,
            dir: dir.to_path_buf(),
            path,
            file,
            block: Vec::with_capacity(BLOCK_BYTES + 1024),
            blocks: 0,
            rows: 0,
            bytes: 0,
            cursor: None,
        })
    }

    /// Walks on over at most `rows_max` rows; true when the walk is through.
    pub(super) fn walk(&mut self, index: &Index, rows_max: usize) -> Result<bool, StoreError> {
        let from = self.cursor.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let range = KeyRange { from, to: Bound::Unbounded };
        let mut rows = index.rows(&range, Order::Ascending);
        for _ in 0..rows_max {
            let Some(row) = rows.next().transpose()? else { return Ok(true) };
            self.row(&row.key, row.revision, Some(&row.value))?;
            self.cursor = Some(row.key);
        }
        Ok(false)
    }

    /// Takes in what a merge changed behind the walk.
    pub(super) fn amend(&mut self, memtable: &Memtable) -> Result<(), StoreError> {
        let Some(cursor) = self.cursor.clone() else { return Ok(()) };
        let passed = KeyRange { from: Bound::Unbounded, to: Bound::Included(cursor) };
        for (key, entry) in memtable.range(&passed) {
            self.row(key, entry.slot.revision, entry.slot.value.as_ref())?;
        }
        Ok(())
    }

    fn row(
        &mut self,
        key: &Bytes,
        revision: Revision,
        value: Option<&Bytes>,
    ) -> Result<(), StoreError> {
        let key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let value_bytes = value.and_then(|value| u32::try_from(value.len()).ok());
        self.block.extend_from_slice(&revision.get().to_le_bytes());
        self.block.extend_from_slice(&key_bytes.to_le_bytes());
        self.block.extend_from_slice(&value_bytes.unwrap_or(DELETED).to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value.map_or(&[], |value| value.as_ref()));
        self.rows += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut header = [0; BLOCK_HEADER];
        header[..4].copy_from_slice(&length(self.block.len()).to_le_bytes());
        let checksum = block_checksum(self.blocks, &self.block);
        header[4..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all(&header).io(&self.path)?;
        self.file.write_all(&self.block).io(&self.path)?;
        self.blocks += 1;
        self.bytes += (BLOCK_HEADER + self.block.len()) as u64;
        self.block.clear();
        Ok(())
    }

    /// Ends the file as the snapshot at `position`, syncs it and gives it its name.
    pub(super) fn finish(mut self, position: Position) -> Result<Snapshot, StoreError> {
        self.end_block()?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&MAGIC_FOOTER);
        footer.extend_from_slice(&self.number.to_le_bytes());
        position.write(&mut footer);
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.rows.to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
        self.file.write_all(&footer).io(&self.path)?;
        self.file.flush().io(&self.path)?;
        self.file.get_ref().sync_all().io(&self.path)?;
        let path = self.dir.join(file_name(self.number));
        fs::rename(&self.path, &path).io(&path)?;
        files::sync_dir(&self.dir)?;
        Snapshot::open(&path)
    }
}

fn block_checksum(number: u64, rows: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), rows)
}

/// A finished snapshot.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Its number, which no other snapshot of the directory ever had.
    pub(super) number: u64,
    /// Its file.
    pub(super) path: PathBuf,
    /// Where the journal goes on from it.
    pub(super) position: Position,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Rows in it, amended ones more than once.
    pub(super) rows: u64,
    blocks: u64,
    file: Arc<File>,
}

impl Snapshot {
    /// The snapshots of a directory, oldest first, and what is wrong with those that cannot be opened;
    /// touches nothing.
    pub(super) fn all(dir: &Path) -> Result<(Vec<Self>, Option<StoreError>), StoreError> {
        let mut snapshots = Vec::new();
        let mut problem = None;
        for name in files::names(dir)? {
            if Path::new(&name).extension().is_some_and(|extension| extension == "base") {
                match Self::open(&dir.join(name)) {
                    Ok(snapshot) => snapshots.push(snapshot),
                    Err(error) => problem = Some(error),
                }
            }
        }
        Ok((snapshots, problem))
    }

    fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).io(path)?;
        let bytes = file.metadata().io(path)?.len();
        let at = bytes.saturating_sub(FOOTER as u64);
        let damaged = || files::damaged(path, at, "the base's footer is damaged");
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, at).map_err(|_| damaged())?;
        let parsed = (|| {
            let mut rest = ByteReader(&footer);
            let magic = rest.array::<8>()?;
            let number = rest.u64()?;
            let position = Position::read(&mut rest)?;
            let (blocks, rows) = (rest.u64()?, rest.u64()?);
            let right = rest.u32()? == crc32c::crc32c(&footer[..FOOTER - 4]);
            let named = path.file_name().and_then(|name| name.to_str()) == Some(&file_name(number));
            (magic == MAGIC_FOOTER && right && named).then_some((number, position, blocks, rows))
        })();
        let (number, position, blocks, rows) = parsed.ok_or_else(damaged)?;
        let (path, file) = (path.to_path_buf(), Arc::new(file));
        Ok(Self { number, path, position, bytes, rows, blocks, file })
    }

    /// Removes every other snapshot of its directory.
    pub(super) fn remove_others(&self) -> Result<(), StoreError> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        for name in files::names(dir)? {
            let path = dir.join(name);
            if path != self.path {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Fills `bytes` with what lies at `at`.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    /// Reads it from its beginning.
    pub(super) fn reader(self) -> Result<SnapshotReader, StoreError> {
        let path = &self.path;
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).io(path)?);
        let mut magic = [0; 8];
        file.read_exact(&mut magic).map_err(|_| files::damaged(path, 0, CUT_SHORT))?;
        if magic != MAGIC {
            return Err(files::damaged(path, 0, "not a base"));
        }
        Ok(SnapshotReader { snapshot: self, file, at: MAGIC.len() as u64, blocks: 0, rows: 0 })
    }

    /// Hands every row to `sink` in the order of the file, each block checked before its rows.
    pub(super) fn read(
        &self,
        mut sink: impl FnMut(SnapshotRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut reader = self.clone().reader()?;
        while let Some(rows) = reader.next_block()? {
            rows.into_iter().try_for_each(&mut sink)?;
        }
        Ok(())
    }
}

const CUT_SHORT: &str = "the base is cut short";

/// A row of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotRow {
    /// Key, revision and value, which is empty where the key is deleted.
    pub(super) row: Row,
    /// Whether this is what is left of a key that an earlier row of the snapshot has.
    pub(super) deleted: bool,
    /// Where the value lies.
    pub(super) start: ValueStart,
}

/// A snapshot that is read block by block.
#[derive(Debug)]
pub(super) struct SnapshotReader {
    /// The snapshot.
    pub(super) snapshot: Snapshot,
    file: BufReader<File>,
    at: u64,
    blocks: u64,
    rows: u64,
}

impl SnapshotReader {
    /// The rows of the next block, checked; `None`: all was read and is what the footer says.
    pub(super) fn next_block(&mut self) -> Result<Option<Vec<SnapshotRow>>, StoreError> {
        let damaged = |at: u64, what: &str| files::damaged(&self.snapshot.path, at, what);
        let at = self.at;
        if self.blocks == self.snapshot.blocks {
            let is_all =
                self.rows == self.snapshot.rows && at + FOOTER as u64 == self.snapshot.bytes;
            let what = "the base does not hold what its footer says";
            return if is_all { Ok(None) } else { Err(damaged(at, what)) };
        }
        let mut header = [0; BLOCK_HEADER];
        self.file.read_exact(&mut header).map_err(|_| damaged(at, CUT_SHORT))?;
        let mut fields = ByteReader(&header);
        let fields = (|| Some((fields.u32()?, fields.u32()?)))();
        let (bytes, checksum) = fields.unwrap_or_default();
        if bytes > BLOCK_BYTES_MAX {
            return Err(damaged(at, "a block of the base is damaged"));
        }
        let mut block = vec![0; bytes as usize];
        self.file.read_exact(&mut block).map_err(|_| damaged(at, CUT_SHORT))?;
        if checksum != block_checksum(self.blocks, &block) {
            return Err(damaged(at, "a block of the base is damaged"));
        }
        let block = Bytes::from(block);
        let mut rest = ByteReader(&block);
        let mut rows = Vec::new();
        while !rest.0.is_empty() {
            let (row, deleted) =
                parse_row(&block, &mut rest).ok_or_else(|| damaged(at, "a row is damaged"))?;
            let behind = (block.len() - rest.0.len() - row.value.len()) as u64;
            let offset = at + BLOCK_HEADER as u64 + behind;
            let start = ValueStart { file: ValueFile::Snapshot(self.snapshot.number), offset };
            rows.push(SnapshotRow { row, deleted, start });
        }
        self.blocks += 1;
        self.rows += rows.len() as u64;
        self.at += (BLOCK_HEADER + block.len()) as u64;
        Ok(Some(rows))
    }
}

fn parse_row(block: &Bytes, rest: &mut ByteReader<'_>) -> Option<(Row, bool)> {
    let revision = Revision::new(rest.u64()?);
    let key_bytes = u32::from(rest.u16()?);
    let value_bytes = rest.u32()?;
    let key = block.slice_ref(rest.take(key_bytes)?);
    let deleted = value_bytes == DELETED;
    let value = if deleted { Bytes::new() } else { block.slice_ref(rest.take(value_bytes)?) };
    Some((Row { key, revision, value }, deleted))
}
