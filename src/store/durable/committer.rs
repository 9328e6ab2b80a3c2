//! The journal's thread: one write and one sync for all commits that wait, then they are shown to
//! readers, then their receipts resolve. In this order, always.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::StoreError;
use super::checkpoint::Position;
use super::frame::{FrameBuilder, FrameHeader, padded};
use super::pending_commits::CommitGroup;
use super::segment::{FIRST_FRAME, Segment};
use super::shared::Shared;
use super::value_location::{ValueFile, ValueStart};

/// Time that an idle committer polls for the next commit before it sleeps: about as long as a lone
/// client takes to receive its answer and send the next commit, and from the first sign of that one
/// until it is decided. Between two polls it yields its core.
const SPIN: Duration = Duration::from_micros(120);

/// Time that a closing store waits for disk space for the commits that are left.
const SEGMENT_WAIT: Duration = Duration::from_secs(2);

/// Where the journal is written.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    position: Position,
}

impl Committer {
    /// Goes on at `position`, which lies in `segment`.
    pub(super) fn new(shared: Arc<Shared>, segment: Arc<Segment>, position: Position) -> Self {
        Self { shared, segment, position }
    }

    /// Runs until the store closes or fails.
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.fail(&error);
        }
    }

    fn work(&mut self) -> Result<(), StoreError> {
        while let Some(group) = self.next_group() {
            if !self.await_memory() {
                return Ok(());
            }
            self.write(group)?;
        }
        if self.shared.is_abandoned() { Ok(()) } else { self.shutdown_marker() }
    }

    /// The next group; `None`: the store closes and nothing is left, or it was abandoned.
    fn next_group(&self) -> Option<CommitGroup> {
        let shared = &self.shared;
        let mut idle_since = Instant::now();
        loop {
            let mut pending = shared.pending();
            loop {
                if shared.is_abandoned() {
                    return None;
                }
                if let Some(group) = pending.take() {
                    return Some(group);
                }
                if shared.is_closing() {
                    return None;
                }
                if idle_since.elapsed() < SPIN {
                    break;
                }
                shared.committer_sleeps.store(true, Ordering::Relaxed);
                pending = shared.work.wait(pending).unwrap_or_else(PoisonError::into_inner);
                shared.committer_sleeps.store(false, Ordering::Relaxed);
                // Mostly woken ahead of the commit, which is being decided.
                idle_since = Instant::now();
            }
            drop(pending);
            std::thread::yield_now();
        }
    }

    /// Waits while memory holds more than it may because sled lags; false: abandoned.
    /// Where sled must wait for disk space, memory is bounded by the journal's room instead.
    fn await_memory(&self) -> bool {
        let shared = &self.shared;
        let max = shared.options.overlay_bytes_max;
        let mut pending = shared.pending();
        while shared.memory.read().bytes() > max && !shared.disk_space.is_short() {
            if shared.is_abandoned() {
                return false;
            }
            shared.want_compaction();
            let pause = Duration::from_millis(20);
            let waited = shared.work.wait_timeout(pending, pause);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn write(&mut self, group: CommitGroup) -> Result<(), StoreError> {
        let CommitGroup { frame, writes, last, link, commits } = group;
        let started = Instant::now();
        let Some((header, at, spare)) = self.put(frame)? else { return Ok(()) };
        self.segment.sync()?;
        let shared = &self.shared;
        shared.counters.group(commits, header.padded(), started.elapsed());
        self.segment.note_frame(&header, at);
        self.position = Position { revision: last, link, ..self.position };
        let frame = ValueStart { file: ValueFile::Journal(self.segment.sequence), offset: at };
        let (active_bytes, replaced) = shared.memory.publish(writes, frame, self.position);
        shared.durable.store(last.get(), Ordering::Release);
        shared.writable.store(self.writable(), Ordering::Release);
        let waiters = shared.pending().settle(last, spare);
        shared.admitted.notify_all();
        for waiter in waiters {
            // A receipt that nobody awaits any more is no failure.
            waiter.tell(Ok(()));
        }
        drop(replaced);
        if active_bytes >= shared.options.apply_after_bytes {
            shared.want_compaction();
        }
        Ok(())
    }

    /// Writes a frame, unsynced, into this segment or the next; `None`: abandoned while waiting
    /// for a segment. Gives back the frame's memory.
    fn put(
        &mut self,
        frame: FrameBuilder,
    ) -> Result<Option<(FrameHeader, u64, Vec<u8>)>, StoreError> {
        let bytes = padded(frame.payload_bytes()) as u64;
        if self.position.offset + bytes > self.segment.capacity {
            let Some(segment) = self.next_segment() else { return Ok(None) };
            self.shared.journal.push(segment.clone());
            self.position.segment = segment.sequence;
            self.position.offset = FIRST_FRAME;
            self.segment = segment;
        }
        let frame = frame.finish(&self.segment.generation);
        let header = FrameHeader::parse(&frame)
            .ok_or(StoreError::Invalid("a frame without a header was built"))?;
        let at = self.position.offset;
        self.segment.write(&frame, at)?;
        self.position.offset = at + bytes;
        Ok(Some((header, at, frame)))
    }

    fn next_segment(&self) -> Option<Arc<Segment>> {
        let shared = &self.shared;
        let mut ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(segment) = ready.pop_front() {
                shared.ready_changed.notify_all();
                return Some(segment);
            }
            if shared.is_abandoned() {
                return None;
            }
            let waited = shared.ready_changed.wait_timeout(ready, SEGMENT_WAIT);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            ready = woken;
            if timeout.timed_out() && shared.is_closing() {
                tracing::error!(
                    "no room for a segment of the journal; closing without the last commits"
                );
                return None;
            }
        }
    }

    fn writable(&self) -> u64 {
        let ready = self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared: u64 = ready.iter().map(|segment| segment.capacity - FIRST_FRAME).sum();
        prepared + self.segment.capacity.saturating_sub(self.position.offset)
    }

    /// An empty frame at the end: a damaged last group is then told apart from one that a crash
    /// cut off, since a good frame follows it. Left out where there is no room for it.
    fn shutdown_marker(&mut self) -> Result<(), StoreError> {
        let frame =
            FrameBuilder::new(self.position.revision.next(), self.position.link, Vec::new());
        if self.position.offset + padded(0) as u64 <= self.segment.capacity {
            self.put(frame)?;
            self.segment.sync()?;
        }
        Ok(())
    }
}
