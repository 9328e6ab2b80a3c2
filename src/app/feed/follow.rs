//! One who follows the feed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::tail::{Inbox, NoSeat, Seating};
use super::told::{Chosen, EventId, FeedEvent, Scope, Told};
use crate::app::{App, EndOfFeed, NotTaken};
use crate::engine::{Actor, Refusal};
use crate::records::entry::About;
use crate::types::Revision;

/// Maximum number of commits that are read at once while catching up.
const READ_MAX: usize = 64;

/// Maximum time of one part of catching up, in which others wait for the thread.
const PART_TIME: Duration = Duration::from_millis(5);

/// Maximum number of bytes of events that are given at once: what is held of a reader that is slow
/// to take them. One event at least.
const EVENTS_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of events that are given at once.
const EVENTS_MAX: usize = 256;

/// How long catching up waits where too many reads wait already.
const FULL_WAIT: Duration = Duration::from_millis(200);

/// What comes next for one who follows.
#[derive(Debug)]
pub enum Followed {
    /// These happened.
    Events(Vec<FeedEvent>),
    /// What happened up to here is in the log no more, or was asked for by an id that this log never
    /// gave out: what is known must be read anew.
    Resync(EventId),
}

/// One who follows the feed, from a place in the log on, for as long as the actor's session lasts.
/// Dropped, the seat is free.
pub struct Follower {
    app: Arc<App>,
    actor: Actor,
    scope: Scope,
    seat: u64,
    inbox: Arc<Inbox>,
    /// Everything up to here was seen.
    after: EventId,
    /// Up to here the log is read; what comes then is in the inbox.
    read_to: Revision,
    /// It was asked for what comes after an id that this log never gave out.
    is_lost: bool,
    /// A part of the log that is being read.
    reading: Option<oneshot::Receiver<Result<Part, Refusal>>>,
}

/// A part of the log, as far as it was looked at.
struct Part {
    actor: Actor,
    after: EventId,
    followed: Option<Followed>,
}

impl Follower {
    pub(super) fn new(
        app: Arc<App>,
        actor: Actor,
        scope: Scope,
        after: Option<EventId>,
        seating: Seating,
    ) -> Result<Self, NoSeat> {
        let (seat, inbox, read_to) = app.feed.sit(&actor, scope, app.now(), seating)?;
        // Where the store cannot be read, everything ends.
        let is_lost = after.is_some_and(|id| !app.gave_out(&actor, id).unwrap_or(true));
        let after = after.filter(|_| !is_lost).unwrap_or(EventId::end_of(read_to));
        Ok(Self { app, actor, scope, seat, inbox, after, read_to, is_lost, reading: None })
    }

    /// Follows something else in place of this.
    ///
    /// # Errors
    /// [`NoSeat`] where all together follow too much.
    pub fn instead(&self, scope: Scope, after: Option<EventId>) -> Result<Self, NoSeat> {
        let (app, actor) = (Arc::clone(&self.app), self.actor.clone());
        Self::new(app, actor, scope, after, Seating::Instead)
    }

    /// Who follows, with the roles of the last look.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns why it ends with this refusal.
    #[must_use]
    pub fn end(&self, refusal: &Refusal) -> EndOfFeed {
        self.app.end_of(&self.actor, refusal)
    }

    /// What happens after this is told; all before was there when the seat was taken.
    #[must_use]
    pub const fn begins(&self) -> EventId {
        EventId::end_of(self.read_to)
    }

    /// Everything up to here was seen; moves on also where nothing was to be seen.
    pub fn seen(&mut self) -> EventId {
        if let Some(told_to) = self.app.feed.told_to(&self.inbox)
            && self.after >= EventId::end_of(self.read_to)
        {
            self.after = self.after.max(EventId::end_of(told_to));
        }
        self.after = self.app.marked(self.after).unwrap_or(self.after);
        self.after
    }

    /// What comes next. Nothing is lost when this is not awaited to its end.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] when the session has ended, [`Refusal::Stopping`].
    pub async fn next(&mut self) -> Result<Followed, Refusal> {
        if std::mem::take(&mut self.is_lost) {
            return Ok(Followed::Resync(self.seen()));
        }
        loop {
            if self.after < EventId::end_of(self.read_to) {
                if let Some(followed) = self.catch_up().await? {
                    return Ok(followed);
                }
                continue;
            }
            self.inbox.filled().await;
            let events = self.take()?;
            if !events.is_empty() {
                return Ok(Followed::Events(events));
            }
        }
    }

    /// Until something happened that may concern what is followed.
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub(super) async fn changed(&mut self) -> Result<(), Refusal> {
        self.inbox.filled().await;
        // What it is does not matter, only that there was something.
        self.take().map(drop)
    }

    /// A part of the log before what is in the inbox; `None`: nothing was to be seen in it. It is
    /// read on the threads for that, in the actor's turn: however many catch up at a time, others
    /// are served, and commits that several of them read are read once.
    async fn catch_up(&mut self) -> Result<Option<Followed>, Refusal> {
        if self.inbox.lock().closed {
            return Err(Refusal::Stopping);
        }
        if self.reading.is_none() {
            let (app, actor, scope) = (Arc::clone(&self.app), self.actor.clone(), self.scope);
            let (after, read_to) = (self.after, self.read_to);
            let read = move || Part::read(&app, &actor, scope, after, read_to);
            match self.app.reads.begin(&self.actor, read) {
                Ok(reading) => self.reading = Some(reading),
                Err(NotTaken::Stopping) => return Err(Refusal::Stopping),
                Err(NotTaken::Actor | NotTaken::All) => {
                    sleep_until(tokio::time::Instant::now() + FULL_WAIT).await;
                    return Ok(None);
                }
            }
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        // Nothing is lost if this is not awaited to its end: it is awaited again.
        let read = reading.await;
        self.reading = None;
        let Part { actor, after, followed } = read.map_err(|_| Refusal::Stopping)??;
        (self.actor, self.after) = (actor, after);
        Ok(followed)
    }

    /// Some of what is in the inbox, with the actor as it is now.
    fn take(&mut self) -> Result<Vec<FeedEvent>, Refusal> {
        self.actor = self.app.current(&self.actor)?;
        let mut chosen = Chosen::new(EVENTS_MAX, EVENTS_BYTES_MAX);
        while !chosen.is_full() {
            let (first, missed) = {
                let waiting = self.inbox.lock();
                if waiting.closed {
                    return Err(Refusal::Stopping);
                }
                (waiting.commits.front().copied(), waiting.missed)
            };
            let Some(revision) = first.filter(|_| !missed) else {
                if missed {
                    self.read_anew();
                }
                break;
            };
            // Somebody so slow that it is forgotten reads the log.
            let told = self.app.feed.log.get(revision);
            let Some(told) = told.filter(|told| !self.changes_me(told)) else {
                // What came before and is not here did not concern the actor as it was then.
                let before = Revision::new(revision.get().saturating_sub(1));
                self.after = self.after.max(EventId::end_of(before));
                self.read_anew();
                break;
            };
            let (app, actor) = (&self.app, &self.actor);
            let owns_now = |tx| app.owns_now(actor, tx);
            let seen = told.for_actor(actor, &owns_now, self.scope, self.after, &mut chosen);
            self.after = self.after.max(seen);
            if seen < EventId::end_of(revision) {
                break;
            }
            self.inbox.lock().done(revision);
        }
        Ok(chosen.events)
    }

    /// Whether a commit may have changed what the actor may see.
    fn changes_me(&self, told: &Told) -> bool {
        let own = self.actor.user().map(|user| user.id);
        let is_own = |about: &About| matches!(about, About::User(id) if own == Some(*id));
        told.events.iter().any(|event| is_own(&event.about))
    }

    /// What is in the inbox comes again, out of the log.
    fn read_anew(&mut self) {
        self.read_to = self.app.feed.sit_anew(self.seat, &self.actor, self.scope);
    }
}

impl Part {
    fn read(
        app: &App,
        actor: &Actor,
        scope: Scope,
        mut after: EventId,
        read_to: Revision,
    ) -> Result<Self, Refusal> {
        let actor = app.current(actor)?;
        let since = Instant::now();
        let mut chosen = Chosen::new(EVENTS_MAX, EVENTS_BYTES_MAX);
        while after < EventId::end_of(read_to) && !chosen.is_full() && since.elapsed() < PART_TIME {
            let read = match app.told_after(after.read_after(), READ_MAX)? {
                Ok(read) => read,
                Err(oldest) => {
                    if !chosen.events.is_empty() {
                        break;
                    }
                    after = EventId::end_of(oldest);
                    return Ok(Self { actor, after, followed: Some(Followed::Resync(after)) });
                }
            };
            if read.is_empty() {
                // Beyond the end: there is nothing to wait for.
                after = EventId::end_of(read_to);
            }
            for told in read {
                if told.revision > read_to {
                    after = after.max(EventId::end_of(read_to));
                    break;
                }
                let owns_now = |tx| app.owns_now(&actor, tx);
                let seen = told.for_actor(&actor, &owns_now, scope, after, &mut chosen);
                after = after.max(seen);
                if seen < EventId::end_of(told.revision) {
                    break;
                }
            }
        }
        let events = chosen.events;
        let followed = (!events.is_empty()).then_some(Followed::Events(events));
        Ok(Self { actor, after, followed })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.app.feed.leave(self.seat);
    }
}
