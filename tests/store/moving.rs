//! Readers while values move: from memory to the journal's segments, from there to a base, from it
//! to the next one, with segments written anew and bases removed behind them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use abide::store::durable::{Durable, Options};
use abide::store::{Batch, KeyRange, Order, Store, StoreError, View, Write};
use bytes::Bytes;

use crate::random::Random;
use crate::room;
use crate::subject::small;

const KEYS: u64 = 400;
const BASES: u64 = 12;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key/{number:04}"))
}

/// A value that names its key: the key's number and a count, many times over.
fn value(number: u64, count: u64) -> Bytes {
    let part = format!("{number:04} {count:08} ");
    let times = 1 + usize::try_from(count * 7 + number).unwrap() % 60;
    Bytes::from(part.repeat(times))
}

fn check(found_key: &Bytes, found: &Bytes) {
    let text = std::str::from_utf8(found).unwrap();
    let number: u64 = text[..4].parse().unwrap();
    let count: u64 = text[5..13].parse().unwrap();
    assert_eq!((found_key, found), (&key(number), &value(number, count)));
}

#[test]
fn readers_see_whole_values_wherever_they_move() {
    let root = room();
    let options = Options {
        segment_bytes: 256 << 10,
        base_after_bytes: 256 << 10,
        journal_retain_bytes: 0,
        checkpoint_after_bytes: 64 << 10,
        ..small(root.path().join("data"))
    };
    let store = Durable::open(options.clone()).unwrap();
    let over = AtomicBool::new(false);
    let read = AtomicU64::new(0);
    let write = |number: u64, count: u64| {
        let writes = vec![Write::put(key(number), value(number, count))];
        match store.commit(Batch { writes, ..Batch::default() }) {
            Ok(receipt) => receipt.wait().map(drop).unwrap(),
            Err(StoreError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    };
    (0..KEYS).for_each(|number| write(number, 0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(1);
            while !over.load(Ordering::Acquire) {
                let key = key(random.below(KEYS));
                let found = store.get(View::Committed, &key).unwrap();
                check(&key, &found.expect("no key is ever deleted").value);
                read.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let range = KeyRange::all();
                let page = store.scan(View::Committed, &range, Order::Descending, 150).unwrap();
                assert_eq!(page.rows.len(), 150);
                page.rows.iter().for_each(|row| check(&row.key, &row.value));
            }
        });
        // The first keys stay as they are, and move with each base.
        let mut random = Random::new(2);
        let mut count = 1;
        while store.stats().snapshots < BASES {
            write(100 + random.below(KEYS - 100), count);
            count += 1;
        }
        over.store(true, Ordering::Release);
    });
    assert!(read.load(Ordering::Relaxed) > KEYS, "the reader came to its turn");
    store.close().unwrap();
    let report = abide::store::durable::verify(&options.dir, &mut |_| {}).unwrap();
    assert_eq!(report.keys, KEYS);
    let store = Durable::open(options).unwrap();
    for number in 0..100 {
        let found = store.get(View::Committed, &key(number)).unwrap().unwrap();
        assert_eq!(found.value, value(number, 0));
    }
}
