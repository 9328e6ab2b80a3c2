//! Reads a step of a document, and its targets.

use serde_json::Value;

use super::call::{RequestUse, compensate, request};
use super::effect::effects;
use super::kinds;
use super::reader::{DefinitionReader, DocumentNode, MappingFields, listed, source_of, twice};
use super::top::{ByContext, schema, who};
use super::tree::TreeNode;
use super::words;
use crate::engine::expression::{Type, TypeScope};
use crate::engine::workflow::InputSchema;
use crate::engine::workflow::definition::{
    ParallelBranches, Quorum, Reminder, StepDefinition, StepGuard, StepKind, StepTarget,
    StepTimeout, Template, WaitCondition,
};
use crate::types::{Span, StepName, Time};

/// Maximum number of guards of a step.
const GUARDS_MAX: usize = 32;
/// Maximum number of targets that one `next` chooses from, and of names in `any` and `all`.
const TARGETS_MAX: usize = 32;
/// Maximum depth of nested targets.
const TARGET_DEPTH_MAX: usize = 8;
/// Maximum number of reminders of a step, and of times of one reminder.
const REMINDERS_MAX: usize = 16;
/// Maximum number of users that a quorum may require.
const QUORUM_MAX: u32 = 100;
/// Maximum number of submissions of a step, equal to the maximum number of opened steps of a
/// transaction.
const SUBMISSIONS_MAX: u32 = 1000;

/// Kind of a step, for the keys that it may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Client,
    Time,
    Answer,
    Nothing,
}

/// Reads a step.
pub(super) fn step(
    reader: &mut DefinitionReader,
    name: StepName,
    spot: &DocumentNode<'_>,
) -> Option<StepDefinition> {
    let Some(fields) = reader.fields(spot, "a step", &words::STEP, &[]) else {
        reader.lost = true;
        return None;
    };
    reader.effects = 0;
    let waits = waits(reader, &fields);
    misplaced(reader, &fields, waits);
    let input = fields.get("input").and_then(|spot| schema(reader, spot));
    let input_kind = input.as_ref().map(InputSchema::kind);
    // An input that cannot be read is still declared: expressions that use it are not faulty too.
    let input_kind = input_kind.or_else(|| fields.get("input").map(|_| Type::Any));
    let plain = kinds::with_data(&reader.data);
    let scope = match waits {
        Waits::Answer => kinds::answered(&reader.data),
        Waits::Client | Waits::Time | Waits::Nothing => {
            kinds::submitted(&reader.data, input_kind.as_ref(), fields.get("quorum").is_some())
        }
    };
    if waits != Waits::Answer
        && let Some(spot) = fields.get("call")
    {
        // The key is reported as misplaced; its faults are reported as well.
        drop(request(reader, spot, &plain, RequestUse::Call));
    }
    let kind = match waits {
        Waits::Client => StepKind::Client {
            by: who(reader, fields.get("by"), ByContext::Submits).unwrap_or_default(),
            input,
        },
        Waits::Time => StepKind::Wait(wait(reader, fields.get("wait"), &plain)),
        Waits::Answer => {
            let call = fields.get("call");
            match call.and_then(|spot| request(reader, spot, &plain, RequestUse::Call)) {
                Some(call) => StepKind::Call(call),
                // The faults of the call are reported already.
                None => StepKind::Automatic,
            }
        }
        Waits::Nothing => StepKind::Automatic,
    };
    Some(StepDefinition {
        name,
        title: reader.prose(fields.get("title")),
        description: reader.prose(fields.get("description")),
        kind,
        guard: guards(reader, fields.get("guard"), &scope),
        effects: effects(reader, fields.get("do"), &scope),
        next: fields.get("next").map(|spot| target(reader, spot, &scope)),
        timeout: timeout(reader, fields.get("timeout"), &plain),
        remind: reminders(reader, fields.get("remind"), &plain),
        pivot: flag(reader, fields.get("pivot")),
        quorum: quorum(reader, fields.get("quorum"), &plain),
        claim: fields.get("claim").and_then(|spot| reader.span(spot)),
        max_submissions: fields
            .get("max_submissions")
            .and_then(|spot| reader.whole(spot, 1, SUBMISSIONS_MAX)),
        refused: fields.get("refused").map(|spot| target(reader, spot, &plain)),
        exhausted: fields.get("exhausted").map(|spot| target(reader, spot, &plain)),
        compensate: compensate(reader, fields.get("compensate"), &scope),
        failed: fields.get("failed").map(|spot| target(reader, spot, &scope)),
    })
}

fn waits(reader: &mut DefinitionReader, fields: &MappingFields<'_>) -> Waits {
    if let Some(call) = fields.get("call") {
        if fields.get("by").is_some() || fields.get("wait").is_some() {
            let message = "a step waits for a client (`by`), a time (`wait`) or another service \
                           (`call`), for one of them";
            reader.fault(&call.pointer, "step-kind", message);
        } else {
            return Waits::Answer;
        }
    }
    match (fields.get("by"), fields.get("wait")) {
        (Some(_), Some(wait)) => {
            let message = "a step waits for a client (`by`) or for a time (`wait`), not for both; \
                           a time limit of a client step is its `timeout`";
            reader.fault(&wait.pointer, "step-kind", message);
            Waits::Client
        }
        (Some(_), None) => Waits::Client,
        (None, Some(_)) => Waits::Time,
        (None, None) => Waits::Nothing,
    }
}

/// Reports keys that have no meaning on a step of this kind.
fn misplaced(reader: &mut DefinitionReader, fields: &MappingFields<'_>, waits: Waits) {
    let client = ["input", "quorum", "claim", "max_submissions", "exhausted"];
    let waiting = ["timeout", "remind"];
    for key in fields.names() {
        let message = match waits {
            Waits::Client if key == "refused" => {
                "only an automatic step goes elsewhere when it is refused; a client is told"
            }
            Waits::Time if key == "timeout" => {
                "a step that waits for a time ends when that has come; beside it `any` can wait \
                 for another one"
            }
            Waits::Time if key == "refused" || client.contains(&key) => {
                "this says nothing on a step that waits for a time"
            }
            Waits::Answer
                if key == "refused" || client.contains(&key) || waiting.contains(&key) =>
            {
                "this says nothing on a step that waits for another service; its times, and what \
                 counts as a refusal, stand in `call`"
            }
            Waits::Client | Waits::Time | Waits::Nothing if key == "failed" => {
                "only a call fails so: `failed` stands on a step with `call`"
            }
            Waits::Nothing if client.contains(&key) || waiting.contains(&key) => {
                "this says nothing on an automatic step, which waits for nobody; a step that a \
                 client submits has `by`"
            }
            _ => continue,
        };
        let pointer = super::top::pointed(&fields.spot.pointer, key);
        reader.fault(&pointer, "misplaced-key", format!("`{key}`: {message}"));
    }
}

fn flag(reader: &mut DefinitionReader, spot: Option<&DocumentNode<'_>>) -> bool {
    match spot.map(|spot| (&spot.tree.node, spot)) {
        None => false,
        Some((TreeNode::Bool(truth), _)) => *truth,
        Some((_, spot)) => {
            reader.wrong_type(spot, "`true` or `false`");
            false
        }
    }
}

fn wait(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> WaitCondition {
    let nothing = || WaitCondition::For(Template::Literal(Value::Null));
    let Some(spot) = spot else { return nothing() };
    let Some(fields) = reader.fields(spot, "`wait`", &words::WAIT, &[]) else { return nothing() };
    match (fields.get("for"), fields.get("until")) {
        (Some(spot), None) => WaitCondition::For(length(reader, spot, scope)),
        (None, Some(spot)) => WaitCondition::Until(time(reader, spot, scope)),
        _ => {
            let message = "`wait` has `for` (a length of time) or `until` (a time)";
            reader.fault(&spot.pointer, "missing-key", message);
            nothing()
        }
    }
}

/// Reads a length of time, or an expression that returns one.
pub(super) fn length(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Template {
    match spot.text() {
        Some(text) if source_of(text).is_some() => {
            let made = reader.template(spot, scope);
            let fits = [Type::Text, Type::Duration];
            reader.expect(&spot.pointer, &kind_of(&made), &fits, "a length of time");
            made
        }
        _ => match reader.span(spot) {
            Some(_) => Template::Literal(spot.tree.json()),
            None => Template::Literal(Value::Null),
        },
    }
}

/// Reads a time, or an expression that returns one.
fn time(reader: &mut DefinitionReader, spot: &DocumentNode<'_>, scope: &TypeScope) -> Template {
    match spot.text() {
        Some(text) if source_of(text).is_some() => {
            let made = reader.template(spot, scope);
            reader.expect(&spot.pointer, &kind_of(&made), &[Type::Text, Type::Time], "a time");
            made
        }
        _ => match reader.word::<Time>(spot, "a time") {
            Some(_) => Template::Literal(spot.tree.json()),
            None => Template::Literal(Value::Null),
        },
    }
}

/// Type of a template's output, before it is stored.
pub(super) fn kind_of(template: &Template) -> Type {
    match template {
        Template::Expr(expr) => expr.kind().clone(),
        // Placeholder of a faulty expression, which is reported already.
        Template::Literal(Value::Null) => Type::Any,
        other => kinds::of_template(other),
    }
}

fn guards(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Vec<StepGuard> {
    let items = list(reader, spot, "a list of guards", GUARDS_MAX);
    items.iter().filter_map(|item| guard(reader, item, scope)).collect()
}

fn guard(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<StepGuard> {
    let fields = reader.fields(spot, "a guard", &words::GUARD, &[])?;
    if let Some(challenge) = fields.get("challenge") {
        for key in ["that", "code", "message"] {
            if let Some(extra) = fields.get(key) {
                let message = format!("a guard with `challenge` has `with`, and no `{key}`");
                reader.fault(&extra.pointer, "misplaced-key", message);
            }
        }
        let id = reader.code(challenge, "the name of a challenge");
        let with = reader.required(&fields, "with", "a guard with `challenge`").cloned()?;
        let with = reader.template(&with, scope);
        return Some(StepGuard::Challenge { id: id?, with });
    }
    let that = reader.required(&fields, "that", "a guard").cloned();
    let code = reader.required(&fields, "code", "a guard").cloned();
    if let Some(with) = fields.get("with") {
        let message = "`with` belongs to a guard with `challenge`";
        reader.fault(&with.pointer, "misplaced-key", message);
    }
    let that = that.and_then(|spot| reader.condition(&spot, scope));
    let code = code.and_then(|spot| reader.code(&spot, "a code"));
    // Without a message the code is shown to people.
    let message = match fields.get("message") {
        Some(spot) => reader.prose(Some(spot)),
        None => code.clone(),
    };
    Some(StepGuard::That { that: that?, code: code?, message: message? })
}

fn timeout(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Option<StepTimeout> {
    let fields = reader.fields(spot?, "`timeout`", &words::TIMEOUT, &[])?;
    let after = reader.required(&fields, "after", "`timeout`").cloned();
    let next = reader.required(&fields, "next", "`timeout`").cloned();
    let after = after.map(|spot| length(reader, &spot, scope));
    let next = next.map(|spot| target(reader, &spot, scope));
    reader.holes |= next.is_none();
    Some(StepTimeout { after: after?, next: next? })
}

fn reminders(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Vec<Reminder> {
    let items = list(reader, spot, "a list of reminders", REMINDERS_MAX);
    items.iter().filter_map(|item| reminder(reader, item, scope)).collect()
}

fn reminder(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<Reminder> {
    let fields = reader.fields(spot, "a reminder", &words::REMIND, &[])?;
    let after = reader.required(&fields, "after", "a reminder").cloned();
    let effects_spot = reader.required(&fields, "do", "a reminder").cloned();
    let effects = effects(reader, effects_spot.as_ref(), scope);
    let times = list(reader, after.as_ref(), "a list of times like [4h, 24h]", REMINDERS_MAX);
    let mut after = Vec::with_capacity(times.len());
    for spot in &times {
        let Some(span) = reader.span(spot) else { continue };
        if after.last().is_some_and(|last: &Span| *last >= span) {
            reader.fault(
                &spot.pointer,
                "invalid-value",
                "each time must be later than the one before",
            );
        }
        after.push(span);
    }
    Some(Reminder { after, effects })
}

fn quorum(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Option<Quorum> {
    let spot = spot?;
    if spot.text().is_some() {
        let expr = reader.expression(spot, scope, "how many must submit")?;
        reader.expect(&spot.pointer, expr.kind(), &[Type::Int, Type::Number], "a whole number");
        return Some(Quorum::Expr(expr));
    }
    reader.whole(spot, 1, QUORUM_MAX).map(Quorum::Fixed)
}

/// Returns the elements of a list of limited length.
pub(super) fn list<'t>(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'t>>,
    expected: &str,
    most: usize,
) -> Vec<DocumentNode<'t>> {
    let Some(spot) = spot else { return Vec::new() };
    let Some(items) = spot.items() else {
        reader.wrong_type(spot, expected);
        return Vec::new();
    };
    if items.len() > most {
        let message = format!("at most {most} may stand here, and there are {}", items.len());
        reader.fault(&spot.pointer, "too-many", message);
        return Vec::new();
    }
    items
}

/// Reads a target.
pub(super) fn target(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> StepTarget {
    read_target(reader, spot, scope, 0).unwrap_or_else(|| {
        reader.holes = true;
        StepTarget::When(Vec::new())
    })
}

fn read_target(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    depth: usize,
) -> Option<StepTarget> {
    if depth > TARGET_DEPTH_MAX {
        let message = format!("targets are nested at most {TARGET_DEPTH_MAX} deep");
        reader.fault(&spot.pointer, "too-deep", message);
        return None;
    }
    match &spot.tree.node {
        TreeNode::Text(text) if text == "stay" => Some(StepTarget::Stay),
        TreeNode::Text(text) if text == "end" || text == "cancel" => {
            let message = format!("`{text}` needs an outcome: `{{ {text}: NAME }}`");
            reader.fault(&spot.pointer, "invalid-target", message);
            None
        }
        TreeNode::Text(_) => reader.word(spot, "the name of a step").map(StepTarget::Step),
        TreeNode::List(_) => choices(reader, spot, scope, depth),
        TreeNode::Map(_) => place(reader, spot, scope, depth),
        _ => {
            reader.wrong_type(
                spot,
                "a target: a step, `stay`, `{ any: [...] }`, `{ all: [...], next: ... }`, \
                 `{ end: NAME }`, `{ cancel: CODE }`, or a list of `{ when, next }`",
            );
            None
        }
    }
}

fn place(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    depth: usize,
) -> Option<StepTarget> {
    let fields = reader.fields(spot, "a target", &words::TARGET, &[])?;
    let kinds: Vec<_> = fields.names().filter(|name| *name != "next").collect();
    let [kind] = kinds.as_slice() else {
        let known = listed(&["any", "all", "end", "cancel"]);
        let message = format!("a target that is a mapping has one of {known}");
        reader.fault(&spot.pointer, "invalid-target", message);
        return None;
    };
    if let Some(next) = fields.get("next")
        && *kind != "all"
    {
        let message = format!("`next` stands beside `all` only; `{kind}` goes nowhere from here");
        reader.fault(&next.pointer, "misplaced-key", message);
    }
    let at = fields.get(kind)?;
    match *kind {
        "any" => Some(StepTarget::Any(names(reader, at)?)),
        "end" => reader.code(at, "the name of an outcome").map(StepTarget::End),
        "cancel" => reader.code(at, "a code").map(StepTarget::Cancel),
        _ => {
            let branches = names(reader, at);
            let next = match fields.get("next") {
                Some(next) => Some(read_target(reader, next, scope, depth + 1)?),
                None => None,
            };
            reader.alls.push(ParallelBranches { branches: branches?, next });
            Some(StepTarget::All(reader.alls.len() - 1))
        }
    }
}

fn names(reader: &mut DefinitionReader, spot: &DocumentNode<'_>) -> Option<Vec<StepName>> {
    let items = list(reader, Some(spot), "a list of steps", TARGETS_MAX);
    let names: Vec<StepName> =
        items.iter().filter_map(|item| reader.word(item, "the name of a step")).collect();
    if names.len() < items.len() {
        return None;
    }
    if names.len() < 2 {
        if spot.items().is_some() {
            let message = "at least two steps stand here; a single one is a target by itself";
            reader.fault(&spot.pointer, "invalid-target", message);
        }
        return None;
    }
    if let Some(name) = twice(names.iter().map(StepName::as_str)) {
        reader.fault(&spot.pointer, "invalid-target", format!("`{name}` is here twice"));
        return None;
    }
    Some(names)
}

fn choices(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    depth: usize,
) -> Option<StepTarget> {
    let items = list(reader, Some(spot), "a list of `{ when, next }`", TARGETS_MAX);
    let mut choices = Vec::with_capacity(items.len());
    let mut whole = !items.is_empty();
    if items.is_empty() && spot.items().is_some_and(|items| items.is_empty()) {
        reader.fault(&spot.pointer, "invalid-target", "a list of targets is not empty");
    }
    for (index, item) in items.iter().enumerate() {
        let Some(fields) = reader.fields(item, "one of several targets", &words::CHOICE, &[])
        else {
            whole = false;
            continue;
        };
        let is_last = index + 1 == items.len();
        let when = match fields.get("when") {
            Some(when) if is_last => {
                let message = "the last target has no `when`: it is taken when no other is";
                reader.fault(&when.pointer, "invalid-target", message);
                whole = false;
                None
            }
            Some(when) => {
                let condition = reader.condition(when, scope);
                whole &= condition.is_some();
                condition
            }
            None if !is_last => {
                let message = "only the last target has no `when`: those after it are never taken";
                reader.fault(&item.pointer, "invalid-target", message);
                whole = false;
                None
            }
            None => None,
        };
        let next = reader.required(&fields, "next", "one of several targets").cloned();
        if let Some(next) = next.and_then(|next| read_target(reader, &next, scope, depth + 1)) {
            choices.push((when, next));
        } else {
            reader.holes = true;
            whole = false;
        }
    }
    // A faulty condition is reported already; the targets are kept.
    (whole || !choices.is_empty()).then_some(StepTarget::When(choices))
}
