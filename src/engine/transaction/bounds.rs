//! Size limits of a transaction: its record must fit into the parts of one stored value.

use serde_json::Value;

use super::record::{CallState, HttpRequestSpec, Tx};
use crate::engine::Refusal;

/// Maximum size of a transaction's data, in bytes of compact JSON.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// Maximum size of the submissions, codes and requests kept for a transaction, in bytes.
const REST_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of holds of a transaction, including resolved ones.
const HOLDS_MAX: usize = 500;

/// Maximum number of effects that a transaction keeps in order to undo them.
const UNDO_MAX: usize = 2000;

/// Limit that replaces `REST_BYTES_MAX` while a transaction is undone, in bytes. It includes the
/// requests that undo calls which were never answered. Undoing is never refused, so requests beyond
/// this limit are not kept.
const UNDOING_BYTES_MAX: usize = 256 * 1024;

/// Maximum size of the answers that a transaction keeps for an operator, in bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Returns the size of a value as compact JSON, in bytes.
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

/// Returns the size of everything that counts against `REST_BYTES_MAX`, in bytes.
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

/// Returns the bytes still free for requests that undo calls.
pub(super) fn undoing_left(tx: &Tx) -> usize {
    UNDOING_BYTES_MAX.saturating_sub(rest(tx))
}

/// Returns whether the answer to a call still fits among the answers kept for an operator.
pub(super) fn may_keep(tx: &Tx, number: u32, response: &Value) -> bool {
    let others = tx.calls.iter().filter(|call| call.number != number);
    let kept = others.filter_map(|call| match &call.state {
        CallState::AnswerHeld(response) => Some(size(response)),
        _ => None,
    });
    kept.sum::<usize>() + size(response) <= KEPT_BYTES_MAX
}

/// Refuses another hold when a transaction has the maximum.
pub(super) const fn require_take_hold(tx: &Tx) -> Result<(), Refusal> {
    if tx.holds.len() >= HOLDS_MAX {
        return Err(Refusal::LimitReached { what: "holds of a transaction", max: HOLDS_MAX });
    }
    Ok(())
}

/// Refuses `more` effects to undo when they would exceed the maximum.
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
