//! Scenario runner: runs one step after the other and checks the invariants after each.

use serde_json::{Map, Value};

use super::calls::pass;
use super::expect;
use super::invariants;
use super::scenario::{Given, Scenario, Step, span};
use super::world::{Document, Stop, World, parse};
use crate::app::{PageRequest, TxFilter};
use crate::engine::{Actor, Command, Outcome, Refusal, Repair, StartAsk, UserChange, open_codes};
use crate::http::problem::Problem;
use crate::records::entry::EntryV1;
use crate::types::{Span, Time, TxId};

/// Failed step of a scenario: its number from 1, its line, and the reason.
#[derive(Debug)]
pub(super) struct ScenarioError {
    pub(super) step: usize,
    pub(super) line: u64,
    pub(super) what: String,
}

/// Runs a scenario to its end.
///
/// # Errors
/// The first thing that was not as expected.
pub(super) async fn run_scenario(
    given: &Given,
    documents: &[Document],
    scenario: &Scenario,
) -> Result<(), ScenarioError> {
    let first = scenario.steps.first().map_or(0, |step| step.referenced.line());
    let given = given.and(&scenario.given);
    let mut world = World::new(&given, documents).await.map_err(|stop| {
        let what = format!("what is given cannot be: {}", describe(&stop));
        ScenarioError { step: 0, line: first, what }
    })?;
    let mut result = Ok(());
    for (number, step) in scenario.steps.iter().enumerate() {
        if let Err(what) = run_action(&mut world, &step.value).await {
            result = Err(ScenarioError { step: number + 1, line: step.referenced.line(), what });
            break;
        }
    }
    world.app.close().await;
    result
}

/// Describes why a step stopped.
pub(super) fn describe(stop: &Stop) -> String {
    match stop {
        Stop::Wrong(what) => what.clone(),
        Stop::Refused(Refusal::InvalidInput(errors)) => {
            let errors = errors
                .iter()
                .map(|error| format!("{}: {} ({})", error.pointer, error.message, error.code));
            format!("invalid-input: {}", errors.collect::<Vec<_>>().join("; "))
        }
        Stop::Refused(refusal) => format!("{}: {refusal}", refusal.name()),
    }
}

/// One step, with the calls that it leads to.
pub(super) async fn run_step(world: &mut World, step: &Step) -> Result<(), Stop> {
    if let Some(answers) = &step.answers {
        world.calls.answer_so(answers);
    }
    world.calls.asked.clear();
    act(world, step).await?;
    super::calls::make(world).await
}

/// One step, with all that is expected of it.
pub(super) async fn run_action(world: &mut World, step: &Step) -> Result<(), String> {
    let done = run_step(world, step).await;
    match (&step.refused, &done) {
        (_, Err(Stop::Wrong(what))) => return Err(what.clone()),
        (None, Err(refused)) => {
            return Err(format!("expected: it is done\nfound:    refused, {}", describe(refused)));
        }
        (Some(code), Ok(())) => {
            return Err(format!("expected: refused with {code}\nfound:    it was done"));
        }
        (Some(code), Err(Stop::Refused(refusal))) => must_be(code, step.http_status, refusal)?,
        (None, Ok(())) => {}
    }
    let wrong = |stop: Stop| describe(&stop);
    let news = world.news().map_err(wrong)?;
    let mut events = Vec::new();
    // That the clock was moved is a commit without events.
    for entry in news.iter().filter(|entry| !entry.entry.is_empty()) {
        let entry = EntryV1::decode(&entry.entry).map_err(|error| error.to_string())?;
        events.extend(entry.events.into_iter().map(|event| event.kind));
    }
    invariants::check(world).map_err(|what| format!("what must always hold does not: {what}"))?;
    match &step.expect {
        Some(expected) => expect::check(world, step.of.as_deref(), expected, &events).await,
        None => Ok(()),
    }
}

fn must_be(code: &str, status: Option<u16>, refusal: &Refusal) -> Result<(), String> {
    if refusal.name() != code {
        let found = describe(&Stop::Refused(refusal.clone()));
        return Err(format!("expected: refused with {code}\nfound:    refused, {found}"));
    }
    let found = Problem::from(refusal).code.status().as_u16();
    match status {
        Some(status) if status != found => {
            Err(format!("expected: the status {status} with {code}\nfound:    {found}"))
        }
        _ => Ok(()),
    }
}

/// The one action of a step.
enum Action<'s> {
    Start(&'s str),
    Submit(&'s str),
    Claim(&'s str),
    Release(&'s str),
    Resend(&'s str),
    Cancel(&'s str),
    Read(&'s str),
    Find(&'s str),
    Retry(&'s str),
    Skip(&'s str),
    Login(&'s str),
    Logout(&'s str),
    TimePasses(&'s str),
    At(&'s str),
    Freeze(&'s str, bool),
    Close(&'s str),
    Disable(&'s str),
    Delete(&'s str),
    Answer(&'s str),
    CallBack(&'s str),
}

/// The action that is a single word, if there is one.
fn action(step: &Step) -> Result<Option<Action<'_>>, Stop> {
    let all = [
        step.start.as_deref().map(Action::Start),
        step.submit.as_deref().map(Action::Submit),
        step.claim.as_deref().map(Action::Claim),
        step.release.as_deref().map(Action::Release),
        step.resend.as_deref().map(Action::Resend),
        step.cancel.as_deref().map(Action::Cancel),
        step.read.as_deref().map(Action::Read),
        step.find.as_deref().map(Action::Find),
        step.retry.as_deref().map(Action::Retry),
        step.skip.as_deref().map(Action::Skip),
        step.login.as_deref().map(Action::Login),
        step.logout.as_deref().map(Action::Logout),
        step.time_passes.as_deref().map(Action::TimePasses),
        step.at.as_deref().map(Action::At),
        step.freeze.as_deref().map(|account| Action::Freeze(account, true)),
        step.thaw.as_deref().map(|account| Action::Freeze(account, false)),
        step.close.as_deref().map(Action::Close),
        step.disable.as_deref().map(Action::Disable),
        step.delete.as_deref().map(Action::Delete),
        step.answer.as_deref().map(Action::Answer),
        step.callback.as_deref().map(Action::CallBack),
    ];
    let mut found = all.into_iter().flatten();
    let first = found.next();
    let others = [step.pay.is_some(), step.put.is_some(), step.roles.is_some()];
    let others = others.into_iter().filter(|there| *there).count();
    if found.count() + others > usize::from(first.is_none()) {
        return Err(Stop::Wrong("a step does one thing: here are several".to_owned()));
    }
    Ok(first)
}

/// Does what a step says.
async fn act(world: &mut World, step: &Step) -> Result<(), Stop> {
    let Some(action) = action(step)? else { return arrange(world, step).await };
    match action {
        Action::Start(workflow) => start(world, step, workflow).await,
        Action::Submit(name) => {
            let tx = world.tx(step.of.as_deref())?;
            let input = input(world, step, tx)?;
            let step_name = name.into();
            let submit = Command::Submit { tx, step: step_name, input, if_match: None };
            by(world, step, submit).await
        }
        Action::Claim(name) => {
            let tx = world.tx(step.of.as_deref())?;
            by(world, step, Command::Claim { tx, step: name.into() }).await
        }
        Action::Release(name) => {
            let tx = world.tx(step.of.as_deref())?;
            by(world, step, Command::Release { tx, step: name.into() }).await
        }
        Action::Resend(name) => {
            let tx = world.tx(step.of.as_deref())?;
            by(world, step, Command::Resend { tx, challenge: name.into() }).await
        }
        Action::Cancel(name) => {
            let (tx, reason) = (world.tx(Some(name))?, step.reason.clone());
            by(world, step, Command::Cancel { tx, reason, if_match: None }).await
        }
        Action::Read(name) => {
            let tx = world.tx(Some(name))?;
            let actor = actor(world, step).await?;
            world.app.transaction(&actor, tx)?;
            Ok(())
        }
        Action::Find(workflow) => find(world, step, workflow),
        Action::Retry(name) => {
            let (tx, repair) = (world.tx(Some(name))?, Repair::Retry);
            by(world, step, Command::Repair { tx, repair }).await
        }
        Action::Skip(name) => {
            let tx = world.tx(Some(name))?;
            let reason = step.reason.clone().unwrap_or_else(|| "it is of no use".to_owned());
            by(world, step, Command::Repair { tx, repair: Repair::Skip { reason } }).await
        }
        Action::Login(user) => {
            let name = step.by.as_deref().unwrap_or(user).to_owned();
            let before = actor(world, step).await?;
            world.log_in(&name, user, before).await.map(drop)
        }
        Action::Logout(name) => {
            let actor = world.actor(name).await?;
            world.app.call(Command::Logout, actor).await?;
            // What ends with the session does so in commits of its own.
            pass(world, Span::ZERO).await
        }
        Action::TimePasses(text) => pass(world, span(text).map_err(Stop::Wrong)?).await,
        Action::At(text) => {
            let to = match text.strip_prefix('+') {
                Some(after) => world.begin.plus(span(after).map_err(Stop::Wrong)?),
                None => parse::<Time>(text)?,
            };
            let now = world.app.now();
            if to < now {
                return Err(Stop::Wrong(format!("{text} is past: it is {now}")));
            }
            pass(world, to.since(now)).await
        }
        Action::Answer(name) => super::calls::answer(world, name).await,
        Action::CallBack(name) => {
            let body = step.input.clone().unwrap_or_default();
            super::calls::call_back(world, name, body).await
        }
        Action::Freeze(account, frozen) => {
            let change = Command::ChangeAccount {
                id: parse(account)?,
                floor: None,
                frozen: Some(frozen),
                read_anyone: None,
                if_match: None,
            };
            world.rule(change).await.map(drop)
        }
        Action::Close(account) => {
            let close = Command::CloseAccount { id: parse(account)?, if_match: None };
            world.rule(close).await.map(drop)
        }
        Action::Disable(user) => {
            let change = UserChange { disabled: Some(true), ..UserChange::default() };
            change_user(world, user, change).await
        }
        Action::Delete(user) => {
            let delete = Command::DeleteUser { username: parse(user)?, if_match: None };
            world.rule(delete).await?;
            // Those who end with the user do so in commits of their own.
            pass(world, Span::ZERO).await
        }
    }
}

/// Actions of the environment.
async fn arrange(world: &mut World, step: &Step) -> Result<(), Stop> {
    if let Some(pay) = &step.pay {
        world.pay(&pay.from, &pay.to, &pay.amount).await?;
    }
    if let Some(values) = &step.put {
        world.put(values).await?;
    }
    for (user, roles) in step.roles.iter().flatten() {
        let roles = roles.iter().map(|role| parse(role)).collect::<Result<_, _>>()?;
        let change = UserChange { roles: Some(roles), ..UserChange::default() };
        change_user(world, user, change).await?;
    }
    Ok(())
}

pub(super) async fn change_user(
    world: &mut World,
    user: &str,
    change: UserChange,
) -> Result<(), Stop> {
    let username = parse(user)?;
    world.rule(Command::ChangeUser { username, change, if_match: None }).await?;
    pass(world, Span::ZERO).await
}

/// Lets time pass, and everything happen that is due on the way.
async fn actor(world: &mut World, step: &Step) -> Result<Actor, Stop> {
    match step.by.as_deref() {
        Some("system") => Ok(Actor::System),
        Some(name) => world.actor(name).await,
        None => Err(Stop::Wrong("`by` is missing: who does it?".to_owned())),
    }
}

async fn by(world: &mut World, step: &Step, command: Command) -> Result<(), Stop> {
    let actor = actor(world, step).await?;
    let app = &world.app;
    let done = app.call(command, actor).await.map(drop);
    Ok(done?)
}

async fn start(world: &mut World, step: &Step, workflow: &str) -> Result<(), Stop> {
    let input = match step.input.clone() {
        None => Map::new(),
        Some(Value::Object(input)) => input,
        Some(_) => return Err(Stop::Wrong("the input of a start is an object".to_owned())),
    };
    let reference = step.reference.clone();
    let ask = StartAsk { workflow: parse(workflow)?, input, reference };
    let actor = actor(world, step).await?;
    let outcome = world.app.call(Command::Start(Box::new(ask)), actor).await?;
    if let Outcome::Transaction { view, .. } = outcome {
        let name = step.named.as_deref().unwrap_or(workflow);
        world.txs.push((name.to_owned(), view.tx.id));
    }
    Ok(())
}

/// Gives a name to a transaction that another one started.
fn find(world: &mut World, step: &Step, workflow: &str) -> Result<(), Stop> {
    let filter = TxFilter {
        workflow: Some(parse(workflow)?),
        reference: Some(step.reference.clone().unwrap_or_default()),
        ..TxFilter::default()
    };
    let page = PageRequest { limit: 1, after: None };
    let found = world.app.transactions(&Actor::System, &filter, page)?.items.pop();
    let found = found.ok_or_else(|| Stop::Wrong("no transaction has this reference".to_owned()))?;
    let name = step.named.as_deref().unwrap_or(workflow);
    world.txs.push((name.to_owned(), found.tx.id));
    Ok(())
}

/// Input of a step, with the one-time code.
fn input(world: &World, step: &Step, tx: TxId) -> Result<Value, Stop> {
    let mut input = step.input.clone().unwrap_or_else(|| Value::Object(Map::new()));
    let wanted = match (&step.code, &step.wrong_code) {
        (Some(id), None) => Some((id, true)),
        (None, Some(id)) => Some((id, false)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(Stop::Wrong("give either `code` or `wrong-code`".to_owned()));
        }
    };
    if let (Some((id, right)), Some(input)) = (wanted, input.as_object_mut()) {
        let view = world.view(tx)?;
        let codes = open_codes(&world.app.rules().challenge_key, &view.tx, view.at);
        let code = codes.iter().find(|(known, _)| **known == **id).map(|(_, code)| code);
        let code = match code {
            Some(code) if right => code.clone(),
            // Another first digit makes another code.
            Some(code) => {
                let first = if code.starts_with('0') { '1' } else { '0' };
                std::iter::once(first).chain(code.chars().skip(1)).collect()
            }
            None => "000000".to_owned(),
        };
        input.insert("code".to_owned(), Value::String(code));
    }
    Ok(input)
}
