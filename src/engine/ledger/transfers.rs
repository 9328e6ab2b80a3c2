//! Transfers: posted at once, undone only by an opposite transfer.

use std::sync::Arc;

use super::Transfer;
use super::accounts::{amount, found, require_let_go, require_take_in};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{LedgerEvent, Refusal};
use crate::types::{AccountId, Decimal, TransferId, TxId};

/// A transfer to post.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Post {
    /// Its id.
    pub(in crate::engine) id: TransferId,
    /// Account that the amount leaves.
    pub(in crate::engine) from: AccountId,
    /// Account that receives the amount.
    pub(in crate::engine) to: AccountId,
    /// Amount to transfer.
    pub(in crate::engine) amount: Decimal,
    /// Note on the statement.
    pub(in crate::engine) note: Option<Arc<str>>,
    /// The transaction that posts it.
    pub(in crate::engine) tx: Option<TxId>,
}

/// Posts a transfer. If one with the same id and content exists, returns it in its present state.
pub(in crate::engine) fn post(
    unit: &mut UnitOfWork<'_>,
    post: &Post,
) -> Result<Transfer, DecideError> {
    if let Some(old) = unit.transfer(post.id.clone())? {
        return if is_same(old, post) {
            Ok(old.clone())
        } else {
            Err(Refusal::TransferIdTaken(post.id.clone()).into())
        };
    }
    if post.from == post.to {
        return Err(Refusal::SameAccount.into());
    }
    let from = found(unit, &post.from)?;
    let to = found(unit, &post.to)?;
    if from.asset != to.asset {
        return Err(Refusal::AssetMismatch.into());
    }
    let units = amount(post.amount, from.scale)?;
    require_take_in(to, units)?;
    require_let_go(from, units)?;
    let transfer = Transfer {
        id: post.id.clone(),
        from: from.id.clone(),
        to: to.id.clone(),
        asset: from.asset.clone(),
        scale: from.scale,
        amount: units,
        note: post.note.clone(),
        tx: post.tx,
        hold: None,
        reverses: None,
        reversed_by: None,
        at: unit.context.now,
        revision: unit.context.revision,
    };
    unit.emit(LedgerEvent::TransferPosted { transfer: Box::new(transfer.clone()) })?;
    Ok(transfer)
}

/// Posts the opposite of a transfer, once. It must be possible like any transfer: the account that
/// received the amount must still have it.
pub(in crate::engine) fn reverse(
    unit: &mut UnitOfWork<'_>,
    transfer: &Transfer,
    id: TransferId,
) -> Result<Transfer, DecideError> {
    let now = unit.transfer(transfer.id.clone())?;
    if let Some(by) = now.and_then(|now| now.reversed_by.as_ref()) {
        return Err(Refusal::AlreadyReversed { by: by.clone() }.into());
    }
    require_free(unit, &id)?;
    require_take_in(found(unit, &transfer.from)?, transfer.amount)?;
    require_let_go(found(unit, &transfer.to)?, transfer.amount)?;
    let opposite = Transfer {
        id,
        from: transfer.to.clone(),
        to: transfer.from.clone(),
        hold: None,
        reverses: Some(transfer.id.clone()),
        reversed_by: None,
        at: unit.context.now,
        revision: unit.context.revision,
        ..transfer.clone()
    };
    unit.emit(LedgerEvent::TransferPosted { transfer: Box::new(opposite.clone()) })?;
    Ok(opposite)
}

/// Maximum length of the chain that is followed: a transfer, its reversal, the reversal's reversal,
/// and so on.
const REVERSALS_MAX: usize = 100;

/// Returns the transfer that still has the effect of this one: itself, or the transfer that
/// reversed its reversal. `None`: the effect was taken back, or there is no such transfer.
pub(in crate::engine) fn standing(
    unit: &UnitOfWork<'_>,
    id: &TransferId,
) -> Result<Option<Transfer>, DecideError> {
    let Some(mut last) = unit.transfer(id.clone())? else { return Ok(None) };
    for reversals in 0..REVERSALS_MAX {
        let Some(by) = &last.reversed_by else {
            return Ok((reversals % 2 == 0).then(|| last.clone()));
        };
        match unit.transfer(by.clone())? {
            Some(reversal) => last = reversal,
            None => return Ok(None),
        }
    }
    let what = "reversals of one transfer";
    Err(Refusal::LimitReached { what, max: REVERSALS_MAX }.into())
}

/// Refuses an id that a transfer already has.
pub(super) fn require_free(unit: &UnitOfWork<'_>, id: &TransferId) -> Result<(), DecideError> {
    match unit.transfer(id.clone())? {
        Some(_) => Err(Refusal::TransferIdTaken(id.clone()).into()),
        None => Ok(()),
    }
}

fn is_same(old: &Transfer, post: &Post) -> bool {
    old.from == post.from
        && old.to == post.to
        && old.note == post.note
        && old.tx == post.tx
        && old.hold.is_none()
        && old.reverses.is_none()
        && post.amount.to_minor(old.scale) == Ok(old.amount)
}
