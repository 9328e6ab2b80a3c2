//! Examples of the RFCs, and properties against a reference that is slow and simple.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::borrow::Cow;

use http::header::{ACCEPT, COOKIE, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Accept, Pair, Parameterized, Tags, cookies, has_token, list, number, split};

const PREFER: HeaderName = HeaderName::from_static("prefer");

fn with(name: &HeaderName, lines: &[impl AsRef<[u8]>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line.as_ref()).unwrap());
    }
    headers
}

/// Splits by the words of RFC 9110, 5.6.4: a place is in a quoted string when the quotes before it
/// that no backslash escapes are odd in number.
fn split_slowly(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let is_quoted = |at: usize| {
        let mut quotes = 0;
        let mut place = 0;
        while place < at {
            match (text[place], quotes % 2) {
                (b'\\', 1) => place += 1,
                (b'"', _) => quotes += 1,
                _ => {}
            }
            place += 1;
        }
        // A byte that a backslash escapes is in the string too.
        quotes % 2 == 1 || place > at
    };
    let mut parts = vec![Vec::new()];
    for (at, byte) in text.iter().enumerate() {
        if *byte == separator && !is_quoted(at) {
            parts.push(Vec::new());
        } else {
            parts.last_mut().unwrap().push(*byte);
        }
    }
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    for part in &mut parts {
        while part.first().is_some_and(space) {
            part.remove(0);
        }
        while part.last().is_some_and(space) {
            part.pop();
        }
    }
    parts
}

/// A parameter before it is written: its name, and its value with the bytes that quotes allow.
type Written = (String, Vec<u8>);

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,6}"
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b" ,;=\"\\\tw"[..]),
        4 => b'!'..=b'~',
        1 => 0x80..=0xff_u8,
    ];
    vec(byte, 0..8)
}

fn space() -> impl Strategy<Value = String> {
    "[ \t]{0,2}"
}

/// Writes a value as a token where it is one and `bare` says so, else as a quoted string in which
/// what must be escaped is, and with `all` everything.
fn write_value(value: &[u8], bare: bool, all: bool) -> Vec<u8> {
    if bare && super::is_token(value) {
        return value.to_vec();
    }
    let mut text = vec![b'"'];
    for byte in value {
        if all || matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}

proptest! {
    #[test]
    fn a_value_is_split_as_the_reference_splits_it(
        text in vec(prop::sample::select(&b"a,;\"\\ \t=\xe9"[..]), 0..24),
        separator in prop::sample::select(&b",;"[..]),
    ) {
        let found: Vec<_> = split(&text, separator).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(found, split_slowly(&text, separator));
    }

    /// A list is read as it was written, whatever its spaces, quotes, case and lines.
    #[test]
    fn a_list_is_read_as_it_was_written(
        elements in vec((token(), vec((token(), word()), 0..3)), 0..5),
        style in vec((space(), any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u8), 5),
    ) {
        let elements: Vec<(String, Vec<Written>)> = elements;
        let mut lines = vec![Vec::new()];
        for ((value, parameters), (space, bare, all, upper, between)) in elements.iter().zip(&style) {
            let line = lines.last_mut().unwrap();
            line.extend(space.bytes());
            line.extend(value.bytes());
            for (name, word) in parameters {
                let name = if *upper { name.to_uppercase() } else { name.clone() };
                line.extend(format!("{space};{space}{name}={space}").bytes());
                line.extend(write_value(word, *bare, *all));
                line.extend(space.bytes());
            }
            match between {
                0 => line.push(b','),
                1 => line.extend(b" ,, ,"),
                _ => lines.push(Vec::new()),
            }
        }
        let headers = with(&PREFER, &lines);
        let found: Vec<_> = list(&headers, &PREFER).map(Parameterized::read).collect();
        prop_assert_eq!(found.len(), elements.len());
        for (found, (value, parameters)) in found.iter().zip(&elements) {
            prop_assert_eq!(found.value, value.as_bytes());
            let pairs: Result<Vec<_>, _> = found.parameters().collect();
            let pairs = pairs.unwrap();
            prop_assert_eq!(pairs.len(), parameters.len());
            for (pair, (name, word)) in pairs.iter().zip(parameters) {
                prop_assert!(pair.is(name), "{:?} is not {}", pair, name);
                prop_assert_eq!(pair.value(), &word[..]);
            }
        }
    }

    /// The preferred type is that of the highest weight, by a reference that looks at one type at
    /// a time.
    #[test]
    fn the_weights_of_accept_are_those_of_the_reference(
        ranges in vec(
            (prop::sample::select(&["*/*", "text/*", "text/plain", "TEXT/html", "image/png"][..]), 0..=1000_u16),
            1..5,
        ),
    ) {
        let written = |(range, weight): &(&str, u16)| {
            format!("{range};Q={}.{:03}", weight / 1000, weight % 1000)
        };
        let lines: Vec<_> = ranges.iter().map(written).collect();
        let headers = with(&ACCEPT, &lines);
        let offered = ["text/plain", "text/html", "image/png"];
        let weight = |media: &str| {
            let kind = media.split_once('/').unwrap().0;
            let named = |name: &str| {
                let of = ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name));
                of.map(|(_, weight)| *weight).max()
            };
            named(media).or_else(|| named(&format!("{kind}/*"))).or_else(|| named("*/*")).unwrap_or(0)
        };
        let best = offered.into_iter().map(weight).max().unwrap();
        let chosen = Accept::read(&headers).choose(&offered);
        prop_assert_eq!(weight(chosen), best);
    }

    /// Tags are read as they were written, spread over lines at will.
    #[test]
    fn entity_tags_are_read_as_they_were_written(
        tags in vec((any::<bool>(), "[!#-~]{0,6}", 0..3_u8), 0..6),
    ) {
        let mut lines = vec![String::new()];
        for (is_weak, opaque, between) in &tags {
            let weak = if *is_weak { "W/" } else { "" };
            let line = lines.last_mut().unwrap();
            line.extend([" ", weak, "\"", opaque, "\"\t"]);
            match between {
                0 => lines.push(String::new()),
                1 => lines.last_mut().unwrap().push(','),
                _ => lines.last_mut().unwrap().push_str(",, ,"),
            }
        }
        let read = Tags::read(&with(&IF_MATCH, &lines), &IF_MATCH).unwrap().unwrap();
        let found = if let Tags::These(found) = read { found } else { Vec::new() };
        let found: Vec<_> = found.iter().map(|tag| (tag.is_weak, &*tag.opaque)).collect();
        let written: Vec<_> = tags.iter().map(|(weak, opaque, _)| (*weak, opaque.as_str())).collect();
        prop_assert_eq!(found, written);
    }
}

#[test]
fn a_comma_in_quotes_separates_nothing() {
    let headers = with(&PREFER, &[r#"foo="a, wait=9", respond-async;x="b;c", wait=1"#]);
    let names: Vec<_> =
        list(&headers, &PREFER).map(|element| Parameterized::read(element).value).collect();
    assert_eq!(names, [&br#"foo="a, wait=9""#[..], b"respond-async", b"wait=1"]);
}

#[test]
fn quoted_strings_are_read_whole_or_not_at_all() {
    let value = |text: &'static str| {
        Pair::read(text.as_bytes()).ok().and_then(|pair| pair.value.map(Cow::into_owned))
    };
    assert_eq!(value(r#"a="b\"c\d""#), Some(b"b\"cd".to_vec()));
    assert_eq!(value("a = b"), Some(b"b".to_vec()));
    assert_eq!(value("a="), Some(Vec::new()));
    assert_eq!(value("a=\"\u{e9}\""), Some("\u{e9}".into()));
    for bad in
        [r#"a="b"#, r#"a="b"c"#, r#"a="b\""#, "a=b c", "=b", "a b=c", r#"a=b"c""#, "a=\"\x7f\""]
    {
        assert_eq!(value(bad), None, "{bad}");
    }
}

#[test]
fn accept_takes_the_most_exact_range() {
    let choose = |lines: &[&str], offered: &[&'static str]| {
        Accept::read(&with(&ACCEPT, lines)).choose(offered)
    };
    let (stream, json) = ("text/event-stream", "application/json");
    let both = [stream, json];
    assert_eq!(Accept::read(&HeaderMap::new()).choose(&both), stream);
    for (lines, expected) in [
        (&["*/*"][..], stream),
        (&[""], stream),
        (&["application/json"], json),
        (&["APPLICATION/Json"], json),
        (&["application/*"], json),
        (&["text/html", "application/json"], json),
        (&["text/html, application/xhtml+xml", "application/json;q=0.9, */*;q=0.8"], json),
        (&["application/json;q=0, text/event-stream"], stream),
        (&["application/json;q=0"], stream),
        (&["text/event-stream;q=0, */*"], json),
        (&["text/event-stream;q=0.1, application/json;q=0.2"], json),
        (&["application/json, text/event-stream"], stream),
        (&["application/json, */*"], json),
        (&["application/json;charset=UTF-8"], json),
        (&["application/json;version=2, text/event-stream;q=0.1"], stream),
        (&["application/json;x=\"a,text/event-stream\";q=0.5, text/*;q=0.4"], stream),
        (&["application/json;q=1.001, text/*;q=0.001"], stream),
        (&["application/json ; q=0.5 , text/event-stream ; Q=0.4"], json),
        (&["text/xml"], stream),
    ] {
        assert_eq!(choose(lines, &both), expected, "{lines:?}");
    }
}

#[test]
fn tags_need_their_quotes_and_stars_stand_alone() {
    let read = |lines: &[&str]| Tags::read(&with(&IF_MATCH, lines), &IF_MATCH);
    assert_eq!(read(&["*"]), Ok(Some(Tags::Any)));
    let two = read(&[r#""a", W/"b,\""#, r#""c""#]).unwrap().unwrap();
    assert!(two.match_strongly("a") && two.match_strongly("c") && !two.match_strongly("b,\\"));
    assert!(two.match_weakly("b,\\") && !two.match_weakly("d"));
    for bad in [
        &["*", "*"][..],
        &["*", "\"a\""],
        &["\"a\"", "*"],
        &["a"],
        &["\"a"],
        &["w/\"a\""],
        &["\"a b\""],
    ] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn cookies_come_from_all_lines_whatever_else_is_in_them() {
    let headers = with(&COOKIE, &[&b"theme=\xc3\xa9; a=1"[..], b"b=x=y;c; d="]);
    let found: Vec<_> = cookies(&headers).collect();
    assert_eq!(
        found,
        [(&b"theme"[..], &b"\xc3\xa9"[..]), (b"a", b"1"), (b"b", b"x=y"), (b"d", b"")]
    );
}

#[test]
fn tokens_and_numbers_are_read_strictly() {
    let upgrade = HeaderName::from_static("upgrade");
    let headers = with(&upgrade, &["h2c , WebSocket", "x/1"]);
    assert!(has_token(&headers, &upgrade, "websocket") && !has_token(&headers, &upgrade, "x"));
    assert_eq!(number(b"007"), Some(7));
    assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
    for bad in [&b""[..], b"+5", b"-1", b"5.0", b" 5", b"5s"] {
        assert_eq!(number(bad), None, "{bad:?}");
    }
}
