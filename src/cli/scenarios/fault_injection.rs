//! Fault injection: whatever fails at whatever step of a scenario, the invariants hold, and in the
//! end no transaction hangs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use super::calls::{self, pass};
use super::invariants;
use super::runner::{change_user, describe, run_action, run_step};
use super::scenario::{Given, Scenario, Step};
use super::world::{Document, Stop, World, parse};
use super::{files_of, read};
use crate::engine::{Command, Repair, TxStatus, UserChange};
use crate::types::Span;

/// Fault that is injected before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Every account is frozen.
    Frozen,
    /// Every account that can be closed is.
    Closed,
    /// All that is available is gone.
    Poor,
    /// Nobody has a role any more.
    Powerless,
    /// Everybody is logged out.
    LoggedOut,
    /// Every user is disabled.
    Disabled,
    /// A while passes.
    Late,
    /// Months pass.
    TooLate,
    /// Every transaction is cancelled.
    Cancelled,
    /// The step is taken twice.
    Twice,
    /// The step is taken after the next one.
    Swapped,
    /// The step is left out.
    Skipped,
    /// The server is started anew.
    Restarted,
}

const ALL: [Fault; 13] = [
    Fault::Frozen,
    Fault::Closed,
    Fault::Poor,
    Fault::Powerless,
    Fault::LoggedOut,
    Fault::Disabled,
    Fault::Late,
    Fault::TooLate,
    Fault::Cancelled,
    Fault::Twice,
    Fault::Swapped,
    Fault::Skipped,
    Fault::Restarted,
];

/// Messages of steps that need something that a fault prevented.
const MISSED: [&str; 5] = [
    "has called nobody",
    "was not started before",
    "no transaction has this reference",
    "is on its way",
    "is past: it is",
];

/// A refusal is an answer here; a scenario that makes no sense is none.
fn refusal_is_fine(done: Result<(), Stop>) -> Result<(), String> {
    match done {
        Err(Stop::Wrong(what)) if !MISSED.iter().any(|missed| what.contains(missed)) => Err(what),
        _ => Ok(()),
    }
}

/// Everything that a scenario gives, as it is then.
struct Everything {
    accounts: Vec<String>,
    users: Vec<String>,
}

impl Everything {
    fn of(given: &Given) -> Self {
        let accounts = given.accounts.keys().cloned().collect();
        Self { accounts, users: given.users.keys().cloned().collect() }
    }

    async fn strike(&self, world: &mut World, weather: Fault) -> Result<(), String> {
        match weather {
            Fault::Frozen => self.freeze(world, true).await,
            Fault::Closed => {
                for account in &self.accounts {
                    let close =
                        Command::CloseAccount { id: parse(account).unwrap(), if_match: None };
                    refusal_is_fine(world.rule(close).await.map(drop))?;
                }
                Ok(())
            }
            Fault::Poor => {
                for id in &self.accounts {
                    let Some(account) = world.account(id).unwrap() else { continue };
                    let left = account.posted - account.held;
                    if left <= 0 {
                        continue;
                    }
                    let amount = crate::types::Decimal::from_minor(left, account.scale);
                    let to = format!("world:{}", account.asset);
                    refusal_is_fine(world.pay(id, &to, &amount.to_string()).await)?;
                }
                Ok(())
            }
            Fault::Powerless | Fault::Disabled => {
                for user in &self.users {
                    let change = if weather == Fault::Disabled {
                        UserChange { disabled: Some(true), ..UserChange::default() }
                    } else {
                        UserChange { roles: Some(Vec::new()), ..UserChange::default() }
                    };
                    refusal_is_fine(change_user(world, user, change).await)?;
                }
                Ok(())
            }
            Fault::LoggedOut => {
                for user in &self.users {
                    let Ok(actor) = world.actor(user).await else { continue };
                    let ended = world.app.call(Command::Logout, actor).await;
                    refusal_is_fine(ended.map(drop).map_err(Stop::from))?;
                }
                refusal_is_fine(pass(world, Span::ZERO).await)
            }
            Fault::Late => refusal_is_fine(pass(world, Span::from_minutes(20)).await),
            Fault::TooLate => refusal_is_fine(pass(world, Span::from_hours(24 * 90)).await),
            Fault::Cancelled => {
                for (_, tx) in world.txs.clone() {
                    let cancel = Command::Cancel { tx, reason: None, if_match: None };
                    refusal_is_fine(world.rule(cancel).await.map(drop))?;
                }
                Ok(())
            }
            Fault::Restarted => world.restart().await.map_err(|stop| describe(&stop)),
            Fault::Twice | Fault::Swapped | Fault::Skipped => Ok(()),
        }
    }

    async fn freeze(&self, world: &World, frozen: bool) -> Result<(), String> {
        for account in &self.accounts {
            let change = Command::ChangeAccount {
                id: parse(account).unwrap(),
                floor: None,
                frozen: Some(frozen),
                read_anyone: None,
                if_match: None,
            };
            refusal_is_fine(world.rule(change).await.map(drop))?;
        }
        Ok(())
    }
}

/// Which steps are taken, in what order, with the weather before the one at `at`.
fn course(count: usize, at: usize, weather: Fault) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    match weather {
        Fault::Twice => order.insert(at, at),
        Fault::Swapped if at + 1 < count => order.swap(at, at + 1),
        Fault::Skipped => drop(order.remove(at)),
        _ => {}
    }
    order
}

async fn weathered(
    given: &Given,
    documents: &[Document],
    scenario: &Scenario,
    at: usize,
    weather: Fault,
) -> Result<(), String> {
    let given = given.and(&scenario.given);
    let mut world = World::new(&given, documents).await.map_err(|stop| describe(&stop))?;
    let everything = Everything::of(&given);
    let steps: Vec<&Step> = scenario.steps.iter().map(|step| &step.value).collect();
    for (place, number) in course(steps.len(), at, weather).into_iter().enumerate() {
        if place == at {
            everything.strike(&mut world, weather).await?;
            invariants::check(&world).map_err(|what| format!("struck before step {at}: {what}"))?;
        }
        refusal_is_fine(run_step(&mut world, steps[number]).await)?;
        invariants::check(&world).map_err(|what| format!("after step {}: {what}", number + 1))?;
    }
    let ended = calm(&mut world, &everything).await;
    world.app.close().await;
    ended
}

/// The weather is good again and time passes: no transaction hangs.
async fn calm(world: &mut World, everything: &Everything) -> Result<(), String> {
    everything.freeze(world, false).await?;
    refusal_is_fine(calls::lose(world).await)?;
    for (_, tx) in world.txs.clone() {
        let retry = Command::Repair { tx, repair: Repair::Retry };
        refusal_is_fine(world.rule(retry).await.map(drop))?;
    }
    for _ in 0..3 {
        refusal_is_fine(pass(world, Span::from_hours(24 * 60)).await)?;
    }
    invariants::check(world).map_err(|what| format!("in the end: {what}"))?;
    for (name, id) in world.txs.clone() {
        let tx = world.view(id).map_err(|stop| describe(&stop))?.tx;
        let waits = tx.status == TxStatus::Waiting && !tx.open.is_empty();
        let moves = tx.status == TxStatus::Running && tx.timer_at.is_some();
        if !(tx.status.is_ended() || waits || moves || tx.stuck.is_some()) {
            return Err(format!("{name} hangs: {tx:?}"));
        }
    }
    Ok(())
}

fn files() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all =
        ["data/workflows", "src/engine/scripts"].map(|dir| files_of(&here.join(dir)).unwrap());
    all.concat()
}

/// Number of combinations that are left out for each one that is tried; `ABIDE_STORM=all` tries
/// all.
const STRIDE: usize = 5;

#[tokio::test]
async fn whatever_goes_wrong_at_whatever_step_adds_up_and_nothing_hangs() {
    let stride = if std::env::var("ABIDE_STORM").is_ok_and(|v| v == "all") { 1 } else { STRIDE };
    let mut wrong = Vec::new();
    let mut tried = 0;
    for path in files() {
        let (file, documents) = read(&path).unwrap();
        for scenario in &file.scenarios {
            let scenario = &scenario.value;
            for at in 0..scenario.steps.len() {
                for weather in ALL {
                    tried += 1;
                    if tried % stride != 0 {
                        continue;
                    }
                    let done = weathered(&file.given, &documents, scenario, at, weather).await;
                    if let Err(what) = done {
                        let name = path.file_name().unwrap().to_str().unwrap();
                        let step = at + 1;
                        wrong.push(format!(
                            "{name}: {}, {weather:?} at {step}: {what}",
                            scenario.name
                        ));
                    }
                }
            }
        }
    }
    assert!(tried / stride > 500, "{tried}");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tried / stride, wrong.join("\n"));
}

/// A server has no state beside its store: every scenario has the same result when the server
/// restarts before each of its steps.
#[tokio::test]
async fn every_scenario_passes_with_a_restart_before_each_step() {
    for path in files() {
        let (file, documents) = read(&path).unwrap();
        for scenario in &file.scenarios {
            let scenario = &scenario.value;
            let given = file.given.and(&scenario.given);
            let mut world =
                World::new(&given, &documents).await.unwrap_or_else(|s| panic!("{}", describe(&s)));
            for (number, step) in scenario.steps.iter().enumerate() {
                world.restart().await.unwrap_or_else(|stop| panic!("{}", describe(&stop)));
                if let Err(what) = run_action(&mut world, &step.value).await {
                    panic!("{}: {}, step {}: {what}", path.display(), scenario.name, number + 1);
                }
            }
            world.app.close().await;
        }
    }
}
