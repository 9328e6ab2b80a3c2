//! The recorder and the disk model, proved on protocols that are small enough to verify by hand.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::disk::Disk;
use crate::random::Random;
use crate::recorder::Recording;
use crate::room;
use crate::tape::{Call, Fault};

/// Step that the writer of a toy log leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    None,
    Sync,
    DirectorySync,
    SyncBeforeRename,
}

/// Appends records to `log` and then replaces `state` by a rename, promising both.
fn write_log(root: &Path, recording: &Recording, without: Without) {
    let dir = root.join("dir");
    fs::create_dir(&dir).unwrap();
    let mut log = OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
    if without != Without::DirectorySync {
        File::open(&dir).unwrap().sync_all().unwrap();
        File::open(root).unwrap().sync_all().unwrap();
    }
    for number in 1..=20_u64 {
        let mut record = vec![0_u8; 1500];
        record[..8].copy_from_slice(&number.to_le_bytes());
        record[1492..].copy_from_slice(&number.to_le_bytes());
        log.write_all(&record).unwrap();
        if without != Without::Sync {
            log.sync_data().unwrap();
        }
        let fresh = File::create(dir.join("state.new")).unwrap();
        fresh.write_all_at(&number.to_le_bytes(), 0).unwrap();
        if without != Without::SyncBeforeRename {
            fresh.sync_data().unwrap();
        }
        fs::rename(dir.join("state.new"), dir.join("state")).unwrap();
        if without != Without::DirectorySync {
            File::open(&dir).unwrap().sync_all().unwrap();
        }
        recording.tape.promise(number);
    }
}

/// Returns the fault of an image in which `promised` records were promised.
fn complaint(root: &Path, promised: u64) -> Option<&'static str> {
    let log = fs::read(root.join("dir/log")).unwrap_or_default();
    let whole = log.chunks_exact(1500).zip(1_u64..).take_while(|(record, number)| {
        record[..8] == number.to_le_bytes() && record[1492..] == number.to_le_bytes()
    });
    if (whole.count() as u64) < promised {
        return Some("lost from the log");
    }
    let state = fs::read(root.join("dir/state")).unwrap_or_default();
    match state.try_into().map(u64::from_le_bytes) {
        Ok(number) if number >= promised => None,
        Err(_) if promised == 0 => None,
        _ => Some("lost from the state"),
    }
}

fn complaints(without: Without) -> Vec<&'static str> {
    let root = room();
    let recording = Recording::start(root.path());
    write_log(&root.path().canonicalize().unwrap(), &recording, without);
    let state = recording.tape.lock();
    let mut random = Random::new(7);
    let mut disk = Disk::new(&recording.tape.start, &state.ops);
    let mut found = Vec::new();
    for at in 0..=state.ops.len() {
        disk.advance(at);
        let out = room();
        disk.image(&mut random, out.path());
        found.extend(complaint(out.path(), disk.promised()));
    }
    found
}

#[test]
fn a_right_protocol_survives_every_cut() {
    assert_eq!(complaints(Without::None), Vec::<&str>::new());
}

#[test]
fn what_a_protocol_leaves_out_is_found() {
    assert!(complaints(Without::Sync).contains(&"lost from the log"));
    assert!(complaints(Without::DirectorySync).contains(&"lost from the log"));
    assert!(complaints(Without::SyncBeforeRename).contains(&"lost from the state"));
}

#[test]
fn a_recording_is_complete() {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    fs::create_dir(path.join("before")).unwrap();
    fs::write(path.join("before/file"), vec![1_u8; 70_000]).unwrap();
    let recording = Recording::start(&path);
    thread::scope(|scope| {
        for worker in 0..4 {
            let path = path.clone();
            scope.spawn(move || scribble(&path, worker));
        }
    });
    let out = room();
    crate::assert_complete(&recording, &path, out.path());
}

/// Changes files in every way that is recorded.
fn scribble(root: &Path, worker: u64) {
    let mut random = Random::new(worker);
    let dir = root.join(format!("{worker}"));
    fs::create_dir(&dir).unwrap();
    for round in 0..40 {
        let path = dir.join(format!("file{}", random.below(5)));
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let mut file = open.unwrap();
        match random.below(7) {
            0 => file.set_len(random.below(100_000)).unwrap(),
            1 => fs::rename(&path, dir.join("file0")).unwrap(),
            2 => fs::remove_file(&path).unwrap(),
            3 => drop(File::create(&path).unwrap()),
            4 => file.try_clone().unwrap().write_all(b"through a copy").unwrap(),
            5 => {
                let mut end = OpenOptions::new().append(true).open(&path).unwrap();
                end.write_all(&random.bytes(700)).unwrap();
                let parts = [IoSlice::new(b"two "), IoSlice::new(b"parts")];
                assert_eq!(end.write_vectored(&parts).unwrap(), 9);
            }
            _ => {
                let count = random.index(50_000);
                file.write_all_at(&random.bytes(count), random.below(60_000)).unwrap();
            }
        }
        file.write_all(b"at the start").unwrap();
        if round == 20 {
            fs::rename(&dir, root.join(format!("{worker}-moved"))).unwrap();
            fs::create_dir_all(&dir).unwrap();
        }
        if round == 30 {
            fs::remove_dir_all(root.join(format!("{worker}-moved"))).unwrap();
        }
    }
}

#[test]
fn faults_strike_and_syncs_are_held() {
    let root = room();
    let path = root.path().canonicalize().unwrap();
    let recording = Recording::start(&path);
    let mut file = File::create(path.join("journal")).unwrap();
    let fault =
        |call| Fault { path: "journal".into(), call, errno: libc::EIO, after: 1, for_ever: false };
    recording.tape.inject(fault(Call::Write));
    recording.tape.inject(fault(Call::Sync));
    file.write_all(b"one").unwrap();
    assert_eq!(file.write_all(b"two").unwrap_err().raw_os_error(), Some(libc::EIO));
    file.write_all(b"two").unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(recording.tape.struck(), 2);

    recording.tape.hold_syncs("journal");
    let order = Arc::new(Mutex::new(Vec::new()));
    let from_thread = Arc::clone(&order);
    let waiting = thread::spawn(move || {
        file.sync_data().unwrap();
        from_thread.lock().unwrap().push("synced");
    });
    recording.tape.await_held_sync();
    order.lock().unwrap().push("released");
    recording.tape.release_syncs();
    waiting.join().unwrap();
    assert_eq!(*order.lock().unwrap(), ["released", "synced"]);
}
