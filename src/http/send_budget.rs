//! Bytes that clients have not taken yet: answers and events that wait in memory for slow readers.
//!
//! Bytes that wait are counted until they are written, for each actor and in all. An actor that
//! leaves too many of them unread gets no more until it reads some; others are served meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ahash::RandomState;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::{Code, Problem};
use crate::app::ReadRejection;
use crate::engine::{Actor, OwnerId, Refusal};

/// Unit of the count, in bytes.
const UNIT: usize = 1024;

/// An actor's part of all.
const ACTOR_PART: usize = 4;

/// Number of actors whose counts are kept before those that hold nothing are forgotten.
const ACTORS_KEPT: usize = 1024;

/// Maximum time that an answer waits for its share of the budget.
pub(super) const ROOM_TIME: Duration = Duration::from_secs(2);

/// Delay, in seconds, after which a retry is worthwhile.
const FULL_RETRY_S: u32 = 1;

/// There was no space in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendBudgetFull {
    /// The actor has left too much unread.
    Actor,
    /// All actors together have.
    All,
}

impl From<SendBudgetFull> for Problem {
    fn from(full: SendBudgetFull) -> Self {
        match full {
            SendBudgetFull::Actor => {
                let what = "too much of what was answered before has not been read yet";
                Self::new(Code::RateLimited, what).retry_after(FULL_RETRY_S)
            }
            SendBudgetFull::All => Self::plain(Code::Busy).retry_after(FULL_RETRY_S),
        }
    }
}

impl From<ReadRejection> for Problem {
    fn from(reason: ReadRejection) -> Self {
        match reason {
            ReadRejection::Actor => {
                let what = "too many reads of this actor wait";
                Self::new(Code::RateLimited, what).retry_after(FULL_RETRY_S)
            }
            ReadRejection::All => Self::plain(Code::Busy).retry_after(FULL_RETRY_S),
            ReadRejection::Stopping => Refusal::Stopping.into(),
        }
    }
}

/// The count of one kind of bytes.
pub(super) struct SendBudget {
    all: Arc<Semaphore>,
    units_of_actor_max: usize,
    of: Mutex<HashMap<Option<OwnerId>, Weak<Semaphore>, RandomState>>,
}

/// One actor's part of the count.
#[derive(Clone)]
pub(super) struct ActorSendBudget {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    units_max: usize,
}

/// Bytes that are counted for as long as somebody holds them.
struct Counted {
    bytes: Bytes,
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SendBudget {
    /// Returns an empty budget with this limit, in bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let units = (bytes_max / UNIT).max(ACTOR_PART);
        Self {
            all: Arc::new(Semaphore::new(units)),
            units_of_actor_max: units / ACTOR_PART,
            of: Mutex::default(),
        }
    }

    /// Refuses an actor that has left so many bytes unread that no more fit.
    ///
    /// # Errors
    /// [`SendBudgetFull`]
    pub(super) fn must_have_room(&self, actor: &Actor) -> Result<(), SendBudgetFull> {
        // No actor has too much while all together have less than one may have.
        let units = self.units_of_actor_max * ACTOR_PART;
        let held = units.saturating_sub(self.all.available_permits());
        if held < self.units_of_actor_max || self.of(actor).own.available_permits() > 0 {
            return Ok(());
        }
        Err(SendBudgetFull::Actor)
    }

    /// The part of an actor: of a user all sessions together.
    pub(super) fn of(&self, actor: &Actor) -> ActorSendBudget {
        self.of_owner(actor.owner_id())
    }

    /// The same by the actor's id.
    pub(super) fn of_owner(&self, owner: Option<OwnerId>) -> ActorSendBudget {
        let (all, units_max) = (Arc::clone(&self.all), self.units_of_actor_max);
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() >= ACTORS_KEPT {
            of.retain(|_, own| own.strong_count() > 0);
        }
        let kept = of.entry(owner).or_default();
        let own = kept.upgrade().unwrap_or_else(|| Arc::new(Semaphore::new(units_max)));
        *kept = Arc::downgrade(&own);
        ActorSendBudget { all, own, units_max }
    }
}

impl ActorSendBudget {
    /// Counts bytes that are sent in any case, if the budget has room for them.
    pub(super) fn count_now(&self, bytes: Bytes) -> Bytes {
        let units = u32::try_from(self.units(&bytes)).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.own).try_acquire_many_owned(units);
        let all = Arc::clone(&self.all).try_acquire_many_owned(units);
        match (own, all) {
            (Ok(own), Ok(all)) => Bytes::from_owner(Counted { bytes, _own: own, _all: all }),
            _ => bytes,
        }
    }

    fn units(&self, bytes: &Bytes) -> usize {
        bytes.len().div_ceil(UNIT).clamp(1, self.units_max)
    }

    /// Counts bytes until they are dropped, which is when they were written; waits for space.
    ///
    /// # Errors
    /// [`SendBudgetFull`] when there is none in time.
    pub(super) async fn count(
        &self,
        bytes: Bytes,
        wait: Duration,
    ) -> Result<Bytes, SendBudgetFull> {
        let units = u32::try_from(self.units(&bytes)).unwrap_or(u32::MAX);
        let own = timeout(wait, Arc::clone(&self.own).acquire_many_owned(units)).await;
        let Ok(Ok(own)) = own else { return Err(SendBudgetFull::Actor) };
        let all = timeout(wait, Arc::clone(&self.all).acquire_many_owned(units)).await;
        let Ok(Ok(all)) = all else { return Err(SendBudgetFull::All) };
        Ok(Bytes::from_owner(Counted { bytes, _own: own, _all: all }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn unread_bytes_are_counted_for_each_actor_and_in_all_until_they_are_dropped() {
        let unread = SendBudget::new(16 * UNIT);
        let actor = |number| {
            Actor::Key(crate::engine::KeyActor {
                key: crate::engine::KeyRef {
                    id: crate::types::KeyId::new(number),
                    name: "a key".into(),
                },
                roles: [].into(),
                on_behalf: [].into(),
            })
        };
        let of = |number| unread.of(&actor(number));
        let some = || Bytes::from(vec![7; 2 * UNIT]);
        let greedy = of(1);
        let held = [
            greedy.count(some(), Duration::ZERO).await.unwrap(),
            of(1).count(some(), Duration::ZERO).await.unwrap(),
        ];
        assert_eq!(held[0], some());
        assert_eq!(of(1).count(some(), Duration::ZERO).await, Err(SendBudgetFull::Actor));
        // A change that was committed already is answered all the same; the next is refused before.
        assert_eq!(of(1).count_now(some()), some());
        assert_eq!(of(2).own.available_permits(), 4);
        assert_eq!(unread.must_have_room(&actor(1)), Err(SendBudgetFull::Actor));
        assert_eq!(unread.must_have_room(&actor(2)), Ok(()));
        let mut others = Vec::new();
        for number in 2..5 {
            // More than an actor's part counts as all of it.
            others.push(of(number).count(vec![7; 9 * UNIT].into(), Duration::ZERO).await.unwrap());
        }
        assert_eq!(of(9).count(some(), Duration::ZERO).await, Err(SendBudgetFull::All));
        drop(held);
        assert!(of(9).count(some(), Duration::ZERO).await.is_ok());
        assert!(of(1).count(some(), Duration::ZERO).await.is_ok());
        // An actor that holds nothing is forgotten.
        for number in 10..10 + 2 * ACTORS_KEPT as u128 {
            drop(of(number));
        }
        assert!(unread.of.lock().unwrap().len() <= ACTORS_KEPT);
    }
}
