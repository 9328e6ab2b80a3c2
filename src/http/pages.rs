//! Pages for people, written on the server from the same tables as everything else: no network,
//! no script but our own files, nothing inline.

use http::header;
use http::header::HeaderValue;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;

/// Content Security Policy of pages: they load only this server's own files.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

const TEXT_HTML: &str = "text/html; charset=utf-8";

/// A page.
pub(super) fn html(body: impl Into<bytes::Bytes>) -> Reply {
    Reply::text(TEXT_HTML, body).with(header::CONTENT_SECURITY_POLICY, POLICY)
}

/// Escapes text for HTML.
pub(super) fn escaped(text: &str) -> String {
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

/// Escapes text for HTML, with `<code>` for backticks.
pub(super) fn with_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        let (begin, end) = if at % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
        out.extend([begin, &escaped(part), end]);
    }
    out
}

/// The pages for people, on top of each of them.
const NAVIGATION: &str = "<nav aria-label=\"Pages\">\n<a href=\"/docs\">Guide</a>\n\
    <a href=\"/docs/workflows\">Workflows</a>\n<a href=\"/docs/events\">Events</a>\n\
    <a href=\"/docs/reference\">Reference</a>\n</nav>\n";

/// Writes a page around its main part.
pub(super) fn whole(title: &str, main: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n\
         <body>\n<a class=\"skip\" href=\"#main\">To the text</a>\n{NAVIGATION}\
         <main id=\"main\">\n{main}</main>\n</body>\n</html>\n"
    )
}

pub(super) const STYLE: Operation =
    Operation::new("style", "pages", "The style of the pages").media(200, "The page.", "text/css");

pub(super) fn style(_: &RequestContext) -> Reply {
    Reply::text("text/css; charset=utf-8", include_str!("assets/style.css"))
}

pub(super) const PROBLEM: Operation =
    Operation::new("problemPage", "pages", "What a problem code means and what to do about it")
        .media(200, "The page.", "text/html")
        .problems(&[Code::NotFound]);

/// The codes, as the type of the path's parameter.
pub(super) fn codes(_: &mut SchemaGenerator) -> Schema {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json_schema!({ "type": "string", "enum": codes })
}

pub(super) fn problem(request: &RequestContext) -> Result<Reply, Problem> {
    let Some(code) = Code::named(request.parameters.at(0)) else {
        return Err(Problem::new(Code::NotFound, "there is no such problem code"));
    };
    let (status, name) = (code.status(), code.as_str());
    let main = format!(
        "<h1>{}</h1>\n<p>Code <code>{name}</code>, status {}.</p>\n<h2>What it means</h2>\n\
         <p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n<p><a href=\"/docs/reference#problem-codes\">All codes</a></p>\n",
        escaped(code.title()),
        status.as_u16(),
        escaped(code.meaning()),
        escaped(code.remedy()),
    );
    Ok(html(whole(code.title(), &main)))
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
