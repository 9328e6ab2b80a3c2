//! Stands between this process and the kernel: the system calls by which files change are defined
//! here, so that the linker prefers them to the C library's. Each does the real call; when the
//! file lies below the root of a [`Tape`], it is also recorded there, or fails on purpose.
//!
//! The only unsafe code of these tests. A call and its record are made under the tape's lock, so
//! the tape's order is the order in which things happened; only syncs run outside of it.

#![allow(unsafe_code, reason = "C functions are defined and system calls made here")]
#![allow(clippy::missing_safety_doc, reason = "the contracts are those of POSIX")]
#![allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "as the kernel does")]
#![allow(clippy::cast_possible_wrap, reason = "as the kernel does")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use libc::{iovec, mode_t, off_t, size_t, ssize_t};

use crate::tape::{Call, Kind, Node, SyncPlan, Tape};

/// Tapes that record; their index is in [`FILES`].
static TAPES: RwLock<Vec<Option<Arc<Tape>>>> = RwLock::new(Vec::new());

/// Number of tapes that record: with none, every call goes straight through.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// More descriptors than these tests ever have open.
const FILES_MAX: usize = 1 << 16;

/// For each descriptor: 0, or 1 + the node, with the tape's index in the upper half.
static FILES: [AtomicU64; FILES_MAX] = [const { AtomicU64::new(0) }; FILES_MAX];

/// A tape that records until this is dropped.
pub(crate) struct Recording {
    pub(crate) tape: Arc<Tape>,
    index: usize,
}

impl Recording {
    /// Records everything below `root` from now on. No file there may be open for writing.
    pub(crate) fn start(root: &Path) -> Self {
        let tape = Arc::new(Tape::new(&root.canonicalize().unwrap()));
        let mut tapes = TAPES.write().unwrap_or_else(PoisonError::into_inner);
        tapes.push(Some(Arc::clone(&tape)));
        ACTIVE.fetch_add(1, Ordering::SeqCst);
        Self { tape, index: tapes.len() - 1 }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        TAPES.write().unwrap_or_else(PoisonError::into_inner)[self.index] = None;
        ACTIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tape_of(fd: c_int) -> Option<(Arc<Tape>, Node)> {
    let value = FILES.get(usize::try_from(fd).ok()?)?.load(Ordering::Acquire);
    let node = (value & u64::from(u32::MAX)).checked_sub(1)? as Node;
    let tapes = TAPES.read().unwrap_or_else(PoisonError::into_inner);
    Some((tapes.get((value >> 32) as usize)?.clone()?, node))
}

fn set(fd: c_int, value: u64) {
    if let Some(file) = usize::try_from(fd).ok().and_then(|fd| FILES.get(fd)) {
        file.store(value, Ordering::Release);
    }
}

fn copy(from: c_int, to: c_int) {
    let value = usize::try_from(from).ok().and_then(|fd| FILES.get(fd));
    set(to, value.map_or(0, |value| value.load(Ordering::Acquire)));
}

/// The tape that `path` lies in, its index, the directory to look from and the rest of the path.
unsafe fn place(dir: c_int, path: *const c_char) -> Option<(Arc<Tape>, usize, Node, String)> {
    if ACTIVE.load(Ordering::Acquire) == 0 || path.is_null() {
        return None;
    }
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    if !path.starts_with('/') {
        let (tape, node) = tape_of(dir)?;
        let index = (FILES[dir as usize].load(Ordering::Acquire) >> 32) as usize;
        return Some((tape, index, node, path.to_owned()));
    }
    let tapes = TAPES.read().unwrap_or_else(PoisonError::into_inner);
    tapes.iter().enumerate().find_map(|(index, tape)| {
        let tape = tape.as_ref()?;
        let rest = path.strip_prefix(tape.root.to_str()?)?;
        (rest.is_empty() || rest.starts_with('/'))
            .then(|| (Arc::clone(tape), index, 0, rest.to_owned()))
    })
}

fn fail(errno: i32) -> c_int {
    unsafe { *libc::__errno_location() = errno };
    -1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn openat(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_openat, dir, path, flags, mode) } as c_int;
    let Some((tape, index, base, rest)) = (unsafe { place(dir, path) }) else {
        let fd = real();
        set(fd, 0);
        return fd;
    };
    let mut state = tape.lock();
    let fd = real();
    set(fd, 0);
    if fd < 0 {
        return fd;
    }
    let Some((parent, name, found)) = state.find(base, &rest) else { return fd };
    let node = match found {
        Some(node) => {
            if flags & libc::O_TRUNC != 0 && state.is_file(node) {
                state.resized(node, 0);
            }
            node
        }
        None if flags & libc::O_CREAT != 0 => state.created(parent, &name, Kind::File(0)),
        None => return fd,
    };
    set(fd, ((index as u64) << 32) | (node as u64 + 1));
    fd
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    unsafe { openat(dir, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    set(fd, 0);
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dup(fd: c_int) -> c_int {
    let new = unsafe { libc::syscall(libc::SYS_dup, fd) } as c_int;
    copy(fd, new);
    new
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dup3(fd: c_int, new: c_int, flags: c_int) -> c_int {
    let new = unsafe { libc::syscall(libc::SYS_dup3, fd, new, flags) } as c_int;
    copy(fd, new);
    new
}

/// Variadic in C; on the platforms of these tests one further argument is passed in the same way.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    let result = unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) } as c_int;
    if command == libc::F_DUPFD || command == libc::F_DUPFD_CLOEXEC {
        copy(fd, result);
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int {
    unsafe { fcntl(fd, command, argument) }
}

/// Does `real`, a write of `bytes`, and records the written bytes. Without an offset it wrote at
/// the descriptor's position.
unsafe fn writing(
    fd: c_int,
    offset: Option<off_t>,
    bytes: impl FnOnce() -> Vec<u8>,
    real: impl FnOnce() -> c_long,
) -> ssize_t {
    let Some((tape, node)) = tape_of(fd) else { return real() as ssize_t };
    let mut state = tape.lock();
    if !state.is_file(node) {
        return real() as ssize_t;
    }
    let path = state.path(node);
    if let Some(errno) = state.strike(&path, Call::Write) {
        return fail(errno) as ssize_t;
    }
    let count = real() as ssize_t;
    if count > 0 {
        let data = &bytes()[..count as usize];
        let offset = offset
            .unwrap_or_else(|| (unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) }) - count as off_t);
        state.wrote(node, offset as u64, data);
    }
    count
}

unsafe fn bytes_of(buffer: *const c_void, count: size_t) -> Vec<u8> {
    unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) }.to_vec()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    unsafe {
        writing(
            fd,
            None,
            || bytes_of(buffer, count),
            || libc::syscall(libc::SYS_write, fd, buffer, count),
        )
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite64(
    fd: c_int,
    buffer: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    unsafe {
        writing(
            fd,
            Some(offset),
            || bytes_of(buffer, count),
            || libc::syscall(libc::SYS_pwrite64, fd, buffer, count, offset),
        )
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite(
    fd: c_int,
    buffer: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    unsafe { pwrite64(fd, buffer, count, offset) }
}

unsafe fn gather(parts: *const iovec, count: c_int) -> Vec<u8> {
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    parts.iter().flat_map(|part| unsafe { bytes_of(part.iov_base, part.iov_len) }).collect()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    unsafe {
        writing(
            fd,
            None,
            || gather(parts, count),
            || libc::syscall(libc::SYS_writev, fd, parts, count),
        )
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwritev64(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    unsafe {
        writing(
            fd,
            Some(offset),
            || gather(parts, count),
            || libc::syscall(libc::SYS_pwritev, fd, parts, count, offset, 0),
        )
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwritev(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    unsafe { pwritev64(fd, parts, count, offset) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ftruncate64(fd: c_int, len: off_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) } as c_int;
    let Some((tape, node)) = tape_of(fd) else { return real() };
    let mut state = tape.lock();
    let result = real();
    if result == 0 {
        state.resized(node, len as u64);
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ftruncate(fd: c_int, len: off_t) -> c_int {
    unsafe { ftruncate64(fd, len) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fallocate64(
    fd: c_int,
    mode: c_int,
    offset: off_t,
    len: off_t,
) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) } as c_int;
    let Some((tape, node)) = tape_of(fd) else { return real() };
    let mut state = tape.lock();
    let path = state.path(node);
    if let Some(errno) = state.strike(&path, Call::Write) {
        return fail(errno);
    }
    let result = real();
    if result == 0 {
        let (old, end) = (state.len_of(node), (offset + len) as u64);
        if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0 {
            let zeroed = old.min(end).saturating_sub(offset as u64);
            state.wrote(node, offset as u64, &vec![0; zeroed as usize]);
        }
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > old {
            state.resized(node, end);
        }
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fallocate(
    fd: c_int,
    mode: c_int,
    offset: off_t,
    len: off_t,
) -> c_int {
    unsafe { fallocate64(fd, mode, offset, len) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: off_t, len: off_t) -> c_int {
    match unsafe { fallocate64(fd, 0, offset, len) } {
        0 => 0,
        _ => unsafe { *libc::__errno_location() },
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int {
    unsafe { posix_fallocate64(fd, offset, len) }
}

unsafe fn syncing(fd: c_int, call: c_long) -> c_int {
    let real = || unsafe { libc::syscall(call, fd) } as c_int;
    let Some((tape, node)) = tape_of(fd) else { return real() };
    match tape.sync_begins(node) {
        SyncPlan::Fail(errno) => fail(errno),
        SyncPlan::Ignore => 0,
        SyncPlan::Do(begin) => {
            let result = real();
            if result == 0 {
                tape.sync_ended(node, begin);
            }
            result
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    unsafe { syncing(fd, libc::SYS_fsync) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    unsafe { syncing(fd, libc::SYS_fdatasync) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_mkdirat, dir, path, mode) } as c_int;
    let Some((tape, _, base, rest)) = (unsafe { place(dir, path) }) else { return real() };
    let mut state = tape.lock();
    let result = real();
    if result == 0
        && let Some((parent, name, None)) = state.find(base, &rest)
    {
        state.created(parent, &name, Kind::Dir(BTreeMap::new()));
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    unsafe { mkdirat(libc::AT_FDCWD, path, mode) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, dir, path, flags) } as c_int;
    let Some((tape, _, base, rest)) = (unsafe { place(dir, path) }) else { return real() };
    let mut state = tape.lock();
    let result = real();
    if result == 0
        && let Some((parent, name, Some(_))) = state.find(base, &rest)
    {
        state.removed(parent, &name);
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    let real =
        || unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, 0) } as c_int;
    let (Some((tape, _, from_base, from)), Some((_, _, to_base, to))) =
        (unsafe { (place(from_dir, from), place(to_dir, to)) })
    else {
        return real();
    };
    let mut state = tape.lock();
    let result = real();
    if result == 0
        && let Some((from_dir, from_name, Some(node))) = state.find(from_base, &from)
        && let Some((to_dir, to_name, _)) = state.find(to_base, &to)
    {
        state.renamed((from_dir, from_name), (to_dir, to_name), node);
    }
    result
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) }
}
