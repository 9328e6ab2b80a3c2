//! Proofs of the store: the contract of every implementation, and the durable one under power cuts,
//! kills, faults, full disks and damage.
//!
//! - `contract`, `interleaved`: the rules of `Store`, on both implementations, against a model;
//! - `recorder`, `tape`, `disk`, `content`: the system calls of this process, recorded, and the
//!   disks that a power cut may leave of them; `toy` proves these on protocols known right or
//!   wrong;
//! - `power`: cuts of a recorded load, and cuts again while the image opens; `real_power`: a real
//!   file system switched off;
//! - `moving`: readers while values move from file to file;
//! - `kill`, `faults`, `full`, `corruption`, `bad_input`: what their names say.
//!
//! Seen to fail, each promise of the code broken on purpose:
//!
//! | broken | red |
//! |---|---|
//! | the journal's fdatasync left out | `what_is_pending_...`, `a_failed_sync_...`, `real_power` |
//! | a group shown to readers before its sync | `what_is_pending_is_for_the_committer_alone` |
//! | generation not in the checksum: stale groups count | `no_cut_of_a_mixed_load_loses_anything` |
//! | the chain's links not compared | `an_edited_history_is_refused` |
//! | sled believed short of its note | each run of `a_sled_without_its_sync_...`, 3 to 13 images |
//! | a reader that finds its file gone does not ask again | `no_cut_of_a_mixed_load_...` |
//! | segments retire, or older bases go, before a base is adopted and synced | `power`, `moving` |
//! | a base adopted before its sync; one taken for adopted that is not | `no_cut_of_a_mixed_load_...` |
//! | a value's checksum, or the revision of what is adopted, not compared | `corruption`, `moving` |
//! | a closed index not compared with its seal | `an_index_that_is_not_what_was_closed_...` |
//!
//! Stayed green: a segment not looked for again after it was read from (the value's checksum stands
//! behind it), and an adopted base that is ahead of the note (a window of one sync, by reading).
//!
//! A disk that lies to the journal is found out in every run: `a_journal_without_its_sync_...`.
//!
//! A random run prints its seed when it fails; `ABIDE_TEST_SEED` sets it, and `ABIDE_TEST_KEEP`
//! keeps the images that were wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]

use std::path::Path;

use tempfile::TempDir;

use crate::disk::Disk;
use crate::recorder::Recording;

mod bad_input;
mod content;
mod contract;
mod corruption;
mod disk;
mod faults;
mod full;
mod interleaved;
mod kill;
mod load;
mod memory;
mod model;
mod mount;
mod moving;
mod power;
mod random;
mod real_power;
mod recorder;
mod subject;
mod tape;
mod toy;

/// An empty directory, in memory if the machine allows it: the model plays the disk.
fn room() -> TempDir {
    let memory = Path::new("/dev/shm");
    TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap()
}

/// Checks that the recording knows everything that happened below `root`: else the model would cut
/// a different disk. `out` is an empty directory.
fn assert_complete(recording: &Recording, root: &Path, out: &Path) {
    {
        let state = recording.tape.lock();
        let mut disk = Disk::new(&recording.tape.start, &state.ops);
        disk.advance(state.ops.len());
        disk.everything(out);
    }
    assert_same(root, out);
}

fn assert_same(left: &Path, right: &Path) {
    let names = |dir: &Path| -> Vec<_> {
        let mut names: Vec<_> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(left), names(right), "in {}", left.display());
    for name in names(left) {
        let (left, right) = (left.join(&name), right.join(&name));
        if left.is_dir() {
            assert_same(&left, &right);
        } else if std::fs::read(&left).unwrap() != std::fs::read(&right).unwrap() {
            panic!("{} is not as recorded", left.display());
        }
    }
}
