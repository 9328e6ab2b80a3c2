//! Invariants: conditions that hold after every step of every scenario.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::world::World;
use crate::app::PageRequest;
use crate::engine::{
    Actor, CallPurpose, HoldStatus, IndexEntry, Record, RecordKey, ServiceCall, TimerOf, Tx,
};
use crate::records::{Key, read_record};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, Store as _, View};
use crate::types::{AccountId, AssetCode, TxId};

/// Checks that the ledger adds up and that what has ended left nothing behind.
///
/// # Errors
/// What does not hold.
pub(super) fn check(world: &World) -> Result<(), String> {
    let mut txs = Vec::new();
    let mut ended = Vec::new();
    // Everything under one look: a scenario has few keys.
    let mut marks = Vec::new();
    let mut calls = Vec::new();
    for key in keys(world)? {
        match key {
            Key::Tx(id, 0) => {
                let view = world.app.transaction(&Actor::System, id);
                txs.push(view.map_err(|error| error.to_string())?.tx);
            }
            Key::Timer(timer) => {
                if let TimerOf::Tx(id) = timer.what {
                    marks.push((id, "a timer"));
                }
            }
            Key::IndexEntry(IndexEntry::OpenOf(_, id)) => marks.push((id, "its mark as open")),
            Key::IndexEntry(IndexEntry::EndWith(_, id)) => {
                marks.push((id, "its mark to end with a session"));
            }
            Key::IndexEntry(IndexEntry::RoleInbox(_, id)) => {
                marks.push((id, "its place in an inbox"));
            }
            Key::IndexEntry(IndexEntry::Queued(.., id)) => marks.push((id, "its place in a queue")),
            Key::One(name, digest) => {
                let one =
                    read_record(&*world.store, View::Committed, &RecordKey::One(name, digest));
                if let Some((record, _)) = one.map_err(|error| error.to_string())?
                    && let Record::One(id) = *record
                {
                    marks.push((id, "the row that keeps others out"));
                }
            }
            Key::IndexEntry(
                IndexEntry::CallDue(_, id, number) | IndexEntry::CallOut(id, number),
            ) => {
                calls.push((id, number));
            }
            Key::IndexEntry(IndexEntry::Stuck(id)) => marks.push((id, "its mark as stuck")),
            _ => {}
        }
    }
    for tx in &txs {
        if tx.status.is_ended() {
            nothing_left(tx)?;
            ended.push(tx.id);
        } else if tx.outcome.is_some() {
            return Err(format!("{} has an outcome and has not ended", tx.workflow));
        } else {
            one_timer(tx, &marks)?;
        }
    }
    let is_made = |(id, number): &(TxId, u32)| {
        let tx = txs.iter().find(|tx| tx.id == *id);
        tx.and_then(|tx| tx.call(*number)).is_some_and(|call| !call.state.is_over())
    };
    if let Some((id, number)) = calls.iter().find(|call| !is_made(call)) {
        return Err(format!("the call {number} of {id} is over and has a mark"));
    }
    if let Some((id, what)) = marks.iter().find(|(id, _)| ended.contains(id)) {
        let tx = txs.iter().find(|tx| tx.id == *id);
        let name = tx.map_or_else(|| id.to_string(), |tx| tx.workflow.to_string());
        return Err(format!("the transaction of {name} has ended and left {what} behind"));
    }
    ledger(world, &txs)
}

fn keys(world: &World) -> Result<Vec<Key>, String> {
    let mut range = KeyRange::prefix(&[]);
    let mut keys = Vec::new();
    loop {
        let page = world.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
        let page = page.map_err(|error| error.to_string())?;
        keys.extend(page.rows.iter().filter_map(|row| Key::decode(&row.key)));
        match page.next {
            Some(next) => range = range.after(next),
            None => return Ok(keys),
        }
    }
}

fn nothing_left(tx: &Tx) -> Result<(), String> {
    let name = &tx.workflow;
    if let Some(held) = tx.holds.iter().find(|held| held.hold.status == HoldStatus::Held) {
        return Err(format!("the transaction of {name} has ended; its hold {} is open", held.name));
    }
    let unmade = |call: &&ServiceCall| !call.state.is_over() && call.purpose != CallPurpose::Send;
    if let Some(call) = tx.calls.iter().find(unmade) {
        return Err(format!(
            "the transaction of {name} has ended; a call of {} is not over",
            call.step
        ));
    }
    if let Some(open) = tx.open.first() {
        return Err(format!("the transaction of {name} has ended; its step {} is open", open.step));
    }
    if tx.timer_at.is_some() || tx.ending.is_some() || tx.stuck.is_some() {
        return Err(format!("the transaction of {name} has ended; something is due in it still"));
    }
    if tx.outcome.is_none() {
        return Err(format!("the transaction of {name} has ended without an outcome"));
    }
    Ok(())
}

/// Its timer is in the store, once, exactly when something is due.
fn one_timer(tx: &Tx, marks: &[(crate::types::TxId, &str)]) -> Result<(), String> {
    let timers = marks.iter().filter(|(id, what)| *id == tx.id && *what == "a timer").count();
    if timers == usize::from(tx.timer_at.is_some()) {
        return Ok(());
    }
    Err(format!(
        "the transaction of {} is due at {:?} and has {timers} timers",
        tx.workflow, tx.timer_at
    ))
}

fn ledger(world: &World, txs: &[Arc<Tx>]) -> Result<(), String> {
    let told = |error: crate::engine::Refusal| error.to_string();
    let mut sums: BTreeMap<AssetCode, (i128, i128)> = BTreeMap::new();
    let mut held: BTreeMap<AccountId, i128> = BTreeMap::new();
    for hold in txs.iter().flat_map(|tx| &tx.holds).map(|held| &held.hold) {
        *held.entry(hold.account.clone()).or_default() += hold.left;
    }
    let mut after = None;
    loop {
        let page = PageRequest { limit: PAGE_ROWS_MAX - 1, after };
        let page = world.app.accounts(&Actor::System, "", &page).map_err(told)?;
        for (account, _) in page.items {
            let sum = sums.entry(account.asset.clone()).or_default();
            sum.0 += account.posted;
            sum.1 += account.held;
            let available = account.posted - account.held;
            if account.floor.is_some_and(|floor| available < floor) {
                return Err(format!("{} is below its floor", account.id));
            }
            let by_txs = held.remove(&account.id).unwrap_or_default();
            if by_txs != account.held {
                return Err(format!(
                    "on {} {} is held, and by transactions {by_txs}",
                    account.id, account.held
                ));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if let Some((account, _)) = held.iter().find(|(_, held)| **held != 0) {
        return Err(format!("something is held on {account}, which is not there"));
    }
    let check = world.app.ledger_check(&Actor::System).map_err(told)?;
    for (asset, totals) in check.assets {
        let found = sums.remove(&asset.code).unwrap_or_default();
        if totals.posted != 0 || found != (totals.posted, totals.held) {
            return Err(format!(
                "{}: all that is posted sums to {}, the totals say {}; held {} and {}",
                asset.code, found.0, totals.posted, found.1, totals.held
            ));
        }
    }
    match sums.iter().find(|(_, sum)| **sum != (0, 0)) {
        Some((asset, _)) => Err(format!("{asset} has accounts and no totals")),
        None => Ok(()),
    }
}
