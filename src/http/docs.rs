//! `/docs`: the guide, the workflow language, the types of events and the reference of all calls,
//! as pages that load nothing from elsewhere.
//!
//! Guide and language are the Markdown files of the repository; events and reference are made from
//! the tables that the server itself uses.

mod events;
mod markdown;
mod reference;

use bytes::Bytes;
use serde_json::Value;

use super::operation::Operation;
use super::pages;
use super::reply::Reply;
use super::request_context::RequestContext;

const GUIDE: &str = include_str!("../../data/docs/guide.md");
const LANGUAGE: &str = include_str!("../../data/workflows/LANGUAGE.md");

/// The pages, written once at the start.
#[derive(Debug)]
pub(super) struct Docs {
    guide: Bytes,
    language: Bytes,
    events: Bytes,
    reference: Bytes,
}

impl Docs {
    /// Writes the pages of a server with this OpenAPI document.
    pub(super) fn new(openapi: &Value) -> Self {
        let page = |title: &str, main: String| -> Bytes { pages::whole(title, &main).into() };
        Self {
            guide: page("Abide: guide", markdown::html(GUIDE)),
            language: page("Abide: workflow language", markdown::html(LANGUAGE)),
            events: page("Abide: events", events::html()),
            reference: page("Abide: reference", reference::html(openapi)),
        }
    }
}

/// Describes a page for people.
const fn page_operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "pages", summary).media(200, "The page.", "text/html")
}

pub(super) const GUIDE_PAGE: Operation = page_operation("docsPage", "The guide to the API");

pub(super) fn guide(request: &RequestContext) -> Reply {
    pages::html(request.api.docs.guide.clone())
}

pub(super) const LANGUAGE_PAGE: Operation = page_operation("languagePage", "The workflow language");

pub(super) fn language(request: &RequestContext) -> Reply {
    pages::html(request.api.docs.language.clone())
}

pub(super) const EVENTS_PAGE: Operation =
    page_operation("eventsPage", "The types of events and their data");

pub(super) fn events(request: &RequestContext) -> Reply {
    pages::html(request.api.docs.events.clone())
}

pub(super) const REFERENCE_PAGE: Operation =
    page_operation("referencePage", "Every call with its parameters and bodies");

pub(super) fn reference(request: &RequestContext) -> Reply {
    pages::html(request.api.docs.reference.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::Rules;
    use crate::http::openapi::document;
    use crate::http::routes::{DEV_ROUTES, ROUTES};

    fn pages() -> [(&'static str, String); 4] {
        let docs = Docs::new(&document(ROUTES.iter().chain(DEV_ROUTES), &Rules::default()));
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        [
            ("/docs", text(&docs.guide)),
            ("/docs/workflows", text(&docs.language)),
            ("/docs/events", text(&docs.events)),
            ("/docs/reference", text(&docs.reference)),
        ]
    }

    /// All values of an attribute.
    fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
        let begin = format!(" {name}=\"");
        page.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn the_reference_has_every_call_and_no_bare_reference_as_an_example() {
        let [.., (_, reference)] = pages();
        let ids: BTreeSet<_> = attributes(&reference, "id").into_iter().collect();
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            assert!(ids.contains(route.operation.id), "{} is not in /docs/reference", route.label);
        }
        for example in reference.split("<pre class=\"example\"").skip(1) {
            let example = example.split("</pre>").next().unwrap();
            assert!(!example.contains("$ref"), "{example}");
        }
    }

    #[test]
    fn every_link_leads_to_a_page_or_a_place_that_is_there() {
        let pages = pages();
        let ids: Vec<(&str, BTreeSet<&str>)> = pages
            .iter()
            .map(|(path, page)| (*path, attributes(page, "id").into_iter().collect()))
            .collect();
        let known = ["/openapi.json", "/asyncapi.json", "/schemas/workflow.json"];
        let script = include_str!("assets/set-password.js");
        let of_script = script.split('"').filter(|text| text.starts_with("/docs"));
        let mut links: Vec<(&str, &str)> = of_script.map(|link| ("/set-password", link)).collect();
        for (path, page) in &pages {
            links.extend(attributes(page, "href").into_iter().map(|link| (*path, link)));
        }
        assert!(links.len() > 100);
        for (from, link) in links {
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { from } else { path };
            if let Some((_, ids)) = ids.iter().find(|(known, _)| *known == path) {
                assert!(place.is_empty() || ids.contains(place), "{from} links to {link}");
            } else {
                let is_known = known.contains(&path)
                    || path.starts_with("/problems/")
                    || path.starts_with("/assets/");
                assert!(is_known && !path.contains("://"), "{from} links to {link}");
            }
        }
    }

    #[test]
    fn the_pages_load_nothing_from_elsewhere_and_have_nothing_inline() {
        for (path, page) in pages() {
            for forbidden in ["<script", " style=\"", "<style", "src=\"http", "<img", " onclick"] {
                assert!(!page.contains(forbidden), "{path} has {forbidden}");
            }
            assert!(page.contains("<h1"), "{path} has no heading");
            let ids = attributes(&page, "id");
            let unique: BTreeSet<_> = ids.iter().collect();
            assert_eq!(ids.len(), unique.len(), "{path} has an id twice");
        }
    }
}
