//! The raw disk: 4 KiB written and synced, again and again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::Figures;
use crate::machine;

/// Bytes of one write.
const BLOCK: usize = 4096;
/// Blocks that are written in turn in the preallocated file.
const BLOCKS: u64 = 16 * 1024;

/// Layout of the file on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placing {
    /// It grows with each write.
    Appending,
    /// It was filled with zeros and synced before.
    Preallocated,
}

/// Runs one writer for this long.
pub(crate) fn measure(dir: &Path, placing: Placing, length: Duration) -> Figures {
    let path = dir.join("raw");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
    let file = file.expect("a file on the disk");
    if placing == Placing::Preallocated {
        fill(&file);
    }
    let block = [0x5a; BLOCK];
    let mut latencies_us = Vec::new();
    let (from, cpu) = (Instant::now(), machine::cpu());
    let mut begun = from;
    while begun.duration_since(from) < length {
        let turn = latencies_us.len() as u64;
        let at = if placing == Placing::Preallocated { turn % BLOCKS } else { turn };
        file.write_all_at(&block, at * BLOCK as u64).expect("a write");
        file.sync_data().expect("a sync");
        let ended = Instant::now();
        let us = ended.duration_since(begun).as_micros();
        latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
        begun = ended;
    }
    let cpu = machine::cpu().saturating_sub(cpu);
    let figures = Figures::new(&latencies_us, begun.duration_since(from), cpu);
    std::fs::remove_file(&path).expect("the file is there");
    figures
}

fn fill(file: &File) {
    let zeros = vec![0; 1024 * 1024];
    for at in 0..BLOCKS * BLOCK as u64 / zeros.len() as u64 {
        file.write_all_at(&zeros, at * zeros.len() as u64).expect("a write");
    }
    file.sync_all().expect("a sync");
}
