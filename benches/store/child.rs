//! A process that loads a store until it is killed, and the one that kills it.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::load::{self, Clock, Workload};
use crate::machine;
use crate::subject::Abide;

/// Producers of the load.
const PRODUCERS: usize = 64;
/// Number of commits after which the process prints its progress.
const TELL_EVERY: u64 = 10_000;
/// Time after which it ends by itself, should its parent be gone.
const LONGEST: Duration = Duration::from_mins(5);
/// Time at which the clock of the keys continues; far behind the keys that a benchmark fills in.
const LATER: u64 = 1 << 40;

/// Loads the store in `dir` with "real" and prints `COMMITS PEAK_BYTES` now and then.
pub(crate) fn load_until_killed(runtime: &Runtime, dir: &Path) {
    let abide = Arc::new(Abide::open(dir));
    let clock = Arc::new(Clock::starting_at(LATER));
    let commits = AtomicU64::new(0);
    load::run(runtime, &abide, &clock, Workload::Real, PRODUCERS, LONGEST, move |_| {
        let commits = 1 + commits.fetch_add(1, Ordering::Relaxed);
        if commits.is_multiple_of(TELL_EVERY) {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{commits} {}", machine::peak_bytes()).expect("the parent listens");
        }
    });
}

/// Starts such a process, kills it after at least `commits`, and returns the most memory that it
/// had resident, in bytes.
pub(crate) fn load_and_kill(dir: &Path, commits: u64, told: impl Fn(u64)) -> u64 {
    let mut child = start(dir);
    let out = child.stdout.take().expect("piped");
    let mut peak = None;
    for line in BufReader::new(out).lines() {
        let line = line.expect("text");
        let (done, bytes) = line.split_once(' ').expect("two numbers");
        let done: u64 = done.parse().expect("a number");
        told(done);
        if done >= commits {
            peak = bytes.parse().ok();
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    peak.expect("it ran until it was killed")
}

fn start(dir: &Path) -> Child {
    let this = std::env::current_exe().expect("this program");
    Command::new(this)
        .arg("--load-until-killed")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}
