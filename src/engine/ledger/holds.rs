//! Holds: placed once, resolved at most once.
//!
//! Freezing an account stops new holds and transfers, but not captures: a reserved amount was
//! promised already, and keeping it back would break a promise to the other side.

use std::sync::Arc;

use super::accounts::{amount, found, require_fit, require_let_go, require_take_in, require_there};
use super::transfers::require_free;
use super::{Hold, HoldStatus, Transfer};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{LedgerEvent, Refusal};
use crate::types::{AccountId, Decimal, HoldId, Time, TransferId, TxId};

/// A hold to place.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Place {
    /// Its id.
    pub(in crate::engine) id: HoldId,
    /// The transaction that it belongs to.
    pub(in crate::engine) tx: Option<TxId>,
    /// The account.
    pub(in crate::engine) from: AccountId,
    /// Amount to reserve.
    pub(in crate::engine) amount: Decimal,
    /// Time when it is released by itself.
    pub(in crate::engine) expires_at: Option<Time>,
}

/// A capture.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Capture {
    /// Account that receives the amount.
    pub(in crate::engine) to: AccountId,
    /// Amount to post; `None`: the whole rest.
    pub(in crate::engine) amount: Option<Decimal>,
    /// True if the rest stays held.
    pub(in crate::engine) keep_rest: bool,
    /// Note on the statement.
    pub(in crate::engine) note: Option<Arc<str>>,
    /// Id of the transfer that posts it.
    pub(in crate::engine) transfer: TransferId,
}

/// Returns a hold by its id, from its transaction's record or from a record of its own.
pub(in crate::engine) fn hold_of(
    unit: &UnitOfWork<'_>,
    tx: Option<TxId>,
    id: &HoldId,
) -> Result<Option<Hold>, DecideError> {
    match tx {
        Some(tx) => crate::engine::transaction::find_hold(unit, tx, id),
        None => Ok(unit.hold(id.clone())?.cloned()),
    }
}

/// Reserves an amount. If a hold outside of transactions was already placed with the same id and
/// content, returns it in its present state.
pub(in crate::engine) fn place(
    unit: &mut UnitOfWork<'_>,
    place: &Place,
) -> Result<Hold, DecideError> {
    if let Some(hold) = hold_of(unit, place.tx, &place.id)? {
        let same = hold.tx.is_none()
            && hold.account == place.from
            && place.amount.to_minor(hold.scale) == Ok(hold.amount);
        return if same { Ok(hold) } else { Err(Refusal::HoldIdTaken(place.id.clone()).into()) };
    }
    let account = found(unit, &place.from)?;
    let units = amount(place.amount, account.scale)?;
    require_let_go(account, units)?;
    require_fit(account.held.checked_add(units).ok_or(Refusal::AmountOutOfRange)?)?;
    let hold = Hold {
        id: place.id.clone(),
        tx: place.tx,
        account: account.id.clone(),
        asset: account.asset.clone(),
        scale: account.scale,
        amount: units,
        captured: 0,
        left: units,
        status: HoldStatus::Held,
        expires_at: place.expires_at,
        created_at: unit.context.now,
    };
    unit.emit(LedgerEvent::HoldPlaced { hold: Box::new(hold.clone()) })?;
    Ok(hold)
}

/// Posts a hold or a part of it; the rest is released, or stays held.
pub(in crate::engine) fn capture(
    unit: &mut UnitOfWork<'_>,
    hold: &Hold,
    capture: &Capture,
) -> Result<Transfer, DecideError> {
    require_open(unit, hold)?;
    let units = match capture.amount {
        Some(number) => amount(number, hold.scale)?,
        None => hold.left,
    };
    if units > hold.left {
        return Err(Refusal::ExceedsHold(hold.id.clone()).into());
    }
    require_there(found(unit, &hold.account)?)?;
    let to = found(unit, &capture.to)?;
    if to.id == hold.account {
        return Err(Refusal::SameAccount.into());
    }
    if to.asset != hold.asset {
        return Err(Refusal::AssetMismatch.into());
    }
    require_take_in(to, units)?;
    require_free(unit, &capture.transfer)?;
    let rest = hold.left - units;
    let keeps = capture.keep_rest && rest > 0;
    let after = Hold {
        captured: hold.captured + units,
        left: if keeps { rest } else { 0 },
        status: if keeps { HoldStatus::Held } else { HoldStatus::Captured },
        ..hold.clone()
    };
    let transfer = Transfer {
        id: capture.transfer.clone(),
        from: hold.account.clone(),
        to: capture.to.clone(),
        asset: hold.asset.clone(),
        scale: hold.scale,
        amount: units,
        note: capture.note.clone(),
        tx: hold.tx,
        hold: Some(hold.id.clone()),
        reverses: None,
        reversed_by: None,
        at: unit.context.now,
        revision: unit.context.revision,
    };
    let released = if keeps { 0 } else { rest };
    unit.emit(LedgerEvent::HoldCaptured { hold: Box::new(after), amount: units, released })?;
    unit.emit(LedgerEvent::TransferPosted { transfer: Box::new(transfer.clone()) })?;
    Ok(transfer)
}

/// Releases the rest of a hold.
pub(in crate::engine) fn void(unit: &mut UnitOfWork<'_>, hold: &Hold) -> Result<Hold, DecideError> {
    require_open(unit, hold)?;
    let after = Hold { left: 0, status: HoldStatus::Voided, ..hold.clone() };
    unit.emit(LedgerEvent::HoldVoided { hold: Box::new(after.clone()), released: hold.left })?;
    Ok(after)
}

/// Releases the rest of a hold that expires. A resolved hold does not change.
pub(in crate::engine) fn release_expired(
    unit: &mut UnitOfWork<'_>,
    hold: &Hold,
) -> Result<Hold, DecideError> {
    if hold.status != HoldStatus::Held {
        return Ok(hold.clone());
    }
    let after = Hold { left: 0, status: HoldStatus::Expired, ..hold.clone() };
    unit.emit(LedgerEvent::HoldExpired { hold: Box::new(after.clone()), released: hold.left })?;
    Ok(after)
}

fn require_open(unit: &UnitOfWork<'_>, hold: &Hold) -> Result<(), Refusal> {
    if hold.is_open(unit.context.now) { Ok(()) } else { Err(Refusal::HoldNotOpen(hold.id.clone())) }
}
