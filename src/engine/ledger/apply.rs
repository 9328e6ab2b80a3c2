//! Changes of the records by events of the ledger. All sums are within bounds that were checked
//! before the event, so they saturate here only in a log that was tampered with.

use super::{Account, AppendedRow, Asset, Entry, Hold, HoldStatus, Totals, Transfer};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{LedgerEvent, Record, RecordKey, Timer, TimerOf};
use crate::types::{AccountId, AssetCode};

pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &LedgerEvent,
) -> Result<(), DecideError> {
    match event {
        LedgerEvent::AssetPut { asset } => put_asset(unit, asset),
        LedgerEvent::AccountOpened { account } => open_account(unit, account),
        LedgerEvent::AccountChanged { account, change, .. } => {
            change_account(unit, account, |account| {
                account.floor = change.floor.unwrap_or(account.floor);
                account.frozen = change.frozen.unwrap_or(account.frozen);
                account.read_anyone = change.read_anyone.unwrap_or(account.read_anyone);
            })
        }
        LedgerEvent::AccountClosed { account } => {
            change_account(unit, account, |account| account.closed = true)
        }
        LedgerEvent::TransferPosted { transfer } => post(unit, transfer),
        LedgerEvent::HoldPlaced { hold } => {
            if let Some(timer) = timer(hold) {
                unit.arm(timer);
            }
            change_account(unit, &hold.account, |account| {
                account.held = account.held.saturating_add(hold.amount);
                account.holds = account.holds.saturating_add(1);
            })?;
            change_totals(unit, &hold.asset, |totals| {
                totals.held = totals.held.saturating_add(hold.amount);
            })?;
            put_hold(unit, hold)
        }
        LedgerEvent::HoldCaptured { hold, amount, released } => {
            release(unit, hold, amount.saturating_add(*released))
        }
        LedgerEvent::HoldVoided { hold, released }
        | LedgerEvent::HoldExpired { hold, released } => release(unit, hold, *released),
    }
}

fn put_asset(unit: &mut UnitOfWork<'_>, asset: &Asset) -> Result<(), DecideError> {
    let fact = RecordKey::Asset(asset.code.clone());
    if unit.asset(asset.code.clone())?.is_none() {
        let count = unit.count(&RecordKey::AssetCount)?;
        unit.put(RecordKey::AssetCount, Record::Count(count.saturating_add(1)));
    }
    unit.put(fact, Record::Asset(asset.clone()));
    Ok(())
}

fn open_account(unit: &mut UnitOfWork<'_>, account: &Account) -> Result<(), DecideError> {
    change_totals(unit, &account.asset, |totals| {
        totals.accounts = totals.accounts.saturating_add(1);
    })?;
    if let Some(owner) = &account.owner {
        unit.row(AppendedRow::Owned(owner.id, account.id.clone()));
    }
    unit.put(RecordKey::Account(account.id.clone()), Record::Account(account.clone()));
    Ok(())
}

fn post(unit: &mut UnitOfWork<'_>, transfer: &Transfer) -> Result<(), DecideError> {
    if let Some(reversed) = &transfer.reverses
        && let Some(old) = unit.transfer(reversed.clone())?.cloned()
    {
        let old = Transfer { reversed_by: Some(transfer.id.clone()), ..old };
        unit.put(RecordKey::Transfer(old.id.clone()), Record::Transfer(old));
    }
    enter(unit, transfer, &transfer.from, &transfer.to, -transfer.amount)?;
    enter(unit, transfer, &transfer.to, &transfer.from, transfer.amount)?;
    change_totals(unit, &transfer.asset, |totals| {
        totals.transfers = totals.transfers.saturating_add(1);
    })?;
    unit.put(RecordKey::Transfer(transfer.id.clone()), Record::Transfer(transfer.clone()));
    Ok(())
}

/// Adds one side of a transfer.
fn enter(
    unit: &mut UnitOfWork<'_>,
    transfer: &Transfer,
    id: &AccountId,
    counter: &AccountId,
    amount: i128,
) -> Result<(), DecideError> {
    change_account(unit, id, |account| account.posted = account.posted.saturating_add(amount))?;
    change_totals(unit, &transfer.asset, |totals| {
        totals.posted = totals.posted.saturating_add(amount);
    })?;
    let balance = unit.account(id.clone())?.map_or(0, |account| account.posted);
    let entry = Entry {
        account: id.clone(),
        revision: unit.context.revision,
        number: unit.next_row(),
        transfer: transfer.id.clone(),
        counter: counter.clone(),
        amount,
        balance,
        scale: transfer.scale,
        note: transfer.note.clone(),
        tx: transfer.tx,
        at: transfer.at,
    };
    unit.row(AppendedRow::Entry(Box::new(entry)));
    Ok(())
}

/// Takes minor units off what is held; `hold` is the hold after the change.
fn release(unit: &mut UnitOfWork<'_>, hold: &Hold, units: i128) -> Result<(), DecideError> {
    let resolved = hold.status != HoldStatus::Held;
    if let Some(timer) = timer(hold).filter(|_| resolved) {
        unit.disarm(timer);
    }
    change_account(unit, &hold.account, |account| {
        account.held = account.held.saturating_sub(units);
        account.holds = account.holds.saturating_sub(u32::from(resolved));
    })?;
    change_totals(unit, &hold.asset, |totals| totals.held = totals.held.saturating_sub(units))?;
    put_hold(unit, hold)
}

fn put_hold(unit: &mut UnitOfWork<'_>, hold: &Hold) -> Result<(), DecideError> {
    if let Some(tx) = hold.tx {
        return crate::engine::transaction::put_hold(unit, tx, hold);
    }
    unit.put(RecordKey::Hold(hold.id.clone()), Record::Hold(hold.clone()));
    Ok(())
}

/// Returns the timer of a hold outside of transactions.
fn timer(hold: &Hold) -> Option<Timer> {
    let due = hold.expires_at.filter(|_| hold.tx.is_none())?;
    Some(Timer { due, what: TimerOf::Hold(hold.id.clone()) })
}

fn change_account(
    unit: &mut UnitOfWork<'_>,
    id: &AccountId,
    change: impl FnOnce(&mut Account),
) -> Result<(), DecideError> {
    let Some(mut account) = unit.account(id.clone())?.cloned() else { return Ok(()) };
    change(&mut account);
    unit.put(RecordKey::Account(id.clone()), Record::Account(account));
    Ok(())
}

fn change_totals(
    unit: &mut UnitOfWork<'_>,
    asset: &AssetCode,
    change: impl FnOnce(&mut Totals),
) -> Result<(), DecideError> {
    let mut totals = unit.totals(asset.clone())?.copied().unwrap_or_default();
    change(&mut totals);
    unit.put(RecordKey::Totals(asset.clone()), Record::Totals(totals));
    Ok(())
}
