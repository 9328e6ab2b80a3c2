//! Entity tags: the revision of a thing and, where its representation depends on more, a digest.
//!
//! `"1042"` is the thing at its revision as its owner sees it. Another representation at the same
//! revision (for another reader, or after a claim has lapsed) bears a tag with a digest:
//! `"1042-93f2c1d0a4b5e687"`. A change is conditional on the thing, not on its representation, so
//! `If-Match` compares the revision alone: each reader's tag is good for it.

use std::fmt;

use crate::types::Revision;

/// An entity tag as this server writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionTag {
    /// The revision of the thing.
    pub revision: Revision,
    /// Digest of the representation; `None`: the revision identifies it.
    pub shown: Option<u64>,
}

impl VersionTag {
    /// Returns the tag of a representation with these bytes, of a thing at a revision.
    #[must_use]
    pub fn of(revision: Revision, shown: &[u8]) -> Self {
        let hash = blake3::hash(shown);
        let first = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self { revision, shown: Some(first) }
    }

    /// Reads a tag without its quotes, exactly as it is written here; `None`: no tag of this
    /// server.
    #[must_use]
    pub fn parse(opaque: &str) -> Option<Self> {
        let (number, digest) = match opaque.split_once('-') {
            None => (opaque, None),
            Some((number, digest)) => (number, Some(digest)),
        };
        let revision = Revision::new(number.parse().ok()?);
        let shown = digest.map(|digest| u64::from_str_radix(digest, 16)).transpose().ok()?;
        let tag = Self { revision, shown };
        (tag.opaque() == opaque).then_some(tag)
    }

    /// Returns the text between the quotes.
    #[must_use]
    pub fn opaque(&self) -> String {
        match self.shown {
            None => self.revision.to_string(),
            Some(shown) => format!("{}-{shown:016x}", self.revision),
        }
    }
}

impl From<Revision> for VersionTag {
    fn from(revision: Revision) -> Self {
        Self { revision, shown: None }
    }
}

impl fmt::Display for VersionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.opaque())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::*;

    #[test]
    fn a_tag_is_read_exactly_as_it_is_written() {
        let revision = Revision::new(1042);
        for tag in [VersionTag::from(revision), VersionTag::of(revision, b"a")] {
            assert_eq!(VersionTag::parse(&tag.opaque()), Some(tag));
        }
        assert_ne!(VersionTag::of(revision, b"a"), VersionTag::of(revision, b"b"));
        for other in ["", "x", "07", "+7", "7-", "7-1", "7-000000000000000G", "-0000000000000001"] {
            assert_eq!(VersionTag::parse(other), None, "{other}");
        }
        assert!(VersionTag::parse("7-00000000000000ff").is_some());
        assert!(VersionTag::parse("7-00000000000000FF").is_none());
    }
}
