//! `Accept` (RFC 9110, 12.5.1): which of several media types the caller prefers.

use http::header::{self, HeaderMap};

use super::{Parameterized, list};

/// Media types that a caller accepts.
#[derive(Clone, Debug)]
pub struct Accept<'a> {
    /// The ranges of all lines; `None`: the field is absent, so everything is accepted.
    ranges: Option<Vec<Range<'a>>>,
}

/// A media range with its weight.
#[derive(Clone, Debug)]
struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    /// True if it has parameters that no type of this server has.
    has_parameters: bool,
    /// Thousandths.
    weight: u16,
}

/// Precision with which a range names a type: not, by `*/*`, by `type/*`, by its name.
type Specificity = u8;

impl<'a> Accept<'a> {
    /// Reads the field. Elements that are malformed are left out.
    #[must_use]
    pub fn read(headers: &'a HeaderMap) -> Self {
        let is_there = headers.contains_key(header::ACCEPT);
        let ranges = || list(headers, &header::ACCEPT).filter_map(Range::read).collect();
        Self { ranges: is_there.then(ranges).filter(|ranges: &Vec<_>| !ranges.is_empty()) }
    }

    /// Returns the preferred media type: of the highest weight; then the one that is named most
    /// exactly; then the first. If none is accepted it is the first too, as RFC 9110 allows.
    #[must_use]
    pub fn choose<'t>(&self, offered: &[&'t str]) -> &'t str {
        let mut best = ((0, 0), offered.first().copied().unwrap_or_default());
        for media in offered {
            let rank = self.rank(media);
            if rank > best.0 {
                best = (rank, media);
            }
        }
        best.1
    }

    /// Returns the weight of a media type and how exactly it is named; `(0, _)`: not accepted.
    fn rank(&self, media: &str) -> (u16, Specificity) {
        let Some(ranges) = &self.ranges else { return (1000, 0) };
        let found = ranges.iter().filter_map(|range| Some((range.matches(media)?, range.weight)));
        // The most exact range decides the weight, also where a wider one has a higher weight.
        let (specificity, weight) = found.max().unwrap_or_default();
        if weight == 0 { (0, 0) } else { (weight, specificity) }
    }
}

impl<'a> Range<'a> {
    fn read(element: &'a [u8]) -> Option<Self> {
        let range = Parameterized::read(element);
        let slash = range.value.iter().position(|byte| *byte == b'/')?;
        let (kind, subtype) = (&range.value[..slash], &range.value[slash + 1..]);
        if !super::is_token(kind) || !super::is_token(subtype) || kind == b"*" && subtype != b"*" {
            return None;
        }
        let (mut weight, mut has_parameters) = (1000, false);
        for parameter in range.parameters() {
            let parameter = parameter.ok()?;
            if parameter.is("q") {
                weight = self::weight(parameter.value())?;
                // Parameters after the weight were extensions, which RFC 9110 has given up.
                break;
            }
            let is_utf8 =
                parameter.is("charset") && parameter.value().eq_ignore_ascii_case(b"utf-8");
            has_parameters |= !is_utf8;
        }
        Some(Self { kind, subtype, has_parameters, weight })
    }

    /// Returns how exactly it names a type without parameters; `None`: it does not.
    fn matches(&self, media: &str) -> Option<Specificity> {
        let (kind, subtype) = media.split_once('/')?;
        let is = |range: &[u8], name: &str| range.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if self.has_parameters => None,
            () if is(self.kind, kind) && is(self.subtype, subtype) => Some(3),
            () if is(self.kind, kind) && self.subtype == b"*" => Some(2),
            () if self.kind == b"*" => Some(1),
            () => None,
        }
    }
}

/// Reads `0`, `1` or a fraction of at most three digits, in thousandths (RFC 9110, 12.4.2).
fn weight(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        weight += u16::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?) * unit;
    }
    (weight <= 1000).then_some(weight)
}
