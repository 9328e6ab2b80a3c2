//! Cargo.toml: every dependency has a reason and a use.

use std::path::Path;

use super::Violation;
use super::source::{Source, places};

/// The lines of the dependency tables: number from 1, name, line.
fn dependencies(text: &str) -> Vec<(usize, &str, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if inside
            && !line.trim_start().starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            found.push((index + 1, name.trim(), line));
        }
    }
    found
}

/// Dependencies whose line does not end in a comment.
pub(super) fn without_reason(path: &Path, text: &str) -> Vec<Violation> {
    let reason = |line: &str| line.rsplit_once("# ").is_some_and(|(_, why)| why.len() > 2);
    let mute = dependencies(text).into_iter().filter(|(_, _, line)| !reason(line));
    mute.map(|(line, name, _)| Violation::new(path, line, format!("`{name}`: what is it for?")))
        .collect()
}

/// Dependencies that no source names.
pub(super) fn unused(path: &Path, text: &str, sources: &[Source]) -> Vec<Violation> {
    let used = |name: &str| {
        let name = name.replace('-', "_");
        let (path, import) = (format!("{name}::"), format!("use {name}"));
        let names = |pattern: &str, code: &str| places(code, pattern).next().is_some();
        sources.iter().any(|one| names(&path, &one.code) || names(&import, &one.code))
    };
    let idle = dependencies(text).into_iter().filter(|(_, name, _)| !used(name));
    idle.map(|(line, name, _)| Violation::new(path, line, format!("`{name}`: nothing uses it")))
        .collect()
}

#[test]
fn self_test_a_dependency_without_reason_or_use_is_found() {
    let text = "[package]\nname = \"x\"\n[dependencies]\na-b = \"1\"  # for b\nc = \"1\"\n";
    let text =
        format!("{text}[dev-dependencies]\nd = {{ version = \"1\" }}\n[lints.rust]\ne = 1\n");
    let path = Path::new("Cargo.toml");
    let lines = |found: Vec<Violation>| found.iter().map(|one| one.line).collect::<Vec<_>>();
    assert_eq!(lines(without_reason(path, &text)), [5, 7]);
    let source = |text: &str| Source::new("src/lib.rs".into(), text.into());
    let sources = [source("use a_b::X; // c::Y\n"), source("use d;\n")];
    assert_eq!(lines(unused(path, &text, &sources)), [5]);
}
