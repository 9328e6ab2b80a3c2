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

use super::told::{Scope, Told, audits, sees_every};
use crate::engine::{Actor, OwnerId};
use crate::records::entry::About;
use crate::records::{Definitions, ReadError};
use crate::store::{Store, StoreError};
use crate::types::{KeyId, Revision, Role, SessionId, Time, TxId, UserId};

/// Most commits that wait in an inbox; whoever is slower reads the log itself, page by page.
const INBOX_MAX: usize = 256;

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
    pub(super) told: VecDeque<Arc<Told>>,
    /// Something did not fit: the log has to be read.
    pub(super) missed: bool,
    /// The feed has ended.
    pub(super) closed: bool,
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, told: &Arc<Told>) {
        let mut waiting = self.lock();
        if waiting.missed {
            return;
        }
        if waiting.told.len() == INBOX_MAX {
            waiting.missed = true;
            waiting.told = VecDeque::new();
        } else {
            waiting.told.push_back(Arc::clone(told));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn miss(&self) {
        let mut waiting = self.lock();
        waiting.missed = true;
        waiting.told = VecDeque::new();
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
                if !waiting.told.is_empty() || waiting.missed || waiting.closed {
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
    seats: Mutex<Seats>,
    seated: Notify,
    emptied: Notify,
}

impl Feed {
    pub(in crate::app) fn new(store: Arc<dyn Store>, definitions: Arc<Definitions>) -> Self {
        Self {
            store,
            definitions,
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
    pub(super) fn sit(
        &self,
        actor: &Actor,
        scope: Scope,
        now: Time,
    ) -> (u64, Arc<Inbox>, Revision) {
        let inbox = Arc::new(Inbox::default());
        let mut seats = self.lock();
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
        (number, inbox, at)
    }

    /// The same seat for an actor whose roles may be others now; empties the inbox.
    pub(super) fn sit_anew(&self, number: u64, actor: &Actor, scope: Scope) -> Revision {
        let mut seats = self.lock();
        seats.displace(number);
        seats.place(number, actor, scope);
        if let Some(seat) = seats.taken.get(&number) {
            let mut waiting = seat.inbox.lock();
            waiting.told = VecDeque::new();
            waiting.missed = false;
        }
        seats.at
    }

    /// Up to where a seat was told everything, if nothing waits in its inbox.
    pub(super) fn told_to(&self, inbox: &Inbox) -> Option<Revision> {
        let seats = self.lock();
        let waiting = inbox.lock();
        (waiting.told.is_empty() && !waiting.missed).then_some(seats.at)
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

    /// How many seats an actor has: of a user all sessions together.
    pub(super) fn of_actor(&self, actor: &Actor) -> usize {
        let topic = match actor {
            Actor::Session(session) => match &session.user {
                Some(user) => Topic::User(user.id),
                None => Topic::Session(session.session),
            },
            Actor::Key(key) => Topic::Key(key.key.id),
            Actor::Nobody | Actor::System | Actor::Hook(_) | Actor::Workflow(..) => return 0,
        };
        self.lock().topics.get(&topic).map_or(0, BTreeSet::len)
    }

    /// How many have a seat.
    pub(super) fn seated(&self) -> usize {
        self.lock().taken.len()
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
        entries.iter().map(told).collect()
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
                seat.inbox.put(told);
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
