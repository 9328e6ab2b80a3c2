//! `abide verify --proof FILE --head REVISION:LINK`: was a transaction's history so?

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;

use super::{CliError, print};
use crate::records::proof::{LINE_BYTES_MAX, Proven, Verifier};
use crate::store::ChainLink;
use crate::types::Revision;

/// Checks a proof and prints what it proves.
///
/// # Errors
/// The first place that does not fit.
pub(super) fn run(proof: &Path, head: &str) -> Result<(), CliError> {
    let (revision, link) = noted(head)?;
    let failed = |what: String| CliError::Failed(format!("{}: {what}", proof.display()));
    let file: Box<dyn Read> = if proof == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(File::open(proof).map_err(|error| failed(error.to_string()))?)
    };
    let mut file = BufReader::new(file);
    let mut verifier = Verifier::new(revision, link);
    let mut proven = Vec::new();
    let mut number = 0_u64;
    let mut text = String::new();
    loop {
        number += 1;
        text.clear();
        let read = file.by_ref().take(LINE_BYTES_MAX as u64).read_line(&mut text);
        if read.map_err(|error| failed(format!("line {number}: {error}")))? == 0 {
            break;
        }
        let events = verifier.line(text.trim_end());
        proven.extend(events.map_err(|error| failed(format!("line {number}: {error}")))?);
    }
    let (own, others) = verifier.finish().map_err(|error| failed(error.to_string()))?;
    for Proven { revision, at, actor, kind, data } in &proven {
        print(&format!("{revision} {at} {actor} {kind} {data}\n"))?;
    }
    print(&format!(
        "{}: in order\n{own} commits of the transaction, {others} others, up to revision {revision}, \
         chain {link}\n",
        proof.display()
    ))
}

fn noted(head: &str) -> Result<(Revision, ChainLink), CliError> {
    let parts = head.split_once(':').and_then(|(revision, link)| {
        Some((Revision::new(revision.parse().ok()?), link.to_ascii_lowercase().parse().ok()?))
    });
    parts.ok_or_else(|| {
        let what = "--head: must be REVISION:LINK as GET /v1/admin/chain says them";
        CliError::Usage(what.to_owned())
    })
}
