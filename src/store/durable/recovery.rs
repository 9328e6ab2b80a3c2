//! From files to an open store.
//!
//! The journal and the snapshot are the truth. sled is believed up to where the checkpoint says that it was
//! synced, if it opens, bears the checkpoint's id, is at least that far, has the snapshots that it names and,
//! where the store was closed, is what was closed; else it is made anew from the snapshot and the journal
//! behind it. Either way the journal is replayed from there. Writes are full values, so replaying
//! what sled has already changes nothing: there is no other recovery.

use std::sync::Arc;

use super::super::{LogEntry, StoreError};
use super::checkpoint::{Checkpoint, CheckpointFile, Position};
use super::files;
use super::frame::Frame;
use super::index::Index;
use super::journal::Journal;
use super::layout::Layout;
use super::memtables::SharedMemtables;
use super::options::Options;
use super::pending_commits::FramedWrite;
use super::segment::{FIRST_FRAME, Segment};
use super::shutdown_marker::{self, ShutdownMarker};
use super::snapshot::{self, Snapshot, SnapshotRow};
use super::value_location::{ValueFile, ValueStart};
use super::values::ValueFiles;
use crate::types::Revision;

/// Progress of a long piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenProgress {
    /// The work.
    pub what: &'static str,
    /// Units that are done.
    pub done: u64,
    /// Units in all; 0: not known.
    pub total: u64,
}

/// Whom to tell of progress.
pub type OnProgress<'a> = &'a mut dyn FnMut(OpenProgress);

/// Parts of the store after recovery.
pub(super) struct RecoveredStore {
    pub(super) journal: Arc<Journal>,
    pub(super) values: Arc<ValueFiles>,
    pub(super) index: Index,
    pub(super) memory: SharedMemtables,
    pub(super) checkpoint: CheckpointFile,
    pub(super) checkpointed: Position,
    /// The snapshot that the index has adopted, and one that it has not yet.
    pub(super) snapshots: (Option<Snapshot>, Option<Snapshot>),
    pub(super) end: Position,
    pub(super) segment: Arc<Segment>,
    pub(super) prepared: Vec<Arc<Segment>>,
}

/// Opens, or makes, everything in a locked data directory.
pub(super) fn recover(
    layout: &Layout,
    options: &Options,
    progress: OnProgress<'_>,
) -> Result<RecoveredStore, StoreError> {
    let journal =
        Arc::new(Journal::open(layout.journal(), options.segment_bytes, layout.is_new())?);
    snapshot::remove_unfinished(&layout.snapshot())?;
    let snapshots = Snapshot::all(&layout.snapshot())?;
    let (mut checkpoint, checkpointed) = CheckpointFile::open(&layout.checkpoint())?;
    let noted_revision =
        checkpointed.map_or(Revision::ZERO, |checkpoint| checkpoint.position.revision);
    let values = Arc::new(ValueFiles::new(journal.clone(), snapshots.0.clone()));
    let (index, checkpointed, snapshots) =
        match trusted(layout, options, &values, &journal, checkpointed, &snapshots) {
            Ok(trusted) => trusted,
            Err(reason) => {
                if !layout.is_new() {
                    tracing::warn!(%reason, "the index cannot be trusted: making it anew");
                }
                let (index, snapshot) = make_anew(layout, options, &values, snapshots, progress)?;
                let position =
                    snapshot.as_ref().map_or(Position::start(), |snapshot| snapshot.position);
                checkpoint.write(&Checkpoint { index: index.id(), position })?;
                (index, position, (snapshot, None))
            }
        };
    if let (Some(adopted), None) = &snapshots {
        adopted.remove_others()?;
        values.keep_only(adopted.number);
    }
    let memory = SharedMemtables::new(checkpointed);
    // The last group may be in the page cache only. It is held back until it is secured, so that
    // sled can never hold on the disk what the journal does not.
    let mut last: Option<ReplayedWrite> = None;
    let tail = replay(&journal, checkpointed, &mut |group| {
        let done = group.position.revision.get();
        progress(OpenProgress { what: "replaying the journal", done, total: 0 });
        match last.replace(group) {
            Some(group) => take_in(&memory, &index, group, options),
            None => Ok(()),
        }
    })?;
    let known = noted_revision.max(index.applied()?);
    if known > tail.end.revision {
        let what = format!(
            "the journal ends at revision {}, revision {known} was durable: commits are missing here",
            tail.end.revision,
        );
        return Err(files::damaged(&tail.segment.path, tail.end.offset, what));
    }
    secure(&tail, options)?;
    if let Some(group) = last {
        take_in(&memory, &index, group, options)?;
    }
    let prepared = journal.take_behind(tail.end.segment);
    let JournalTail { end, segment, .. } = tail;
    Ok(RecoveredStore {
        journal,
        values,
        index,
        memory,
        checkpoint,
        checkpointed,
        snapshots,
        end,
        segment,
        prepared,
    })
}

/// An index, where it stands, the snapshot that it has adopted and one that it has not.
type Trusted = (Index, Position, (Option<Snapshot>, Option<Snapshot>));

/// sled, if the checkpoint vouches for it, and how far; else the reason why not.
fn trusted(
    layout: &Layout,
    options: &Options,
    values: &Arc<ValueFiles>,
    journal: &Journal,
    checkpoint: Option<Checkpoint>,
    (snapshots, problem): &(Vec<Snapshot>, Option<StoreError>),
) -> Result<Trusted, StoreError> {
    let untrusted = |what: &str| StoreError::Open { path: layout.sled(), what: what.into() };
    let checkpoint = checkpoint.ok_or_else(|| untrusted("there is no note of how far it is"))?;
    problem.clone().map_or(Ok(()), Err)?;
    journal
        .segment(checkpoint.position.segment)
        .ok_or_else(|| untrusted("the journal no longer has what its note names"))?;
    if shutdown_marker::take(layout)? == ShutdownMarker::Broken {
        return Err(untrusted("it is not what was closed"));
    }
    let index = Index::open(&layout.sled(), options.sled_cache_bytes, values.clone())?;
    if index.id() != checkpoint.index {
        return Err(untrusted("the note speaks of another index"));
    }
    if index.applied()? < checkpoint.position.revision {
        return Err(untrusted("it has lost what was synced"));
    }
    let numbered = |number| snapshots.iter().find(|snapshot| snapshot.number == number).cloned();
    let adopted = match index.adopted()? {
        Some(number) => {
            Some(numbered(number).ok_or_else(|| untrusted("the base that it names is gone"))?)
        }
        None => None,
    };
    let newer = |snapshot: &&Snapshot| {
        adopted.as_ref().is_none_or(|adopted| snapshot.number > adopted.number)
    };
    // Replaying from before the snapshot's position makes places in the journal anew: as if it had not
    // been adopted.
    let is_ahead = |snapshot: &&Snapshot| snapshot.position.revision > checkpoint.position.revision;
    if let Some(ahead) = adopted.as_ref().filter(is_ahead) {
        return Ok((index, checkpoint.position, (None, Some(ahead.clone()))));
    }
    let unadopted = snapshots.last().filter(newer).cloned();
    Ok((index, checkpoint.position, (adopted, unadopted)))
}

/// An index made of the newest snapshot that can be read. An older one is there only while the index
/// had not adopted all of the newer one, and so is the journal behind it.
fn make_anew(
    layout: &Layout,
    options: &Options,
    values: &Arc<ValueFiles>,
    (mut snapshots, mut problem): (Vec<Snapshot>, Option<StoreError>),
    progress: OnProgress<'_>,
) -> Result<(Index, Option<Snapshot>), StoreError> {
    loop {
        let snapshot = snapshots.pop();
        if snapshot.is_none() {
            problem.take().map_or(Ok(()), Err)?;
        }
        let fill = |index: &Index| fill(index, snapshot.as_ref(), progress);
        match Index::create(&layout.sled(), options, values.clone(), fill) {
            Err(error @ StoreError::Damaged { .. }) if snapshot.is_some() => problem = Some(error),
            index => return Ok((index?, snapshot)),
        }
    }
}

/// Fills an empty index from the snapshot; answers with the snapshot's revision.
fn fill(
    index: &Index,
    snapshot: Option<&Snapshot>,
    progress: OnProgress<'_>,
) -> Result<Revision, StoreError> {
    const TELL_EVERY: u64 = 10_000;
    let Some(snapshot) = snapshot else { return Ok(Revision::ZERO) };
    let mut done = 0;
    snapshot.read(|SnapshotRow { row, deleted, start }| {
        if deleted {
            index.remove(&row.key)?;
        } else {
            index.put(&row.key, row.revision, &row.value, start)?;
        }
        done += 1;
        if done % TELL_EVERY == 0 {
            progress(OpenProgress { what: "making the index anew", done, total: snapshot.rows });
        }
        Ok(())
    })?;
    index.set_adopted(snapshot.number)?;
    Ok(snapshot.position.revision)
}

/// Takes replayed commits into memory, and from there into sled when memory is full.
fn take_in(
    memory: &SharedMemtables,
    index: &Index,
    group: ReplayedWrite,
    options: &Options,
) -> Result<(), StoreError> {
    let ReplayedWrite { entries, position, frame, start } = group;
    let mut writes: Vec<FramedWrite> = Vec::new();
    for LogEntry { revision, writes: of_entry, .. } in entries {
        writes.extend(of_entry.into_iter().map(|write| {
            let offset = write.value.as_ref().map_or(0, |value| frame.offset_of(value));
            FramedWrite { revision, write, offset }
        }));
    }
    if memory.publish(writes, start, position).0 > options.apply_after_bytes {
        for (key, entry) in memory.freeze().memtable.iter() {
            index.apply(key, entry)?;
        }
        memory.applied();
    }
    Ok(())
}

/// A group of commits as it was read from the journal.
#[derive(Debug)]
pub(super) struct ReplayedWrite {
    /// Its commits.
    pub(super) entries: Vec<LogEntry>,
    /// Behind it.
    pub(super) position: Position,
    frame: Frame,
    start: ValueStart,
}

/// Where the journal ends.
pub(super) struct JournalTail {
    /// Behind the last whole group.
    pub(super) end: Position,
    /// The segment that it lies in.
    pub(super) segment: Arc<Segment>,
    /// The last whole group: where it begins, and its bytes.
    last: Option<(Arc<Segment>, u64, usize)>,
}

/// Reads the journal from a known place to its end and hands each group to `sink`.
///
/// A group that is not whole is the end, unless a whole one follows: at most one group is ever
/// unsynced, so then it is damage.
pub(super) fn replay(
    journal: &Journal,
    from: Position,
    sink: &mut dyn FnMut(ReplayedWrite) -> Result<(), StoreError>,
) -> Result<JournalTail, StoreError> {
    let segments: Vec<_> = {
        let all = journal.segments();
        all.iter().skip_while(|segment| segment.sequence < from.segment).cloned().collect()
    };
    let first = segments.first().filter(|segment| segment.sequence == from.segment);
    let mut segment = first.cloned().ok_or_else(|| StoreError::Open {
        path: journal.segments().front().map(|oldest| oldest.path.clone()).unwrap_or_default(),
        what: format!("the journal begins too late: segment {} is missing", from.segment),
    })?;
    let mut end = from;
    let mut last = None;
    let mut following = segments.iter().skip(1);
    loop {
        while let Some(frame) = segment.frame_at(end.offset)? {
            let at = end.offset;
            let entries = follow(&segment, &frame, &mut end)?;
            segment.note_frame(&frame.header, at);
            last = Some((segment.clone(), at, frame.header.padded()));
            let start = ValueStart { file: ValueFile::Journal(segment.sequence), offset: at };
            sink(ReplayedWrite { entries, position: end, frame, start })?;
        }
        let good_later = segment.next_frame(end.offset)?;
        if good_later.is_some() {
            let what = "a group of commits is damaged: whole ones follow it";
            return Err(files::damaged(&segment.path, end.offset, what));
        }
        let Some(next) = following.next() else { break };
        let Some(frame) = next.frame_at(FIRST_FRAME)? else {
            for later in std::iter::once(next).chain(following.by_ref()) {
                if let Some(at) = later.next_frame(FIRST_FRAME)? {
                    let what = format!(
                        "a group of commits is missing here: a whole one follows in {} at byte {at}",
                        later.path.display()
                    );
                    return Err(files::damaged(&segment.path, end.offset, what));
                }
            }
            break;
        };
        if frame.header.first != end.revision.next() || frame.header.link != end.link {
            let what = "a group of commits is damaged: the next segment does not follow it";
            return Err(files::damaged(&segment.path, end.offset, what));
        }
        segment = next.clone();
        (end.segment, end.offset) = (segment.sequence, FIRST_FRAME);
    }
    Ok(JournalTail { end, segment, last })
}

/// Checks that a whole frame continues the chain, and moves `end` behind it.
fn follow(
    segment: &Segment,
    frame: &Frame,
    end: &mut Position,
) -> Result<Vec<LogEntry>, StoreError> {
    let damaged = |what: &str| files::damaged(&segment.path, end.offset, what);
    if frame.header.first != end.revision.next() || frame.header.link != end.link {
        return Err(damaged("a whole group of commits that does not follow the one before"));
    }
    let commits = frame.commits();
    let (entries, link) = commits.ok_or_else(|| damaged("a group of commits cannot be read"))?;
    *end = Position {
        revision: frame.header.last(),
        link,
        segment: segment.sequence,
        offset: end.offset + frame.header.padded() as u64,
    };
    Ok(entries)
}

/// After a crash, or a sync that failed, the last group may be in the page cache only, and pieces
/// of one that was never acknowledged may lie behind it: the one is written again, the others are
/// cleared, both synced, before anything is answered.
fn secure(tail: &JournalTail, options: &Options) -> Result<(), StoreError> {
    if let Some((segment, at, bytes)) = &tail.last {
        segment.rewrite(*at, *bytes)?;
        if segment.sequence != tail.segment.sequence {
            segment.sync()?;
        }
    }
    let reach = (options.batch_bytes_max() + options.group_bytes_max()) as u64;
    tail.segment.clear(tail.end.offset, tail.end.offset + reach)?;
    tail.segment.sync()
}
