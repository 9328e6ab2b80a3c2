//! `/docs/events`: the types of events, from the catalogue that `/asyncapi.json` is made from.

use std::fmt::Write as _;

use crate::engine::catalogue::{
    DataField, EVENT_TYPES, EventType, FieldType, TRANSACTION, is_of_transaction,
};
use crate::http::pages::with_code;

const INTRODUCTION: &str = "<h1 id=\"events\">Events</h1>\n\
    <p>Each commit writes what happened as events. They are delivered as \
    CloudEvents 1.0 in JSON: by Server-Sent Events \
    (<a href=\"/docs/reference#listEvents\"><code>GET /v1/events</code></a>), by the <a \
    href=\"/docs/reference#openSocket\">WebSocket</a>, as the <a \
    href=\"/docs/reference#getTransactionHistory\">history</a> of a transaction, and by <a \
    href=\"/docs/reference#createWebhook\">webhooks</a>. An event says its type, its id, its time, \
    who caused it (<code>actor</code>, <code>actorkind</code>), and has the keys below in \
    <code>data</code>. The same table is in <a href=\"/asyncapi.json\">/asyncapi.json</a>.</p>\n\
    <p>An actor receives the events that the actor may know of: of transactions that the actor may \
    read, without the keys of data that are restricted to others; of the actor's own sessions, user \
    and accounts. Auditors and administrators receive all. Types that an application emits \
    (<code>emit</code>) have names of its own; their <code>data</code> has <code>data</code> and \
    <code>transaction</code>.</p>\n";

/// Writes the page.
pub(super) fn html() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut group = "";
    for event in EVENT_TYPES {
        let of = group_of(event.kind);
        if of != group {
            if !group.is_empty() {
                page.push_str("</table></div>\n");
            }
            group = of;
            let head = format!(
                "<h2 id=\"{of}\">{of}</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"stack\">\n\
                 <tr><th>Type</th><th>What happened</th><th>Data</th></tr>\n"
            );
            page.push_str(&head);
        }
        page.push_str(&row(event));
    }
    page.push_str("</table></div>\n");
    page
}

/// `session` of `abide.session.opened`.
fn group_of(kind: &'static str) -> &'static str {
    kind.split('.').nth(1).unwrap_or(kind)
}

fn row(event: &EventType) -> String {
    let transaction = is_of_transaction(event.kind).then_some(&TRANSACTION);
    let mut data = String::new();
    for field in event.data.iter().chain(transaction) {
        let written = write!(data, "<code>{}</code> {}<br>", field.name, described(field));
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
    let data = if data.is_empty() { "nothing" } else { data.trim_end_matches("<br>") };
    format!(
        "<tr id=\"{0}\"><td><code>{0}</code></td><td>{1}</td><td>{data}</td></tr>\n",
        event.kind,
        with_code(event.summary),
    )
}

fn described(field: &DataField) -> String {
    let of = match field.of {
        FieldType::Id => "id or name",
        FieldType::Text => "text",
        FieldType::Time => "time",
        FieldType::Amount => "amount",
        FieldType::Integer => "whole number",
        FieldType::Boolean => "true or false",
        FieldType::Texts => "list of texts",
        FieldType::Object => "object",
        FieldType::Any => "any JSON",
    };
    let null = if field.may_be_null { ", or null" } else { "" };
    let absent = if field.may_be_absent { ", or absent" } else { "" };
    format!("{of}{null}{absent}")
}
