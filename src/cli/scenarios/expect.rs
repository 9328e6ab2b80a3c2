//! Compares what is expected of a step with what is there.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::Value;

use super::scenario::Expect;
use super::world::{Stop, World};
use crate::app::{PageRequest, TxFilter};
use crate::engine::{Account, HoldStatus, TxView};
use crate::types::{Decimal, Span};

/// Most transactions of an inbox that are looked at.
const INBOX_MAX: usize = 200;

/// Compares all that is expected.
///
/// # Errors
/// The first difference.
pub(super) async fn check(
    world: &mut World,
    of: Option<&str>,
    expected: &Expect,
    events: &[String],
) -> Result<(), String> {
    let of_tx =
        Expect { events: None, no_events: None, balances: None, asked: None, ..expected.clone() };
    if of_tx.is_about_a_transaction() {
        let id = world.tx(of).map_err(said)?;
        let view = world.view(id).map_err(said)?;
        transaction(world, expected, &view)?;
        for (user, keys) in expected.hidden.iter().flatten() {
            let actor = world.actor(user).await.map_err(said)?;
            let view = world.app.transaction(&actor, id).map_err(|error| error.to_string())?;
            same_set(&format!("what is hidden from {user}"), keys, &view.hidden)?;
        }
        for (user, steps) in expected.allowed.iter().flatten() {
            let actor = world.actor(user).await.map_err(said)?;
            let view = world.app.transaction(&actor, id).map_err(|error| error.to_string())?;
            let may = view.tx.open.iter().zip(&view.allowed).filter(|(_, allowed)| **allowed);
            let may: Vec<_> = may.map(|(open, _)| open.step.to_string()).collect();
            same_set(&format!("what {user} may submit"), steps, &may)?;
        }
    }
    for (id, wanted) in expected.balances.iter().flatten() {
        let account = world.account(id).map_err(said)?;
        balance(id, wanted, account.as_ref())?;
    }
    if let Some(asked) = &expected.asked
        && *asked != world.calls.asked
    {
        return Err(differs("asked", &format!("{asked:?}"), &format!("{:?}", world.calls.asked)));
    }
    in_order(expected.events.as_deref().unwrap_or_default(), events)?;
    for kind in expected.no_events.iter().flatten() {
        if events.contains(kind) {
            return Err(differs("no event", kind, &events.join(", ")));
        }
    }
    for (user, names) in expected.inbox.iter().flatten() {
        inbox(world, user, names).await?;
    }
    for (user, roles) in expected.roles.iter().flatten() {
        let actor = world.actor(user).await.map_err(said)?;
        let found: Vec<_> = actor.roles().iter().map(ToString::to_string).collect();
        same_set(&format!("the roles of {user}"), roles, &found)?;
    }
    Ok(())
}

impl Expect {
    fn is_about_a_transaction(&self) -> bool {
        self.status.is_some()
            || self.outcome.is_some()
            || self.open.is_some()
            || self.data.is_some()
            || self.hidden.is_some()
            || self.allowed.is_some()
            || self.owner.is_some()
            || self.claimed.is_some()
            || self.holds.is_some()
            || self.timer.is_some()
    }
}

fn said(stop: Stop) -> String {
    match stop {
        Stop::Wrong(what) => what,
        Stop::Refused(refusal) => refusal.to_string(),
    }
}

fn differs(what: &str, expected: &impl Display, found: &impl Display) -> String {
    format!("expected {what}: {expected}\nfound: {found}")
}

fn same(what: &str, expected: Option<&str>, found: &str) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(differs(what, &expected, &found)),
        _ => Ok(()),
    }
}

fn same_set(what: &str, expected: &[String], found: &[String]) -> Result<(), String> {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    if sorted(expected) == sorted(found) {
        return Ok(());
    }
    let list = |list: &[String]| format!("[{}]", list.join(", "));
    Err(differs(what, &list(expected), &list(found)))
}

fn transaction(world: &World, expected: &Expect, view: &TxView) -> Result<(), String> {
    let tx = &view.tx;
    let outcome = tx.outcome.as_deref();
    let why = tx.stuck.as_ref().map(|stuck| format!(" ({}: {})", stuck.step, stuck.message));
    let status = tx.status.as_str();
    if let Some(wanted) = expected.status.as_deref().filter(|wanted| *wanted != status) {
        let outcome = outcome.map(|outcome| format!(", outcome {outcome}"));
        let found = format!("{status}{}{}", outcome.unwrap_or_default(), why.unwrap_or_default());
        return Err(differs("status", &wanted, &found));
    }
    same("outcome", expected.outcome.as_deref(), outcome.unwrap_or("none"))?;
    same("owner", expected.owner.as_deref(), &tx.owner.name())?;
    if let Some(wanted) = &expected.open {
        let open: Vec<_> = tx.open.iter().map(|open| open.step.to_string()).collect();
        same_set("open steps", wanted, &open)?;
    }
    if let Some(wanted) = &expected.data {
        part_of("data", wanted, &tx.data)?;
    }
    for (step, by) in expected.claimed.iter().flatten() {
        let open = tx.open.iter().find(|open| open.step.as_str() == step);
        let open = open.ok_or_else(|| format!("expected {step} to be open; it is not"))?;
        let now = world.app.now();
        let claim = open.claim.as_ref().filter(|claim| now < claim.until);
        let found = claim.map_or("nobody", |claim| &claim.by.name);
        same(&format!("who has claimed {step}"), Some(by), found)?;
    }
    if let Some(wanted) = &expected.holds {
        holds(wanted, view)?;
    }
    if let Some(wanted) = expected.timer.as_deref() {
        let found = tx.timer_at.map(|at| at.since(world.begin));
        let wanted_span = wanted.strip_prefix('+').map(str::parse::<Span>).transpose();
        let wanted_span = wanted_span.map_err(|error| format!("timer `{wanted}`: {error}"))?;
        if wanted_span != found || (wanted_span.is_none() && wanted != "none") {
            let found = found.map_or_else(|| "none".to_owned(), |span| format!("+{span}"));
            return Err(differs("timer", &wanted, &found));
        }
    }
    Ok(())
}

fn holds(wanted: &BTreeMap<String, String>, view: &TxView) -> Result<(), String> {
    let mut found: BTreeMap<String, Decimal> = BTreeMap::new();
    for held in view.tx.holds.iter().filter(|held| held.hold.status == HoldStatus::Held) {
        let left = Decimal::from_minor(held.hold.left, held.hold.scale);
        let name = match &held.key {
            Some(key) => format!("{}/{key}", held.name),
            None => held.name.to_string(),
        };
        let sum = found.entry(name).or_insert(Decimal::ZERO);
        *sum = sum.plus(left).map_err(|error| error.to_string())?;
    }
    let mut expected = BTreeMap::new();
    for (name, amount) in wanted {
        let amount: Decimal = amount.parse().map_err(|error| format!("{amount}: {error}"))?;
        expected.insert(name.clone(), amount);
    }
    let equal = expected.len() == found.len()
        && expected.iter().all(|(name, amount)| {
            found.get(name).is_some_and(|found| found.minus(*amount).is_ok_and(is_zero))
        });
    if equal {
        return Ok(());
    }
    let list = |holds: &BTreeMap<String, Decimal>| {
        let holds: Vec<_> =
            holds.iter().map(|(name, amount)| format!("{name}: {amount}")).collect();
        format!("{{{}}}", holds.join(", "))
    };
    Err(differs("open holds", &list(&expected), &list(&found)))
}

fn is_zero(amount: Decimal) -> bool {
    !amount.is_positive() && !amount.is_negative()
}

/// Objects may have more keys than expected; what is expected to be null may be absent.
fn part_of(place: &str, wanted: &Value, found: &Value) -> Result<(), String> {
    if let (Value::Object(wanted), Value::Object(found)) = (wanted, found) {
        return wanted.iter().try_for_each(|(key, value)| {
            let found = found.get(key).unwrap_or(&Value::Null);
            part_of(&format!("{place}.{key}"), value, found)
        });
    }
    let equal = match (wanted, found) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => wanted == found,
    };
    if equal { Ok(()) } else { Err(differs(place, wanted, found)) }
}

fn balance(id: &str, wanted: &Value, account: Option<&Account>) -> Result<(), String> {
    let Some(account) = account else {
        let absent = wanted.as_str() == Some("absent");
        return if absent { Ok(()) } else { Err(differs(id, wanted, &"there is no such account")) };
    };
    let parts = match wanted {
        Value::String(text) if text == "closed" => {
            return if account.closed { Ok(()) } else { Err(differs(id, &"closed", &"open")) };
        }
        Value::String(_) | Value::Number(_) => vec![("posted", wanted)],
        Value::Object(parts) => parts.iter().map(|(part, value)| (&**part, value)).collect(),
        _ => return Err(format!("the balance of {id} must be an amount or an object of amounts")),
    };
    for (part, wanted) in parts {
        let found = match part {
            "posted" => account.posted,
            "held" => account.held,
            "available" => account.posted - account.held,
            other => {
                return Err(format!("a balance has posted, held and available, but no {other}"));
            }
        };
        let text = match wanted {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let amount: Decimal = text.parse().map_err(|error| format!("{id}, {text}: {error}"))?;
        let minor = amount.to_minor(account.scale).map_err(|error| error.to_string())?;
        if minor != found {
            let found = Decimal::from_minor(found, account.scale);
            return Err(differs(&format!("{part} on {id}"), &text, &found));
        }
    }
    Ok(())
}

/// The expected events in their order, others among them.
fn in_order(wanted: &[String], found: &[String]) -> Result<(), String> {
    let mut rest = found.iter();
    for kind in wanted {
        if !rest.any(|found| found == kind) {
            return Err(differs("events, in this order", &wanted.join(", "), &found.join(", ")));
        }
    }
    Ok(())
}

async fn inbox(world: &mut World, user: &str, names: &[String]) -> Result<(), String> {
    let actor = world.actor(user).await.map_err(said)?;
    let filter = TxFilter { inbox: true, ..TxFilter::default() };
    let page = PageRequest { limit: INBOX_MAX, after: None };
    let page = world.app.transactions(&actor, &filter, page).map_err(|error| error.to_string())?;
    let name = |view: &TxView| {
        let known = world.txs.iter().find(|(_, id)| *id == view.tx.id);
        known.map_or_else(|| view.tx.id.to_string(), |(name, _)| name.clone())
    };
    let found: Vec<_> = page.items.iter().map(name).collect();
    same_set(&format!("the inbox of {user}"), names, &found)
}
