//! Flow of holds and challenges: a step may use only those that were created before it.

use std::collections::{BTreeMap, BTreeSet};

use super::CheckReport;
use super::shape::{BranchPath, around};
use super::ways::{ExitKind, each_effect, leaves, pointer_of, ways};
use crate::engine::expression::nearest;
use crate::engine::transaction::effects::FlowChange;
use crate::engine::workflow::definition::{Definition, StepDefinition, StepGuard, StepTarget};

/// Holds and challenges that may or must exist when a step opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State<'d> {
    /// Holds that may have been placed.
    placed: BTreeSet<&'d str>,
    /// Holds that may be open.
    open: BTreeSet<&'d str>,
    /// Challenges that may have been issued.
    issued: BTreeSet<&'d str>,
    /// Challenges that were issued on every path.
    sure: BTreeSet<&'d str>,
}

impl<'d> State<'d> {
    /// Merges the states of two paths.
    fn meet(&mut self, other: &Self) {
        self.placed.extend(&other.placed);
        self.open.extend(&other.open);
        self.issued.extend(&other.issued);
        self.sure.retain(|id| other.sure.contains(id));
    }

    /// Applies the change of an effect.
    fn after(&mut self, change: FlowChange<'d>, maybe: bool, repeated: bool) {
        match change {
            FlowChange::PlacesHold { hold, .. } => {
                self.placed.insert(hold);
                self.open.insert(hold);
            }
            FlowChange::UsesHold { hold, closes } => {
                if closes && (repeated || !maybe) {
                    self.open.remove(hold);
                }
            }
            FlowChange::IssuesChallenge { challenge } => {
                self.issued.insert(challenge);
                if !maybe {
                    self.sure.insert(challenge);
                }
            }
            FlowChange::None => {}
        }
    }
}

struct Flow<'d> {
    definition: &'d Definition,
    around: BTreeMap<&'d str, BranchPath>,
    /// State when a step opens.
    states: BTreeMap<&'d str, State<'d>>,
    /// State when an `all` opens, and when one of its branches has ended.
    opened: BTreeMap<usize, State<'d>>,
    ended: BTreeMap<(usize, usize), State<'d>>,
}

/// Checks the holds and challenges that effects and guards name.
pub(super) fn check(found: &mut CheckReport, definition: &Definition) {
    let mut flow = Flow {
        definition,
        around: around(definition),
        states: BTreeMap::new(),
        opened: BTreeMap::new(),
        ended: BTreeMap::new(),
    };
    flow.states.insert(definition.first.as_str(), State::default());
    // Each round carries the states at least one step on, so this number of rounds suffices.
    for _ in 0..=2 * (definition.steps.len() + definition.alls.len()) {
        if !flow.carry() {
            break;
        }
    }
    flow.judge(found);
}

impl<'d> Flow<'d> {
    /// Carries the states along every path; returns whether a state changed.
    fn carry(&mut self) -> bool {
        let before = (self.states.clone(), self.opened.clone(), self.ended.clone());
        for step in &self.definition.steps {
            let Some(state) = self.states.get(step.name.as_str()).cloned() else { continue };
            let taken = taken(step, &state);
            for way in ways(step) {
                let state = match way.out {
                    ExitKind::Next | ExitKind::Expiry => &taken,
                    ExitKind::Timeout
                    | ExitKind::Refused
                    | ExitKind::Exhausted
                    | ExitKind::Failed => &state,
                };
                self.enter(way.target, state);
            }
            if step.next.is_none()
                && let Some(branch) =
                    self.around.get(step.name.as_str()).and_then(|around| around.last())
            {
                meet(&mut self.ended, *branch, &taken);
            }
        }
        for number in 0..self.definition.alls.len() {
            self.join(number);
        }
        before != (self.states.clone(), self.opened.clone(), self.ended.clone())
    }

    fn enter(&mut self, target: &'d StepTarget, state: &State<'d>) {
        match target {
            StepTarget::Step(name) => meet(&mut self.states, name.as_str(), state),
            StepTarget::Any(names) => {
                for name in names {
                    meet(&mut self.states, name.as_str(), state);
                }
            }
            StepTarget::All(number) => {
                meet(&mut self.opened, *number, state);
                let branches = self.definition.alls.get(*number).map(|all| &all.branches);
                for name in branches.into_iter().flatten() {
                    meet(&mut self.states, name.as_str(), state);
                }
            }
            StepTarget::When(choices) => {
                for (_, target) in choices {
                    self.enter(target, state);
                }
            }
            StepTarget::Stay | StepTarget::End(_) | StepTarget::Cancel(_) => {}
        }
    }

    /// Continues after the join when all branches have ended.
    fn join(&mut self, number: usize) {
        let Some(state) = self.joined(number) else { return };
        let Some(all) = self.definition.alls.get(number) else { return };
        if let Some(next) = &all.next {
            self.enter(next, &state);
            return;
        }
        // The join was the last of an outer branch.
        let outer = all.branches.first().and_then(|name| {
            let around = self.around.get(name.as_str())?;
            around.iter().rev().nth(1).copied()
        });
        if let Some(branch) = outer {
            meet(&mut self.ended, branch, &state);
        }
    }

    fn joined(&self, number: usize) -> Option<State<'d>> {
        let all = self.definition.alls.get(number)?;
        let opened = self.opened.get(&number)?;
        let ended = (0..all.branches.len())
            .map(|branch| self.ended.get(&(number, branch)))
            .collect::<Option<Vec<_>>>()?;
        let mut state = State::default();
        for branch in &ended {
            state.placed.extend(&branch.placed);
            state.issued.extend(&branch.issued);
            state.sure.extend(&branch.sure);
            // Holds that one branch placed may be open; holds from before are open if no branch
            // closed them.
            state.open.extend(branch.open.iter().filter(|id| {
                !opened.open.contains(*id) || ended.iter().all(|branch| branch.open.contains(*id))
            }));
        }
        Some(state)
    }

    /// Checks each step against the state before it.
    fn judge(&self, found: &mut CheckReport) {
        let mut holds: BTreeSet<&str> = BTreeSet::new();
        for step in &self.definition.steps {
            each_effect(step, &mut |placed| {
                if let FlowChange::PlacesHold { hold, .. } = placed.effect.kind.flow_change() {
                    holds.insert(hold);
                }
            });
        }
        for step in &self.definition.steps {
            let Some(state) = self.states.get(step.name.as_str()) else { continue };
            challenges(found, step, state);
            let mut now = state.clone();
            each_effect(step, &mut |placed| {
                let change = placed.effect.kind.flow_change();
                if let FlowChange::UsesHold { hold, .. } = change
                    && !now.placed.contains(hold)
                {
                    let message = if holds.contains(hold) {
                        format!("no step before this one places the hold `{hold}`")
                    } else {
                        let hint = nearest(hold, holds.iter().copied())
                            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                        format!("no step places a hold `{hold}`{hint}")
                    };
                    let pointer = format!("{}/{}/hold", placed.pointer, placed.effect.kind.name());
                    found.fault(&pointer, "unknown-hold", message);
                }
                now.after(change, placed.maybe, placed.repeated);
            });
            self.ends(found, step, state, &now);
        }
    }

    /// Warns of holds that are open where the transaction is completed.
    fn ends(
        &self,
        found: &mut CheckReport,
        step: &StepDefinition,
        before: &State<'d>,
        after: &State<'d>,
    ) {
        for way in ways(step) {
            let state = if way.out == ExitKind::Next { after } else { before };
            for leaf in leaves(self.definition, way.target, &way.pointer) {
                // Targets after an `all` are checked with the state that its branches leave.
                let is_joined = leaf.pointer.contains("/next/next")
                    || leaf.pointer.trim_start_matches(&way.pointer).contains("/next")
                        && !matches!(way.target, StepTarget::When(_));
                if is_joined || !matches!(leaf.target, StepTarget::End(_)) {
                    continue;
                }
                for hold in &state.open {
                    let message = format!(
                        "the hold `{hold}` may still be open here; it is released at the end"
                    );
                    found.warn(&leaf.pointer, "hold-left-open", message);
                }
            }
        }
    }
}

fn meet<'d, K: Ord>(states: &mut BTreeMap<K, State<'d>>, key: K, state: &State<'d>) {
    match states.entry(key) {
        std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().meet(state),
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert(state.clone());
        }
    }
}

fn taken<'d>(step: &'d StepDefinition, before: &State<'d>) -> State<'d> {
    let mut state = before.clone();
    each_effect(step, &mut |placed| {
        state.after(
            placed.effect.kind.flow_change(),
            placed.maybe || !placed.taken,
            placed.repeated,
        );
    });
    state
}

fn challenges(found: &mut CheckReport, step: &StepDefinition, state: &State<'_>) {
    for (index, guard) in step.guard.iter().enumerate() {
        let StepGuard::Challenge { id, .. } = guard else { continue };
        let pointer = format!("{}/guard/{index}/challenge", pointer_of(step));
        if !state.issued.contains(&**id) {
            let message = format!("no step before this one issues the challenge `{id}`");
            found.fault(&pointer, "unknown-challenge", message);
        } else if !state.sure.contains(&**id) {
            let message = format!("the challenge `{id}` is not issued on every way to this step");
            found.warn(&pointer, "challenge-maybe-missing", message);
        }
    }
}
