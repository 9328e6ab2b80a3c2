//! How large a transaction may grow: its record must fit into the parts of one value.

use serde_json::Value;

use super::record::Tx;
use crate::engine::Refusal;

/// Most bytes of a transaction's data as compact JSON.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of the submissions and codes that are kept of a transaction.
const REST_BYTES_MAX: usize = 128 * 1024;

/// Most holds of a transaction, resolved ones too.
const HOLDS_MAX: usize = 500;

/// Most effects that are kept to be undone.
const UNDO_MAX: usize = 2000;

/// Refuses a transaction that has grown too large.
pub(super) fn must_fit(tx: &Tx) -> Result<(), Refusal> {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let size = |value: &Value| {
        let mut counter = Counter(0);
        // Counting never fails.
        serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
    };
    if size(&tx.data) > DATA_BYTES_MAX {
        let what = "the data of a transaction";
        return Err(Refusal::TooLarge { what, bytes_max: DATA_BYTES_MAX });
    }
    let undo: usize = tx.done.iter().map(|done| done.undo.len()).sum();
    for (count, max, what) in [
        (tx.holds.len(), HOLDS_MAX, "holds of a transaction"),
        (undo, UNDO_MAX, "effects of a transaction that can be undone"),
    ] {
        if count > max {
            return Err(Refusal::LimitReached { what, max });
        }
    }
    let submissions = tx.open.iter().flat_map(|open| &open.submissions);
    let submissions: usize = submissions.map(|submission| size(&submission.input)).sum();
    let binds: usize = tx.challenges.iter().map(|challenge| challenge.binds.len()).sum();
    let asks = tx.calls.iter().map(|call| &call.ask);
    let asks = asks.chain(tx.done.iter().flat_map(|done| &done.calls));
    let sends = tx.challenges.iter().filter_map(|challenge| challenge.send.as_ref());
    let asks: usize = asks.chain(sends.map(|send| &send.1)).map(super::record::Ask::bytes).sum();
    if submissions + binds + asks > REST_BYTES_MAX {
        let what = "what a transaction keeps beside its data";
        return Err(Refusal::TooLarge { what, bytes_max: REST_BYTES_MAX });
    }
    Ok(())
}
