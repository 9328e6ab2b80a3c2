//! Random lives of random workflows: whatever people do in whatever order, and whatever services
//! answer, what must always hold does, and every transaction can be brought to its end.
//!
//! A definition is grown from the inside out, so that it is a good one; the commands are those of
//! two owners, two clerks, an operator, services and the clock: also twice, late, out of order.
//! That the events of each commit alone make what it made is held by the application itself, in
//! every test of this crate (`engine::must_replay`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, json};

use super::calls::{self, Reply, pass};
use super::invariants;
use super::runner::describe;
use super::scenario;
use super::world::{Stop, World, parse};
use crate::app::{Answer, ClientInfo, CommandAnswer, Envelope, Idempotency, Render};
use crate::engine::{CallState, Command, Outcome, Repair, StartAsk, Tx, workflow};
use crate::types::{Span, TxId};

/// For how long definitions are tried; `ABIDE_LIVES` says another number of seconds.
const SECONDS: u64 = 5;

/// Commands of one life.
const COMMANDS: usize = 40;

/// Most rounds in which everything is brought to its end.
const ROUNDS: usize = 60;

/// Numbers that look random and come again with the same seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Whether it is one of so many.
    fn one_of(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// A definition as it grows.
struct Growing<'r> {
    random: &'r mut Random,
    steps: String,
    names: usize,
    holds: Vec<String>,
    /// Whether what grows now comes after the pivot.
    is_final: bool,
    depth: usize,
}

impl Growing<'_> {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("s{}", self.names)
    }

    fn amount(&mut self) -> String {
        format!("\"{}.00\"", 1 + self.random.below(4))
    }

    fn account(&mut self) -> &'static str {
        self.random.pick(&["\"ann:main\"", "shop", "bank"])
    }

    /// Where it goes instead of on, where it may be given up.
    fn other(&mut self, next: &str) -> String {
        if self.is_final || self.random.one_of(2) {
            next.to_owned()
        } else {
            "{ cancel: gave-up }".to_owned()
        }
    }

    /// Effects of a step.
    fn effects(&mut self) -> String {
        let mut effects = Vec::new();
        for _ in 0..self.random.below(3) {
            // Nothing is held from where captures go: nobody pays himself.
            let (from, to, till) = (self.account(), self.account(), "\"world:EUR\"");
            let amount = self.amount();
            effects.push(match self.random.below(7) {
                0 | 1 => {
                    let hold = format!("h{}", self.names);
                    if self.holds.contains(&hold) {
                        continue;
                    }
                    let expires = match (self.random.below(3), self.depth) {
                        (0, _) => String::new(),
                        (1, 0) if !self.is_final => {
                            ", expires: 40m, on_expiry: { cancel: too-late }".to_owned()
                        }
                        _ => ", expires: 1h".to_owned(),
                    };
                    self.holds.push(hold.clone());
                    format!(
                        "{{ hold: {{ id: {hold}, from: {from}, amount: {amount}, authority: \
                         workflow{expires} }} }}"
                    )
                }
                2 if !self.holds.is_empty() => {
                    let hold = self.holds[self.random.below(self.holds.len())].clone();
                    let keep = self.random.pick(&["", ", keep: rest"]);
                    format!("{{ capture: {{ hold: {hold}, to: {till}, amount: \"1.00\"{keep} }} }}")
                }
                3 if !self.holds.is_empty() => {
                    let hold = self.holds[self.random.below(self.holds.len())].clone();
                    format!("{{ void: {{ hold: {hold} }} }}")
                }
                4 => "{ grant: { user: =tx.owner, role: member } }".to_owned(),
                5 => "{ emit: { type: life.went-on } }".to_owned(),
                _ if from == to => "{ set: { seen: =now } }".to_owned(),
                _ => format!(
                    "{{ transfer: {{ from: {from}, to: {to}, amount: {amount}, authority: \
                     workflow }} }}"
                ),
            });
        }
        if self.random.one_of(3) {
            effects.push("{ send: { url: \"http://127.0.0.1:9000/told\", body: =data.n } }".into());
        }
        format!("[ {} ]", effects.join(", "))
    }

    fn next(next: Option<&str>) -> String {
        next.map_or_else(String::new, |next| format!(", next: {next}"))
    }

    fn step(&mut self, name: &str, body: &str) {
        writeln!(self.steps, "  {name}: {{ {body} }}").unwrap();
    }

    fn client(&mut self, name: &str, next: Option<&str>) {
        let by = self.random.pick(&["owner", "owner", "role:clerk"]);
        let mut body = format!(
            "by: [{by}], input: {{ type: object, properties: {{ n: {{ type: integer }} }} }}, guard: \
             [ {{ that: 'input.n == null || input.n < 5', code: too-much, message: Too much. }} ]"
        );
        if by == "role:clerk" {
            body += self.random.pick(&["", ", claim: 1h", ", quorum: 2"]);
        }
        if self.random.one_of(3) {
            let target = next.map_or_else(|| "stay".to_owned(), |next| self.other(next));
            write!(body, ", timeout: {{ after: 30m, next: {target} }}").unwrap();
        }
        if self.random.one_of(4) {
            body += ", remind: [ { after: [10m, 20m], do: [ { emit: { type: life.waits } } ] } ]";
        }
        let effects = self.effects();
        let count = effects.replacen("[ ", "[ { set: { n: '=data.n + 1' } }, ", 1);
        let effects = if effects == "[  ]" { "[ { set: { n: '=data.n + 1' } } ]" } else { &count };
        // A hold has its name once: a step that places one is taken once.
        let stays = next.filter(|_| self.random.one_of(5) && !effects.contains("hold: { id"));
        let next = match stays {
            Some(next) => {
                format!(", next: [ {{ when: data.n < 2, next: stay }}, {{ next: {next} }} ]")
            }
            None => Self::next(next),
        };
        write!(body, ", do: {effects}{next}").unwrap();
        self.step(name, &body);
    }

    fn call(&mut self, name: &str, next: Option<&str>) {
        let url = format!("\"http://127.0.0.1:9000/{name}\"");
        let attempts = 1 + self.random.below(3);
        let callback = self.random.pick(&["", "", ", callback: 15m"]);
        let mut body = format!(
            "call: {{ url: {url}, retry: {{ attempts: {attempts}, first: 1m }}{callback} }}"
        );
        if !self.is_final && !self.random.one_of(4) {
            let undo =
                format!("{{ call: {{ method: DELETE, url: {url}, retry: {{ attempts: 2 }} }} }}");
            let both = if self.random.one_of(3) { format!("{undo}, {undo}") } else { undo };
            write!(body, ", compensate: [ {both} ]").unwrap();
        }
        if self.is_final || self.random.one_of(2) {
            let other = self.name();
            self.client(&other, next);
            write!(body, ", failed: {other}").unwrap();
        }
        let effects = self.effects();
        write!(body, ", do: {effects}{}", Self::next(next)).unwrap();
        self.step(name, &body);
    }

    /// Something that ends where `next` says, or with its branch; the target that it is reached by.
    fn part(&mut self, next: Option<&str>) -> String {
        let name = self.name();
        match self.random.below(8) {
            0 if self.depth < 2 && self.names < 12 => {
                self.depth += 1;
                let known = self.holds.len();
                let branches = [self.chain(None), self.chain(None)];
                self.holds.truncate(known);
                self.depth -= 1;
                let branches = branches.map(|first| self.first_of(&first));
                let join = next.map_or_else(String::new, |next| format!(", next: {next}"));
                return format!("{{ all: [{}, {}]{join} }}", branches[0], branches[1]);
            }
            1 => {
                let sibling = self.name();
                self.client(&name, next);
                if self.random.below(2) == 0 {
                    self.client(&sibling, next);
                } else {
                    let body = format!("wait: {{ for: 20m }}{}", Self::next(next));
                    self.step(&sibling, &body);
                }
                return format!("{{ any: [{name}, {sibling}] }}");
            }
            2 => {
                let effects = self.effects();
                self.step(
                    &name,
                    &format!("wait: {{ for: 10m }}, do: {effects}{}", Self::next(next)),
                );
            }
            3 => {
                let effects = self.effects();
                self.step(&name, &format!("do: {effects}{}", Self::next(next)));
            }
            4 | 5 => self.call(&name, next),
            _ => self.client(&name, next),
        }
        name
    }

    /// A branch begins with a step: of a target that is none an automatic one is made.
    fn first_of(&mut self, target: &str) -> String {
        if !target.starts_with('{') {
            return target.to_owned();
        }
        let name = self.name();
        self.step(&name, &format!("next: {target}"));
        name
    }

    /// Some parts, one after the other, grown from the last one.
    fn chain(&mut self, end: Option<&str>) -> String {
        let mut target = end.map(str::to_owned);
        for _ in 0..=self.random.below(2) {
            target = Some(self.part(target.as_deref()));
        }
        target.unwrap()
    }
}

/// A definition; not every one is good.
fn definition(random: &mut Random) -> String {
    let has_pivot = random.one_of(2);
    let (one, deadline) = (random.one_of(4), random.one_of(3));
    let mut growing = Growing {
        random,
        steps: String::new(),
        names: 0,
        holds: Vec::new(),
        is_final: has_pivot,
        depth: 0,
    };
    let mut target = growing.chain(Some("{ end: done }"));
    if has_pivot {
        growing.is_final = false;
        let name = growing.name();
        let effects = growing.effects();
        growing.step(&name, &format!("pivot: true, do: {effects}, next: {target}"));
        target = growing.chain(Some(&name));
    }
    let first = growing.first_of(&target);
    let one = if one { "unique: =tx.owner\n" } else { "" };
    let deadline = if deadline { "deadline: 3h\n" } else { "" };
    let steps = growing.steps;
    format!(
        "abide: 1\nworkflow: life\n{one}{deadline}data: {{ n: 0, seen: null }}\nfirst: {first}\nsteps:\n{steps}"
    )
}

const GIVEN: &str = "
given:
  users: { ann: {}, bob: {}, cid: { roles: [clerk] }, dan: { roles: [clerk] } }
  accounts:
    ann:main: { asset: EUR, owner: ann, balance: \"6.00\" }
    shop: { asset: EUR, balance: \"4.00\" }
    bank: { asset: EUR, floor: \"-5.00\" }
scenarios: []
";

/// One who asks, what is asked, and under which key.
#[derive(Clone)]
struct Asked {
    who: &'static str,
    command: Command,
    key: String,
}

struct Life {
    random: Random,
    world: World,
    asked: Vec<Asked>,
    keys: usize,
}

const PEOPLE: [&str; 4] = ["ann", "bob", "cid", "dan"];

fn render() -> Render {
    Box::new(|result, revision| {
        let (status, told) = match result {
            Ok(Outcome::Transaction { view, .. }) => (200, view.tx.id.to_string()),
            Ok(_) => (200, String::new()),
            Err(refusal) => (400, refusal.name().to_owned()),
        };
        let body = Bytes::from(format!("{told} {revision}"));
        Answer { status, headers: Vec::new(), body }
    })
}

impl Life {
    fn txs(&self) -> Vec<Tx> {
        self.world
            .txs
            .iter()
            .map(|(_, id)| self.world.view(*id).unwrap().tx.as_ref().clone())
            .collect()
    }

    async fn ask(&mut self, asked: &Asked) -> Result<CommandAnswer, String> {
        let actor = self.world.actor(asked.who).await.map_err(|stop| describe(&stop))?;
        let words = format!("{:?}", asked.command);
        let fingerprint = self.world.app.fingerprint("POST", "/", "", words.as_bytes());
        let envelope = Envelope {
            actor,
            client: ClientInfo::default(),
            request: "req".into(),
            route: "",
            idempotency: Some(Idempotency { key: asked.key.clone(), fingerprint }),
            preconditions: None,
            render: render(),
        };
        let answered = self.world.app.execute(asked.command.clone(), envelope).await;
        if answered.answer.status == 503 {
            return Err("the application has stopped".to_owned());
        }
        Ok(answered)
    }

    /// Asks, and once more with the same key: that changes nothing and answers the same.
    async fn ask_twice(&mut self, asked: Asked) -> Result<CommandAnswer, String> {
        let first = self.ask(&asked).await?;
        if let (Command::Start(_), 200) = (&asked.command, first.answer.status) {
            let body = String::from_utf8_lossy(&first.answer.body).into_owned();
            let id = body.split(' ').next().unwrap_or_default();
            let id: TxId = id.parse().map_err(|_| format!("`{body}` names no transaction"))?;
            if !first.replayed {
                self.world.txs.push(("life".to_owned(), id));
            }
        }
        let before = self.txs();
        let again = self.ask(&asked).await?;
        // A refusal that is not kept is found again.
        let is_right = again.replayed || first.answer.status != 200;
        let is_right = is_right && self.txs() == before;
        if !is_right {
            return Err(format!("{:?} was done twice", asked.command));
        }
        if again.replayed && again.answer != first.answer {
            return Err(format!("{:?} is answered otherwise: {first:?}, {again:?}", asked.command));
        }
        self.asked.push(asked);
        Ok(first)
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("k{}", self.keys)
    }

    async fn submit(
        &mut self,
        who: &'static str,
        tx: TxId,
        step: &str,
        n: i64,
    ) -> Result<u16, String> {
        let input = if n == 0 { json!({}) } else { json!({ "n": n }) };
        let command = Command::Submit { tx, step: step.into(), input, if_match: None };
        let asked = Asked { who, command, key: self.key() };
        Ok(self.ask_twice(asked).await?.answer.status)
    }

    /// One thing that somebody does, or that happens.
    #[allow(clippy::too_many_lines, reason = "a list of what can happen")]
    async fn deed(&mut self) -> Result<String, String> {
        let txs = self.txs();
        let tx = if txs.is_empty() { None } else { Some(&txs[self.random.below(txs.len())]) };
        let who = self.random.pick(&PEOPLE.each_ref().map(|name| *name));
        let Some(tx) = tx.filter(|_| txs.len() >= 3 || !self.random.one_of(6)) else {
            let ask =
                StartAsk { workflow: parse("life").unwrap(), input: Map::new(), reference: None };
            let who = self.random.pick(&["ann", "bob"]);
            let asked = Asked { who, command: Command::Start(Box::new(ask)), key: self.key() };
            self.ask_twice(asked).await?;
            return Ok(format!("{who} starts"));
        };
        let id = tx.id;
        let open = || tx.open.iter().find(|open| open.is_client).map(|open| open.step.to_string());
        let deed = self.random.below(20);
        let done = match deed {
            0..=6 => {
                let step = match open() {
                    Some(_) if !self.random.one_of(8) => {
                        let open: Vec<_> = tx.open.iter().filter(|open| open.is_client).collect();
                        open[self.random.below(open.len())].step.to_string()
                    }
                    _ => format!("s{}", 1 + self.random.below(8)),
                };
                let n = [0, 0, 1, 3, 7][self.random.below(5)];
                let status = self.submit(who, id, &step, n).await?;
                return Ok(format!("{who} submits {step} of {id}: {status}"));
            }
            7 | 8 => {
                let step = open().unwrap_or_else(|| "s1".to_owned());
                let (tx, step) = (id, step.as_str().into());
                let command = match self.random.below(4) {
                    0 => Command::Release { tx, step },
                    1 => Command::Cancel { tx, reason: None, if_match: None },
                    _ => Command::Claim { tx, step },
                };
                let asked = Asked { who, command, key: self.key() };
                let told = format!("{who}: {:?}", asked.command);
                self.ask_twice(asked).await?;
                return Ok(told);
            }
            9 if !self.asked.is_empty() => {
                // Late and out of order: as it was asked before, under its key or under another.
                let mut late = self.asked[self.random.below(self.asked.len())].clone();
                if self.random.one_of(2) {
                    late.key = self.key();
                }
                let told = format!("{} again: {:?}", late.who, late.command);
                self.ask_twice(late).await?;
                return Ok(told);
            }
            10 | 11 => {
                let by = [
                    Span::from_ms(1),
                    Span::from_minutes(5),
                    Span::from_minutes(31),
                    Span::from_hours(2),
                ];
                pass(&mut self.world, by[self.random.below(4)]).await
            }
            12 => match tx.timer_at {
                Some(at) => {
                    let by = at.since(self.world.app.now());
                    pass(&mut self.world, by).await
                }
                None => Ok(()),
            },
            13 => {
                let names = calls::hanging(&self.world);
                match names.first() {
                    Some(name) => {
                        let replies = [
                            Reply::Status(200),
                            Reply::Status(202),
                            Reply::Status(409),
                            Reply::Status(500),
                        ];
                        let reply = replies[self.random.below(4)].clone();
                        self.world.calls.answer_so(&[(name.clone(), vec![reply])].into());
                        calls::answer(&mut self.world, name).await
                    }
                    None => Ok(()),
                }
            }
            14 => {
                let later = tx
                    .calls
                    .iter()
                    .find(|call| matches!(call.state, CallState::AwaitingCallback(_)));
                match later.or_else(|| tx.calls.first()) {
                    Some(call) => {
                        let step = call.step.to_string();
                        calls::call_back(&self.world, &step, json!({})).await
                    }
                    None => Ok(()),
                }
            }
            15 => {
                let repair = match self.random.below(3) {
                    0 => Repair::Skip { reason: "it is of no use".to_owned() },
                    _ => Repair::Retry,
                };
                self.world.rule(Command::Repair { tx: id, repair }).await.map(drop)
            }
            16 => self.world.rule(Command::Pause { tx: id, pause: !tx.paused }).await.map(drop),
            17 => {
                let (from, to) = (
                    self.random.pick(&["ann:main", "shop"]),
                    self.random.pick(&["world:EUR", "bank"]),
                );
                let (from, to) = if self.random.one_of(2) { (from, to) } else { (to, from) };
                self.world.pay(from, to, "3.00").await
            }
            18 => {
                let frozen = Some(self.random.one_of(2));
                let id = parse(self.random.pick(&["ann:main", "shop", "bank"])).unwrap();
                let change = Command::ChangeAccount {
                    id,
                    floor: None,
                    frozen,
                    read_anyone: None,
                    if_match: None,
                };
                self.world.rule(change).await.map(drop)
            }
            _ => self.world.restart().await,
        };
        Ok(match fine(done)? {
            Some(refused) => format!("{deed} at {id}: {refused}"),
            None => format!("{deed} at {id}"),
        })
    }

    /// Sets the answers of the services.
    fn answers(&mut self, kind: bool) {
        let mut answers = calls::Answers::new();
        for number in 1..30 {
            for op in ["do", "undo", "send"] {
                let reply = match (kind, self.random.below(10)) {
                    (true, _) | (_, 0..=4) => Reply::Status(200),
                    (_, 5) => Reply::Status(202),
                    (_, 6) => Reply::Status(409),
                    (_, 7) => Reply::Status(500),
                    (_, 8) => Reply::Word("hang".to_owned()),
                    _ => Reply::Word("lost".to_owned()),
                };
                answers.insert(format!("s{number} {op}"), vec![reply]);
            }
        }
        self.world.calls.answer_so(&answers);
    }

    /// Everybody does what is to be done: each transaction comes to its end.
    async fn until_it_ends(&mut self) -> Result<(), String> {
        self.answers(true);
        for account in ["ann:main", "shop", "bank"] {
            let id = parse(account).unwrap();
            let change = Command::ChangeAccount {
                id,
                floor: None,
                frozen: Some(false),
                read_anyone: None,
                if_match: None,
            };
            fine(self.world.rule(change).await.map(drop))?;
            fine(self.world.pay("world:EUR", account, "1000.00").await)?;
        }
        fine(calls::lose(&mut self.world).await)?;
        for round in 0..ROUNDS {
            let open: Vec<Tx> = self.txs().into_iter().filter(|tx| !tx.status.is_ended()).collect();
            if open.is_empty() {
                return Ok(());
            }
            for tx in open {
                if tx.paused {
                    let resume = Command::Pause { tx: tx.id, pause: false };
                    fine(self.world.rule(resume).await.map(drop))?;
                }
                if tx.stuck.is_some() {
                    let reason = "it is of no use".to_owned();
                    let repair =
                        if round < ROUNDS / 2 { Repair::Retry } else { Repair::Skip { reason } };
                    fine(self.world.rule(Command::Repair { tx: tx.id, repair }).await.map(drop))?;
                }
                if round >= ROUNDS / 2 {
                    // What can never be done, such as to capture more than is held, is given up.
                    for who in ["ann", "bob"] {
                        let command = Command::Cancel { tx: tx.id, reason: None, if_match: None };
                        let asked = Asked { who, command, key: self.key() };
                        self.ask_twice(asked).await?;
                    }
                }
                for open in tx.open.iter().filter(|open| open.is_client) {
                    for who in PEOPLE {
                        self.submit(who, tx.id, open.step.as_str(), 0).await?;
                    }
                }
            }
            fine(pass(&mut self.world, Span::from_minutes(61)).await)?;
            invariants::check(&self.world)?;
        }
        // After the pivot a transaction cannot be given up: it stays at its open step.
        let is_left = |tx: &Tx| tx.pivot && tx.open.iter().any(|open| open.is_client);
        match self.txs().into_iter().find(|tx| !tx.status.is_ended() && !is_left(tx)) {
            Some(tx) => Err(format!("it never ends: {tx:?}")),
            None => Ok(()),
        }
    }

    /// An open transaction has a way on: somebody's step, a time, a call, or an operator's look.
    fn has_ways_on(&self) -> Result<(), String> {
        for tx in self.txs().into_iter().filter(|tx| !tx.status.is_ended()) {
            let waits = tx.open.iter().any(|open| open.is_client);
            let calls = tx
                .calls
                .iter()
                .any(|call| matches!(call.state, CallState::Due(_) | CallState::InFlight(_)));
            if !(waits || calls || tx.timer_at.is_some() || tx.stuck.is_some() || tx.paused) {
                return Err(format!("it hangs: {tx:?}"));
            }
        }
        Ok(())
    }
}

/// A refusal is an answer here; the code of it.
fn fine(done: Result<(), Stop>) -> Result<Option<String>, String> {
    match done {
        Ok(()) => Ok(None),
        Err(Stop::Refused(refusal)) => Ok(Some(refusal.name().to_owned())),
        // There is nothing to answer.
        Err(Stop::Wrong(what)) if what.contains("has called nobody") => Ok(Some(what)),
        Err(Stop::Wrong(what)) => Err(what),
    }
}

/// One life; `None`: the definition was not a good one.
async fn live(seed: u64) -> Option<Result<(), String>> {
    let mut random = Random(seed);
    let document = definition(&mut random);
    let Ok(read) = workflow::read(&document) else { return None };
    drop(read);
    let file = scenario::read(GIVEN).unwrap();
    let documents = [super::document("a random definition", &document).unwrap()];
    let world =
        World::new(&file.given, &documents).await.unwrap_or_else(|s| panic!("{}", describe(&s)));
    let mut life = Life { random, world, asked: Vec::new(), keys: 0 };
    let mut deeds = Vec::new();
    let mut lived = Ok(());
    for _ in 0..COMMANDS {
        if life.random.one_of(4) {
            life.answers(false);
        }
        lived = match life.deed().await {
            Ok(deed) => {
                deeds.push(deed);
                // What is due is done before anything is looked at.
                match pass(&mut life.world, Span::from_ms(0)).await {
                    Ok(()) | Err(Stop::Refused(_)) => {
                        invariants::check(&life.world).and_then(|()| life.has_ways_on())
                    }
                    Err(Stop::Wrong(what)) => Err(what),
                }
            }
            Err(what) => Err(what),
        };
        if lived.is_err() {
            break;
        }
    }
    if lived.is_ok() {
        lived = life.until_it_ends().await;
    }
    life.world.app.close().await;
    Some(lived.map_err(|what| format!("seed {seed}: {what}\n{document}\n{}", deeds.join("\n"))))
}

#[tokio::test]
async fn random_lives_of_random_workflows_add_up_and_end() {
    let given = std::env::var("ABIDE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = given {
        live(seed).await.expect("the definition is good").unwrap_or_else(|what| panic!("{what}"));
        return;
    }
    let seconds = std::env::var("ABIDE_LIVES").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.unwrap_or(SECONDS);
    let mut bytes = [0; 4];
    if std::env::var_os("ABIDE_RANDOM_SEEDS").is_some_and(|value| value == "1") {
        getrandom::fill(&mut bytes).unwrap();
    }
    let begin = Instant::now();
    let (mut lived, mut tried, mut seed) = (0, 0, u64::from(u32::from_le_bytes(bytes)));
    while begin.elapsed().as_secs() < seconds || lived < 20 {
        seed += 1;
        tried += 1;
        match live(seed).await {
            Some(Ok(())) => lived += 1,
            Some(Err(what)) => panic!("ABIDE_TEST_SEED={seed} shows it again\n{what}"),
            None => {}
        }
    }
    assert!(lived * 2 > tried, "only {lived} of {tried} definitions are good");
}
