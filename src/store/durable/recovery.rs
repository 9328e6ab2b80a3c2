//! From files to an open store.
//!
//! The journal and the base are the truth. sled is believed up to where the note says that it was
//! synced, if it opens, bears the note's id, is at least that far, has the bases that it names and,
//! where the store was closed, is what was closed; else it is made anew from the base and the journal
//! behind it. Either way the journal is replayed from there. Writes are full values, so replaying
//! what sled has already changes nothing: there is no other recovery.

use std::sync::Arc;

use super::super::{LogEntry, StoreError};
use super::base::{self, Base, BaseRow};
use super::files;
use super::frame::Frame;
use super::index::Index;
use super::journal::Journal;
use super::layout::Layout;
use super::note::{Note, NoteFile, Position};
use super::options::Options;
use super::place::{Home, Spot};
use super::seal::{self, Seal};
use super::segment::{FIRST_FRAME, Segment};
use super::stage::Written;
use super::tables::Memory;
use super::values::Values;
use crate::types::Revision;

/// How far a long piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// So much of it is done.
    pub done: u64,
    /// So much there is to do; 0: not known.
    pub total: u64,
}

/// Whom to tell of progress.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// What recovery found and made.
pub(super) struct Recovered {
    pub(super) journal: Arc<Journal>,
    pub(super) values: Arc<Values>,
    pub(super) index: Index,
    pub(super) memory: Memory,
    pub(super) note: NoteFile,
    pub(super) noted: Position,
    /// The base that the index has adopted, and one that it has not yet.
    pub(super) bases: (Option<Base>, Option<Base>),
    pub(super) end: Position,
    pub(super) segment: Arc<Segment>,
    pub(super) prepared: Vec<Arc<Segment>>,
}

/// Opens, or makes, everything in a locked data directory.
pub(super) fn recover(
    layout: &Layout,
    options: &Options,
    progress: OnProgress<'_>,
) -> Result<Recovered, StoreError> {
    let journal =
        Arc::new(Journal::open(layout.journal(), options.segment_bytes, layout.is_new())?);
    base::remove_unfinished(&layout.base())?;
    let bases = Base::all(&layout.base())?;
    let (mut note, noted) = NoteFile::open(&layout.note())?;
    let noted_revision = noted.map_or(Revision::ZERO, |note| note.position.revision);
    let values = Arc::new(Values::new(journal.clone(), bases.0.clone()));
    let (index, noted, bases) = match trusted(layout, options, &values, &journal, noted, &bases) {
        Ok(trusted) => trusted,
        Err(reason) => {
            if !layout.is_new() {
                tracing::warn!(%reason, "the index cannot be trusted: making it anew");
            }
            let (index, base) = make_anew(layout, options, &values, bases, progress)?;
            let position = base.as_ref().map_or(Position::start(), |base| base.position);
            note.write(&Note { index: index.id(), position })?;
            (index, position, (base, None))
        }
    };
    if let (Some(adopted), None) = &bases {
        adopted.remove_others()?;
        values.keep_only(adopted.number);
    }
    let memory = Memory::new(noted);
    // The last group may be in the page cache only. It is held back until it is secured, so that
    // sled can never hold on the disk what the journal does not.
    let mut last: Option<Replayed> = None;
    let tail = replay(&journal, noted, &mut |group| {
        let done = group.position.revision.get();
        progress(Progress { what: "replaying the journal", done, total: 0 });
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
    let Tail { end, segment, .. } = tail;
    Ok(Recovered { journal, values, index, memory, note, noted, bases, end, segment, prepared })
}

/// An index, where it stands, the base that it has adopted and one that it has not.
type Trusted = (Index, Position, (Option<Base>, Option<Base>));

/// sled, if the note vouches for it, and how far; else the reason why not.
fn trusted(
    layout: &Layout,
    options: &Options,
    values: &Arc<Values>,
    journal: &Journal,
    note: Option<Note>,
    (bases, problem): &(Vec<Base>, Option<StoreError>),
) -> Result<Trusted, StoreError> {
    let untrusted = |what: &str| StoreError::Open { path: layout.sled(), what: what.into() };
    let note = note.ok_or_else(|| untrusted("there is no note of how far it is"))?;
    problem.clone().map_or(Ok(()), Err)?;
    journal
        .segment(note.position.segment)
        .ok_or_else(|| untrusted("the journal no longer has what its note names"))?;
    if seal::take(layout)? == Seal::Broken {
        return Err(untrusted("it is not what was closed"));
    }
    let index = Index::open(&layout.sled(), options.sled_cache_bytes, values.clone())?;
    if index.id() != note.index {
        return Err(untrusted("the note speaks of another index"));
    }
    if index.applied()? < note.position.revision {
        return Err(untrusted("it has lost what was synced"));
    }
    let numbered = |number| bases.iter().find(|base| base.number == number).cloned();
    let adopted = match index.adopted()? {
        Some(number) => {
            Some(numbered(number).ok_or_else(|| untrusted("the base that it names is gone"))?)
        }
        None => None,
    };
    let newer = |base: &&Base| adopted.as_ref().is_none_or(|adopted| base.number > adopted.number);
    // Replaying from before the base's position makes places in the journal anew: as if it had not
    // been adopted.
    let is_ahead = |base: &&Base| base.position.revision > note.position.revision;
    if let Some(ahead) = adopted.as_ref().filter(is_ahead) {
        return Ok((index, note.position, (None, Some(ahead.clone()))));
    }
    let unadopted = bases.last().filter(newer).cloned();
    Ok((index, note.position, (adopted, unadopted)))
}

/// An index made of the newest base that can be read. An older one is there only while the index
/// had not adopted all of the newer one, and so is the journal behind it.
fn make_anew(
    layout: &Layout,
    options: &Options,
    values: &Arc<Values>,
    (mut bases, mut problem): (Vec<Base>, Option<StoreError>),
    progress: OnProgress<'_>,
) -> Result<(Index, Option<Base>), StoreError> {
    loop {
        let base = bases.pop();
        if base.is_none() {
            problem.take().map_or(Ok(()), Err)?;
        }
        let fill = |index: &Index| fill(index, base.as_ref(), progress);
        match Index::create(&layout.sled(), options, values.clone(), fill) {
            Err(error @ StoreError::Damaged { .. }) if base.is_some() => problem = Some(error),
            index => return Ok((index?, base)),
        }
    }
}

/// Fills an empty index from the base; answers with the base's revision.
fn fill(
    index: &Index,
    base: Option<&Base>,
    progress: OnProgress<'_>,
) -> Result<Revision, StoreError> {
    const TELL_EVERY: u64 = 10_000;
    let Some(base) = base else { return Ok(Revision::ZERO) };
    let mut done = 0;
    base.read(|BaseRow { row, deleted, spot }| {
        if deleted {
            index.remove(&row.key)?;
        } else {
            index.put(&row.key, row.revision, &row.value, spot)?;
        }
        done += 1;
        if done % TELL_EVERY == 0 {
            progress(Progress { what: "making the index anew", done, total: base.rows });
        }
        Ok(())
    })?;
    index.set_adopted(base.number)?;
    Ok(base.position.revision)
}

/// Takes replayed commits into memory, and from there into sled when memory is full.
fn take_in(
    memory: &Memory,
    index: &Index,
    group: Replayed,
    options: &Options,
) -> Result<(), StoreError> {
    let Replayed { entries, position, frame, spot } = group;
    let mut writes: Vec<Written> = Vec::new();
    for LogEntry { revision, writes: of_entry, .. } in entries {
        writes.extend(of_entry.into_iter().map(|write| {
            let offset = write.value.as_ref().map_or(0, |value| frame.offset_of(value));
            Written { revision, write, offset }
        }));
    }
    if memory.publish(writes, spot, position).0 > options.apply_after_bytes {
        for (key, kept) in memory.freeze().table.iter() {
            index.apply(key, kept)?;
        }
        memory.applied();
    }
    Ok(())
}

/// A group of commits as it was read from the journal.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Its commits.
    pub(super) entries: Vec<LogEntry>,
    /// Behind it.
    pub(super) position: Position,
    frame: Frame,
    spot: Spot,
}

/// Where the journal ends.
pub(super) struct Tail {
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
    sink: &mut dyn FnMut(Replayed) -> Result<(), StoreError>,
) -> Result<Tail, StoreError> {
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
            let spot = Spot { home: Home::Journal(segment.sequence), offset: at };
            sink(Replayed { entries, position: end, frame, spot })?;
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
    Ok(Tail { end, segment, last })
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
fn secure(tail: &Tail, options: &Options) -> Result<(), StoreError> {
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
