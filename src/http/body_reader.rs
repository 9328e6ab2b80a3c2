//! Reader of request bodies: within their limit, and only where the route takes one.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use http::header;
use serde::Deserialize;

use super::address_quota::QuotaShare;
use super::input::{self, Media};
use super::json;
use super::problem::{Code, Problem};
use super::request_context::RequestContext;
use super::server::BodyError;
use super::strict_json;

/// Body that an operation without a body tolerates: many clients send `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// Delay, in seconds, after which a retry is worthwhile when too many bodies came at once.
const BUSY_RETRY_S: u32 = 2;

/// Largest part of a body for which memory is reserved before it has arrived.
const BODY_ROOM_BYTES: usize = 16 * 1024;

/// Reads the body, up to the limit of the route. The bytes decide whether there is one: HTTP/2
/// needs no `Content-Length`, and a chunked body may be empty. Reads have no body; one that comes
/// all the same (a gateway passes on the headers of another request) is ignored.
pub(super) async fn read_body<S, B>(
    request: &RequestContext,
    body: S,
) -> Result<Option<(Media, Bytes)>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let operation = request.route.operation;
    if request.route.method.is_safe() {
        return Ok(None);
    }
    let taken = operation.body.map(|body| body.content().map(|(media, _)| media));
    let taken = taken.into_iter().flatten().chain(operation.body.is_none().then_some(Media::Json));
    let media = || input::media(&request.headers, &taken);
    let announced = input::content_length(&request.headers).unwrap_or_default();
    let bytes_max = request.api.settings.body_bytes_max;
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut known = if announced > 0 { Some(media()?) } else { None };
    let mut whole = BytesMut::with_capacity(announced.min(BODY_ROOM_BYTES));
    let mut body = pin!(body);
    // While the server waits for the rest, the bytes that have arrived are counted: a client that
    // sends its body slowly holds this memory.
    let mut waiting: Option<QuotaShare> = None;
    loop {
        let arrived = poll_fn(|cx| Poll::Ready(body.as_mut().poll_next(cx))).await;
        let chunk = match arrived {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                let share = waiting.get_or_insert_with(|| request.api.bodies.of(request.address));
                if !share.grow_to(whole.len()) {
                    return Err(Problem::plain(Code::Busy).retry_after(BUSY_RETRY_S));
                }
                poll_fn(|cx| body.as_mut().poll_next(cx)).await
            }
        };
        let Some(chunk) = chunk else { break };
        let mut chunk = chunk.map_err(|error| broken(&error))?;
        if known.is_none() && chunk.has_remaining() {
            known = Some(media()?);
        }
        if whole.len() + chunk.remaining() > bytes_max {
            return Err(too_large(bytes_max));
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            whole.extend_from_slice(part);
            let read = part.len();
            chunk.advance(read);
        }
    }
    let whole = whole.freeze();
    match (known, operation.body) {
        (Some(media), Some(_)) => Ok(Some((media, whole))),
        (Some(media), None) => {
            let Empty {} = strict_json::read(json::parse(&whole)?)?;
            Ok(Some((media, whole)))
        }
        (None, None) => Ok(None),
        (None, Some(body)) if body.is_optional => Ok(None),
        // The body's reader says what an empty body lacks, unless its media type is wrong already.
        (None, Some(body)) => {
            let is_typed = request.headers.contains_key(header::CONTENT_TYPE);
            let first = body.content().next().map_or(Media::Json, |(media, _)| media);
            Ok(Some((if is_typed { media()? } else { first }, whole)))
        }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("a body may have at most {bytes_max} bytes"))
}

fn broken(error: &warp::Error) -> Problem {
    let cause = error.source().and_then(|source| source.downcast_ref::<BodyError>());
    if let Some(BodyError::Slow) = cause {
        return Problem::new(Code::RequestTimeout, "the body did not arrive in time");
    }
    Problem::new(Code::BadRequest, "the body broke off or is badly framed")
}
