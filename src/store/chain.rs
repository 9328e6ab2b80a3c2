//! The hash chain over all commits: what of it can be checked without the store.
//!
//! `commitment = H(salt, body)`, `link = H(link before, revision, at_ms, commitment)`. An edit
//! anywhere changes every later link. The salt makes a commitment say nothing about its body, so
//! that a body can be left out, or erased, while the chain still verifies.
//!
//! ```text
//! body = entry bytes u32, entry, writes u32, then each write:
//!        key bytes u16, value bytes u32 (u32::MAX: deleted), key, value
//! ```

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::Write;
use crate::types::{ParseError, Revision};

const DELETED: u32 = u32::MAX;

/// Commitment to a commit's body in the chain: `H(salt, body)`.
pub type Commitment = [u8; 32];

/// The chain's value after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink(pub [u8; 32]);

impl fmt::Display for ChainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ChainLink {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = ParseError::new("must be a link of the chain: 64 hexadecimal digits");
        let mut link = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        for (byte, digits) in link.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
        }
        Ok(Self(link))
    }
}

impl ChainLink {
    /// Before the first commit.
    pub const START: Self = Self([0; 32]);

    /// The link after the commit that comes next.
    #[must_use]
    pub fn after(self, revision: Revision, at_ms: u64, commitment: &Commitment) -> Self {
        let mut input = [0; 80];
        input[..32].copy_from_slice(&self.0);
        input[32..40].copy_from_slice(&revision.get().to_le_bytes());
        input[40..48].copy_from_slice(&at_ms.to_le_bytes());
        input[48..].copy_from_slice(commitment);
        Self(*blake3::hash(&input).as_bytes())
    }
}

/// The commitment to a body.
#[must_use]
pub fn commitment(salt: &[u8; 16], body: &[u8]) -> Commitment {
    *blake3::Hasher::new().update(salt).update(body).finalize().as_bytes()
}

/// One commit as the chain has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// The link before it.
    pub before: ChainLink,
    /// Its revision.
    pub revision: Revision,
    /// Its time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Random bytes, its own.
    pub salt: [u8; 16],
    /// Entry and writes; [`read_body`] reads them.
    pub body: Bytes,
}

impl ChainEntry {
    /// The commitment to its body.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        commitment(&self.salt, &self.body)
    }

    /// The link after it.
    #[must_use]
    pub fn link(&self) -> ChainLink {
        self.before.after(self.revision, self.at_ms, &self.commitment())
    }
}

/// Batches are checked against limits far below 4 GiB before they come here.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX - 1)
}

/// Returns the number of bytes of a body.
pub(super) fn body_bytes(entry: &[u8], writes: &[Write]) -> usize {
    let write_bytes =
        writes.iter().map(|write| 6 + write.key.len() + write.value.as_ref().map_or(0, Bytes::len));
    8 + entry.len() + write_bytes.sum::<usize>()
}

/// Appends a body.
pub(super) fn put_body(bytes: &mut Vec<u8>, entry: &[u8], writes: &[Write]) {
    bytes.extend_from_slice(&length(entry.len()).to_le_bytes());
    bytes.extend_from_slice(entry);
    bytes.extend_from_slice(&length(writes.len()).to_le_bytes());
    for Write { key, value } in writes {
        let key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&key_bytes.to_le_bytes());
        let value_bytes = value.as_ref().map_or(DELETED, |value| length(value.len()));
        bytes.extend_from_slice(&value_bytes.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

/// Where the values of a body lie, asked for write by write.
#[derive(Debug)]
pub(super) struct ValueOffsets(usize);

impl ValueOffsets {
    /// For a body with this entry that begins at `body_at`.
    pub(super) const fn new(body_at: usize, entry: &[u8]) -> Self {
        Self(body_at + 8 + entry.len())
    }

    /// Where the value of the next write begins.
    pub(super) fn next(&mut self, write: &Write) -> usize {
        let value_at = self.0 + 6 + write.key.len();
        self.0 = value_at + write.value.as_ref().map_or(0, Bytes::len);
        value_at
    }
}

/// Entry and writes of a body; `None`: it is none.
#[must_use]
pub fn read_body(body: &Bytes) -> Option<(Bytes, Vec<Write>)> {
    let mut rest = ByteReader(body);
    let entry_bytes = rest.u32()?;
    let entry = body.slice_ref(rest.take(entry_bytes)?);
    let count = rest.u32()?;
    let mut writes = Vec::with_capacity(count.min(4096) as usize);
    for _ in 0..count {
        let key_bytes = u32::from(rest.u16()?);
        let value_bytes = rest.u32()?;
        let key = body.slice_ref(rest.take(key_bytes)?);
        let value = match value_bytes {
            DELETED => None,
            bytes => Some(body.slice_ref(rest.take(bytes)?)),
        };
        writes.push(Write { key, value });
    }
    rest.0.is_empty().then_some((entry, writes))
}

/// Reads little-endian numbers off the front of bytes.
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn take(&mut self, bytes: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
