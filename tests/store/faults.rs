//! Writes and syncs that fail: nothing is acknowledged, the store stops, the restart decides.

use std::path::Path;
use std::process::{Command, Stdio};

use abide::store::durable::Durable;
use abide::store::{Batch, Receipt, Store, StoreError, View, Write};
use abide::types::Revision;

use crate::contract::is_pending;
use crate::kill;
use crate::load::Load;
use crate::model::{History, Model, check};
use crate::recorder::Recording;
use crate::room;
use crate::subject::{open, small, verified};
use crate::tape::{Call, Fault};

fn one(key: &str) -> Batch {
    Batch { writes: vec![Write::put(key.to_owned(), "value")], ..Batch::default() }
}

/// Waits until the store reports that it has failed.
fn await_failure(store: &Durable) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(matches!(runtime.block_on(store.failed()), StoreError::Failed(_)));
}

fn fault(path: &str, call: Call, errno: i32) -> Fault {
    Fault { path: path.into(), call, errno, after: 0, for_ever: false }
}

/// One fault in the journal: commits acknowledged before stay, nothing is acknowledged after, also
/// when later syncs succeed; a restart goes on.
fn journal_fault(call: Call, errno: i32) {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    let recording = Recording::start(&path);
    let dir = path.join("data");
    let store = open(&dir).unwrap();
    let history = History::default();
    for number in 0..10 {
        let batch = one(&format!("before/{number}"));
        let receipt = store.commit(batch.clone()).unwrap();
        history.note(receipt.revision(), batch);
        receipt.wait().unwrap();
    }
    recording.tape.inject(fault(".seg", call, errno));
    let batch = one("unknown");
    let receipt = store.commit(batch.clone()).unwrap();
    history.note(receipt.revision(), batch);
    assert!(matches!(receipt.wait(), Err(StoreError::Failed(_))));
    await_failure(&store);
    assert_eq!(recording.tape.struck(), 1);
    // The fault is over, and a sync would succeed now: it proves nothing.
    for number in 0..10 {
        match store.commit(one(&format!("after/{number}"))) {
            Err(StoreError::Failed(_)) => {}
            other => panic!("a commit after a failed sync: {:?}", other.map(Receipt::wait)),
        }
    }
    assert!(matches!(store.durable_at(Revision::new(11)).wait(), Err(StoreError::Failed(_))));
    assert_eq!(store.durable(), Revision::new(10));
    assert_eq!(store.get(View::Committed, b"unknown").unwrap(), None);
    assert!(matches!(store.close(), Err(StoreError::Failed(_))));

    let store = open(&dir).unwrap();
    // Its outcome was unknown; now it is one or the other.
    let durable = check(&store, &history, &mut Model::default(), 10).unwrap();
    assert!(durable == 10 || (call == Call::Sync && durable == 11), "{durable}");
    store.commit(one("goes on")).unwrap().wait().unwrap();
    store.close().unwrap();
    verified(&dir).unwrap();
}

#[test]
fn a_failed_sync_of_the_journal_acknowledges_nothing() {
    journal_fault(Call::Sync, libc::EIO);
}

#[test]
fn a_failed_write_of_the_journal_acknowledges_nothing() {
    journal_fault(Call::Write, libc::EIO);
    journal_fault(Call::Write, libc::ENOSPC);
}

/// All waiters get the error at once, also those behind the group that failed.
#[test]
fn a_failed_sync_fails_everything_that_waits() {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    let recording = Recording::start(&path);
    let store = open(&path.join("data")).unwrap();
    recording.tape.hold_syncs(".seg");
    let mut receipts = vec![store.commit(one("first")).unwrap()];
    recording.tape.await_held_sync();
    for number in 0..20 {
        receipts.push(store.commit(one(&format!("{number}"))).unwrap());
    }
    receipts.push(store.durable_at(Revision::new(5)));
    assert!(receipts.iter_mut().all(is_pending));
    recording.tape.inject(fault(".seg", Call::Sync, libc::EIO));
    recording.tape.release_syncs();
    for receipt in receipts {
        assert!(matches!(receipt.wait(), Err(StoreError::Failed(_))));
    }
}

/// A fault anywhere, at any moment of a load: acknowledged commits stay, whatever else happens.
fn any_fault(dir_part: &str, call: Call, after: usize, for_ever: bool) {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    let recording = Recording::start(&path);
    let dir = path.join("data");
    let store = open(&dir).unwrap();
    let history = History::default();
    recording.tape.inject(Fault { path: dir_part.into(), call, errno: libc::EIO, after, for_ever });
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    let note = |revision: Revision| {
        acknowledged.fetch_max(revision.get(), std::sync::atomic::Ordering::SeqCst);
    };
    let load = Load { producers: 3, commits: 150, seed: after as u64, round: 0 };
    load.run(&store, &history, &note);
    let what = format!("{call:?} of {dir_part} after {after}, struck {}", recording.tape.struck());
    reopen(&recording, store, &dir, &history, acknowledged.into_inner(), &what);
}

fn reopen(
    recording: &Recording,
    store: Durable,
    dir: &Path,
    history: &History,
    acknowledged: u64,
    what: &str,
) {
    let closed = store.close();
    recording.tape.heal();
    let store = open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let durable = check(&store, history, &mut Model::default(), acknowledged)
        .unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    if closed.is_ok() {
        let all = history.lock().last_key_value().map(|(revision, _)| *revision);
        assert_eq!(Some(durable), all, "{what}: closed well, yet not all is there");
    }
    store.close().unwrap();
    verified(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn a_fault_anywhere_takes_back_nothing() {
    for part in [".seg", "/journal/", "/sled", "/note", "/base/", ""] {
        for call in [Call::Write, Call::Sync] {
            for after in [0, 1, 7, 40] {
                any_fault(part, call, after, after % 2 == 0);
            }
        }
    }
}

/// A fault while opening: it refuses or opens, and once the disk works again everything is there.
#[test]
fn a_fault_while_opening_takes_back_nothing() {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    let dir = path.join("data");
    let history = History::default();
    let store = open(&dir).unwrap();
    let load = Load { producers: 3, commits: 100, seed: 5, round: 0 };
    load.run(&store, &history, &|_| {});
    let all = store.durable().get();
    drop(store);
    let mut model = Model::default();
    for call in [Call::Write, Call::Sync] {
        for after in 0..12 {
            let recording = Recording::start(&path);
            let path = String::new();
            recording.tape.inject(Fault { path, call, errno: libc::EIO, after, for_ever: true });
            if let Ok(store) = Durable::open(small(&dir)) {
                check(&store, &history, &mut model, all).unwrap();
                drop(store);
            }
            recording.tape.heal();
            let store = open(&dir).unwrap_or_else(|error| panic!("{call:?} {after}: {error}"));
            check(&store, &history, &mut model, all).unwrap();
        }
    }
}

/// The same from outside: the kernel's answer to a driver of its own is changed by strace.
#[test]
fn a_sync_error_from_the_kernel_ends_the_driver_and_takes_back_nothing() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return println!("skipped: there is no strace here");
    }
    let mut stopped_under_load = 0;
    for number in [1, 10, 40, 90, 200] {
        let root = room();
        let inject = format!("inject=fdatasync,fsync:error=EIO:when={number}+");
        let strace =
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e"];
        let wrapper: Vec<&str> = strace.into_iter().chain([inject.as_str()]).collect();
        let status = kill::start(root.path(), 0, &wrapper).wait().unwrap();
        assert!(!status.success(), "the driver ended well");
        let opened = root.path().join("opened").exists();
        let total = kill::check(root.path());
        stopped_under_load += u32::from(opened && total > 0);
    }
    assert!(stopped_under_load > 0, "no error came while it was under load");
}
