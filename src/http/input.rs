//! Strict reading of everything but the body: query, headers, media types. An ambiguous input is
//! refused with the reason.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use super::headers::{self as fields, Accept, EntityTag, Pair, Parameterized, Tags};
use super::problem::{Code, FieldError, Problem};
use crate::engine::{Expected, Preconditions};
use crate::types::TraceContext;

/// The header of the IETF draft `draft-ietf-httpapi-idempotency-key-header-07`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest Idempotency-Key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// RFC 7240: the part of `Prefer` that was applied.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Longest wait for a change: shorter than the time that proxies give an answer.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// Returns how long the caller wants to wait (`Prefer: wait=SECONDS`, RFC 7240), at most
/// [`WAIT_MAX`]. Of a preference that is given more than once the first counts; one that is not
/// understood is ignored.
#[must_use]
pub fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = fields::list(headers, &PREFER).map(Parameterized::read);
    let mut preferences = preferences.filter_map(|preference| Pair::read(preference.value).ok());
    let wait = preferences.find(|preference| preference.is("wait"))?;
    let seconds = fields::number(wait.value())?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Number of rows of a list when the caller does not give one.
pub const PAGE_DEFAULT: usize = 50;

/// Maximum number of rows of a list.
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

    /// The values of all parameters.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(|(_, value)| value.as_str())
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

    /// Returns whether a parameter that has only one value is given.
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

/// Returns the one value of a header that is no list.
///
/// # Errors
/// [`Code::BadRequest`] when it is given twice or has bytes that are not visible ASCII.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    fields::single(headers, name).map_err(|_| {
        let fault = "is given twice, or is not visible ASCII";
        Problem::new(Code::BadRequest, format!("the header `{name}` {fault}"))
    })
}

/// Returns the caller's trace that a request belongs to (W3C Trace Context). A malformed one counts
/// as none.
#[must_use]
pub fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = fields::single(headers, &TRACE_PARENT).ok()??;
    let context: TraceContext = parent.parse().ok()?;
    Some(context.with_state(fields::joined(headers, &TRACE_STATE)))
}

/// Returns the length that a body is announced with. The server has checked that there is one.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<usize> {
    let length = fields::lines(headers, &header::CONTENT_LENGTH).next()?;
    fields::number(length).and_then(|length| usize::try_from(length).ok())
}

/// Returns the Idempotency-Key, without quotes.
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
    let key = if text.starts_with('"') {
        fields::structured_string(text).ok_or_else(refused)?
    } else {
        text.to_owned()
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !visible {
        return Err(refused());
    }
    Ok(Some(key))
}

/// Reads the conditions of a change; `None`: there are none.
///
/// # Errors
/// [`Code::BadRequest`] when one is malformed.
pub fn preconditions(headers: &HeaderMap) -> Result<Option<Preconditions>, Problem> {
    let if_match = if_match(headers)?.map(|tags| expected(&tags, false));
    let if_none_match = if_none_match(headers)?.map(|tags| expected(&tags, true));
    let given = if_match.is_some() || if_none_match.is_some();
    Ok(given.then_some(Preconditions { if_match, if_none_match }))
}

/// Returns the revisions that tags name, as the condition of a change.
fn expected(tags: &Tags, weak_too: bool) -> Expected {
    match tags {
        Tags::Any => Expected::Any,
        Tags::These(tags) => {
            let counted = tags.iter().filter(|tag| weak_too || !tag.is_weak);
            Expected::OneOf(counted.filter_map(EntityTag::revision).collect())
        }
    }
}

/// Reads If-Match (strong comparison, RFC 9110 section 13.1.1: a weak tag never matches).
///
/// # Errors
/// [`Code::BadRequest`] when it is malformed.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Tags>, Problem> {
    tags(headers, &header::IF_MATCH)
}

/// Reads If-None-Match (weak comparison, RFC 9110 section 13.1.2).
///
/// # Errors
/// [`Code::BadRequest`] when it is malformed.
pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Tags>, Problem> {
    tags(headers, &header::IF_NONE_MATCH)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    Tags::read(headers, name).map_err(|_| {
        let fault = "is neither `*` nor a list of entity tags";
        Problem::new(Code::BadRequest, format!("the header `{name}` {fault}"))
    })
}

/// Returns which of the offered media types the caller prefers; the first is the default.
#[must_use]
pub fn preferred<'t>(headers: &HeaderMap, offered: &[&'t str]) -> &'t str {
    Accept::read(headers).choose(offered)
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
    /// Returns its name.
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

/// Most characters of a wrong media type that its refusal repeats.
const NAMED_CHARS_MAX: usize = 100;

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
    let mut codings = fields::list(headers, &header::CONTENT_ENCODING);
    if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        let detail = "the body has a Content-Encoding; send it as it is";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let Some(text) =
        single(headers, &header::CONTENT_TYPE).map_err(|_| refused("is unreadable"))?
    else {
        return Err(refused("is missing"));
    };
    let given = Parameterized::read(text.as_bytes());
    let is = |media: &Media| given.value.eq_ignore_ascii_case(media.as_str().as_bytes());
    let media = taken.clone().find(is).ok_or_else(|| {
        let name = String::from_utf8_lossy(given.value);
        refused(&format!("is {}", name.chars().take(NAMED_CHARS_MAX).collect::<String>()))
    })?;
    for parameter in given.parameters() {
        let parameter = parameter.map_err(|_| refused("is malformed"))?;
        if parameter.is("charset") && !parameter.value().eq_ignore_ascii_case(b"utf-8") {
            return Err(refused("has another charset than UTF-8"));
        }
    }
    Ok(media)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use http::header::{
        CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    };

    use super::{Code, IDEMPOTENCY_KEY, Media, Query, Tags};

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
        let revisions = |value: &str| {
            let revisions = tags(value).unwrap().unwrap().revisions();
            revisions.map(|found| found.iter().map(|one| one.get()).collect::<Vec<_>>())
        };
        assert_eq!(tags("*").unwrap().unwrap(), Tags::Any);
        assert_eq!(revisions("*"), None);
        assert_eq!(revisions("\"7\""), Some(vec![7]));
        assert_eq!(revisions("\"7\" , \"8\""), Some(vec![7, 8]));
        for stale in ["W/\"7\"", "\"07\"", "\"+7\"", "\"x\"", "\"\"", "", ","] {
            assert_eq!(revisions(stale), Some(vec![]), "{stale}");
        }
        assert_eq!(revisions("\"7\","), Some(vec![7]));
        for bad in ["7", "\"7", "\"7\" \"8\"", "*, \"7\""] {
            assert_eq!(tags(bad).unwrap_err().code, Code::BadRequest, "{bad}");
        }
        let weak = super::if_none_match(&with(IF_NONE_MATCH, "W/\"7\"")).unwrap().unwrap();
        assert!(weak.match_weakly("7") && !weak.match_weakly("8"));
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
