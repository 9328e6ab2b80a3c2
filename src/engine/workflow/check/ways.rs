//! Exits of a step, as pointers and targets.

use crate::engine::transaction::effects::{Effect, FlowChange};
use crate::engine::workflow::definition::{Definition, StepDefinition, StepKind, StepTarget};
use crate::types::StepName;

/// Kind of an exit of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::workflow) enum ExitKind {
    /// It was taken.
    Next,
    /// Its time ran out.
    Timeout,
    /// It was refused.
    Refused,
    /// Too many wrong codes.
    Exhausted,
    /// A hold that it placed expired.
    Expiry,
    /// Its call was refused, or its attempts are used up.
    Failed,
}

/// Exit of a step.
#[derive(Debug)]
pub(in crate::engine::workflow) struct StepExit<'d> {
    pub(in crate::engine::workflow) out: ExitKind,
    pub(in crate::engine::workflow) pointer: String,
    pub(in crate::engine::workflow) target: &'d StepTarget,
}

/// Target without further conditions.
#[derive(Debug)]
pub(super) struct TargetLeaf<'d> {
    pub(super) pointer: String,
    pub(super) target: &'d StepTarget,
}

/// Returns the pointer to a step. Names of steps need no escapes.
pub(super) fn pointer_of(step: &StepDefinition) -> String {
    format!("/steps/{}", step.name)
}

/// Returns all exits of a step.
pub(in crate::engine::workflow) fn ways(step: &StepDefinition) -> Vec<StepExit<'_>> {
    let at = pointer_of(step);
    let mut ways = Vec::new();
    let mut add = |out, pointer: String, target| ways.push(StepExit { out, pointer, target });
    if let Some(target) = &step.next {
        add(ExitKind::Next, format!("{at}/next"), target);
    }
    if let Some(timeout) = &step.timeout {
        add(ExitKind::Timeout, format!("{at}/timeout/next"), &timeout.next);
    }
    if let Some(target) = &step.refused {
        add(ExitKind::Refused, format!("{at}/refused"), target);
    }
    if let Some(target) = &step.exhausted {
        add(ExitKind::Exhausted, format!("{at}/exhausted"), target);
    }
    if let Some(target) = &step.failed {
        add(ExitKind::Failed, format!("{at}/failed"), target);
    }
    each_effect(step, &mut |placed| {
        if let FlowChange::PlacesHold { on_expiry: Some(target), .. } =
            placed.effect.kind.flow_change()
        {
            let pointer = format!("{}/hold/on_expiry", placed.pointer);
            add(ExitKind::Expiry, pointer, target);
        }
    });
    ways
}

/// Effect with its pointer.
pub(super) struct Placed<'d> {
    pub(super) effect: &'d Effect,
    pub(super) pointer: String,
    /// True if it may be skipped: it, or an effect around it, has a condition or is executed for
    /// each element of a list.
    pub(super) maybe: bool,
    /// True if it is inside `each`.
    pub(super) repeated: bool,
    /// True if it is executed when the step is taken, and not while it is open.
    pub(super) taken: bool,
}

/// Calls `show` with all effects of a step, in their order.
pub(super) fn each_effect<'d>(step: &'d StepDefinition, show: &mut impl FnMut(&Placed<'d>)) {
    let at = pointer_of(step);
    for (index, remind) in step.remind.iter().enumerate() {
        let pointer = format!("{at}/remind/{index}/do");
        walk(&remind.effects, &pointer, (true, false, false), show);
    }
    walk(&step.effects, &format!("{at}/do"), (false, false, true), show);
}

fn walk<'d>(
    effects: &'d [Effect],
    pointer: &str,
    (maybe, repeated, taken): (bool, bool, bool),
    show: &mut impl FnMut(&Placed<'d>),
) {
    for (index, effect) in effects.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let maybe = maybe || effect.when.is_some();
        show(&Placed { effect, pointer: pointer.clone(), maybe, repeated, taken });
        walk(effect.kind.nested(), &format!("{pointer}/do"), (true, true, taken), show);
    }
}

/// Returns the targets that a target may resolve to.
pub(super) fn leaves<'d>(
    definition: &'d Definition,
    target: &'d StepTarget,
    pointer: &str,
) -> Vec<TargetLeaf<'d>> {
    let mut found = Vec::new();
    let mut rest = vec![(pointer.to_owned(), target)];
    while let Some((pointer, target)) = rest.pop() {
        match target {
            StepTarget::When(choices) => {
                rest.extend(
                    choices
                        .iter()
                        .enumerate()
                        .rev()
                        .map(|(index, (_, target))| (format!("{pointer}/{index}/next"), target)),
                );
            }
            StepTarget::All(number) => {
                if let Some(next) = definition.alls.get(*number).and_then(|all| all.next.as_ref()) {
                    rest.push((format!("{pointer}/next"), next));
                }
                found.push(TargetLeaf { pointer, target });
            }
            StepTarget::Step(_)
            | StepTarget::Any(_)
            | StepTarget::Stay
            | StepTarget::End(_)
            | StepTarget::Cancel(_) => found.push(TargetLeaf { pointer, target }),
        }
    }
    found
}

impl TargetLeaf<'_> {
    /// Returns the steps that it names, with pointers; for `all` the branches.
    pub(super) fn steps<'d>(&'d self, definition: &'d Definition) -> Vec<(String, &'d StepName)> {
        let several = |key: &str, names: &'d [StepName]| {
            names
                .iter()
                .enumerate()
                .map(|(index, name)| (format!("{}/{key}/{index}", self.pointer), name))
                .collect()
        };
        match self.target {
            StepTarget::Step(name) => vec![(self.pointer.clone(), name)],
            StepTarget::Any(names) => several("any", names),
            StepTarget::All(number) => definition
                .alls
                .get(*number)
                .map(|all| several("all", &all.branches))
                .unwrap_or_default(),
            StepTarget::Stay | StepTarget::End(_) | StepTarget::Cancel(_) | StepTarget::When(_) => {
                Vec::new()
            }
        }
    }
}

impl StepExit<'_> {
    /// Returns whether the step can open again at the end of this exit.
    pub(super) const fn may_stay(&self, step: &StepDefinition) -> bool {
        match self.out {
            ExitKind::Next | ExitKind::Timeout | ExitKind::Exhausted => {
                !matches!(step.kind, StepKind::Automatic)
            }
            ExitKind::Failed => matches!(step.kind, StepKind::Call(_)),
            ExitKind::Refused | ExitKind::Expiry => false,
        }
    }
}
