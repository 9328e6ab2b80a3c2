//! Changes of a user's roles by transactions that may still be undone: the state of a role without
//! them, and the changes that are not undone, so that undoing one leaves the effect of the others.

use crate::types::Role;

/// Changes of one user's roles that are not undone, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleChanges(pub Vec<RoleChange>);

/// Changes of one role that are not undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role.
    pub role: Role,
    /// True if the user has the role without any of the changes.
    pub base: bool,
    /// The number of the next change.
    pub next: u64,
    /// Changes in order: each run gives the role if the run before takes it, and the reverse; the
    /// first run changes the base. There is at least one.
    pub runs: Vec<RoleRun>,
}

/// Consecutive changes that all give a role, or all take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleRun {
    /// True if they give the role.
    pub gives: bool,
    /// The number of the first of them.
    pub first: u64,
    /// Number of them that are not undone.
    pub count: u64,
}

impl RoleChange {
    /// Returns whether the user has the role after all changes that are not undone.
    fn has(&self) -> bool {
        self.runs.last().map_or(self.base, |run| run.gives)
    }

    /// Returns the index of the run that a change belongs to.
    fn run_of(&self, number: u64) -> Option<usize> {
        self.runs.iter().rposition(|run| run.first <= number)
    }

    /// Drops runs that change nothing and joins neighbours that do the same.
    fn settle(&mut self) {
        let mut runs: Vec<RoleRun> = Vec::with_capacity(self.runs.len());
        for run in self.runs.drain(..).filter(|run| run.count > 0) {
            match runs.last_mut() {
                None if run.gives == self.base => {}
                Some(last) if last.gives == run.gives => last.count += run.count,
                _ => runs.push(run),
            }
        }
        self.runs = runs;
    }
}

impl RoleChanges {
    fn find(&mut self, role: &Role) -> Option<&mut RoleChange> {
        self.0.iter_mut().find(|change| change.role == *role)
    }

    fn settle(&mut self) {
        self.0.iter_mut().for_each(RoleChange::settle);
        self.0.retain(|change| !change.runs.is_empty());
    }

    /// Records a change by a transaction. `has` says if the user has the role now. Numbers begin at
    /// `from`, which is higher than all numbers of earlier commits. Returns the change's number;
    /// `None`: it changes nothing, now or later.
    pub(in crate::engine) fn add(
        &mut self,
        role: &Role,
        has: bool,
        gives: bool,
        from: u64,
    ) -> Option<u64> {
        self.0.retain(|change| change.role != *role || change.has() == has);
        if self.find(role).is_none() {
            if has == gives {
                return None;
            }
            let (role, runs) = (role.clone(), Vec::new());
            self.0.push(RoleChange { role, base: has, next: 0, runs });
        }
        let change = self.find(role)?;
        let number = change.next.max(from);
        change.next = number + 1;
        match change.runs.last_mut() {
            Some(last) if last.gives == gives => last.count += 1,
            _ => change.runs.push(RoleRun { gives, first: number, count: 1 }),
        }
        Some(number)
    }

    /// Takes a change back. `has` says if the user has the role now. Returns whether the user has
    /// it afterwards.
    pub(in crate::engine) fn undo(&mut self, role: &Role, number: u64, has: bool) -> bool {
        let mut after = has;
        if let Some(change) = self.find(role)
            && change.has() == has
            && let Some(run) = change.run_of(number)
        {
            change.runs[run].count -= 1;
            change.settle();
            after = change.has();
        }
        self.settle();
        after
    }

    /// Takes back a change without a number, of which only the effect on the role is known. `has`
    /// says if the user has the role now. Returns whether the user has it afterwards.
    pub(in crate::engine) fn undo_unnumbered(
        &mut self,
        role: &Role,
        gave: bool,
        has: bool,
    ) -> bool {
        let mut after = !gave;
        if let Some(change) = self.find(role)
            && change.has() == has
        {
            change.base = !gave;
            change.settle();
            after = change.has();
        }
        self.settle();
        after
    }

    /// Records that a change will never be undone, so that the changes before it no longer matter.
    pub(in crate::engine) fn keep(&mut self, role: &Role, number: u64) {
        if let Some(change) = self.find(role)
            && let Some(run) = change.run_of(number)
        {
            change.base = change.runs[run].gives;
            change.runs.drain(..=run);
        }
        self.settle();
    }

    /// Forgets the changes of a role after an administrator decided otherwise. Returns whether
    /// there were any.
    pub(in crate::engine) fn forget(&mut self, role: &Role) -> bool {
        let before = self.0.len();
        self.0.retain(|change| change.role != *role);
        self.0.len() != before
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Deed {
        Change(bool),
        /// Undoes, or keeps for ever, one of the changes that are not undone.
        Undo(usize),
        Keep(usize),
        /// An administrator gives or takes the role.
        Set(bool),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => any::<bool>().prop_map(Deed::Change),
            4 => any::<usize>().prop_map(Deed::Undo),
            1 => any::<usize>().prop_map(Deed::Keep),
            1 => any::<bool>().prop_map(Deed::Set),
        ]
    }

    proptest! {
        /// Whatever is changed, undone and kept, in whatever order, the user has the role exactly
        /// if the last change that is not undone gave it, or, without such a change, had it before.
        #[test]
        fn role_is_what_the_last_standing_change_says(
            start in any::<bool>(),
            deeds in proptest::collection::vec(deed(), 0..40),
        ) {
            let role: Role = "vip".parse().unwrap();
            let mut changes = RoleChanges::default();
            let (mut base, mut has) = (start, start);
            // Changes that are not undone: whether each gives the role, its number, and whether it
            // can be undone.
            let mut standing: Vec<(bool, Option<u64>, bool)> = Vec::new();
            // Changes that an administrator has overruled since: undoing one changes nothing.
            let mut void: Vec<u64> = Vec::new();
            for (commit, deed) in (1..).zip(deeds) {
                match deed {
                    Deed::Change(gives) => {
                        let number = changes.add(&role, has, gives, commit << 16);
                        standing.push((gives, number, true));
                        has = gives;
                    }
                    Deed::Undo(which) | Deed::Keep(which) => {
                        if let Some(number) = void.pop() {
                            has = changes.undo(&role, number, has);
                        }
                        let open: Vec<usize> =
                            (0..standing.len()).filter(|at| standing[*at].2).collect();
                        if open.is_empty() {
                            continue;
                        }
                        let at = open[which % open.len()];
                        let number = standing[at].1;
                        if matches!(deed, Deed::Undo(_)) {
                            standing.remove(at);
                            has = number.map_or(has, |number| changes.undo(&role, number, has));
                        } else {
                            standing[at].2 = false;
                            if let Some(number) = number {
                                changes.keep(&role, number);
                            }
                        }
                    }
                    Deed::Set(to) if to != has => {
                        changes.forget(&role);
                        void.extend(standing.drain(..).filter_map(|change| change.1));
                        (base, has) = (to, to);
                    }
                    Deed::Set(_) => {}
                }
                let expected = standing.last().map_or(base, |last| last.0);
                prop_assert_eq!(has, expected, "{:?} {:?}", standing, changes);
            }
            for (_, number, is_open) in standing.into_iter().rev() {
                if let (Some(number), true) = (number, is_open) {
                    has = changes.undo(&role, number, has);
                }
            }
            prop_assert!(changes.0.is_empty(), "something is left: {:?}", changes);
        }
    }
}
