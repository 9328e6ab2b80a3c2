//! The ways out of a step, as pointers and targets.

use crate::engine::workflow::definition::{Definition, Effect, EffectKind, Step, StepKind, Target};
use crate::types::StepName;

/// What leads out of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::workflow) enum Out {
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

/// One way out of a step.
#[derive(Debug)]
pub(in crate::engine::workflow) struct Way<'d> {
    pub(in crate::engine::workflow) out: Out,
    pub(in crate::engine::workflow) pointer: String,
    pub(in crate::engine::workflow) target: &'d Target,
}

/// A target that chooses no more.
#[derive(Debug)]
pub(super) struct Leaf<'d> {
    pub(super) pointer: String,
    pub(super) target: &'d Target,
}

/// The pointer to a step. Names of steps need no escapes.
pub(super) fn pointer_of(step: &Step) -> String {
    format!("/steps/{}", step.name)
}

/// All ways out of a step.
pub(in crate::engine::workflow) fn ways(step: &Step) -> Vec<Way<'_>> {
    let at = pointer_of(step);
    let mut ways = Vec::new();
    let mut add = |out, pointer: String, target| ways.push(Way { out, pointer, target });
    if let Some(target) = &step.next {
        add(Out::Next, format!("{at}/next"), target);
    }
    if let Some(timeout) = &step.timeout {
        add(Out::Timeout, format!("{at}/timeout/next"), &timeout.next);
    }
    if let Some(target) = &step.refused {
        add(Out::Refused, format!("{at}/refused"), target);
    }
    if let Some(target) = &step.exhausted {
        add(Out::Exhausted, format!("{at}/exhausted"), target);
    }
    if let Some(target) = &step.failed {
        add(Out::Failed, format!("{at}/failed"), target);
    }
    each_effect(step, &mut |placed| {
        if let EffectKind::Hold { on_expiry: Some(target), .. } = &placed.effect.kind {
            let pointer = format!("{}/hold/on_expiry", placed.pointer);
            add(Out::Expiry, pointer, target);
        }
    });
    ways
}

/// An effect, and where it stands.
pub(super) struct Placed<'d> {
    pub(super) effect: &'d Effect,
    pub(super) pointer: String,
    /// Whether it may be left out: it, or what is around it, has a condition or is done once for
    /// each element of a list.
    pub(super) maybe: bool,
    /// Whether it stands in `each`.
    pub(super) repeated: bool,
    /// Whether it runs when the step is taken, and not while it is open.
    pub(super) taken: bool,
}

/// Shows all effects of a step, in their order.
pub(super) fn each_effect<'d>(step: &'d Step, show: &mut impl FnMut(&Placed<'d>)) {
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
        if let EffectKind::Each { effects, .. } = &effect.kind {
            walk(effects, &format!("{pointer}/do"), (true, true, taken), show);
        } else {
            show(&Placed { effect, pointer, maybe, repeated, taken });
        }
    }
}

/// What a target comes to, its choices taken apart.
pub(super) fn leaves<'d>(
    definition: &'d Definition,
    target: &'d Target,
    pointer: &str,
) -> Vec<Leaf<'d>> {
    let mut found = Vec::new();
    let mut rest = vec![(pointer.to_owned(), target)];
    while let Some((pointer, target)) = rest.pop() {
        match target {
            Target::When(choices) => {
                rest.extend(
                    choices
                        .iter()
                        .enumerate()
                        .rev()
                        .map(|(index, (_, target))| (format!("{pointer}/{index}/next"), target)),
                );
            }
            Target::All(number) => {
                if let Some(next) = definition.alls.get(*number).and_then(|all| all.next.as_ref()) {
                    rest.push((format!("{pointer}/next"), next));
                }
                found.push(Leaf { pointer, target });
            }
            _ => found.push(Leaf { pointer, target }),
        }
    }
    found
}

impl Leaf<'_> {
    /// The steps that it names, and where; of `all` the branches.
    pub(super) fn steps<'d>(&'d self, definition: &'d Definition) -> Vec<(String, &'d StepName)> {
        let several = |key: &str, names: &'d [StepName]| {
            names
                .iter()
                .enumerate()
                .map(|(index, name)| (format!("{}/{key}/{index}", self.pointer), name))
                .collect()
        };
        match self.target {
            Target::Step(name) => vec![(self.pointer.clone(), name)],
            Target::Any(names) => several("any", names),
            Target::All(number) => definition
                .alls
                .get(*number)
                .map(|all| several("all", &all.branches))
                .unwrap_or_default(),
            Target::Stay | Target::End(_) | Target::Cancel(_) | Target::When(_) => Vec::new(),
        }
    }
}

impl Way<'_> {
    /// Whether the step can open again at the end of this way.
    pub(super) const fn may_stay(&self, step: &Step) -> bool {
        match self.out {
            Out::Next | Out::Timeout | Out::Exhausted => !matches!(step.kind, StepKind::Automatic),
            Out::Failed => matches!(step.kind, StepKind::Call(_)),
            Out::Refused | Out::Expiry => false,
        }
    }
}
