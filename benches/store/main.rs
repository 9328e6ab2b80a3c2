//! The store beside plain sled and the raw disk, in one run on one disk.
//!
//! `cargo bench --bench store -- --help` lists the options. Without any it prints the table:
//! commits a second and their latency at 1 to 1024 producers. `--sustain` holds a load for a
//! minute and watches the backlog; `--growth` measures what a large store costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark may stop at the first surprise, and its figures are for people"
)]

mod child;
mod growth;
mod load;
mod machine;
mod raw;
mod report;
mod subject;
mod sustain;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// The server's allocator, here too: it makes sled up to twice as fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measurements to make.
#[derive(Debug, Parser)]
#[command(name = "store", about = "Measures the store beside plain sled and the raw disk")]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Cli {
    /// A first impression: one second a row, 1 and 64 producers
    #[arg(long)]
    quick: bool,
    /// Seconds of measurement a row
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only rows whose workload has this name: real, distinct
    #[arg(long)]
    only: Option<String>,
    /// Numbers of producers instead of 1, 16, 64, 256, 1024
    #[arg(long, value_delimiter = ',')]
    producers: Vec<usize>,
    /// Only the store, without plain sled and the raw disk: for a profiler
    #[arg(long)]
    alone: bool,
    /// Hold the load of 64 producers for a minute: is what is left to do growing?
    #[arg(long)]
    sustain: bool,
    /// Rate, opening after a kill and memory with a million records; disk after a million
    /// overwrites
    #[arg(long)]
    growth: bool,
    /// Records of `--growth`
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Directory of the data; must be on the disk to be measured
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-data"))]
    dir: PathBuf,
    /// Used by `--growth` on itself: load the store in this directory until killed
    #[arg(long, hide = true)]
    load_until_killed: Option<PathBuf>,
}

impl Cli {
    fn row(&self) -> Duration {
        if self.quick { Duration::from_secs(1) } else { Duration::from_secs(self.seconds.max(1)) }
    }

    fn producers(&self) -> Vec<usize> {
        match (self.producers.is_empty(), self.quick) {
            (false, _) => self.producers.clone(),
            (true, true) => vec![1, 64],
            (true, false) => vec![1, 16, 64, 256, 1024],
        }
    }
}

fn main() {
    // `cargo bench` passes `--bench` to every benchmark.
    let cli = Cli::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    // Two workers, as on a small server.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("the runtime starts");
    if let Some(dir) = &cli.load_until_killed {
        child::load_until_killed(&runtime, dir);
        return;
    }
    let dir = machine::fresh(&cli.dir);
    println!("{}", machine::describe(&dir));
    if cli.sustain {
        sustain::run(&runtime, &dir);
    }
    if cli.growth {
        growth::run(&runtime, &dir, cli.records);
    }
    if !cli.sustain && !cli.growth {
        table::run(&runtime, &dir, &cli);
    }
    machine::remove(&dir);
}
