//! A mixed load: several producers, values from 50 bytes to 64 KiB, hot keys and new ones,
//! deletions, preconditions, batches of several writes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use abide::store::{Batch, Precondition, Receipt, Store, StoreError, VALUE_BYTES_MAX, View, Write};
use abide::types::Revision;
use bytes::Bytes;

use crate::model::History;
use crate::random::Random;

/// Parameters of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) producers: u64,
    /// Commits of each producer; it ends sooner when the store stops.
    pub(crate) commits: u64,
    pub(crate) seed: u64,
    /// Sets the keys of several loads on one store apart.
    pub(crate) round: u64,
}

/// One producer and its state.
pub(crate) struct Producer {
    number: u64,
    round: u64,
    random: Random,
    born: u64,
    alive: VecDeque<Bytes>,
    /// Revisions of this producer's own keys.
    known: HashMap<Bytes, Revision>,
}

impl Producer {
    pub(crate) fn new(number: u64, round: u64, seed: u64) -> Self {
        let random = Random::new(seed ^ (number << 32) ^ (round << 48));
        Self { number, round, random, born: 0, alive: VecDeque::new(), known: HashMap::new() }
    }

    /// The next batch.
    pub(crate) fn batch(&mut self) -> Batch {
        let mut batch = Batch { at_ms: self.random.below(1 << 40), ..Batch::default() };
        let entry = self.random.index(200);
        batch.entry = self.random.bytes(entry).into();
        for _ in 0..=self.random.below(5) {
            let write = self.write();
            if batch.writes.iter().all(|other| other.key != write.key) {
                batch.writes.push(write);
            }
        }
        if self.random.below(3) == 0
            && let Some(write) = batch.writes.iter().find(|write| write.key.starts_with(b"own"))
        {
            let key = write.key.clone();
            match self.known.get(&key) {
                Some(revision) => {
                    batch.preconditions.push(Precondition::Unchanged(key, *revision));
                }
                // In a later round the key may be there from an earlier one.
                None if self.round == 0 => batch.preconditions.push(Precondition::Absent(key)),
                None => {}
            }
        }
        batch
    }

    fn write(&mut self) -> Write {
        let (number, round) = (self.number, self.round);
        let key = match self.random.below(10) {
            0 | 1 => Bytes::from(format!("hot/{}", self.random.below(40))),
            2..=4 => Bytes::from(format!("own/{number}/{}", self.random.below(150))),
            5 => Bytes::from(format!("wide/{:08x}", self.random.below(4000) * 0x9E37 % 4001)),
            6 | 7 if self.alive.len() > 100 => {
                return Write::delete(self.alive.pop_front().unwrap());
            }
            _ => {
                self.born += 1;
                let key = Bytes::from(format!("new/{round:04}/{:08}/{number}", self.born));
                self.alive.push_back(key.clone());
                key
            }
        };
        let bytes = match self.random.below(100) {
            0 => VALUE_BYTES_MAX - self.random.index(100),
            1..=6 => 4096 + self.random.index(16 * 1024),
            7..=30 => 300 + self.random.index(4096),
            _ => 50 + self.random.index(300),
        };
        Write::put(key, self.random.bytes(bytes))
    }

    fn learn(&mut self, revision: Revision, batch: &Batch) {
        for write in batch.writes.iter().filter(|write| write.key.starts_with(b"own")) {
            self.known.insert(write.key.clone(), revision);
        }
    }
}

impl Load {
    /// Puts the load on `store`. Each accepted batch goes into `history`, each resolved receipt
    /// to `acknowledged`.
    pub(crate) fn run(
        &self,
        store: &dyn Store,
        history: &History,
        acknowledged: &(dyn Fn(Revision) + Sync),
    ) {
        thread::scope(|scope| {
            for number in 0..self.producers {
                scope.spawn(move || self.produce(number, store, history, acknowledged));
            }
        });
    }

    fn produce(
        &self,
        number: u64,
        store: &dyn Store,
        history: &History,
        acknowledged: &(dyn Fn(Revision) + Sync),
    ) {
        let mut producer = Producer::new(number, self.round, self.seed);
        let mut waiting: VecDeque<Receipt> = VecDeque::new();
        for _ in 0..self.commits {
            let batch = producer.batch();
            match store.commit(batch.clone()) {
                Ok(receipt) => {
                    producer.learn(receipt.revision(), &batch);
                    history.note(receipt.revision(), batch);
                    waiting.push_back(receipt);
                }
                Err(StoreError::Busy) => {}
                Err(StoreError::Failed(_) | StoreError::NoSpace) => return,
                Err(error) => panic!("a commit was refused: {error}"),
            }
            let window = producer.random.index(12);
            while waiting.len() > window {
                match waiting.pop_front().unwrap().wait() {
                    Ok(revision) => acknowledged(revision),
                    Err(_) => return,
                }
            }
        }
        for receipt in waiting {
            match receipt.wait() {
                Ok(revision) => acknowledged(revision),
                Err(_) => return,
            }
        }
    }
}

/// Reads in every way until `stop`; reports to `seen` the newest revision that each read showed.
pub(crate) fn watch(store: &dyn Store, stop: &AtomicBool, seen: &dyn Fn(Revision)) {
    let mut random = Random::new(1);
    while !stop.load(Ordering::Acquire) {
        let key = format!("hot/{}", random.below(40));
        if let Some(row) = store.get(View::Committed, key.as_bytes()).unwrap() {
            seen(row.revision);
        }
        seen(store.get_many(&[key.as_bytes()]).unwrap().0);
        let durable = store.durable();
        seen(durable);
        if durable > Revision::ZERO {
            let entries = store.read_log(Revision::new(durable.get() - 1), 10);
            if let Some(entry) = entries.ok().and_then(|entries| entries.last().cloned()) {
                seen(entry.revision);
            }
        }
        thread::yield_now();
    }
}
