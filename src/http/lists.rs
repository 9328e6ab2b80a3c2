//! Lists: pages newest first, whose cursor is the id where the page before ended, so that they
//! stay stable while things change.

use std::fmt::Display;
use std::io;
use std::str::FromStr;

use serde::Serialize;

use super::input::{Query, parameter};
use super::problem::Problem;
use crate::app::{PAGE_BYTES_MAX, PageAsk};

/// The part of a list that `limit` and `cursor` ask for.
///
/// # Errors
/// `invalid-input` for a limit out of range, `invalid-parameter` for a cursor that is none.
pub(super) fn ask<I: FromStr>(query: &Query) -> Result<PageAsk<I>, Problem> {
    let after = query.get("cursor").map(|text| {
        text.parse().map_err(|_| parameter("cursor", "is not the `next_cursor` of a page before"))
    });
    Ok(PageAsk { limit: query.limit()?, after: after.transpose()? })
}

/// The cursor of the next page.
pub(super) fn cursor<I: Display>(next: Option<I>) -> Option<String> {
    next.map(|id| id.to_string())
}

/// The items of a page as they are written, as many as one answer may hold, but one at least; and
/// the cursor of the next page. `id` is the cursor after an item.
pub(super) fn bounded<'a, T, S: Serialize, I: Display>(
    items: &'a [T],
    next: Option<I>,
    id: impl Fn(&T) -> I,
    shown: impl Fn(&'a T) -> S,
) -> (Vec<S>, Option<String>) {
    let (mut written, mut bytes) = (Vec::with_capacity(items.len()), 0);
    let mut last = None;
    for item in items {
        let one = shown(item);
        bytes += json_bytes(&one);
        if bytes > PAGE_BYTES_MAX && last.is_some() {
            return (written, cursor(last.map(id)));
        }
        last = Some(item);
        written.push(one);
    }
    (written, cursor(next))
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
    // What cannot be written is found where it is written.
    match serde_json::to_writer(&mut count, value) {
        Ok(()) | Err(_) => count.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ends_before_it_has_too_many_bytes_but_holds_one_item() {
        let items: Vec<(u32, String)> = (0..10).map(|id| (id, "x".repeat(300_000))).collect();
        let page = |items, next| bounded(items, next, |(id, _)| *id, |(_, text)| text);
        let (written, next) = page(&items, Some(99));
        assert_eq!((written.len(), next.as_deref()), (3, Some("2")));
        let (written, next) = page(&items[9..], None);
        assert_eq!((written.len(), next), (1, None));
        let large = [(7, "x".repeat(2 * PAGE_BYTES_MAX)), (8, String::new())];
        let (written, next) = page(&large, None);
        assert_eq!((written.len(), next.as_deref()), (1, Some("7")));
        let (written, next) = page(&[], Some(5));
        assert_eq!((written.len(), next.as_deref()), (0, Some("5")));
    }
}
