//! Lists: pages newest first, whose cursor is the id where the page before ended, so that they
//! stay stable while things change.

use std::fmt::Display;
use std::str::FromStr;

use super::input::{Query, parameter};
use super::problem::Problem;
use crate::app::PageAsk;

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
