//! Changes of a user's roles by transactions that may still be undone: what a role is without them,
//! and which of them stand, so that undoing one leaves what the others did.

use crate::types::Role;

/// Standing changes of one user's roles, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleChanges(pub Vec<RoleChange>);

/// Standing changes of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role.
    pub role: Role,
    /// Whether the user has it without any of the changes.
    pub base: bool,
    /// The number of the next change.
    pub next: u64,
    /// The changes in order: each run gives what the one before takes, and the first one changes the
    /// base. There is at least one.
    pub runs: Vec<RoleRun>,
}

/// Changes one after the other that all give a role, or all take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleRun {
    /// Whether they give it.
    pub gives: bool,
    /// The number of the first of them.
    pub first: u64,
    /// How many of them stand.
    pub count: u64,
}

impl RoleChange {
    /// Whether the user has the role by all that stands.
    fn has(&self) -> bool {
        self.runs.last().map_or(self.base, |run| run.gives)
    }

    /// The run that a change belongs to.
    fn run_of(&self, number: u64) -> Option<usize> {
        self.runs.iter().rposition(|run| run.first <= number)
    }

    /// Drops runs that change nothing and joins those that say the same.
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

    /// Notes a change by a transaction. `has` is whether the user has the role now. Numbers begin at
    /// `from`, which is higher than all that were given by earlier commits. Returns the change's
    /// number; `None`: it changes nothing, now or later.
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

    /// Takes a change back. `has` is whether the user has the role now. Returns whether the user has
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

    /// Takes back a change of which only is known what it did to the role. `has` is whether the user
    /// has the role now. Returns whether the user has it afterwards.
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

    /// Notes that a change will never be undone: what came before it makes no difference any more.
    pub(in crate::engine) fn keep(&mut self, role: &Role, number: u64) {
        if let Some(change) = self.find(role)
            && let Some(run) = change.run_of(number)
        {
            change.base = change.runs[run].gives;
            change.runs.drain(..=run);
        }
        self.settle();
    }

    /// Forgets the changes of a role that somebody has decided on otherwise. Returns whether there
    /// were any.
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
        /// Undoes, or keeps for ever, one of those that stand.
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
        /// Whatever is changed, undone and kept in whatever order, the user has the role exactly if
        /// the last change that stands gave it, or had it before if none stands.
        #[test]
        fn role_is_what_the_last_standing_change_says(
            start in any::<bool>(),
            deeds in proptest::collection::vec(deed(), 0..40),
        ) {
            let role: Role = "vip".parse().unwrap();
            let mut changes = RoleChanges::default();
            let (mut base, mut has) = (start, start);
            // What stands: whether it gives, its number, and whether it can be undone.
            let mut standing: Vec<(bool, Option<u64>, bool)> = Vec::new();
            // What an administrator has decided on otherwise since: undoing it changes nothing.
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
