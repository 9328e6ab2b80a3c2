//! Graph of the steps: branches, paths to an end, loops, the pivot.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::CheckReport;
use super::ways::{ExitKind, TargetLeaf, leaves, pointer_of, ways};
use crate::engine::workflow::definition::{
    Definition, StepDefinition, StepGuard, StepKind, StepTarget,
};

/// Branches around a step, the outermost first: the index of an `all`, and the index of its branch.
pub(in crate::engine::workflow) type BranchPath = Vec<(usize, usize)>;

/// Checks the graph. Every target is known to lead somewhere.
pub(super) fn check(found: &mut CheckReport, definition: &Definition) {
    let mut branches = Branches { found, definition, around: BTreeMap::new() };
    branches.visit_from(definition.first.as_str());
    let around = branches.around;
    let mut all_reached = true;
    for step in &definition.steps {
        if !around.contains_key(step.name.as_str()) {
            all_reached = false;
            let message = format!("no way leads to the step `{}`", step.name);
            found.fault(&pointer_of(step), "unreachable-step", message);
        }
    }
    if all_reached {
        ends(found, definition);
    }
    loops(found, definition);
    pivots(found, definition, &around);
}

/// Returns the branches around each step that can be reached.
pub(in crate::engine::workflow) fn around(definition: &Definition) -> BTreeMap<&str, BranchPath> {
    let mut found = CheckReport::default();
    let mut branches = Branches { found: &mut found, definition, around: BTreeMap::new() };
    branches.visit_from(definition.first.as_str());
    branches.around
}

struct Branches<'f, 'd> {
    found: &'f mut CheckReport,
    definition: &'d Definition,
    around: BTreeMap<&'d str, BranchPath>,
}

impl<'d> Branches<'_, 'd> {
    fn visit_from(&mut self, first: &'d str) {
        let mut rest: Vec<(String, &'d str, BranchPath)> =
            vec![("/first".to_owned(), first, Vec::new())];
        while let Some((pointer, name, around)) = rest.pop() {
            let definition = self.definition;
            let Some(step) = name.parse().ok().and_then(|name| definition.step(&name)) else {
                continue;
            };
            match self.around.get(name) {
                Some(known) if *known == around => {}
                Some(known) => {
                    let message = left(name, known, &around);
                    self.found.fault(&pointer, "leaves-branch", message);
                }
                None => {
                    self.around.insert(name, around.clone());
                    self.leave(step, &around, &mut rest);
                }
            }
        }
    }

    /// Follows the exits of a step.
    fn leave(
        &mut self,
        step: &'d StepDefinition,
        around: &BranchPath,
        rest: &mut Vec<(String, &'d str, BranchPath)>,
    ) {
        if step.next.is_none() && around.is_empty() {
            let message = format!(
                "the step `{}` leads nowhere: it needs `next` (only the last step of a branch of \
                 `all` has none)",
                step.name
            );
            self.found.fault(&pointer_of(step), "missing-next", message);
        }
        for way in ways(step) {
            self.follow(way.target, way.pointer, around, rest);
        }
    }

    fn follow(
        &mut self,
        target: &'d StepTarget,
        pointer: String,
        around: &BranchPath,
        rest: &mut Vec<(String, &'d str, BranchPath)>,
    ) {
        match target {
            StepTarget::Step(name) => rest.push((pointer, name.as_str(), around.clone())),
            StepTarget::Any(names) => {
                for (index, name) in names.iter().enumerate() {
                    let pointer = format!("{pointer}/any/{index}");
                    rest.push((pointer, name.as_str(), around.clone()));
                }
            }
            StepTarget::All(number) => {
                let Some(all) = self.definition.alls.get(*number) else { return };
                for (index, name) in all.branches.iter().enumerate() {
                    let mut inside = around.clone();
                    inside.push((*number, index));
                    rest.push((format!("{pointer}/all/{index}"), name.as_str(), inside));
                }
                match &all.next {
                    Some(next) => self.follow(next, format!("{pointer}/next"), around, rest),
                    None if around.is_empty() => {
                        let message = "when all branches have ended it goes nowhere: `all` needs \
                                       `next` beside it";
                        self.found.fault(&pointer, "missing-next", message);
                    }
                    None => {}
                }
            }
            StepTarget::When(choices) => {
                for (index, (_, target)) in choices.iter().enumerate() {
                    self.follow(target, format!("{pointer}/{index}/next"), around, rest);
                }
            }
            StepTarget::End(_) if !around.is_empty() => {
                let message = "a branch of `all` does not end the transaction; its last step has \
                               no `next`, and `all` says where it goes when all have ended";
                self.found.fault(&pointer, "end-in-branch", message);
            }
            StepTarget::End(_) | StepTarget::Cancel(_) | StepTarget::Stay => {}
        }
    }
}

fn left(name: &str, known: &BranchPath, around: &BranchPath) -> String {
    match known.len().cmp(&around.len()) {
        Ordering::Greater => {
            format!("`{name}` is inside a branch of `all`, and this leads into it from outside")
        }
        Ordering::Less => format!(
            "`{name}` is outside this branch of `all`: a branch goes on inside itself, and ends \
             with a step without `next`"
        ),
        Ordering::Equal => {
            format!("`{name}` is in another branch of `all`; a step is in one branch only")
        }
    }
}

/// Checks that every step can reach an end, or the end of its branch.
fn ends(found: &mut CheckReport, definition: &Definition) {
    let mut ending: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = ending.len();
        for step in &definition.steps {
            // A step that stays open is left by way of the steps beside it.
            let ends = step.next.is_none()
                || ways(step).iter().any(|way| can_end(definition, way.target, &ending))
                || stays(definition, step)
                    && beside(definition, step).iter().any(|name| ending.contains(name));
            if ends {
                ending.insert(step.name.as_str());
            }
        }
        if ending.len() == before {
            break;
        }
    }
    for step in definition.steps.iter().filter(|step| !ending.contains(step.name.as_str())) {
        let message = format!("no way from the step `{}` comes to an end", step.name);
        found.fault(&pointer_of(step), "never-ends", message);
    }
}

fn can_end(definition: &Definition, target: &StepTarget, ending: &BTreeSet<&str>) -> bool {
    match target {
        StepTarget::End(_) | StepTarget::Cancel(_) => true,
        StepTarget::Step(name) => ending.contains(name.as_str()),
        StepTarget::Any(names) => names.iter().any(|name| ending.contains(name.as_str())),
        StepTarget::All(number) => definition
            .alls
            .get(*number)
            .and_then(|all| all.next.as_ref())
            .is_none_or(|next| can_end(definition, next, ending)),
        StepTarget::Stay => false,
        StepTarget::When(choices) => {
            choices.iter().any(|(_, target)| can_end(definition, target, ending))
        }
    }
}

/// Checks that a loop passes through a step that waits: otherwise one request would loop for ever.
fn loops(found: &mut CheckReport, definition: &Definition) {
    let mut follows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in definition.steps.iter().filter(|step| is_automatic(step)) {
        let mut next = Vec::new();
        for way in ways(step) {
            if matches!(way.out, ExitKind::Next | ExitKind::Refused) {
                at_once(definition, way.target, &mut next);
            }
        }
        follows.insert(step.name.as_str(), next);
    }
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for start in follows.keys().copied() {
        if told.contains(start) {
            continue;
        }
        if let Some(path) = round(&follows, start) {
            let shown: Vec<_> = path.iter().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "{} -> `{start}` is a loop of automatic steps: a loop must pass through a step \
                 that waits",
                shown.join(" -> ")
            );
            found.fault(&format!("/steps/{start}/next"), "automatic-loop", message);
            told.extend(path);
        }
    }
}

fn is_automatic(step: &StepDefinition) -> bool {
    matches!(step.kind, StepKind::Automatic)
}

/// Adds the steps that a target enters in the same commit.
fn at_once<'d>(definition: &'d Definition, target: &'d StepTarget, next: &mut Vec<&'d str>) {
    match target {
        StepTarget::Step(name) => next.push(name.as_str()),
        StepTarget::All(number) => {
            let Some(all) = definition.alls.get(*number) else { return };
            next.extend(all.branches.iter().map(crate::types::StepName::as_str));
            // The join is passed in the same commit only if no branch waits. Branches of several
            // steps are not followed here: the engine limits a chain as well.
            let waits = all.branches.iter().any(|name| {
                definition.step(name).is_none_or(|step| !is_automatic(step) || step.next.is_some())
            });
            if let Some(target) = &all.next
                && !waits
            {
                at_once(definition, target, next);
            }
        }
        StepTarget::When(choices) => {
            for (_, target) in choices {
                at_once(definition, target, next);
            }
        }
        StepTarget::Any(_) | StepTarget::Stay | StepTarget::End(_) | StepTarget::Cancel(_) => {}
    }
}

/// Returns a path from a step back to itself.
fn round<'d>(follows: &BTreeMap<&'d str, Vec<&'d str>>, start: &'d str) -> Option<Vec<&'d str>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut rest = vec![start];
    while let Some(here) = rest.pop() {
        for next in follows.get(here).into_iter().flatten().copied() {
            if next == start {
                let mut path = vec![here];
                while let Some(before) = path.last().and_then(|last| came.get(last)) {
                    path.push(before);
                }
                path.reverse();
                return Some(path);
            }
            if follows.contains_key(next) && !came.contains_key(next) {
                came.insert(next, here);
                rest.push(next);
            }
        }
    }
    None
}

/// Checks that a path has at most one pivot, that no branch has one, and that nothing is cancelled
/// after it.
fn pivots(found: &mut CheckReport, definition: &Definition, around: &BTreeMap<&str, BranchPath>) {
    let mut judged: BTreeSet<String> = BTreeSet::new();
    for pivot in definition.steps.iter().filter(|step| step.pivot) {
        let pointer = format!("{}/pivot", pointer_of(pivot));
        if around.get(pivot.name.as_str()).is_some_and(|around| !around.is_empty()) {
            let message = "a pivot is not inside `all`: the other branches could still be undone";
            found.fault(&pointer, "pivot-in-branch", message);
        }
        let after = after(definition, pivot);
        for step in &definition.steps {
            let name = step.name.as_str();
            let is_after = after.contains(name);
            if is_after && step.pivot && name != pivot.name.as_str() {
                let message = format!(
                    "the pivot `{}` comes before this one on some way; a way has one pivot",
                    pivot.name
                );
                found.fault(&format!("{}/pivot", pointer_of(step)), "second-pivot", message);
            }
            for way in ways(step) {
                let passed = is_after && way.out != ExitKind::Expiry
                    || name == pivot.name.as_str() && way.out == ExitKind::Next;
                if passed {
                    forward(found, definition, &way.pointer, way.target, &mut judged);
                }
            }
            let challenged =
                step.guard.iter().any(|guard| matches!(guard, StepGuard::Challenge { .. }));
            if is_after && matches!(step.kind, StepKind::Call(_)) && step.failed.is_none() {
                let message = "after the pivot nothing is cancelled: `failed` must say where a \
                               call leads that was refused or has no attempts left";
                let pointer = pointer_of(step);
                if judged.insert(format!("{pointer}/call")) {
                    found.fault(&format!("{pointer}/call"), "failed-needed", message);
                }
            }
            if is_after && challenged && step.exhausted.is_none() {
                let message = "after the pivot nothing is cancelled: `exhausted` must say where \
                               too many wrong codes lead";
                let pointer = pointer_of(step);
                if judged.insert(pointer.clone()) {
                    found.fault(&pointer, "cancel-after-pivot", message);
                }
            }
        }
    }
}

fn forward(
    found: &mut CheckReport,
    definition: &Definition,
    pointer: &str,
    target: &StepTarget,
    judged: &mut BTreeSet<String>,
) {
    for TargetLeaf { pointer, target } in leaves(definition, target, pointer) {
        if matches!(target, StepTarget::Cancel(_)) && judged.insert(pointer.clone()) {
            let message = "after the pivot nothing is cancelled: this must lead forward";
            found.fault(&pointer, "cancel-after-pivot", message);
        }
    }
}

/// Returns all steps that may come after one was taken.
fn after<'d>(definition: &'d Definition, pivot: &'d StepDefinition) -> BTreeSet<&'d str> {
    let mut after = BTreeSet::new();
    let mut rest = Vec::new();
    let enter = |target: &'d StepTarget, rest: &mut Vec<&'d str>| {
        for leaf in leaves(definition, target, "") {
            match leaf.target {
                StepTarget::Step(name) => rest.push(name.as_str()),
                StepTarget::Any(names) => {
                    rest.extend(names.iter().map(crate::types::StepName::as_str));
                }
                StepTarget::All(number) => rest.extend(
                    definition
                        .alls
                        .get(*number)
                        .into_iter()
                        .flat_map(|all| &all.branches)
                        .map(crate::types::StepName::as_str),
                ),
                StepTarget::Stay
                | StepTarget::End(_)
                | StepTarget::Cancel(_)
                | StepTarget::When(_) => {}
            }
        }
    };
    if let Some(next) = &pivot.next {
        enter(next, &mut rest);
        if stays(definition, pivot) {
            rest.extend(beside(definition, pivot));
        }
    }
    while let Some(name) = rest.pop() {
        if after.insert(name)
            && let Some(step) = name.parse().ok().and_then(|name| definition.step(&name))
        {
            for way in ways(step) {
                enter(way.target, &mut rest);
            }
        }
    }
    after
}

/// Returns whether a step may open again without being left.
fn stays(definition: &Definition, step: &StepDefinition) -> bool {
    ways(step)
        .iter()
        .flat_map(|way| leaves(definition, way.target, ""))
        .any(|leaf| matches!(leaf.target, StepTarget::Stay))
}

/// Returns a step, and the steps that are open beside it.
fn beside<'d>(definition: &'d Definition, step: &'d StepDefinition) -> Vec<&'d str> {
    let mut found = vec![step.name.as_str()];
    for other in &definition.steps {
        for way in ways(other) {
            for leaf in leaves(definition, way.target, "") {
                if let StepTarget::Any(names) = leaf.target
                    && names.contains(&step.name)
                {
                    found.extend(names.iter().map(crate::types::StepName::as_str));
                }
            }
        }
    }
    found
}
