//! The rules of the house that no compiler or linter knows, held over the repository's own files.
//!
//! Each rule is a function from a text to what is wrong with it, and has a self-test beside it
//! that shows it finds a violation: a rule that can find nothing holds nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod circles;
mod layers;
mod manifest;
mod plain_words;
mod source;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// Longest file of code, in lines: one idea a file, and each can be read at one sitting.
const LINES_MAX: usize = 800;

/// Names at the top of the repository; a new thing there is a decision, made here.
const TOP: [&str; 15] = [
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "data",
    "deny.toml",
    "rustfmt.toml",
    "src",
];

/// Folders whose modules import each other in no circle.
const WITHOUT_CIRCLES: [&str; 2] = ["src/types", "src/engine"];

/// Folders in these whose modules may still do so.
const WITH_CIRCLES: [&str; 3] =
    ["src/engine/expression", "src/engine/transaction", "src/engine/workflow"];

/// The same, for what holds only tests.
const TOP_TESTS: &str = "tests";

/// One breach of a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    path: PathBuf,
    line: usize,
    what: String,
}

impl Violation {
    fn new(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` (relative to the root) whose name ends in one of `endings`.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                // What outside suites install beside themselves is not ours to hold to rules.
                if name != "node_modules" && name != "target" && !name.starts_with(".venv") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder, &[".rs"]));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        Source::new(path, text)
    };
    paths.map(read).collect()
}

#[track_caller]
fn none(violations: &[Violation]) {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "rules of the house are broken:\n{}\n", lines.join("\n"));
}

fn all(folders: &[&str], rule: impl Fn(&Source) -> Vec<Violation>) {
    let sources = sources(folders);
    assert!(!sources.is_empty(), "no source found in {folders:?}");
    none(&sources.iter().flat_map(rule).collect::<Vec<_>>());
}

#[test]
fn a_layer_uses_only_those_before_it() {
    all(&["src"], layers::upward_uses);
}

#[test]
fn modules_import_each_other_in_no_circle() {
    for folder in WITHOUT_CIRCLES {
        none(&circles::circles(&sources(&[folder]), &WITH_CIRCLES));
    }
}

#[test]
fn every_file_lies_in_a_layer() {
    all(&["src"], layers::outside);
}

#[test]
fn outside_crates_keep_to_their_rooms() {
    all(&["src"], layers::crates_in_wrong_rooms);
}

#[test]
fn no_word_that_is_ruled_out() {
    all(&["src", "tests", "benches"], words::ruled_out);
}

#[test]
fn no_type_or_module_is_named_after_nothing() {
    all(&["src", "tests", "benches"], words::empty_names);
}

#[test]
fn every_module_says_what_it_is() {
    all(&["src", "tests", "benches"], undocumented);
}

#[test]
fn no_file_is_too_long() {
    let mut paths: Vec<_> = ["src", "tests", "benches", ".ci"]
        .iter()
        .flat_map(|folder| files(folder, &[".rs", ".sh", ".py", ".js", ".mjs", "run"]))
        .collect();
    paths.push("ARCHITECTURE.md".into());
    let texts = paths.iter().map(|path| (path, fs::read_to_string(root().join(path)).unwrap()));
    none(&texts.filter_map(|(path, text)| too_long(path, &text)).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut paths: Vec<_> = ["src", "tests", "benches", "data", ".ci"]
        .iter()
        .flat_map(|folder| {
            files(folder, &[".rs", ".sh", ".py", ".js", ".mjs", ".yaml", ".toml", ".md", "run"])
        })
        .collect();
    let top = ["README.md", "ARCHITECTURE.md", "Cargo.toml", "clippy.toml", "deny.toml"];
    paths.extend(top.iter().map(PathBuf::from));
    let texts = paths.iter().map(|path| (path, fs::read_to_string(root().join(path)).unwrap()));
    none(&texts.flat_map(|(path, text)| words::unfinished(path, &text)).collect::<Vec<_>>());
}

#[test]
fn every_dependency_has_its_reason() {
    let path = Path::new("Cargo.toml");
    let text = fs::read_to_string(root().join(path)).unwrap();
    none(&manifest::without_reason(path, &text));
}

#[test]
fn every_dependency_is_used() {
    let path = Path::new("Cargo.toml");
    let text = fs::read_to_string(root().join(path)).unwrap();
    none(&manifest::unused(path, &text, &sources(&["src", "tests", "benches"])));
}

#[test]
fn the_top_of_the_repository_holds_what_is_decided() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let names = fs::read_dir(root()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    none(&undecided(&names.collect(), &ignored));
}

fn too_long(path: &Path, text: &str) -> Option<Violation> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| {
        let what = format!("{lines} lines, more than {LINES_MAX}: it holds more than one idea");
        Violation::new(path, lines, what)
    })
}

fn undocumented(source: &Source) -> Vec<Violation> {
    if source.text.starts_with("//!") || source.text.starts_with("#!/") {
        return Vec::new();
    }
    vec![Violation::new(&source.path, 1, "a file begins with `//!` and what it is for")]
}

fn undecided(names: &BTreeSet<String>, ignored: &str) -> Vec<Violation> {
    let known = |name: &str| {
        let ignored = ignored.lines().any(|line| line.trim_matches('/') == name);
        ignored || TOP.contains(&name) || name == TOP_TESTS
    };
    let path = Path::new(".");
    let strangers = names.iter().filter(|name| !known(name));
    let strangers = strangers.map(|name| format!("`{name}` is not in the list of the top level"));
    strangers.map(|what| Violation::new(path, 0, what)).collect()
}

#[test]
fn self_test_a_long_file_is_found() {
    let path = Path::new("src/store/long.rs");
    assert!(too_long(path, &"x\n".repeat(LINES_MAX)).is_none());
    assert!(too_long(path, &"x\n".repeat(LINES_MAX + 1)).is_some());
}

#[test]
fn self_test_a_file_without_a_word_is_found() {
    let source = |text: &str| Source::new("src/store/mute.rs".into(), text.into());
    assert_eq!(undocumented(&source("//! Speaks.\n")), []);
    assert_eq!(undocumented(&source("use std::fs;\n")).len(), 1);
}

#[test]
fn self_test_a_stranger_at_the_top_is_found() {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    assert_eq!(undecided(&names(&["src", "target", "tests"]), "/target\n"), []);
    assert_eq!(undecided(&names(&["src", "target"]), "/data/db\n").len(), 1);
    assert_eq!(undecided(&names(&["notes.txt"]), "/target\n").len(), 1);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = ["README.md", "ARCHITECTURE.md"].map(Path::new);
    let exists = |target: &str| root().join(target).exists();
    let text = |path: &Path| fs::read_to_string(root().join(path)).unwrap();
    none(
        &documents
            .iter()
            .flat_map(|path| dead_links(path, &text(path), exists))
            .collect::<Vec<_>>(),
    );
}

/// Links of a document at the root to files that are not there.
fn dead_links(path: &Path, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !exists(target) {
            let what = format!("a link to `{target}`, which is not there");
            found.push(Violation::new(path, source::line(text, at), what));
        }
    }
    found
}

#[test]
fn self_test_a_dead_link_is_found() {
    let text = "[a](there.md) [b](https://example.org)\n[c](gone.md#part) [d](#part)\n";
    let found = dead_links(Path::new("README.md"), text, |target| target == "there.md");
    assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [2]);
}
