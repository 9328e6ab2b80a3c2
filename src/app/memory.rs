//! The memory budget: one configured number, and who gets which part of it.
//!
//! Everything in memory that grows with the load or with what is stored takes its limit from here.
//! What is left over is for the process itself: code, threads, connections, the hashing of
//! passwords, and what the allocator holds back.

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

// Name: hundredths of the budget, and the least in MiB with which the part still works.
shares! {
    /// sled's cache of index pages, as sled counts it: in memory they take four times as much.
    index_cache_bytes: 6, 8;
    /// Memtables: durable commits that the index does not have yet.
    memtable_bytes: 18, 24;
    /// Commits on their way to the disk.
    staged_bytes: 3, 12;
    /// The executor's decoded records.
    record_cache_bytes: 13, 8;
    /// Compiled versions of workflows.
    definition_cache_bytes: 8, 16;
    /// What tokens open, decoded, and users.
    token_cache_bytes: 6, 4;
    /// Commands that wait for the executor.
    command_queue_bytes: 6, 8;
    /// Decoded commits of the log, shared by all who read it.
    log_cache_bytes: 4, 6;
    /// Events that wait for readers of streams and sockets.
    stream_bytes: 6, 6;
    /// Request bodies of which a part has arrived.
    request_body_bytes: 4, 6;
    /// Answers of reads that are being made, or sent to clients that take them slowly.
    answer_bytes: 10, 12;
}

impl MemoryBudget {
    /// The budget, if none is configured, in bytes.
    pub const DEFAULT: usize = 512 * MIB;

    /// The smallest budget with which all parts still work, in bytes.
    pub const MIN: usize = 128 * MIB;

    /// A budget of so many bytes, at least [`MemoryBudget::MIN`].
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(if bytes < Self::MIN { Self::MIN } else { bytes })
    }

    /// All of it, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// Bytes of a memtable after which it is merged into the index: a good third of what all may
    /// take, so that one can grow while another is merged.
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
