//! The command line: what was asked for, checked, and the whole put together.
//!
//! Only this module reads the environment and the configuration file, and only here the layers
//! below are joined into a running server.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod bench;
mod config;
mod data;
mod demo_service;
mod hooks;
mod log;
mod preflight;
mod proof;
mod scenarios;
mod serve;
mod settings;
mod tail;
mod verify;
mod workflow;
mod workflows;

pub use config::{Config, TlsFiles};
pub use settings::Flags;

use preflight::Findings;
use settings::Settings;

/// The command did what was asked.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// It was asked for something that makes no sense; clap ends with the same.
const USAGE: u8 = 2;

/// A stateful API server in one binary.
#[derive(Debug, Parser)]
#[command(name = "abide", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (also what `abide` alone does).
    Serve(Flags),
    /// Check or show the configuration.
    Config(ConfigCommand),
    /// Measure throughput and latency of a running server.
    Bench(bench::Bench),
    /// Check a stopped server's data directory for corruption, or a proof of a transaction's
    /// history against a head that was noted.
    Verify(verify::Verify),
    /// Play the services that the example travel.yaml calls, with their bad habits.
    #[command(alias = "demo-participant")]
    DemoService(demo_service::DemoServiceArgs),
    /// Print the events of a running server as they happen.
    Tail(tail::Tail),
    /// Check and draw definitions of workflows, without a server.
    Workflow(workflow::Workflow),
}

#[derive(Debug, Args)]
struct ConfigCommand {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Find what would make `serve` fail.
    Check(Flags),
    /// Print every setting and where it comes from, as TOML.
    Show(Flags),
}

/// Why a command did not do what was asked; one line for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It was right to ask, but it could not be done.
    #[error("{0}")]
    Failed(String),
}

/// Runs the program with these arguments (the first one is its own name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help on standard output or usage on standard error; when neither can be written to,
            // the exit code still says it.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    let done = match cli.command {
        None => serve_command(&cli.flags),
        Some(Command::Serve(flags)) => serve_command(&flags),
        Some(Command::Config(ConfigCommand { action })) => config_command(&action),
        Some(Command::Bench(what)) => bench::run(&what),
        Some(Command::Verify(what)) => verify::run(&what),
        Some(Command::DemoService(what)) => demo_service::run(&what),
        Some(Command::Tail(what)) => tail::run(&what),
        Some(Command::Workflow(what)) => workflow::run(&what),
    };
    match done {
        Ok(()) => ExitCode::from(DONE),
        Err(failure) => {
            format!("abide: {failure}").lines().for_each(log::line);
            ExitCode::from(match failure {
                CliError::Usage(_) => USAGE,
                CliError::Failed(_) => FAILED,
            })
        }
    }
}

fn serve_command(flags: &Flags) -> Result<(), CliError> {
    // Whatever is made from here on, by libraries too, is for its owner alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let (_, config) = checked(flags)?;
    warn(&config);
    serve::run(&config)
}

fn config_command(action: &ConfigAction) -> Result<(), CliError> {
    let text = match action {
        ConfigAction::Check(flags) => {
            let (_, config) = checked(flags)?;
            let Findings { problems, warnings } = preflight::check(&config);
            for warning in warnings {
                log::line(&format!("abide: warning: {warning}"));
            }
            if !problems.is_empty() {
                return Err(CliError::Failed(problems.join("\n")));
            }
            "abide: the configuration is right\n".to_owned()
        }
        ConfigAction::Show(flags) => {
            let (settings, config) = checked(flags)?;
            warn(&config);
            settings.show(&config.effective())
        }
    };
    print(&text)
}

/// Writes what is probably a mistake to standard error.
fn warn(config: &Config) {
    for warning in &config.warnings {
        log::line(&format!("abide: warning: {warning}"));
    }
}

/// All settings and what they come to.
fn checked(flags: &Flags) -> Result<(Settings, Config), CliError> {
    let settings = Settings::gather(flags, |name| std::env::var_os(name), std::env::vars_os())
        .map_err(CliError::Usage)?;
    let config = Config::check(&settings).map_err(CliError::Usage)?;
    Ok((settings, config))
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), CliError> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::Failed(format!("standard output cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
