//! Directories that are no data directories, or cannot be opened now: one clear line, and nothing
//! touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use abide::store::durable::{Durable, verify};
use abide::store::{Batch, Store, StoreError, Write};
use tempfile::TempDir;

use crate::room;
use crate::subject::{open, small};

const DIR: &str = "ABIDE_TEST_OPEN_DIR";
/// A user without rights.
const NOBODY: u32 = 65534;

/// Everything that would show a change.
fn state(path: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let Ok(meta) = fs::symlink_metadata(path) else { return found };
    let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    found.insert(path.to_path_buf(), (meta.ino(), meta.mtime(), meta.mtime_nsec(), bytes));
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(state(&entry.unwrap().path()));
        }
    }
    found
}

/// Checks that opening is refused with one line that has `words` and the path, and touches nothing.
fn refused(root: &TempDir, dir: &Path, words: &str) {
    let before = state(root.path());
    let error = Durable::open(small(dir)).unwrap_err();
    one_line(&error, dir, words);
    assert_eq!(before, state(root.path()), "something was touched");
    let error = verify(dir, &mut |_| {}).unwrap_err();
    assert!(!error.to_string().contains('\n'));
    assert_eq!(before, state(root.path()), "verify touched something");
}

fn one_line(error: &StoreError, dir: &Path, words: &str) {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.contains(dir.to_str().unwrap()), "{line} does not name {}", dir.display());
    assert!(line.contains(words), "{line:?} does not say {words:?}");
}

fn filled(dir: &Path) {
    let store = open(dir).unwrap();
    let batch = Batch { writes: vec![Write::put("k", "v")], ..Batch::default() };
    store.commit(batch).unwrap().wait().unwrap();
    store.close().unwrap();
}

#[test]
fn another_format_version_is_refused() {
    let root = room();
    let dir = root.path().join("data");
    filled(&dir);
    let format = fs::read_to_string(dir.join("FORMAT")).unwrap();
    let number: u32 = format.trim_start_matches("abide data ").trim_end().parse().unwrap();
    let other = format!("abide data {}\n", number + 1);
    fs::write(dir.join("FORMAT"), other).unwrap();
    refused(&root, &dir, "this build reads");
    fs::write(dir.join("FORMAT"), [0xff, 0xfe, 0]).unwrap();
    let before = state(root.path());
    open(&dir).unwrap_err();
    assert_eq!(before, state(root.path()));
    fs::write(dir.join("FORMAT"), format).unwrap();
    open(&dir).unwrap();
}

#[test]
fn a_directory_in_use_is_refused() {
    let root = room();
    let dir = root.path().join("data");
    let store = open(&dir).unwrap();
    one_line(&Durable::open(small(&dir)).unwrap_err(), &dir, "in use");
    one_line(&verify(&dir, &mut |_| {}).unwrap_err(), &dir, "in use");
    let line = opened_elsewhere(&dir, None);
    assert!(line.contains("in use"), "{line}");
    // The refused openings removed nothing.
    let batch = Batch { writes: vec![Write::put("k", "v")], ..Batch::default() };
    store.commit(batch).unwrap().wait().unwrap();
    store.close().unwrap();
    open(&dir).unwrap();
}

#[test]
fn a_file_in_the_way_is_refused() {
    let root = room();
    let dir = root.path().join("data");
    fs::write(&dir, "a file").unwrap();
    refused(&root, &dir, "file");
}

#[test]
fn a_parent_that_does_not_exist_is_refused() {
    let root = room();
    refused(&root, &root.path().join("no/such/data"), "does not exist");
    fs::write(root.path().join("file"), "a file").unwrap();
    let before = state(root.path());
    open(&root.path().join("file/data")).unwrap_err();
    assert_eq!(before, state(root.path()));
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let root = room();
    let dir = root.path().join("data");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("letter.txt"), "dear").unwrap();
    refused(&root, &dir, "not a data directory");
    fs::create_dir(dir.join("sled")).unwrap();
    fs::write(dir.join("sled/db"), "precious").unwrap();
    refused(&root, &dir, "not a data directory");
}

#[test]
fn an_empty_directory_is_taken() {
    let root = room();
    let dir = root.path().join("data");
    fs::create_dir(&dir).unwrap();
    filled(&dir);
    // Nobody else may read the files in it.
    for name in ["journal", "base"] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} {mode:o}");
    }
}

/// The child: opens the directory and prints the outcome.
#[test]
#[ignore = "run by the tests that need another process"]
fn opener() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    match Durable::open(small(dir)) {
        Ok(_) => println!("outcome: opened"),
        Err(error) => println!("outcome: {error}"),
    }
}

/// Returns the result of another process, perhaps of another user, that opens the directory.
fn opened_elsewhere(dir: &Path, user: Option<u32>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["bad_input::opener", "--exact", "--ignored", "--nocapture"]).env(DIR, dir);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = text.find("outcome: ").unwrap_or_else(|| panic!("{text} {output:?}"));
    text[at..].lines().next().unwrap().to_owned()
}

#[test]
fn no_permission_is_refused() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return println!("skipped: only root can run a child as another user");
    }
    let root = room();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let dir = root.path().join("data");
    let before = state(root.path());
    let line = opened_elsewhere(&dir, Some(NOBODY));
    assert!(line.contains(dir.to_str().unwrap()) && line.contains("ermission"), "{line}");
    assert_eq!(before, state(root.path()));
    filled(&dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let before = state(root.path());
    let line = opened_elsewhere(&dir, Some(NOBODY));
    assert!(line.contains(dir.to_str().unwrap()) && line.contains("ermission"), "{line}");
    assert_eq!(before, state(root.path()));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o000)).unwrap();
    let line = opened_elsewhere(&dir, Some(NOBODY));
    assert!(line.contains(dir.to_str().unwrap()) && line.contains("ermission"), "{line}");
}
