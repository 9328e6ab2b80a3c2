//! Documents of workflows: the good ones in `data/workflows` are read without a word, the bad ones
//! in `src/engine/workflow/faults` get exactly the faults that are written beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod good;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use abide::engine::workflow::{DefinitionFault, read};

/// The YAML documents of a directory, by name, in order.
fn documents(directory: &str) -> Vec<(PathBuf, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| !path.to_string_lossy().ends_with(".scenarios.yaml"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Faults as they are written beside a document.
fn written(faults: &[DefinitionFault]) -> String {
    let mut text = String::new();
    for fault in faults {
        let (line, column) = fault.at.expect("every fault has a place");
        let DefinitionFault { pointer, code, message, .. } = fault;
        writeln!(text, "{line}:{column} {pointer} {code}\n    {message}").unwrap();
    }
    text
}

/// The findings of a document: its faults, or its warnings.
fn said(text: &str) -> String {
    match read(text) {
        Ok(read) => format!("warnings only\n{}", written(&read.warnings)),
        Err(faults) => written(&faults),
    }
}
