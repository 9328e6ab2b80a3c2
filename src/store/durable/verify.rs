//! Checks a data directory that no server has open: every checksum, the chain, the revisions, and
//! that snapshot and journal give exactly what sled holds.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::chain::ChainLink;
use super::super::{KeyRange, Order, Row, StoreError};
use super::chain_roots;
use super::checkpoint::{self, Position};
use super::files;
use super::index::Index;
use super::journal::Journal;
use super::layout::Layout;
use super::recovery::{self, OnProgress, OpenProgress};
use super::shutdown_marker::{self, ShutdownMarker};
use super::snapshot::{Snapshot, SnapshotRow};
use super::values::ValueFiles;
use crate::types::Revision;

/// sled's cache while verifying, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Rows between two reports of progress.
const TELL_EVERY: u64 = 10_000;

/// Result of a verification that found no damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The last revision of the journal.
    pub revision: Revision,
    /// The chain's link after it; worth noting elsewhere.
    pub link: ChainLink,
    /// The journal was read after this revision.
    pub journal_after: Revision,
    /// Commits read from the journal.
    pub commits: u64,
    /// Rows of the snapshot that were checked.
    pub base_rows: u64,
    /// Keys that sled holds.
    pub keys: u64,
    /// sled was compared with the journal as of this revision.
    pub index_at: Revision,
}

/// The newest write of a key that snapshot and journal know: its revision and a hash of its value.
type Known = HashMap<Bytes, (Revision, Option<u64>)>;

/// Writes after the revision of the index; `None`: deleted.
type Newer = BTreeMap<Bytes, (Revision, Option<Bytes>)>;

/// The rows of the index and those written since, in the order of their keys.
struct Merged<'a> {
    newer: Newer,
    each: &'a mut dyn FnMut(&Row),
}

impl Merged<'_> {
    /// The next row of the index.
    fn take(&mut self, row: &Row) {
        while let Some(next) = self.newer.first_entry()
            && *next.key() <= row.key
        {
            let is_same = *next.key() == row.key;
            self.give();
            if is_same {
                return;
            }
        }
        (self.each)(row);
    }

    /// Gives the rows after the last one of the index.
    fn rest(&mut self) {
        while !self.newer.is_empty() {
            self.give();
        }
    }

    fn give(&mut self) {
        if let Some((key, (revision, Some(value)))) = self.newer.pop_first() {
            (self.each)(&Row { key, revision, value });
        }
    }
}

/// Verifies the data directory `dir`.
///
/// # Errors
/// [`StoreError::Damaged`] with the place of the first damage; [`StoreError::Open`] when the
/// directory is in use or is none.
pub fn verify(dir: &Path, progress: OnProgress<'_>) -> Result<VerifyReport, StoreError> {
    verify_rows(dir, progress, &mut |_| {})
}

/// The same, and gives all rows that a server would see, in the order of their keys. They are only
/// worth something when it ends well.
///
/// # Errors
/// As [`verify`].
pub fn verify_rows(
    dir: &Path,
    progress: OnProgress<'_>,
    each: &mut dyn FnMut(&Row),
) -> Result<VerifyReport, StoreError> {
    let layout = Layout::open(dir)?;
    let chain_roots = chain_roots::read(&layout.journal().join("roots"))?;
    let journal = Arc::new(Journal::open_for_reading(layout.journal())?);
    let (snapshots, problem) = Snapshot::all(&layout.snapshot())?;
    problem.map_or(Ok(()), Err)?;
    let snapshot = snapshots.last().cloned();
    let values = Arc::new(ValueFiles::new(journal.clone(), snapshots));
    let checkpointed = checkpoint::read(&layout.checkpoint())?;
    let first = start(&journal, snapshot.as_ref())?;
    if let Some(chain_root) =
        chain_roots.iter().find(|chain_root| chain_root.sequence + 1 == first.segment)
        && (chain_root.link != first.link || chain_root.revision != first.revision)
    {
        let oldest = journal.segments().front().map(|oldest| oldest.path.clone());
        let what = "the chain does not go on from the root of the segment before";
        return Err(files::damaged(&oldest.unwrap_or_default(), first.offset, what));
    }
    // sled may be ahead of the checkpoint, never of the journal; it is compared as of where it says it is.
    let sealed = shutdown_marker::take(&layout)?;
    if sealed == ShutdownMarker::Broken {
        return Err(files::damaged(&layout.sled(), 0, "the index is not what was closed"));
    }
    let index = Index::open(&layout.sled(), CACHE_BYTES, values)?;
    let applied = index.applied()?;
    let index_at =
        checkpointed.map_or(applied, |checkpoint| checkpoint.position.revision.max(applied));
    let mut known = Known::new();
    let mut newer = Newer::new();
    let base_rows = read_base(snapshot.as_ref(), &mut known, &mut newer, index_at, progress)?;
    let mut commits = 0;
    let tail = recovery::replay(&journal, first, &mut |group| {
        let position = group.position;
        for entry in group.entries {
            commits += 1;
            for write in entry.writes {
                learn(&mut known, &write.key, entry.revision, write.value.as_ref());
                if entry.revision > index_at {
                    newer.insert(write.key, (entry.revision, write.value));
                }
            }
        }
        if commits % TELL_EVERY < 100 {
            let done = position.revision.get();
            progress(OpenProgress { what: "reading the journal", done, total: 0 });
        }
        Ok(())
    })?;
    if index_at > tail.end.revision {
        let what = format!("the journal ends at {}, the index holds {index_at}", tail.end.revision);
        return Err(files::damaged(&tail.segment.path, tail.end.offset, what));
    }
    let mut merged = Merged { newer, each };
    let keys = compare(&layout.sled(), &index, &known, index_at, &mut merged, progress)?;
    merged.rest();
    drop(index);
    if sealed == ShutdownMarker::Whole {
        shutdown_marker::put(&layout)?;
    }
    Ok(VerifyReport {
        revision: tail.end.revision,
        link: tail.end.link,
        journal_after: first.revision,
        commits,
        base_rows,
        keys,
        index_at,
    })
}

/// Where the retained journal begins.
fn start(journal: &Journal, snapshot: Option<&Snapshot>) -> Result<Position, StoreError> {
    let segments = journal.segments();
    let oldest = segments.front();
    let begun = oldest.and_then(|segment| segment.first().map(|first| (segment, first)));
    match (begun, snapshot) {
        (Some((segment, (revision, link))), snapshot) => {
            let before = Revision::new(revision.get().saturating_sub(1));
            if snapshot.map_or(Revision::ZERO, |snapshot| snapshot.position.revision) < before {
                let what = "the journal begins after the base ends";
                return Err(files::damaged(&segment.path, super::segment::FIRST_FRAME, what));
            }
            let (segment, offset) = (segment.sequence, super::segment::FIRST_FRAME);
            Ok(Position { revision: before, link, segment, offset })
        }
        (None, Some(snapshot)) => Ok(snapshot.position),
        (None, None) => Ok(Position::start()),
    }
}

fn hash(value: &[u8]) -> u64 {
    let hash = blake3::hash(value);
    u64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

fn learn(known: &mut Known, key: &Bytes, revision: Revision, value: Option<&Bytes>) {
    let newest = known.get(key).is_none_or(|(known, _)| *known <= revision);
    if newest {
        // Copied, so that one key does not keep the whole group that it came with.
        let value = value.map(|value| hash(value));
        known.insert(Bytes::copy_from_slice(key), (revision, value));
    }
}

fn read_base(
    snapshot: Option<&Snapshot>,
    known: &mut Known,
    newer: &mut Newer,
    index_at: Revision,
    progress: OnProgress<'_>,
) -> Result<u64, StoreError> {
    let Some(snapshot) = snapshot else { return Ok(0) };
    let mut done = 0;
    snapshot.read(|SnapshotRow { row, deleted, .. }| {
        learn(known, &row.key, row.revision, (!deleted).then_some(&row.value));
        if row.revision > index_at {
            newer.insert(row.key, (row.revision, (!deleted).then_some(row.value)));
        }
        done += 1;
        if done % TELL_EVERY == 0 {
            progress(OpenProgress { what: "reading the base", done, total: snapshot.rows });
        }
        Ok(())
    })?;
    Ok(done)
}

/// Compares sled, as of `at`, with what snapshot and journal know.
fn compare(
    path: &Path,
    index: &Index,
    known: &Known,
    at: Revision,
    merged: &mut Merged<'_>,
    progress: OnProgress<'_>,
) -> Result<u64, StoreError> {
    let damaged = |key: &[u8], what: &str| {
        files::damaged(path, 0, format!("key {}: {what}", key.escape_ascii()))
    };
    let mut keys = 0;
    let mut settled = 0;
    for row in index.rows(&KeyRange::all(), Order::Ascending) {
        let row = row?;
        keys += 1;
        merged.take(&row);
        if keys % TELL_EVERY == 0 {
            progress(OpenProgress {
                what: "comparing the index",
                done: keys,
                total: known.len() as u64,
            });
        }
        let (revision, value) = known
            .get(&row.key)
            .ok_or_else(|| damaged(&row.key, "the index holds it, base and journal do not"))?;
        if *revision > at {
            // Written again since; the next start brings it up to date.
            continue;
        }
        if *value != Some(hash(&row.value)) || *revision != row.revision {
            let what = format!(
                "the index holds revision {}, base and journal revision {revision}, or other bytes",
                row.revision
            );
            return Err(damaged(&row.key, &what));
        }
        settled += 1;
    }
    let mut due = known.iter().filter(|(_, (revision, value))| *revision <= at && value.is_some());
    if due.clone().count() != settled {
        let missing = due.find(|(key, _)| index.get(key).is_ok_and(|found| found.is_none()));
        let key = missing.map_or(&b""[..], |(key, _)| key.as_ref());
        return Err(damaged(key, "base and journal hold it, the index does not"));
    }
    Ok(keys)
}
