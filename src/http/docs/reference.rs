//! `/docs/reference`: every call, from the OpenAPI document.

use serde_json::Value;

use crate::http::pages::{escaped, with_code};
use crate::http::problem::Code;

/// Writes the page of an OpenAPI document.
pub(super) fn html(document: &Value) -> String {
    let mut page = String::new();
    let mut put = |text: &str| page.push_str(text);
    put("<h1 id=\"reference\">Reference</h1>\n");
    put(&paragraphs(word(&document["info"], "description")));
    put(
        "<p>For programs: <a href=\"/openapi.json\">/openapi.json</a>. How to log in, and what the \
         headers mean, is in the <a href=\"/docs#log-in\">guide</a>.</p>\n<ul class=\"groups\">\n",
    );
    for tag in items(&document["tags"]) {
        let name = escaped(word(tag, "name"));
        put(&format!("<li><a href=\"#tag-{name}\">{name}</a></li>\n"));
    }
    put(
        "<li><a href=\"#problem-codes\">problem codes</a></li>\n<li><a href=\"#types\">types</a></li>\n</ul>\n",
    );
    for tag in items(&document["tags"]) {
        let name = word(tag, "name");
        put(&format!("<h2 id=\"tag-{0}\">{0}</h2>\n", escaped(name)));
        put(&paragraphs(word(tag, "description")));
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods) {
                if operation["tags"][0] == name {
                    put(&operation_html(document, method, path, operation));
                }
            }
        }
    }
    put(
        "<h2 id=\"problem-codes\">Problem codes</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n",
    );
    for code in Code::ALL {
        let (name, status, title) = (code.as_str(), code.status().as_u16(), code.title());
        put(&format!(
            "<tr><td>{status}</td><td><a href=\"/problems/{name}\"><code>{name}</code></a></td>\
             <td>{}</td></tr>\n",
            escaped(title)
        ));
    }
    put("</table></div>\n<h2 id=\"types\">Types</h2>\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        put(&format!(
            "<details id=\"type-{0}\"><summary><code>{0}</code></summary>\n<pre \
             tabindex=\"0\">{1}</pre>\n</details>\n",
            escaped(name),
            json(schema)
        ));
    }
    page
}

fn operation_html(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut out = String::new();
    let mut put = |text: &str| out.push_str(text);
    put(&format!(
        "<details id=\"{}\"><summary><code><span class=\"verb\">{}</span> {}</code> {}</summary>\n",
        escaped(word(operation, "operationId")),
        method.to_uppercase(),
        escaped(path),
        escaped(word(operation, "summary")),
    ));
    put(&paragraphs(word(operation, "description")));
    put(&format!("<p>Authentication: {}.</p>\n", authentication(&operation["security"])));
    put(&parameters(document, operation));
    let body = &operation["requestBody"];
    for (media, content) in entries(&body["content"]) {
        let optional = if body["required"] == false { ", may be left out" } else { "" };
        put(&format!(
            "<h3>Body: <code>{}</code>{optional}</h3>\n{}",
            escaped(media),
            typed(&content["schema"])
        ));
        put(&examples(content));
    }
    put("<h3>Answers</h3>\n<div class=\"wide\" tabindex=\"0\"><table>\n");
    for (status, answer) in entries(&operation["responses"]) {
        put(&format!("<tr><td>{}</td><td>{}</td></tr>\n", escaped(status), said(status, answer)));
    }
    put("</table></div>\n");
    for (status, answer) in entries(&operation["responses"]) {
        if !status.starts_with('2') {
            continue;
        }
        for (media, content) in entries(&answer["content"]) {
            put(&format!(
                "<h3>{}: <code>{}</code></h3>\n{}",
                escaped(status),
                escaped(media),
                typed(&content["schema"])
            ));
            put(&examples(content));
        }
    }
    put("</details>\n");
    out
}

/// Writes the meaning of a status and its headers; for a problem, the codes with their pages.
fn said(status: &str, answer: &Value) -> String {
    let text = word(answer, "description");
    if !status.starts_with(['4', '5']) {
        let names = entries(&answer["headers"]).map(|(name, _)| format!("<code>{name}</code>"));
        let names: Vec<_> = names.collect();
        return format!("{} Headers: {}.", with_code(text), names.join(", "));
    }
    let links = text.split(", ").map(|code| {
        let code = escaped(code.trim_matches('`'));
        format!("<a href=\"/problems/{code}\"><code>{code}</code></a>")
    });
    links.collect::<Vec<_>>().join(", ")
}

fn authentication(security: &Value) -> String {
    let ways: Vec<&str> = items(security)
        .map(|way| match entries(way).next().map(|(name, _)| name.as_str()) {
            None => "none",
            Some("bearer") => "<code>Authorization: Bearer TOKEN</code>",
            Some("cookie") => "the session cookie",
            Some(_) => "<code>Authorization: Basic</code> with an API key as the password",
        })
        .collect();
    if ways.is_empty() { "none".to_owned() } else { ways.join(", or ") }
}

fn parameters(document: &Value, operation: &Value) -> String {
    let rows: Vec<String> = items(&operation["parameters"])
        .map(|parameter| {
            let parameter = resolved(document, parameter);
            let required = if parameter["required"] == true { ", required" } else { "" };
            let schema = &parameter["schema"];
            let text = match word(parameter, "description") {
                "" => word(resolved(document, schema), "description"),
                text => text,
            };
            format!(
                "<tr><td><code>{}</code></td><td>{}{required}</td><td>{} {}</td></tr>\n",
                escaped(word(parameter, "name")),
                escaped(word(parameter, "in")),
                with_code(text),
                link(schema).unwrap_or_default(),
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<h3>Parameters</h3>\n<div class=\"wide\" tabindex=\"0\"><table>\n{}</table></div>\n",
        rows.concat()
    )
}

/// The examples of a body, each under what it shows.
fn examples(content: &Value) -> String {
    let pre = |value: &Value| {
        let text = value.as_str().map_or_else(|| json(value), escaped);
        format!("<pre class=\"example\" tabindex=\"0\">{text}</pre>\n")
    };
    let mut out = String::new();
    for (_, example) in entries(&content["examples"]) {
        out.push_str(&paragraphs(word(example, "summary")));
        out.push_str(&pre(&example["value"]));
    }
    if let Some(example) = content.get("example") {
        out.push_str(&pre(example));
    }
    out
}

/// The types that a body may have, by name.
fn typed(schema: &Value) -> String {
    let alternatives = ["oneOf", "anyOf"].iter().flat_map(|key| items(&schema[*key]));
    let links: Vec<_> = [schema].into_iter().chain(alternatives).filter_map(link).collect();
    if links.is_empty() {
        return String::new();
    }
    format!("<p>Type: {}</p>\n", links.join(", or "))
}

fn link(schema: &Value) -> Option<String> {
    let name = escaped(schema["$ref"].as_str()?.rsplit('/').next()?);
    Some(format!("<a href=\"#type-{name}\"><code>{name}</code></a>"))
}

fn resolved<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn json(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default())
}

fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.is_empty());
    let html: Vec<_> = paragraphs.map(|text| format!("<p>{}</p>\n", with_code(text))).collect();
    html.concat()
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
