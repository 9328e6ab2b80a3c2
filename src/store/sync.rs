//! The one system call that sled needs corrected, and the only unsafe code of this crate.
//!
//! sled 0.34 orders its own writes by `sync_file_range`, which on Linux starts write-back and
//! waits for it, but neither flushes the disk's cache nor writes the metadata that is needed to
//! find the bytes again. After a power cut sled then finds segments reused whose newer copies
//! never reached the disk. Defined here under the same name, the linker takes this definition for
//! the whole binary, and each of sled's ordering points becomes an `fdatasync`.
#![allow(unsafe_code, reason = "a symbol of the C library is replaced; see above")]

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Number of syncs that sled asked for in this process. Opening checks that it is more than zero
/// after sled's first flush: a build in which the replacement is not linked does not start.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// `sync_file_range(2)`, strengthened to `fdatasync(2)` of the whole file.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: libc::off64_t,
    _bytes: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: fdatasync takes any number and answers EBADF for one that is no open file; it
    // touches no memory of this process but errno, which the caller expects to be set.
    unsafe { libc::fdatasync(fd) }
}
