//! Order of the commands that wait for the executor: as they arrived, until one has waited for
//! long; from then on the actor that has used the least of the executor's time comes first.
//!
//! Each actor has a lane, in which its commands keep their order, and a clock that runs while one
//! of its commands is executed. So an actor with expensive or many commands delays itself: a
//! command of another actor is next as soon as it arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::admission::QuotaOwner;
use super::job::CommandJob;

/// Longest wait in the order of arrival. It is about what a person notices, and hundreds of
/// commands of the intended cost fit into it.
const PATIENCE: Duration = Duration::from_millis(10);

/// Returns whether a command has waited for long.
pub(in crate::app) fn is_late(job: &CommandJob, now: Instant) -> bool {
    now.saturating_duration_since(job.arrived) > PATIENCE
}

/// Commands that wait, by actor.
#[derive(Default)]
pub(in crate::app) struct Lanes {
    by_payer: HashMap<Option<QuotaOwner>, Lane, RandomState>,
    /// Lane of each command, in the order of arrival.
    order: BTreeMap<u64, Option<QuotaOwner>>,
    /// Lanes by clock.
    clocks: BTreeSet<(Duration, Option<QuotaOwner>)>,
    /// Number of commands that have arrived.
    count: u64,
    /// Clock of the lane that was next last, with which a new lane begins.
    clock: Duration,
}

/// Commands of one actor.
struct Lane {
    jobs: VecDeque<(u64, Box<CommandJob>)>,
    clock: Duration,
}

impl Lanes {
    /// Returns whether no command waits.
    pub(in crate::app) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a command at the end of its actor's lane.
    pub(in crate::app) fn push(&mut self, job: Box<CommandJob>) {
        let quota_owner = job.quota_owner();
        let clock = self.clock;
        let lane = self.by_payer.entry(quota_owner).or_insert_with(|| {
            self.clocks.insert((clock, quota_owner));
            Lane { jobs: VecDeque::new(), clock }
        });
        lane.jobs.push_back((self.count, job));
        self.order.insert(self.count, quota_owner);
        self.count += 1;
    }

    /// Takes the next command.
    pub(in crate::app) fn pop(&mut self, now: Instant) -> Option<Box<CommandJob>> {
        let first = *self.order.first_key_value()?.1;
        let is_late =
            self.by_payer.get(&first)?.jobs.front().is_some_and(|(_, job)| is_late(job, now));
        let next = if is_late { self.clocks.first()?.1 } else { first };
        let lane = self.by_payer.get_mut(&next)?;
        let (number, job) = lane.jobs.pop_front()?;
        self.order.remove(&number);
        self.clock = self.clock.max(lane.clock);
        if lane.jobs.is_empty() {
            self.clocks.remove(&(lane.clock, next));
            self.by_payer.remove(&next);
        }
        Some(job)
    }

    /// Charges an actor with the time that its command took.
    pub(super) fn charge(&mut self, quota_owner: Option<QuotaOwner>, time: Duration) {
        if let Some(lane) = self.by_payer.get_mut(&quota_owner) {
            self.clocks.remove(&(lane.clock, quota_owner));
            // A lane that was empty meanwhile begins at the others' clock.
            lane.clock = lane.clock.max(self.clock) + time;
            self.clocks.insert((lane.clock, quota_owner));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::super::admission::AdmissionControl;
    use super::*;
    use crate::engine::{Actor, Command, CommandInputs, Digest, PasswordEvidence};
    use crate::types::{KeyId, SessionId, UserId};

    fn job(
        admission: &Arc<AdmissionControl>,
        address: &str,
        request: &str,
        came: Instant,
    ) -> Box<CommandJob> {
        let inputs = CommandInputs {
            password: PasswordEvidence::Unchecked,
            password_hash: None,
            session: SessionId::new(1),
            user: UserId::new(1),
            key: KeyId::new(1),
            seed: 0,
            token: None,
            account: Digest::default(),
            origin: None,
            stored: Digest::default(),
            address: None,
            agent: None,
            checked: None,
            preconditions: None,
        };
        let (mut job, _) =
            CommandJob::new(Command::Touch, Actor::Nobody, inputs, request.into(), None);
        job.arrived = came;
        job.permit = admission.admit(&Actor::Nobody, Some(address), &Command::Touch);
        Box::new(job)
    }

    /// Takes all, each of which takes so long; their names in the order in which they went.
    fn drained(lanes: &mut Lanes, mut now: Instant, takes: Duration) -> Vec<String> {
        let mut went = Vec::new();
        while let Some(job) = lanes.pop(now) {
            went.push(job.request.to_string());
            now += takes;
            lanes.charge(job.quota_owner(), takes);
        }
        went
    }

    #[test]
    fn commands_that_wait_for_long_take_turns_by_the_time_that_their_actors_took() {
        let admission = Arc::new(AdmissionControl::new(1 << 26));
        let came = Instant::now();
        let fill = || {
            let mut lanes = Lanes::default();
            for number in 0..20 {
                lanes.push(job(&admission, "192.0.2.1", &format!("many{number}"), came));
            }
            lanes.push(job(&admission, "192.0.2.2", "one", came));
            lanes.push(job(&admission, "192.0.2.2", "two", came));
            lanes
        };
        let place = |went: &[String], name: &str| went.iter().position(|one| one == name).unwrap();
        // As they came, while that is quick.
        let went = drained(&mut fill(), came, Duration::from_micros(100));
        assert_eq!((went.len(), place(&went, "one"), place(&went, "two")), (22, 20, 21));
        // Each of them takes long.
        let mut lanes = fill();
        let went = drained(&mut lanes, came, Duration::from_millis(8));
        assert!(place(&went, "two") < 6, "{went:?}");
        assert!(
            went.iter().filter(|name| name.starts_with("many")).is_sorted_by_key(|name| {
                name.trim_start_matches("many").parse::<u32>().unwrap()
            })
        );
        assert!(lanes.is_empty() && lanes.clocks.is_empty() && lanes.by_payer.is_empty());
        // A later actor does not wait for all of them, and has no credit for the time before.
        let mut lanes = fill();
        let late = came + Duration::from_millis(100);
        for _ in 0..10 {
            let job = lanes.pop(late).unwrap();
            lanes.charge(job.quota_owner(), Duration::from_millis(8));
        }
        for number in 0..20 {
            lanes.push(job(&admission, "192.0.2.3", &format!("late{number}"), late));
        }
        let went = drained(&mut lanes, late + Duration::from_millis(20), Duration::from_millis(8));
        assert!(place(&went, "late0") < 3, "{went:?}");
        assert!(place(&went, "late19") > 15, "{went:?}");
    }
}
