//! `abide config check`: finds what would make `abide serve` fail, and changes nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::app::Secret;
use crate::engine::workflow::Definition;
use crate::http::server::Tls;
use crate::store::durable;

use super::config::{Config, DATA, TlsFiles};
use super::serve::cannot_listen;
use super::{data, workflows};

/// Findings of a check.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Each one would make the start fail.
    pub(super) problems: Vec<String>,
    /// Settings that are valid and probably a mistake.
    pub(super) warnings: Vec<String>,
}

/// Looks at everything outside the settings that a start depends on.
pub(super) fn check(config: &Config) -> Findings {
    let mut findings = Findings { warnings: config.warnings.clone(), ..Findings::default() };
    certificate(config, &mut findings);
    let is_running = directory(config, &mut findings);
    addresses(config, is_running, &mut findings);
    definitions(config, &mut findings);
    findings
}

fn certificate(config: &Config, findings: &mut Findings) {
    let Some(TlsFiles { cert, key }) = &config.tls else { return };
    if let Err(error) = Tls::load(cert, key) {
        findings.problems.push(error.to_string());
    }
}

/// Checks the data directory; true: another process has it open, which is probably the server
/// whose next start is being prepared.
fn directory(config: &Config, findings: &mut Findings) -> bool {
    let dir = &config.data;
    let mut problem = |what: String| findings.problems.push(format!("{}: {what}", dir.display()));
    if !dir.exists() {
        // The start makes one directory; of the default one also the directory above it.
        let depth = if dir == Path::new(DATA) { 2 } else { 1 };
        if let Err(what) = may_be_made(dir, depth) {
            problem(what);
        }
        return false;
    }
    if let Some(what) = data::made_otherwise(config) {
        problem(what.to_owned());
    }
    let is_locked = match durable::examine(dir) {
        Ok(is_locked) => is_locked,
        Err(error) => {
            findings.problems.push(error.to_string());
            return false;
        }
    };
    if let Err(error) = access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        problem(format!("not writable: {}", io::Error::from(error)));
    } else if let Err(error) = Secret::load(dir) {
        findings.problems.push(error.to_string());
    }
    is_locked
}

/// Whether a directory can be made with the directories above it, of which `depth - 1` may be
/// missing too.
fn may_be_made(dir: &Path, depth: usize) -> Result<(), String> {
    let mut above = dir.to_path_buf();
    for _ in 0..depth {
        above = match above.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_path_buf(),
            None => return Ok(()),
        };
        match fs::metadata(&above) {
            Ok(found) if !found.is_dir() => {
                return Err(format!("{} is not a directory", above.display()));
            }
            Ok(_) => {
                return access(&above, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
                    let error = io::Error::from(error);
                    format!("cannot be made: {} is not writable: {error}", above.display())
                });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", above.display())),
        }
    }
    Err(durable::no_directory_above(dir))
}

fn addresses(config: &Config, is_running: bool, findings: &mut Findings) {
    let mut held: Vec<(SocketAddr, TcpListener)> = Vec::new();
    for address in [Some(config.listen), config.ops_listen].into_iter().flatten() {
        match TcpListener::bind(address) {
            Ok(listener) => held.push((address, listener)),
            Err(error) => {
                let of_both = held.iter().any(|(other, _)| *other == address);
                let what = if of_both {
                    format!("{address}: listen and ops_listen are the same address")
                } else {
                    cannot_listen(address, &error)
                };
                // The server that runs with this configuration has its addresses.
                if is_running && !of_both && error.kind() == ErrorKind::AddrInUse {
                    let warning = format!("{what}; a server has this data directory open now");
                    findings.warnings.push(warning);
                } else {
                    findings.problems.push(what);
                }
            }
        }
    }
}

fn definitions(config: &Config, findings: &mut Findings) {
    let Some(dir) = &config.workflows else { return };
    match workflows::read_all(dir) {
        Err(problems) => findings.problems.extend(problems),
        Ok(definitions) => {
            for (file, definition) in definitions {
                let warnings = names_missing(config, &definition);
                let place = |what| format!("{}: {what}", file.display());
                findings.warnings.extend(warnings.into_iter().map(place));
            }
        }
    }
}

/// Secrets and hooks that a definition names and the configuration does not have.
fn names_missing(config: &Config, definition: &Definition) -> Vec<String> {
    let secrets = definition.secrets().into_iter();
    let secrets = secrets.filter(|name| !config.calls.secrets.contains_key(name));
    let mut missing: Vec<_> = secrets
        .map(|name| format!("there is no secret {name} that a definition may send"))
        .collect();
    for name in definition.hooks() {
        if !config.hooks.iter().any(|hook| hook.name == *name) {
            missing.push(format!("there is no hook {name}"));
        }
    }
    missing
}
