//! Transactions: running instances of workflows. So far only where their holds lie.

use super::draft::{Draft, Stop};
use super::ledger::Hold;
use crate::types::{HoldId, TxId};

/// A hold of a transaction; it lies in the transaction's own record.
///
/// # Errors
/// [`Stop::Need`] when the transaction was not loaded.
#[expect(clippy::unnecessary_wraps, reason = "the transaction's record may have to be loaded")]
pub(super) const fn find_hold(
    _draft: &Draft<'_>,
    _tx: TxId,
    _id: &HoldId,
) -> Result<Option<Hold>, Stop> {
    Ok(None)
}

/// Writes a hold into the record of its transaction ([`Hold::tx`]).
///
/// # Errors
/// [`Stop::Need`] when the transaction was not loaded.
#[expect(clippy::unnecessary_wraps, reason = "the transaction's record may have to be loaded")]
pub(super) const fn put_hold(_draft: &mut Draft<'_>, _tx: TxId, _hold: &Hold) -> Result<(), Stop> {
    Ok(())
}
