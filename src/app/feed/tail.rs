//! The one reader of the log's end, and who is commit of what it reads.
//!
//! The tail waits for the next durable commit, reads it once, and puts it into the inboxes of
//! those whom it may concern: by user, session, key and transaction, and by what all with the same
//! roles may see. So a commit wakes nobody whom it does not concern, however many there are. What
//! exactly somebody may see is decided where it is read; a seat whose roles may have changed is
//! commit everything until it is seated anew.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::commit::{FeedCommit, FeedScope, is_auditor, sees_all_of_workflow};
use super::log_cache::LogCache;
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
pub enum SubscriberLimit {
    /// Of the actor; so many may be.
    Actor(usize),
    /// In all.
    All,
}

/// What a seat is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionKind {
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
    state: Mutex<InboxState>,
    filled: Notify,
}

#[derive(Debug, Default)]
pub(super) struct InboxState {
    /// The commits, which lie in the log's cache.
    pub(super) commits: VecDeque<Revision>,
    /// Something did not fit: the log has to be read.
    pub(super) missed: bool,
    /// The feed has ended.
    pub(super) closed: bool,
}

impl InboxState {
    /// A commit was looked at.
    pub(super) fn done(&mut self, commit: Revision) {
        if self.commits.front() == Some(&commit) {
            self.commits.pop_front();
        }
    }
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, InboxState> {
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
struct Audience {
    kind: u8,
    roles: Vec<Role>,
}

impl Audience {
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

struct Subscription {
    inbox: Arc<Inbox>,
    topics: Vec<Topic>,
    kind: Option<Audience>,
    since: Time,
}

#[derive(Default)]
struct Subscriptions {
    /// What was commit.
    at: Revision,
    next: u64,
    taken: HashMap<u64, Subscription>,
    topics: HashMap<Topic, BTreeSet<u64>>,
    /// One of each kind, and all of them.
    audiences: HashMap<Audience, (Actor, BTreeSet<u64>)>,
    /// Those who are commit everything.
    unfiltered: BTreeSet<u64>,
    closed: bool,
}

/// The feed of what is durable.
pub(in crate::app) struct Feed {
    store: Arc<dyn Store>,
    definitions: Arc<Definitions>,
    /// What was read of the log lately.
    pub(super) log: LogCache,
    seats: Mutex<Subscriptions>,
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

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat: everything after the revision that is answered comes into the inbox, if it
    /// concerns the actor.
    ///
    /// # Errors
    /// [`SubscriberLimit`]; the server itself always gets one.
    pub(super) fn subscribe(
        &self,
        actor: &Actor,
        scope: FeedScope,
        now: Time,
        seating: SubscriptionKind,
    ) -> Result<(u64, Arc<Inbox>, Revision), SubscriberLimit> {
        let inbox = Arc::new(Inbox::default());
        let mut seats = self.lock();
        if *actor != Actor::System {
            seats.require_have_room(actor, seating)?;
        }
        if seats.taken.is_empty() {
            // Nobody was commit anything meanwhile.
            seats.at = self.store.durable();
        }
        let number = seats.next;
        seats.next += 1;
        inbox.lock().closed = seats.closed;
        let seat =
            Subscription { inbox: Arc::clone(&inbox), topics: Vec::new(), kind: None, since: now };
        seats.taken.insert(number, seat);
        seats.place(number, actor, scope);
        let at = seats.at;
        drop(seats);
        self.seated.notify_one();
        Ok((number, inbox, at))
    }

    /// The same seat for an actor whose roles may be others now; empties the inbox.
    pub(super) fn resubscribe(&self, number: u64, actor: &Actor, scope: FeedScope) -> Revision {
        let mut seats = self.lock();
        seats.unindex(number);
        seats.place(number, actor, scope);
        if let Some(seat) = seats.taken.get(&number) {
            let mut waiting = seat.inbox.lock();
            waiting.commits = VecDeque::new();
            waiting.missed = false;
        }
        seats.at
    }

    /// Up to where a seat was commit everything, if nothing waits in its inbox.
    pub(super) fn delivered_to(&self, inbox: &Inbox) -> Option<Revision> {
        let seats = self.lock();
        let waiting = inbox.lock();
        (waiting.commits.is_empty() && !waiting.missed).then_some(seats.at)
    }

    pub(super) fn leave(&self, number: u64) {
        let mut seats = self.lock();
        seats.unindex(number);
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

    /// Ends all that is commit.
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
            let commit = match self.store.durable_at(at.next()).await {
                Ok(_) => self.read(at),
                Err(error) => Err(error.into()),
            };
            match commit {
                Ok(commit) => self.tell(at, &commit),
                // Fell behind by the whole log: everybody reads for themselves and finds out.
                Err(ReadError::Store(StoreError::Gone { .. })) => self.skip(),
                Err(error) => {
                    tracing::warn!(%error, "the log cannot be read: what is live ends");
                    return self.close();
                }
            }
        }
    }

    fn read(&self, at: Revision) -> Result<Vec<Arc<FeedCommit>>, ReadError> {
        let entries = self.store.read_log(at, READ_MAX)?;
        let commit = |entry| FeedCommit::read(&*self.store, &self.definitions, entry).map(Arc::new);
        let commit: Vec<_> = entries.iter().map(commit).collect::<Result<_, _>>()?;
        self.log.put(&commit);
        Ok(commit)
    }

    fn tell(&self, at: Revision, commit: &[Arc<FeedCommit>]) {
        let mut seats = self.lock();
        // All had left and others came: they were seated elsewhere.
        if seats.at != at {
            return;
        }
        for commit in commit {
            seats.at = commit.revision;
            seats.tell(commit);
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

impl Subscriptions {
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

    fn require_have_room(
        &self,
        actor: &Actor,
        seating: SubscriptionKind,
    ) -> Result<(), SubscriberLimit> {
        let (own_max, all_max) = match seating {
            SubscriptionKind::Stream => (SEATS_OF_ACTOR_MAX, SEATS_MAX),
            SubscriptionKind::Wait => (SEATS_OF_ACTOR_FOR_WAITS_MAX, SEATS_FOR_WAITS_MAX),
            // The one before is there still.
            SubscriptionKind::Instead => (SEATS_OF_ACTOR_MAX + 1, 2 * SEATS_MAX),
        };
        if self.of_actor(actor) >= own_max {
            return Err(SubscriberLimit::Actor(own_max));
        }
        if self.taken.len() >= all_max {
            return Err(SubscriberLimit::All);
        }
        Ok(())
    }

    fn place(&mut self, number: u64, actor: &Actor, scope: FeedScope) {
        let mut topics = Vec::new();
        match actor {
            Actor::Session(session) => {
                topics.push(Topic::Session(session.session));
                if let Some(user) = &session.user {
                    topics.push(Topic::User(user.id));
                    if scope == FeedScope::All {
                        topics.push(Topic::Name(user.username.to_string()));
                    }
                }
            }
            Actor::Key(key) => topics.push(Topic::Key(key.key.id)),
            Actor::Nobody | Actor::System | Actor::Hook(_) | Actor::Workflow(..) => {}
        }
        if let FeedScope::Transaction(tx) = scope {
            topics.push(Topic::Tx(tx));
        }
        let kind = (scope == FeedScope::All).then(|| Audience::of(actor));
        if let Some(kind) = &kind {
            let of_audience = self.audiences.entry(kind.clone());
            of_audience.or_insert_with(|| (actor.clone(), BTreeSet::new())).1.insert(number);
        }
        for topic in &topics {
            self.topics.entry(topic.clone()).or_default().insert(number);
        }
        if let Some(seat) = self.taken.get_mut(&number) {
            (seat.topics, seat.kind) = (topics, kind);
        }
    }

    fn unindex(&mut self, number: u64) {
        self.unfiltered.remove(&number);
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
            && let Some((_, seated)) = self.audiences.get_mut(&kind)
        {
            seated.remove(&number);
            if seated.is_empty() {
                self.audiences.remove(&kind);
            }
        }
    }

    fn tell(&mut self, commit: &Arc<FeedCommit>) {
        let mut numbers = self.unfiltered.clone();
        let mut by = |topic: Topic| {
            numbers.extend(self.topics.get(&topic).into_iter().flatten());
        };
        for tx in &commit.txs {
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
        for event in &commit.events {
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
        if !commit.events.is_empty() {
            for (actor, seated) in self.audiences.values() {
                let ledger = of_ledger && matches!(actor, Actor::Key(_));
                if ledger
                    || is_auditor(actor)
                    || commit.txs.iter().any(|tx| sees_all_of_workflow(actor, tx))
                {
                    numbers.extend(seated);
                }
            }
        }
        for number in &numbers {
            if let Some(seat) = self.taken.get(number) {
                seat.inbox.put(commit.revision);
            }
        }
        for user in changed {
            let seated = self.topics.get(&Topic::User(user)).into_iter().flatten().copied();
            self.unfiltered.extend(
                seated.filter(|number| {
                    self.taken.get(number).is_some_and(|seat| seat.kind.is_some())
                }),
            );
        }
    }
}
