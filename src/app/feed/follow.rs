//! One who follows the feed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tail::Inbox;
use super::told::{EventId, FeedEvent, Scope, Told};
use crate::app::App;
use crate::engine::{Actor, Refusal};
use crate::records::entry::About;
use crate::types::Revision;

/// Most commits that are read at once while catching up.
const READ_MAX: usize = 64;

/// What comes next for one who follows.
#[derive(Debug)]
pub enum Followed {
    /// These happened.
    Events(Vec<FeedEvent>),
    /// What happened up to here is in the log no more: what is known must be read anew.
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
}

impl Follower {
    pub(super) fn new(app: Arc<App>, actor: Actor, scope: Scope, after: Option<EventId>) -> Self {
        let (seat, inbox, read_to) = app.feed.sit(&actor, scope, app.now());
        let after = after.unwrap_or(EventId::end_of(read_to));
        Self { app, actor, scope, seat, inbox, after, read_to }
    }

    /// Who follows, with the roles of the last look.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
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
        self.after
    }

    /// What comes next. Nothing is lost when this is not awaited to its end.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] when the session has ended, [`Refusal::Stopping`].
    pub async fn next(&mut self) -> Result<Followed, Refusal> {
        loop {
            if self.after < EventId::end_of(self.read_to) {
                if let Some(followed) = self.catch_up()? {
                    return Ok(followed);
                }
                // Others have their turn between two pages.
                tokio::task::yield_now().await;
                continue;
            }
            self.inbox.filled().await;
            let told = self.take()?;
            let mut events = Vec::new();
            for told in told {
                told.for_actor(&self.actor, self.scope, self.after, &mut events);
                self.after = self.after.max(EventId::end_of(told.revision));
            }
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
        for told in self.take()? {
            self.after = self.after.max(EventId::end_of(told.revision));
        }
        Ok(())
    }

    /// A part of the log before what is in the inbox; `None`: nothing was to be seen in it.
    fn catch_up(&mut self) -> Result<Option<Followed>, Refusal> {
        self.actor = self.app.current(&self.actor)?;
        if self.inbox.lock().closed {
            return Err(Refusal::Stopping);
        }
        let read = match self.app.told_after(self.after.read_after(), READ_MAX)? {
            Ok(read) => read,
            Err(oldest) => {
                self.after = EventId::end_of(oldest);
                return Ok(Some(Followed::Resync(self.after)));
            }
        };
        if read.is_empty() {
            // Beyond the end: an id that this log never gave out. There is nothing to wait for.
            self.after = EventId::end_of(self.read_to);
        }
        let mut events = Vec::new();
        for told in read {
            if told.revision > self.read_to {
                break;
            }
            told.for_actor(&self.actor, self.scope, self.after, &mut events);
            self.after = self.after.max(EventId::end_of(told.revision));
        }
        Ok((!events.is_empty()).then_some(Followed::Events(events)))
    }

    /// What is in the inbox, with the actor as it is now.
    fn take(&mut self) -> Result<VecDeque<Arc<Told>>, Refusal> {
        let (told, missed) = {
            let mut waiting = self.inbox.lock();
            if waiting.closed {
                return Err(Refusal::Stopping);
            }
            (std::mem::take(&mut waiting.told), waiting.missed)
        };
        self.actor = self.app.current(&self.actor)?;
        let own = self.actor.user().map(|user| user.id);
        let is_own = |about: &About| matches!(about, About::User(id) if own == Some(*id));
        let changed = told.iter().any(|told| told.events.iter().any(|event| is_own(&event.about)));
        if missed || changed {
            // What came before and is not here did not concern the actor as it was then.
            if let Some(first) = told.front().filter(|_| !missed) {
                let before = Revision::new(first.revision.get().saturating_sub(1));
                self.after = self.after.max(EventId::end_of(before));
            }
            // What is in the inbox comes again, out of the log.
            self.read_to = self.app.feed.sit_anew(self.seat, &self.actor, self.scope);
            return Ok(VecDeque::new());
        }
        Ok(told)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.app.feed.leave(self.seat);
    }
}
