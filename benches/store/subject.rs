//! The two stores that are measured: ours, and plain sled made as durable with the same care.

use std::fs::File;
use std::path::Path;
use std::thread::JoinHandle;

use abide::store::durable::{Durable, Options};
use abide::store::{Batch, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};

use crate::load::Subject;

/// sled's cache in both, in bytes.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;
/// Most commits in one group of plain sled.
const GROUP_MAX: usize = 1024;

/// The store of this crate, with its settings for production.
pub(crate) struct Abide {
    pub(crate) store: Durable,
}

impl Abide {
    pub(crate) fn options(dir: &Path) -> Options {
        Options { sled_cache_bytes: CACHE_BYTES, ..Options::new(dir) }
    }

    pub(crate) fn open(dir: &Path) -> Self {
        let store = Durable::open(Self::options(dir));
        Self { store: store.unwrap_or_else(|error| panic!("{}: {error}", dir.display())) }
    }
}

impl Subject for Abide {
    async fn commit(&self, writes: Vec<Write>) {
        let mut batch = Batch { writes, ..Batch::default() };
        loop {
            match self.store.commit(batch.clone()) {
                Ok(receipt) => {
                    receipt.await.expect("the disk works");
                    return;
                }
                // Nothing has changed; once more commits are durable there may be space.
                Err(StoreError::Busy) => {
                    let next = self.store.durable().next();
                    self.store.durable_at(next).await.expect("the disk works");
                    batch.at_ms += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Options of plain sled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainOptions {
    /// sled's segments; its default is 512 KiB.
    pub(crate) segment_bytes: usize,
    /// True if `flush` is followed by fdatasync on a second handle. Its flush alone is durable only
    /// where `sync_file_range` has been replaced, as this crate does (`src/store/sync.rs`): then a
    /// second sync would only slow it down.
    pub(crate) second_sync: bool,
}

/// sled with group commit: one thread takes all commits that wait, applies them as one batch,
/// syncs once, and answers them all.
pub(crate) struct Plain {
    queue: Option<mpsc::Sender<Waiting>>,
    committer: Option<JoinHandle<()>>,
}

struct Waiting {
    writes: Vec<Write>,
    durable: oneshot::Sender<()>,
}

impl Plain {
    pub(crate) fn open(dir: &Path, options: PlainOptions) -> Self {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .use_compression(false)
            .segment_size(options.segment_bytes)
            .open()
            .expect("sled opens");
        let handle = File::open(dir.join("db")).expect("sled's file");
        let handle = options.second_sync.then_some(handle);
        let (queue, waiting) = mpsc::channel(GROUP_MAX);
        let committer = std::thread::Builder::new().name("plain-sled".into());
        let committer = committer.spawn(move || commit(&db, handle.as_ref(), waiting));
        Self { queue: Some(queue), committer: Some(committer.expect("a thread")) }
    }
}

fn commit(db: &sled::Db, handle: Option<&File>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut batch = sled::Batch::default();
        for write in group.iter_mut().flat_map(|one: &mut Waiting| one.writes.drain(..)) {
            match write.value {
                Some(value) => batch.insert(&*write.key, &*value),
                None => batch.remove(&*write.key),
            }
        }
        db.apply_batch(batch).expect("sled applies");
        db.flush().expect("sled flushes");
        if let Some(handle) = handle {
            handle.sync_data().expect("the disk works");
        }
        for one in group.drain(..) {
            one.durable.send(()).expect("a producer waits");
        }
    }
}

impl Subject for Plain {
    async fn commit(&self, writes: Vec<Write>) {
        let (durable, receipt) = oneshot::channel();
        let queue = self.queue.as_ref().expect("open");
        queue.send(Waiting { writes, durable }).await.expect("the committer runs");
        receipt.await.expect("the committer runs");
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(committer) = self.committer.take() {
            committer.join().expect("the committer ends");
        }
    }
}
