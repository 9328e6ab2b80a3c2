//! Requests that are refused before any route.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use super::super::browser;
use super::super::problem::{Code, Problem};
use super::super::reply::Reply;
use super::{RequestId, Scheme};

/// Methods that a route may have, as `Allow` lists them.
pub(in super::super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request was refused before it was routed, or in place of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
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

impl Rejection {
    const fn code(self) -> Code {
        match self {
            Self::Malformed
            | Self::NoHost
            | Self::TwoHosts
            | Self::BadHost
            | Self::LengthAndEncoding
            | Self::BadEncoding
            | Self::BadLength => Code::BadRequest,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::MethodUnknown => Code::MethodNotImplemented,
            Self::HeadTooLarge => Code::HeadersTooLarge,
            Self::TargetTooLong => Code::TargetTooLong,
            Self::HeadTooSlow => Code::RequestTimeout,
            Self::Panicked => Code::Internal,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "The request is none that RFC 9112 defines.",
            Self::NoHost => "The request has no Host; send exactly one.",
            Self::TwoHosts => "The request has more than one Host; send exactly one.",
            Self::BadHost => {
                "The Host is not a host name with an optional port, or not that of the target."
            }
            Self::LengthAndEncoding => "Send Content-Length or Transfer-Encoding, not both.",
            Self::BadEncoding => "The only Transfer-Encoding that is understood is chunked.",
            Self::BadLength => "Content-Length must be one decimal number.",
            Self::MethodNotAllowed => "TRACE and CONNECT are not served.",
            Self::MethodUnknown => "The method is not one that this server knows.",
            Self::HeadTooLarge => "The headers are too large; send fewer or shorter ones.",
            Self::TargetTooLong => "The path and query are too long.",
            Self::HeadTooSlow => "The request's headers did not arrive in time.",
            Self::Panicked => {
                "The server failed at this request; whether it happened is not known. \
                 The instance names it in the server's log."
            }
        }
    }

    /// The answer: a problem document (RFC 9457).
    pub(super) fn answer(self, id: RequestId, scheme: Scheme) -> Response<Full<Bytes>> {
        let mut problem = Problem::new(self.code(), self.detail());
        if self == Self::MethodNotAllowed {
            problem.allow = Some(METHODS.to_owned());
        }
        let mut reply = Reply::problem(&problem, &id.to_string());
        browser::harden(&mut reply.headers, scheme);
        Response::<Bytes>::from(reply).map(Full::new)
    }
}
