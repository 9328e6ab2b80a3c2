//! `--workflows DIR`: what lies there is published at the start, and in development again when it
//! changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::app::App;
use crate::engine::workflow::{CheckedDefinition, Definition, DefinitionFault, read};

use super::CliError;

/// Interval of checks for a change: a person who saves a file expects the result within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Maximum number of faults that are logged for one document.
const FAULTS_TOLD_MAX: usize = 20;

/// The files of a directory and when each was last written.
pub(super) type Files = BTreeMap<PathBuf, SystemTime>;

/// Publishes all workflows of a directory; what the latest versions say already changes nothing.
///
/// # Errors
/// The directory or a file that cannot be read, a document with all that is wrong with it.
pub(super) async fn publish(app: &App, dir: &Path) -> Result<Files, CliError> {
    let files = files(dir).map_err(|error| CliError::Failed(unreadable(dir, &error)))?;
    for file in files.keys() {
        publish_one(app, file).await.map_err(CliError::Failed)?;
    }
    Ok(files)
}

/// Reads all workflows of a directory without publishing them.
///
/// # Errors
/// One text for each file, or for the directory, with all that is wrong with it.
pub(super) fn read_all(dir: &Path) -> Result<Vec<(PathBuf, Definition)>, Vec<String>> {
    let files = files(dir).map_err(|error| vec![unreadable(dir, &error)])?;
    let mut definitions = Vec::new();
    let mut problems = Vec::new();
    for (file, _) in files {
        match read_one(&file) {
            Ok((_, document)) => definitions.push((file, document.definition)),
            Err(what) => problems.push(what),
        }
    }
    if problems.is_empty() { Ok(definitions) } else { Err(problems) }
}

fn unreadable(dir: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("the directory {} does not exist", dir.display()),
        _ => format!("{}: cannot be read: {error}", dir.display()),
    }
}

/// Publishes documents that change, until it is stopped. Faults of a document are logged, and the
/// version before stays.
pub(super) async fn watch(app: Arc<App>, dir: PathBuf, mut known: Files) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let Ok(found) = files(&dir) else { continue };
        let changed = found.iter().filter(|(file, at)| known.get(*file) != Some(at));
        let changed: Vec<_> = changed.map(|(file, _)| file.clone()).collect();
        known = found;
        for file in changed {
            if let Err(what) = publish_one(&app, &file).await {
                what.lines().for_each(|line| tracing::warn!("{line}"));
            }
        }
    }
}

/// The definitions of a directory; `NAME.scenarios.yaml` beside one is none.
fn files(dir: &Path) -> std::io::Result<Files> {
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = path.extension().and_then(|kind| kind.to_str());
        let is_document = matches!(kind, Some("yaml" | "yml" | "json"));
        if is_document && !name.contains(".scenarios.") && entry.file_type()?.is_file() {
            files.insert(path, entry.metadata()?.modified()?);
        }
    }
    Ok(files)
}

async fn publish_one(app: &App, file: &Path) -> Result<(), String> {
    let told = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let (source, document) = read_one(file)?;
    let name = document.definition.name.clone();
    let unknown =
        app.definition_warnings(&document.definition).map_err(|refusal| told(&refusal))?;
    // Accounts and roles may come later; what the configuration lacks does not.
    for unknown in unknown.iter().filter(|unknown| unknown.is_of_configuration()) {
        tracing::warn!(workflow = %name, code = unknown.code, "{}", unknown.message);
    }
    let (version, created) =
        app.publish(source, document.definition).await.map_err(|refusal| told(&refusal))?;
    if created {
        tracing::info!(workflow = %name, version, "published");
    }
    Ok(())
}

fn read_one(file: &Path) -> Result<(String, CheckedDefinition), String> {
    let source =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let document = read(&source).map_err(|faults| {
        let lines: Vec<_> =
            faults.iter().take(FAULTS_TOLD_MAX).map(|fault| line(file, fault)).collect();
        lines.join("\n")
    })?;
    Ok((source, document))
}

fn line(file: &Path, fault: &DefinitionFault) -> String {
    let (line, column) = fault.at.unwrap_or((1, 1));
    format!("{}:{line}:{column}: {} ({})", file.display(), fault.message, fault.pointer)
}
