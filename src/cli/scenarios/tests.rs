//! The scenarios of the definitions in `data/workflows` pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use super::{files_of, test};

fn played(directory: &str) -> usize {
    let files = files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    passed(&files)
}

fn passed(files: &[PathBuf]) -> usize {
    let report = test(files, None).unwrap();
    let failed: Vec<_> = report.failed.iter().map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    report.passed
}

#[test]
fn the_scenarios_of_the_definitions_pass() {
    assert!(played("data/workflows") >= 8 * 5);
}

/// Features of the language that the definitions do not use, one in each file.
#[test]
fn the_golden_scripts_pass() {
    assert!(played("src/engine/scripts") >= 20);
}

/// A run without a scenario proves nothing.
#[test]
fn no_scenario_at_all_is_a_failure() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/scripts");
    let nothing = super::Test { files: vec![directory], only: Some("no such name".to_owned()) };
    assert!(matches!(super::run(&nothing), Err(super::CliError::Failed(_))));
}

/// Every code that a definition gives to its own refusals, and every end that it can come to, is
/// shown by one of its scenarios, of which there are at least eight.
#[test]
fn every_refusal_and_every_end_of_a_definition_has_a_scenario() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/workflows");
    let mut missing = Vec::new();
    for file in files_of(&directory).unwrap() {
        let shown = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().replace(super::SCENARIOS, ".yaml");
        let definition = std::fs::read_to_string(directory.join(&name)).unwrap();
        let count = shown.matches("\n  - name: ").count();
        if count < 8 {
            missing.push(format!("{name}: {count} scenarios"));
        }
        for key in ["code: ", "{ cancel: ", "{ end: "] {
            for (at, _) in definition.match_indices(key) {
                let rest = &definition[at + key.len()..];
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                let code = &rest[..end.unwrap_or(rest.len())];
                // `code: { type: string }` is a property of an input; `cancel: { by: … }` no target.
                let said = |key: &str| shown.contains(&format!("{key}: {code}"));
                if !code.is_empty() && !said("refused") && !said("outcome") {
                    missing.push(format!("{name}: {code}"));
                }
            }
        }
    }
    missing.sort();
    missing.dedup();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
