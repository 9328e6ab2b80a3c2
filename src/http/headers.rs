//! Reader of header fields as RFC 9110 writes them: lists over several lines, quoted strings,
//! parameters, media ranges, entity tags. Every header that the server reads is read by this
//! module, so that a comma in quotes, a second line or another case means the same everywhere.
//!
//! Values are bytes: a quoted string and a cookie may hold bytes beyond ASCII.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};

mod accept;
mod tags;
#[cfg(test)]
mod tests;

pub use accept::Accept;
pub use tags::{EntityTag, Tags};

/// A field value that its grammar does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Returns the lines of a field, without the white space around them.
pub fn lines<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().map(|value| trimmed(value.as_bytes()))
}

/// Returns the one line of a field that is no list, as visible ASCII with spaces and tabs.
///
/// # Errors
/// [`Malformed`] when the field is given twice or has other bytes.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Malformed> {
    let mut values = lines(headers, name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => text(value).map(Some).ok_or(Malformed),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

/// Returns the elements of a list over all of its lines (RFC 9110, 5.6.1). Empty elements are left
/// out. A comma in a quoted string separates nothing.
pub fn list<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    lines(headers, name).flat_map(|line| split(line, b',')).filter(|element| !element.is_empty())
}

/// Returns whether a list of tokens holds this one, in any case.
#[must_use]
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the value of a field as RFC 9110, 5.3 joins its lines; `None` where one is not visible
/// ASCII, or the field is absent.
#[must_use]
pub fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let separator = if name == header::COOKIE { "; " } else { ", " };
    let lines: Option<Vec<_>> = lines(headers, name).map(text).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(separator))
}

/// Returns the cookies of all lines (RFC 6265, 5.4; HTTP/2 splits them over several lines).
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = lines(headers, &header::COOKIE).flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let pair = trimmed(pair);
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..equals], &pair[equals + 1..]))
    })
}

/// A value with parameters: `value *( OWS ";" OWS [ name "=" value ] )` (RFC 9110, 5.6.6).
#[derive(Clone, Debug)]
pub struct Parameterized<'a> {
    /// Part before the parameters.
    pub value: &'a [u8],
    parameters: Split<'a>,
}

impl<'a> Parameterized<'a> {
    /// Takes an element of a list apart.
    #[must_use]
    pub fn read(element: &'a [u8]) -> Self {
        let mut parameters = split(element, b';');
        let value = parameters.next().unwrap_or_default();
        Self { value, parameters }
    }

    /// Returns the parameters in their order; empty ones are left out.
    pub fn parameters(&self) -> impl Iterator<Item = Result<Pair<'a>, Malformed>> + use<'a> {
        let parameters = self.parameters.clone();
        parameters.filter(|parameter| !parameter.is_empty()).map(Pair::with_value)
    }
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    name: &'a [u8],
    /// The value, without quotes; `None`: there is no `=`.
    pub value: Option<Cow<'a, [u8]>>,
}

impl<'a> Pair<'a> {
    /// Reads `token [ "=" ( token / quoted-string ) ]`, with white space around the `=`.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let Some(equals) = text.iter().position(|byte| *byte == b'=') else {
            return if is_token(text) {
                Ok(Self { name: text, value: None })
            } else {
                Err(Malformed)
            };
        };
        let (name, value) = (trimmed(&text[..equals]), trimmed(&text[equals + 1..]));
        let value = match value {
            [b'"', ..] => unquoted(value).ok_or(Malformed)?,
            [] => Cow::Borrowed(value),
            _ if is_token(value) => Cow::Borrowed(value),
            _ => return Err(Malformed),
        };
        if is_token(name) { Ok(Self { name, value: Some(value) }) } else { Err(Malformed) }
    }

    fn with_value(text: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(text)
            .and_then(|pair| if pair.value.is_some() { Ok(pair) } else { Err(Malformed) })
    }

    /// Returns whether this is its name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Returns the value; empty where there is none.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }
}

/// Reads a number of digits only, as lengths and seconds are written; what is too large is the
/// largest.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(value.iter().fold(0, digit))
}

/// Reads a string of structured fields (RFC 9651, 3.3.3): stricter than a quoted string.
#[must_use]
pub fn structured_string(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('"')?.chars();
    let mut found = String::with_capacity(text.len());
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(found),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\') => found.push(escaped),
                _ => return None,
            },
            other => found.push(other),
        }
    }
}

/// Splits at a separator that is in no quoted string; the parts come without the white space
/// around them.
#[must_use]
pub const fn split(text: &[u8], separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

/// Parts of a field value; see [`split`].
#[derive(Clone, Debug)]
pub struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in rest.iter().enumerate() {
            if escaped {
                escaped = false;
            } else if quoted {
                escaped = *byte == b'\\';
                quoted = *byte != b'"';
            } else if *byte == self.separator {
                self.rest = Some(&rest[at + 1..]);
                return Some(trimmed(&rest[..at]));
            } else {
                quoted = *byte == b'"';
            }
        }
        Some(trimmed(rest))
    }
}

/// Reads a whole quoted string (RFC 9110, 5.6.4).
fn unquoted(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_text = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80;
    if !inner.contains(&b'\\') {
        let plain = inner.iter().all(|byte| is_text(*byte) && *byte != b'"');
        return plain.then_some(Cow::Borrowed(inner));
    }
    let mut found = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'"' => return None,
            b'\\' => bytes.next()?,
            other => other,
        };
        if !is_text(byte) {
            return None;
        }
        found.push(byte);
    }
    Some(Cow::Owned(found))
}

/// Returns whether the text is a token (RFC 9110, 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_part)
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let to = text.iter().rposition(|byte| !is_space(byte)).map_or(from, |last| last + 1);
    &text[from..to]
}

fn text(value: &[u8]) -> Option<&str> {
    let is_visible = |byte: &u8| *byte == b'\t' || (b' '..=b'~').contains(byte);
    std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_visible))
}
