//! Reader of a document's tree: faults and types that it collects, and readers of simple values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use super::DefinitionFault;
use super::tree::{At, Tree, TreeKey, TreeNode};
use super::words;
use crate::engine::expression::{Expr, Type, TypeScope, nearest};
use crate::engine::workflow::definition::{ParallelBranches, Template};
use crate::types::Span;

/// Node with its pointer.
#[derive(Clone, Debug)]
pub(in crate::engine) struct DocumentNode<'t> {
    pub(in crate::engine) tree: &'t Tree,
    pub(in crate::engine) pointer: String,
}

/// Mapping whose keys were checked.
pub(in crate::engine) struct MappingFields<'t> {
    pub(in crate::engine) spot: DocumentNode<'t>,
    entries: BTreeMap<&'t str, DocumentNode<'t>>,
}

/// Reader of a document, with the faults and types that it collects.
pub(in crate::engine) struct DefinitionReader {
    pub(super) faults: Vec<DefinitionFault>,
    /// Type of the data in this pass.
    pub(super) data: Type,
    /// Types of the keys that `set` and `merge` write.
    pub(super) made: Vec<(Arc<str>, Type)>,
    /// True if the data may have keys with unknown names.
    pub(super) opened: bool,
    pub(super) alls: Vec<ParallelBranches>,
    /// True if a target could not be read, so that the graph is incomplete.
    pub(super) holes: bool,
    /// True if a step could not be read, so that its name is missing.
    pub(super) lost: bool,
    /// Number of effects of the current step.
    pub(super) effects: usize,
}

/// Maximum size of a text for people, in bytes: a title, a description, a message.
const TEXT_BYTES_MAX: usize = 4096;

impl<'t> DocumentNode<'t> {
    pub(super) const fn root(tree: &'t Tree) -> Self {
        Self { tree, pointer: String::new() }
    }

    fn below(&self, tree: &'t Tree, part: &dyn Display) -> Self {
        Self { tree, pointer: format!("{}/{part}", self.pointer) }
    }

    /// Returns the text, if it is one.
    pub(in crate::engine) const fn text(&self) -> Option<&'t str> {
        match &self.tree.node {
            TreeNode::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the elements, if it is a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match &self.tree.node {
            TreeNode::List(items) => Some(
                items.iter().enumerate().map(|(index, item)| self.below(item, &index)).collect(),
            ),
            _ => None,
        }
    }

    const fn keys(&self) -> Option<&'t Vec<(TreeKey, Tree)>> {
        match &self.tree.node {
            TreeNode::Map(keys) => Some(keys),
            _ => None,
        }
    }

    pub(super) const fn is_map(&self) -> bool {
        self.keys().is_some()
    }
}

/// Escapes a key for a JSON Pointer (RFC 6901).
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl<'t> MappingFields<'t> {
    pub(in crate::engine) fn get(&self, key: &str) -> Option<&DocumentNode<'t>> {
        self.entries.get(key)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'t str> {
        self.entries.keys().copied()
    }
}

impl DefinitionReader {
    pub(super) const fn new(data: Type) -> Self {
        Self {
            faults: Vec::new(),
            data,
            made: Vec::new(),
            opened: false,
            alls: Vec::new(),
            holes: false,
            lost: false,
            effects: 0,
        }
    }

    pub(in crate::engine) fn fault(
        &mut self,
        pointer: &str,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.push(pointer, code, message.into(), None);
    }

    fn push(&mut self, pointer: &str, code: &'static str, message: String, at: Option<At>) {
        self.faults.push(DefinitionFault { pointer: pointer.to_owned(), code, message, at });
    }

    pub(super) fn wrong_type(&mut self, spot: &DocumentNode<'_>, expected: &str) {
        self.fault(
            &spot.pointer,
            "wrong-type",
            format!("this must be {expected}, and is {}", spot.tree.kind()),
        );
    }

    /// Reports a key of a later version of the server.
    pub(super) fn later(&mut self, pointer: &str, word: &str) {
        self.fault(
            pointer,
            "not-supported-yet",
            format!("`{word}` belongs to a later version of the server"),
        );
    }

    /// Returns the entries of a mapping, in their order, and reports duplicate keys.
    pub(super) fn entries<'t>(
        &mut self,
        spot: &DocumentNode<'t>,
        expected: &str,
    ) -> Option<Vec<(&'t str, DocumentNode<'t>)>> {
        let Some(keys) = spot.keys() else {
            self.wrong_type(spot, expected);
            return None;
        };
        let mut seen = BTreeMap::new();
        let mut entries = Vec::with_capacity(keys.len());
        for (key, tree) in keys {
            let below = spot.below(tree, &escaped(&key.text));
            if let Some(first) = seen.insert(key.text.as_str(), key.at) {
                self.push(
                    &below.pointer,
                    "duplicate-key",
                    format!("the key `{}` is here already, in line {}", key.text, first.0),
                    Some(key.at),
                );
            } else {
                entries.push((key.text.as_str(), below));
            }
        }
        Some(entries)
    }

    /// Reads a mapping with some of these keys.
    pub(super) fn fields<'t>(
        &mut self,
        spot: &DocumentNode<'t>,
        what: &str,
        known: &[&str],
        later: &[&str],
    ) -> Option<MappingFields<'t>> {
        let expected = format!("{what}: a mapping with the keys {}", listed(known));
        let entries = self.entries(spot, &expected)?;
        let mut fields = MappingFields { spot: spot.clone(), entries: BTreeMap::new() };
        for (key, below) in entries {
            if known.contains(&key) {
                fields.entries.insert(key, below);
            } else if later.contains(&key) {
                self.later(&below.pointer, key);
            } else {
                self.unknown_key(spot, &below, key, what, known);
            }
        }
        Some(fields)
    }

    fn unknown_key(
        &mut self,
        around: &DocumentNode<'_>,
        below: &DocumentNode<'_>,
        key: &str,
        what: &str,
        known: &[&str],
    ) {
        let at = around
            .keys()
            .and_then(|keys| keys.iter().find(|(found, _)| found.text == key))
            .map(|(found, _)| found.at);
        let hint = if is_split(key, below.tree) {
            "; if it is the rest of an expression that a comma, a `: ` or a `#` split, put the \
             whole expression in quotes"
                .to_owned()
        } else if key == "<<" {
            "; keys are not merged from elsewhere: write them out".to_owned()
        } else if let Some((_, new)) = words::RENAMED.iter().find(|(old, _)| *old == key)
            && known.contains(new)
        {
            format!("; it is called `{new}` now")
        } else if let Some(near) = nearest(key, known.iter().copied()) {
            format!("; did you mean `{near}`?")
        } else {
            format!("; its keys are {}", listed(known))
        };
        let message = format!("`{}` is no key of {what}{hint}", shortened(key));
        self.push(&below.pointer, "unknown-key", message, at);
    }

    /// Returns the value of a key, and reports its absence.
    pub(in crate::engine) fn required<'f, 't>(
        &mut self,
        fields: &'f MappingFields<'t>,
        key: &str,
        what: &str,
    ) -> Option<&'f DocumentNode<'t>> {
        let found = fields.get(key);
        if found.is_none() {
            self.fault(&fields.spot.pointer, "missing-key", format!("{what} needs `{key}`"));
        }
        found
    }

    /// Reads a text for people.
    pub(super) fn prose(&mut self, spot: Option<&DocumentNode<'_>>) -> Option<Arc<str>> {
        let spot = spot?;
        match spot.text() {
            Some(text) if text.len() <= TEXT_BYTES_MAX => Some(text.into()),
            Some(_) => {
                let message = format!("a text here has at most {TEXT_BYTES_MAX} bytes");
                self.fault(&spot.pointer, "too-long", message);
                None
            }
            None => {
                self.wrong_type(spot, "a text");
                None
            }
        }
    }

    /// Reads a literal text in a fixed form.
    pub(super) fn word<T: FromStr>(&mut self, spot: &DocumentNode<'_>, what: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let Some(text) = spot.text() else {
            self.wrong_type(spot, what);
            return None;
        };
        match text.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                let message = format!("`{}` is not {what}: it {error}", shortened(text));
                self.fault(&spot.pointer, "invalid-value", message);
                None
            }
        }
    }

    /// Reads a length of time greater than zero.
    pub(in crate::engine) fn span(&mut self, spot: &DocumentNode<'_>) -> Option<Span> {
        let span = self.word::<Span>(spot, "a length of time")?;
        if span == Span::ZERO {
            self.fault(&spot.pointer, "invalid-value", "a length of time here is more than zero");
            return None;
        }
        Some(span)
    }

    /// Reads a whole number within limits.
    pub(in crate::engine) fn whole(
        &mut self,
        spot: &DocumentNode<'_>,
        least: u32,
        most: u32,
    ) -> Option<u32> {
        if let TreeNode::Number(number) = &spot.tree.node {
            let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
            if let Some(number) = number
                && (least..=most).contains(&number)
            {
                return Some(number);
            }
            let message = format!("this must be a whole number from {least} to {most}");
            self.fault(&spot.pointer, "invalid-value", message);
        } else {
            self.wrong_type(spot, &format!("a whole number from {least} to {most}"));
        }
        None
    }

    /// Reads a name that the document defines: an outcome, a code, a hold, a challenge.
    pub(in crate::engine) fn code(
        &mut self,
        spot: &DocumentNode<'_>,
        what: &str,
    ) -> Option<Arc<str>> {
        let text = self.text(spot, what)?;
        if is_code(text) {
            return Some(text.into());
        }
        let message = format!(
            "`{}` is not {what}: it must be 1 to 64 characters of a-z, 0-9 and -, the first one \
             of a-z",
            shortened(text)
        );
        self.fault(&spot.pointer, "invalid-name", message);
        None
    }

    /// Reads a text.
    pub(in crate::engine) fn text<'t>(
        &mut self,
        spot: &DocumentNode<'t>,
        what: &str,
    ) -> Option<&'t str> {
        let text = spot.text();
        if text.is_none() {
            self.wrong_type(spot, &format!("{what}: a text"));
        }
        text
    }

    /// Compiles an expression, given without its leading `=`.
    pub(super) fn compile(
        &mut self,
        source: &str,
        pointer: &str,
        scope: &TypeScope,
    ) -> Option<Expr> {
        match Expr::compile(source, scope) {
            Ok(expr) => Some(expr),
            Err(faults) => {
                for fault in faults {
                    self.fault(pointer, fault.code, fault.message);
                }
                None
            }
        }
    }

    /// Reads a condition: always an expression.
    pub(super) fn condition(&mut self, spot: &DocumentNode<'_>, scope: &TypeScope) -> Option<Expr> {
        if let TreeNode::Bool(truth) = spot.tree.node {
            return self.compile(if truth { "true" } else { "false" }, &spot.pointer, scope);
        }
        let text = self.text(spot, "a condition")?;
        if let Some(rest) = text.strip_prefix('=')
            && !rest.starts_with('=')
        {
            let message = "a condition is an expression without `=` before it";
            self.fault(&spot.pointer, "invalid-value", message);
            return None;
        }
        let expr = self.compile(text, &spot.pointer, scope)?;
        self.expect(&spot.pointer, expr.kind(), &[Type::Bool], "a condition");
        Some(expr)
    }

    /// Reads a value that must be an expression: `=EXPR`.
    pub(in crate::engine) fn expression(
        &mut self,
        spot: &DocumentNode<'_>,
        scope: &TypeScope,
        what: &str,
    ) -> Option<Expr> {
        let Some(source) = spot.text().and_then(source_of) else {
            self.wrong_type(spot, &format!("{what}: an expression that begins with `=`"));
            return None;
        };
        self.compile(source, &spot.pointer, scope)
    }

    /// Reads JSON in which texts that begin with `=` are expressions.
    pub(super) fn template(&mut self, spot: &DocumentNode<'_>, scope: &TypeScope) -> Template {
        match &spot.tree.node {
            TreeNode::Text(text) => match source_of(text) {
                Some(source) => self
                    .compile(source, &spot.pointer, scope)
                    .map_or(Template::Literal(Value::Null), Template::Expr),
                None => Template::Literal(Value::String(
                    text.strip_prefix('=').unwrap_or(text).to_owned(),
                )),
            },
            TreeNode::List(_) => {
                let items: Vec<_> = spot
                    .items()
                    .unwrap_or_default()
                    .iter()
                    .map(|item| self.template(item, scope))
                    .collect();
                let literal = items.iter().map(literal_of).collect::<Option<Vec<_>>>();
                literal
                    .map_or(Template::List(items), |items| Template::Literal(Value::Array(items)))
            }
            TreeNode::Map(_) => {
                let entries: Vec<(Arc<str>, Template)> = self
                    .entries(spot, "a mapping")
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (Arc::from(key), self.template(&value, scope)))
                    .collect();
                let literal = entries
                    .iter()
                    .map(|(key, value)| literal_of(value).map(|value| (key.to_string(), value)))
                    .collect::<Option<serde_json::Map<_, _>>>();
                literal.map_or(Template::Object(entries), |object| {
                    Template::Literal(Value::Object(object))
                })
            }
            _ => Template::Literal(spot.tree.json()),
        }
    }

    /// Reports a known type that is none of the fitting ones.
    pub(in crate::engine) fn expect(
        &mut self,
        pointer: &str,
        kind: &Type,
        fitting: &[Type],
        what: &str,
    ) {
        let fits = matches!(kind, Type::Any)
            || fitting
                .iter()
                .any(|fit| std::mem::discriminant(fit) == std::mem::discriminant(kind));
        if !fits {
            let message = format!("{what} is expected here, and this makes {}", called(kind));
            self.fault(pointer, "wrong-type", message);
        }
    }
}

/// Returns the source of an expression, if the text is one: `=EXPR`, but not `==literal`.
pub(super) fn source_of(text: &str) -> Option<&str> {
    text.strip_prefix('=').filter(|rest| !rest.starts_with('='))
}

fn literal_of(template: &Template) -> Option<Value> {
    match template {
        Template::Literal(value) => Some(value.clone()),
        _ => None,
    }
}

/// Returns whether a text is an outcome or a code: `[a-z][a-z0-9-]{0,63}`.
pub(super) fn is_code(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Returns the name of a type, for people.
fn called(kind: &Type) -> &'static str {
    match kind {
        Type::Any => "anything",
        Type::Null => "null",
        Type::Bool => "a truth value",
        Type::Int => "a whole number",
        Type::Number => "a number",
        Type::Text | Type::AmountText => "a text",
        Type::Amount => "an amount",
        Type::Time => "a time",
        Type::Duration => "a length of time",
        Type::List(_) => "a list",
        Type::Object { .. } => "an object",
    }
}

/// Returns whether a key looks like a part of an expression that YAML split.
fn is_split(key: &str, value: &Tree) -> bool {
    let odd = key.chars().any(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '<')));
    let is_bare = matches!(value.node, TreeNode::Null);
    // No key is a number, but the rest of `f(x, 2)` may be.
    let number = key.starts_with(|first: char| first.is_ascii_digit());
    is_bare && (odd || number) || odd && key.contains(['(', ')', '"', '\'', '=', '.'])
}

/// Lists words, for people.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Shortens a text for a message.
pub(in crate::engine) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(CHARACTERS_MAX).collect();
    if characters.next().is_some() { format!("{start}...") } else { start }
}

/// Returns the first name that occurs twice.
pub(super) fn twice<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
