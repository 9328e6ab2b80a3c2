//! A store without space, without time, or without a disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::DataChange;
use crate::store::{ChainEntry, Page, Receipt, StoreError, Urgency, Versioned};

/// A store that fails as the test sets it.
struct Faulty {
    inner: Memory,
    fault: AtomicU8,
    /// True if the executor's own thread made the last commit.
    by_its_own: AtomicBool,
}

const SOUND: u8 = 0;
/// Only reserved commits find space.
const SHORT: u8 = 1;
/// No commit finds space.
const FULL: u8 = 2;
const BUSY: u8 = 3;
const FAILED: u8 = 4;
const UNREADABLE: u8 = 5;
/// Commits take longer than a caller should be held.
const SLOW: u8 = 6;
const SLOW_TIME: Duration = Duration::from_millis(10);
/// Commits may have to wait.
const TIGHT: u8 = 7;

impl Faulty {
    fn set(&self, fault: u8) {
        self.fault.store(fault, Ordering::Release);
    }

    fn readable(&self) -> Result<(), StoreError> {
        match self.fault.load(Ordering::Acquire) {
            UNREADABLE => Err(StoreError::Failed("the index cannot be read".into())),
            _ => Ok(()),
        }
    }
}

impl Store for Faulty {
    fn get(&self, view: View, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.readable()?;
        self.inner.get(view, key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<(Revision, Vec<Option<Versioned>>), StoreError> {
        self.readable()?;
        self.inner.get_many(keys)
    }

    fn scan(
        &self,
        view: View,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.readable()?;
        self.inner.scan(view, range, order, limit)
    }

    fn admits_at_once(&self) -> bool {
        self.fault.load(Ordering::Acquire) != TIGHT
    }

    fn commit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        let by_its_own = thread::current().name() == Some("executor");
        self.by_its_own.store(by_its_own, Ordering::Release);
        let since = Instant::now();
        while self.fault.load(Ordering::Acquire) == SLOW && since.elapsed() < SLOW_TIME {
            std::hint::spin_loop();
        }
        match (self.fault.load(Ordering::Acquire), batch.urgency) {
            (SHORT, Urgency::Ordinary) | (FULL, _) => Err(StoreError::NoSpace),
            (BUSY, _) => Err(StoreError::Busy),
            (FAILED, _) => Err(StoreError::Failed("fdatasync: EIO".into())),
            _ => self.inner.commit(batch),
        }
    }

    fn durable_at(&self, revision: Revision) -> Receipt {
        self.inner.durable_at(revision)
    }

    fn durable(&self) -> Revision {
        self.inner.durable()
    }

    fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.inner.read_log(after, limit)
    }

    fn read_chain(&self, after: Revision, limit: usize) -> Result<Vec<ChainEntry>, StoreError> {
        self.inner.read_chain(after, limit)
    }
}

struct FaultyApp {
    app: Arc<App>,
    store: Arc<Faulty>,
    stopped: StopSignal,
}

async fn shed() -> FaultyApp {
    let store = Arc::new(Faulty {
        inner: Memory::new(),
        fault: AtomicU8::new(SOUND),
        by_its_own: AtomicBool::new(false),
    });
    let opened = opened(store.clone(), rules(), None).await;
    FaultyApp { app: opened.app, store, stopped: opened.stopped }
}

impl FaultyApp {
    async fn open(&self) -> LoggedIn {
        let open = Command::OpenAnonymous { profile: None };
        LoggedIn::of(self.app.call(open, Actor::Nobody).await.unwrap())
    }

    async fn actor(&self, seat: &LoggedIn) -> Actor {
        self.app.authenticate(Some(&seat.token)).await.unwrap().actor
    }
}

fn write() -> Command {
    let change = DataChange::Merge(serde_json::json!({ "a": 1 }));
    Command::ChangeSessionData { change, if_match: None }
}

#[tokio::test]
async fn with_little_room_writes_are_refused_and_logout_activity_and_timers_go_on() {
    let shed = shed().await;
    let (first, second, third) = (shed.open().await, shed.open().await, shed.open().await);
    let actor = shed.actor(&first).await;
    shed.store.set(SHORT);
    assert_eq!(shed.app.call(write(), actor.clone()).await.unwrap_err(), Refusal::NoRoom);
    let login = |with: &str| Command::Login {
        username: name("admin"),
        password: password(with),
        profile: None,
    };
    // Right or wrong: a guess that cannot be counted is not answered.
    for with in [PASSWORD, "a wrong password"] {
        let refused = shed.app.call(login(with), Actor::Nobody).await.unwrap_err();
        assert_eq!(refused, Refusal::NoRoom);
    }
    // Activity that cannot be written is left out; the session lives.
    shed.app.advance_clock(&Actor::System, Span::from_minutes(5)).await.unwrap();
    assert!(shed.app.authenticate(Some(&second.token)).await.is_ok());
    shed.app.call(Command::Logout, actor).await.unwrap();
    assert!(shed.app.inspect(&first.token).is_err());
    let actor = shed.actor(&third).await;
    shed.app.advance_clock(&Actor::System, Span::from_minutes(26)).await.unwrap();
    assert_eq!(shed.app.call(Command::Touch, actor).await.unwrap_err(), Refusal::Unauthenticated);
    let row = Key::Session(third.session.id).encode();
    assert!(shed.store.get(View::Committed, &row).unwrap().is_none());
    shed.store.set(SOUND);
    let fourth = shed.open().await;
    let actor = shed.actor(&fourth).await;
    shed.app.call(write(), actor).await.unwrap();
}

#[tokio::test]
async fn without_any_room_nothing_that_ended_comes_back_to_life() {
    let shed = shed().await;
    let seat = shed.open().await;
    let actor = shed.actor(&seat).await;
    shed.store.set(FULL);
    assert_eq!(shed.app.call(Command::Logout, actor.clone()).await.unwrap_err(), Refusal::NoRoom);
    shed.app.advance_clock(&Actor::System, Span::from_hours(1)).await.unwrap();
    assert!(shed.app.inspect(&seat.token).is_err());
    assert_eq!(shed.app.call(write(), actor).await.unwrap_err(), Refusal::Unauthenticated);
    shed.store.set(SOUND);
    shed.app.advance_clock(&Actor::System, Span::from_seconds(2)).await.unwrap();
    let row = Key::Session(seat.session.id).encode();
    assert!(shed.store.get(View::Committed, &row).unwrap().is_none());
}

#[tokio::test]
async fn a_store_that_lags_makes_callers_come_back() {
    let shed = shed().await;
    let seat = shed.open().await;
    let actor = shed.actor(&seat).await;
    shed.store.set(BUSY);
    let refused = shed.app.call(write(), actor.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "busy");
    assert!(refused.retry_after().is_some());
    shed.store.set(SOUND);
    shed.app.call(write(), actor).await.unwrap();
}

#[tokio::test]
async fn a_store_that_failed_ends_the_process_and_acknowledges_nothing() {
    let shed = shed().await;
    let seat = shed.open().await;
    let actor = shed.actor(&seat).await;
    shed.store.set(FAILED);
    assert_eq!(shed.app.call(write(), actor.clone()).await.unwrap_err(), Refusal::Stopping);
    assert!(shed.stopped.await.contains("EIO"));
    shed.store.set(SOUND);
    assert_eq!(shed.app.call(write(), actor).await.unwrap_err(), Refusal::Stopping);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_ends_the_process() {
    let shed = shed().await;
    let seat = shed.open().await;
    shed.store.set(UNREADABLE);
    assert_eq!(shed.app.inspect(&seat.token), Err(Refusal::Stopping));
    assert!(shed.stopped.await.contains("cannot be read"));
}

impl FaultyApp {
    /// A session, and an executor's thread that has finished the work of the start.
    async fn at_rest() -> (Self, Actor) {
        let faulty = shed().await;
        let login = faulty.open().await;
        let actor = faulty.actor(&login).await;
        faulty.until_a_caller_commits(&actor).await;
        (faulty, actor)
    }

    /// Makes a commit. Returns whether the executor's own thread made it.
    async fn is_done_by_its_own(&self, actor: &Actor) -> bool {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let change = DataChange::Merge(serde_json::json!({ "a": number }));
        let write = Command::ChangeSessionData { change, if_match: None };
        self.app.call(write, actor.clone()).await.unwrap();
        self.store.by_its_own.load(Ordering::Acquire)
    }

    /// Makes commits until the caller's thread makes one. Returns the time before that one. Each
    /// begins when no thread has the executor: a caller that found it taken would leave its command
    /// to the thread that has it, again and again on a machine where both are always as slow.
    async fn until_a_caller_commits(&self, actor: &Actor) -> Instant {
        loop {
            while !self.app.queue.is_free() {
                tokio::task::yield_now().await;
            }
            let since = Instant::now();
            if !self.is_done_by_its_own(actor).await {
                return since;
            }
        }
    }
}

#[tokio::test]
async fn caller_does_quick_commands_itself_and_none_that_may_wait() {
    let (faulty, actor) = FaultyApp::at_rest().await;
    faulty.store.set(TIGHT);
    assert!(faulty.is_done_by_its_own(&actor).await);
    faulty.store.set(SOUND);
    faulty.until_a_caller_commits(&actor).await;
}

#[tokio::test]
async fn callers_are_spared_for_a_while_where_one_was_kept_too_long() {
    let (faulty, actor) = FaultyApp::at_rest().await;
    faulty.store.set(SLOW);
    let slow = faulty.until_a_caller_commits(&actor).await;
    faulty.store.set(SOUND);
    faulty.until_a_caller_commits(&actor).await;
    assert!(slow.elapsed() > SLOW_TIME * 50, "{:?}", slow.elapsed());
}
