//! `abide verify DIR`: is what lies on the disk what was written? And whether a proof proves.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::records::audit::Audit;
use crate::store::Row;
use crate::store::durable::{self, OpenProgress};

use super::{CliError, print, proof};

/// Arguments of `abide verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The data directory of a stopped server.
    #[arg(required_unless_present = "proof", conflicts_with = "proof")]
    dir: Option<PathBuf>,
    /// Check this proof of one transaction's history instead (of
    /// `/v1/admin/chain/transactions/ID`); `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "head")]
    proof: Option<PathBuf>,
    /// The head of the chain that was noted elsewhere.
    #[arg(long, value_name = "REVISION:LINK", requires = "proof")]
    head: Option<String>,
}

/// Verifies a data directory and prints what was found to be in order.
///
/// # Errors
/// The place of the first damage, or why nothing could be verified.
pub(super) fn run(verify: &Verify) -> Result<(), CliError> {
    match (verify, &verify.dir) {
        (Verify { proof: Some(proof), head: Some(head), .. }, _) => proof::run(proof, head),
        (_, Some(dir)) => directory(dir),
        (_, None) => Err(CliError::Usage("name a data directory, or --proof and --head".into())),
    }
}

fn directory(dir: &Path) -> Result<(), CliError> {
    let bar = Bar::new();
    let mut audit = Audit::default();
    let mut fault = None;
    let mut each = |row: &Row| {
        if fault.is_none() {
            fault = audit.row(&row.key, &row.value).err();
        }
    };
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
    let report = durable::verify_rows(dir, &mut |progress| bar.show(progress), &mut each)
        .map_err(|error| failed(&error))?;
    bar.end();
    let ledger = match fault {
        Some(fault) => Err(fault),
        None => audit.finish(),
    };
    let ledger = ledger.map_err(|error| failed(&error))?;
    print(&format!(
        "{dir}: in order\n\
         revision {revision}, chain {link}\n\
         journal: {commits} commits after revision {after}; base: {rows} rows; \
         index: {keys} keys as of revision {index_at}\n\
         ledger: {accounts} accounts in {assets} assets, {transfers} transfers and {holds} open \
         holds add up\n",
        dir = dir.display(),
        revision = report.revision,
        link = report.link,
        commits = report.commits,
        after = report.journal_after,
        rows = report.base_rows,
        keys = report.keys,
        index_at = report.index_at,
        accounts = ledger.accounts,
        assets = ledger.assets,
        transfers = ledger.transfers,
        holds = ledger.holds,
    ))
}

/// Progress of long work on a terminal; nothing at all in a pipe.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar on standard error, hidden where that is no terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg} {human_pos}{prefix} ({elapsed})")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how far the work is.
    pub(super) fn show(&self, OpenProgress { what, done, total }: OpenProgress) {
        self.0.set_message(what);
        self.0.set_prefix(if total == 0 { String::new() } else { format!(" of {total}") });
        self.0.set_position(done);
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
