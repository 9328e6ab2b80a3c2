//! The one reader of the log's end, and who is told of what it reads.
//!
//! The tail waits for the next durable commit, reads it once, and puts it into the inboxes of
//! those whom it may concern: by user, session, key and transaction, and by what all with the same
//! roles may see. So a commit wakes nobody whom it does not concern, however many there are. What
//! exactly somebody may see is decided where it is read; a seat whose roles may have changed is
//! told everything until it is seated anew.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::log_cache::LogCache;
use super::told::{Scope, Told, audits, sees_every};
use crate::engine::{Actor, OwnerId};
use crate::records::entry::About;
use crate::records::{Definitions, ReadError};
use crate::store::{Store, StoreError};
use crate::types::{KeyId, Revision, Role, SessionId, Time, TxId, UserId};

/// Maximum number of commits that wait in an inbox, 8 bytes each; a slower reader reads the log,
/// page by page.
const INBOX_MAX: usize = 256;

/// Maximum number of streams, sockets and waits in all: as many as there are connections.
const SEATS_MAX: usize = 8192;

/// Maximum number of one actor: above what pages, workers and a load generator have open, and a
/// small part of all, so that nobody keeps the others from following.
const SEATS_OF_ACTOR_MAX: usize = 1024;

/// Number of seats in all, and of one actor, with which no more waits are taken: streams and
/// sockets have room beside them.
const SEATS_FOR_WAITS_MAX: usize = SEATS_MAX / 4 * 3;
const SEATS_OF_ACTOR_FOR_WAITS_MAX: usize = SEATS_OF_ACTOR_MAX / 2;

/// There are too many streams, sockets and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    /// Of the actor; so many may be.
    Actor(usize),
    /// In all.
    All,
}

/// What a seat is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seating {
    /// A stream or a socket.
    Stream,
    /// An answer that waits for a change.
    Wait,
    /// In place of another seat of the same connection, which is given up.
    Instead,
}

/// Most commits that are read at once.
const READ_MAX: usize = 256;

/// What waits for one seat.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The commits, which lie in the log's cache.
    pub(super) commits: VecDeque<Revision>,
    /// Something did not fit: the log has to be read.
    pub(super) missed: bool,
    /// The feed has ended.
    pub(super) closed: bool,
}

impl Waiting {
    /// A commit was looked at.
    pub(super) fn done(&mut self, commit: Revision) {
        if self.commits.front() == Some(&commit) {
            self.commits.pop_front();
        }
    }
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, commit: Revision) {
        let mut waiting = self.lock();
        if waiting.missed {
            return;
        }
        if waiting.commits.len() == INBOX_MAX {
            waiting.missed = true;
            waiting.commits = VecDeque::new();
        } else {
            waiting.commits.push_back(commit);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn miss(&self) {
        let mut waiting = self.lock();
        waiting.missed = true;
        waiting.commits = VecDeque::new();
        drop(waiting);
        self.filled.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Until something is there.
    pub(super) async fn filled(&self) {
        loop {
            {
                let waiting = self.lock();
                if !waiting.commits.is_empty() || waiting.missed || waiting.closed {
                    return;
                }
            }
            self.filled.notified().await;
        }
    }
}

/// By what a seat is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Topic {
    User(UserId),
    Name(String),
    Session(SessionId),
    Key(KeyId),
    Tx(TxId),
}

/// What all have in common who may see the same, but for what is their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    kind: u8,
    roles: Vec<Role>,
}

impl Kind {
    fn of(actor: &Actor) -> Self {
        let kind = match actor {
            Actor::Nobody => 0,
            Actor::System => 1,
            Actor::Key(_) => 2,
            Actor::Session(session) if session.user.is_some() => 3,
            Actor::Session(_) => 4,
            Actor::Hook(_) | Actor::Workflow(..) => 5,
        };
        let mut roles = actor.roles().to_vec();
        roles.sort_unstable();
        Self { kind, roles }
    }
}

struct Seat {
    inbox: Arc<Inbox>,
    topics: Vec<Topic>,
    kind: Option<Kind>,
    since: Time,
}

#[derive(Default)]
struct Seats {
    /// What was told.
    at: Revision,
    next: u64,
    taken: HashMap<u64, Seat>,
    topics: HashMap<Topic, BTreeSet<u64>>,
    /// One of each kind, and all of them.
    kinds: HashMap<Kind, (Actor, BTreeSet<u64>)>,
    /// Those who are told everything.
    unsure: BTreeSet<u64>,
    closed: bool,
}

/// The feed of what is durable.
pub(in crate::app) struct Feed {
    store: Arc<dyn Store>,
    definitions: Arc<Definitions>,
    /// What was read of the log lately.
    pub(super) log: LogCache,
    seats: Mutex<Seats>,
    seated: Notify,
    emptied: Notify,
}

impl Feed {
    /// A feed whose commits in memory take at most so many bytes.
    pub(in crate::app) fn new(
        store: Arc<dyn Store>,
        definitions: Arc<Definitions>,
        bytes_max: usize,
    ) -> Self {
        Self {
            store,
            definitions,
            log: LogCache::new(bytes_max),
            seats: Mutex::default(),
            seated: Notify::new(),
            emptied: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat: everything after the revision that is answered comes into the inbox, if it
    /// concerns the actor.
    ///
    /// # Errors
    /// [`NoSeat`]; the server itself always gets one.
    pub(super) fn sit(
        &self,
        actor: &Actor,
        scope: Scope,
        now: Time,
        seating: Seating,
    ) -> Result<(u64, Arc<Inbox>, Revision), NoSeat> {
        let inbox = Arc::new(Inbox::default());
        let mut seats = self.lock();
        if *actor != Actor::System {
            seats.require_have_room(actor, seating)?;
        }
        if seats.taken.is_empty() {
            // Nobody was told anything meanwhile.
            seats.at = self.store.durable();
        }
        let number = seats.next;
        seats.next += 1;
        inbox.lock().closed = seats.closed;
        let seat = Seat { inbox: Arc::clone(&inbox), topics: Vec::new(), kind: None, since: now };
        seats.taken.insert(number, seat);
        seats.place(number, actor, scope);
        let at = seats.at;
        drop(seats);
        self.seated.notify_one();
        Ok((number, inbox, at))
    }

    /// The same seat for an actor whose roles may be others now; empties the inbox.
    pub(super) fn sit_anew(&self, number: u64, actor: &Actor, scope: Scope) -> Revision {
        let mut seats = self.lock();
        seats.displace(number);
        seats.place(number, actor, scope);
        if let Some(seat) = seats.taken.get(&number) {
            let mut waiting = seat.inbox.lock();
            waiting.commits = VecDeque::new();
            waiting.missed = false;
        }
        seats.at
    }

    /// Up to where a seat was told everything, if nothing waits in its inbox.
    pub(super) fn told_to(&self, inbox: &Inbox) -> Option<Revision> {
        let seats = self.lock();
        let waiting = inbox.lock();
        (waiting.commits.is_empty() && !waiting.missed).then_some(seats.at)
    }

    pub(super) fn leave(&self, number: u64) {
        let mut seats = self.lock();
        seats.displace(number);
        seats.taken.remove(&number);
        if seats.taken.is_empty() {
            drop(seats);
            self.emptied.notify_waiters();
        }
    }

    /// How many seats a session has, and since when it has one.
    pub(super) fn of_session(&self, session: SessionId) -> (usize, Option<Time>) {
        let seats = self.lock();
        let numbers = seats.topics.get(&Topic::Session(session)).into_iter().flatten();
        let since = numbers.filter_map(|number| seats.taken.get(number)).map(|seat| seat.since);
        (since.clone().count(), since.min())
    }

    /// Ends all that is told.
    pub(in crate::app) fn close(&self) {
        let mut seats = self.lock();
        seats.closed = true;
        for seat in seats.taken.values() {
            seat.inbox.close();
        }
    }

    /// Until nobody has a seat any more.
    pub(in crate::app) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().taken.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Tells what becomes durable, as long as somebody listens.
    pub(in crate::app) async fn run(self: Arc<Self>) {
        loop {
            let at = {
                let seats = self.lock();
                (!seats.taken.is_empty()).then_some(seats.at)
            };
            let Some(at) = at else {
                self.seated.notified().await;
                continue;
            };
            let told = match self.store.durable_at(at.next()).await {
                Ok(_) => self.read(at),
                Err(error) => Err(error.into()),
            };
            match told {
                Ok(told) => self.tell(at, &told),
                // Fell behind by the whole log: everybody reads for themselves and finds out.
                Err(ReadError::Store(StoreError::Gone { .. })) => self.skip(),
                Err(error) => {
                    tracing::warn!(%error, "the log cannot be read: what is live ends");
                    return self.close();
                }
            }
        }
    }

    fn read(&self, at: Revision) -> Result<Vec<Arc<Told>>, ReadError> {
        let entries = self.store.read_log(at, READ_MAX)?;
        let told = |entry| Told::read(&*self.store, &self.definitions, entry).map(Arc::new);
        let told: Vec<_> = entries.iter().map(told).collect::<Result<_, _>>()?;
        self.log.put(&told);
        Ok(told)
    }

    fn tell(&self, at: Revision, told: &[Arc<Told>]) {
        let mut seats = self.lock();
        // All had left and others came: they were seated elsewhere.
        if seats.at != at {
            return;
        }
        for told in told {
            seats.at = told.revision;
            seats.tell(told);
        }
    }

    fn skip(&self) {
        let mut seats = self.lock();
        seats.at = self.store.durable();
        for seat in seats.taken.values() {
            seat.inbox.miss();
        }
    }
}

impl Seats {
    /// How many seats an actor has: of a user all sessions together.
    fn of_actor(&self, actor: &Actor) -> usize {
        let topic = match actor.owner_id() {
            Some(OwnerId::User(id)) => Topic::User(id),
            Some(OwnerId::Session(id)) => Topic::Session(id),
            Some(OwnerId::Key(id)) => Topic::Key(id),
            None => return 0,
        };
        self.topics.get(&topic).map_or(0, BTreeSet::len)
    }

    fn require_have_room(&self, actor: &Actor, seating: Seating) -> Result<(), NoSeat> {
        let (own_max, all_max) = match seating {
            Seating::Stream => (SEATS_OF_ACTOR_MAX, SEATS_MAX),
            Seating::Wait => (SEATS_OF_ACTOR_FOR_WAITS_MAX, SEATS_FOR_WAITS_MAX),
            // The one before is there still.
            Seating::Instead => (SEATS_OF_ACTOR_MAX + 1, 2 * SEATS_MAX),
        };
        if self.of_actor(actor) >= own_max {
            return Err(NoSeat::Actor(own_max));
        }
        if self.taken.len() >= all_max {
            return Err(NoSeat::All);
        }
        Ok(())
    }

    fn place(&mut self, number: u64, actor: &Actor, scope: Scope) {
        let mut topics = Vec::new();
        match actor {
            Actor::Session(session) => {
                topics.push(Topic::Session(session.session));
                if let Some(user) = &session.user {
                    topics.push(Topic::User(user.id));
                    if scope == Scope::All {
                        topics.push(Topic::Name(user.username.to_string()));
                    }
                }
            }
            Actor::Key(key) => topics.push(Topic::Key(key.key.id)),
            Actor::Nobody | Actor::System | Actor::Hook(_) | Actor::Workflow(..) => {}
        }
        if let Scope::Transaction(tx) = scope {
            topics.push(Topic::Tx(tx));
        }
        let kind = (scope == Scope::All).then(|| Kind::of(actor));
        if let Some(kind) = &kind {
            let of_kind = self.kinds.entry(kind.clone());
            of_kind.or_insert_with(|| (actor.clone(), BTreeSet::new())).1.insert(number);
        }
        for topic in &topics {
            self.topics.entry(topic.clone()).or_default().insert(number);
        }
        if let Some(seat) = self.taken.get_mut(&number) {
            (seat.topics, seat.kind) = (topics, kind);
        }
    }

    fn displace(&mut self, number: u64) {
        self.unsure.remove(&number);
        let Some(seat) = self.taken.get_mut(&number) else { return };
        for topic in std::mem::take(&mut seat.topics) {
            if let Some(seated) = self.topics.get_mut(&topic) {
                seated.remove(&number);
                if seated.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
        if let Some(kind) = seat.kind.take()
            && let Some((_, seated)) = self.kinds.get_mut(&kind)
        {
            seated.remove(&number);
            if seated.is_empty() {
                self.kinds.remove(&kind);
            }
        }
    }

    fn tell(&mut self, told: &Arc<Told>) {
        let mut numbers = self.unsure.clone();
        let mut by = |topic: Topic| {
            numbers.extend(self.topics.get(&topic).into_iter().flatten());
        };
        for tx in &told.txs {
            by(Topic::Tx(tx.id));
            by(match tx.owner {
                OwnerId::User(id) => Topic::User(id),
                OwnerId::Session(id) => Topic::Session(id),
                OwnerId::Key(id) => Topic::Key(id),
            });
            for name in &tx.asked {
                by(Topic::Name(name.clone()));
            }
        }
        let mut changed = Vec::new();
        let mut of_ledger = false;
        for event in &told.events {
            match &event.about {
                About::Server | About::Tx(_) => {}
                About::Session(session, user) => {
                    by(Topic::Session(*session));
                    user.map(|user| by(Topic::User(user))).unwrap_or_default();
                }
                About::User(user) => {
                    by(Topic::User(*user));
                    changed.push(*user);
                }
                About::Key(key) => by(Topic::Key(*key)),
                About::Accounts(accounts, _) => {
                    of_ledger = true;
                    for owner in accounts.iter().filter_map(|account| account.owner) {
                        by(Topic::User(owner));
                    }
                }
            }
        }
        if !told.events.is_empty() {
            for (actor, seated) in self.kinds.values() {
                let ledger = of_ledger && matches!(actor, Actor::Key(_));
                if ledger || audits(actor) || told.txs.iter().any(|tx| sees_every(actor, tx)) {
                    numbers.extend(seated);
                }
            }
        }
        for number in &numbers {
            if let Some(seat) = self.taken.get(number) {
                seat.inbox.put(told.revision);
            }
        }
        for user in changed {
            let seated = self.topics.get(&Topic::User(user)).into_iter().flatten().copied();
            self.unsure.extend(
                seated.filter(|number| {
                    self.taken.get(number).is_some_and(|seat| seat.kind.is_some())
                }),
            );
        }
    }
}
