//! Lists: pages newest first, whose cursor is the id where the page before ended, so that they
//! stay stable while things change.

use std::fmt::Display;
use std::io;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::operation::Parameter;
use super::problem::Problem;
use super::request_context::RequestContext;
use super::schemas::{limit, text};
use crate::app::{PAGE_BYTES_MAX, PageRequest};

/// The query parameters of a list without filters.
pub(super) const PARAMETERS: &[Parameter] = &[LIMIT, CURSOR];

/// The `limit` of every list.
pub(super) const LIMIT: Parameter =
    Parameter { name: "limit", text: "Maximum number of items on the page.", schema: limit };

/// The `cursor` of every list.
pub(super) const CURSOR: Parameter = Parameter {
    name: "cursor",
    text: "`next_cursor` of the page before, of the same list.",
    schema: text,
};

/// Reads `limit` and `cursor`.
///
/// # Errors
/// [`Code::InvalidInput`](super::problem::Code::InvalidInput) for a limit out of range, and for a
/// cursor that this list never gave.
pub(super) fn ask<I: FromStr>(request: &RequestContext) -> Result<PageRequest<I>, Problem> {
    Ok(PageRequest { limit: request.query.limit()?, after: after(request)? })
}

/// Reads `cursor`: where the page begins.
///
/// # Errors
/// [`Code::InvalidInput`](super::problem::Code::InvalidInput) for one that this list never gave.
pub(super) fn after<I: FromStr>(request: &RequestContext) -> Result<Option<I>, Problem> {
    let Some(cursor) = request.query.get("cursor") else { return Ok(None) };
    let place = opened(list_of(request), cursor).and_then(|place| place.parse().ok());
    place.map(Some).ok_or_else(|| {
        let message = "is not the `next_cursor` of a page of this list";
        Problem::field("/cursor", "invalid-cursor", message)
    })
}

/// Returns the cursor of the next page.
pub(super) fn cursor<I: Display>(request: &RequestContext, next: Option<I>) -> Option<String> {
    next.map(|id| sealed(list_of(request), &id.to_string()))
}

/// Returns a checksum of the list that a call reads, without its filters: a cursor of one list is
/// not valid for another.
fn list_of(request: &RequestContext) -> u32 {
    let (first, second) = (request.parameters.at(0), request.parameters.at(1));
    let hash = Sha256::digest([request.route.label, first, second].join("\0"));
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn sealed(list: u32, place: &str) -> String {
    URL_SAFE_NO_PAD.encode([&list.to_be_bytes()[..], place.as_bytes()].concat())
}

fn opened(list: u32, cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let place = bytes.strip_prefix(&list.to_be_bytes()[..]).filter(|place| !place.is_empty())?;
    String::from_utf8(place.to_vec()).ok()
}

/// Returns the items of a page as JSON, as many as one answer may hold, but at least one; and the
/// cursor of the next page. `id` returns the position after an item.
pub(super) fn bounded<'a, T, S: Serialize, I: Display>(
    request: &RequestContext,
    items: &'a [T],
    next: Option<I>,
    id: impl Fn(&T) -> I,
    shown: impl Fn(&'a T) -> S,
) -> (Vec<S>, Option<String>) {
    let (written, next) = within_bounds(items, next, id, shown);
    (written, cursor(request, next))
}

fn within_bounds<'a, T, S: Serialize, I>(
    items: &'a [T],
    next: Option<I>,
    id: impl Fn(&T) -> I,
    shown: impl Fn(&'a T) -> S,
) -> (Vec<S>, Option<I>) {
    let (mut written, mut bytes) = (Vec::with_capacity(items.len()), 0);
    let mut last = None;
    for item in items {
        let one = shown(item);
        bytes += json_bytes(&one);
        if bytes > PAGE_BYTES_MAX && last.is_some() {
            return (written, last.map(id));
        }
        last = Some(item);
        written.push(one);
    }
    (written, next)
}

/// The length of a value as JSON.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A value that cannot be serialized is reported when it is serialized.
    match serde_json::to_writer(&mut count, value) {
        Ok(()) | Err(_) => count.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_list_and_of_no_other() {
        let cursor = sealed(7, "alice:main");
        assert_eq!(opened(7, &cursor).as_deref(), Some("alice:main"));
        assert_eq!(opened(8, &cursor), None);
        for garbage in ["", "x", "AAAA", "AAAABw", "made up", "alice:main", &format!("{cursor}=")] {
            assert_eq!(opened(7, garbage), None, "{garbage}");
        }
    }

    #[test]
    fn page_ends_before_it_has_too_many_bytes_but_holds_one_item() {
        let items: Vec<(u32, String)> = (0..10).map(|id| (id, "x".repeat(300_000))).collect();
        let page = |items, next| within_bounds(items, next, |(id, _)| *id, |(_, text)| text);
        let (written, next) = page(&items, Some(99));
        assert_eq!((written.len(), next), (3, Some(2)));
        let (written, next) = page(&items[9..], None);
        assert_eq!((written.len(), next), (1, None));
        let large = [(7, "x".repeat(2 * PAGE_BYTES_MAX)), (8, String::new())];
        let (written, next) = page(&large, None);
        assert_eq!((written.len(), next), (1, Some(7)));
        let (written, next) = page(&[], Some(5));
        assert_eq!((written.len(), next), (0, Some(5)));
    }
}
