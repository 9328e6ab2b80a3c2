//! Invariants of every commit that moves money, whatever caused it. The check looks at the records
//! alone, so a wrong rule, or an event that is applied wrongly, cannot lose a cent: the commit is
//! not made.

use std::collections::BTreeMap;

use super::{Account, BALANCE_MAX, Totals};
use crate::engine::{Changes, ReadSet, Record, RecordKey};
use crate::types::AssetCode;

/// A commit that would make money, lose some, or allow an account to spend more than it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a commit would break the ledger and was not made: {0}")]
pub struct Imbalance(String);

/// Changes of an asset's sums, in minor units.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    posted: i128,
    held: i128,
}

/// Checks the changes of a decision. For each asset, the posted amounts change by zero in sum over
/// the accounts and in the totals; the held amounts change by the same in both. No changed account
/// ends below its floor.
///
/// # Errors
/// [`Imbalance`]
pub fn check(facts: &ReadSet, changes: &Changes) -> Result<(), Imbalance> {
    let mut accounts = BTreeMap::<&AssetCode, Moved>::new();
    let mut totals = BTreeMap::<&AssetCode, Moved>::new();
    for (fact, record) in &changes.records {
        match (fact, record) {
            (RecordKey::Account(_), Some(Record::Account(new))) => {
                let old = match before(facts, fact)? {
                    Some(Record::Account(old)) => Some(old),
                    _ => None,
                };
                require_hold(old, new)?;
                let (posted, held) = old.map_or((0, 0), |old| (old.posted, old.held));
                let (posted, held) = difference((new.posted, new.held), (posted, held))?;
                add(&mut accounts, &new.asset, posted, held)?;
            }
            (RecordKey::Totals(asset), Some(Record::Totals(new))) => {
                let old = match before(facts, fact)? {
                    Some(Record::Totals(old)) => *old,
                    _ => Totals::default(),
                };
                let (posted, held) = difference((new.posted, new.held), (old.posted, old.held))?;
                add(&mut totals, asset, posted, held)?;
            }
            (RecordKey::Account(_) | RecordKey::Totals(_), _) => {
                return Err(Imbalance(format!("{fact:?} would be deleted")));
            }
            _ => {}
        }
    }
    let assets: Vec<_> = accounts.keys().chain(totals.keys()).copied().collect();
    for asset in assets {
        let by = |moved: &BTreeMap<_, _>| moved.get(asset).copied().unwrap_or_default();
        let (accounts, totals): (Moved, Moved) = (by(&accounts), by(&totals));
        if accounts.posted != 0 || accounts != totals {
            return Err(Imbalance(format!(
                "in {asset} the accounts would change by {} posted and {} held, the totals by {} \
                 and {}",
                accounts.posted, accounts.held, totals.posted, totals.held
            )));
        }
    }
    Ok(())
}

fn require_hold(old: Option<&Account>, new: &Account) -> Result<(), Imbalance> {
    let fits = |units: i128| (-BALANCE_MAX..=BALANCE_MAX).contains(&units);
    if !fits(new.posted) || !fits(new.held) || new.held < 0 {
        return Err(too_much());
    }
    if old.is_some_and(|old| old.asset != new.asset || old.scale != new.scale) {
        return Err(Imbalance(format!("the account {} would change its asset", new.id)));
    }
    if new.floor.is_some_and(|floor| new.available() < floor) {
        return Err(Imbalance(format!("the account {} would lie below its floor", new.id)));
    }
    let empty = new.posted == 0 && new.held == 0 && new.holds == 0;
    if new.closed && !empty {
        return Err(Imbalance(format!("something would be on the closed account {}", new.id)));
    }
    Ok(())
}

fn difference(new: (i128, i128), old: (i128, i128)) -> Result<(i128, i128), Imbalance> {
    match (new.0.checked_sub(old.0), new.1.checked_sub(old.1)) {
        (Some(posted), Some(held)) => Ok((posted, held)),
        _ => Err(too_much()),
    }
}

fn too_much() -> Imbalance {
    Imbalance("a balance would be out of range".to_owned())
}

fn before<'f>(facts: &'f ReadSet, fact: &RecordKey) -> Result<Option<&'f Record>, Imbalance> {
    match facts.get(fact) {
        Some(loaded) => Ok(loaded.as_ref().map(|(record, _)| &**record)),
        None => Err(Imbalance(format!("{fact:?} would be changed unread"))),
    }
}

fn add<'a>(
    moved: &mut BTreeMap<&'a AssetCode, Moved>,
    asset: &'a AssetCode,
    posted: i128,
    held: i128,
) -> Result<(), Imbalance> {
    let moved = moved.entry(asset).or_default();
    moved.posted = moved.posted.checked_add(posted).ok_or_else(too_much)?;
    moved.held = moved.held.checked_add(held).ok_or_else(too_much)?;
    Ok(())
}
