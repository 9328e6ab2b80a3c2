//! Roots of retired segments: one for each, chained, kept for ever.
//!
//! A root says which link the chain had at the end of a segment, so the chain of what is still
//! kept can be tied to what was noted elsewhere long ago.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::super::chain::{ByteReader, ChainLink};
use super::files::{self, Io};
use crate::types::Revision;

/// sequence u64, last revision u64, link [32], root [32], crc32c u32, zeros
const RECORD: usize = 128;

/// The file of chain roots, open for appending.
#[derive(Debug)]
pub(super) struct ChainRoots {
    path: PathBuf,
    file: File,
    count: u64,
    last: [u8; 32],
    last_sequence: u64,
}

/// Root of a retired segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChainRoot {
    /// The segment.
    pub(super) sequence: u64,
    /// Its last revision.
    pub(super) revision: Revision,
    /// The chain's link after it.
    pub(super) link: ChainLink,
    chained: [u8; 32],
}

impl ChainRoots {
    /// Opens or makes the file and checks every record. A torn last record is cut: its segment
    /// had not been retired yet.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let known = read(path)?;
        let file = files::private().truncate(false).open(path).io(path)?;
        let (last, last_sequence) = known
            .last()
            .map_or(([0; 32], 0), |chain_root| (chain_root.chained, chain_root.sequence));
        let count = known.len() as u64;
        Ok(Self { path: path.to_path_buf(), file, count, last, last_sequence })
    }

    /// The newest retired segment; 0: none was.
    pub(super) const fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Appends a root and syncs it; a segment that has one already gets no second.
    pub(super) fn append(
        &mut self,
        sequence: u64,
        revision: Revision,
        link: ChainLink,
    ) -> Result<(), StoreError> {
        if sequence <= self.last_sequence {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(RECORD);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&revision.get().to_le_bytes());
        bytes.extend_from_slice(&link.0);
        let chain_root = chained(&self.last, &bytes);
        bytes.extend_from_slice(&chain_root);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(RECORD, 0);
        self.file.write_all_at(&bytes, self.count * RECORD as u64).io(&self.path)?;
        self.file.sync_all().io(&self.path)?;
        (self.last, self.last_sequence) = (chain_root, sequence);
        self.count += 1;
        Ok(())
    }
}

fn chained(before: &[u8; 32], record: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(before).update(record).finalize().as_bytes()
}

/// Reads and checks all chain roots.
pub(super) fn read(path: &Path) -> Result<Vec<ChainRoot>, StoreError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.io(path)?,
    };
    let mut chain_roots: Vec<ChainRoot> = Vec::new();
    let count = bytes.len().div_ceil(RECORD);
    for (number, record) in bytes.chunks(RECORD).enumerate() {
        let before = chain_roots.last().map_or([0; 32], |chain_root| chain_root.chained);
        match parse(record, &before) {
            Some(chain_root) => chain_roots.push(chain_root),
            None if number + 1 == count => break,
            None => {
                let offset = (number * RECORD) as u64;
                return Err(files::damaged(path, offset, "a root of a retired segment is damaged"));
            }
        }
    }
    Ok(chain_roots)
}

fn parse(record: &[u8], before: &[u8; 32]) -> Option<ChainRoot> {
    let mut rest = ByteReader(record);
    let sequence = rest.u64()?;
    let revision = Revision::new(rest.u64()?);
    let link = ChainLink(rest.array()?);
    let chain_root: [u8; 32] = rest.array()?;
    let checksum = rest.u32()?;
    let right = checksum == crc32c::crc32c(record.get(..80)?)
        && chain_root == chained(before, record.get(..48)?);
    right.then_some(ChainRoot { sequence, revision, link, chained: chain_root })
}
