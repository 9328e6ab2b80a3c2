//! Frames: how a group of commits lies in a segment. Pure: bytes in, bytes out.
//!
//! ```text
//! frame   = header (64 bytes), commits, zeros up to the next multiple of 4096
//! header  = magic u32, crc32c u32, payload bytes u32, commits u32, first revision u64,
//!           link before the first commit [32], zeros [8]
//! commit  = at_ms u64, salt [16], body bytes u32, body (see chain)
//! ```
//!
//! Numbers are little-endian. The checksum covers the segment's generation, then everything
//! behind the checksum up to the end of the payload: a frame that an earlier use of the file left
//! behind, or bytes that a client sent, never count.
//!
//! Frames begin on a page, so no page that holds acknowledged bytes is ever written again.

use bytes::Bytes;

use super::super::chain::{self, ByteReader, ChainEntry, ChainLink, ValueOffsets, length};
use super::super::{Batch, LogEntry};
use crate::types::Revision;

/// Frames begin at multiples of this; at least the sector of any disk and a page of memory.
pub(super) const ALIGN: usize = 4096;
/// Bytes of a frame's header.
pub(super) const HEADER: usize = 64;
/// Bytes of a commit before its body.
const COMMIT_HEADER: usize = 8 + 16 + 4;
const MAGIC: u32 = u32::from_le_bytes(*b"ABfr");

/// One use of a segment file; random, mixed into each frame's checksum.
pub(super) type Generation = [u8; 16];

/// A frame in the making.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    bytes: Vec<u8>,
    commits: u32,
    first: Revision,
}

/// Returns the number of bytes of `batch` in a frame.
pub(super) fn encoded_bytes(batch: &Batch) -> usize {
    COMMIT_HEADER + chain::body_bytes(&batch.entry, &batch.writes)
}

/// A frame's whole length on the disk for this payload.
pub(super) const fn padded(payload_bytes: usize) -> usize {
    (HEADER + payload_bytes).next_multiple_of(ALIGN)
}

impl FrameBuilder {
    /// An empty frame whose first commit will be `first`, after `link`, in memory that was used
    /// before: what lies in it is forgotten.
    pub(super) fn new(first: Revision, link: ChainLink, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER, 0);
        bytes[24..56].copy_from_slice(&link.0);
        Self { bytes, commits: 0, first }
    }

    /// Appends a commit; answers with the chain's link after it, and with where its values
    /// lie in the frame.
    pub(super) fn push(
        &mut self,
        before: ChainLink,
        salt: &[u8; 16],
        batch: &Batch,
    ) -> (ChainLink, ValueOffsets) {
        let revision = Revision::new(self.first.get() + u64::from(self.commits));
        // With room for the zeros behind it: what is finished is not moved once more.
        self.bytes.reserve(encoded_bytes(batch) + ALIGN);
        self.bytes.extend_from_slice(&batch.at_ms.to_le_bytes());
        self.bytes.extend_from_slice(salt);
        let size_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let body_at = self.bytes.len();
        chain::put_body(&mut self.bytes, &batch.entry, &batch.writes);
        let body_bytes = length(self.bytes.len() - body_at);
        self.bytes[size_at..body_at].copy_from_slice(&body_bytes.to_le_bytes());
        self.commits += 1;
        let link =
            before.after(revision, batch.at_ms, &chain::commitment(salt, &self.bytes[body_at..]));
        (link, ValueOffsets::new(body_at, &batch.entry))
    }

    /// Bytes of payload so far.
    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// The finished frame for a segment of this generation, padded.
    pub(super) fn finish(mut self, generation: &Generation) -> Vec<u8> {
        let payload_bytes = length(self.payload_bytes());
        self.bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.commits.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&self.first.get().to_le_bytes());
        let checksum = checksum(generation, &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        let padded = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(padded, 0);
        self.bytes
    }
}

fn checksum(generation: &Generation, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(generation), bytes)
}

/// Header of a frame. To be believed only after [`Frame::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    checksum: u32,
    /// Bytes behind the header.
    pub(super) payload_bytes: usize,
    /// Commits in the frame; zero: a clean-shutdown marker, written when the store was closed.
    pub(super) commits: u32,
    /// The revision of its first commit.
    pub(super) first: Revision,
    /// The chain's link before its first commit.
    pub(super) link: ChainLink,
}

impl FrameHeader {
    /// Reads a header; `None` when these bytes are none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = ByteReader(bytes.get(..HEADER)?);
        if rest.u32()? != MAGIC {
            return None;
        }
        let checksum = rest.u32()?;
        let payload_bytes = usize::try_from(rest.u32()?).ok()?;
        let commits = rest.u32()?;
        let first = Revision::new(rest.u64()?);
        let link = ChainLink(rest.array()?);
        Some(Self { checksum, payload_bytes, commits, first, link })
    }

    /// The frame's whole length on the disk.
    pub(super) const fn padded(&self) -> usize {
        padded(self.payload_bytes)
    }

    /// The revision of its last commit; for a clean-shutdown marker the one before.
    pub(super) const fn last(&self) -> Revision {
        Revision::new(self.first.get().saturating_add(self.commits as u64).saturating_sub(1))
    }
}

/// A whole frame whose checksum is right.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Its header.
    pub(super) header: FrameHeader,
    payload: Bytes,
}

impl Frame {
    /// The frame at the start of `bytes`, if it is whole and of this generation.
    pub(super) fn check(bytes: &Bytes, generation: &Generation) -> Option<Self> {
        let header = FrameHeader::parse(bytes)?;
        let end = HEADER.checked_add(header.payload_bytes)?;
        let covered = bytes.get(8..end)?;
        (checksum(generation, covered) == header.checksum)
            .then(|| Self { header, payload: bytes.slice(HEADER..end) })
    }

    /// Where in the frame `part` begins, which [`Frame::commits`] gave.
    pub(super) fn offset_of(&self, part: &Bytes) -> usize {
        HEADER + part.as_ptr().addr().saturating_sub(self.payload.as_ptr().addr())
    }

    /// The commits in it and the link after the last; `None`: the payload is no list of commits,
    /// which a right checksum rules out but for a bug or an attack.
    pub(super) fn commits(&self) -> Option<(Vec<LogEntry>, ChainLink)> {
        let mut commits = Vec::with_capacity(self.header.commits.min(65_536) as usize);
        let link = self.each(|entry| {
            let ChainEntry { revision, at_ms, body, .. } = entry;
            let (entry, writes) = chain::read_body(&body)?;
            commits.push(LogEntry { revision, at_ms, entry, writes });
            Some(())
        })?;
        Some((commits, link))
    }

    /// The same as the chain has them.
    pub(super) fn chain(&self) -> Option<Vec<ChainEntry>> {
        let mut entries = Vec::with_capacity(self.header.commits.min(65_536) as usize);
        self.each(|entry| {
            entries.push(entry);
            Some(())
        })?;
        Some(entries)
    }

    fn each(&self, mut each: impl FnMut(ChainEntry) -> Option<()>) -> Option<ChainLink> {
        let mut at = 0;
        let mut before = self.header.link;
        for number in 0..u64::from(self.header.commits) {
            let revision = Revision::new(self.header.first.get() + number);
            let mut rest = ByteReader(self.payload.get(at..)?);
            let at_ms = rest.u64()?;
            let salt: [u8; 16] = rest.array()?;
            let body_bytes = usize::try_from(rest.u32()?).ok()?;
            at += COMMIT_HEADER;
            let end = at.checked_add(body_bytes)?;
            self.payload.get(at..end)?;
            let body = self.payload.slice(at..end);
            let entry = ChainEntry { before, revision, at_ms, salt, body };
            before = entry.link();
            each(entry)?;
            at = end;
        }
        (at == self.payload.len()).then_some(before)
    }
}
