//! Entity tags in `If-Match` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1).

use http::header::{HeaderMap, HeaderName};

use super::super::etag::VersionTag;
use super::{Malformed, lines};
use crate::types::Revision;

/// Tags that a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any representation that exists.
    Any,
    /// These tags.
    These(Vec<EntityTag>),
}

/// An entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// True if the tag is weak.
    pub is_weak: bool,
    /// Text between the quotes.
    pub opaque: Box<str>,
}

impl EntityTag {
    /// Returns the revision that it names, exactly as this server writes it.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        VersionTag::parse(&self.opaque).map(|tag| tag.revision)
    }
}

impl Tags {
    /// Reads the field over all of its lines; `None`: it is absent.
    ///
    /// # Errors
    /// [`Malformed`] for anything but `*` or a list of tags.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Malformed> {
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let mut given = lines(headers, name).filter(|line| !line.is_empty());
        let (first, second) = (given.next(), given.next());
        if first == Some(b"*") {
            return if second.is_none() { Ok(Some(Self::Any)) } else { Err(Malformed) };
        }
        let mut tags = Vec::new();
        for line in lines(headers, name) {
            read_line(line, &mut tags)?;
        }
        Ok(Some(Self::These(tags)))
    }

    /// Returns the revisions that strong tags among them name; `None`: any.
    #[must_use]
    pub fn revisions(&self) -> Option<Vec<Revision>> {
        let Self::These(tags) = self else { return None };
        let strong = tags.iter().filter(|tag| !tag.is_weak);
        Some(strong.filter_map(EntityTag::revision).collect())
    }

    /// Returns whether one of them names this tag by the strong comparison, as `If-Match` requires:
    /// a weak tag never does.
    #[must_use]
    pub fn match_strongly(&self, opaque: &str) -> bool {
        self.matches(|tag| !tag.is_weak && *tag.opaque == *opaque)
    }

    /// Returns whether one of them names this tag by the weak comparison, as `If-None-Match`
    /// requires.
    #[must_use]
    pub fn match_weakly(&self, opaque: &str) -> bool {
        self.matches(|tag| *tag.opaque == *opaque)
    }

    fn matches(&self, is_match: impl Fn(&EntityTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(is_match),
        }
    }
}

/// Reads a list in which elements may be empty (RFC 9110, 5.6.1.2). An entity tag is no quoted
/// string: a backslash is one of its characters.
fn read_line(line: &[u8], tags: &mut Vec<EntityTag>) -> Result<(), Malformed> {
    let mut rest = line;
    loop {
        rest = skip(rest, |byte| matches!(byte, b' ' | b'\t' | b','));
        if rest.is_empty() {
            return Ok(());
        }
        let (is_weak, tag) = rest.strip_prefix(b"W/").map_or((false, rest), |tag| (true, tag));
        let tag = tag.strip_prefix(b"\"").ok_or(Malformed)?;
        let end = tag.iter().position(|byte| *byte == b'"').ok_or(Malformed)?;
        let (opaque, after) = (&tag[..end], &tag[end + 1..]);
        if !opaque.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80) {
            return Err(Malformed);
        }
        let opaque = String::from_utf8_lossy(opaque).into();
        tags.push(EntityTag { is_weak, opaque });
        rest = skip(after, |byte| matches!(byte, b' ' | b'\t'));
        if !matches!(rest, [] | [b',', ..]) {
            return Err(Malformed);
        }
    }
}

fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    let from = text.iter().position(|byte| !is_skipped(*byte)).unwrap_or(text.len());
    &text[from..]
}
