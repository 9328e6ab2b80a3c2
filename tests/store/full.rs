//! A disk that fills up: commits are refused before the disk is full, nothing is lost, the store
//! opens while full, and goes on by itself when there is space.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use abide::store::durable::{DiskSpaceOptions, Durable, Options};
use abide::store::{Batch, Store, StoreError, Urgency, View, Write};
use abide::types::Revision;

use crate::model::{History, Model, check};
use crate::mount::Mount;
use crate::random::Random;
use crate::subject::{small, verified};

const MIB: u64 = 1 << 20;

fn options(dir: PathBuf) -> Options {
    let (ordinary_bytes, index_bytes, ballast_bytes) = (48 * MIB, 32 * MIB, 24 * MIB);
    Options {
        disk_space: DiskSpaceOptions { ordinary_bytes, index_bytes, ballast_bytes },
        ..small(dir)
    }
}

/// Commits until `NoSpace`, or at most this many times. Returns how many were accepted.
fn fill(store: &Durable, history: &History, urgency: Urgency, most: u64, round: u64) -> u64 {
    let mut random = Random::new(round);
    for number in 0..most {
        let write = Write::put(format!("{urgency:?}/{round}/{number}"), random.bytes(20_000));
        let batch = Batch { writes: vec![write], urgency, ..Batch::default() };
        match store.commit(batch.clone()) {
            Ok(receipt) => {
                history.note(receipt.revision(), batch);
                receipt.wait().unwrap();
            }
            Err(StoreError::NoSpace) => return number,
            Err(StoreError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
    most
}

/// Takes all the space that is left, but for `leave` bytes.
fn take_room(path: &Path, leave: u64) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(leave)).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let mount = match Mount::new(288) {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped: no loop-mounted ext4 here: {reason}"),
    };
    let dir = mount.path().join("data");
    let filler = mount.path().join("filler");
    // Bytes that another program has there from the beginning.
    let other = mount.path().join("other");
    fs::write(&other, vec![1; 48 << 20]).unwrap();
    let history = History::default();
    let mut model = Model::default();
    let store = Durable::open(options(dir.clone())).unwrap();
    let accepted = fill(&store, &history, Urgency::Ordinary, 100_000, 0);
    assert!(accepted > 500 && accepted < 100_000, "{accepted}");
    // Ordinary commits are refused, reserved ones go on, and reads do.
    assert_eq!(fill(&store, &history, Urgency::Ordinary, 1, 1), 0);
    assert_eq!(fill(&store, &history, Urgency::Reserved, 50, 2), 50);
    assert!(store.get(View::Committed, b"Ordinary/0/0").unwrap().is_some());

    // Another program takes the rest: even the reserve ends, in a refusal and not in a failure.
    let since = Instant::now();
    while store.stats().overlay_bytes > 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "memory is never merged");
        std::thread::yield_now();
    }
    take_room(&filler, 0);
    let reserved = fill(&store, &history, Urgency::Reserved, 100_000, 3);
    assert!(reserved < 100_000);
    let last = store.durable();
    check(&store, &history, &mut model, last.get()).unwrap();
    store.close().unwrap();

    // It opens while there is no space at all, with everything, any number of times.
    for _ in 0..3 {
        let store = Durable::open(options(dir.clone())).unwrap();
        check(&store, &history, &mut model, last.get()).unwrap();
        assert_eq!(fill(&store, &history, Urgency::Ordinary, 1, 4), 0);
        drop(store);
    }
    let store = Durable::open(options(dir.clone())).unwrap();
    fs::remove_file(&filler).unwrap();
    fs::remove_file(&other).unwrap();
    // Space again, 80 MiB of it and not an arbitrary rest: it goes on by itself.
    take_room(&filler, 80 * MIB);
    let since = Instant::now();
    let mut round = 100;
    while fill(&store, &history, Urgency::Ordinary, 1, round) == 0 {
        round += 1;
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "it does not go on: {:?}",
            store.stats()
        );
        std::thread::yield_now();
    }
    check(&store, &history, &mut model, last.get() + 1).unwrap();
    store.close().unwrap();
    let report = verified(&dir).unwrap();
    assert!(report.revision > last && report.revision > Revision::ZERO);
}
