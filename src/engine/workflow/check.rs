//! Checks of a definition as a whole: every path leads to an end, no path cancels after the pivot,
//! and every hold or challenge that a step uses was created before.

mod flow;
mod shape;
mod ways;

use std::collections::{BTreeMap, BTreeSet};

use super::definition::{
    AllowedActor, Definition, Quorum, StepDefinition, StepGuard, StepKind, StepTarget,
};
use super::document::DefinitionFault;
use crate::engine::expression::nearest;
use crate::engine::transaction::effects::FlowChange;
use crate::types::StepName;

pub(super) use shape::around;
pub(super) use ways::{ExitKind, StepExit, ways};
use ways::{TargetLeaf, each_effect, leaves, pointer_of};

/// Faults and warnings of the checks.
#[derive(Debug, Default)]
pub(super) struct CheckReport {
    /// Faults.
    pub(super) faults: Vec<DefinitionFault>,
    /// Warnings.
    pub(super) warnings: Vec<DefinitionFault>,
}

impl CheckReport {
    fn fault(&mut self, pointer: &str, code: &'static str, message: impl Into<String>) {
        self.faults.push(told(pointer, code, message.into()));
    }

    fn warn(&mut self, pointer: &str, code: &'static str, message: impl Into<String>) {
        self.warnings.push(told(pointer, code, message.into()));
    }
}

fn told(pointer: &str, code: &'static str, message: String) -> DefinitionFault {
    DefinitionFault { pointer: pointer.to_owned(), code, message, at: None }
}

/// Checks a definition. With `holes` (a target that could not be read) or `lost` steps, only
/// existing parts are checked, and nothing is reported as missing.
pub(super) fn check(definition: &Definition, holes: bool, lost: bool) -> CheckReport {
    let mut found = CheckReport::default();
    let mut whole = !holes && !lost;
    if !definition.index.contains_key(&definition.first) {
        if !holes && !lost {
            unknown_step(&mut found, definition, "/first", &definition.first);
        }
        whole = false;
    }
    for step in &definition.steps {
        single(&mut found, step);
        for way in ways(step) {
            for leaf in leaves(definition, way.target, &way.pointer) {
                whole &= aim(&mut found, definition, step, &way, &leaf, lost);
            }
        }
    }
    unseen(&mut found, definition);
    expiries(&mut found, definition);
    if whole {
        shape::check(&mut found, definition);
        flow::check(&mut found, definition);
    }
    found
}

fn unknown_step(found: &mut CheckReport, definition: &Definition, pointer: &str, name: &StepName) {
    let known = definition.index.keys().map(StepName::as_str);
    let hint = nearest(name.as_str(), known)
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    found.fault(pointer, "unknown-step", format!("there is no step `{name}`{hint}"));
}

/// Checks one target by itself; returns false if it leads nowhere.
fn aim(
    found: &mut CheckReport,
    definition: &Definition,
    step: &StepDefinition,
    way: &StepExit<'_>,
    leaf: &TargetLeaf<'_>,
    lost: bool,
) -> bool {
    let mut whole = true;
    for (pointer, name) in leaf.steps(definition) {
        let Some(aimed) = definition.step(name) else {
            if !lost {
                unknown_step(found, definition, &pointer, name);
            }
            whole = false;
            continue;
        };
        if matches!(leaf.target, StepTarget::Any(_))
            && matches!(aimed.kind, StepKind::Automatic | StepKind::Call(_))
        {
            let message = format!(
                "`any` takes steps that wait for a client or a time; `{name}` waits for neither"
            );
            found.fault(&pointer, "any-automatic", message);
        }
    }
    if matches!(leaf.target, StepTarget::Stay) && !way.may_stay(step) {
        let message = "`stay` opens the step again: it makes sense where a step that waits was \
                       submitted or ran out of time";
        found.fault(&leaf.pointer, "misplaced-stay", message);
    }
    if matches!(leaf.target, StepTarget::Stay) && way.out == ExitKind::Exhausted {
        let message = "the code is void then: this step waits for ever, unless another one beside \
                       it issues a new code";
        found.warn(&leaf.pointer, "code-void", message);
    }
    whole
}

/// Warns of actors that may cancel a transaction that they may not read.
fn unseen(found: &mut CheckReport, definition: &Definition) {
    let covers = |by: &AllowedActor, other: &AllowedActor| match (by, other) {
        (AllowedActor::Role(role), AllowedActor::Role(other)) => role == other,
        (AllowedActor::Role(_), AllowedActor::Anyone | AllowedActor::User)
        | (AllowedActor::ApiKey, AllowedActor::ApiKey) => true,
        _ => false,
    };
    for (index, by) in definition.cancel.iter().enumerate() {
        let who = match by {
            AllowedActor::Role(role) if !role.is_power() => format!("role:{role}"),
            AllowedActor::ApiKey => "service".to_owned(),
            _ => continue,
        };
        let mut sees = definition
            .readers
            .iter()
            .chain(definition.steps.iter().flat_map(StepDefinition::submitters));
        if !sees.any(|other| covers(by, other)) {
            let message = format!(
                "`{who}` may cancel, and neither sees it nor submits a step: name it in `readers` too"
            );
            found.warn(&format!("/cancel/by/{index}"), "cancels-unseen", message);
        }
    }
}

/// Checks that all holds of one name that a step places have the same target when they expire: the
/// record does not keep which of them it was.
fn expiries(found: &mut CheckReport, definition: &Definition) {
    for step in &definition.steps {
        let mut known: BTreeMap<&str, (String, String)> = BTreeMap::new();
        each_effect(step, &mut |placed| {
            let FlowChange::PlacesHold { hold: id, on_expiry: Some(target) } =
                placed.effect.kind.flow_change()
            else {
                return;
            };
            let pointer = format!("{}/hold/on_expiry", placed.pointer);
            let target = format!("{target:?}");
            let (first, same) = known.entry(id).or_insert((pointer.clone(), target.clone()));
            if *same != target {
                let message = format!(
                    "{first} says otherwise where holds `{id}` of this step lead; give this one \
                     another name"
                );
                found.fault(&pointer, "two-expiries", message);
            }
        });
    }
}

/// Checks a step by itself.
fn single(found: &mut CheckReport, step: &StepDefinition) {
    let challenged = step.guard.iter().any(|guard| matches!(guard, StepGuard::Challenge { .. }));
    let pointer = pointer_of(step);
    if step.exhausted.is_some() && !challenged {
        let message = "`exhausted` is where too many wrong codes lead, and no guard of this step \
                       asks for one (`challenge`)";
        found.fault(&format!("{pointer}/exhausted"), "exhausted-without-challenge", message);
    }
    if challenged && !matches!(step.kind, StepKind::Client { .. }) {
        let message = "only a client can give a code: a guard with `challenge` stands on a step \
                       with `by`";
        found.fault(&format!("{pointer}/guard"), "challenge-without-client", message);
    }
    if challenged && !matches!(step.quorum, None | Some(Quorum::Fixed(1))) {
        let message = "a code is used once: the second of several who submit this step has none";
        found.fault(&format!("{pointer}/quorum"), "code-for-several", message);
    }
    let guarded: BTreeSet<_> = step
        .guard
        .iter()
        .filter_map(|guard| match guard {
            StepGuard::Challenge { id, .. } => Some(id),
            StepGuard::That { .. } => None,
        })
        .collect();
    if guarded.len() > 1 {
        let message = "a step asks for at most one code";
        found.fault(&format!("{pointer}/guard"), "several-challenges", message);
    }
}
