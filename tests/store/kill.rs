//! kill -9: a driver under load is killed at random moments, 200 times on one data directory, and
//! some of the times while it opens. The driver is this test binary, run again.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use abide::store::durable::Durable;
use abide::store::{Batch, Precondition, Store, StoreError, View, Write};
use abide::types::Revision;
use bytes::Bytes;

use crate::random::Random;
use crate::room;
use crate::subject::{open, small, verified};

const CYCLES: u64 = 200;
const PRODUCERS: u64 = 4;
const DIR: &str = "ABIDE_TEST_KILL_DIR";
const CYCLE: &str = "ABIDE_TEST_KILL_CYCLE";

/// The record of one commit of a producer: it can be written only once.
fn name(cycle: u64, producer: u64, number: u64) -> String {
    format!("once/{cycle:04}/{producer}/{number:06}")
}

/// The driver: opens, reports it, commits and writes down the acknowledged commits until it is
/// killed.
#[test]
#[ignore = "run by the test that kills it"]
fn driver() {
    let Some(root) = env::var_os(DIR).map(PathBuf::from) else { return };
    let cycle: u64 = env::var(CYCLE).unwrap().parse().unwrap();
    let store = open(&root.join("data")).unwrap();
    fs::write(root.join("opened"), cycle.to_string()).unwrap();
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (store, root) = (&store, &root);
            scope.spawn(move || drive(store, root, cycle, producer));
        }
    });
}

/// Commits for ever: a key of its own that must be absent, a counter that must be unchanged, and
/// filling. A line goes to the file of the acknowledged with one write, which a kill cannot tear.
fn drive(store: &Durable, root: &Path, cycle: u64, producer: u64) {
    let mut random = Random::new(cycle * PRODUCERS + producer);
    let path = root.join(format!("acknowledged-{producer}"));
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    let counter = Bytes::from(format!("counter/{producer}"));
    for number in 0.. {
        let row = store.get(View::Staged, &counter).unwrap();
        let count: u64 = row.as_ref().map_or(0, |row| count(&row.value));
        let unchanged = match row {
            Some(row) => Precondition::Unchanged(counter.clone(), row.revision),
            None => Precondition::Absent(counter.clone()),
        };
        let key = Bytes::from(name(cycle, producer, number));
        let size = if random.below(50) == 0 { 60_000 } else { random.index(1500) };
        let filling = format!("filling/{producer}/{}", random.below(100));
        let batch = Batch {
            entry: key.clone(),
            preconditions: vec![Precondition::Absent(key.clone()), unchanged],
            writes: vec![
                Write::put(key.clone(), "x"),
                Write::put(counter.clone(), (count + 1).to_string()),
                Write::put(filling, random.bytes(size)),
            ],
            ..Batch::default()
        };
        let revision = match store.commit(batch) {
            Ok(receipt) => receipt.wait().unwrap(),
            Err(StoreError::Busy) => continue,
            Err(error) => panic!("{error}"),
        };
        let line = format!("{} {revision} {}\n", String::from_utf8_lossy(&key), count + 1);
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn count(value: &Bytes) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Starts the driver, through `wrapper` if there is one.
pub(crate) fn start(root: &Path, cycle: u64, wrapper: &[&str]) -> Child {
    let binary = env::current_exe().unwrap();
    let mut words: Vec<&str> = wrapper.to_vec();
    words.push(binary.to_str().unwrap());
    words.extend(["kill::driver", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    Command::new(words[0])
        .args(&words[1..])
        .env(DIR, root)
        .env(CYCLE, cycle.to_string())
        .stdout(Stdio::null())
        .stderr(fs::File::create(root.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// Waits until the driver has opened the store.
fn await_opened(root: &Path, child: &mut Child, cycle: u64) {
    let since = Instant::now();
    while fs::read_to_string(root.join("opened")).ok() != Some(cycle.to_string()) {
        if let Some(status) = child.try_wait().unwrap() {
            let stderr = fs::read_to_string(root.join("stderr")).unwrap();
            panic!("cycle {cycle}: the driver ended with {status}: {stderr}");
        }
        assert!(since.elapsed() < Duration::from_mins(1), "cycle {cycle}: does not open");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Every acknowledged commit so far: its key, revision and count.
fn acknowledged(root: &Path, producer: u64) -> Vec<(String, Revision, u64)> {
    let path = root.join(format!("acknowledged-{producer}"));
    let lines = fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let key = words.next()?.to_owned();
        let revision = Revision::new(words.next()?.parse().ok()?);
        Some((key, revision, words.next()?.parse().ok()?))
    };
    lines.lines().filter_map(parse).collect()
}

/// Every acknowledged commit is there exactly once, in the rows, the counters and the log.
pub(crate) fn check(root: &Path) -> u64 {
    let dir = root.join("data");
    let store = open(&dir).unwrap();
    let mut seen: HashMap<Bytes, Revision> = HashMap::new();
    let mut after = Revision::ZERO;
    let mut oldest = Revision::ZERO;
    loop {
        match store.read_log(after, 1000) {
            Ok(entries) if entries.is_empty() => break,
            Ok(entries) => {
                for entry in entries {
                    assert_eq!(entry.revision, after.next(), "a gap in the log");
                    after = entry.revision;
                    let twice = seen.insert(entry.entry.clone(), entry.revision);
                    assert_eq!(twice, None, "{:?} is in the log twice", entry.entry);
                }
            }
            Err(StoreError::Gone { oldest: from }) => (after, oldest) = (from, from),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(after, store.durable(), "the log ends elsewhere");
    let mut total = 0;
    for producer in 0..PRODUCERS {
        let acknowledged = acknowledged(root, producer);
        for (key, revision, _) in &acknowledged {
            let row = store.get(View::Committed, key.as_bytes()).unwrap();
            let row = row.unwrap_or_else(|| panic!("{key} of {revision} is lost"));
            assert_eq!(row.revision, *revision, "{key}");
            if *revision > oldest {
                assert_eq!(seen.get(key.as_bytes()), Some(revision), "{key} is not in the log");
            }
        }
        let last = acknowledged.last().map_or(0, |(_, _, count)| *count);
        let counter = store.get(View::Committed, format!("counter/{producer}").as_bytes());
        let counter = counter.unwrap().map_or(0, |row| count(&row.value));
        assert!(counter >= last, "producer {producer} counted to {last}, it says {counter}");
        // Each commit counted once: there are not more than there are keys.
        let range = abide::store::KeyRange::all();
        let rows = crate::model::scan_all(
            &store,
            View::Committed,
            &range,
            abide::store::Order::Ascending,
            200,
        );
        let made = rows.unwrap().into_iter().filter(|row| {
            let key = std::str::from_utf8(&row.key).unwrap();
            key.starts_with("once/") && key.split('/').nth(2) == Some(&producer.to_string())
        });
        assert_eq!(made.count() as u64, counter, "producer {producer}");
        total += counter;
    }
    store.close().unwrap();
    let report = verified(&dir).unwrap();
    assert_eq!(report.revision, after);
    total
}

#[test]
fn two_hundred_kills_lose_nothing() {
    let root = room();
    let seed = Random::seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut while_opening = 0;
    // The directory is made before the first kill in one half of the runs only.
    if random.below(2) == 0 {
        drop(Durable::open(small(root.path().join("data"))).unwrap());
    }
    for cycle in 0..CYCLES {
        let mut child = start(root.path(), cycle, &[]);
        if random.below(4) == 0 {
            // A random moment is the point here, not a guess at how long something takes.
            thread::park_timeout(Duration::from_micros(random.below(60_000)));
        } else {
            await_opened(root.path(), &mut child, cycle);
            thread::park_timeout(Duration::from_micros(random.below(120_000)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = fs::read_to_string(root.path().join("opened")).unwrap_or_default();
        while_opening += u64::from(opened != cycle.to_string());
        if cycle % 40 == 39 {
            check(root.path());
        }
    }
    let total = check(root.path());
    println!("{total} commits, {while_opening} kills before it was open");
    assert!(total > CYCLES, "too little was committed to mean anything");
}
