//! What browsers need and what protects them: the session cookie, the origin of a change, CORS,
//! and the headers that every answer carries.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::headers as fields;
use super::problem::{Code, Problem};
use super::server::Scheme;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Nothing may be loaded, framed or sent from an answer that is no page.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");

/// A year, which ASVS 5.0 3.4.1 asks for, and subdomains too.
const TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// How long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

const PREFLIGHT_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-match, if-none-match",
);

const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, location, retry-after, ratelimit, ratelimit-policy, idempotency-replayed, x-request-id",
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

/// Takes the cookie away, and what pages have stored, at a logout.
pub fn clear_site(headers: &mut HeaderMap, scheme: Scheme) {
    if let Ok(value) = set_cookie("", 0, scheme).parse() {
        headers.append(header::SET_COOKIE, value);
    }
    let everything = HeaderValue::from_static("\"cache\", \"cookies\", \"storage\"");
    headers.insert(CLEAR_SITE_DATA, everything);
}

/// What a request says about where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this server's own pages.
    Same,
    /// From somewhere else.
    Foreign,
    /// It does not say: no browser of today, or a navigation by its user.
    Unsaid,
}

/// Where a request comes from, by `Sec-Fetch-Site`, else by `Origin`.
#[must_use]
pub fn origin(headers: &HeaderMap, scheme: Scheme) -> Origin {
    let mut fetch_sites = fields::lines(headers, &SEC_FETCH_SITE);
    if let Some(site) = fetch_sites.next() {
        return match site {
            b"same-origin" if fetch_sites.next().is_none() => Origin::Same,
            b"none" if fetch_sites.next().is_none() => by_origin(headers, scheme),
            _ => Origin::Foreign,
        };
    }
    by_origin(headers, scheme)
}

fn by_origin(headers: &HeaderMap, scheme: Scheme) -> Origin {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Origin::Unsaid };
    let authority = match scheme {
        Scheme::Https => origin.as_bytes().strip_prefix(b"https://"),
        Scheme::Http => origin.as_bytes().strip_prefix(b"http://"),
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let same = origins.next().is_none()
        && authority.zip(host).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other));
    if same { Origin::Same } else { Origin::Foreign }
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

/// Refuses a login that says it comes from somewhere else: it would sign its user in as another.
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

/// The origins whose pages may call with a bearer token (CORS). Cookies are never shared.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    allowed: Vec<HeaderValue>,
}

impl Origins {
    /// These origins, each as a browser writes it: `https://app.example`.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self { allowed: origins.iter().filter_map(|origin| origin.parse().ok()).collect() }
    }

    /// The request's origin, if it is one of them.
    #[must_use]
    pub fn allowed(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next().filter(|_| origins.next().is_none())?;
        self.allowed.iter().find(|allowed| *allowed == origin)
    }

    /// Adds what CORS (Fetch standard) needs to an answer. `Vary` is there whether or not the
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

/// Whether an OPTIONS request is a preflight.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds what the answer to an allowed origin's preflight says.
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

    use super::{Origin, Origins, Scheme, cookie, origin, set_cookie};

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
        let of = |pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "shop.example:8080")];
            all.extend_from_slice(pairs);
            origin(&headers(&all), Scheme::Http)
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
            &[("origin", "null")],
        ] {
            assert_eq!(of(foreign), Origin::Foreign, "{foreign:?}");
        }
        assert_eq!(of(&[("sec-fetch-site", "none")]), Origin::Unsaid);
    }

    #[test]
    fn cors_names_the_origin_and_varies_on_it() {
        let origins = Origins::new(&["https://app.example".to_owned()]);
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
