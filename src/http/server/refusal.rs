//! Requests that no route sees.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::RequestId;

/// The methods that a route may have.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request was refused before it was routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP as RFC 9112 writes it.
    Malformed,
    /// No `Host`.
    NoHost,
    /// More than one `Host`.
    TwoHosts,
    /// A `Host` that is no host, or another than the target's.
    BadHost,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndEncoding,
    /// A `Transfer-Encoding` other than `chunked`.
    BadEncoding,
    /// A `Content-Length` that is no number, or two that differ.
    BadLength,
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// A method that nobody here knows.
    MethodUnknown,
    /// A head over its limit.
    HeadTooLarge,
    /// A target over its limit.
    TargetTooLong,
    /// A head that did not arrive in time.
    HeadTooSlow,
    /// The service panicked.
    Panicked,
}

impl Refusal {
    /// Its status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed
            | Self::NoHost
            | Self::TwoHosts
            | Self::BadHost
            | Self::LengthAndEncoding
            | Self::BadEncoding
            | Self::BadLength => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MethodUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Its code, as `/problems/CODE` explains it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed
            | Self::NoHost
            | Self::TwoHosts
            | Self::BadHost
            | Self::LengthAndEncoding
            | Self::BadEncoding
            | Self::BadLength => "bad-request",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::MethodUnknown => "method-not-implemented",
            Self::HeadTooLarge => "headers-too-large",
            Self::TargetTooLong => "target-too-long",
            Self::HeadTooSlow => "request-timeout",
            Self::Panicked => "internal",
        }
    }

    /// What was wrong and what to do.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "The request is not HTTP/1.1 as RFC 9112 defines it.",
            Self::NoHost => "The request has no Host; send exactly one.",
            Self::TwoHosts => "The request has more than one Host; send exactly one.",
            Self::BadHost => "The Host is not a host name with an optional port.",
            Self::LengthAndEncoding => "Send Content-Length or Transfer-Encoding, not both.",
            Self::BadEncoding => "The only Transfer-Encoding that is understood is chunked.",
            Self::BadLength => "Content-Length must be one decimal number.",
            Self::MethodNotAllowed => "TRACE and CONNECT are not served.",
            Self::MethodUnknown => "The method is not one that this server knows.",
            Self::HeadTooLarge => "The headers are too large; send fewer or shorter ones.",
            Self::TargetTooLong => "The path and query are too long.",
            Self::HeadTooSlow => "The request's headers did not arrive in time.",
            Self::Panicked => {
                "The server failed at this request; nothing of it is known to have happened. \
                 The instance names it in the server's log."
            }
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::MethodNotAllowed => "Method not allowed",
            Self::MethodUnknown => "Method not implemented",
            Self::HeadTooLarge => "Headers too large",
            Self::TargetTooLong => "Target too long",
            Self::HeadTooSlow => "Request timeout",
            Self::Panicked => "Internal error",
            _ => "Bad request",
        }
    }

    /// The answer: a problem document (RFC 9457).
    pub(super) fn answer(self, id: RequestId) -> Response<Full<Bytes>> {
        let document = serde_json::json!({
            "type": format!("/problems/{}", self.code()),
            "title": self.title(),
            "status": self.status().as_u16(),
            "detail": self.detail(),
            "code": self.code(),
            "instance": id.to_string(),
        });
        let mut answer = Response::new(Full::new(Bytes::from(document.to_string())));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::MethodNotAllowed {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        answer
    }
}
