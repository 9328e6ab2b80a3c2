//! Pages for people, written on the server from the same tables as everything else: no network,
//! no script but our own files, nothing inline.

use http::header;
use http::header::HeaderValue;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::call::Call;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Doc};
use super::schemas::text;

/// What a page may load: this server's own files.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

const TEXT_HTML: &str = "text/html; charset=utf-8";

pub(super) const HTML: AnswerDoc = page("text/html");
pub(super) const SCRIPT: AnswerDoc = page("text/javascript");

const fn page(media: &'static str) -> AnswerDoc {
    AnswerDoc { status: 200, text: "It.", body: Some((media, text, "")), headers: &[], links: &[] }
}

/// A page.
pub(super) fn html(body: impl Into<bytes::Bytes>) -> Reply {
    Reply::text(TEXT_HTML, body).with(header::CONTENT_SECURITY_POLICY, POLICY)
}

/// Text as it stands in a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn whole(title: &str, main: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body>\n<main>\n{main}\
         </main>\n</body>\n</html>\n"
    )
}

pub(super) const STYLE: Doc = Doc {
    id: "style",
    tag: "pages",
    summary: "The style of the pages",
    answers: &[page("text/css")],
    ..Doc::PLAIN
};

pub(super) fn style(_: &Call) -> Reply {
    Reply::text("text/css; charset=utf-8", include_str!("assets/style.css"))
}

pub(super) const PROBLEM: Doc = Doc {
    id: "problemPage",
    tag: "pages",
    summary: "What a problem code means and what to do about it",
    answers: &[HTML],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

/// The codes, as the type of the path's parameter.
pub(super) fn codes(_: &mut SchemaGenerator) -> Schema {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json_schema!({ "type": "string", "enum": codes })
}

pub(super) fn problem(call: &Call) -> Result<Reply, Problem> {
    let Some(code) = Code::named(call.parameters.at(0)) else {
        return Err(Problem::new(Code::NotFound, "there is no such problem code"));
    };
    let (status, name) = (code.status(), code.as_str());
    let main = format!(
        "<h1>{}</h1>\n<p>Code <code>{name}</code>, status {}.</p>\n<h2>What it means</h2>\n\
         <p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n<p><a href=\"/docs\">All calls and codes</a></p>\n",
        escaped(code.title()),
        status.as_u16(),
        escaped(code.meaning()),
        escaped(code.remedy()),
    );
    Ok(html(whole(code.title(), &main)))
}

pub(super) const DOCS: Doc = Doc {
    id: "docsPage",
    tag: "pages",
    summary: "The API for people to read",
    answers: &[HTML],
    ..Doc::PLAIN
};

pub(super) fn docs(call: &Call) -> Reply {
    html(call.api.docs.clone())
}

/// The page of an OpenAPI document.
pub(super) fn render(document: &Value) -> String {
    let mut main = String::new();
    let info = &document["info"];
    let mut put = |text: String| main.push_str(&text);
    put(format!("<h1>{}</h1>\n", escaped(word(info, "title"))));
    put(paragraphs(word(info, "description")));
    put("<p>For programs: <a href=\"/openapi.json\">/openapi.json</a>.</p>\n".to_owned());
    for tag in items(&document["tags"]) {
        let name = word(tag, "name");
        put(format!("<h2>{}</h2>\n", escaped(name)));
        put(paragraphs(word(tag, "description")));
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods) {
                if operation["tags"][0] == name {
                    put(operation_html(method, path, operation));
                }
            }
        }
    }
    put("<h2>Problem codes</h2>\n<table>\n".to_owned());
    for code in Code::ALL {
        let (name, status, title) = (code.as_str(), code.status().as_u16(), code.title());
        put(format!(
            "<tr><td>{status}</td><td><a href=\"/problems/{name}\"><code>{name}</code></a></td>\
             <td>{}</td></tr>\n",
            escaped(title)
        ));
    }
    put("</table>\n<h2>Types</h2>\n".to_owned());
    for (name, schema) in entries(&document["components"]["schemas"]) {
        put(format!(
            "<details id=\"type-{0}\"><summary><code>{0}</code></summary>{1}</details>\n",
            escaped(name),
            pretty(schema)
        ));
    }
    whole(word(info, "title"), &main)
}

fn operation_html(method: &str, path: &str, operation: &Value) -> String {
    let mut out = String::new();
    let mut put = |text: String| out.push_str(&text);
    put(format!(
        "<details id=\"{}\"><summary><code><span class=\"verb\">{}</span> {}</code> {}</summary>\n",
        escaped(word(operation, "operationId")),
        method.to_uppercase(),
        escaped(path),
        escaped(word(operation, "summary")),
    ));
    put(paragraphs(word(operation, "description")));
    let parameters: Vec<_> = items(&operation["parameters"]).collect();
    if !parameters.is_empty() {
        put("<table>\n".to_owned());
        for parameter in parameters {
            put(format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>\n",
                escaped(word(parameter, "name")),
                escaped(word(parameter, "in")),
                escaped(word(parameter, "description")),
            ));
        }
        put("</table>\n".to_owned());
    }
    for (media, content) in entries(&operation["requestBody"]["content"]) {
        put(format!("<p>Body, <code>{}</code>:</p>\n", escaped(media)));
        put(pretty(shown(content)));
    }
    put("<table>\n".to_owned());
    for (status, answer) in entries(&operation["responses"]) {
        put(format!(
            "<tr><td>{}</td><td>{}</td></tr>\n",
            escaped(status),
            escaped(word(answer, "description"))
        ));
    }
    put("</table>\n".to_owned());
    for (_, answer) in entries(&operation["responses"]).filter(|(code, _)| code.starts_with('2')) {
        for (_, content) in entries(&answer["content"]) {
            put(pretty(shown(content)));
        }
    }
    put("</details>\n".to_owned());
    out
}

/// An example says more than a type.
fn shown(content: &Value) -> &Value {
    content.get("example").unwrap_or(&content["schema"])
}

fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("<pre>{}</pre>\n", escaped(&text))
}

fn paragraphs(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        out.push_str("<p>");
        out.push_str(&escaped(paragraph));
        out.push_str("</p>\n");
    }
    out
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

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_comes_from_data_is_text() {
        let text = escaped("<img src=x onerror='alert(1)'>&\"");
        assert_eq!(text, "&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&amp;&quot;");
    }
}
