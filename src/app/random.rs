//! Random bytes of the operating system, fetched in blocks: for ids, which must be unique and need
//! not be secret. A system call for each command would cost as much as reading the command.

use std::cell::RefCell;

/// Bytes of one block: the ids of some sixty commands.
const BLOCK_BYTES: usize = 4 * 1024;

struct RandomBlock {
    bytes: [u8; BLOCK_BYTES],
    used: usize,
}

thread_local! {
    static BLOCK: RefCell<RandomBlock> =
        const { RefCell::new(RandomBlock { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES }) };
}

/// Returns random bytes, each of which is returned once.
///
/// # Errors
/// The system gives none.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    BLOCK.with_borrow_mut(|block| {
        if let Some(bytes) = block.take() {
            return Ok(bytes);
        }
        getrandom::fill(&mut block.bytes)?;
        block.used = 0;
        block.take().ok_or(getrandom::Error::UNEXPECTED)
    })
}

impl RandomBlock {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.bytes.get(self.used..)?.first_chunk::<N>()?;
        self.used += N;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_bytes_come_twice() {
        let drawn: BTreeSet<[u8; 46]> = (0..1000).map(|_| bytes::<46>().unwrap()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
