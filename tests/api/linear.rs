//! Contract 3, strictly serializable: the observations of clients of session data, money and steps,
//! under load and three kills, are explained by one order of all requests that agrees with real
//! time.
//!
//! The checker searches such an order as Wing and Gong do, with Lowe's memory of tried states
//! ("Testing for linearizability", 2017).

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::client::{Answer, Call, Role};
use crate::server::{Server, dev};

/// One request: from the first attempt to the answer, and its observation.
#[derive(Clone, Debug)]
struct Seen<T> {
    called: u64,
    answered: u64,
    what: T,
}

/// Returns whether one order of all, which agrees with real time, leads from `first` through
/// `step`.
fn linearizable<T, S: Clone + Eq + Hash>(
    history: &[Seen<T>],
    first: &S,
    step: fn(&S, &T) -> Option<S>,
) -> bool {
    let mut tried: HashSet<(Vec<bool>, S)> = HashSet::new();
    let mut stack = vec![(vec![false; history.len()], first.clone())];
    while let Some((done, state)) = stack.pop() {
        let left = || history.iter().enumerate().filter(|(number, _)| !done[*number]);
        let Some(earliest) = left().map(|(_, seen)| seen.answered).min() else { return true };
        for (number, seen) in left().filter(|(_, seen)| seen.called < earliest) {
            let Some(next) = step(&state, &seen.what) else { continue };
            let mut done = done.clone();
            done[number] = true;
            if tried.insert((done.clone(), next.clone())) {
                stack.push((done, next));
            }
        }
    }
    false
}

/// The clock of a history: each reading is after all that were taken before it.
#[derive(Clone, Default)]
struct Ticks(Arc<AtomicU64>);

impl Ticks {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Sends a request until there is an answer, and records the observation that `read` makes of
    /// it.
    async fn ask<T>(&self, call: Call, read: impl FnOnce(&Answer) -> T) -> Seen<T> {
        let called = self.now();
        loop {
            match call.clone().attempt().await {
                Some(answer) if answer.status != 503 => {
                    let answered = self.now();
                    return Seen { called, answered, what: read(&answer) };
                }
                // Killed, or not yet there again: the same request, under the same key.
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

/// A source of pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Two keys of session data; a write sees what it made.
#[derive(Clone, Copy, Debug)]
enum Data {
    Write(usize, u64, [u64; 2]),
    Read([u64; 2]),
}

fn data_step(state: &[u64; 2], data: &Data) -> Option<[u64; 2]> {
    match *data {
        Data::Write(key, value, seen) => {
            let mut next = *state;
            next[key] = value;
            (next == seen).then_some(next)
        }
        Data::Read(seen) => (*state == seen).then_some(*state),
    }
}

fn both(answer: &Answer) -> [u64; 2] {
    let data = answer.clone().ok().json();
    ["a", "b"].map(|key| data[key].as_u64().unwrap_or(0))
}

/// Three accounts.
#[derive(Clone, Copy, Debug)]
enum Money {
    Moved { from: usize, to: usize, units: u64, done: bool },
    Read(usize, u64),
}

const ACCOUNTS: [&str; 3] = ["till:a", "till:b", "till:c"];

fn money_step(state: &[u64; 3], money: &Money) -> Option<[u64; 3]> {
    match *money {
        Money::Moved { from, units, done: false, .. } => (state[from] < units).then_some(*state),
        Money::Moved { from, to, units, done: true } => {
            let mut next = *state;
            next[from] = next[from].checked_sub(units)?;
            next[to] += units;
            Some(next)
        }
        Money::Read(account, units) => (state[account] == units).then_some(*state),
    }
}

/// A transaction whose step counts; a submission sees the count that it made.
#[derive(Clone, Copy, Debug)]
enum Count {
    Added(u64),
    Read(u64),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "states are passed as they are compared")]
fn count_step(state: &u64, count: &Count) -> Option<u64> {
    match *count {
        Count::Added(seen) => (state + 1 == seen).then_some(seen),
        Count::Read(seen) => (*state == seen).then_some(seen),
    }
}

const COUNTER: &str = r#"
abide: 1
workflow: counter
data: { count: 0 }
first: add
steps:
  add:
    by: [owner]
    do: [ { set: { count: "=data.count + 1" } } ]
    next: [ { when: data.count > 900, next: { end: full } }, { next: stay } ]
"#;

fn count_of(answer: &Answer) -> u64 {
    answer.clone().ok().json()["data"]["count"].as_u64().unwrap()
}

/// Observations of one client.
#[derive(Default)]
struct Log {
    data: Vec<Seen<Data>>,
    money: Vec<Seen<Money>>,
    count: Vec<Seen<Count>>,
}

/// Rounds of each client; each makes one request of each kind.
const ROUNDS: u64 = 40;
const CLIENTS: u64 = 6;
const KILLS: u64 = 3;

struct Client {
    number: u64,
    ticks: Ticks,
    progress: Arc<AtomicU64>,
    admin: Role,
    alice: Role,
    counter: String,
}

impl Client {
    async fn run(self) -> Log {
        let Self { number, ticks, progress, admin, alice, counter } = self;
        let (mut dice, mut log) = (Dice(number + 1), Log::default());
        for round in 0..ROUNDS {
            let key = |kind: &str| format!("{kind}-{number}-{round}");
            let data = "/v1/sessions/current/data";
            log.data.push(if dice.below(2) == 0 {
                let (place, value) =
                    (usize::try_from(dice.below(2)).unwrap(), number * 1000 + round + 1);
                let patch = json!({ (["a", "b"][place]): value });
                let call = alice.call("PATCH", data).merge_patch(&patch).key(&key("data"));
                ticks.ask(call, |answer| Data::Write(place, value, both(answer))).await
            } else {
                ticks.ask(alice.get(data), |answer| Data::Read(both(answer))).await
            });
            let from = usize::try_from(dice.below(3)).unwrap();
            log.money.push(if dice.below(3) < 2 {
                let (to, units) = ((from + 1) % 3, 1 + dice.below(60));
                let body = json!({"from": ACCOUNTS[from], "to": ACCOUNTS[to], "amount": units.to_string()});
                let call = admin.post("/v1/transfers", body).key(&key("money"));
                let read = |answer: &Answer| {
                    let done = answer.status == 201;
                    assert!(done || answer.code() == "insufficient-funds", "{answer}");
                    Money::Moved { from, to, units, done }
                };
                ticks.ask(call, read).await
            } else {
                let read = |answer: &Answer| Money::Read(from, units_of(answer));
                ticks.ask(admin.get(&format!("/v1/accounts/{}", ACCOUNTS[from])), read).await
            });
            log.count.push(if dice.below(2) == 0 {
                let call = alice.post_empty(&format!("{counter}/steps/add")).key(&key("count"));
                ticks.ask(call, |answer| Count::Added(count_of(answer))).await
            } else {
                ticks.ask(alice.get(&counter), |answer| Count::Read(count_of(answer))).await
            });
            progress.fetch_add(1, Ordering::SeqCst);
        }
        log
    }
}

fn units_of(answer: &Answer) -> u64 {
    let posted = answer.clone().ok().json()["posted"].as_str().unwrap().to_owned();
    posted.parse().unwrap()
}

/// The accounts with 100 each, in an asset without digits, and a transaction that counts.
async fn world(server: &Server) -> (Role, Role, String) {
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    admin.put("/v1/assets/CHIP", json!({"scale": 0})).await.ok();
    admin
        .post("/v1/accounts", json!({"id": "world", "asset": "CHIP", "floor": null}))
        .await
        .is(201);
    for id in ACCOUNTS {
        admin.post("/v1/accounts", json!({"id": id, "asset": "CHIP"})).await.is(201);
        let funds = json!({"from": "world", "to": id, "amount": "100"});
        admin.post("/v1/transfers", funds).await.is(201);
    }
    let publish = admin.call("PUT", "/v1/workflows/counter");
    publish.body("application/yaml", COUNTER).await.is(201);
    let started = alice.post_empty("/v1/workflows/counter/transactions").await.is(201).json();
    let counter = format!("/v1/transactions/{}", started["id"].as_str().unwrap());
    (admin, alice, counter)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_under_load_and_kills_is_one_order_that_agrees_with_real_time() {
    let mut server = dev();
    let (admin, alice, counter) = world(&server).await;
    let (ticks, progress) = (Ticks::default(), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (ticks, progress) = (ticks.clone(), Arc::clone(&progress));
            let (admin, alice, counter) = (admin.clone(), alice.clone(), counter.clone());
            tokio::spawn(Client { number, ticks, progress, admin, alice, counter }.run())
        })
        .collect();
    for kill in 1..=KILLS {
        // In the middle of the work, wherever it is by then.
        while progress.load(Ordering::SeqCst) < CLIENTS * ROUNDS * kill / (KILLS + 1) {
            tokio::task::yield_now().await;
        }
        server = tokio::task::spawn_blocking(move || {
            server.crash_and_restart();
            server
        })
        .await
        .unwrap();
    }
    let mut all = Log::default();
    for client in clients {
        let log = client.await.unwrap();
        all.data.extend(log.data);
        all.money.extend(log.money);
        all.count.extend(log.count);
    }
    assert!(linearizable(&all.data, &[0, 0], data_step), "session data: {:#?}", all.data);
    assert!(linearizable(&all.money, &[100; 3], money_step), "money: {:#?}", all.money);
    assert!(linearizable(&all.count, &0, count_step), "steps: {:#?}", all.count);
    // The checker does find faults: a read of a value that never existed, and one of a value that
    // was replaced before it began.
    let last = all.count.iter().filter(|seen| matches!(seen.what, Count::Added(_))).count() as u64;
    let now = ticks.now();
    let stale = Seen { called: now, answered: now + 1, what: Count::Read(last - 1) };
    all.count.push(stale);
    assert!(!linearizable(&all.count, &0, count_step));
    all.data.push(Seen { called: 0, answered: now + 2, what: Data::Read([7_777_777, 0]) });
    assert!(!linearizable(&all.data, &[0, 0], data_step));
    let check: Value = admin.get("/v1/ledger/check").await.ok().json();
    assert_eq!(check["assets"][0]["posted"], "0");
}
