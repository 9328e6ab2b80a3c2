//! The durable store as the tests open it: everything small, so that merges, checkpoints, bases
//! and the reuse of segments happen within a second of load.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use abide::store::durable::{DiskSpaceOptions, Durable, Options, VerifyReport, verify};
use abide::store::{Store, StoreError};
use tempfile::TempDir;

use crate::contract::{Subject, contract};
use crate::recorder::Recording;
use crate::room;

const KIB: u64 = 1024;

/// Settings under which everything happens often.
pub(crate) fn small(dir: impl Into<PathBuf>) -> Options {
    Options {
        segment_bytes: 2048 * KIB,
        staged_bytes_max: 2 << 20,
        overlay_bytes_max: 4 << 20,
        sled_cache_bytes: 8192 * KIB,
        sled_segment_bytes: 64 << 10,
        apply_interval: Duration::from_millis(10),
        apply_after_bytes: 256 << 10,
        checkpoint_after_bytes: 512 * KIB,
        base_after_bytes: 1024 * KIB,
        journal_retain_bytes: 3072 * KIB,
        disk_space: DiskSpaceOptions {
            ordinary_bytes: 24 << 20,
            index_bytes: 24 << 20,
            ballast_bytes: 0,
        },
        ..Options::new(dir)
    }
}

/// Opens the store of a directory that this test has for itself. A child that another test is just
/// starting holds every descriptor of this process until it has become its program; so a released
/// lock may still be held for a moment.
pub(crate) fn open(dir: &Path) -> Result<Durable, StoreError> {
    patiently(|| Durable::open(small(dir)))
}

/// Verifies a directory that this test has for itself.
pub(crate) fn verified(dir: &Path) -> Result<VerifyReport, StoreError> {
    patiently(|| verify(dir, &mut |_| {}))
}

fn patiently<T>(act: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let since = Instant::now();
    loop {
        match act() {
            Err(error)
                if error.to_string().contains("in use by")
                    && since.elapsed() < Duration::from_secs(2) =>
            {
                std::thread::yield_now();
            }
            outcome => return outcome,
        }
    }
}

/// A durable store in a directory of its own, whose syncs can be held.
pub(crate) struct Held {
    store: Option<Durable>,
    recording: Recording,
    options: Options,
    _room: TempDir,
}

impl Held {
    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let room = room();
        let recording = Recording::start(room.path());
        let mut options = small(room.path().join("data"));
        change(&mut options);
        let store = Some(Durable::open(options.clone()).unwrap());
        Self { store, recording, options, _room: room }
    }
}

impl Subject for Held {
    fn new() -> Self {
        // Segments take the largest batch.
        Self::with(|options| options.segment_bytes = 32 << 20)
    }
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }
    fn hold(&self) {
        self.recording.tape.hold_syncs(".seg");
    }
    fn await_held(&self) {
        self.recording.tape.await_held_sync();
    }
    fn release(&self) {
        self.recording.tape.release_syncs();
    }
    fn reopen(&mut self) {
        self.release();
        self.store.take().unwrap().close().unwrap();
        self.store = Some(patiently(|| Durable::open(self.options.clone())).unwrap());
    }
}

impl Drop for Held {
    /// A store that is dropped while its sync is held would wait for ever.
    fn drop(&mut self) {
        self.recording.tape.release_syncs();
    }
}

/// As [`Held`], and everything but the last few commits is in sled.
pub(crate) struct Merged(Held);

impl Subject for Merged {
    fn new() -> Self {
        Self(Held::with(|options| {
            options.segment_bytes = 32 << 20;
            options.apply_after_bytes = 1;
            options.apply_interval = Duration::from_millis(1);
            options.checkpoint_after_bytes = 16 * KIB;
        }))
    }
    fn store(&self) -> &dyn Store {
        self.0.store()
    }
    fn hold(&self) {
        self.0.hold();
    }
    fn await_held(&self) {
        self.0.await_held();
    }
    fn release(&self) {
        self.0.release();
    }
    fn reopen(&mut self) {
        self.0.reopen();
    }
}

contract!(durable, Held);
contract!(durable_merged, Merged);
