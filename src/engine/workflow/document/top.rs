//! Top level of a document.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::kinds;
use super::reader::{DefinitionReader, DocumentNode, MappingFields, escaped, listed, shortened};
use super::tree::TreeNode;
use super::words;
use crate::engine::expression::{Type, TypeScope};
use crate::engine::workflow::InputSchema;
use crate::engine::workflow::definition::{AllowedActor, Definition, SessionEnd, Template};
use crate::types::{Role, StepName, WorkflowName};

/// Maximum number of steps of a document.
const STEPS_MAX: usize = 200;

/// Maximum number of names in one `by`, `readers` or `cancel`.
const WHO_MAX: usize = 32;

/// Maximum number of data keys in `restricted`.
const RESTRICTED_MAX: usize = 64;

/// Placeholder for a name that could not be read; such a document is refused.
const NAMELESS: &str = "nameless";

/// Context of a list of actors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByContext {
    /// Actors that may start: the transaction has no owner and no data yet.
    Starts,
    /// Readers, or actors that may cancel.
    Sees,
    /// Submitters of a step.
    Submits,
}

/// Reads a whole document. A document with faults gives a definition too, so that its other parts
/// can be checked.
pub(super) fn definition(
    reader: &mut DefinitionReader,
    root: &DocumentNode<'_>,
) -> Option<Definition> {
    let fields = reader.fields(root, "a workflow", &words::TOP, &[])?;
    language(reader, &fields);
    let name = reader
        .required(&fields, "workflow", "a workflow")
        .cloned()
        .and_then(|spot| reader.word::<WorkflowName>(&spot, "the name of a workflow"));
    let input = fields.get("input").and_then(|spot| schema(reader, spot));
    let input_kind = input.as_ref().map(InputSchema::kind);
    let scope = kinds::at_start(input_kind.as_ref());
    let data = initial(reader, fields.get("data"), &scope);
    if let Some(Type::Object { keys, open }) = input_kind {
        reader.made.extend(keys);
        reader.opened |= open;
    } else if input.is_some() {
        reader.opened = true;
    }
    let data_scope = kinds::with_data(&reader.data);
    let unique = fields
        .get("unique")
        .and_then(|spot| reader.expression(spot, &data_scope, "what may be open only once"));
    let first = reader
        .required(&fields, "first", "a workflow")
        .cloned()
        .and_then(|spot| reader.word::<StepName>(&spot, "the name of a step"));
    let start = start(reader, fields.get("start"));
    let readers = who(reader, fields.get("readers"), ByContext::Sees);
    let cancel = fields.get("cancel").and_then(|spot| {
        let fields = reader.fields(spot, "`cancel`", &words::WHO, &[])?;
        let by = reader.required(&fields, "by", "`cancel`").cloned();
        who(reader, by.as_ref(), ByContext::Sees)
    });
    let restricted = restricted(reader, fields.get("restricted"));
    let steps = steps(reader, &fields);
    let index = steps.iter().enumerate().map(|(at, step)| (step.name.clone(), at)).collect();
    reader.holes |= name.is_none() || first.is_none();
    Some(Definition {
        name: name.or_else(|| NAMELESS.parse().ok())?,
        title: reader.prose(fields.get("title")),
        description: reader.prose(fields.get("description")),
        start: start.unwrap_or_else(|| vec![AllowedActor::User]),
        readers: readers.unwrap_or_else(|| vec![AllowedActor::Owner]),
        restricted,
        cancel: cancel.unwrap_or_else(|| vec![AllowedActor::Owner]),
        deadline: fields.get("deadline").and_then(|spot| reader.span(spot)),
        unique,
        input,
        data,
        session_end: session_end(reader, fields.get("session_end")),
        first: first.or_else(|| NAMELESS.parse().ok())?,
        steps,
        alls: std::mem::take(&mut reader.alls),
        index,
    })
}

fn language(reader: &mut DefinitionReader, fields: &MappingFields<'_>) {
    let Some(spot) = reader.required(fields, "abide", "a workflow") else { return };
    let is_one = matches!(&spot.tree.node, TreeNode::Number(number) if number.as_u64() == Some(1));
    if !is_one {
        let message = "this server reads version 1 of the language: `abide: 1`";
        reader.fault(&spot.pointer, "unknown-version", message);
    }
}

/// Reads the schema of an input.
pub(super) fn schema(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
) -> Option<InputSchema> {
    if !spot.is_map() {
        reader.wrong_type(spot, "a JSON Schema: a mapping");
        return None;
    }
    // Duplicate keys are reported here; the schema itself is read from plain JSON.
    reader.duplicates(spot);
    match InputSchema::compile(&spot.tree.json()) {
        Ok(schema) => Some(schema),
        Err(faults) => {
            for (pointer, message) in faults {
                let pointer = format!("{}{pointer}", spot.pointer);
                reader.fault(&pointer, "invalid-schema", message);
            }
            None
        }
    }
}

fn initial(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Template {
    let empty = || Template::Literal(Value::Object(serde_json::Map::new()));
    let Some(spot) = spot else { return empty() };
    if !spot.is_map() {
        reader.wrong_type(spot, "the data at the start: a mapping");
        return empty();
    }
    let data = reader.template(spot, scope);
    reader.declare(&data);
    data
}

fn start(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
) -> Option<Vec<AllowedActor>> {
    let fields = reader.fields(spot?, "`start`", &words::WHO, &[])?;
    let by = reader.required(&fields, "by", "`start`").cloned();
    who(reader, by.as_ref(), ByContext::Starts)
}

/// Reads a list of actors.
pub(super) fn who(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    place: ByContext,
) -> Option<Vec<AllowedActor>> {
    let spot = spot?;
    let Some(items) = spot.items() else {
        reader.wrong_type(spot, "a list like [owner, role:officer]");
        return None;
    };
    if items.is_empty() {
        reader.fault(&spot.pointer, "empty-list", "nobody is let in; name at least one");
        return None;
    }
    if items.len() > WHO_MAX {
        reader.fault(&spot.pointer, "too-many", format!("at most {WHO_MAX} may stand here"));
        return None;
    }
    Some(items.iter().filter_map(|item| one(reader, item, place)).collect())
}

fn one(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    place: ByContext,
) -> Option<AllowedActor> {
    let text = reader.text(spot, "somebody, like `owner` or `role:officer`")?;
    let by = match text {
        "anyone" => return Some(AllowedActor::Anyone),
        "service" => return Some(AllowedActor::ApiKey),
        "owner" if place == ByContext::Starts => {
            let message = "nobody owns a transaction before it is started; leave `start` out to \
                           let in every user who is signed in";
            reader.fault(&spot.pointer, "invalid-value", message);
            return None;
        }
        "owner" => return Some(AllowedActor::Owner),
        text => text,
    };
    if let Some(role) = by.strip_prefix("role:") {
        return match role.parse::<Role>() {
            Ok(role) => Some(AllowedActor::Role(role)),
            Err(error) => {
                let message = format!("`{}` is no role: it {error}", shortened(role));
                reader.fault(&spot.pointer, "invalid-name", message);
                None
            }
        };
    }
    if let Some(source) = by.strip_prefix("user:=") {
        if place != ByContext::Submits {
            let message = "a single user can be named in the `by` of a step only";
            reader.fault(&spot.pointer, "invalid-value", message);
            return None;
        }
        let scope = kinds::with_data(&reader.data);
        let expr = reader.compile(source, &spot.pointer, &scope)?;
        reader.expect(&spot.pointer, expr.kind(), &[Type::Text], "the name of a user");
        return Some(AllowedActor::Named(expr));
    }
    for (before, what) in [("hook:", "a hook"), ("workflow:", "a workflow")] {
        let Some(name) = by.strip_prefix(before) else { continue };
        let parsed = if before == "hook:" {
            name.parse().map(AllowedActor::Hook)
        } else {
            name.parse().map(AllowedActor::Workflow)
        };
        let told = |error| format!("`{}` is no name of {what}: it {error}", shortened(name));
        return match parsed {
            Ok(by) => Some(by),
            Err(error) => {
                reader.fault(&spot.pointer, "invalid-name", told(error));
                None
            }
        };
    }
    let known =
        ["owner", "anyone", "service", "role:NAME", "user:=EXPR", "hook:NAME", "workflow:NAME"];
    let message = format!("`{}` is nobody; known are {}", shortened(by), listed(&known));
    reader.fault(&spot.pointer, "invalid-value", message);
    None
}

fn restricted(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
) -> BTreeMap<Arc<str>, Vec<AllowedActor>> {
    let mut restricted = BTreeMap::new();
    let Some(spot) = spot else { return restricted };
    let entries = reader.entries(spot, "a mapping of keys of `data` to who may read them");
    for (key, value) in entries.unwrap_or_default() {
        if restricted.len() == RESTRICTED_MAX {
            let message = format!("at most {RESTRICTED_MAX} keys may stand here");
            reader.fault(&spot.pointer, "too-many", message);
            break;
        }
        if let Type::Object { keys, open: false } = &reader.data
            && !keys.contains_key(key)
        {
            let message = format!("no step sets `data.{}`", shortened(key));
            reader.fault(&value.pointer, "unknown-name", message);
        }
        if let Some(by) = who(reader, Some(&value), ByContext::Sees) {
            restricted.insert(Arc::from(key), by);
        }
    }
    restricted
}

fn session_end(reader: &mut DefinitionReader, spot: Option<&DocumentNode<'_>>) -> SessionEnd {
    let Some(spot) = spot else { return SessionEnd::default() };
    match spot.text() {
        Some("cancel") => SessionEnd::Cancel,
        Some("continue") => SessionEnd::Continue,
        _ => {
            reader.fault(&spot.pointer, "invalid-value", "this must be `cancel` or `continue`");
            SessionEnd::default()
        }
    }
}

fn steps(
    reader: &mut DefinitionReader,
    fields: &MappingFields<'_>,
) -> Vec<crate::engine::workflow::StepDefinition> {
    let mut steps = Vec::new();
    let Some(spot) = reader.required(fields, "steps", "a workflow").cloned() else {
        reader.lost = true;
        return steps;
    };
    let entries = reader.entries(&spot, "a mapping of names to steps").unwrap_or_default();
    if entries.is_empty() {
        reader.lost = true;
        reader.fault(&spot.pointer, "empty-list", "a workflow has at least one step");
    }
    if entries.len() > STEPS_MAX {
        let message =
            format!("a workflow has at most {STEPS_MAX} steps, this one has {}", entries.len());
        reader.fault(&spot.pointer, "too-many-steps", message);
        reader.lost = true;
        return steps;
    }
    for (name, spot) in entries {
        match name.parse::<StepName>() {
            Ok(name) => steps.extend(super::step::step(reader, name, &spot)),
            Err(error) => {
                reader.lost = true;
                let message = format!("`{}` is no name of a step: it {error}", shortened(name));
                reader.fault(&spot.pointer, "invalid-name", message);
            }
        }
    }
    steps
}

impl DefinitionReader {
    /// Reports duplicate keys, at every depth.
    fn duplicates(&mut self, spot: &DocumentNode<'_>) {
        if spot.is_map() {
            for (_, below) in self.entries(spot, "a mapping").unwrap_or_default() {
                self.duplicates(&below);
            }
        }
        for below in spot.items().unwrap_or_default() {
            self.duplicates(&below);
        }
    }

    /// Records the keys that a template writes into the data.
    pub(in crate::engine) fn declare(&mut self, template: &Template) {
        match kinds::of_template(template) {
            Type::Object { keys, open } => {
                self.made.extend(keys);
                // A literal object is open only because effects may merge into its values.
                self.opened |= open && matches!(template, Template::Expr(_));
            }
            _ => self.opened = true,
        }
    }
}

/// Returns the type of the data, from all types that were written into it.
pub(super) fn data_kind(made: Vec<(Arc<str>, Type)>, open: bool) -> Type {
    let mut keys: BTreeMap<Arc<str>, Type> = BTreeMap::new();
    for (key, kind) in made {
        let kind = keys.get(&key).map_or_else(|| kind.clone(), |known| kinds::join(known, &kind));
        keys.insert(key, kind);
    }
    Type::Object { keys, open }
}

/// Appends a key to a pointer.
pub(super) fn pointed(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", escaped(key))
}
