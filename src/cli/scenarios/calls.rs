//! Calls of workflows in scenarios: nothing is sent; what services answer is written down.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::world::{Stop, World};
use crate::engine::{Actor, CallAttempt, CallResult, Command, Outcome};
use crate::types::{Span, Time};

/// Most attempts at calls between two steps: more are a workflow that calls for ever.
const ATTEMPTS_MAX: usize = 10_000;

/// Answer of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Reply {
    /// With this status and no body.
    Status(u16),
    /// `lost`: not at all; `hang`: not before a step says `answer`; `not-allowed`: it may not be
    /// called.
    Word(String),
    /// In full.
    Full(FullReply),
}

/// An answer in full.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FullReply {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    retry_after: Option<String>,
}

/// Answers of services: by step and `do`, `undo` or `send` (`pay do`); of several answers each is
/// given once, the last one from then on. A call without an answer here gets 200.
pub(super) type Answers = BTreeMap<String, Vec<Reply>>;

/// Calls of a scenario.
#[derive(Debug, Default)]
pub(super) struct Calls {
    answers: Answers,
    /// The attempts that are on their way, by step and purpose.
    hanging: Vec<(String, CallAttempt)>,
    /// Last part of the callback addresses, by step.
    callbacks: BTreeMap<String, String>,
    /// The keys that a service was asked with, by step and purpose, in order.
    pub(super) asked: Vec<String>,
}

impl Calls {
    /// From now on services answer so.
    pub(super) fn answer_so(&mut self, answers: &Answers) {
        self.answers.extend(answers.clone());
    }

    fn next(&mut self, name: &str) -> Reply {
        match self.answers.get_mut(name) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies.first().cloned().unwrap_or(Reply::Status(200)),
            None => Reply::Status(200),
        }
    }
}

/// Result of an attempt; `None`: none yet.
fn result(reply: &Reply) -> Result<Option<CallResult>, Stop> {
    Ok(Some(match reply {
        Reply::Status(status) => CallResult::Answered {
            status: *status,
            headers: json!({}),
            body: Value::Null,
            truncated: false,
            retry_after: None,
            excerpt: "".into(),
        },
        Reply::Full(full) => CallResult::Answered {
            status: full.status,
            headers: json!(full.headers),
            body: full.body.clone(),
            truncated: false,
            retry_after: match &full.retry_after {
                Some(text) => Some(super::scenario::span(text).map_err(Stop::Wrong)?),
                None => None,
            },
            excerpt: full.body.to_string().into(),
        },
        Reply::Word(word) => match word.as_str() {
            "lost" => CallResult::Lost { what: "no answer".to_owned() },
            "not-allowed" => CallResult::NotSent { what: "not allowed".to_owned() },
            "hang" => return Ok(None),
            other => return Err(Stop::Wrong(format!("`{other}` is no answer of a service"))),
        },
    }))
}

/// The step and the round of a call's key, and which it is where a step is undone by several.
fn short(key: &str) -> String {
    let key = key.split_once('/').map_or("", |(_, key)| key);
    let key = key.strip_suffix("/do").or_else(|| key.strip_suffix("/undo/1")).unwrap_or(key);
    key.replace("/undo/", "/")
}

/// Makes all calls that are due by now, and those that they lead to.
pub(super) async fn make(world: &mut World) -> Result<(), Stop> {
    for _ in 0..ATTEMPTS_MAX {
        let Some((tx, number)) = world.app.calls_due()?.calls.first().copied() else {
            return Ok(());
        };
        let begun = world.app.call(Command::BeginCall { tx, number }, Actor::System).await?;
        let Outcome::CallBegun(order) = begun else { continue };
        let tx_view = world.view(tx)?;
        let step = tx_view.tx.call(number).map(|call| call.step.to_string()).unwrap_or_default();
        let name = format!("{step} {}", order.purpose.as_str());
        world.calls.callbacks.insert(step, order.callback.clone());
        world.calls.asked.push(format!("{} {}", order.purpose.as_str(), short(&order.key)));
        let reply = world.calls.next(&name);
        match result(&reply)? {
            Some(result) => end(world, &order, result).await?,
            None => world.calls.hanging.push((name, *order)),
        }
    }
    Err(Stop::Wrong(format!("more than {ATTEMPTS_MAX} attempts at calls")))
}

async fn end(world: &World, order: &CallAttempt, result: CallResult) -> Result<(), Stop> {
    let CallAttempt { tx, number, attempt, .. } = *order;
    let command = Command::EndCall { tx, number, attempt, result: Box::new(result) };
    world.app.call(command, Actor::System).await?;
    Ok(())
}

/// An attempt that hangs is answered.
pub(super) async fn answer(world: &mut World, name: &str) -> Result<(), Stop> {
    let Some(place) = world.calls.hanging.iter().rposition(|(known, _)| known == name) else {
        return Err(Stop::Wrong(format!("no attempt at `{name}` is on its way")));
    };
    let (_, order) = world.calls.hanging.remove(place);
    let reply = world.calls.next(name);
    match result(&reply)? {
        Some(result) => end(world, &order, result).await,
        None => Err(Stop::Wrong(format!("`{name}` is to be answered, and its answer is `hang`"))),
    }
}

/// The calls of which an attempt hangs.
#[cfg(test)]
pub(super) fn hanging(world: &World) -> Vec<String> {
    world.calls.hanging.iter().map(|(name, _)| name.clone()).collect()
}

/// The attempts that hang are never answered.
#[cfg(test)]
pub(super) async fn lose(world: &mut World) -> Result<(), Stop> {
    for (_, order) in std::mem::take(&mut world.calls.hanging) {
        match end(world, &order, CallResult::Lost { what: "no answer".to_owned() }).await {
            // It is of no interest any more.
            Ok(()) | Err(Stop::Refused(_)) => {}
            wrong => return wrong,
        }
    }
    Ok(())
}

/// A service answers at the callback of a step's last call.
pub(super) async fn call_back(world: &World, step: &str, body: Value) -> Result<(), Stop> {
    let Some(token) = world.calls.callbacks.get(step) else {
        return Err(Stop::Wrong(format!("the step `{step}` has called nobody")));
    };
    let command = Command::CallBack { token: token.as_str().into(), body };
    world.app.call(command, Actor::Nobody).await?;
    Ok(())
}

/// Lets time pass, and calls be made in it at their times.
pub(super) async fn pass(world: &mut World, by: Span) -> Result<(), Stop> {
    let target = world.app.now().plus(by);
    loop {
        make(world).await?;
        let now = world.app.now();
        let next: Option<Time> = world.app.calls_due()?.next.filter(|next| *next <= target);
        let to = next.unwrap_or(target);
        world.app.advance_clock(&Actor::System, to.since(now)).await?;
        if next.is_none() {
            return make(world).await;
        }
    }
}
