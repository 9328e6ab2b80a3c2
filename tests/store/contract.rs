//! The contract of [`Store`], held to every implementation.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use abide::store::chain::{ChainLink, read_body};
use abide::store::{
    BATCH_WRITES_MAX, Batch, KEY_BYTES_MAX, KeyRange, Order, PAGE_ROWS_MAX, Precondition, Receipt,
    Store, StoreError, VALUE_BYTES_MAX, View, Write,
};
use abide::types::Revision;
use bytes::Bytes;

use crate::model::{History, Model, check, scan_all};

/// An implementation under test.
pub(crate) trait Subject: Sync {
    /// An empty store.
    fn new() -> Self;
    fn store(&self) -> &dyn Store;
    /// From now on nothing becomes durable...
    fn hold(&self);
    /// Waits until what was committed is at its sync, and held there.
    fn await_held(&self);
    /// ... until now.
    fn release(&self);
    /// Closes and opens it again.
    fn reopen(&mut self);
}

/// Defines a test of each rule for one implementation.
macro_rules! contract {
    ($name:ident, $subject:ty) => {
        mod $name {
            use super::*;
            use $crate::contract::*;

            #[test]
            fn a_batch_happens_whole_or_not_at_all() {
                atomic(&<$subject>::new());
            }
            #[test]
            fn preconditions_look_at_what_is_staged() {
                preconditions(&<$subject>::new());
            }
            #[test]
            fn revisions_have_no_gap_and_receipts_keep_the_order() {
                order(&<$subject>::new());
            }
            #[test]
            fn what_is_pending_is_for_the_committer_alone() {
                pending(&<$subject>::new());
            }
            #[test]
            fn durable_at_waits_for_the_revision() {
                durable_at(&<$subject>::new());
            }
            #[test]
            fn ranges_are_as_of_one_sorted_map() {
                ranges(&<$subject>::new());
            }
            #[test]
            fn a_page_is_of_one_revision_while_writes_go_on() {
                pages(&<$subject>::new());
            }
            #[test]
            fn paging_while_writes_go_on_misses_nothing_that_stays() {
                paging(&<$subject>::new());
            }
            #[test]
            fn deleted_rows_do_not_end_a_scan() {
                deletions(<$subject>::new());
            }
            #[test]
            fn the_log_has_every_commit_once() {
                log(&<$subject>::new());
            }
            #[test]
            fn the_chain_has_the_same_commits_and_each_link_follows() {
                chain(&<$subject>::new());
            }
            #[test]
            fn limits_hold() {
                limits(&<$subject>::new());
            }
            #[test]
            fn opened_again_it_is_the_same() {
                reopened(<$subject>::new());
            }
        }
    };
}
pub(crate) use contract;

fn put(key: &str, value: &str) -> Write {
    Write::put(key.as_bytes().to_vec(), value.as_bytes().to_vec())
}

fn delete(key: &str) -> Write {
    Write::delete(key.as_bytes().to_vec())
}

fn key(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

pub(crate) fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch { writes: writes.into_iter().collect(), ..Batch::default() }
}

fn after(preconditions: impl IntoIterator<Item = Precondition>, write: Write) -> Batch {
    Batch { preconditions: preconditions.into_iter().collect(), ..batch([write]) }
}

fn done(store: &dyn Store, batch: Batch) -> Revision {
    store.commit(batch).unwrap().wait().unwrap()
}

fn value(store: &dyn Store, view: View, key: &str) -> Option<Bytes> {
    store.get(view, key.as_bytes()).unwrap().map(|row| row.value)
}

/// Returns whether the receipt has not resolved yet.
pub(crate) fn is_pending(receipt: &mut Receipt) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(Pin::new(receipt).poll(&mut context), Poll::Pending)
}

pub(crate) fn atomic(subject: &impl Subject) {
    let store = subject.store();
    let first = done(store, batch([put("a", "1"), put("b", "1"), put("c", "1")]));
    assert_eq!(first, Revision::new(1));
    let (revision, rows) = store.get_many(&[b"a", b"b", b"c", b"d"]).unwrap();
    assert_eq!(revision, first);
    assert!(rows[..3].iter().all(|row| row.as_ref().is_some_and(|row| row.revision == first)));
    assert_eq!(rows[3], None);

    // One precondition of several fails: nothing happens, and no revision is used up.
    let refused = Batch {
        preconditions: vec![
            Precondition::Unchanged(key("a"), first),
            Precondition::Absent(key("b")),
        ],
        ..batch([put("a", "2"), delete("b"), put("d", "2")])
    };
    assert_eq!(store.commit(refused).unwrap_err(), StoreError::Conflict { index: 1 });
    for view in [View::Committed, View::Staged] {
        assert_eq!(value(store, view, "a").as_deref(), Some(&b"1"[..]));
        assert_eq!(value(store, view, "b").as_deref(), Some(&b"1"[..]));
        assert_eq!(value(store, view, "d"), None);
    }
    assert_eq!(done(store, batch([put("e", "1")])), first.next());
    assert_eq!(store.read_log(Revision::ZERO, 10).unwrap().len(), 2);
    // A batch may also write nothing: it is an entry of the log.
    let entry = Batch { at_ms: 7, entry: Bytes::from_static(b"said"), ..Batch::default() };
    assert_eq!(done(store, entry), Revision::new(3));
    let log = store.read_log(Revision::new(2), 10).unwrap();
    assert_eq!((log[0].at_ms, &log[0].entry[..], log[0].writes.len()), (7, &b"said"[..], 0));
}

pub(crate) fn preconditions(subject: &impl Subject) {
    let store = subject.store();
    let absent = || Precondition::Absent(key("k"));
    let unchanged = |revision| Precondition::Unchanged(key("k"), revision);
    let conflict = |batch| {
        assert_eq!(store.commit(batch).unwrap_err(), StoreError::Conflict { index: 0 });
    };
    conflict(after([unchanged(Revision::ZERO)], put("k", "0")));
    conflict(after([unchanged(Revision::new(1))], put("k", "0")));
    let one = done(store, after([absent()], put("k", "1")));
    conflict(after([absent()], put("k", "2")));

    subject.hold();
    let two = store.commit(after([unchanged(one)], put("k", "2"))).unwrap();
    // The staged state counts, not the committed one.
    conflict(after([unchanged(one)], put("k", "3")));
    let gone = store.commit(after([unchanged(two.revision())], delete("k"))).unwrap();
    conflict(after([unchanged(two.revision())], put("k", "3")));
    conflict(after([unchanged(gone.revision())], put("k", "3")));
    let born = store.commit(after([absent()], put("k", "3"))).unwrap();
    conflict(after([absent()], put("k", "4")));
    let guard_only = Batch { preconditions: vec![unchanged(born.revision())], ..batch([]) };
    let guarded = store.commit(guard_only).unwrap();
    subject.release();
    assert_eq!(two.wait(), Ok(Revision::new(2)));
    assert_eq!(gone.wait(), Ok(Revision::new(3)));
    assert_eq!(guarded.wait(), Ok(Revision::new(5)));
    assert_eq!(store.get(View::Committed, b"k").unwrap().unwrap().revision, Revision::new(4));
    assert_eq!(born.revision(), Revision::new(4));
    // Writing the same value is a change all the same.
    done(store, batch([put("k", "3")]));
    conflict(after([unchanged(Revision::new(4))], put("k", "5")));
}

pub(crate) fn order(subject: &impl Subject) {
    let store = subject.store();
    let revisions: Vec<Vec<u64>> = thread::scope(|scope| {
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                scope.spawn(move || {
                    let commit = |number: u64| {
                        let write = put(&format!("{producer}/{number}"), "x");
                        let receipt = store.commit(batch([write])).unwrap();
                        let revision = receipt.revision();
                        assert_eq!(receipt.wait(), Ok(revision));
                        assert!(store.durable() >= revision, "acknowledged before it is durable");
                        revision.get()
                    };
                    (0..100).map(commit).collect::<Vec<u64>>()
                })
            })
            .collect();
        producers.into_iter().map(|producer| producer.join().unwrap()).collect()
    });
    assert!(revisions.iter().all(|of_one| of_one.is_sorted()));
    let all: BTreeSet<u64> = revisions.into_iter().flatten().collect();
    assert!(all.into_iter().eq(1..=400));

    subject.hold();
    let mut receipts: Vec<Receipt> =
        (0..5).map(|_| store.commit(batch([put("k", "v")])).unwrap()).collect();
    assert!(receipts.iter_mut().all(is_pending));
    subject.release();
    receipts.pop().unwrap().wait().unwrap();
    assert!(receipts.iter_mut().all(|receipt| !is_pending(receipt)), "a later one came first");
}

pub(crate) fn pending(subject: &impl Subject) {
    let store = subject.store();
    done(store, batch([put("changed", "old"), put("deleted", "old"), put("kept", "old")]));
    subject.hold();
    let writes = [put("changed", "new"), delete("deleted"), put("added", "new")];
    let mut receipt = store.commit(batch(writes)).unwrap();
    subject.await_held();
    let committed = |store: &dyn Store| {
        scan_all(store, View::Committed, &KeyRange::all(), Order::Ascending, 10).unwrap()
    };
    for _ in 0..3 {
        assert!(is_pending(&mut receipt), "acknowledged before its sync");
        assert_eq!(value(store, View::Committed, "changed").as_deref(), Some(&b"old"[..]));
        assert_eq!(value(store, View::Committed, "deleted").as_deref(), Some(&b"old"[..]));
        assert_eq!(value(store, View::Committed, "added"), None);
        assert_eq!(store.durable(), Revision::new(1));
        let (revision, rows) = store.get_many(&[b"changed", b"added"]).unwrap();
        assert_eq!((revision, rows[1].clone()), (Revision::new(1), None));
        let rows = committed(store);
        assert!(rows.iter().all(|row| row.revision == Revision::new(1)) && rows.len() == 3);
        assert_eq!(store.read_log(Revision::ZERO, 10).unwrap().len(), 1);

        assert_eq!(value(store, View::Staged, "changed").as_deref(), Some(&b"new"[..]));
        assert_eq!(value(store, View::Staged, "deleted"), None);
        let page = store.scan(View::Staged, &KeyRange::all(), Order::Ascending, 10).unwrap();
        let keys: Vec<_> = page.rows.iter().map(|row| row.key.clone()).collect();
        assert_eq!(keys, [key("added"), key("changed"), key("kept")]);
        assert_eq!(page.revision, Revision::new(2));
    }
    subject.release();
    assert_eq!(receipt.wait(), Ok(Revision::new(2)));
    let keys: Vec<_> = committed(store).into_iter().map(|row| row.key).collect();
    assert_eq!(keys, [key("added"), key("changed"), key("kept")]);
    assert_eq!(value(store, View::Committed, "deleted"), None);
    assert_eq!(store.read_log(Revision::new(1), 10).unwrap()[0].writes.len(), 3);
}

pub(crate) fn durable_at(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.durable(), Revision::ZERO);
    assert!(!is_pending(&mut store.durable_at(Revision::ZERO)));
    let one = done(store, batch([put("k", "1")]));
    assert!(!is_pending(&mut store.durable_at(one)));
    subject.hold();
    let two = store.commit(batch([put("k", "2")])).unwrap();
    let three = store.commit(batch([put("k", "3")])).unwrap();
    let mut at_one = store.durable_at(one);
    let mut at_two = store.durable_at(two.revision());
    let mut at_three = store.durable_at(three.revision());
    assert!(!is_pending(&mut at_one));
    assert!(is_pending(&mut at_two) && is_pending(&mut at_three));
    // The committer's own receipt may be dropped; the others still wait.
    drop(three);
    subject.release();
    assert_eq!(at_three.wait(), Ok(Revision::new(3)));
    assert!(!is_pending(&mut at_two));
    assert_eq!(two.wait(), Ok(Revision::new(2)));
}

pub(crate) fn ranges(subject: &impl Subject) {
    let store = subject.store();
    let keys = [
        &b"\x00"[..],
        b"\x00\x00",
        b"a",
        b"a\x00",
        b"a/1",
        b"a/2",
        b"a\xff",
        b"b",
        b"\xff",
        b"\xff\xff",
    ];
    let mut model = Model::default();
    for part in keys.chunks(3) {
        let writes = batch(part.iter().map(|key| Write::put(key.to_vec(), key.to_vec())));
        let revision = done(store, writes.clone());
        model.apply(revision, &writes);
    }
    let bounds: Vec<Bound<Bytes>> = (keys.iter().chain(&[&b"a/"[..], b"zz"]))
        .map(|key| Bytes::copy_from_slice(key))
        .flat_map(|key| [Bound::Included(key.clone()), Bound::Excluded(key)])
        .chain([Bound::Unbounded])
        .collect();
    // Every pair of bounds, also those between which no key can lie.
    for from in &bounds {
        for to in &bounds {
            let range = KeyRange { from: from.clone(), to: to.clone() };
            for order in [Order::Ascending, Order::Descending] {
                let expected = model.range(&range, order);
                for limit in [1, 3, PAGE_ROWS_MAX] {
                    let found = scan_all(store, View::Committed, &range, order, limit).unwrap();
                    assert_eq!(found, expected, "{range:?} {order:?} by {limit}");
                }
            }
        }
    }
    let prefixed = |prefix: &[u8]| {
        let range = KeyRange::prefix(prefix);
        let rows = scan_all(store, View::Staged, &range, Order::Ascending, 2).unwrap();
        rows.into_iter().map(|row| row.key.to_vec()).collect::<Vec<_>>()
    };
    for prefix in [&b""[..], b"a", b"a/", b"a\xff", b"\xff", b"\x00", b"c"] {
        let expected: Vec<_> =
            keys.iter().filter(|key| key.starts_with(prefix)).map(|key| key.to_vec()).collect();
        assert_eq!(prefixed(prefix), expected, "{prefix:?}");
    }
    // A limit of 0 is 1, one above the maximum is the maximum.
    let page = |limit| store.scan(View::Committed, &KeyRange::all(), Order::Ascending, limit);
    assert_eq!(page(0).unwrap().rows.len(), 1);
    done(store, batch((0..300).map(|number| put(&format!("many/{number:03}"), "x"))));
    assert!(page(usize::MAX).unwrap().rows.len() <= PAGE_ROWS_MAX);
}

/// Writers that change all keys in one batch; every page and every `get_many` must show equal
/// values, of the revision that they name.
pub(crate) fn pages(subject: &impl Subject) {
    const KEYS: usize = 60;
    const ROUNDS: usize = 300;
    let store = subject.store();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("page/{number:02}")).collect();
    let all = |round: usize| {
        // In every third round every other key is gone.
        batch(keys.iter().enumerate().map(|(number, key)| {
            if round % 3 == 2 && number % 2 == 1 {
                delete(key)
            } else {
                put(key, &format!("{round}/{}", "x".repeat(round * 7 % 900)))
            }
        }))
    };
    done(store, all(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..2 {
            let (over, keys) = (&over, &keys);
            scope.spawn(move || {
                let names: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
                let view = if reader == 0 { View::Committed } else { View::Staged };
                let order = if reader == 0 { Order::Ascending } else { Order::Descending };
                while !over.load(Ordering::Acquire) {
                    let page = store.scan(view, &KeyRange::prefix(b"page/"), order, KEYS).unwrap();
                    // One batch a revision: the page must be the batch of its revision.
                    let round = usize::try_from(page.revision.get()).unwrap() - 1;
                    let expected = if round % 3 == 2 { KEYS / 2 } else { KEYS };
                    assert_eq!(page.rows.len(), expected, "page of {}", page.revision);
                    assert!(page.rows.iter().all(|row| row.revision == page.revision));
                    let (revision, rows) = store.get_many(&names).unwrap();
                    let rows: Vec<_> = rows.into_iter().flatten().collect();
                    assert!(rows.iter().all(|row| row.revision == revision), "{revision}");
                    let round = usize::try_from(revision.get()).unwrap() - 1;
                    assert_eq!(rows.len(), if round % 3 == 2 { KEYS / 2 } else { KEYS });
                }
            });
        }
        for round in 1..ROUNDS {
            let receipt = store.commit(all(round)).unwrap();
            if round % 5 == 0 {
                receipt.wait().unwrap();
            }
        }
        over.store(true, Ordering::Release);
    });
}

/// A reader that pages over rows which nobody touches sees each of them exactly once, however much
/// changes between them.
pub(crate) fn paging(subject: &impl Subject) {
    let store = subject.store();
    for part in 0..10 {
        done(store, batch((0..50).map(|row| put(&format!("k/{:04}/stays", part * 50 + row), "x"))));
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            let mut round: u64 = 0;
            while !over.load(Ordering::Acquire) {
                round += 1;
                let write = |row: u64| {
                    let key = format!("k/{:04}/moves", (round * 37 + row * 13) % 500);
                    if (round + row).is_multiple_of(3) { delete(&key) } else { put(&key, "y") }
                };
                let receipt = store.commit(batch((0..20).map(write))).unwrap();
                receipt.wait().unwrap();
            }
        });
        for pass in 0..12 {
            let order = if pass % 2 == 0 { Order::Ascending } else { Order::Descending };
            let found = scan_all(store, View::Committed, &KeyRange::prefix(b"k/"), order, 17);
            let mut keys: Vec<_> = found.unwrap().into_iter().map(|row| row.key).collect();
            if order == Order::Descending {
                keys.reverse();
            }
            assert!(keys.is_sorted_by(|a, b| a < b), "a row twice or out of order");
            let stays = keys.iter().filter(|key| key.ends_with(b"stays")).count();
            assert_eq!(stays, 500);
        }
        over.store(true, Ordering::Release);
    });
}

/// Deleted rows, merged or not, are no end and no gap: a page with more behind it is full.
pub(crate) fn deletions(mut subject: impl Subject) {
    for part in 0..8 {
        let rows = (0..100).map(|row| put(&format!("{:03}", part * 100 + row), "x"));
        done(subject.store(), batch(rows));
    }
    // The new rows are settled now, the deletions are not yet.
    subject.reopen();
    let store = subject.store();
    let gone: Vec<_> = (0..800).filter(|row| row % 400 < 395).collect();
    for part in gone.chunks(100) {
        done(store, batch(part.iter().map(|row| delete(&format!("{row:03}")))));
    }
    let left: Vec<_> = (0..800).filter(|row| row % 400 >= 395).collect();
    let left: Vec<_> = left.iter().map(|row| key(&format!("{row:03}"))).collect();
    for view in [View::Committed, View::Staged] {
        for order in [Order::Ascending, Order::Descending] {
            for limit in [1, 2, 7, 200] {
                let page = store.scan(view, &KeyRange::all(), order, limit).unwrap();
                assert_eq!(page.rows.len(), limit.min(left.len()), "{view:?} {order:?} {limit}");
                assert_eq!(page.next.is_some(), limit < left.len(), "{view:?} {order:?} {limit}");
                let rows = scan_all(store, view, &KeyRange::all(), order, limit).unwrap();
                let mut keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
                keys.sort();
                assert_eq!(keys, left);
            }
        }
    }
    done(store, batch([delete("never was there")]));
    assert_eq!(value(store, View::Committed, "never was there"), None);
}

pub(crate) fn log(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.read_log(Revision::ZERO, 10).unwrap(), []);
    assert_eq!(store.read_log(Revision::new(99), 10).unwrap(), []);
    let history = History::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // A reader that follows the log while it is written sees every revision once, in order.
        let follower = scope.spawn(|| {
            let mut after = Revision::ZERO;
            loop {
                let last = over.load(Ordering::Acquire);
                let entries = store.read_log(after, 7).unwrap();
                assert!(entries.len() <= 7);
                if entries.is_empty() && last {
                    return after;
                }
                for entry in entries {
                    assert_eq!(entry.revision, after.next());
                    assert!(entry.revision <= store.durable(), "the log is ahead");
                    after = entry.revision;
                }
            }
        });
        for number in 0..300_u64 {
            let batch = Batch {
                at_ms: number,
                entry: format!("entry {number}").into(),
                ..batch([put(&format!("k{}", number % 7), "v"), delete("d")])
            };
            let receipt = store.commit(batch.clone()).unwrap();
            history.note(receipt.revision(), batch);
            if number % 10 == 0 || number == 299 {
                receipt.wait().unwrap();
            }
        }
        over.store(true, Ordering::Release);
        assert_eq!(follower.join().unwrap(), Revision::new(300));
    });
    check(store, &history, &mut Model::default(), 300).unwrap();
    assert_eq!(store.read_log(Revision::new(299), 10).unwrap().len(), 1);
    assert_eq!(store.read_log(Revision::new(100), 0).unwrap(), []);
    assert_eq!(store.read_log(Revision::new(300), 10).unwrap(), []);
}

pub(crate) fn limits(subject: &impl Subject) {
    let store = subject.store();
    let refused = |batch: Batch| {
        let error = store.commit(batch).unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    };
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    refused(batch([Write::put(Bytes::new(), "v")]));
    refused(batch([Write::put(long.clone(), "v")]));
    refused(batch([Write::put("k", vec![0; VALUE_BYTES_MAX + 1])]));
    refused(batch([put("k", "1"), put("k", "2")]));
    refused(batch([put("k", "1"), delete("k")]));
    refused(after([Precondition::Absent(long.into())], put("k", "1")));
    refused(batch((0..=BATCH_WRITES_MAX).map(|number| put(&number.to_string(), "v"))));
    refused(batch((0..70).map(|number| Write::put(number.to_string(), vec![1; VALUE_BYTES_MAX]))));
    assert_eq!(store.durable(), Revision::ZERO);

    let longest = vec![b'k'; KEY_BYTES_MAX];
    done(store, batch([Write::put(longest.clone(), vec![7; VALUE_BYTES_MAX])]));
    let found = store.get(View::Committed, &longest).unwrap().unwrap();
    assert_eq!(found.value, vec![7; VALUE_BYTES_MAX]);
    done(store, batch((0..BATCH_WRITES_MAX).map(|number| put(&number.to_string(), "v"))));
    let large = |number: usize| Write::put(format!("large/{number}"), vec![9; VALUE_BYTES_MAX]);
    done(store, batch((0..63).map(large)));
    // An empty value is a value.
    done(store, batch([put("empty", "")]));
    assert_eq!(value(store, View::Committed, "empty"), Some(Bytes::new()));
}

pub(crate) fn reopened(mut subject: impl Subject) {
    let history = History::default();
    let mut model = Model::default();
    let mut last = 0;
    for round in 0..4_u64 {
        for number in 0..60_u64 {
            let writes = [
                put(
                    &format!("k/{}", (round * 31 + number) % 50),
                    &"x".repeat(usize::try_from(number).unwrap() * 40),
                ),
                delete(&format!("k/{}", (round * 17 + number) % 50 + 100)),
                put(&format!("k/{}", (round * 17 + number + 7) % 50 + 100), "y"),
            ];
            let batch = batch(writes);
            let receipt = subject.store().commit(batch.clone()).unwrap();
            last = receipt.revision().get();
            history.note(receipt.revision(), batch);
        }
        // Closing makes the staged commits durable.
        subject.reopen();
        assert_eq!(check(subject.store(), &history, &mut model, last), Ok(last));
    }
}

pub(crate) fn chain(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.read_chain(Revision::ZERO, 10).unwrap(), []);
    for number in 0..40_u64 {
        let entry = format!("entry {number}").into();
        let writes = [put(&format!("k{number}"), "v"), delete("d")];
        done(store, Batch { at_ms: number, entry, ..batch(writes) });
    }
    let (mut link, mut after, mut salts) = (ChainLink::START, Revision::ZERO, BTreeSet::new());
    loop {
        let entries = store.read_chain(after, 7).unwrap();
        let log = store.read_log(after, 7).unwrap();
        assert_eq!(entries.len(), log.len());
        let Some(last) = entries.last() else { break };
        after = last.revision;
        for (entry, logged) in entries.iter().zip(log) {
            assert_eq!((entry.revision, entry.at_ms), (logged.revision, logged.at_ms));
            assert_eq!(read_body(&entry.body), Some((logged.entry, logged.writes)));
            assert_eq!(entry.before, link);
            link = entry.link();
            salts.insert(entry.salt);
        }
    }
    assert_eq!((after, salts.len()), (Revision::new(40), 40));
}
