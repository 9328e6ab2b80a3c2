//! Markdown files of the repository as HTML: headings with ids, links between the files as links
//! between the pages, tables that scroll on small screens.

use std::collections::BTreeSet;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Files of the repository, and the pages that show them.
const PAGES: [(&str, &str); 4] = [
    ("guide.md", "/docs"),
    ("../docs/guide.md", "/docs"),
    ("LANGUAGE.md", "/docs/workflows"),
    ("../workflows/LANGUAGE.md", "/docs/workflows"),
];

/// The picture of the guide, which is part of its page.
const PICTURE: (&str, &str) = ("picture.svg", include_str!("../../../data/docs/picture.svg"));

/// Writes a document as HTML.
pub(super) fn html(text: &str) -> String {
    let events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut ids = BTreeSet::new();
    let mut shown = Vec::with_capacity(events.len());
    let mut skipping = None;
    for (at, event) in events.iter().enumerate() {
        if let Some(until) = skipping {
            if *event == Event::End(until) {
                skipping = None;
            }
            continue;
        }
        match event {
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let id = unique(&mut ids, &slug(&events[at..]));
                shown.push(Event::Start(Tag::Heading {
                    level: *level,
                    id: Some(id.into()),
                    classes: classes.clone(),
                    attrs: attrs.clone(),
                }));
            }
            Event::Start(Tag::Image { dest_url, .. }) if &**dest_url == PICTURE.0 => {
                shown.push(Event::Html(PICTURE.1.into()));
                skipping = Some(TagEnd::Image);
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => match page_of(dest_url) {
                Some(page) => shown.push(Event::Start(Tag::Link {
                    link_type: *link_type,
                    dest_url: page,
                    title: title.clone(),
                    id: id.clone(),
                })),
                // A file of the repository that no page shows: its name stays as text.
                None => shown.push(Event::Html("<span>".into())),
            },
            Event::End(TagEnd::Link) => shown.push(Event::End(TagEnd::Link)),
            Event::Start(Tag::Table(_)) => {
                shown.push(Event::Html("<div class=\"wide\" tabindex=\"0\">".into()));
                shown.push(event.clone());
            }
            Event::End(TagEnd::Table) => {
                shown.push(event.clone());
                shown.push(Event::Html("</div>\n".into()));
            }
            // Marks for the tests of the document.
            Event::Html(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => {}
            other => shown.push(other.clone()),
        }
    }
    close_spans(&mut shown);
    let mut page = String::with_capacity(text.len() * 2);
    html::push_html(&mut page, shown.into_iter());
    page.replace("<pre>", "<pre tabindex=\"0\">")
}

/// Ends each `<span>` that replaces a link where that link ended.
fn close_spans(events: &mut [Event<'_>]) {
    let mut is_span = false;
    for event in events {
        match event {
            Event::Html(html) if &**html == "<span>" => is_span = true,
            Event::End(TagEnd::Link) if is_span => {
                *event = Event::Html("</span>".into());
                is_span = false;
            }
            _ => {}
        }
    }
}

fn page_of<'t>(target: &str) -> Option<CowStr<'t>> {
    let (file, place) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() || file.starts_with('/') {
        return Some(target.to_owned().into());
    }
    let (_, page) = PAGES.iter().find(|(known, _)| *known == file)?;
    Some(if place.is_empty() { (*page).into() } else { format!("{page}#{place}").into() })
}

/// Returns the id of the heading that begins here: its words in lower case, as GitHub writes them.
fn slug(events: &[Event<'_>]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let mut id = String::new();
    for event in inside {
        if let Event::Text(text) | Event::Code(text) = event {
            for character in text.chars() {
                match character {
                    ' ' | '-' => id.push('-'),
                    '_' => id.push('_'),
                    other if other.is_alphanumeric() => id.extend(other.to_lowercase()),
                    _ => {}
                }
            }
        }
    }
    id
}

fn unique(ids: &mut BTreeSet<String>, id: &str) -> String {
    let mut number = 1;
    let mut name = id.to_owned();
    while !ids.insert(name.clone()) {
        name = format!("{id}-{number}");
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn markdown_becomes_html_with_ids_and_links_between_pages() {
        let text = "# A `b` C\n\n<!-- test -->\n[x](LANGUAGE.md#steps), [y](#z), [t](travel.yaml)\n\n\
                    | a | b |\n|---|---|\n| 1 | <2> |\n\n## A b c\n";
        let page = html(text);
        assert!(page.contains("<h1 id=\"a-b-c\">A <code>b</code> C</h1>"), "{page}");
        assert!(page.contains("<h2 id=\"a-b-c-1\">"), "{page}");
        assert!(page.contains("<a href=\"/docs/workflows#steps\">x</a>, <a href=\"#z\">y</a>"));
        assert!(page.contains("<span>t</span>") && !page.contains("travel.yaml"), "{page}");
        assert!(page.contains("<div class=\"wide\" tabindex=\"0\"><table>"), "{page}");
        assert!(!page.contains("test") && !page.contains("<2>"), "{page}");
    }
}
