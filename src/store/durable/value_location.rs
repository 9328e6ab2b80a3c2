//! Entries of the index: for each key the revision of its newest write, and the value itself when
//! it is small, else its location in the journal or in a snapshot.
//!
//! ```text
//! small  = 0 u8, revision u48, value
//! placed = 1 u8 (journal) or 2 u8 (snapshot), revision u48, file u32, offset u40,
//!          value bytes less one u16, crc32c of the value u32
//! ```
//!
//! Numbers are big-endian. A placed entry takes 22 bytes: as much as sled keeps in a leaf without
//! an allocation of its own.

use bytes::Bytes;

use super::super::StoreError;
use super::super::chain::ByteReader;
use crate::types::Revision;

/// Values of up to so many bytes lie in the index itself: a place would take a good part of that.
const SMALL_BYTES_MAX: usize = 64;
const HEADER: usize = 1 + 6;
/// An entry takes at most so many bytes.
pub(super) const ENTRY_BYTES_MAX: usize = HEADER + SMALL_BYTES_MAX;

const SMALL: u8 = 0;
const IN_JOURNAL: u8 = 1;
const IN_SNAPSHOT: u8 = 2;

/// A file that values are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueFile {
    /// The segment of the journal with this sequence.
    Journal(u64),
    /// The snapshot with this number.
    Snapshot(u64),
}

/// Start of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueStart {
    /// The file.
    pub(super) file: ValueFile,
    /// Bytes into the file.
    pub(super) offset: u64,
}

/// Location of a value, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueLocation {
    /// Where it begins.
    pub(super) start: ValueStart,
    /// Its bytes, at least one.
    pub(super) bytes: usize,
    /// Its CRC32C.
    pub(super) checksum: u32,
}

/// The value of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IndexedContent {
    /// The value itself.
    Small(Bytes),
    /// The location of the value.
    Located(ValueLocation),
}

/// Entry of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexedValue {
    /// The commit that wrote it.
    pub(super) revision: Revision,
    /// Its value.
    pub(super) content: IndexedContent,
}

/// Whether a value of so many bytes lies in the index itself.
pub(super) const fn is_small(bytes: usize) -> bool {
    bytes <= SMALL_BYTES_MAX
}

/// An entry as it is stored, for a value that lies at `spot`.
///
/// # Errors
/// [`StoreError::Invalid`] where a number is larger than the format has room for: centuries of
/// commits, or a snapshot of more than a tebibyte.
pub(super) fn encode(
    revision: Revision,
    value: &[u8],
    start: ValueStart,
) -> Result<IndexedValueBytes, StoreError> {
    const TOO_LARGE: StoreError = StoreError::Invalid("a number that the index has no room for");
    let mut stored = IndexedValueBytes { bytes: [0; ENTRY_BYTES_MAX], len: 0 };
    let revision = uint::<6>(revision.get()).ok_or(TOO_LARGE)?;
    if is_small(value.len()) {
        stored.push(&[SMALL]).push(&revision).push(value);
        return Ok(stored);
    }
    let (tag, file) = match start.file {
        ValueFile::Journal(sequence) => (IN_JOURNAL, sequence),
        ValueFile::Snapshot(number) => (IN_SNAPSHOT, number),
    };
    let file = uint::<4>(file).ok_or(TOO_LARGE)?;
    let offset = uint::<5>(start.offset).ok_or(TOO_LARGE)?;
    let bytes = uint::<2>(value.len() as u64 - 1).ok_or(TOO_LARGE)?;
    stored.push(&[tag]).push(&revision).push(&file).push(&offset).push(&bytes);
    stored.push(&crc32c::crc32c(value).to_be_bytes());
    Ok(stored)
}

/// Reads a stored entry; `None`: it is none.
pub(super) fn decode(stored: &[u8]) -> Option<IndexedValue> {
    let mut rest = ByteReader(stored);
    let [tag] = rest.array()?;
    let revision = Revision::new(number(&rest.array::<6>()?));
    if tag == SMALL {
        let content = IndexedContent::Small(Bytes::copy_from_slice(rest.0));
        return is_small(rest.0.len()).then_some(IndexedValue { revision, content });
    }
    let file = number(&rest.array::<4>()?);
    let file = match tag {
        IN_JOURNAL => ValueFile::Journal(file),
        IN_SNAPSHOT => ValueFile::Snapshot(file),
        _ => return None,
    };
    let offset = number(&rest.array::<5>()?);
    let bytes = usize::from(u16::from_be_bytes(rest.array()?)) + 1;
    let checksum = u32::from_be_bytes(rest.array()?);
    let content = IndexedContent::Located(ValueLocation {
        start: ValueStart { file, offset },
        bytes,
        checksum,
    });
    rest.0.is_empty().then_some(IndexedValue { revision, content })
}

/// A number in `N` bytes, if it fits.
fn uint<const N: usize>(number: u64) -> Option<[u8; N]> {
    let bytes = number.to_be_bytes();
    let (above, rest) = bytes.split_at(bytes.len() - N);
    above.iter().all(|byte| *byte == 0).then(|| rest.try_into().ok())?
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// An entry as it is stored.
#[derive(Debug)]
pub(super) struct IndexedValueBytes {
    bytes: [u8; ENTRY_BYTES_MAX],
    len: usize,
}

impl IndexedValueBytes {
    fn push(&mut self, part: &[u8]) -> &mut Self {
        let end = self.len + part.len();
        self.bytes[self.len..end].copy_from_slice(part);
        self.len = end;
        self
    }
}

impl AsRef<[u8]> for IndexedValueBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
