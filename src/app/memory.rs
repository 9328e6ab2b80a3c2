//! The memory budget: one configured number and its division.
//!
//! Everything in memory that grows with the load or with the stored data takes its limit from here.
//! The rest is for the process itself: code, threads, connections, password hashes, and the
//! allocator.

const MIB: usize = 1024 * 1024;

/// The memory that the server may take, in bytes, and its division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget(usize);

impl Default for MemoryBudget {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

/// A part of the budget.
macro_rules! shares {
    ($($(#[$doc:meta])* $name:ident: $percent:literal, $least:literal;)*) => {
        impl MemoryBudget {
            $(
                $(#[$doc])*
                #[must_use]
                pub const fn $name(self) -> usize {
                    let share = self.0 / 100 * $percent;
                    if share < $least * MIB { $least * MIB } else { share }
                }
            )*

            /// Sum of all parts in hundredths.
            #[cfg(test)]
            const PARTS: usize = 0 $(+ $percent)*;

            /// Sum of the least sizes of all parts, in MiB.
            #[cfg(test)]
            const LEAST: usize = 0 $(+ $least)*;
        }
    };
}

// Name: hundredths of the budget, and the smallest size in MiB with which the part works.
shares! {
    /// sled's cache of index pages, as sled counts it: in memory they take four times as much.
    index_cache_bytes: 6, 8;
    /// Memtables: durable commits that the index does not have yet.
    memtable_bytes: 18, 24;
    /// Commits that are not durable yet.
    staged_bytes: 3, 12;
    /// Record cache of the executor.
    record_cache_bytes: 13, 8;
    /// Compiled versions of workflows.
    definition_cache_bytes: 8, 16;
    /// Token cache: sessions, API keys and users, decoded.
    token_cache_bytes: 6, 4;
    /// Commands that wait for the executor.
    command_queue_bytes: 6, 8;
    /// Log cache: decoded commits, shared by all readers.
    log_cache_bytes: 4, 6;
    /// Events that wait for readers of streams and sockets.
    stream_bytes: 6, 6;
    /// Request bodies of which a part has arrived.
    request_body_bytes: 4, 6;
    /// Answers of reads that are being rendered or sent to slow clients.
    answer_bytes: 10, 12;
}

impl MemoryBudget {
    /// Default budget, in bytes.
    pub const DEFAULT: usize = 512 * MIB;

    /// Smallest budget with which all parts work, in bytes.
    pub const MIN: usize = 128 * MIB;

    /// Returns a budget of this many bytes, at least [`MemoryBudget::MIN`].
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(if bytes < Self::MIN { Self::MIN } else { bytes })
    }

    /// Returns the whole budget, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// Bytes of a memtable after which it is merged into the index: a good third of the part, so
    /// that one can grow while another is merged.
    #[must_use]
    pub const fn merge_after_bytes(self) -> usize {
        self.memtable_bytes() / 8 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_leave_room_for_the_process_itself() {
        const { assert!(MemoryBudget::PARTS <= 92) };
        const { assert!(MemoryBudget::LEAST * MIB <= MemoryBudget::MIN) };
        assert_eq!(MemoryBudget::new(1), MemoryBudget::new(MemoryBudget::MIN));
        let (small, large) = (MemoryBudget::new(0), MemoryBudget::new(4096 * MIB));
        assert!(small.record_cache_bytes() < large.record_cache_bytes());
        assert!(large.merge_after_bytes() < large.memtable_bytes());
    }
}
