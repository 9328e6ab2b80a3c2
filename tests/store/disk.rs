//! Possible contents of a disk after a power cut, by a model that is harder than most disks.
//!
//! - The bytes that a completed sync of a file covers are there; a sync covers the bytes that were
//!   written before it began.
//! - Every later write is split into sectors of 512 bytes. Each sector is as it was, or as any
//!   later write left it, independently of all others; so is the length of the file.
//! - Names (create, rename, unlink) of a directory survive as a prefix of their order; a
//!   completed sync of the directory fixes the names before it. Directories are independent of
//!   each other, but a rename between two of them happens in both or in neither.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::content::{Content, SECTOR};
use crate::random::Random;
use crate::tape::{Node, Op, Start};

/// The disk as it may be after `at` operations of a tape.
pub(crate) struct Disk<'tape> {
    ops: &'tape [Op],
    at: usize,
    files: BTreeMap<Node, FileState>,
    dirs: BTreeMap<Node, DirState>,
    promised: u64,
}

#[derive(Default)]
struct FileState {
    sure: Content,
    /// Indices of the operations that no sync has covered yet.
    pending: Vec<usize>,
}

#[derive(Default)]
struct DirState {
    sure: BTreeMap<String, Node>,
    pending: Vec<usize>,
}

/// Part of the unsynced writes of one file that survives.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Nothing,
    Everything,
    /// Each sector for itself, with this chance in 16 to be a new one.
    Sectors(u64),
    /// Whole writes, each for itself.
    Writes,
    /// Writes in their order up to one, which is torn.
    Prefix,
}

impl<'tape> Disk<'tape> {
    pub(crate) fn new(start: &Start, ops: &'tape [Op]) -> Self {
        let files = start.files.iter().map(|(node, content)| {
            (*node, FileState { sure: content.clone(), pending: Vec::new() })
        });
        let dirs = start
            .dirs
            .iter()
            .map(|(node, names)| (*node, DirState { sure: names.clone(), pending: Vec::new() }));
        Self { ops, at: 0, files: files.collect(), dirs: dirs.collect(), promised: 0 }
    }

    /// The highest revision that was promised so far.
    pub(crate) fn promised(&self) -> u64 {
        self.promised
    }

    /// Goes forward until `at` operations have happened.
    pub(crate) fn advance(&mut self, at: usize) {
        while self.at < at {
            let index = self.at;
            self.at += 1;
            match &self.ops[index] {
                Op::Write { node, .. } | Op::Resize { node, .. } => {
                    self.files.entry(*node).or_default().pending.push(index);
                }
                Op::Link { dir, node, folder, .. } => {
                    self.dirs.entry(*dir).or_default().pending.push(index);
                    if *folder {
                        self.dirs.entry(*node).or_default();
                    } else {
                        self.files.entry(*node).or_default();
                    }
                }
                Op::Unlink { dir, .. } => {
                    self.dirs.entry(*dir).or_default().pending.push(index);
                }
                Op::Rename { from, to, .. } => {
                    self.dirs.entry(from.0).or_default().pending.push(index);
                    if from.0 != to.0 {
                        self.dirs.entry(to.0).or_default().pending.push(index);
                    }
                }
                Op::SyncBegin => {}
                Op::SyncEnd { node, begin } => self.settle(*node, *begin),
                Op::Promise(revision) => self.promised = self.promised.max(*revision),
            }
        }
    }

    fn settle(&mut self, node: Node, begin: usize) {
        if let Some(file) = self.files.get_mut(&node) {
            let covered = file.pending.partition_point(|index| *index < begin);
            for index in file.pending.drain(..covered) {
                apply(&mut file.sure, &self.ops[index]);
            }
        }
        self.settle_names(node, begin);
    }

    fn settle_names(&mut self, dir: Node, begin: usize) {
        let Some(state) = self.dirs.get_mut(&dir) else { return };
        let covered = state.pending.partition_point(|index| *index < begin);
        let covered: Vec<usize> = state.pending.drain(..covered).collect();
        for index in covered {
            if let Op::Rename { from, to, .. } = &self.ops[index]
                && from.0 != to.0
            {
                // It is done in both, with everything before it.
                let other = if from.0 == dir { to.0 } else { from.0 };
                if self.dirs[&other].pending.contains(&index) {
                    self.settle_names(other, index + 1);
                }
            }
            let state = self.dirs.entry(dir).or_default();
            apply_name(&mut state.sure, dir, &self.ops[index]);
        }
    }

    /// Writes one possible disk below `out`, which must be an empty directory.
    pub(crate) fn image(&self, random: &mut Random, out: &Path) {
        let names = self.choose_names(random);
        self.write_dir(0, &names, random, None, out);
    }

    /// Writes the disk as the running process saw it.
    pub(crate) fn everything(&self, out: &Path) {
        let all = self.dirs.iter().map(|(dir, state)| (*dir, state.pending.len()));
        let names = self.names(&all.collect());
        self.write_dir(0, &names, &mut Random::new(0), Some(Fate::Everything), out);
    }

    /// Chooses how many of the pending changes of each directory happened.
    fn choose_names(&self, random: &mut Random) -> BTreeMap<Node, BTreeMap<String, Node>> {
        let mode = random.below(4);
        let mut counts: BTreeMap<Node, usize> = BTreeMap::new();
        // As with one journal for all: everything up to one moment.
        let moment = random.below(self.at as u64 + 1);
        for (dir, state) in &self.dirs {
            let all = state.pending.len();
            let count = match mode {
                0 => 0,
                1 => all,
                2 => state.pending.partition_point(|index| (*index as u64) < moment),
                _ => random.index(all + 1),
            };
            counts.insert(*dir, count);
        }
        // A rename between two directories that happened in one happened in the other.
        loop {
            let mut changed = false;
            for (dir, state) in &self.dirs {
                for index in &state.pending[..counts[dir]] {
                    if let Op::Rename { from, to, .. } = &self.ops[*index] {
                        for other in [from.0, to.0] {
                            let others = &self.dirs[&other].pending;
                            let needed = others.partition_point(|i| i <= index);
                            if counts[&other] < needed && others.contains(index) {
                                counts.insert(other, needed);
                                changed = true;
                            }
                        }
                    }
                }
            }
            if !changed {
                return self.names(&counts);
            }
        }
    }

    fn names(&self, counts: &BTreeMap<Node, usize>) -> BTreeMap<Node, BTreeMap<String, Node>> {
        let names = self.dirs.iter().map(|(dir, state)| {
            let mut names = state.sure.clone();
            for index in &state.pending[..counts[dir]] {
                apply_name(&mut names, *dir, &self.ops[*index]);
            }
            (*dir, names)
        });
        names.collect()
    }

    fn write_dir(
        &self,
        dir: Node,
        names: &BTreeMap<Node, BTreeMap<String, Node>>,
        random: &mut Random,
        fate: Option<Fate>,
        out: &Path,
    ) {
        for (name, node) in &names[&dir] {
            let path = out.join(name);
            if self.dirs.contains_key(node) {
                fs::create_dir(&path).unwrap();
                self.write_dir(*node, names, random, fate, &path);
            } else {
                let fate = fate.unwrap_or_else(|| Fate::any(random));
                self.content(&self.files[node], fate, random).store(&path);
            }
        }
    }

    fn content(&self, file: &FileState, fate: Fate, random: &mut Random) -> Content {
        let mut out = file.sure.clone();
        if file.pending.is_empty() || matches!(fate, Fate::Nothing) {
            return out;
        }
        if matches!(fate, Fate::Everything) {
            for index in &file.pending {
                apply(&mut out, &self.ops[*index]);
            }
            return out;
        }
        // Chooses the last change of each sector that reached it.
        let prefix = random.index(file.pending.len() + 1);
        let mut touches: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut now = file.sure.clone();
        let mut lens = vec![now.len()];
        for (order, index) in file.pending.iter().enumerate() {
            for sector in sectors(&self.ops[*index], now.len()) {
                touches.entry(sector).or_default().push(order);
            }
            apply(&mut now, &self.ops[*index]);
            lens.push(now.len());
        }
        let survives: Vec<bool> = file.pending.iter().map(|_| random.below(2) == 0).collect();
        let mut sectors_sorted: Vec<u64> = touches.keys().copied().collect();
        sectors_sorted.sort_unstable();
        let mut last: HashMap<u64, usize> = HashMap::new();
        for sector in sectors_sorted {
            let orders = &touches[&sector];
            let chosen = match fate {
                Fate::Sectors(chance) => {
                    (random.below(16) < chance).then(|| orders[random.index(orders.len())])
                }
                Fate::Writes => orders.iter().rev().find(|order| survives[**order]).copied(),
                _ => {
                    let done = orders.iter().rev().find(|order| **order < prefix).copied();
                    let torn = orders.contains(&prefix) && random.below(2) == 0;
                    if torn { Some(prefix) } else { done }
                }
            };
            if let Some(chosen) = chosen {
                last.insert(sector, chosen);
            }
        }
        let len = match fate {
            Fate::Prefix => lens[prefix],
            _ => lens[random.index(lens.len())],
        };
        out.resize(len);
        let mut now = file.sure.clone();
        for (order, index) in file.pending.iter().enumerate() {
            let reach = sectors(&self.ops[*index], now.len());
            apply(&mut now, &self.ops[*index]);
            for sector in reach {
                if last.get(&sector) == Some(&order) {
                    out.set_sector(sector, &now.sector(sector));
                }
            }
        }
        out
    }
}

impl Fate {
    fn any(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Sectors(1),
            3 => Self::Sectors(8),
            4 => Self::Sectors(15),
            5 => Self::Writes,
            _ => Self::Prefix,
        }
    }
}

fn apply(content: &mut Content, op: &Op) {
    match op {
        Op::Write { offset, data, .. } => content.write(*offset, data),
        Op::Resize { len, .. } => content.resize(*len),
        _ => {}
    }
}

fn apply_name(names: &mut BTreeMap<String, Node>, dir: Node, op: &Op) {
    match op {
        Op::Link { name, node, .. } => {
            names.insert(name.clone(), *node);
        }
        Op::Unlink { name, .. } => {
            names.remove(name);
        }
        Op::Rename { from, to, node } => {
            if from.0 == dir {
                names.remove(&from.1);
            }
            if to.0 == dir {
                names.insert(to.1.clone(), *node);
            }
        }
        _ => {}
    }
}

/// The sectors that a change touches in a file of this length.
fn sectors(op: &Op, len: u64) -> std::ops::Range<u64> {
    let size = SECTOR as u64;
    match op {
        Op::Write { offset, data, .. } if !data.is_empty() => {
            offset / size..(offset + data.len() as u64).div_ceil(size)
        }
        // Bytes that a shorter length cuts off read as zeros when the file grows again.
        Op::Resize { len: new, .. } if *new < len => new / size..len.div_ceil(size),
        _ => 0..0,
    }
}
