//! Accounts: opening, changing, closing.

use super::{Account, AccountChange, BALANCE_MAX};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{LedgerEvent, Refusal, UserRef};
use crate::types::{AccountId, AssetCode, Decimal, DecimalError};

/// An account to open.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Open {
    /// Its id.
    pub(in crate::engine) id: AccountId,
    /// Asset that it is counted in.
    pub(in crate::engine) asset: AssetCode,
    /// Owner; `None`: nobody.
    pub(in crate::engine) owner: Option<UserRef>,
    /// Minimum available balance; `None`: no limit.
    pub(in crate::engine) floor: Option<Decimal>,
    /// True if any session may read its balance.
    pub(in crate::engine) read_anyone: bool,
}

/// Changes of an account; a field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Change {
    /// Minimum available balance; the inner `None`: no limit.
    #[expect(clippy::option_option, reason = "unchanged, no limit, a limit")]
    pub(in crate::engine) floor: Option<Option<Decimal>>,
    /// True to freeze the account, false to unfreeze it.
    pub(in crate::engine) frozen: Option<bool>,
    /// True if any session may read its balance.
    pub(in crate::engine) read_anyone: Option<bool>,
}

/// Opens an account. Its id is never given out again.
pub(in crate::engine) fn open_account(
    unit: &mut UnitOfWork<'_>,
    open: &Open,
) -> Result<Account, DecideError> {
    if unit.account(open.id.clone())?.is_some() {
        return Err(Refusal::AccountExists(open.id.clone()).into());
    }
    let scale = super::assets::scale(unit, &open.asset)?;
    let floor = open.floor.map(|floor| minor(floor, scale)).transpose()?;
    if floor.is_some_and(|floor| floor > 0) {
        return Err(Refusal::InsufficientFunds(open.id.clone()).into());
    }
    let account = Account {
        id: open.id.clone(),
        asset: open.asset.clone(),
        scale,
        owner: open.owner.clone(),
        floor,
        read_anyone: open.read_anyone,
        frozen: false,
        closed: false,
        posted: 0,
        held: 0,
        holds: 0,
        created_at: unit.context.now,
    };
    unit.emit(LedgerEvent::AccountOpened { account: Box::new(account.clone()) })?;
    Ok(account)
}

/// Changes an account. A floor above what is available is refused, so no account ever lies below
/// its floor.
pub(in crate::engine) fn change_account(
    unit: &mut UnitOfWork<'_>,
    id: &AccountId,
    change: &Change,
) -> Result<(), DecideError> {
    let account = found(unit, id)?;
    require_there(account)?;
    let floor = match change.floor {
        Some(Some(floor)) => Some(Some(minor(floor, account.scale)?)),
        Some(None) => Some(None),
        None => None,
    };
    if floor.flatten().is_some_and(|floor| floor > account.available()) {
        return Err(Refusal::InsufficientFunds(id.clone()).into());
    }
    let Change { frozen, read_anyone, .. } = *change;
    let change = AccountChange {
        floor: floor.filter(|floor| *floor != account.floor),
        frozen: frozen.filter(|frozen| *frozen != account.frozen),
        read_anyone: read_anyone.filter(|anyone| *anyone != account.read_anyone),
    };
    if change == AccountChange::default() {
        return Ok(());
    }
    let scale = account.scale;
    unit.emit(LedgerEvent::AccountChanged { account: id.clone(), scale, change: Box::new(change) })
}

/// Closes an account on which nothing is posted or held. A closed account stays closed.
pub(in crate::engine) fn close_account(
    unit: &mut UnitOfWork<'_>,
    id: &AccountId,
) -> Result<(), DecideError> {
    let account = found(unit, id)?;
    if account.closed {
        return Ok(());
    }
    if account.posted != 0 || account.held != 0 || account.holds != 0 {
        return Err(Refusal::AccountNotEmpty(id.clone()).into());
    }
    unit.emit(LedgerEvent::AccountClosed { account: id.clone() })
}

/// Refuses an account that does not belong to this user.
#[allow(dead_code, reason = "what the effects of transactions ask of the ledger")]
pub(in crate::engine) fn require_belong_to(
    unit: &UnitOfWork<'_>,
    id: &AccountId,
    user: Option<&UserRef>,
) -> Result<(), DecideError> {
    let account = found(unit, id)?;
    match (user, &account.owner) {
        (Some(user), Some(owner)) if user.id == owner.id => Ok(()),
        _ => Err(Refusal::NotYourAccount(id.clone()).into()),
    }
}

/// Returns the account with this id.
pub(super) fn found<'d>(
    unit: &'d UnitOfWork<'_>,
    id: &AccountId,
) -> Result<&'d Account, DecideError> {
    unit.account(id.clone())?.ok_or_else(|| Refusal::UnknownAccount(id.clone()).into())
}

/// Refuses a closed account.
pub(super) fn require_there(account: &Account) -> Result<(), Refusal> {
    if account.closed { Err(Refusal::AccountClosed(account.id.clone())) } else { Ok(()) }
}

/// Refuses to let this many minor units leave an account, by a hold or a posting.
pub(super) fn require_let_go(account: &Account, units: i128) -> Result<(), Refusal> {
    require_there(account)?;
    if account.frozen {
        return Err(Refusal::AccountFrozen(account.id.clone()));
    }
    let left = account.available().checked_sub(units).ok_or(Refusal::AmountOutOfRange)?;
    if account.floor.is_some_and(|floor| left < floor) {
        return Err(Refusal::InsufficientFunds(account.id.clone()));
    }
    require_fit(left)
}

/// Refuses to let this many minor units enter an account.
pub(super) fn require_take_in(account: &Account, units: i128) -> Result<(), Refusal> {
    require_there(account)?;
    require_fit(account.posted.checked_add(units).ok_or(Refusal::AmountOutOfRange)?)
}

/// Refuses a balance, or a sum of holds, that is out of range.
pub(super) fn require_fit(balance: i128) -> Result<(), Refusal> {
    if (-BALANCE_MAX..=BALANCE_MAX).contains(&balance) {
        Ok(())
    } else {
        Err(Refusal::AmountOutOfRange)
    }
}

/// Converts a number to minor units.
pub(super) fn minor(number: Decimal, scale: u8) -> Result<i128, Refusal> {
    number.to_minor(scale).map_err(|error| match error {
        DecimalError::NotExact => Refusal::AmountNotExact,
        DecimalError::OutOfRange => Refusal::AmountOutOfRange,
    })
}

/// Converts an amount to minor units; it must be above zero.
pub(super) fn amount(number: Decimal, scale: u8) -> Result<i128, Refusal> {
    match minor(number, scale)? {
        units if units > 0 => Ok(units),
        _ => Err(Refusal::AmountOutOfRange),
    }
}
