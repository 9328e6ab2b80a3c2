//! Record of everything that happened to the files below one directory, in order.
//!
//! A [`Tape`] is fed by the system calls of this process (`recorder.rs`). It knows the names and
//! contents at its start, every change since, when each sync began and ended, and the promises
//! that the test noted in the same sequence. `disk.rs` makes crash images of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::content::Content;

/// Time limit for a sync: one that has not come by then will not come.
const HELD_WITHIN: Duration = Duration::from_secs(10);

/// A file or a directory; the root of the tape is 0.
pub(crate) type Node = usize;

/// One recorded operation.
#[derive(Debug)]
pub(crate) enum Op {
    Write {
        node: Node,
        offset: u64,
        data: Vec<u8>,
    },
    Resize {
        node: Node,
        len: u64,
    },
    Link {
        dir: Node,
        name: String,
        node: Node,
        folder: bool,
    },
    Unlink {
        dir: Node,
        name: String,
    },
    Rename {
        from: (Node, String),
        to: (Node, String),
        node: Node,
    },
    SyncBegin,
    /// A sync of `node` returned; it covers what lies before `begin`.
    SyncEnd {
        node: Node,
        begin: usize,
    },
    /// From here on everything up to this revision is promised.
    Promise(u64),
}

/// Kind of a node, as the running process sees it.
#[derive(Debug)]
pub(crate) enum Kind {
    File(u64),
    Dir(BTreeMap<String, Node>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    parent: Node,
    name: String,
}

/// Calls that a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    Sync,
}

/// An error that a call answers with instead of doing its work.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Part of the path of the files that it strikes.
    pub(crate) path: String,
    pub(crate) call: Call,
    pub(crate) errno: i32,
    /// Number of calls that succeed before it.
    pub(crate) after: usize,
    /// True if every later call fails too.
    pub(crate) for_ever: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Entry>,
    pub(crate) ops: Vec<Op>,
    faults: Vec<Fault>,
    /// Syncs of these paths return at once and do nothing.
    ignored: Vec<String>,
    /// Syncs of these paths wait.
    held: Option<String>,
    waiting: usize,
    /// Calls that a fault struck.
    struck: usize,
}

/// The contents and names of every file at the start of a tape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    pub(crate) files: BTreeMap<Node, Content>,
    pub(crate) dirs: BTreeMap<Node, BTreeMap<String, Node>>,
}

/// The recording of one directory.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(crate) root: PathBuf,
    pub(crate) start: Start,
    state: Mutex<State>,
    changed: Condvar,
}

impl Tape {
    /// A tape of `root`, which must be a canonical path, as it is now.
    pub(crate) fn new(root: &Path) -> Self {
        let mut state = State::default();
        let mut start = Start::default();
        let root = root.to_path_buf();
        load(&root, &mut state, &mut start, 0, "");
        Self { root, start, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that everything up to `revision` is promised from here on.
    pub(crate) fn promise(&self, revision: u64) {
        self.lock().ops.push(Op::Promise(revision));
    }

    /// From now on an error strikes.
    pub(crate) fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Returns the number of calls that an error struck.
    pub(crate) fn struck(&self) -> usize {
        self.lock().struck
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    /// From now on syncs of files with `path` in their path do nothing, as on a disk that lies.
    pub(crate) fn ignore_syncs(&self, path: &str) {
        self.lock().ignored.push(path.to_owned());
    }

    /// From now on syncs of files with `path` in their path wait for [`Tape::release_syncs`].
    pub(crate) fn hold_syncs(&self, path: &str) {
        self.lock().held = Some(path.to_owned());
    }

    /// Lets the syncs go on.
    pub(crate) fn release_syncs(&self) {
        self.lock().held = None;
        self.changed.notify_all();
    }

    /// Waits until a sync is being held.
    pub(crate) fn await_held_sync(&self) {
        let mut state = self.lock();
        while state.waiting == 0 {
            let waited = self.changed.wait_timeout(state, HELD_WITHIN);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            assert!(!timeout.timed_out() || state.waiting > 0, "nothing was ever synced");
        }
    }

    /// Returns the work of a sync of `node`. Waits while syncs are held.
    pub(crate) fn sync_begins(&self, node: Node) -> SyncPlan {
        let mut state = self.lock();
        let path = state.path(node);
        // Writes while the sync is held back may or may not be covered: this model does not cover
        // them.
        let begin = state.ops.len();
        state.ops.push(Op::SyncBegin);
        if state.held.as_ref().is_some_and(|held| path.contains(held.as_str())) {
            state.waiting += 1;
            self.changed.notify_all();
            while state.held.as_ref().is_some_and(|held| path.contains(held.as_str())) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
        }
        if let Some(errno) = state.strike(&path, Call::Sync) {
            return SyncPlan::Fail(errno);
        }
        if state.ignored.iter().any(|part| path.contains(part.as_str())) {
            return SyncPlan::Ignore;
        }
        SyncPlan::Do(begin)
    }

    pub(crate) fn sync_ended(&self, node: Node, begin: usize) {
        self.lock().ops.push(Op::SyncEnd { node, begin });
    }
}

/// Work of a sync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SyncPlan {
    Do(usize),
    Ignore,
    Fail(i32),
}

impl State {
    /// The error that strikes this call, if one does.
    pub(crate) fn strike(&mut self, path: &str, call: Call) -> Option<i32> {
        for fault in &mut self.faults {
            if fault.call != call || !path.contains(fault.path.as_str()) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            if !fault.for_ever {
                fault.after = usize::MAX;
            }
            self.struck += 1;
            return Some(fault.errno);
        }
        None
    }

    /// The path of a node below the root, with a `/` before each name.
    pub(crate) fn path(&self, mut node: Node) -> String {
        let mut path = String::new();
        while node != 0 {
            let entry = &self.nodes[node];
            path = format!("/{}{path}", entry.name);
            node = entry.parent;
        }
        path
    }

    /// Returns the directory and the last name of a path below `base`, and the node that lies there
    /// now.
    pub(crate) fn find(&self, base: Node, path: &str) -> Option<(Node, String, Option<Node>)> {
        let mut names: Vec<&str> = Vec::new();
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            if name == ".." {
                names.pop()?;
            } else {
                names.push(name);
            }
        }
        let Some(last) = names.pop() else {
            return Some((base, String::new(), Some(base)));
        };
        let mut dir = base;
        for name in names {
            dir = *self.children(dir)?.get(name)?;
        }
        let found = self.children(dir)?.get(last).copied();
        Some((dir, last.to_owned(), found))
    }

    fn children(&self, dir: Node) -> Option<&BTreeMap<String, Node>> {
        match &self.nodes.get(dir)?.kind {
            Kind::Dir(children) => Some(children),
            Kind::File(_) => None,
        }
    }

    fn children_mut(&mut self, dir: Node) -> Option<&mut BTreeMap<String, Node>> {
        match &mut self.nodes.get_mut(dir)?.kind {
            Kind::Dir(children) => Some(children),
            Kind::File(_) => None,
        }
    }

    pub(crate) fn is_file(&self, node: Node) -> bool {
        self.nodes.get(node).is_some_and(|entry| matches!(entry.kind, Kind::File(_)))
    }

    fn add(&mut self, parent: Node, name: &str, kind: Kind) -> Node {
        let node = self.nodes.len();
        self.nodes.push(Entry { kind, parent, name: name.to_owned() });
        node
    }

    /// A new file or directory came to be.
    pub(crate) fn created(&mut self, dir: Node, name: &str, kind: Kind) -> Node {
        let folder = matches!(kind, Kind::Dir(_));
        let node = self.add(dir, name, kind);
        if let Some(children) = self.children_mut(dir) {
            children.insert(name.to_owned(), node);
        }
        self.ops.push(Op::Link { dir, name: name.to_owned(), node, folder });
        node
    }

    pub(crate) fn removed(&mut self, dir: Node, name: &str) {
        if let Some(children) = self.children_mut(dir) {
            children.remove(name);
        }
        self.ops.push(Op::Unlink { dir, name: name.to_owned() });
    }

    pub(crate) fn renamed(&mut self, from: (Node, String), to: (Node, String), node: Node) {
        if let Some(children) = self.children_mut(from.0) {
            children.remove(&from.1);
        }
        if let Some(children) = self.children_mut(to.0) {
            children.insert(to.1.clone(), node);
        }
        self.nodes[node].parent = to.0;
        self.nodes[node].name.clone_from(&to.1);
        self.ops.push(Op::Rename { from, to, node });
    }

    pub(crate) fn wrote(&mut self, node: Node, offset: u64, data: &[u8]) {
        if let Kind::File(len) = &mut self.nodes[node].kind {
            *len = (*len).max(offset + data.len() as u64);
        }
        self.ops.push(Op::Write { node, offset, data: data.to_vec() });
    }

    pub(crate) fn resized(&mut self, node: Node, len: u64) {
        self.nodes[node].kind = Kind::File(len);
        self.ops.push(Op::Resize { node, len });
    }

    pub(crate) fn len_of(&self, node: Node) -> u64 {
        match self.nodes[node].kind {
            Kind::File(len) => len,
            Kind::Dir(_) => 0,
        }
    }
}

fn load(path: &Path, state: &mut State, start: &mut Start, parent: Node, name: &str) -> Node {
    if path.is_dir() {
        let node = state.add(parent, name, Kind::Dir(BTreeMap::new()));
        let mut children = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let child = load(&entry.path(), state, start, node, &name);
            children.insert(name, child);
        }
        state.nodes[node].kind = Kind::Dir(children.clone());
        start.dirs.insert(node, children);
        node
    } else {
        let content = Content::read(path);
        let node = state.add(parent, name, Kind::File(content.len()));
        start.files.insert(node, content);
        node
    }
}
