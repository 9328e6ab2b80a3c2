//! Cost of a large store: rate, opening after a kill, memory, disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abide::store::Write;
use tokio::runtime::Runtime;

use crate::load::{self, Clock, Numbers, Subject, TRANSACTION_BYTES, Workload};
use crate::report::{self, mib, number, verdict, verdict_most};
use crate::subject::Abide;
use crate::{child, machine};

/// Records of the small store with which the large one is compared.
const FEW: u64 = 10_000;
const PRODUCERS: usize = 64;
/// Long enough that merging into sled is part of what is measured.
const LENGTH: Duration = Duration::from_secs(10);
/// Bars.
const RATE_RATIO: f64 = 0.7;
const OPEN_S: f64 = 2.0;
const DISK_RATIO: f64 = 2.5;
/// Memory of a process beside the configured budget, in bytes: the program, its threads' stacks and
/// arenas, buffers, and memory that the allocator has not given back.
const BESIDE_BYTES: u64 = 128 * 1024 * 1024;

/// Measures and prints.
pub(crate) fn run(runtime: &Runtime, dir: &Path, records: u64) {
    let home = machine::fresh(&dir.join("growth"));
    let clock = Arc::new(Clock::starting_at(0));
    let abide = Arc::new(Abide::open(&home));
    load::open_accounts(runtime, &*abide);
    fill(runtime, &abide, &clock, FEW);
    let few = rate(runtime, &abide, &clock, FEW);
    fill(runtime, &abide, &clock, records);
    let many = rate(runtime, &abide, &clock, records);
    verdict(&format!("rate with {records} records to rate with {FEW}"), many / few, RATE_RATIO);
    let abide = Arc::into_inner(abide).expect("nothing holds it any more");
    abide.store.close().expect("it closes");

    opening(&home);
    machine::remove(&home);
    for bytes in [TRANSACTION_BYTES, 4 * 1024] {
        overwriting(runtime, &machine::fresh(&dir.join("overwrite")), bytes);
    }
}

fn fill(runtime: &Runtime, abide: &Arc<Abide>, clock: &Arc<Clock>, records: u64) {
    let since = Instant::now();
    let bar = report::bar(records);
    bar.set_message("storing records");
    let told = bar.clone();
    load::fill(runtime, abide, clock, records, move |some| told.inc(some));
    settle(runtime, abide);
    bar.finish_and_clear();
    println!("{records} records stored and merged in {:.1} s", since.elapsed().as_secs_f64());
}

/// Waits until sled has what the store has.
fn settle(runtime: &Runtime, abide: &Abide) {
    runtime.block_on(async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        while abide.store.stats().overlay_bytes > 0 {
            look.tick().await;
        }
    });
}

fn rate(runtime: &Runtime, abide: &Arc<Abide>, clock: &Arc<Clock>, records: u64) -> f64 {
    let bar = report::bar(1);
    bar.set_message(format!("real, {PRODUCERS} producers, {records} records"));
    let figures = load::run(runtime, abide, clock, Workload::Real, PRODUCERS, LENGTH, |_| {});
    bar.finish_and_clear();
    println!("with {records} records: {} commits/s", number(figures.rate()));
    figures.rate()
}

fn opening(home: &Path) {
    let mut slowest = Duration::ZERO;
    let mut peak = 0;
    for (turn, commits) in [20_000, 100_000, 250_000].into_iter().enumerate() {
        let bar = report::bar(commits);
        bar.set_message(format!("load, then a kill ({} of 3)", turn + 1));
        peak = peak.max(child::load_and_kill(home, commits, |done| bar.set_position(done)));
        bar.finish_and_clear();
        let since = Instant::now();
        let abide = Abide::open(home);
        let took = since.elapsed();
        println!("opened in {:.2} s after a kill at {commits} commits", took.as_secs_f64());
        slowest = slowest.max(took);
        // As a kill would, so that the next turn begins with a recovery too.
        drop(abide);
    }
    verdict_most("opening after a kill, s", slowest.as_secs_f64(), OPEN_S);
    let options = Abide::options(home);
    let configured = options.staged_bytes_max as u64
        + options.overlay_bytes_max as u64
        + options.sled_cache_bytes;
    println!("most memory under load {}, configured {}", mib(peak), mib(configured));
    let most = (configured + BESIDE_BYTES) as f64 / configured as f64;
    verdict_most("memory to what is configured", peak as f64 / configured as f64, most);
}

/// A million overwrites of ten thousand keys, four a commit.
fn overwriting(runtime: &Runtime, home: &Path, bytes: usize) {
    const KEYS: u64 = 10_000;
    const OVERWRITES: u64 = 1_000_000;
    let abide = Arc::new(Abide::open(home));
    let bar = report::bar(OVERWRITES);
    bar.set_message(format!("overwriting {KEYS} values of {bytes} bytes"));
    let tasks = (0..PRODUCERS as u64).map(|seed| {
        let (abide, bar) = (abide.clone(), bar.clone());
        runtime.spawn(async move {
            let mut numbers = Numbers::new(seed);
            for _ in 0..OVERWRITES / PRODUCERS as u64 / 4 {
                let first = numbers.next() % KEYS;
                let write = |step: u64| {
                    let key = format!("k/{:08}", (first + step * 7) % KEYS);
                    Write::put(key.into_bytes(), numbers.value(bytes))
                };
                let writes = (0..4).map(write).collect();
                abide.commit(writes).await;
                bar.inc(4);
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        runtime.block_on(task).expect("no producer panics");
    }
    bar.finish_and_clear();
    let abide = Arc::into_inner(abide).expect("nothing holds it any more");
    abide.store.close().expect("it closes");
    let part = |name: &str| machine::disk_bytes(&home.join(name));
    let (journal, base, index) = (part("journal"), part("base"), part("sled"));
    let live = KEYS * (bytes as u64 + 10);
    println!(
        "after {OVERWRITES} overwrites of {KEYS} values of {bytes} bytes: journal {}, base {}, \
         sled {}; live data {}",
        mib(journal),
        mib(base),
        mib(index),
        mib(live)
    );
    let beside = (base + index) as f64 / live as f64;
    verdict_most("disk beside the retained journal to live data", beside, DISK_RATIO);
}
