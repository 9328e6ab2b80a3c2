//! How large a transaction may grow: its record must fit into the parts of one value.

use serde_json::Value;

use super::record::{CallState, HttpRequestSpec, Tx};
use crate::engine::Refusal;

/// Most bytes of a transaction's data as compact JSON.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of the submissions and codes that are kept of a transaction.
const REST_BYTES_MAX: usize = 128 * 1024;

/// Most holds of a transaction, resolved ones too.
const HOLDS_MAX: usize = 500;

/// Most effects that are kept to be undone.
const UNDO_MAX: usize = 2000;

/// Most bytes of the same while it is undone, with what undoes calls that were never answered: a
/// transaction that is undone is refused nothing, so what is more than that is not kept.
const UNDOING_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of the answers that are kept of a transaction for an operator.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The size of a value as compact JSON.
pub(super) fn size(value: &Value) -> usize {
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
    let mut counter = Counter(0);
    // Counting never fails.
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

/// The bytes of what is kept of a transaction beside its data.
fn rest(tx: &Tx) -> usize {
    let submissions = tx.open.iter().flat_map(|open| &open.submissions);
    let submissions: usize = submissions.map(|submission| size(&submission.input)).sum();
    let binds: usize = tx.challenges.iter().map(|challenge| challenge.binds.len()).sum();
    let asks = tx.calls.iter().map(|call| &call.ask);
    let asks = asks.chain(tx.done.iter().flat_map(|done| &done.calls));
    let sends = tx.challenges.iter().filter_map(|challenge| challenge.send.as_ref());
    let asks: usize = asks.chain(sends.map(|send| &send.1)).map(HttpRequestSpec::bytes).sum();
    submissions + binds + asks
}

/// The bytes that there is room for of what undoes calls.
pub(super) fn undoing_left(tx: &Tx) -> usize {
    UNDOING_BYTES_MAX.saturating_sub(rest(tx))
}

/// Returns whether there is room to keep the answer to a call for an operator.
pub(super) fn may_keep(tx: &Tx, number: u32, response: &Value) -> bool {
    let others = tx.calls.iter().filter(|call| call.number != number);
    let kept = others.filter_map(|call| match &call.state {
        CallState::AnswerHeld(response) => Some(size(response)),
        _ => None,
    });
    kept.sum::<usize>() + size(response) <= KEPT_BYTES_MAX
}

/// Refuses one more hold of a transaction that has as many as it may have.
pub(super) const fn require_take_hold(tx: &Tx) -> Result<(), Refusal> {
    if tx.holds.len() >= HOLDS_MAX {
        return Err(Refusal::LimitReached { what: "holds of a transaction", max: HOLDS_MAX });
    }
    Ok(())
}

/// Refuses so many more effects that are kept to be undone, where they would be too many.
pub(super) fn require_take_undo(tx: &Tx, more: usize) -> Result<(), Refusal> {
    let undo: usize = tx.done.iter().map(|done| done.undo.len()).sum();
    if undo + more > UNDO_MAX {
        let what = "effects of a transaction that can be undone";
        return Err(Refusal::LimitReached { what, max: UNDO_MAX });
    }
    Ok(())
}

/// Refuses a transaction that has grown too large.
pub(super) fn require_fit(tx: &Tx) -> Result<(), Refusal> {
    if size(&tx.data) > DATA_BYTES_MAX {
        let what = "the data of a transaction";
        return Err(Refusal::TooLarge { what, bytes_max: DATA_BYTES_MAX });
    }
    if tx.holds.len() > HOLDS_MAX {
        return Err(Refusal::LimitReached { what: "holds of a transaction", max: HOLDS_MAX });
    }
    require_take_undo(tx, 0)?;
    if rest(tx) > REST_BYTES_MAX {
        let what = "what a transaction keeps beside its data";
        return Err(Refusal::TooLarge { what, bytes_max: REST_BYTES_MAX });
    }
    Ok(())
}
