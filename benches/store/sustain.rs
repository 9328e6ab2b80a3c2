//! A minute of load: does the store keep up with itself?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::load::{self, Clock, Workload};
use crate::machine;
use crate::report::{self, mib, ms, number, verdict, verdict_most};
use crate::subject::Abide;

const LENGTH: Duration = Duration::from_mins(1);
const WINDOW: Duration = Duration::from_secs(5);
const WINDOWS: usize = (LENGTH.as_secs() / WINDOW.as_secs()) as usize;
const PRODUCERS: usize = 64;
/// Interval between two looks at the store's figures.
const LOOK: Duration = Duration::from_millis(200);

/// Figures of one window.
#[derive(Debug, Default)]
struct Window {
    commits: AtomicU64,
    overlay_bytes: AtomicU64,
    journal_bytes: AtomicU64,
    applied_keys: AtomicU64,
}

/// Measures and prints.
pub(crate) fn run(runtime: &Runtime, dir: &Path) {
    let abide = Arc::new(Abide::open(&machine::fresh(&dir.join("sustain"))));
    load::open_accounts(runtime, &*abide);
    let windows: Arc<[Window; WINDOWS]> = Arc::default();
    let bar = report::bar(LENGTH.as_secs());
    bar.set_message(format!("real, {PRODUCERS} producers"));
    let watcher = runtime.spawn(watch(abide.clone(), windows.clone(), bar.clone()));
    let counted = windows.clone();
    let clock = Arc::new(Clock::starting_at(0));
    let figures =
        load::run(runtime, &abide, &clock, Workload::Real, PRODUCERS, LENGTH, move |at| {
            if let Some(window) = counted.get(at.div_duration_f64(WINDOW) as usize) {
                window.commits.fetch_add(1, Ordering::Relaxed);
            }
        });
    runtime.block_on(watcher).expect("the watcher ends");
    bar.finish_and_clear();
    print(&windows);
    println!(
        "in all {} commits/s, p50 {} ms, p99 {} ms, {:.2} cores",
        number(figures.rate()),
        ms(figures.latency_us(50.0)),
        ms(figures.latency_us(99.0)),
        figures.cores()
    );
    judge(&windows);
}

async fn watch(abide: Arc<Abide>, windows: Arc<[Window; WINDOWS]>, bar: indicatif::ProgressBar) {
    let since = tokio::time::Instant::now();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let at = since.elapsed();
        let Some(window) = windows.get(at.div_duration_f64(WINDOW) as usize) else { return };
        let stats = abide.store.stats();
        window.overlay_bytes.fetch_max(stats.overlay_bytes, Ordering::Relaxed);
        window.journal_bytes.store(stats.journal_bytes, Ordering::Relaxed);
        window.applied_keys.store(stats.applied_keys, Ordering::Relaxed);
        bar.set_position(at.as_secs());
    }
}

fn print(windows: &[Window; WINDOWS]) {
    println!(
        "\n{:>6}{:>12}{:>16}{:>16}{:>12}",
        "s", "commits/s", "most overlay", "journal", "to sled/s"
    );
    let mut applied = 0;
    for (index, window) in windows.iter().enumerate() {
        let now = window.applied_keys.load(Ordering::Relaxed);
        println!(
            "{:>6}{:>12}{:>16}{:>16}{:>12}",
            (index as u64 + 1) * WINDOW.as_secs(),
            number(window.commits.load(Ordering::Relaxed) as f64 / WINDOW.as_secs_f64()),
            mib(window.overlay_bytes.load(Ordering::Relaxed)),
            mib(window.journal_bytes.load(Ordering::Relaxed)),
            number(now.saturating_sub(applied) as f64 / WINDOW.as_secs_f64()),
        );
        applied = now;
    }
    println!();
}

/// The first window only fills what is empty at the start; the next four are the measure.
fn judge(windows: &[Window; WINDOWS]) {
    let early = 1..5;
    let late = WINDOWS - 4..WINDOWS;
    let mean = |range: std::ops::Range<usize>, of: fn(&Window) -> &AtomicU64| {
        let sum: u64 = windows[range].iter().map(|one| of(one).load(Ordering::Relaxed)).sum();
        sum as f64 / 4.0
    };
    let rate = |window| mean(window, |one| &one.commits);
    let overlay = |window| mean(window, |one| &one.overlay_bytes);
    verdict("rate at the end to rate at the start", rate(late.clone()) / rate(early.clone()), 0.8);
    verdict_most(
        "backlog at the end to backlog at the start",
        overlay(late) / overlay(early),
        1.25,
    );
}
