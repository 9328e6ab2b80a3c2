//! A Rust source file, and what is code in it.

use std::path::{Path, PathBuf};

use super::Violation;

/// A file with its text as it is, and again with comments and literals blanked out.
pub(super) struct Source {
    /// Its path from the root of the repository.
    pub(super) path: PathBuf,
    /// Everything.
    pub(super) text: String,
    /// Only the code: each character of a comment, a string or a character literal is a space,
    /// so that lines and columns stay where they are.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let code = code(&text);
        Self { path, text, code }
    }

    /// The layer that it lies in: the folder, or file, right below `src`.
    pub(super) fn layer(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src").ok()?;
        let first = below.components().next()?.as_os_str().to_str()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// A violation at each place in the code where `pattern` stands as whole words.
    pub(super) fn find(&self, pattern: &str, why: &str) -> Vec<Violation> {
        let places = places(&self.code, pattern);
        let what = format!("`{pattern}`: {why}");
        places.map(|at| Violation::new(&self.path, line(&self.code, at), what.clone())).collect()
    }
}

/// The line, from 1, of a byte offset.
pub(super) fn line(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|byte| *byte == b'\n').count()
}

/// Where `pattern` stands in `text`, not as a part of a longer word.
pub(super) fn places<'a>(text: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = move |at: &usize| {
        let before = text[..*at].chars().next_back();
        let after = text[at + pattern.len()..].chars().next();
        let joins = |edge: Option<char>, beside: Option<char>| {
            edge.is_some_and(is_word) && beside.is_some_and(is_word)
        };
        !joins(pattern.chars().next(), before) && !joins(pattern.chars().next_back(), after)
    };
    text.match_indices(pattern).map(|(at, _)| at).filter(whole)
}

pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether a path lies below one of `folders`.
pub(super) fn below(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Kind of text that the reader of code is inside.
enum Inside {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

fn code(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut inside = Inside::Code;
    let mut index = 0;
    while index < characters.len() {
        let (here, next) = (at(index), at(index + 1));
        // How many characters are read in this turn, and whether they are code.
        let (taken, keep) = match &mut inside {
            Inside::Code => match (here, next) {
                ('/', '/') => {
                    inside = Inside::LineComment;
                    (2, false)
                }
                ('/', '*') => {
                    inside = Inside::BlockComment { depth: 1 };
                    (2, false)
                }
                ('"', _) => {
                    inside = Inside::Text;
                    (1, false)
                }
                ('r', '"' | '#') if !is_word(before(&characters, index)) => {
                    let hashes = characters[index + 1..].iter().take_while(|c| **c == '#').count();
                    if at(index + 1 + hashes) == '"' {
                        inside = Inside::RawText { hashes };
                        (hashes + 2, false)
                    } else {
                        (1, true)
                    }
                }
                ('\'', '\\') => {
                    let end = characters[index + 3..].iter().position(|c| *c == '\'');
                    (end.map_or(2, |end| end + 4), false)
                }
                ('\'', _) if at(index + 2) == '\'' => (3, false),
                _ => (1, true),
            },
            Inside::LineComment => {
                if here == '\n' {
                    inside = Inside::Code;
                }
                (1, false)
            }
            Inside::BlockComment { depth } => match (here, next) {
                ('/', '*') => {
                    *depth += 1;
                    (2, false)
                }
                ('*', '/') => {
                    *depth -= 1;
                    if *depth == 0 {
                        inside = Inside::Code;
                    }
                    (2, false)
                }
                _ => (1, false),
            },
            Inside::Text => match here {
                '\\' => (2, false),
                '"' => {
                    inside = Inside::Code;
                    (1, false)
                }
                _ => (1, false),
            },
            Inside::RawText { hashes } => {
                let hashes = *hashes;
                let closed = here == '"' && (1..=hashes).all(|step| at(index + step) == '#');
                if closed {
                    inside = Inside::Code;
                    (1 + hashes, false)
                } else {
                    (1, false)
                }
            }
        };
        let end = (index + taken).min(characters.len());
        for character in &characters[index..end] {
            out.push(if keep || *character == '\n' { *character } else { ' ' });
        }
        index = end;
    }
    out
}

/// The character before `index` that is not the `b` or `c` of a literal's prefix.
fn before(characters: &[char], index: usize) -> char {
    let before = |index: usize| index.checked_sub(1).map_or(' ', |before| characters[before]);
    match before(index) {
        'b' | 'c' => before(index - 1),
        other => other,
    }
}

#[test]
fn self_test_comments_and_literals_are_no_code() {
    let kept = |text: &str| code(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(kept("a // b\nc"), "a c");
    assert_eq!(kept("a /* b /* c */ d */ e"), "a e");
    assert_eq!(kept(r#"f("x \" y", g)"#), "f( , g)");
    assert_eq!(kept("f(r#\"x \" y\"#, br\"z\", g)"), "f( , b , g)");
    assert_eq!(kept("m('\"', '\\'', '\\u{1f}', b'x', 'a: loop)"), "m( , , , b , 'a: loop)");
    assert_eq!(kept("fn f<'a>(x: &'a str) { r#type }"), "fn f<'a>(x: &'a str) { r#type }");
    assert_eq!(code("/* a\nb */\nc\n").matches('\n').count(), 3);
}

#[test]
fn self_test_a_pattern_matches_whole_words_only() {
    assert_eq!(places("sleep sleepy asleep x.sleep()", "sleep").collect::<Vec<_>>(), [0, 22]);
    assert_eq!(places("a::b::c ab::b::c", "a::b").collect::<Vec<_>>(), [0]);
}
