//! `abide workflow test`: scenarios of workflows, played through the whole application in memory.
//!
//! `scenario` is the language of the files, `world` the application that a scenario finds, `play`
//! what its steps do, `expect` what is compared, and `sound` what must hold whatever happens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::{CliError, print};
use crate::engine::workflow::read as read_definition;

mod calls;
mod expect;
#[cfg(test)]
mod fault_injection;
mod invariants;
#[cfg(test)]
mod random_workflows;
mod runner;
mod scenario;
#[cfg(test)]
mod tests;
mod world;

use world::Document;

/// Ending of the name of a file of scenarios.
pub(super) const SCENARIOS: &str = ".scenarios.yaml";

/// Where scenarios are looked for when no file is named.
const DIRECTORY: &str = "data/workflows";

/// Which scenarios to play.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// Files of scenarios, or definitions that have one beside them (transfer.yaml:
    /// transfer.scenarios.yaml), or directories of them [default: data/workflows].
    files: Vec<PathBuf>,
    /// Play only scenarios whose name holds this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// A scenario that failed, or a file that cannot be played.
#[derive(Debug)]
pub(super) struct Failed {
    file: PathBuf,
    line: u64,
    scenario: Option<String>,
    step: usize,
    what: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(scenario) = &self.scenario {
            write!(f, ": {scenario}")?;
        }
        match self.step {
            0 => writeln!(f)?,
            step => writeln!(f, ", step {step}")?,
        }
        self.what.lines().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Results of the scenarios of some files.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) passed: usize,
    pub(super) failed: Vec<Failed>,
}

/// Runs the scenarios.
///
/// # Errors
/// What could not be found, or how many scenarios failed; which they are is printed.
pub(super) fn run(Test { files, only }: &Test) -> Result<(), CliError> {
    let began = Instant::now();
    let default = [PathBuf::from(DIRECTORY)];
    let asked = if files.is_empty() { &default[..] } else { files };
    let mut paths = Vec::new();
    for path in asked {
        paths.extend(files_of(path).map_err(CliError::Usage)?);
    }
    let report = test(&paths, only.as_deref()).map_err(CliError::Failed)?;
    for failed in &report.failed {
        print(&format!("{failed}\n"))?;
    }
    let (passed, failed) = (report.passed, report.failed.len());
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} failed, {passed} passed")));
    }
    if passed == 0 {
        // A slip in a name must not look like success.
        let what = match only {
            Some(only) => format!("no scenario has {only:?} in its name"),
            None => "there are no scenarios".to_owned(),
        };
        return Err(CliError::Failed(what));
    }
    print(&format!("{passed} passed in {} ms\n", began.elapsed().as_millis()))
}

/// The files of scenarios that a path means.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if path.is_dir() {
        let none = |error| format!("{}: {error}", path.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(none)? {
            let path = entry.map_err(none)?.path();
            if path.to_string_lossy().ends_with(SCENARIOS) {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(format!("{}: there is no file NAME{SCENARIOS} in it", path.display()));
        }
        files.sort();
        return Ok(files);
    }
    let path = match name.rsplit_once('.') {
        Some((stem, "yaml" | "yml" | "json")) if !name.ends_with(SCENARIOS) => {
            path.with_file_name(format!("{stem}{SCENARIOS}"))
        }
        _ => path.to_owned(),
    };
    if path.is_file() { Ok(vec![path]) } else { Err(format!("{}: no such file", path.display())) }
}

/// Plays all scenarios of these files whose name holds `only`.
///
/// # Errors
/// Nothing can be played at all.
pub(super) fn test(paths: &[PathBuf], only: Option<&str>) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let mut report = Report::default();
    for path in paths {
        let (file, documents) = match read(path) {
            Ok(read) => read,
            Err(what) => {
                let file = path.clone();
                report.failed.push(Failed { file, line: 0, scenario: None, step: 0, what });
                continue;
            }
        };
        for scenario in &file.scenarios {
            let line = scenario.referenced.line();
            let scenario = &scenario.value;
            if only.is_some_and(|only| !scenario.name.contains(only)) {
                continue;
            }
            match runtime.block_on(runner::run_scenario(&file.given, &documents, scenario)) {
                Ok(()) => report.passed += 1,
                Err(fault) => report.failed.push(Failed {
                    file: path.clone(),
                    line: if fault.line == 0 { line } else { fault.line },
                    scenario: Some(scenario.name.clone()),
                    step: fault.step,
                    what: fault.what,
                }),
            }
        }
    }
    Ok(report)
}

/// A file of scenarios and the documents that it is about.
fn read(path: &Path) -> Result<(scenario::File, Vec<Document>), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file = scenario::read(&text)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let beside = match (&file.workflows, &file.definition) {
        (Some(named), _) => named.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) if !file.definitions.is_empty() => Vec::new(),
        (None, None) => vec![name.replace(SCENARIOS, ".yaml")],
    };
    let mut documents = Vec::new();
    for name in beside {
        let path = path.with_file_name(&name);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        documents.push(document(&path.display().to_string(), &text)?);
    }
    for text in file.definition.iter().chain(&file.definitions) {
        documents.push(document("the definition in this file", text)?);
    }
    Ok((file, documents))
}

fn document(name: &str, text: &str) -> Result<Document, String> {
    match read_definition(text) {
        Ok(read) => Ok(Document { source: text.into(), definition: Arc::new(read.definition) }),
        Err(faults) => {
            let told = faults.iter().map(|fault| {
                let (line, column) = fault.at.unwrap_or_default();
                format!("{name}:{line}:{column}: {} {}", fault.pointer, fault.message)
            });
            Err(told.collect::<Vec<_>>().join("\n"))
        }
    }
}
