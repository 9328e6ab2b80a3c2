//! `abide workflow`: definitions without a server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::engine::workflow::{self, CheckedDefinition, DefinitionFault};

use super::{CliError, log, print, scenarios};

/// Longest line of a document that is shown below a fault.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// Arguments of `abide workflow`.
#[derive(Debug, Args)]
pub(super) struct Workflow {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say all that is wrong with definitions, as a compiler does.
    Check {
        /// Definitions in YAML or JSON.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Draw a definition.
    Diagram {
        /// A definition in YAML or JSON.
        file: PathBuf,
        /// Format of the drawing.
        #[arg(long, value_enum, default_value_t = Format::Mermaid)]
        format: Format,
    },
    /// Print the JSON Schema of the language, for editors.
    Schema,
    /// Play scenarios in memory, with a clock that is moved.
    Test(scenarios::Test),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A flow chart of Mermaid.
    Mermaid,
    /// A picture.
    Svg,
}

/// Does it.
///
/// # Errors
/// How many definitions are wrong, or why one could not be read.
pub(super) fn run(workflow: &Workflow) -> Result<(), CliError> {
    match &workflow.action {
        Action::Check { files } => check(files),
        Action::Diagram { file, format } => {
            let text = text(file)?;
            let read = workflow::read(&text).map_err(|faults| {
                // A line of the log is one line.
                told(file, &text, "error", &faults).lines().for_each(log::line);
                CliError::Failed(format!("{}: cannot be drawn", file.display()))
            })?;
            print(&match format {
                Format::Mermaid => workflow::mermaid(&read.definition),
                Format::Svg => workflow::svg(&read.definition),
            })
        }
        Action::Test(test) => scenarios::run(test),
        Action::Schema => print(&format!("{:#}\n", workflow::language_schema())),
    }
}

fn check(files: &[PathBuf]) -> Result<(), CliError> {
    let mut wrong = 0;
    for file in files {
        let text = text(file)?;
        match workflow::read(&text) {
            Ok(CheckedDefinition { definition, warnings }) => {
                print(&told(file, &text, "warning", &warnings))?;
                let (name, steps) = (&definition.name, definition.steps.len());
                print(&format!("{}: {name} is right, {steps} steps\n", file.display()))?;
            }
            Err(faults) => {
                wrong += 1;
                print(&told(file, &text, "error", &faults))?;
            }
        }
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(CliError::Failed(format!("{wrong} of {} definitions are wrong", files.len()))),
    }
}

fn text(file: &Path) -> Result<String, CliError> {
    let failed = |why: String| CliError::Failed(format!("{}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if usize::try_from(length).map_or(true, |length| length > workflow::DOCUMENT_BYTES_MAX) {
        let most = workflow::DOCUMENT_BYTES_MAX;
        return Err(failed(format!("has {length} bytes; at most {most} are read")));
    }
    std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))
}

/// Faults as a compiler tells them: where, what, and the line.
fn told(file: &Path, text: &str, what: &str, faults: &[DefinitionFault]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for DefinitionFault { pointer, code, message, at } in faults {
        let (line, column) = at.unwrap_or((1, 1));
        let pointer = if pointer.is_empty() { "/" } else { pointer };
        let path = file.display();
        out.push_str(&path.to_string());
        let told = format!(":{line}:{column}: {what}: {message} [{code}]\n  at {pointer}\n");
        out.push_str(&told);
        let index = usize::try_from(line).unwrap_or(usize::MAX) - 1;
        let before = usize::try_from(column).unwrap_or(1) - 1;
        if let Some(source) = lines.get(index)
            && before < SHOWN_CHARACTERS_MAX
        {
            let shown: String = source
                .chars()
                .take(SHOWN_CHARACTERS_MAX)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let number = line.to_string();
            let indent = " ".repeat(number.len());
            let pad = " ".repeat(before);
            let told = format!(" {number} | {shown}\n {indent} | {pad}^\n");
            out.push_str(&told);
        }
    }
    out
}
