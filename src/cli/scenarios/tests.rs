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
    assert!(played("data/workflows") >= 8);
}
