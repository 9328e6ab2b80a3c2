//! Random bytes of the operating system, fetched in larger pieces: for ids, which must differ and
//! need not be secret. A call to the system for each command costs as much as reading the command.

use std::cell::RefCell;

/// Bytes of one piece: the ids of some sixty commands.
const PIECE_BYTES: usize = 4 * 1024;

struct Piece {
    bytes: [u8; PIECE_BYTES],
    used: usize,
}

thread_local! {
    static PIECE: RefCell<Piece> =
        const { RefCell::new(Piece { bytes: [0; PIECE_BYTES], used: PIECE_BYTES }) };
}

/// So many random bytes, which nobody else gets.
///
/// # Errors
/// The system gives none.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    PIECE.with_borrow_mut(|piece| {
        if let Some(bytes) = piece.take() {
            return Ok(bytes);
        }
        getrandom::fill(&mut piece.bytes)?;
        piece.used = 0;
        piece.take().ok_or(getrandom::Error::UNEXPECTED)
    })
}

impl Piece {
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
