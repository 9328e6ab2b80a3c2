//! Support and protection of browsers: the session cookie, the origin of a change, CORS, and the
//! headers that every answer carries.

use std::fmt;

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::headers as fields;
use super::problem::{Code, Problem};
use super::server::{Scheme, is_host};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Content Security Policy of an answer that is no page: nothing may be loaded, framed or sent from
/// it.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");

/// A year, which ASVS 5.0 3.4.1 requires, for subdomains too.
const TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Time that a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// Request headers that a page may send: all that the API reads.
const PREFLIGHT_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, authorization, cache-control, content-type, idempotency-key, if-match, \
     if-none-match, last-event-id, prefer, traceparent, tracestate",
);

/// Response headers that a page may read: all that the API documents, except cookies.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "allow, etag, idempotency-replayed, location, preference-applied, ratelimit, \
     ratelimit-policy, retry-after, www-authenticate, x-abide-roles, x-abide-user, x-request-id",
);

/// The name of the session cookie. Browsers accept `__Host-` only under TLS; there it keeps a
/// neighbouring host from planting one.
const fn cookie_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Https => "__Host-abide",
        Scheme::Http => "abide",
    }
}

/// Returns the token in the session cookie. Two cookies of the name with different values were not
/// both set by this server, so neither counts.
#[must_use]
pub fn cookie(headers: &HeaderMap, scheme: Scheme) -> Option<&str> {
    let name = cookie_name(scheme).as_bytes();
    let mut values = fields::cookies(headers).filter(|(other, _)| *other == name);
    let (_, first) = values.next()?;
    if values.all(|(_, value)| value == first) { std::str::from_utf8(first).ok() } else { None }
}

/// `Set-Cookie` for a token that lives for `seconds`.
#[must_use]
pub fn set_cookie(token: &str, seconds: u64, scheme: Scheme) -> String {
    let secure = match scheme {
        Scheme::Https => "; Secure",
        Scheme::Http => "",
    };
    let name = cookie_name(scheme);
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Deletes the cookie, and the data that pages have stored, at a logout.
pub fn clear_site(headers: &mut HeaderMap, scheme: Scheme) {
    if let Ok(value) = set_cookie("", 0, scheme).parse() {
        headers.append(header::SET_COOKIE, value);
    }
    let everything = HeaderValue::from_static("\"cache\", \"cookies\", \"storage\"");
    headers.insert(CLEAR_SITE_DATA, everything);
}

/// Origin of a request, as its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this server's own pages.
    Same,
    /// From somewhere else.
    Foreign,
    /// It does not say: no browser of today, or a navigation by its user.
    Unsaid,
}

/// Refuses a change that was authenticated by cookie and does not come from the same origin.
///
/// # Errors
/// [`Code::CrossSite`].
pub fn guard_cookie_change(origin: Origin) -> Result<(), Problem> {
    match origin {
        Origin::Same => Ok(()),
        Origin::Foreign | Origin::Unsaid => Err(Problem::new(
            Code::CrossSite,
            "a change by cookie must come from a page of this origin: neither Sec-Fetch-Site nor \
             Origin says so; use `Authorization: Bearer` from elsewhere",
        )),
    }
}

/// Refuses a login whose headers name another origin: it would sign its user in as another.
///
/// # Errors
/// [`Code::CrossSite`].
pub fn guard_login(origin: Origin, allowed: bool) -> Result<(), Problem> {
    if origin == Origin::Foreign && !allowed {
        return Err(Problem::new(
            Code::CrossSite,
            "a login must come from a page of this origin or of a configured one",
        ));
    }
    Ok(())
}

/// A scheme, a host and a port, as browsers compare them (RFC 6454, 4 and 5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct WebOrigin {
    is_https: bool,
    /// In lower case; an address of IPv6 in its brackets.
    host: String,
    port: u16,
}

impl WebOrigin {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`, and nothing more.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        match () {
            () if scheme.eq_ignore_ascii_case("https") => Self::of(true, authority),
            () if scheme.eq_ignore_ascii_case("http") => Self::of(false, authority),
            () => None,
        }
    }

    /// Returns the origin of this authority, as `Host` writes it.
    fn of(is_https: bool, authority: &str) -> Option<Self> {
        if !is_host(authority.as_bytes()) {
            return None;
        }
        let after_address = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority[after_address..].find(':') {
            None => (authority, if is_https { 443 } else { 80 }),
            Some(colon) => {
                let colon = after_address + colon;
                (&authority[..colon], authority[colon + 1..].parse().ok()?)
            }
        };
        Some(Self { is_https, host: host.to_ascii_lowercase(), port })
    }
}

/// As browsers write it: in lower case, without the scheme's own port.
impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_https, host, port } = self;
        match (is_https, port) {
            (true, 443) => write!(f, "https://{host}"),
            (false, 80) => write!(f, "http://{host}"),
            (true, port) => write!(f, "https://{host}:{port}"),
            (false, port) => write!(f, "http://{host}:{port}"),
        }
    }
}

/// Returns whether `text` is an origin: `https://app.example` or `http://localhost:3000`.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    WebOrigin::parse(text).is_some_and(|origin| !origin.host.contains('*'))
}

/// An origin, or with `*` as its first label all origins below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OriginPattern {
    origin: WebOrigin,
    /// True if `origin.host` is a suffix of the hosts that match.
    is_suffix: bool,
}

impl OriginPattern {
    fn parse(text: &str) -> Option<Self> {
        let mut origin = WebOrigin::parse(text)?;
        let domain = origin.host.strip_prefix('*').map(str::to_owned);
        let is_suffix = domain.is_some();
        if let Some(domain) = domain {
            // A whole top-level domain is nobody's own.
            if !domain.strip_prefix('.').is_some_and(|domain| domain.contains('.')) {
                return None;
            }
            origin.host = domain;
        }
        (!origin.host.contains('*')).then_some(Self { origin, is_suffix })
    }

    fn matches(&self, origin: &WebOrigin) -> bool {
        if !self.is_suffix {
            return self.origin == *origin;
        }
        let WebOrigin { is_https, host, port } = &self.origin;
        let label = origin.host.strip_suffix(host.as_str());
        (origin.is_https, origin.port) == (*is_https, *port)
            && label.is_some_and(|label| !label.is_empty())
    }
}

/// Returns whether `text` is an origin, or the pattern of all origins below a domain:
/// `https://*.example.com`.
#[must_use]
pub fn is_origin_pattern(text: &str) -> bool {
    OriginPattern::parse(text).is_some()
}

/// The origins whose pages may call with a bearer token (CORS), and those that are this server's
/// own. Cookies are never shared.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    allowed: Vec<OriginPattern>,
    /// Configured origin at which clients reach this server.
    public: Option<WebOrigin>,
}

impl Origins {
    /// Allows these origins or patterns to call; `public` is the origin at which clients reach this
    /// server, besides the host that they name.
    #[must_use]
    pub fn new(allowed: &[String], public: Option<&str>) -> Self {
        let allowed = allowed.iter().filter_map(|text| OriginPattern::parse(text)).collect();
        Self { allowed, public: public.and_then(WebOrigin::parse) }
    }

    /// Returns the source of a request, by `Sec-Fetch-Site`, else by `Origin`.
    #[must_use]
    pub fn source(&self, headers: &HeaderMap, scheme: Scheme) -> Origin {
        let mut fetch_sites = fields::lines(headers, &SEC_FETCH_SITE);
        if let Some(site) = fetch_sites.next() {
            return match site {
                b"same-origin" if fetch_sites.next().is_none() => Origin::Same,
                b"none" if fetch_sites.next().is_none() => self.by_origin(headers, scheme),
                _ => Origin::Foreign,
            };
        }
        self.by_origin(headers, scheme)
    }

    /// Returns the source of a WebSocket handshake. Its `Origin` must be this server's even where
    /// `Sec-Fetch-Site` says so: every browser sends `Origin` with a handshake (RFC 6455, 10.2).
    #[must_use]
    pub fn handshake_source(&self, headers: &HeaderMap, scheme: Scheme) -> Origin {
        match self.by_origin(headers, scheme) {
            Origin::Foreign => Origin::Foreign,
            Origin::Same | Origin::Unsaid => self.source(headers, scheme),
        }
    }

    fn by_origin(&self, headers: &HeaderMap, scheme: Scheme) -> Origin {
        if !headers.contains_key(header::ORIGIN) {
            return Origin::Unsaid;
        }
        let single = |name| fields::single(headers, name).ok().flatten();
        let origin = single(&header::ORIGIN).and_then(WebOrigin::parse);
        let host = single(&header::HOST);
        let own = host.and_then(|host| WebOrigin::of(scheme == Scheme::Https, host));
        let is_own = origin
            .is_some_and(|origin| [own.as_ref(), self.public.as_ref()].contains(&Some(&origin)));
        if is_own { Origin::Same } else { Origin::Foreign }
    }

    /// Returns the request's origin, if it is one of those that may call.
    #[must_use]
    pub fn allowed<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        if self.allowed.is_empty() {
            return None;
        }
        let text = fields::single(headers, &header::ORIGIN).ok()??;
        // Browsers write an origin in one way only.
        let origin = WebOrigin::parse(text).filter(|origin| origin.to_string() == text)?;
        self.allowed.iter().any(|pattern| pattern.matches(&origin)).then_some(())?;
        headers.get(header::ORIGIN)
    }

    /// Adds the CORS headers (Fetch standard) to an answer. `Vary` is there whether or not the
    /// origin is allowed, so that no cache serves one origin's answer to another.
    pub fn annotate(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.allowed.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
}

/// Returns whether an OPTIONS request is a preflight.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the headers of the answer to an allowed origin's preflight.
pub fn annotate_preflight(methods: &str, headers: &mut HeaderMap) {
    if let Ok(methods) = methods.parse() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, PREFLIGHT_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
}

/// The headers that keep a browser from reading more into an answer than it says; on every one.
pub fn harden(headers: &mut HeaderMap, scheme: Scheme) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if scheme == Scheme::Https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use http::header::{HeaderMap, HeaderName};

    use super::{Origin, Origins, Scheme, cookie, is_origin_pattern, set_cookie};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_cookie_is_found_by_its_exact_name() {
        let given = headers(&[("cookie", "a=1; abide=tok; b=2"), ("cookie", "__Host-abide=sec")]);
        assert_eq!(cookie(&given, Scheme::Http), Some("tok"));
        assert_eq!(cookie(&given, Scheme::Https), Some("sec"));
        assert_eq!(cookie(&headers(&[("cookie", "xabide=1")]), Scheme::Http), None);
        let planted = headers(&[("cookie", "abide=one; abide=other")]);
        assert_eq!(cookie(&planted, Scheme::Http), None);
    }

    #[test]
    fn the_cookie_is_out_of_reach_for_scripts_and_other_sites() {
        assert_eq!(
            set_cookie("t", 60, Scheme::Https),
            "__Host-abide=t; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set_cookie("t", 60, Scheme::Http),
            "abide=t; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn the_origin_is_read_from_sec_fetch_site_then_origin() {
        let origins = Origins::new(&[], None);
        let of = |pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "shop.example:8080")];
            all.extend_from_slice(pairs);
            origins.source(&headers(&all), Scheme::Http)
        };
        assert_eq!(of(&[]), Origin::Unsaid);
        assert_eq!(of(&[("sec-fetch-site", "same-origin")]), Origin::Same);
        assert_eq!(of(&[("origin", "http://shop.example:8080")]), Origin::Same);
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://shop.example:8080")],
            &[("sec-fetch-site", "none"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://shop.example:8080")],
            &[("origin", "http://shop.example")],
            &[("origin", "http://shop.example:8080.evil.example")],
            &[("origin", "http://shop.example:8080"), ("origin", "http://shop.example:8080")],
            &[("origin", "null")],
            &[("origin", "")],
        ] {
            assert_eq!(of(foreign), Origin::Foreign, "{foreign:?}");
        }
        assert_eq!(of(&[("sec-fetch-site", "none")]), Origin::Unsaid);
    }

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        let origins = Origins::new(&[], Some("https://pay.example"));
        let of = |scheme, host, origin| {
            origins.source(&headers(&[("host", host), ("origin", origin)]), scheme)
        };
        for (scheme, host, origin) in [
            (Scheme::Https, "shop.example", "https://shop.example"),
            (Scheme::Https, "shop.example:443", "https://shop.example"),
            (Scheme::Https, "Shop.Example", "https://shop.example"),
            (Scheme::Http, "[::1]:8080", "http://[::1]:8080"),
            (Scheme::Http, "[::1]", "http://[::1]:80"),
            (Scheme::Http, "10.0.0.7:8080", "https://pay.example"),
            (Scheme::Http, "10.0.0.7:8080", "https://pay.example:443"),
        ] {
            assert_eq!(of(scheme, host, origin), Origin::Same, "{host} {origin}");
        }
        for (scheme, host, origin) in [
            (Scheme::Http, "shop.example", "https://shop.example"),
            (Scheme::Https, "shop.example", "http://shop.example"),
            (Scheme::Https, "shop.example:80", "https://shop.example"),
            (Scheme::Http, "shop.example", "http://shop.example/"),
            (Scheme::Http, "shop.example", "http://a@shop.example"),
            (Scheme::Http, "10.0.0.7:8080", "http://pay.example"),
        ] {
            assert_eq!(of(scheme, host, origin), Origin::Foreign, "{host} {origin}");
        }
    }

    #[test]
    fn a_pattern_of_origins_is_a_first_label_below_a_domain() {
        let origins = Origins::new(&["https://*.example.com".to_owned()], None);
        let is_allowed = |origin: &str| origins.allowed(&headers(&[("origin", origin)])).is_some();
        assert!(is_allowed("https://app.example.com") && is_allowed("https://a.b.example.com"));
        for foreign in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.example",
            "https://App.example.com",
            "https://app.example.com:443",
        ] {
            assert!(!is_allowed(foreign), "{foreign}");
        }
        for good in ["https://app.example", "http://localhost:3000", "https://*.example.com:8443"] {
            assert!(is_origin_pattern(good), "{good}");
        }
        for bad in [
            "*",
            "https://*",
            "https://*.com",
            "https://app.*.example",
            "https://*app.example.com",
            "https://app.example/",
            "https://a@app.example",
            "ftp://app.example",
            "app.example",
            "https://*.example.com/path",
            "https://",
            "null",
        ] {
            assert!(!is_origin_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn cors_names_the_origin_and_varies_on_it() {
        let origins = Origins::new(&["https://app.example".to_owned()], None);
        let mut answer = HeaderMap::new();
        let given = headers(&[("origin", "https://app.example")]);
        origins.annotate(origins.allowed(&given), &mut answer);
        assert_eq!(answer["access-control-allow-origin"], "https://app.example");
        assert!(!answer.contains_key("access-control-allow-credentials"));
        let mut other = HeaderMap::new();
        let given = headers(&[("origin", "https://evil.example")]);
        origins.annotate(origins.allowed(&given), &mut other);
        assert!(!other.contains_key("access-control-allow-origin"));
        assert_eq!(other["vary"], "Origin");
    }
}
