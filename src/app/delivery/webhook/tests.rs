//! What is told, and how what is not taken rests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::queue::AWAY;
use super::*;
use crate::app::{Cost, Secret, Settings};
use crate::engine::{Outcome, Replay, Rules, StartAsk, WebhookAsk};
use crate::outbound::EgressPolicy;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::store::tripping::Tripping;
use crate::types::{Password, Revision, Time};

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// When these plays begin.
const NOW: Time = Time::from_ms(1_900_000_000_000);

/// The shortest and the longest of many waits.
fn rests(attempts: u32, least: Duration) -> (Duration, Duration) {
    let waits: Vec<Duration> = (0..2000).map(|_| rest(attempts, least)).collect();
    (waits.iter().min().copied().unwrap_or_default(), waits.into_iter().max().unwrap_or_default())
}

/// Full jitter up to twice as much as before and never more than the most; a receiver that wants
/// to be left alone is.
#[test]
fn a_rest_is_any_up_to_twice_the_last_and_as_long_as_the_receiver_wants() {
    for (attempts, most) in
        [(1, BACK_OFF), (2, BACK_OFF * 2), (5, BACK_OFF * 16), (99, BACK_OFF_MAX)]
    {
        let (least, longest) = rests(attempts, Duration::ZERO);
        assert!(least < most / 20, "{attempts}: {least:?}");
        assert!(longest > most.mul_f64(0.95) && longest <= most, "{attempts}: {longest:?}");
    }
    let wants = BACK_OFF * 2;
    assert_eq!(rests(1, wants), (wants, wants));
    assert!(rests(5, wants).0 >= wants && rests(5, wants).1 > wants);
}

/// Who is away for some minutes misses nothing, and who is away for a night neither: as long as all
/// attempts take in the mean, the first ones soon.
#[test]
fn an_event_is_tried_for_about_a_day() {
    let mean = |attempts: u32| (1..attempts).map(|n| longest(n) / 2).sum::<Duration>();
    let all = mean(ATTEMPTS_MAX);
    assert!((Duration::from_hours(22)..Duration::from_hours(26)).contains(&all), "{all:?}");
    assert!(mean(5) < Duration::from_secs(5) && mean(10) > Duration::from_mins(1));
}

/// When a receiver is back, nothing waits for hours any more; where it does not take what is of one
/// transaction and takes all else, that rests on.
#[test]
fn a_receiver_that_is_back_is_told_at_once_what_rests() {
    let lane = |n: u128| OrderingKey::Of(Some(TxId::new(n)));
    let now = NOW;
    for (vain, at_once) in [(AWAY, 2), (Span::from_ms(AWAY.ms() / 2), 0)] {
        let mut queue = DeliveryQueue::new(QueueLimits::default(), EventId::START, &[]);
        for n in 0..3 {
            let event = message(lane(n as u128), n);
            queue.read(event.id);
            queue.take(event);
        }
        let sent: Vec<_> = std::iter::from_fn(|| match queue.next(now) {
            Some(Turn::Send(message)) => Some(message),
            _ => None,
        })
        .collect();
        let [one, two, three] = sent.try_into().unwrap();
        for failed in [one, two] {
            queue.failed(failed.lane, now);
            queue.again(failed, now.plus(Span::from_hours(4)));
        }
        queue.over(&three);
        let later = now.plus(vain);
        queue.taken(later);
        let mut tried = 0;
        while let Some(turn) = queue.next(later) {
            match turn {
                Turn::Send(_) => tried += 1,
                Turn::Read { tx: Some(tx), .. } => {
                    let number = usize::try_from(tx.bits()).unwrap();
                    queue.reread(
                        OrderingKey::Of(Some(tx)),
                        vec![message(lane(tx.bits()), number)],
                        None,
                    );
                }
                Turn::Read { tx: None, .. } => panic!("all are of transactions"),
            }
        }
        assert_eq!(tried, at_once, "{vain:?}");
    }
}

/// How often an event was tried is known after a restart, and it is not tried before its time.
#[test]
fn attempts_are_counted_over_a_restart() {
    let lane = OrderingKey::Of(Some(TxId::new(7)));
    let mut queue = DeliveryQueue::new(QueueLimits::default(), EventId::START, &[]);
    queue.read(message(lane, 0).id);
    queue.take(message(lane, 0));
    let mut now = NOW;
    for tried in 1..=5 {
        match queue.next(now) {
            Some(Turn::Send(message)) => {
                assert_eq!(queue.failed(lane, now), tried);
                queue.again(message, now.plus(Span::from_minutes(1)));
            }
            Some(Turn::Read { .. }) => {
                queue.reread(lane, vec![message(lane, 0)], None);
                let Some(Turn::Send(message)) = queue.next(now) else { panic!("it is sent") };
                assert_eq!(queue.failed(lane, now), tried);
                queue.again(message, now.plus(Span::from_minutes(1)));
            }
            None => panic!("it is tried"),
        }
        let stands = queue.stands();
        assert_eq!(stands.lags[0].tried, tried);
        queue = DeliveryQueue::new(QueueLimits::default(), stands.after, &stands.lags);
        assert_eq!(queue.wakes_at(), Some(now.plus(Span::from_minutes(1))));
        assert!(queue.next(now).is_none(), "it rests");
        now = now.plus(Span::from_minutes(1));
    }
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

const SMALL: QueueLimits = QueueLimits { lanes: 40, events: 6, bytes: 1000, of_lane: 3 };

fn message(lane: OrderingKey, number: usize) -> Message {
    let id = EventId::end_of(Revision::new(number as u64 + 1)).before();
    Message { lane, id, body: Bytes::from(vec![b'x'; number % 50]) }
}

/// A queue, what happened, and what came of it.
struct Play {
    random: Random,
    log: Vec<OrderingKey>,
    queue: DeliveryQueue,
    read: usize,
    noted: DeliveryCheckpoint,
    out: Vec<Message>,
    now: Time,
    /// What was over, first of all, by lane.
    over: BTreeMap<OrderingKey, Vec<EventId>>,
}

impl Play {
    fn new(seed: u64, log: Vec<OrderingKey>) -> Self {
        let noted = DeliveryCheckpoint { after: EventId::START, lags: Vec::new() };
        Self {
            random: Random(seed),
            log,
            queue: DeliveryQueue::new(SMALL, noted.after, &noted.lags),
            read: 0,
            noted,
            out: Vec::new(),
            now: NOW,
            over: BTreeMap::new(),
        }
    }

    fn messages(&self, from: EventId) -> impl Iterator<Item = Message> {
        let all = self.log.iter().enumerate().map(|(number, lane)| message(*lane, number));
        all.filter(move |message| message.id > from)
    }

    /// Reads on, and begins whatever can be.
    fn go_on(&mut self) {
        while self.read < self.log.len() && self.queue.has_room() {
            let message = message(self.log[self.read], self.read);
            self.read += 1;
            self.queue.read(message.id);
            self.queue.take(message);
        }
        while let Some(turn) = self.queue.next(self.now) {
            match turn {
                Turn::Send(message) => self.out.push(message),
                Turn::Read { tx, after, most } => {
                    let lane = OrderingKey::Of(tx);
                    let to = self.queue.read_to();
                    let rest = self.messages(after).filter(|message| message.lane == lane);
                    let mut found: Vec<_> = rest.filter(|message| message.id <= to).collect();
                    let more = (found.len() > most).then(|| found[most - 1].id);
                    found.truncate(most);
                    self.queue.reread(lane, found, more);
                }
            }
        }
        assert!(self.out.len() <= super::queue::LANES_MAX);
    }

    fn end(&mut self, at: usize) {
        let message = self.out.swap_remove(at);
        self.queue.over(&message);
        let over = self.over.entry(message.lane).or_default();
        if !over.contains(&message.id) {
            over.push(message.id);
        }
    }

    fn fail(&mut self, at: usize) {
        let message = self.out.swap_remove(at);
        self.queue.failed(message.lane, self.now);
        let wait = Span::from_seconds(self.random.below(10) as u64);
        self.queue.again(message, self.now.plus(wait));
    }

    fn restart(&mut self) {
        self.out.clear();
        self.queue = DeliveryQueue::new(SMALL, self.noted.after, &self.noted.lags);
        let after = self.noted.after;
        self.read =
            (0..self.log.len()).take_while(|n| message(self.log[*n], *n).id <= after).count();
    }

    /// What every lane must come to.
    fn expected(&self) -> BTreeMap<OrderingKey, Vec<EventId>> {
        let mut expected: BTreeMap<OrderingKey, Vec<EventId>> = BTreeMap::new();
        for message in self.messages(EventId::START) {
            expected.entry(message.lane).or_default().push(message.id);
        }
        expected
    }
}

/// Whatever is taken and not taken, and whenever it begins anew where it was noted to stand: each
/// event is told, and those of a transaction in order.
#[test]
fn nothing_is_left_out_and_nothing_overtakes_its_own() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let lanes = 1 + random.below(12);
        let lane = |n: usize| OrderingKey::Of((n > 0).then(|| TxId::new(n as u128)));
        let log = (0..300).map(|_| lane(random.below(lanes))).collect();
        let mut play = Play::new(seed, log);
        let restarts = seed % 2 == 1;
        for step in 0.. {
            assert!(step < 100_000, "seed {seed}: it comes to no end: {:?}", play.queue);
            play.go_on();
            if play.over == play.expected() {
                break;
            }
            if play.random.below(10) == 0 || play.out.is_empty() {
                play.now = play.now.plus(Span::from_seconds(1));
                continue;
            }
            let at = play.random.below(play.out.len());
            match play.random.below(8) {
                0..4 => play.end(at),
                4..7 => play.fail(at),
                _ if restarts && play.random.below(8) == 0 => play.restart(),
                _ => play.noted = play.queue.stands(),
            }
        }
        // All of it is over, so nothing of it is told again.
        for _ in 0..1000 {
            play.now = play.now.plus(Span::from_seconds(1));
            play.go_on();
            (0..play.out.len()).for_each(|_| play.end(0));
        }
        let end = message(play.log[play.log.len() - 1], play.log.len() - 1).id;
        assert_eq!(
            play.queue.stands(),
            DeliveryCheckpoint { after: end, lags: Vec::new() },
            "seed {seed}"
        );
    }
}

/// What is never taken takes no room, however much is behind it, and what comes anew has places
/// beside what is tried again.
#[test]
fn what_is_not_taken_keeps_neither_room_nor_places() {
    let bad = |n: usize| OrderingKey::Of(Some(TxId::new(n as u128)));
    let log = (0..2000).map(|n| bad(if n % 2 == 0 { n % 20 } else { n })).collect();
    let mut play = Play::new(1, log);
    let is_bad = |message: &Message| matches!(message.lane, OrderingKey::Of(Some(tx)) if tx.bits() < 20 && tx.bits() % 2 == 0);
    let mut fresh = 0;
    while fresh < 1000 {
        play.go_on();
        // Those that are tried again hang.
        let failed = play
            .out
            .iter()
            .position(|message| is_bad(message) && play.queue.tried(message.lane) == 0);
        let good = play.out.iter().position(|message| !is_bad(message));
        match (failed, good) {
            (Some(at), _) => play.fail(at),
            (None, Some(at)) => {
                play.end(at);
                fresh += 1;
            }
            (None, None) => panic!("others are held up after {fresh}: {:?}", play.queue),
        }
        play.now = play.now.plus(Span::from_seconds(1));
    }
    let stands = play.queue.stands();
    assert_eq!(stands.lags.len(), 10);
    assert_eq!(stands.after, play.queue.read_to());
}

const BELL: &str = "abide: 1
workflow: notifier
first: begin
steps:
  begin: { next: { any: [ring, stop] } }
  ring: { by: [owner], do: [ { emit: { type: notifier.rang } } ], next: stay }
  stop: { by: [owner], next: { end: stopped } }
";

/// An application with one who rings bells, and a subscription to that.
struct House {
    app: Arc<App>,
    ringer: Actor,
    webhook: WebhookId,
}

impl House {
    async fn new(store: Arc<dyn Store>, url: String) -> Self {
        let settings = Settings {
            rules: Rules { registration_open: true, ..Rules::default() },
            dev: true,
            password_cost: Cost { memory_kib: 8, passes: 1, lanes: 1 },
            admin_password: Some(Password::new("correct horse battery".to_owned())),
            ..Settings::default()
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
        let ask = WebhookAsk { url, types: vec!["notifier.rang".to_owned()] };
        let made = app.call(Command::CreateWebhook(ask), Actor::System).await.unwrap();
        let Outcome::Webhook(webhook) = made else { panic!("one was made") };
        Self { app, ringer, webhook: webhook.id }
    }

    async fn notifier(&self) -> TxId {
        let (workflow, input) = ("notifier".parse().unwrap(), Map::new());
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

    fn tells(&self, terms: Terms) -> tokio::task::JoinHandle<()> {
        let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
        tokio::spawn(deliver_with(Arc::clone(&self.app), client, terms))
    }

    /// The subscription, as soon as it is so.
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

/// A receiver that refuses what is of some transactions: of which transaction each event is, which
/// one it is, and whether it was taken.
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
                        // It was cut on its way.
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

/// What the receiver does not take of one transaction holds up no other one, however much there is
/// of it; and where it goes on after a restart, nothing of the others is told again.
#[tokio::test]
async fn the_trouble_of_one_transaction_takes_no_room_of_others() {
    let mut receiver = Receiver::new().await;
    let house = House::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let terms = Terms { room: QueueLimits { bytes: 1 << 20, ..SMALL }, ..Terms::default() };
    let tells = house.tells(terms);
    let (bad, good) = (house.notifier().await, house.notifier().await);
    receiver.not_of.lock().unwrap().insert(bad);
    let count = 5 * SMALL.events;
    for _ in 0..count {
        house.ring(bad).await;
    }
    assert_eq!(receiver.next().await.0, bad);
    for _ in 0..count {
        house.ring(good).await;
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
    house
        .stands(|now| now.told == all && now.lags.len() == 1 && now.lags[0].transaction == lagging)
        .await;
    tells.abort();
    assert!(tells.await.is_err());
    receiver.not_of.lock().unwrap().clear();
    while receiver.told.try_recv().is_ok() {}
    let tells = house.tells(terms);
    let mut later = Vec::new();
    while later.len() < count {
        let (tx, id, is_taken) = receiver.next().await;
        assert_eq!(tx, bad, "the others' were taken");
        // What was on its way when it was cut comes once more.
        if is_taken && later.last() != Some(&id) {
            later.push(id);
        }
    }
    assert!(later.is_sorted_by(|one, next| one < next), "{later:?}");
    house.stands(|now| now.told == 2 * all && now.lags.is_empty() && now.dead.is_empty()).await;
    house.app.end_feed();
    tells.await.unwrap();
    house.app.close().await;
}

/// A panic in what tells a subscription ends nothing: it begins anew.
#[tokio::test]
async fn a_subscription_is_told_anew_after_a_panic() {
    let letters = &crate::records::Key::dead_letters_of(WebhookId::new(0))[..1];
    let store = Arc::new(Tripping::new(letters, 1));
    let mut receiver = Receiver::new().await;
    let house = House::new(store.clone(), receiver.url.clone()).await;
    let tells = house.tells(Terms { anew: Duration::ZERO, ..Terms::default() });
    let notifier = house.notifier().await;
    house.ring(notifier).await;
    assert_eq!((receiver.next().await.0, store.left()), (notifier, 0));
    house.app.end_feed();
    tells.await.unwrap();
    house.app.close().await;
}

/// All dead letters are told again at once, those for which there is no room together, too; a
/// subscription whose receiver was gone goes on.
#[tokio::test]
async fn all_that_was_given_up_is_told_again_and_what_stopped_goes_on() {
    let mut receiver = Receiver::new().await;
    let house = House::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let notifier = house.notifier().await;
    let note = async |dead, gone| {
        let (error, id) = (Some("no".to_owned()), house.webhook);
        let (lags, after) = (Vec::new(), None);
        let news = WebhookNews { id, after, lags, told: 0, error, dead, replayed: None, gone };
        let note = Command::NoteWebhook(Box::new(news));
        house.app.call(note, Actor::System).await.unwrap();
    };
    let body = |id: &str| json!({ "id": id, "transaction": notifier, "pad": "x".repeat(700) });
    for number in 1..=5 {
        let event = EventId::end_of(Revision::new(number)).to_string();
        let body = body(&event).to_string();
        note(Some(GivenUp { number, event, body }), false).await;
    }
    note(None, true).await;
    assert!(house.app.webhook(house.webhook).unwrap().stopped);
    let tells = house.tells(Terms { room: SMALL, ..Terms::default() });
    let ask = |what| Command::ReplayDeadLetter { id: house.webhook, what };
    house.app.call(ask(Replay::Nothing), Actor::System).await.unwrap();
    house.ring(notifier).await;
    receiver.next().await;
    house.stands(|now| !now.stopped && now.told == 1 && now.dead.len() == 5).await;
    house.app.call(ask(Replay::Letters), Actor::System).await.unwrap();
    house.stands(|now| now.dead.is_empty() && now.told == 6).await;
    house.app.end_feed();
    tells.await.unwrap();
    house.app.close().await;
}

/// Another subscription is made and given another key while an attempt is on its way and something
/// rests: nothing is sent twice, and how often it was tried is as it was.
#[tokio::test]
async fn changes_of_one_subscription_leave_others_alone() {
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hangs.local_addr().unwrap());
    let house = House::new(Arc::new(Memory::new()), url).await;
    let tells = house.tells(Terms::default());
    let notifier = house.notifier().await;
    house.ring(notifier).await;
    let (_open, _) = timeout(PATIENCE, hangs.accept()).await.unwrap().unwrap();
    let mut receiver = Receiver::new().await;
    let ask = WebhookAsk { url: receiver.url.clone(), types: vec!["notifier.rang".to_owned()] };
    for _ in 0..3 {
        let made = house.app.call(Command::CreateWebhook(ask.clone()), Actor::System).await;
        let Outcome::Webhook(made) = made.unwrap() else { panic!("one was made") };
        house.app.call(Command::RotateWebhook { id: made.id }, Actor::System).await.unwrap();
        house.ring(notifier).await;
        // It knows of the change.
        receiver.next().await;
    }
    let again = timeout(Duration::from_millis(200), hangs.accept()).await;
    assert!(again.is_err(), "it is sent twice");
    house.app.end_feed();
    tells.await.unwrap();
    house.app.close().await;
}

/// How often an event was tried is noted, and goes on after changes of others and a restart.
#[tokio::test]
async fn attempts_are_noted_and_no_change_of_others_resets_them() {
    let mut receiver = Receiver::new().await;
    let house = House::new(Arc::new(Memory::new()), receiver.url.clone()).await;
    let tells = house.tells(Terms::default());
    let notifier = house.notifier().await;
    receiver.not_of.lock().unwrap().insert(notifier);
    house.ring(notifier).await;
    for _ in 0..3 {
        assert!(!receiver.next().await.2);
    }
    house.stands(|now| now.lags.first().is_some_and(|lag| lag.tried >= 3)).await;
    let ask = WebhookAsk { url: receiver.url.clone(), types: vec!["nothing".to_owned()] };
    house.app.call(Command::CreateWebhook(ask), Actor::System).await.unwrap();
    tells.abort();
    assert!(tells.await.is_err());
    let tells = house.tells(Terms::default());
    house.stands(|now| now.lags.first().is_some_and(|lag| lag.tried >= 4)).await;
    house.app.end_feed();
    tells.await.unwrap();
    house.app.close().await;
}
