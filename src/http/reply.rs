//! Reply of a handler, before the transport adds its headers.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::body_stream::BodyStream;
use super::etag::VersionTag;
use super::problem::{self, Code, Problem};
use crate::app::{Answer, CommandAnswer};

/// Header that marks an answer as the stored one to an earlier request with the same
/// Idempotency-Key.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Initial capacity of a body: most are not longer, and none has to be moved while it grows.
const USUAL_BYTES: usize = 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers that belong to this answer.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// A body that is sent piece by piece, in place of `body`.
    pub stream: Option<BodyStream>,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), stream: None }
    }

    /// A body of this media type.
    #[must_use]
    pub fn text(media: &'static str, body: impl Into<Bytes>) -> Self {
        let reply = Self { body: body.into(), ..Self::empty(StatusCode::OK) };
        reply.with(header::CONTENT_TYPE, HeaderValue::from_static(media))
    }

    /// 200 with `value` as JSON.
    ///
    /// # Errors
    /// [`Code::Internal`] when the value cannot be written, which its types exclude.
    pub fn json(value: &impl Serialize) -> Result<Self, Problem> {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        match serde_json::to_writer(&mut body, value) {
            Ok(()) => Ok(Self::json_bytes(body)),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                Err(Code::Internal.into())
            }
        }
    }

    /// 200 with these bytes of JSON.
    #[must_use]
    pub fn json_bytes(body: impl Into<Bytes>) -> Self {
        let reply = Self { body: body.into(), ..Self::empty(StatusCode::OK) };
        reply.with(header::CONTENT_TYPE, JSON)
    }

    /// The problem document for the request with this id.
    #[must_use]
    pub fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut reply = Self::empty(problem.code.status());
        reply.body = problem.document(request_id).into();
        let media = HeaderValue::from_static(problem::MEDIA_TYPE);
        reply.headers.insert(header::CONTENT_TYPE, media);
        if let Some(seconds) = problem.retry_after_s {
            reply.headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = problem.allow.as_deref().and_then(|text| text.parse().ok()) {
            reply.headers.insert(header::ALLOW, allow);
        }
        if let Some(revision) = problem.revision {
            reply = reply.at(revision);
        }
        // RFC 9110, section 11.6.1: a 401 says how to authenticate.
        if problem.code == Code::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"abide\"");
            reply.headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        reply
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same with a header whose value was made here and is visible ASCII.
    #[must_use]
    pub fn with_text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with this `ETag`.
    #[must_use]
    pub fn at(self, tag: impl Into<VersionTag>) -> Self {
        self.with_text(header::ETAG, &tag.into().to_string())
    }
}

/// Converts it for the executor, which may store it under an Idempotency-Key.
impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers = reply.headers.iter();
        Self {
            status: reply.status.as_u16(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: reply.body,
        }
    }
}

/// Converts it from the executor's form.
impl From<CommandAnswer> for Reply {
    fn from(answered: CommandAnswer) -> Self {
        let Answer { status, headers, body } = answered.answer;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = Self { body, ..Self::empty(status) };
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                reply.headers.append(name, value);
            }
        }
        if answered.replayed {
            let replayed = HeaderValue::from_static("true");
            reply.headers.insert(IDEMPOTENCY_REPLAYED, replayed);
        }
        reply
    }
}

/// Converts it to bytes for the connection.
impl From<Reply> for Response<Bytes> {
    fn from(reply: Reply) -> Self {
        let mut response = Self::new(reply.body);
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        if let Some(flow) = reply.stream {
            response.extensions_mut().insert(flow);
        }
        response
    }
}
