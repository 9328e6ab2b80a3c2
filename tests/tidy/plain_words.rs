//! Plain words: no type name twice, no reference to nothing, no banned phrase, no long function.
//!
//! Three of the rules are ratchets: [`LIMITS`] has the number of breaches that a directory still
//! has. A number may only go down: lower it when a directory is better than its line says.

use std::collections::BTreeMap;
use std::path::Path;

use super::Violation;
use super::source::{Source, is_word, line, places};

/// Names that several types still have, and the number of types. The list only gets shorter: remove
/// a line once its name is unique.
const SAME_NAMES: &[(&str, usize)] = &[("SliceTime", 2)];

/// Breaches of a directory: banned phrases in comments, doc comments with a banned opening,
/// functions of more than [`FUNCTION_LINES_MAX`] lines.
const LIMITS: &[(&str, [usize; 3])] = &[
    ("src/cli", [0, 0, 4]),
    ("src/engine", [0, 0, 14]),
    ("src/http", [0, 0, 6]),
    ("src/records", [0, 0, 1]),
    ("src/store", [0, 0, 1]),
    ("tests/api", [0, 0, 4]),
    ("tests/store", [0, 0, 1]),
    ("tests/tidy", [0, 0, 1]),
];

/// Longest function, in lines from its head to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Phrases that say who acts too vaguely. Searched in comments, without regard to case.
const BANNED: [&str; 6] =
    ["whoever", "at hand", "is told", "are told", "it needs not be", "as far as"];

/// Words that no doc comment begins with.
const OPENINGS: [&str; 8] = ["What", "Who", "Whose", "Whoever", "That", "Of", "How", "So"];

/// Name and place of each type that other modules can see.
fn public_types(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (number, code) in source.code.lines().enumerate() {
        // Test modules come last in a file.
        if code.starts_with("mod tests {") {
            break;
        }
        let Some(rest) = code.trim_start().strip_prefix("pub") else { continue };
        let rest = match rest.strip_prefix('(') {
            // Only the module itself and its parent see it.
            Some(scope) if scope.starts_with("super)") => continue,
            Some(scope) => scope.split_once(')').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if matches!(words.next(), Some("struct" | "enum" | "trait" | "union" | "type"))
            && let Some(name) = words.next()
        {
            let name: String = name.chars().take_while(|c| is_word(*c)).collect();
            // A name in a macro is that of its caller.
            if !name.is_empty() {
                found.push((name, number + 1));
            }
        }
    }
    found
}

/// Types of one name in more places than [`SAME_NAMES`] allows.
pub(super) fn same_names(sources: &[Source], known: &[(&str, usize)]) -> Vec<Violation> {
    let mut all: BTreeMap<String, Vec<(&Path, usize)>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !is_test(source)) {
        for (name, line) in public_types(source) {
            all.entry(name).or_default().push((&source.path, line));
        }
    }
    let known: BTreeMap<_, _> = known.iter().copied().collect();
    let mut found = Vec::new();
    for (name, at) in &all {
        let allowed = known.get(name.as_str()).copied().unwrap_or(1);
        if at.len() > allowed {
            found.extend(at.iter().map(|(path, line)| {
                let what = format!("`{name}` names {} public types; give each its own", at.len());
                Violation::new(path, *line, what)
            }));
        }
    }
    found
}

fn is_test(source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("golden.rs")
}

/// Comments of a file: the line and the text without the slashes; those that follow each other are
/// one. `true`: a doc comment.
fn comments(source: &Source) -> Vec<(usize, String, bool)> {
    let mut found: Vec<(usize, String, bool)> = Vec::new();
    let (mut last, mut mark) = (0, None);
    for (index, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let start = code.trim_end().len();
        let Some(comment) = text.get(start..).map(str::trim_start) else { continue };
        let Some(comment) = comment.strip_prefix("//") else { continue };
        let kind = comment.chars().next().filter(|c| matches!(c, '/' | '!'));
        let is_doc = kind.is_some();
        let words = comment.trim_start_matches(['/', '!']).trim();
        let is_alone = code.trim().is_empty();
        match found.last_mut() {
            Some((_, whole, _)) if last == index && mark == kind && is_alone => {
                whole.push(' ');
                whole.push_str(words);
            }
            _ => found.push((index + 1, words.to_owned(), is_doc)),
        }
        (last, mark) = (index + 1, kind);
    }
    found
}

/// Banned phrases in comments.
fn banned(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text, _) in comments(source) {
        let text = text.to_lowercase();
        for phrase in BANNED {
            let what = || format!("`{phrase}`: say who acts, in plain words");
            found.extend(places(&text, phrase).map(|_| Violation::new(&source.path, line, what())));
        }
    }
    found
}

/// Doc comments that begin with a word of [`OPENINGS`].
fn openings(source: &Source) -> Vec<Violation> {
    let opens = |text: &str| {
        OPENINGS
            .into_iter()
            .find(|word| text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word)))
    };
    let docs = comments(source).into_iter().filter(|(_, _, is_doc)| *is_doc);
    docs.filter_map(|(line, text, _)| {
        let word = opens(&text)?;
        let what = format!("a doc comment begins with a verb or a noun, not with `{word}`");
        Some(Violation::new(&source.path, line, what))
    })
    .collect()
}

/// Functions of more than [`FUNCTION_LINES_MAX`] lines.
fn long_functions(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for at in places(&source.code, "fn") {
        let Some(open) = body(&source.code[at..]) else { continue };
        let mut depth = 0_usize;
        let end = source.code[at + open..].char_indices().find(|(_, character)| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let Some((end, _)) = end else { continue };
        let first = line(&source.code, at);
        let lines = line(&source.code, at + open + end) - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("a function of {lines} lines, more than {FUNCTION_LINES_MAX}");
            found.push(Violation::new(&source.path, first, what));
        }
    }
    found
}

/// Offset of the brace that opens the body of a function; `None`: it has none, or is a type.
fn body(code: &str) -> Option<usize> {
    if !code["fn".len()..].trim_start().starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The directory of [`LIMITS`] that a file belongs to: its first two.
fn directory(path: &Path) -> String {
    let parts: Vec<_> = path.parent().into_iter().flat_map(Path::components).take(2).collect();
    let parts: Vec<_> = parts.iter().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// Breaches of each directory, by rule.
type Breaches = BTreeMap<String, [Vec<Violation>; 3]>;

fn breaches(sources: &[Source]) -> Breaches {
    let mut found = Breaches::new();
    for source in sources {
        let mut all = [banned(source), openings(source), long_functions(source)];
        let kept = found.entry(directory(&source.path)).or_default();
        kept.iter_mut().zip(&mut all).for_each(|(kept, new)| kept.append(new));
    }
    found
}

/// Directories with more breaches than their limit; one without a line has none.
pub(super) fn beyond_limits(sources: &[Source], limits: &[(&str, [usize; 3])]) -> Vec<Violation> {
    let mut found = Vec::new();
    let limits: BTreeMap<_, _> = limits.iter().copied().collect();
    let breaches = breaches(sources);
    for (directory, now) in &breaches {
        let limit = limits.get(directory.as_str()).copied().unwrap_or_default();
        for (now, limit) in now.iter().zip(limit).filter(|(now, limit)| now.len() > *limit) {
            let what = format!("{} breaches, more than {limit}; all of them:", now.len());
            found.push(Violation::new(Path::new(directory), 0, what));
            found.extend(now.iter().cloned());
        }
    }
    found
}

/// Names of files in the comments of a source that are not in the repository.
pub(super) fn dangling(source: &Source, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text, _) in comments(source) {
        for quoted in text.split('`').skip(1).step_by(2) {
            if is_reference(quoted) && !exists(quoted) {
                let what = format!("`{quoted}` is not in the repository");
                found.push(Violation::new(&source.path, line, what));
            }
        }
        for word in text.split(|c: char| !is_word(c) && c != '.' && c != '/') {
            let word = word.trim_matches('.');
            let is_document = Path::new(word).extension().is_some_and(|ending| ending == "md");
            if is_document && !exists(word) {
                let what = format!("{word} is not in the repository");
                found.push(Violation::new(&source.path, line, what));
            }
        }
    }
    found
}

/// Whether a quoted text names a file of the repository.
fn is_reference(text: &str) -> bool {
    let roots = ["src/", "tests/", "benches/", "data/", ".ci/"];
    roots.iter().any(|root| text.starts_with(root))
        && !text.contains(['*', '{', '<', ' ', '$'])
        && !text.ends_with("/run")
}

#[test]
fn no_public_type_name_is_used_twice() {
    super::none(&same_names(&super::sources(&["src"]), SAME_NAMES));
}

#[test]
fn plain_words_and_function_lengths_keep_to_their_limits() {
    super::none(&beyond_limits(&super::sources(&["src", "tests", "benches"]), LIMITS));
}

#[test]
fn files_that_comments_name_exist() {
    let everywhere = ["src", "tests", "benches", "data", "."];
    let exists = |name: &str| {
        let found = |folder: &&str| super::root().join(folder).join(name).exists();
        everywhere.iter().any(found)
            || super::root().join(format!("{name}.rs")).exists()
            || super::root().join("data/workflows").join(name).exists()
    };
    super::all(&["src", "tests", "benches"], |source| dangling(source, exists));
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source::new(path.into(), text.into())
}

#[test]
fn self_test_a_type_name_used_twice_is_found() {
    let sources = [
        source("src/app/a.rs", "pub struct Page;\npub(super) struct Row;\nstruct Own;\n"),
        source("src/http/b.rs", "pub(crate) enum Page { A }\npub struct Row;\nstruct Own;\n"),
        source("src/app/tests/c.rs", "pub struct Page;\n"),
    ];
    let found = same_names(&sources, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].what.contains("`Page` names 2"), "{found:?}");
    assert_eq!(same_names(&sources, &[("Page", 2)]), []);
}

#[test]
fn self_test_banned_phrases_and_openings_are_found() {
    let text = "//! What lies here.\n/// Of a user.\nfn f() {} // for\n// whoever\n/// Offers.\n";
    let file = source("src/app/a.rs", text);
    assert_eq!(openings(&file).len(), 2);
    assert_eq!(banned(&file).len(), 1);
    let split = source("src/app/a.rs", "/// A record that is\n/// told.\nfn f() {}\n");
    assert_eq!(banned(&split).len(), 1, "over the end of a line");
    let code = source("src/app/a.rs", "fn f() { g(\"whoever\") }\n");
    assert_eq!(banned(&code).len(), 0, "texts are not comments");
}

#[test]
fn self_test_a_long_function_is_found() {
    let text = |lines: usize| format!("fn f(a: [u8; 2]) {{\n{}}}\nfn g();\n", "x;\n".repeat(lines));
    let found = |lines| long_functions(&source("src/app/a.rs", &text(lines))).len();
    assert_eq!(found(FUNCTION_LINES_MAX - 2), 0);
    assert_eq!(found(FUNCTION_LINES_MAX - 1), 1);
}

#[test]
fn self_test_a_directory_beyond_its_limit_is_found() {
    let files = [source("src/app/a.rs", "/// What it is.\nfn f() {}\n")];
    let beyond = |limit| beyond_limits(&files, &[("src/app", limit)]).len();
    assert_eq!(beyond([0, 1, 0]), 0);
    assert_eq!(beyond([0, 0, 0]), 2, "the count and the place");
    assert_eq!(beyond_limits(&files, &[]).len(), 2, "a directory without a line has no breach");
}

#[test]
fn self_test_a_dangling_reference_is_found() {
    let text =
        "// See LANGUAGE.md and GONE.md.\n/// In `src/app/gone.rs`, not `src/app/there.rs`.\n";
    let file = source("src/app/a.rs", text);
    let exists = |name: &str| name == "LANGUAGE.md" || name.ends_with("there.rs");
    let found = dangling(&file, exists);
    assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 2], "{found:?}");
}
