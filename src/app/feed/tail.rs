//! The reader of the log's end, and the subscriptions that it serves.
//!
//! The tail waits for the next durable commit, reads it once, and puts it into the inboxes of the
//! subscriptions that it may concern: by user, session, key and transaction, and by what actors
//! with the same roles may see. So a commit wakes no other subscription, however many there are. An
//! actor's exact rights are applied when it reads. A subscription whose roles may have changed gets
//! every commit until it is indexed again.

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

/// Maximum number of subscriptions of one actor: above what pages, workers and a load generator
/// need, and a small part of all, so that no actor locks the others out.
const SEATS_OF_ACTOR_MAX: usize = 1024;

/// Number of subscriptions, in all and of one actor, from which on no more waits are accepted, so
/// that streams and sockets have room.
const SEATS_FOR_WAITS_MAX: usize = SEATS_MAX / 4 * 3;
const SEATS_OF_ACTOR_FOR_WAITS_MAX: usize = SEATS_OF_ACTOR_MAX / 2;

/// There are too many streams, sockets and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberLimit {
    /// The actor has this many, which is the maximum.
    Actor(usize),
    /// There are too many in all.
    All,
}

/// Purpose of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionKind {
    /// A stream or a socket.
    Stream,
    /// A request that waits for a change.
    Wait,
    /// A replacement of another subscription of the same connection, which ends.
    Instead,
}

/// Maximum number of commits that are read at once.
const READ_MAX: usize = 256;

/// Commits that wait for one subscription.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    filled: Notify,
}

#[derive(Debug, Default)]
pub(super) struct InboxState {
    /// The commits, which are in the log cache.
    pub(super) commits: VecDeque<Revision>,
    /// A commit did not fit, so the log must be read.
    pub(super) missed: bool,
    /// The feed has ended.
    pub(super) closed: bool,
}

impl InboxState {
    /// Notes that a commit was handled.
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

    /// Waits until the inbox is not empty.
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

/// Key of the index of subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Topic {
    User(UserId),
    Name(String),
    Session(SessionId),
    Key(KeyId),
    Tx(TxId),
}

/// Group of actors that may see the same, apart from what is their own.
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
    /// Revision up to which commits were distributed.
    at: Revision,
    next: u64,
    taken: HashMap<u64, Subscription>,
    topics: HashMap<Topic, BTreeSet<u64>>,
    /// For each audience one of its actors, and all its subscriptions.
    audiences: HashMap<Audience, (Actor, BTreeSet<u64>)>,
    /// Subscriptions that get every commit.
    unfiltered: BTreeSet<u64>,
    closed: bool,
}

/// The feed of durable commits.
pub(in crate::app) struct Feed {
    store: Arc<dyn Store>,
    definitions: Arc<Definitions>,
    /// Recently read commits.
    pub(super) log: LogCache,
    subscriptions: Mutex<Subscriptions>,
    members: Notify,
    emptied: Notify,
}

impl Feed {
    /// Returns a feed with a limit on the bytes of its log cache.
    pub(in crate::app) fn new(
        store: Arc<dyn Store>,
        definitions: Arc<Definitions>,
        bytes_max: usize,
    ) -> Self {
        Self {
            store,
            definitions,
            log: LogCache::new(bytes_max),
            subscriptions: Mutex::default(),
            members: Notify::new(),
            emptied: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a subscription. Every commit after the returned revision that concerns the actor is
    /// put into the inbox.
    ///
    /// # Errors
    /// [`SubscriberLimit`], which does not apply to the server itself.
    pub(super) fn subscribe(
        &self,
        actor: &Actor,
        scope: FeedScope,
        now: Time,
        seating: SubscriptionKind,
    ) -> Result<(u64, Arc<Inbox>, Revision), SubscriberLimit> {
        let inbox = Arc::new(Inbox::default());
        let mut subscriptions = self.lock();
        if *actor != Actor::System {
            subscriptions.require_room(actor, seating)?;
        }
        if subscriptions.taken.is_empty() {
            // Nothing was distributed meanwhile.
            subscriptions.at = self.store.durable();
        }
        let number = subscriptions.next;
        subscriptions.next += 1;
        inbox.lock().closed = subscriptions.closed;
        let subscription =
            Subscription { inbox: Arc::clone(&inbox), topics: Vec::new(), kind: None, since: now };
        subscriptions.taken.insert(number, subscription);
        subscriptions.place(number, actor, scope);
        let at = subscriptions.at;
        drop(subscriptions);
        self.members.notify_one();
        Ok((number, inbox, at))
    }

    /// Indexes a subscription again, for an actor whose roles may have changed, and empties its
    /// inbox.
    pub(super) fn resubscribe(&self, number: u64, actor: &Actor, scope: FeedScope) -> Revision {
        let mut subscriptions = self.lock();
        subscriptions.unindex(number);
        subscriptions.place(number, actor, scope);
        if let Some(subscription) = subscriptions.taken.get(&number) {
            let mut waiting = subscription.inbox.lock();
            waiting.commits = VecDeque::new();
            waiting.missed = false;
        }
        subscriptions.at
    }

    /// Returns the revision up to which a subscription got everything, if its inbox is empty.
    pub(super) fn delivered_to(&self, inbox: &Inbox) -> Option<Revision> {
        let subscriptions = self.lock();
        let waiting = inbox.lock();
        (waiting.commits.is_empty() && !waiting.missed).then_some(subscriptions.at)
    }

    pub(super) fn leave(&self, number: u64) {
        let mut subscriptions = self.lock();
        subscriptions.unindex(number);
        subscriptions.taken.remove(&number);
        if subscriptions.taken.is_empty() {
            drop(subscriptions);
            self.emptied.notify_waiters();
        }
    }

    /// Returns the number of subscriptions of a session, and when the oldest began.
    pub(super) fn of_session(&self, session: SessionId) -> (usize, Option<Time>) {
        let subscriptions = self.lock();
        let numbers = subscriptions.topics.get(&Topic::Session(session)).into_iter().flatten();
        let since = numbers
            .filter_map(|number| subscriptions.taken.get(number))
            .map(|subscription| subscription.since);
        (since.clone().count(), since.min())
    }

    /// Ends all subscriptions.
    pub(in crate::app) fn close(&self) {
        let mut subscriptions = self.lock();
        subscriptions.closed = true;
        for subscription in subscriptions.taken.values() {
            subscription.inbox.close();
        }
    }

    /// Waits until there is no subscription.
    pub(in crate::app) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().taken.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Distributes durable commits while there are subscriptions.
    pub(in crate::app) async fn run(self: Arc<Self>) {
        loop {
            let at = {
                let subscriptions = self.lock();
                (!subscriptions.taken.is_empty()).then_some(subscriptions.at)
            };
            let Some(at) = at else {
                self.members.notified().await;
                continue;
            };
            let commit = match self.store.durable_at(at.next()).await {
                Ok(_) => self.read(at),
                Err(error) => Err(error.into()),
            };
            match commit {
                Ok(commit) => self.distribute(at, &commit),
                // The tail is behind the whole log. Each subscription reads the log and finds the
                // gap.
                Err(ReadError::Store(StoreError::Gone { .. })) => self.skip(),
                Err(error) => {
                    tracing::warn!(%error, "log cannot be read; all subscriptions end");
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

    fn distribute(&self, at: Revision, commit: &[Arc<FeedCommit>]) {
        let mut subscriptions = self.lock();
        // All subscriptions have ended and others began, at another revision.
        if subscriptions.at != at {
            return;
        }
        for commit in commit {
            subscriptions.at = commit.revision;
            subscriptions.distribute(commit);
        }
    }

    fn skip(&self) {
        let mut subscriptions = self.lock();
        subscriptions.at = self.store.durable();
        for subscription in subscriptions.taken.values() {
            subscription.inbox.miss();
        }
    }
}

impl Subscriptions {
    /// Returns the number of subscriptions of an actor; of a user all sessions together.
    fn of_actor(&self, actor: &Actor) -> usize {
        let topic = match actor.owner_id() {
            Some(OwnerId::User(id)) => Topic::User(id),
            Some(OwnerId::Session(id)) => Topic::Session(id),
            Some(OwnerId::Key(id)) => Topic::Key(id),
            None => return 0,
        };
        self.topics.get(&topic).map_or(0, BTreeSet::len)
    }

    fn require_room(
        &self,
        actor: &Actor,
        seating: SubscriptionKind,
    ) -> Result<(), SubscriberLimit> {
        let (own_max, all_max) = match seating {
            SubscriptionKind::Stream => (SEATS_OF_ACTOR_MAX, SEATS_MAX),
            SubscriptionKind::Wait => (SEATS_OF_ACTOR_FOR_WAITS_MAX, SEATS_FOR_WAITS_MAX),
            // The replaced one is still counted.
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
        if let Some(subscription) = self.taken.get_mut(&number) {
            (subscription.topics, subscription.kind) = (topics, kind);
        }
    }

    fn unindex(&mut self, number: u64) {
        self.unfiltered.remove(&number);
        let Some(subscription) = self.taken.get_mut(&number) else { return };
        for topic in std::mem::take(&mut subscription.topics) {
            if let Some(members) = self.topics.get_mut(&topic) {
                members.remove(&number);
                if members.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
        if let Some(kind) = subscription.kind.take()
            && let Some((_, members)) = self.audiences.get_mut(&kind)
        {
            members.remove(&number);
            if members.is_empty() {
                self.audiences.remove(&kind);
            }
        }
    }

    fn distribute(&mut self, commit: &Arc<FeedCommit>) {
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
            for (actor, members) in self.audiences.values() {
                let ledger = of_ledger && matches!(actor, Actor::Key(_));
                if ledger
                    || is_auditor(actor)
                    || commit.txs.iter().any(|tx| sees_all_of_workflow(actor, tx))
                {
                    numbers.extend(members);
                }
            }
        }
        for number in &numbers {
            if let Some(subscription) = self.taken.get(number) {
                subscription.inbox.put(commit.revision);
            }
        }
        for user in changed {
            let members = self.topics.get(&Topic::User(user)).into_iter().flatten().copied();
            self.unfiltered.extend(members.filter(|number| {
                self.taken.get(number).is_some_and(|subscription| subscription.kind.is_some())
            }));
        }
    }
}
