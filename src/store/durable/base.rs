//! Bases: all records at one revision, packed, checksummed and compressed in one file.
//!
//! ```text
//! base   = magic [8], blocks, footer
//! block  = raw bytes u32, packed bytes u32, crc32c u32, LZ4 of rows
//! row    = revision u64, key bytes u16, value bytes u32 (u32::MAX: deleted), key, value
//! footer = magic [8], position (56 bytes), blocks u64, rows u64, crc32c u32
//! ```
//!
//! Written while commits go on: sled is walked in slices between two merges of memory into it, and
//! what a merge changes behind the walk is appended as rows of its own. Later rows of a key win, so
//! when the walk is through, the file is exact at the last merge's revision.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::chain::Reader;
use super::super::{KeyRange, Order, Row, StoreError};
use super::files::{self, Io};
use super::index::Index;
use super::note::Position;
use super::tables::{Slot, Table};
use crate::types::Revision;

const MAGIC: [u8; 8] = *b"ABIDEBAS";
const MAGIC_FOOTER: [u8; 8] = *b"ABIDEEND";
const BLOCK_HEADER: usize = 12;
const BLOCK_BYTES: usize = 256 * 1024;
/// No block is larger: one row takes a block over [`BLOCK_BYTES`] by at most one value.
const BLOCK_BYTES_MAX: u32 = 1024 * 1024;
const FOOTER: usize = 8 + Position::BYTES + 8 + 8 + 4;
const DELETED: u32 = u32::MAX;

/// The file name of the base at a revision.
pub(super) fn file_name(revision: Revision) -> String {
    format!("{:020}.base", revision.get())
}

/// A base in the making.
#[derive(Debug)]
pub(super) struct BaseWriter {
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

impl BaseWriter {
    /// Begins a base in `dir`.
    pub(super) fn begin(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("base.tmp");
        let mut file = BufWriter::new(File::create(&path).io(&path)?);
        file.write_all(&MAGIC).io(&path)?;
        Ok(Self {
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
    pub(super) fn amend(&mut self, table: &Table) -> Result<(), StoreError> {
        let Some(cursor) = self.cursor.clone() else { return Ok(()) };
        let passed = (Bound::Unbounded, Bound::Included(&cursor));
        for (key, Slot { revision, value }) in table.range::<Bytes, _>(passed) {
            self.row(key, *revision, value.as_ref())?;
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
        let packed = lz4_flex::block::compress(&self.block);
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        let mut header = [0; BLOCK_HEADER];
        header[..4].copy_from_slice(&length(self.block.len()));
        header[4..8].copy_from_slice(&length(packed.len()));
        let checksum = block_checksum(self.blocks, &header[..8], &packed);
        header[8..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all(&header).io(&self.path)?;
        self.file.write_all(&packed).io(&self.path)?;
        self.blocks += 1;
        self.bytes += (BLOCK_HEADER + packed.len()) as u64;
        self.block.clear();
        Ok(())
    }

    /// Ends the file as the base at `position`, syncs it and gives it its name.
    pub(super) fn finish(mut self, position: Position) -> Result<Base, StoreError> {
        self.end_block()?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&MAGIC_FOOTER);
        position.write(&mut footer);
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.rows.to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
        self.file.write_all(&footer).io(&self.path)?;
        self.file.flush().io(&self.path)?;
        self.file.get_ref().sync_all().io(&self.path)?;
        let path = self.dir.join(file_name(position.revision));
        fs::rename(&self.path, &path).io(&path)?;
        files::sync_dir(&self.dir)?;
        let bytes = self.bytes + (MAGIC.len() + FOOTER) as u64;
        Ok(Base { path, position, bytes, rows: self.rows, blocks: self.blocks })
    }
}

fn block_checksum(number: u64, header: &[u8], packed: &[u8]) -> u32 {
    let checksum = crc32c::crc32c(&number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(checksum, header), packed)
}

/// A finished base.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Its file.
    pub(super) path: PathBuf,
    /// Where the journal goes on from it.
    pub(super) position: Position,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Rows in it, amended ones more than once.
    pub(super) rows: u64,
    blocks: u64,
}

impl Base {
    /// The newest base of a directory whose footer is right; touches nothing.
    pub(super) fn newest(dir: &Path) -> Result<Option<Self>, StoreError> {
        let names = files::names(dir)?;
        let bases =
            names.iter().filter(|name| Path::new(name).extension().is_some_and(|e| e == "base"));
        let mut problem = None;
        for name in bases.rev() {
            match Self::open(&dir.join(name)) {
                Ok(base) => return Ok(Some(base)),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).io(path)?;
        let bytes = file.metadata().io(path)?.len();
        let at = bytes.saturating_sub(FOOTER as u64);
        let damaged = || files::damaged(path, at, "the base's footer is damaged");
        file.seek(SeekFrom::Start(at)).io(path)?;
        let mut footer = [0; FOOTER];
        file.read_exact(&mut footer).map_err(|_| damaged())?;
        let parsed = (|| {
            let mut rest = Reader(&footer);
            let magic = rest.array::<8>()?;
            let position = Position::read(&mut rest)?;
            let (blocks, rows) = (rest.u64()?, rest.u64()?);
            let right = rest.u32()? == crc32c::crc32c(&footer[..FOOTER - 4]);
            (magic == MAGIC_FOOTER && right).then_some((position, blocks, rows))
        })();
        let (position, blocks, rows) = parsed.ok_or_else(damaged)?;
        Ok(Self { path: path.to_path_buf(), position, bytes, rows, blocks })
    }

    /// Removes every other base of its directory.
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

    /// Hands every row to `sink` in the order of the file, each block checked before its rows.
    pub(super) fn read(
        &self,
        mut sink: impl FnMut(Row, bool) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = &self.path;
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).io(path)?);
        let mut at = 0;
        let damaged = |at: u64, what: &str| files::damaged(path, at, what);
        let mut magic = [0; 8];
        file.read_exact(&mut magic).map_err(|_| damaged(0, "the base is cut short"))?;
        if magic != MAGIC {
            return Err(damaged(0, "not a base"));
        }
        at += MAGIC.len() as u64;
        let mut rows = 0;
        for number in 0..self.blocks {
            let mut header = [0; BLOCK_HEADER];
            file.read_exact(&mut header).map_err(|_| damaged(at, "the base is cut short"))?;
            let mut fields = Reader(&header);
            let fields = (|| Some((fields.u32()?, fields.u32()?, fields.u32()?)))();
            let (raw, packed, checksum) = fields.unwrap_or_default();
            if raw > BLOCK_BYTES_MAX || packed > BLOCK_BYTES_MAX * 2 {
                return Err(damaged(at, "a block of the base is damaged"));
            }
            let mut bytes = vec![0; packed as usize];
            file.read_exact(&mut bytes).map_err(|_| damaged(at, "the base is cut short"))?;
            if checksum != block_checksum(number, &header[..8], &bytes) {
                return Err(damaged(at, "a block of the base is damaged"));
            }
            let block = lz4_flex::block::decompress(&bytes, raw as usize)
                .map_err(|_| damaged(at, "a block of the base cannot be unpacked"))?;
            let block = Bytes::from(block);
            let mut rest = Reader(&block);
            while !rest.0.is_empty() {
                let (row, deleted) =
                    parse_row(&block, &mut rest).ok_or_else(|| damaged(at, "a row is damaged"))?;
                rows += 1;
                sink(row, deleted)?;
            }
            at += (BLOCK_HEADER + bytes.len()) as u64;
        }
        if rows != self.rows || at + FOOTER as u64 != self.bytes {
            return Err(damaged(at, "the base does not hold what its footer says"));
        }
        Ok(())
    }
}

fn parse_row(block: &Bytes, rest: &mut Reader<'_>) -> Option<(Row, bool)> {
    let revision = Revision::new(rest.u64()?);
    let key_bytes = u32::from(rest.u16()?);
    let value_bytes = rest.u32()?;
    let key = block.slice_ref(rest.take(key_bytes)?);
    let deleted = value_bytes == DELETED;
    let value = if deleted { Bytes::new() } else { block.slice_ref(rest.take(value_bytes)?) };
    Some((Row { key, revision, value }, deleted))
}
