//! Strict reading of what is not a body: query, headers, media types. What could be understood
//! in two ways is refused with its reason.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use super::problem::{Code, FieldError, Problem};
use crate::types::Revision;

/// The header of the IETF draft `draft-ietf-httpapi-idempotency-key-header-07`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest Idempotency-Key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// RFC 7240: what was made of `Prefer`.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Longest wait for a change: less than proxies give an answer.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// How long the caller wants to wait (`Prefer: wait=SECONDS`, RFC 7240), at most [`WAIT_MAX`]. A
/// preference that is not understood is none.
#[must_use]
pub fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"').parse::<u64>().ok()).flatten()
    })?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Rows of a list when the caller does not say.
pub const PAGE_DEFAULT: usize = 50;

/// Most rows of a list.
pub const PAGE_MAX: usize = 200;

/// The query parameters, each at most once.
#[derive(Clone, Debug, Default)]
pub struct Query {
    given: Vec<(&'static str, String)>,
}

impl Query {
    /// Reads a raw query in which only the `known` parameters may be.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`] for one that is unknown, given twice or badly encoded.
    pub fn parse(
        raw: &str,
        known: &(impl Iterator<Item = &'static str> + Clone),
    ) -> Result<Self, Problem> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decoded(name).ok_or_else(|| parameter("", "is badly encoded"))?;
            let Some(name) = known.clone().find(|known| *known == name) else {
                return Err(parameter(&name, "is not known here"));
            };
            if given.iter().any(|(other, _)| *other == name) {
                return Err(parameter(name, "is given twice"));
            }
            let value = form_decoded(value).ok_or_else(|| parameter(name, "is badly encoded"))?;
            given.push((name, value));
        }
        Ok(Self { given })
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// The value of `limit`, checked.
    ///
    /// # Errors
    /// [`Code::InvalidInput`] outside 1 to [`PAGE_MAX`].
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(PAGE_DEFAULT) };
        match text.parse::<usize>() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(Problem::field(
                "/limit",
                "out-of-range",
                format!("`limit` must be a whole number from 1 to {PAGE_MAX}"),
            )),
        }
    }

    /// The value of a parameter that is `true` or `false`.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`] for anything else.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(parameter(name, "must be `true` or `false`")),
        }
    }

    /// Whether a parameter that has only one value is given.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`] for another value.
    pub fn only(&self, name: &'static str, value: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(false),
            Some(given) if given == value => Ok(true),
            Some(_) => Err(parameter(name, &format!("must be `{value}`"))),
        }
    }
}

/// A refusal of a query parameter.
#[must_use]
pub fn parameter(name: &str, fault: &str) -> Problem {
    let message = format!("the query parameter `{name}` {fault}");
    let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    Problem::new(Code::InvalidParameter, message.clone()).with_errors(vec![FieldError::new(
        pointer,
        "invalid-parameter",
        message,
    )])
}

/// Decodes `application/x-www-form-urlencoded`; `None`: a broken escape or no UTF-8.
#[must_use]
pub fn form_decoded(text: &str) -> Option<String> {
    decoded(text, true)
}

/// Decodes the percent escapes of a path segment; `None`: a broken escape or no UTF-8.
#[must_use]
pub fn segment_decoded(text: &str) -> Option<String> {
    decoded(text, false)
}

fn decoded(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
                bytes.push(u8::try_from(value).ok()?);
                rest = after;
            }
            b'+' if form => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The one value of a header that must not come twice.
///
/// # Errors
/// [`Code::BadRequest`] when it is given twice or has bytes that are not visible ASCII.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::BadRequest, format!("the header `{name}` is given twice")));
    }
    value.to_str().map(Some).map_err(|_| {
        Problem::new(Code::BadRequest, format!("the header `{name}` is not visible ASCII"))
    })
}

/// The Idempotency-Key, without quotes.
///
/// # Errors
/// [`Code::InvalidIdempotencyKey`].
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused = || {
        Problem::new(
            Code::InvalidIdempotencyKey,
            format!(
                "Idempotency-Key must be given once, as 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible \
                 ASCII characters, quoted or bare"
            ),
        )
    };
    let Some(text) = single(headers, &IDEMPOTENCY_KEY).map_err(|_| refused())? else {
        return Ok(None);
    };
    let text = text.trim_matches([' ', '\t']);
    let key = match text.strip_prefix('"') {
        Some(rest) => unquoted(rest).ok_or_else(refused)?,
        None => text.to_owned(),
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !visible {
        return Err(refused());
    }
    Ok(Some(key))
}

/// The rest of a structured-field string (RFC 9651) after its first quote.
fn unquoted(rest: &str) -> Option<String> {
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\') => text.push(escaped),
                _ => return None,
            },
            other => text.push(other),
        }
    }
}

/// The revisions that If-Match or If-None-Match names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// A list; tags that are no revision of this server are left out, since they match nothing.
    These(Vec<Revision>),
}

impl Tags {
    /// Whether a thing at `revision` is among them.
    #[must_use]
    pub fn matches(&self, revision: Revision) -> bool {
        match self {
            Self::Any => true,
            Self::These(revisions) => revisions.contains(&revision),
        }
    }
}

/// Reads If-Match (strong comparison, RFC 9110 section 13.1.1: a weak tag never matches).
///
/// # Errors
/// [`Code::BadRequest`] when it is malformed.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Tags>, Problem> {
    tags(headers, &header::IF_MATCH, false)
}

/// Reads If-None-Match (weak comparison, RFC 9110 section 13.1.2).
///
/// # Errors
/// [`Code::BadRequest`] when it is malformed.
pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Tags>, Problem> {
    tags(headers, &header::IF_NONE_MATCH, true)
}

fn tags(headers: &HeaderMap, name: &HeaderName, weak_too: bool) -> Result<Option<Tags>, Problem> {
    let Some(text) = single(headers, name)? else { return Ok(None) };
    let text = text.trim();
    if text == "*" {
        return Ok(Some(Tags::Any));
    }
    let malformed =
        || Problem::new(Code::BadRequest, format!("the header `{name}` is no list of entity tags"));
    let mut revisions = Vec::new();
    let mut rest = text;
    // A list may be empty and have empty elements (RFC 9110, section 5.6.1.2).
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
            continue;
        }
        let (weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
        let (opaque, after) = tag
            .strip_prefix('"')
            .and_then(|tag| tag.split_once('"'))
            .filter(|(opaque, _)| opaque.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(malformed)?;
        if (weak_too || !weak)
            && let Some(revision) = revision(opaque)
        {
            revisions.push(revision);
        }
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(malformed());
        }
    }
    Ok(Some(Tags::These(revisions)))
}

/// Exactly as we write it: no sign, no leading zero.
fn revision(opaque: &str) -> Option<Revision> {
    let number = opaque.parse::<u64>().ok()?;
    (number.to_string() == opaque).then(|| Revision::new(number))
}

/// A media type that a body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/merge-patch+json` (RFC 7396)
    MergePatch,
    /// `application/json-patch+json` (RFC 6902)
    JsonPatch,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/yaml` (RFC 9512)
    Yaml,
}

impl Media {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::JsonPatch => "application/json-patch+json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Yaml => "application/yaml",
        }
    }
}

/// The media type of the body, which must be one of `taken`.
///
/// # Errors
/// [`Code::UnsupportedMediaType`], also for a charset other than UTF-8.
pub fn media(
    headers: &HeaderMap,
    taken: &(impl Iterator<Item = Media> + Clone),
) -> Result<Media, Problem> {
    let refused = |found: &str| {
        let names: Vec<_> = taken.clone().map(Media::as_str).collect();
        Problem::new(
            Code::UnsupportedMediaType,
            format!("Content-Type {found}; this call takes {}", names.join(" or ")),
        )
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let detail = "the body has a Content-Encoding; send it as it is";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let Some(text) =
        single(headers, &header::CONTENT_TYPE).map_err(|_| refused("is unreadable"))?
    else {
        return Err(refused("is missing"));
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim();
    let media = taken.clone().find(|media| essence.eq_ignore_ascii_case(media.as_str()));
    let media = media.ok_or_else(|| refused("is another"))?;
    let utf8 = parameters.split(';').map(str::trim).filter(|one| !one.is_empty()).all(|one| {
        one.split_once('=').is_some_and(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    });
    if utf8 { Ok(media) } else { Err(refused("has another charset than UTF-8")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use http::header::{
        CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    };

    use super::{Code, IDEMPOTENCY_KEY, Media, Query, Tags};
    use crate::types::Revision;

    const KNOWN: [&str; 2] = ["limit", "touch"];

    fn query(raw: &str) -> Result<Query, Code> {
        Query::parse(raw, &KNOWN.into_iter()).map_err(|problem| problem.code)
    }

    fn with(name: http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_query_parameter_is_known_and_given_once() {
        assert_eq!(query("limit=5&touch=a%20b+c").unwrap().get("touch"), Some("a b c"));
        assert!(query("").unwrap().get("limit").is_none());
        for raw in ["other=1", "limit=1&limit=1", "l%69mit=1&limit=2", "limit=%", "limit=%ff", "="]
        {
            assert_eq!(query(raw).unwrap_err(), Code::InvalidParameter, "{raw}");
        }
    }

    #[test]
    fn a_page_has_1_to_200_rows() {
        assert_eq!(query("").unwrap().limit().unwrap(), 50);
        for (raw, limit) in [("limit=1", 1), ("limit=200", 200)] {
            assert_eq!(query(raw).unwrap().limit().unwrap(), limit);
        }
        for raw in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=1.0"] {
            assert_eq!(query(raw).unwrap().limit().unwrap_err().code, Code::InvalidInput, "{raw}");
        }
    }

    #[test]
    fn an_idempotency_key_is_quoted_or_bare() {
        let key = |value: &str| super::idempotency_key(&with(IDEMPOTENCY_KEY, value));
        assert_eq!(key("abc-1").unwrap().unwrap(), "abc-1");
        assert_eq!(key("\"abc-1\"").unwrap().unwrap(), "abc-1");
        assert_eq!(key(r#""a\"b\\c""#).unwrap().unwrap(), r#"a"b\c"#);
        assert_eq!(key(&"k".repeat(255)).unwrap().unwrap().len(), 255);
        for bad in ["", "\"\"", "a b", "\"a b\"", "\"a", "\"a\"b", r#""a\c""#, &"k".repeat(256)] {
            assert_eq!(key(bad).unwrap_err().code, Code::InvalidIdempotencyKey, "{bad}");
        }
        let mut twice = with(IDEMPOTENCY_KEY, "a");
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(super::idempotency_key(&twice).is_err());
        assert_eq!(super::idempotency_key(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn entity_tags_are_revisions() {
        let tags = |value: &str| super::if_match(&with(IF_MATCH, value));
        let these =
            |numbers: &[u64]| Tags::These(numbers.iter().map(|n| Revision::new(*n)).collect());
        assert_eq!(tags("*").unwrap().unwrap(), Tags::Any);
        assert_eq!(tags("\"7\"").unwrap().unwrap(), these(&[7]));
        assert_eq!(tags("\"7\" , \"8\"").unwrap().unwrap(), these(&[7, 8]));
        for stale in ["W/\"7\"", "\"07\"", "\"+7\"", "\"x\"", "\"\"", "", ","] {
            assert_eq!(tags(stale).unwrap().unwrap(), these(&[]), "{stale}");
        }
        assert_eq!(tags("\"7\",").unwrap().unwrap(), these(&[7]));
        for bad in ["7", "\"7", "\"7\" \"8\"", "*, \"7\""] {
            assert_eq!(tags(bad).unwrap_err().code, Code::BadRequest, "{bad}");
        }
        let weak = super::if_none_match(&with(IF_NONE_MATCH, "W/\"7\"")).unwrap().unwrap();
        assert!(weak.matches(Revision::new(7)) && !weak.matches(Revision::new(8)));
    }

    #[test]
    fn a_body_has_a_media_type_that_is_taken() {
        let media =
            |value: &str| super::media(&with(CONTENT_TYPE, value), &[Media::Json].into_iter());
        for good in ["application/json", "Application/JSON ; charset=\"UTF-8\""] {
            assert_eq!(media(good).unwrap(), Media::Json, "{good}");
        }
        for bad in [
            "text/json",
            "application/jsonx",
            "application/json; charset=latin1",
            "",
            "application/json; x",
        ] {
            assert_eq!(media(bad).unwrap_err().code, Code::UnsupportedMediaType, "{bad}");
        }
        assert!(super::media(&HeaderMap::new(), &[Media::Json].into_iter()).is_err());
        let mut packed = with(CONTENT_TYPE, "application/json");
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(super::media(&packed, &[Media::Json].into_iter()).is_err());
    }
}
