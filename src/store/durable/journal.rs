//! The journal: its segments in order, what can be read of it, and what becomes of old segments.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::super::{ChainEntry, LogEntry, StoreError};
use super::chain_roots::ChainRoots;
use super::checkpoint::Position;
use super::files::{self, Io};
use super::frame::Frame;
use super::segment::{FIRST_FRAME, Segment, file_name};
use crate::types::Revision;

/// Most bytes of frames that one read of the log takes in, beyond the frame that passes it.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most spare files kept to be used again; more are deleted.
const SPARES_MAX: usize = 4;

/// The directory of segments.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    segment_bytes: u64,
    /// Segments in order of their sequence, from the oldest kept to the one being written.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    spares: Mutex<Vec<PathBuf>>,
    chain_roots: Mutex<ChainRoots>,
}

impl Journal {
    /// Opens the journal of a data directory: segments that follow each other without a gap. Only
    /// a `new` directory may have none.
    pub(super) fn open(dir: PathBuf, segment_bytes: u64, new: bool) -> Result<Self, StoreError> {
        files::remove(&dir.join("prepare.tmp"))?;
        let mut segments = Self::segments_in(&dir)?;
        let mut spares = Vec::new();
        for name in files::names(&dir)? {
            if name.starts_with("spare-") {
                spares.push(dir.join(name));
            }
        }
        if segments.is_empty() && new {
            segments.push_back(Segment::prepare(&dir, 1, segment_bytes, None)?);
        }
        let chain_roots = ChainRoots::open(&dir.join("roots"))?;
        let expected = chain_roots.last_sequence() + 1;
        if segments.front().is_none_or(|oldest| oldest.sequence > expected) {
            let path = dir.join(file_name(expected));
            return Err(StoreError::Open { path, what: "the segment is missing".into() });
        }
        let segments = RwLock::new(segments.into_iter().map(Arc::new).collect());
        let (spares, chain_roots) = (Mutex::new(spares), Mutex::new(chain_roots));
        Ok(Self { dir, segment_bytes, segments, spares, chain_roots })
    }

    /// Opens a journal to be read only; touches nothing.
    pub(super) fn open_for_reading(dir: PathBuf) -> Result<Self, StoreError> {
        let segments = RwLock::new(Self::segments_in(&dir)?.into_iter().map(Arc::new).collect());
        let chain_roots = Mutex::new(ChainRoots::open(&dir.join("roots"))?);
        Ok(Self { dir, segment_bytes: 0, segments, spares: Mutex::default(), chain_roots })
    }

    /// The segments in a directory, in order and without a gap; touches nothing.
    pub(super) fn segments_in(dir: &Path) -> Result<VecDeque<Segment>, StoreError> {
        let mut segments: VecDeque<Segment> = VecDeque::new();
        for name in files::names(dir)? {
            if Path::new(&name).extension().is_none_or(|extension| extension != "seg") {
                continue;
            }
            let segment = Segment::open(&dir.join(&name))?;
            if let Some(last) = segments.back()
                && last.sequence + 1 != segment.sequence
            {
                let missing = dir.join(file_name(last.sequence + 1));
                return Err(StoreError::Open {
                    path: missing,
                    what: "the segment is missing".into(),
                });
            }
            segments.push_back(segment);
        }
        Ok(segments)
    }

    /// All segments, oldest first. Never empty.
    pub(super) fn segments(&self) -> RwLockReadGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment with this sequence.
    pub(super) fn segment(&self, sequence: u64) -> Option<Arc<Segment>> {
        let segments = self.segments();
        let first = segments.front()?.sequence;
        segments.get(usize::try_from(sequence.checked_sub(first)?).ok()?).cloned()
    }

    /// Makes a segment ready to follow the last one; slow, and done ahead of need.
    pub(super) fn prepare(&self, sequence: u64) -> Result<Segment, StoreError> {
        let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(spare) if fs::metadata(&spare).io(&spare)?.len() == self.segment_bytes => {
                Segment::prepare(&self.dir, sequence, self.segment_bytes, Some(&spare))
            }
            Some(spare) => {
                // Of another size, from before the configuration changed.
                files::remove(&spare)?;
                Segment::prepare(&self.dir, sequence, self.segment_bytes, None)
            }
            None => Segment::prepare(&self.dir, sequence, self.segment_bytes, None),
        }
    }

    /// Whether a segment can be prepared without new disk space.
    pub(super) fn has_spare(&self) -> bool {
        !self.spares.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// From now on `segment` is the one being written.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push_back(segment);
    }

    /// Takes the segments behind `sequence` away; for those that were prepared and not begun.
    pub(super) fn take_behind(&self, sequence: u64) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let keep = segments.partition_point(|segment| segment.sequence <= sequence);
        segments.drain(keep..).collect()
    }

    /// Retires the oldest segments that lie wholly at or before `needless`, while more than
    /// `retain_bytes` of journal would still be kept.
    pub(super) fn retire(&self, needless: Position, retain_bytes: u64) -> Result<(), StoreError> {
        loop {
            let (oldest, next) = {
                let segments = self.segments();
                let entry: u64 = segments.iter().skip(1).map(|segment| segment.capacity).sum();
                let (Some(oldest), Some(next)) = (segments.front(), segments.get(1)) else {
                    return Ok(());
                };
                if oldest.sequence >= needless.segment || entry < retain_bytes {
                    return Ok(());
                }
                (oldest.clone(), next.clone())
            };
            // A segment before `needless.segment` is full, so the one behind it has begun.
            let Some((first, link)) = next.first() else { return Ok(()) };
            let last = Revision::new(first.get().saturating_sub(1));
            self.chain_roots.lock().unwrap_or_else(PoisonError::into_inner).append(
                oldest.sequence,
                last,
                link,
            )?;
            self.segments.write().unwrap_or_else(PoisonError::into_inner).pop_front();
            let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
            if oldest.capacity == self.segment_bytes && spares.len() < SPARES_MAX {
                let spare = self.dir.join(format!("spare-{:016}", oldest.sequence));
                fs::rename(&oldest.path, &spare).io(&oldest.path)?;
                files::sync_dir(&self.dir)?;
                spares.push(spare);
            } else {
                files::remove(&oldest.path)?;
                files::sync_dir(&self.dir)?;
            }
        }
    }

    /// Bytes of frames between two places.
    pub(super) fn bytes_between(&self, from: Position, to: Position) -> u64 {
        if from.segment == to.segment {
            return to.offset.saturating_sub(from.offset);
        }
        let between = to.segment.saturating_sub(from.segment).saturating_sub(1);
        between * self.segment_bytes
            + self.segment_bytes.saturating_sub(from.offset)
            + to.offset.saturating_sub(FIRST_FRAME)
    }

    /// Bytes of the segments kept.
    pub(super) fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.capacity).sum()
    }

    /// The log can be read after this revision.
    pub(super) fn oldest(&self) -> Revision {
        let segments = self.segments();
        let first = segments.iter().find_map(|segment| segment.first());
        first.map_or(Revision::ZERO, |(first, _)| Revision::new(first.get().saturating_sub(1)))
    }

    /// Durable commits after `after`, at most `limit`, none beyond `durable`.
    pub(super) fn read(
        &self,
        after: Revision,
        limit: usize,
        durable: Revision,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.collect(after, limit, durable, |frame| {
            let (commits, _) = frame.commits()?;
            Some(commits.into_iter().map(|commit| (commit.revision, commit)).collect())
        })
    }

    /// The same as the chain has them.
    pub(super) fn read_chain(
        &self,
        after: Revision,
        limit: usize,
        durable: Revision,
    ) -> Result<Vec<ChainEntry>, StoreError> {
        self.collect(after, limit, durable, |frame| {
            Some(frame.chain()?.into_iter().map(|entry| (entry.revision, entry)).collect())
        })
    }

    fn collect<T>(
        &self,
        after: Revision,
        limit: usize,
        durable: Revision,
        read: impl Fn(&Frame) -> Option<Vec<(Revision, T)>>,
    ) -> Result<Vec<T>, StoreError> {
        let mut entries = Vec::new();
        if after >= durable || limit == 0 {
            return Ok(entries);
        }
        let wanted = after.next();
        let oldest = self.oldest();
        if after < oldest {
            return Err(StoreError::Gone { oldest });
        }
        let segments: Vec<_> = {
            let all = self.segments();
            let begun =
                |segment: &Arc<Segment>| segment.first().is_some_and(|(first, _)| first <= wanted);
            let from = all.iter().rposition(begun).unwrap_or(0);
            all.iter().skip(from).cloned().collect()
        };
        let mut bytes = 0;
        for (number, segment) in segments.iter().enumerate() {
            let Some((mut expected, mut at)) = segment.look_from(wanted) else { break };
            while expected <= durable {
                let header = segment.header_at(at)?.filter(|header| header.first == expected);
                let Some(header) = header else {
                    // The end of this segment, if the next one goes on from here.
                    let next = segments.get(number + 1).and_then(|next| next.first());
                    if next.is_some_and(|(first, _)| first == expected) {
                        break;
                    }
                    return Err(self.unreadable(segment, at));
                };
                if header.commits > 0 && header.last() >= wanted {
                    let commits = segment.frame_at(at)?.and_then(|frame| read(&frame));
                    let commits = commits.ok_or_else(|| self.unreadable(segment, at))?;
                    let range = wanted..=durable;
                    let inside = commits.into_iter().filter(|(at, _)| range.contains(at));
                    entries.extend(inside.map(|(_, commit)| commit));
                    if entries.len() >= limit {
                        entries.truncate(limit);
                        return Ok(entries);
                    }
                    bytes += header.padded();
                    if bytes > READ_BYTES_MAX {
                        return Ok(entries);
                    }
                }
                expected = header.last().next();
                at += header.padded() as u64;
            }
        }
        match (entries.is_empty(), segments.first()) {
            // Durable commits are asked for, so nothing to answer with is never the answer.
            (true, Some(segment)) => Err(self.unreadable(segment, FIRST_FRAME)),
            _ => Ok(entries),
        }
    }

    /// A frame that cannot be read: its segment was retired meanwhile, or it is damaged.
    fn unreadable(&self, segment: &Arc<Segment>, at: u64) -> StoreError {
        match self.segment(segment.sequence) {
            Some(_) => files::damaged(&segment.path, at, "a group of commits is damaged"),
            None => StoreError::Gone { oldest: self.oldest() },
        }
    }
}
