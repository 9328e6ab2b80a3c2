//! The table: both stores at every number of producers, in turn, beside the raw disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use crate::load::{self, Clock, Figures, Subject, Workload};
use crate::raw::{self, Placing};
use crate::report::{self, ms, number, verdict, verdict_most};
use crate::subject::{Abide, Plain, PlainOptions};
use crate::{Cli, machine};

/// Options of plain sled that are measured; the fastest is compared with the store.
const PLAIN: [PlainOptions; 4] = [
    PlainOptions { segment_bytes: 512 * 1024, second_sync: false },
    PlainOptions { segment_bytes: 512 * 1024, second_sync: true },
    PlainOptions { segment_bytes: 8 * 1024 * 1024, second_sync: false },
    PlainOptions { segment_bytes: 8 * 1024 * 1024, second_sync: true },
];

/// Bar for "real" from 64 producers on: so many times plain sled's rate.
const REAL_RATIO: f64 = 2.0;
/// Bar for "distinct": so many times plain sled's rate.
const DISTINCT_RATIO: f64 = 1.0;
/// Bar for the latency of one producer, as a multiple of the raw preallocated disk's.
const ALONE_RATIO: f64 = 1.6;

struct Row {
    workload: Workload,
    producers: usize,
    abide: Figures,
    plain: Option<Figures>,
}

/// Measures and prints.
pub(crate) fn run(runtime: &Runtime, dir: &Path, cli: &Cli) {
    let wanted = |one: &Workload| cli.only.as_deref().is_none_or(|name| name == one.name());
    let workloads: Vec<_> = Workload::ALL.into_iter().filter(wanted).collect();
    assert!(!workloads.is_empty(), "--only: real or distinct");
    let producers = cli.producers();
    let rows = (workloads.len() * producers.len()) as u64;
    let bar = report::bar(if cli.alone { rows } else { rows * 2 + 6 });
    let raw = (!cli.alone).then(|| raw_disk(dir, cli.row(), &bar));
    let plain = (!cli.alone).then(|| fastest(runtime, dir, &bar));
    let mut measured = Vec::new();
    for workload in workloads {
        for producers in producers.iter().copied() {
            let name = workload.name();
            bar.set_message(format!("{name}, {producers} producers: the store"));
            let abide = Abide::open(&machine::fresh(&dir.join("abide")));
            let abide = measure(runtime, abide, workload, producers, cli.row());
            bar.inc(1);
            let plain = plain.map(|options| {
                bar.set_message(format!("{name}, {producers} producers: plain sled"));
                let plain = Plain::open(&machine::fresh(&dir.join("plain")), options);
                let figures = measure(runtime, plain, workload, producers, cli.row());
                bar.inc(1);
                figures
            });
            measured.push(Row { workload, producers, abide, plain });
        }
    }
    bar.finish_and_clear();
    print(&measured, raw.as_ref().map(|(_, preallocated)| preallocated));
    judge(&measured, raw.as_ref().map(|(_, preallocated)| preallocated));
}

fn measure<S: Subject>(
    runtime: &Runtime,
    subject: S,
    workload: Workload,
    producers: usize,
    length: Duration,
) -> Figures {
    let subject = Arc::new(subject);
    load::open_accounts(runtime, &*subject);
    let clock = Arc::new(Clock::starting_at(0));
    load::run(runtime, &subject, &clock, workload, producers, length, |_| {})
}

fn raw_disk(dir: &Path, length: Duration, bar: &ProgressBar) -> (Figures, Figures) {
    let one = |placing, name| {
        bar.set_message(format!("raw disk, {name}"));
        let figures = raw::measure(dir, placing, length);
        bar.suspend(|| {
            println!(
                "raw disk, 4 KiB and fdatasync, {name:<12}: {:>7}/s, p50 {} ms, p99 {} ms",
                number(figures.rate()),
                ms(figures.latency_us(50.0)),
                ms(figures.latency_us(99.0)),
            );
        });
        bar.inc(1);
        figures
    };
    (one(Placing::Appending, "appending"), one(Placing::Preallocated, "preallocated"))
}

/// Tries plain sled's settings for a moment each.
fn fastest(runtime: &Runtime, dir: &Path, bar: &ProgressBar) -> PlainOptions {
    let mut best = (0.0, PLAIN[0]);
    for options in PLAIN {
        bar.set_message("plain sled: which settings are the fastest");
        let plain = Plain::open(&machine::fresh(&dir.join("plain")), options);
        let length = Duration::from_millis(700);
        let rate = measure(runtime, plain, Workload::Real, 64, length).rate();
        if rate > best.0 {
            best = (rate, options);
        }
        bar.inc(1);
    }
    bar.suspend(|| println!("plain sled, its fastest settings: {:?}", best.1));
    best.1
}

fn print(rows: &[Row], raw: Option<&Figures>) {
    println!();
    println!(
        "{:<9}{:>10} |{:>10}{:>9}{:>9}{:>7} |{:>10}{:>9}{:>9}{:>7} |{:>7}{:>9}",
        "workload",
        "producers",
        "store/s",
        "p50 ms",
        "p99 ms",
        "cores",
        "sled/s",
        "p50 ms",
        "p99 ms",
        "cores",
        "ratio",
        "p50/raw"
    );
    for row in rows {
        let figures = |one: Option<&Figures>| match one {
            None => format!("{:>10}{:>9}{:>9}{:>7}", "-", "-", "-", "-"),
            Some(one) => format!(
                "{:>10}{:>9}{:>9}{:>7.2}",
                number(one.rate()),
                ms(one.latency_us(50.0)),
                ms(one.latency_us(99.0)),
                one.cores()
            ),
        };
        let ratio = row.plain.as_ref().map(|plain| row.abide.rate() / plain.rate());
        let to_raw = raw.map(|raw| to_raw(&row.abide, raw));
        let or_dash = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        println!(
            "{:<9}{:>10} |{} |{} |{:>7}{:>9}",
            row.workload.name(),
            row.producers,
            figures(Some(&row.abide)),
            figures(row.plain.as_ref()),
            or_dash(ratio),
            or_dash(to_raw),
        );
    }
    println!();
}

fn to_raw(figures: &Figures, raw: &Figures) -> f64 {
    figures.latency_us(50.0) as f64 / raw.latency_us(50.0) as f64
}

fn judge(rows: &[Row], raw: Option<&Figures>) {
    for row in rows {
        let name = format!("{}, {} producers", row.workload.name(), row.producers);
        let ratio = row.plain.as_ref().map(|plain| row.abide.rate() / plain.rate());
        match (row.workload, ratio) {
            (Workload::Real, Some(ratio)) if row.producers >= 64 => {
                verdict(&format!("{name}, times plain sled"), ratio, REAL_RATIO);
            }
            (Workload::Distinct, Some(ratio)) => {
                verdict(&format!("{name}, times plain sled"), ratio, DISTINCT_RATIO);
            }
            _ => {}
        }
        if let (1, Workload::Real, Some(raw)) = (row.producers, row.workload, raw) {
            let what = format!("{name}, p50 as a multiple of the raw disk's");
            verdict_most(&what, to_raw(&row.abide, raw), ALONE_RATIO);
        }
    }
}
