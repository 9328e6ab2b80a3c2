//! Commands of the ledger: permissions, and results.

use std::sync::Arc;

use super::{
    Account, Asset, Capture, Change, NOTE_BYTES_MAX, Open, Place, Post, TRANSFERS_MAX, capture,
    hold_of, place, post, reverse, void,
};
use crate::engine::core::preconditions::require_match;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{
    IfMatch, InputError, Outcome, RecordKey, Refusal, Rules, TransferAsk, UserRef,
};
use crate::types::{AccountId, AssetCode, Decimal, HoldId, Span, TransferId, Username};

/// Maximum life of a hold: ten years. A hold without an expiry has no limit.
const HOLD_LIFE_MAX: Span = Span::from_hours(24 * 3650);

/// Puts an asset.
pub(in crate::engine) fn put_asset(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    asset: &Asset,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    if asset.name.as_deref().is_some_and(|name| name.len() > Rules::NAME_BYTES_MAX) {
        let message = format!("must have at most {} bytes", Rules::NAME_BYTES_MAX);
        let error = InputError::new("/name", "too-long", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let created = super::put_asset(unit, asset)?;
    let asset = super::iso_asset(&asset.code).unwrap_or_else(|| asset.clone());
    Ok(Outcome::Asset { asset, created })
}

/// Opens an account.
pub(in crate::engine) fn open_account(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &AccountId,
    asset: &AssetCode,
    owner: Option<&Username>,
    floor: Option<Decimal>,
    read_anyone: bool,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    let owner = match owner {
        Some(name) => Some(owner_named(unit, name)?),
        None => None,
    };
    let open = Open { id: id.clone(), asset: asset.clone(), owner, floor, read_anyone };
    let account = Box::new(super::open_account(unit, &open)?);
    Ok(Outcome::Account { account, revision: unit.context.revision, created: true })
}

/// Changes an account.
pub(in crate::engine) fn change_account(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &AccountId,
    change: &Change,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    changed(unit, id, if_match, |unit| super::change_account(unit, id, change))
}

/// Closes an account.
pub(in crate::engine) fn close_account(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &AccountId,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    changed(unit, id, if_match, |unit| super::close_account(unit, id))
}

/// Posts the opposite of a transfer.
pub(in crate::engine) fn reverse_transfer(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &TransferId,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    reversed(unit, std::slice::from_ref(id))
}

/// Posts the opposites of transfers, all or none.
pub(in crate::engine) fn reverse_transfers(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ids: &[TransferId],
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    require_a_few(ids.len())?;
    reversed(unit, ids)
}

/// Places a hold.
pub(in crate::engine) fn place_hold(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: Option<&HoldId>,
    from: &AccountId,
    amount: Decimal,
    expires: Option<Span>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    let id = id.cloned().unwrap_or_else(|| unit.mint_hold());
    let expires_at = expires.map(|life| life_of(unit, life)).transpose()?;
    let asked = Place { id, tx: None, from: from.clone(), amount, expires_at };
    let is_new = unit.hold(asked.id.clone())?.is_none();
    let hold = place(unit, &asked)?;
    held(unit, &hold.id, is_new, None)
}

/// Posts the reserved amount of a hold, or a part of it.
pub(in crate::engine) fn capture_hold(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &HoldId,
    to: &AccountId,
    amount: Option<Decimal>,
    keep_rest: bool,
    note: Option<&Arc<str>>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    require_short("/note", note.map(|note| &**note))?;
    let hold = hold_of(unit, None, id)?.ok_or(Refusal::NotFound("hold"))?;
    let transfer = unit.mint_transfer();
    let asked = Capture { to: to.clone(), amount, keep_rest, note: note.cloned(), transfer };
    let transfer = capture(unit, &hold, &asked)?;
    held(unit, id, false, Some(Box::new(transfer)))
}

/// Releases the rest of a hold.
pub(in crate::engine) fn void_hold(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: &HoldId,
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    let hold = hold_of(unit, None, id)?.ok_or(Refusal::NotFound("hold"))?;
    void(unit, &hold)?;
    held(unit, id, false, None)
}

/// Returns the user who is to own an account.
fn owner_named(unit: &UnitOfWork<'_>, name: &Username) -> Result<UserRef, DecideError> {
    unit.user_named(name)?.map(crate::engine::User::names).ok_or_else(|| {
        let error = InputError::new("/owner", "unknown-user", "must be the name of a user");
        Refusal::InvalidInput(vec![error]).into()
    })
}

fn changed(
    unit: &mut UnitOfWork<'_>,
    id: &AccountId,
    if_match: Option<&IfMatch>,
    change: impl FnOnce(&mut UnitOfWork<'_>) -> Result<(), DecideError>,
) -> Result<Outcome, DecideError> {
    let fact = RecordKey::Account(id.clone());
    let none = Refusal::NotFound("account");
    let revision = unit.revision(&fact)?.ok_or(none.clone())?;
    require_match(if_match, revision)?;
    change(unit)?;
    let account = unit.account(id.clone())?.cloned();
    let account = Box::new(account.ok_or(none)?);
    let revision = unit.revision(&fact)?.unwrap_or(revision);
    Ok(Outcome::Account { account, revision, created: false })
}

/// Posts transfers, all or none.
pub(in crate::engine) fn post_transfers(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    asked: &[TransferAsk],
) -> Result<Outcome, DecideError> {
    resolved.require_admin_or_service()?;
    require_a_few(asked.len())?;
    let mut ids = Vec::with_capacity(asked.len());
    let mut created = false;
    for TransferAsk { id, from, to, amount, note } in asked {
        require_short("/note", note.as_deref())?;
        if id.as_ref().is_some_and(TransferId::is_reserved) {
            let error = InputError::new("/id", "reserved", "is a part of the API; choose another");
            return Err(Refusal::InvalidInput(vec![error]).into());
        }
        let id = id.clone().unwrap_or_else(|| unit.mint_transfer());
        created |= unit.transfer(id.clone())?.is_none();
        let (from, to, note) = (from.clone(), to.clone(), note.clone());
        ids.push(post(unit, &Post { id, from, to, amount: *amount, note, tx: None })?.id);
    }
    let mut transfers = Vec::with_capacity(ids.len());
    let mut revision = crate::types::Revision::ZERO;
    for id in ids {
        revision =
            revision.max(unit.revision(&RecordKey::Transfer(id.clone()))?.unwrap_or(revision));
        transfers.extend(unit.transfer(id)?.cloned());
    }
    Ok(Outcome::Transfers { transfers, revision, created })
}

/// Posts the opposites of transfers in this order, all or none.
fn reversed(unit: &mut UnitOfWork<'_>, ids: &[TransferId]) -> Result<Outcome, DecideError> {
    let mut transfers = Vec::with_capacity(ids.len());
    for id in ids {
        let none = Refusal::NotFound("transfer");
        let transfer = unit.transfer(id.clone())?.ok_or(none)?.clone();
        let opposite = unit.mint_transfer();
        transfers.push(reverse(unit, &transfer, opposite)?);
    }
    let revision = unit.context.revision;
    Ok(Outcome::Transfers { transfers, revision, created: true })
}

/// Refuses an empty list of transfers, and one with more than fit into one commit.
fn require_a_few(count: usize) -> Result<(), Refusal> {
    if (1..=TRANSFERS_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("must have 1 to {TRANSFERS_MAX} entries");
    Err(Refusal::InvalidInput(vec![InputError::new("/transfers", "out-of-range", message)]))
}

fn held(
    unit: &UnitOfWork<'_>,
    id: &HoldId,
    created: bool,
    transfer: Option<Box<super::Transfer>>,
) -> Result<Outcome, DecideError> {
    let hold = hold_of(unit, None, id)?.ok_or(Refusal::NotFound("hold"))?;
    let revision = unit.revision(&RecordKey::Hold(id.clone()))?.unwrap_or(unit.context.revision);
    Ok(Outcome::Hold { hold: Box::new(hold), revision, created, transfer })
}

fn life_of(unit: &UnitOfWork<'_>, life: Span) -> Result<crate::types::Time, Refusal> {
    if life == Span::ZERO || life > HOLD_LIFE_MAX {
        let message = format!("must be above zero and at most {HOLD_LIFE_MAX}");
        let error = InputError::new("/expires", "out-of-range", message);
        return Err(Refusal::InvalidInput(vec![error]));
    }
    Ok(unit.context.now.plus(life))
}

/// Refuses a note that is too long for a statement.
pub(super) fn require_short(pointer: &str, note: Option<&str>) -> Result<(), Refusal> {
    if note.is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
        let message = format!("must have at most {NOTE_BYTES_MAX} bytes");
        return Err(Refusal::InvalidInput(vec![InputError::new(pointer, "too-long", message)]));
    }
    Ok(())
}

impl Account {
    /// Returns whether an actor may read the account and its statement.
    #[must_use]
    pub fn is_visible_to(&self, actor: &crate::engine::Actor) -> bool {
        use crate::engine::Actor;
        use crate::types::Role;
        let owns = self.owner.as_ref().zip(actor.user()).is_some_and(|(a, b)| a.id == b.id);
        owns || matches!(actor, Actor::Key(_) | Actor::System) || actor.has(Role::AUDITOR)
    }
}
