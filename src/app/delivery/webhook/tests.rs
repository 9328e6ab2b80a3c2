//! Deliveries to webhooks: order, retries, limits of memory, restarts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::queue::{
    AWAY, DeliveryCheckpoint, DeliveryQueue, EventMessage, NextStep, OrderingKey, QueueLimits,
};
use super::request::BACKOFF;
use super::webhook_delivery::ATTEMPTS_MAX;
use super::*;
use crate::app::{AppSettings, Cost, EventId, Secret};
use crate::engine::{
    Actor, Command, GivenUp, Outcome, Replay, Rules, StartAsk, Webhook, WebhookAsk, WebhookNews,
};
use crate::outbound::EgressPolicy;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::store::tripping::Tripping;
use crate::types::{Password, Revision, Span, Time, TxId};

/// Longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Start of the simulated time.
const NOW: Time = Time::from_ms(1_900_000_000_000);

/// Returns the shortest and the longest of many delays.
fn delays(attempts: u32, least: Duration) -> (Duration, Duration) {
    let waits: Vec<Duration> = (0..2000).map(|_| BACKOFF.jittered(attempts, least)).collect();
    (waits.iter().min().copied().unwrap_or_default(), waits.into_iter().max().unwrap_or_default())
}

/// Full jitter up to twice the last delay and never over the maximum; at least the delay that the
/// receiver asks for.
#[test]
fn delay_doubles_with_jitter_and_respects_retry_after() {
    for (attempts, most) in
        [(1, BACKOFF.first), (2, BACKOFF.first * 2), (5, BACKOFF.first * 16), (99, BACKOFF.max)]
    {
        let (least, longest) = delays(attempts, Duration::ZERO);
        assert!(least < most / 20, "{attempts}: {least:?}");
        assert!(longest > most.mul_f64(0.95) && longest <= most, "{attempts}: {longest:?}");
    }
    let wants = BACKOFF.first * 2;
    assert_eq!(delays(1, wants), (wants, wants));
    assert!(delays(5, wants).0 >= wants && delays(5, wants).1 > wants);
}

/// A receiver that is away for minutes or for a night misses nothing: the first attempts are quick,
/// and all take about a day in the mean.
#[test]
fn event_is_attempted_for_about_a_day() {
    let mean = |attempts: u32| (1..attempts).map(|n| BACKOFF.longest(n) / 2).sum::<Duration>();
    let all = mean(ATTEMPTS_MAX);
    assert!((Duration::from_hours(22)..Duration::from_hours(26)).contains(&all), "{all:?}");
    assert!(mean(5) < Duration::from_secs(5) && mean(10) > Duration::from_mins(1));
}

/// After a receiver was away, delayed retries become due at once; if it refused only some events,
/// these stay delayed.
#[test]
fn delayed_retries_are_due_after_a_receiver_was_away() {
    let key = |n: u128| OrderingKey::Transaction(Some(TxId::new(n)));
    let now = NOW;
    for (vain, at_once) in [(AWAY, 2), (Span::from_ms(AWAY.ms() / 2), 0)] {
        let mut queue = DeliveryQueue::new(QueueLimits::default(), EventId::START, &[]);
        for n in 0..3 {
            let event = message(key(n as u128), n);
            queue.note_read(event.id);
            queue.push(event);
        }
        let sent: Vec<_> = std::iter::from_fn(|| match queue.next(now) {
            Some(NextStep::Attempt(message)) => Some(message),
            _ => None,
        })
        .collect();
        let [one, two, three] = sent.try_into().unwrap();
        for failed in [one, two] {
            queue.count_failure(failed.key, now);
            queue.delay_until(failed, now.plus(Span::from_hours(4)));
        }
        queue.complete(&three);
        let later = now.plus(vain);
        queue.note_success(later);
        let mut attempts = 0;
        while let Some(turn) = queue.next(later) {
            match turn {
                NextStep::Attempt(_) => attempts += 1,
                NextStep::Read { tx: Some(tx), .. } => {
                    let number = usize::try_from(tx.bits()).unwrap();
                    queue.refill(
                        OrderingKey::Transaction(Some(tx)),
                        vec![message(key(tx.bits()), number)],
                        None,
                    );
                }
                NextStep::Read { tx: None, .. } => panic!("all are of transactions"),
            }
        }
        assert_eq!(attempts, at_once, "{vain:?}");
    }
}

/// The number of attempts survives a restart, and no attempt is made before its time.
#[test]
fn attempts_survive_a_restart() {
    let key = OrderingKey::Transaction(Some(TxId::new(7)));
    let mut queue = DeliveryQueue::new(QueueLimits::default(), EventId::START, &[]);
    queue.note_read(message(key, 0).id);
    queue.push(message(key, 0));
    let mut now = NOW;
    for attempts in 1..=5 {
        match queue.next(now) {
            Some(NextStep::Attempt(message)) => {
                assert_eq!(queue.count_failure(key, now), attempts);
                queue.delay_until(message, now.plus(Span::from_minutes(1)));
            }
            Some(NextStep::Read { .. }) => {
                queue.refill(key, vec![message(key, 0)], None);
                let Some(NextStep::Attempt(message)) = queue.next(now) else {
                    panic!("it is sent")
                };
                assert_eq!(queue.count_failure(key, now), attempts);
                queue.delay_until(message, now.plus(Span::from_minutes(1)));
            }
            None => panic!("it is attempts"),
        }
        let checkpoint = queue.checkpoint();
        assert_eq!(checkpoint.lagging[0].attempts, attempts);
        queue = DeliveryQueue::new(QueueLimits::default(), checkpoint.after, &checkpoint.lagging);
        assert_eq!(queue.wakes_at(), Some(now.plus(Span::from_minutes(1))));
        assert!(queue.next(now).is_none(), "it rests");
        now = now.plus(Span::from_minutes(1));
    }
}

/// Pseudo-random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

const SMALL: QueueLimits = QueueLimits { keys: 40, events: 6, bytes: 1000, events_per_key: 3 };

fn message(key: OrderingKey, number: usize) -> EventMessage {
    let id = EventId::end_of(Revision::new(number as u64 + 1)).before();
    EventMessage { key, id, body: Bytes::from(vec![b'x'; number % 50]) }
}

/// A simulation of a queue.
struct Simulation {
    random: Random,
    log: Vec<OrderingKey>,
    queue: DeliveryQueue,
    read: usize,
    noted: DeliveryCheckpoint,
    out: Vec<EventMessage>,
    now: Time,
    /// Events in the order in which they were first delivered, by key.
    over: BTreeMap<OrderingKey, Vec<EventId>>,
}

impl Simulation {
    fn new(seed: u64, log: Vec<OrderingKey>) -> Self {
        let noted = DeliveryCheckpoint { after: EventId::START, lagging: Vec::new() };
        Self {
            random: Random(seed),
            log,
            queue: DeliveryQueue::new(SMALL, noted.after, &noted.lagging),
            read: 0,
            noted,
            out: Vec::new(),
            now: NOW,
            over: BTreeMap::new(),
        }
    }

    fn messages(&self, from: EventId) -> impl Iterator<Item = EventMessage> {
        let all = self.log.iter().enumerate().map(|(number, key)| message(*key, number));
        all.filter(move |message| message.id > from)
    }

    /// Reads events and begins all possible attempts.
    fn go_on(&mut self) {
        while self.read < self.log.len() && self.queue.has_room() {
            let message = message(self.log[self.read], self.read);
            self.read += 1;
            self.queue.note_read(message.id);
            self.queue.push(message);
        }
        while let Some(turn) = self.queue.next(self.now) {
            match turn {
                NextStep::Attempt(message) => self.out.push(message),
                NextStep::Read { tx, after, most } => {
                    let key = OrderingKey::Transaction(tx);
                    let to = self.queue.read_to();
                    let rest = self.messages(after).filter(|message| message.key == key);
                    let mut found: Vec<_> = rest.filter(|message| message.id <= to).collect();
                    let more = (found.len() > most).then(|| found[most - 1].id);
                    found.truncate(most);
                    self.queue.refill(key, found, more);
                }
            }
        }
        assert!(self.out.len() <= super::queue::IN_FLIGHT_MAX);
    }

    fn end(&mut self, at: usize) {
        let message = self.out.swap_remove(at);
        self.queue.complete(&message);
        let over = self.over.entry(message.key).or_default();
        if !over.contains(&message.id) {
            over.push(message.id);
        }
    }

    fn fail(&mut self, at: usize) {
        let message = self.out.swap_remove(at);
        self.queue.count_failure(message.key, self.now);
        let wait = Span::from_seconds(self.random.below(10) as u64);
        self.queue.delay_until(message, self.now.plus(wait));
    }

    fn restart(&mut self) {
        self.out.clear();
        self.queue = DeliveryQueue::new(SMALL, self.noted.after, &self.noted.lagging);
        let after = self.noted.after;
        self.read =
            (0..self.log.len()).take_while(|n| message(self.log[*n], *n).id <= after).count();
    }

    /// Returns the expected deliveries of every key.
    fn expected(&self) -> BTreeMap<OrderingKey, Vec<EventId>> {
        let mut expected: BTreeMap<OrderingKey, Vec<EventId>> = BTreeMap::new();
        for message in self.messages(EventId::START) {
            expected.entry(message.key).or_default().push(message.id);
        }
        expected
    }
}

/// Whatever fails, and whenever the delivery restarts at its checkpoint, each event is delivered,
/// and those of a transaction in order.
#[test]
fn every_event_is_delivered_in_the_order_of_its_transaction() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let keys = 1 + random.below(12);
        let key = |n: usize| OrderingKey::Transaction((n > 0).then(|| TxId::new(n as u128)));
        let log = (0..300).map(|_| key(random.below(keys))).collect();
        let mut simulation = Simulation::new(seed, log);
        let restarts = seed % 2 == 1;
        for step in 0.. {
            assert!(step < 100_000, "seed {seed}: it comes to no end: {:?}", simulation.queue);
            simulation.go_on();
            if simulation.over == simulation.expected() {
                break;
            }
            if simulation.random.below(10) == 0 || simulation.out.is_empty() {
                simulation.now = simulation.now.plus(Span::from_seconds(1));
                continue;
            }
            let at = simulation.random.below(simulation.out.len());
            match simulation.random.below(8) {
                0..4 => simulation.end(at),
                4..7 => simulation.fail(at),
                _ if restarts && simulation.random.below(8) == 0 => simulation.restart(),
                _ => simulation.noted = simulation.queue.checkpoint(),
            }
        }
        // Everything is delivered, so nothing is delivered again.
        for _ in 0..1000 {
            simulation.now = simulation.now.plus(Span::from_seconds(1));
            simulation.go_on();
            (0..simulation.out.len()).for_each(|_| simulation.end(0));
        }
        let end = message(simulation.log[simulation.log.len() - 1], simulation.log.len() - 1).id;
        assert_eq!(
            simulation.queue.checkpoint(),
            DeliveryCheckpoint { after: end, lagging: Vec::new() },
            "seed {seed}"
        );
    }
}

/// Events that are never accepted occupy no memory, and new events have places beside retries.
#[test]
fn refused_events_occupy_neither_memory_nor_places() {
    let bad = |n: usize| OrderingKey::Transaction(Some(TxId::new(n as u128)));
    let log = (0..2000).map(|n| bad(if n % 2 == 0 { n % 20 } else { n })).collect();
    let mut simulation = Simulation::new(1, log);
    let is_bad = |message: &EventMessage| matches!(message.key, OrderingKey::Transaction(Some(tx)) if tx.bits() < 20 && tx.bits() % 2 == 0);
    let mut fresh = 0;
    while fresh < 1000 {
        simulation.go_on();
        // Retries hang.
        let failed = simulation
            .out
            .iter()
            .position(|message| is_bad(message) && simulation.queue.attempts(message.key) == 0);
        let good = simulation.out.iter().position(|message| !is_bad(message));
        match (failed, good) {
            (Some(at), _) => simulation.fail(at),
            (None, Some(at)) => {
                simulation.end(at);
                fresh += 1;
            }
            (None, None) => panic!("others are held up after {fresh}: {:?}", simulation.queue),
        }
        simulation.now = simulation.now.plus(Span::from_seconds(1));
    }
    let checkpoint = simulation.queue.checkpoint();
    assert_eq!(checkpoint.lagging.len(), 10);
    assert_eq!(checkpoint.after, simulation.queue.read_to());
}

const BELL: &str = "abide: 1
workflow: bell
first: begin
steps:
  begin: { next: { any: [ring, stop] } }
  ring: { by: [owner], do: [ { emit: { type: bell.rang } } ], next: stay }
  stop: { by: [owner], next: { end: stopped } }
";

/// An application with a user who rings bells, and a webhook for that.
struct TestApp {
    app: Arc<App>,
    ringer: Actor,
    webhook: WebhookId,
}

impl TestApp {
    async fn new(store: Arc<dyn Store>, url: String) -> Self {
        let settings = AppSettings {
            rules: Rules { registration_open: true, ..Rules::default() },
            dev: true,
            password_cost: Cost { memory_kib: 8, passes: 1, lanes: 1 },
            admin_password: Some(Password::new("correct horse battery".to_owned())),
            ..AppSettings::default()
        };
        let app = App::open(store, Secret::new([9; 32]), settings).await.unwrap().app;
        let login = Command::Login {
            username: "admin".parse().unwrap(),
            password: Password::new("correct horse battery".to_owned()),
            profile: None,
        };
        let Outcome::Session { token, .. } = app.call(login, Actor::Nobody).await.unwrap() else {
            panic!("one was opened")
        };
        let ringer = app.authenticate(Some(&token)).await.unwrap().actor;
        let definition = Arc::new(crate::engine::workflow::read(BELL).unwrap().definition);
        let publish = Command::Publish { source: BELL.into(), definition };
        app.call(publish, Actor::System).await.unwrap();
        let ask = WebhookAsk { url, types: vec!["bell.rang".to_owned()] };
        let made = app.call(Command::CreateWebhook(ask), Actor::System).await.unwrap();
        let Outcome::Webhook(webhook) = made else { panic!("one was made") };
        Self { app, ringer, webhook: webhook.id }
    }

    async fn bell(&self) -> TxId {
        let (workflow, input) = ("bell".parse().unwrap(), Map::new());
        let start = Command::Start(Box::new(StartAsk { workflow, input, reference: None }));
        let started = self.app.call(start, self.ringer.clone()).await.unwrap();
        let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
        view.tx.id
    }

    async fn ring(&self, tx: TxId) {
        let input = Value::Object(Map::new());
        let ring = Command::Submit { tx, step: "ring".into(), input, if_match: None };
        self.app.call(ring, self.ringer.clone()).await.unwrap();
    }

    fn deliveries(&self, limits: WorkerLimits) -> tokio::task::JoinHandle<()> {
        let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
        tokio::spawn(deliver_with(Arc::clone(&self.app), client, limits))
    }

    /// Waits until the webhook satisfies a condition.
    async fn stands(&self, is_so: impl Fn(&Webhook) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let webhook = self.app.webhook(self.webhook).unwrap();
            if is_so(&webhook) {
                return;
            }
            assert!(Instant::now() < deadline, "it stands otherwise: {webhook:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// A receiver that refuses the events of some transactions, and reports the transaction and the id
/// of each event and whether it accepted it.
struct Receiver {
    url: String,
    not_of: Arc<Mutex<BTreeSet<TxId>>>,
    told: mpsc::Receiver<(TxId, String, bool)>,
}

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let not_of: Arc<Mutex<BTreeSet<TxId>>> = Arc::default();
        let refused = Arc::clone(&not_of);
        let (tell, told) = mpsc::channel(1000);
        tokio::spawn(async move {
            'accepting: while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let event: Value = loop {
                    if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        // The request was cut.
                        continue 'accepting;
                    }
                    let text = std::str::from_utf8(&bytes).unwrap();
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                    if let Some(event) = body.and_then(|body| serde_json::from_str(body).ok()) {
                        break event;
                    }
                };
                let tx: TxId = event["transaction"].as_str().unwrap().parse().unwrap();
                let is_taken = !refused.lock().unwrap().contains(&tx);
                let status = if is_taken { "204 Yes" } else { "503 No" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()).await);
                let id = event["id"].as_str().unwrap().to_owned();
                if tell.send((tx, id, is_taken)).await.is_err() {
                    return;
                }
            }
        });
        Self { url, not_of, told }
    }

    async fn next(&mut self) -> (TxId, String, bool) {
        let told = timeout(PATIENCE, self.told.recv()).await;
        told.expect("others are held up").unwrap()
    }
}

/// Events of one transaction that the receiver refuses delay no other transaction, and after a
/// restart nothing of the others is delivered again.
#[tokio::test]
async fn refused_transaction_delays_no_other() {
    let mut receiver = Receiver::new().await;
    let test = TestApp::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let limits =
        WorkerLimits { queue: QueueLimits { bytes: 1 << 20, ..SMALL }, ..WorkerLimits::default() };
    let deliveries = test.deliveries(limits);
    let (bad, good) = (test.bell().await, test.bell().await);
    receiver.not_of.lock().unwrap().insert(bad);
    let count = 5 * SMALL.events;
    for _ in 0..count {
        test.ring(bad).await;
    }
    assert_eq!(receiver.next().await.0, bad);
    for _ in 0..count {
        test.ring(good).await;
    }
    let (mut first, mut ids) = (BTreeSet::new(), Vec::new());
    while ids.len() < count {
        let (tx, id, is_taken) = receiver.next().await;
        if is_taken {
            assert_eq!(tx, good);
            ids.push(id);
        } else {
            first.insert(id);
        }
    }
    assert!(first.len() <= 1 && ids.is_sorted(), "{first:?}, {ids:?}");
    let (lagging, all) = (Some(bad), count as u64);
    test.stands(|now| now.told == all && now.lags.len() == 1 && now.lags[0].transaction == lagging)
        .await;
    deliveries.abort();
    assert!(deliveries.await.is_err());
    receiver.not_of.lock().unwrap().clear();
    while receiver.told.try_recv().is_ok() {}
    let deliveries = test.deliveries(limits);
    let mut later = Vec::new();
    while later.len() < count {
        let (tx, id, is_taken) = receiver.next().await;
        assert_eq!(tx, bad, "the others' were taken");
        // An attempt that was cut is made once more.
        if is_taken && later.last() != Some(&id) {
            later.push(id);
        }
    }
    assert!(later.is_sorted_by(|one, next| one < next), "{later:?}");
    test.stands(|now| now.told == 2 * all && now.lags.is_empty() && now.dead.is_empty()).await;
    test.app.end_feed();
    deliveries.await.unwrap();
    test.app.close().await;
}

/// A delivery worker restarts after a panic.
#[tokio::test]
async fn delivery_worker_restarts_after_a_panic() {
    let letters = &crate::records::Key::dead_letters_of(WebhookId::new(0))[..1];
    let store = Arc::new(Tripping::new(letters, 1));
    let mut receiver = Receiver::new().await;
    let test = TestApp::new(store.clone(), receiver.url.clone()).await;
    let deliveries =
        test.deliveries(WorkerLimits { restart_delay: Duration::ZERO, ..WorkerLimits::default() });
    let bell = test.bell().await;
    test.ring(bell).await;
    assert_eq!((receiver.next().await.0, store.left()), (bell, 0));
    test.app.end_feed();
    deliveries.await.unwrap();
    test.app.close().await;
}

/// All dead letters are replayed, also those that do not fit into memory together; a webhook whose
/// receiver was gone continues.
#[tokio::test]
async fn dead_letters_are_replayed_and_a_stopped_webhook_continues() {
    let mut receiver = Receiver::new().await;
    let test = TestApp::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let bell = test.bell().await;
    let note = async |dead, gone| {
        let (error, id) = (Some("no".to_owned()), test.webhook);
        let (lags, after) = (Vec::new(), None);
        let news = WebhookNews { id, after, lags, told: 0, error, dead, replayed: None, gone };
        let note = Command::NoteWebhook(Box::new(news));
        test.app.call(note, Actor::System).await.unwrap();
    };
    let body = |id: &str| json!({ "id": id, "transaction": bell, "pad": "x".repeat(700) });
    for number in 1..=5 {
        let event = EventId::end_of(Revision::new(number)).to_string();
        let body = body(&event).to_string();
        note(Some(GivenUp { number, event, body }), false).await;
    }
    note(None, true).await;
    assert!(test.app.webhook(test.webhook).unwrap().stopped);
    let deliveries = test.deliveries(WorkerLimits { queue: SMALL, ..WorkerLimits::default() });
    let ask = |what| Command::ReplayDeadLetter { id: test.webhook, what };
    test.app.call(ask(Replay::Nothing), Actor::System).await.unwrap();
    test.ring(bell).await;
    receiver.next().await;
    test.stands(|now| !now.stopped && now.told == 1 && now.dead.len() == 5).await;
    test.app.call(ask(Replay::Letters), Actor::System).await.unwrap();
    test.stands(|now| now.dead.is_empty() && now.told == 6).await;
    test.app.end_feed();
    deliveries.await.unwrap();
    test.app.close().await;
}

/// Another webhook is created and gets a new key while an attempt is under way: nothing is sent
/// twice, and the number of attempts stays.
#[tokio::test]
async fn changes_of_one_webhook_leave_others_alone() {
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hangs.local_addr().unwrap());
    let test = TestApp::new(Arc::new(Memory::new()), url).await;
    let deliveries = test.deliveries(WorkerLimits::default());
    let bell = test.bell().await;
    test.ring(bell).await;
    let (_open, _) = timeout(PATIENCE, hangs.accept()).await.unwrap().unwrap();
    let mut receiver = Receiver::new().await;
    let ask = WebhookAsk { url: receiver.url.clone(), types: vec!["bell.rang".to_owned()] };
    for _ in 0..3 {
        let made = test.app.call(Command::CreateWebhook(ask.clone()), Actor::System).await;
        let Outcome::Webhook(made) = made.unwrap() else { panic!("one was made") };
        test.app.call(Command::RotateWebhook { id: made.id }, Actor::System).await.unwrap();
        test.ring(bell).await;
        // The other webhook's worker knows of the change.
        receiver.next().await;
    }
    let again = timeout(Duration::from_millis(200), hangs.accept()).await;
    assert!(again.is_err(), "it is sent twice");
    test.app.end_feed();
    deliveries.await.unwrap();
    test.app.close().await;
}

/// The number of attempts is recorded, and continues after changes of other webhooks and a restart.
#[tokio::test]
async fn attempts_are_recorded_and_no_change_of_others_resets_them() {
    let mut receiver = Receiver::new().await;
    let test = TestApp::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let deliveries = test.deliveries(WorkerLimits::default());
    let bell = test.bell().await;
    receiver.not_of.lock().unwrap().insert(bell);
    test.ring(bell).await;
    for _ in 0..3 {
        assert!(!receiver.next().await.2);
    }
    test.stands(|now| now.lags.first().is_some_and(|lag| lag.tried >= 3)).await;
    let ask = WebhookAsk { url: receiver.url.clone(), types: vec!["nothing".to_owned()] };
    test.app.call(Command::CreateWebhook(ask), Actor::System).await.unwrap();
    deliveries.abort();
    assert!(deliveries.await.is_err());
    let deliveries = test.deliveries(WorkerLimits::default());
    test.stands(|now| now.lags.first().is_some_and(|lag| lag.tried >= 4)).await;
    test.app.end_feed();
    deliveries.await.unwrap();
    test.app.close().await;
}
