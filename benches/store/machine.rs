//! Use of the machine by the process, and its directories.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of this process so far, all threads.
pub(crate) fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    // After the name in parentheses, user and system time are fields 12 and 13 (proc(5)).
    let fields = stat.rsplit_once(") ").expect("a name in parentheses").1.split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// The most memory that this process ever had resident, in bytes.
pub(crate) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// The directory, made anew and empty.
pub(crate) fn fresh(dir: &Path) -> PathBuf {
    remove(dir);
    fs::create_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir.canonicalize().expect("it exists")
}

/// Removes the directory with all in it, if it is there.
pub(crate) fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        assert!(!dir.exists(), "{}: {error}", dir.display());
    }
}

/// Bytes that the files below `path` take on the disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    if !about.is_dir() {
        return about.blocks() * 512;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk_bytes(&entry.path())).sum()
}

/// One line on where this runs.
pub(crate) fn describe(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holds = mounts.filter(|(at, _)| dir.starts_with(at));
    let (at, kind) = holds.max_by_key(|(at, _)| at.len()).unwrap_or(("?", "?"));
    assert!(kind != "tmpfs", "{}: lies in memory ({at}); give --dir on a disk", dir.display());
    format!("{cores} cores; {} on {kind}", dir.display())
}
