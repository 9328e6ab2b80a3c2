//! Document as a tree in which every node and every key has its line and column.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};

/// Maximum depth of a document; a JSON body has the same limit.
const DEPTH_MAX: usize = 64;

/// Maximum number of nodes of a document. A handwritten document of 256 KiB has some ten thousand;
/// an empty list takes two bytes.
const NODES_MAX: usize = 50_000;

/// Line and column, from 1.
pub(super) type At = (u32, u32);

/// A node.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Tree {
    pub(super) at: At,
    pub(super) node: TreeNode,
}

/// Kind of a node.
#[derive(Clone, Debug)]
pub(super) enum TreeNode {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(TreeKey, Tree)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct TreeKey {
    pub(super) at: At,
    pub(super) text: String,
}

/// Reason that a text is no tree.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) at: At,
    pub(super) message: String,
}

/// Reads YAML 1.2, or JSON. `yes`, `no`, `on` and `off` are texts. Aliases are refused: their
/// targets have no position of their own, and a few aliases can expand to very many nodes.
pub(super) fn read(text: &str) -> Result<Tree, Unreadable> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: NODES_MAX * 3,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options::<Tree>(text, options).or_else(|error| {
        // JSON has escapes that YAML lacks (a surrogate pair): valid JSON is read as JSON.
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            return Ok(Tree::plain(&value));
        }
        let at = error.location().map_or((1, 1), |at| (narrow(at.line()), narrow(at.column())));
        Err(Unreadable { at, message: told(&error) })
    })
}

/// Returns the parser's message, in one line and without its excerpt of the source.
fn told(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("it cannot be read").trim();
    if line.contains("alias") || line.contains("anchor") {
        return "anchors and aliases (`&name`, `*name`) are not read; write it out".to_owned();
    }
    if line.contains("Depth") || line.contains("recursion") {
        return format!("it is nested more than {DEPTH_MAX} deep");
    }
    if line.contains("Documents") {
        return "a file holds one document, and `---` begins another".to_owned();
    }
    if line.contains("budget") {
        return format!("it has more than {NODES_MAX} parts");
    }
    // The parser's message ends with the position, which is reported separately.
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

impl Tree {
    /// Returns the entries of a mapping, or none of any other node.
    pub(super) fn entries_mut(&mut self) -> &mut [(TreeKey, Self)] {
        match &mut self.node {
            TreeNode::Map(entries) => entries,
            _ => &mut [],
        }
    }

    /// Renames keys of a mapping: `(old, new)`.
    pub(super) fn rename_keys(&mut self, renamed: &[(&str, &str)]) {
        for (key, _) in self.entries_mut() {
            if let Some((_, new)) = renamed.iter().find(|(old, _)| *old == key.text) {
                (*new).clone_into(&mut key.text);
            }
        }
    }

    /// Returns a tree of JSON without positions.
    fn plain(value: &Value) -> Self {
        let at = (1, 1);
        let node = match value {
            Value::Null => TreeNode::Null,
            Value::Bool(truth) => TreeNode::Bool(*truth),
            Value::Number(number) => TreeNode::Number(number.clone()),
            Value::String(text) => TreeNode::Text(text.clone()),
            Value::Array(items) => TreeNode::List(items.iter().map(Self::plain).collect()),
            Value::Object(keys) => TreeNode::Map(
                keys.iter()
                    .map(|(text, value)| (TreeKey { at, text: text.clone() }, Self::plain(value)))
                    .collect(),
            ),
        };
        Self { at, node }
    }

    /// Converts the tree to JSON; of duplicate keys the last counts.
    pub(in crate::engine) fn json(&self) -> Value {
        match &self.node {
            TreeNode::Null => Value::Null,
            TreeNode::Bool(truth) => Value::Bool(*truth),
            TreeNode::Number(number) => Value::Number(number.clone()),
            TreeNode::Text(text) => Value::String(text.clone()),
            TreeNode::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            TreeNode::Map(keys) => Value::Object(
                keys.iter()
                    .map(|(key, value)| (key.text.clone(), value.json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Returns the name of its kind, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.node {
            TreeNode::Null => "nothing",
            TreeNode::Bool(_) => "a truth value",
            TreeNode::Number(_) => "a number",
            TreeNode::Text(_) => "a text",
            TreeNode::List(_) => "a list",
            TreeNode::Map(_) => "a mapping",
        }
    }

    /// Returns the position of the node that a pointer names, or of the nearest node around it.
    pub(super) fn locate(&self, pointer: &str) -> At {
        let mut here = self;
        let mut at = self.at;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &here.node {
                TreeNode::Map(keys) => keys
                    .iter()
                    .find(|(key, _)| key.text == part)
                    .map(|(key, value)| (key.at, value)),
                TreeNode::List(items) => part
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|value| (value.at, value)),
                _ => None,
            };
            let Some((key, value)) = next else { return at };
            // A block below its key begins on another line; the position of the key is more useful.
            at = if value.at.0 == key.0 { value.at } else { key };
            here = value;
        }
        at
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<TreeNode>::deserialize(deserializer)?;
        let at = (narrow(spanned.referenced.line()), narrow(spanned.referenced.column()));
        Ok(Self { at, node: spanned.value })
    }
}

impl<'de> Deserialize<'de> for TreeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<KeyText>::deserialize(deserializer)?;
        let at = (narrow(spanned.referenced.line()), narrow(spanned.referenced.column()));
        Ok(Self { at, text: spanned.value.0 })
    }
}

/// Text of a key, even if it looks like another type.
struct KeyText(String);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = KeyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<KeyText, E> {
                Ok(KeyText(text.to_owned()))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<KeyText, E> {
                Ok(KeyText(truth.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<KeyText, E> {
                Ok(KeyText(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<KeyText, E> {
                Ok(KeyText(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<KeyText, E> {
                Ok(KeyText(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<KeyText, E> {
                Ok(KeyText("null".to_owned()))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

impl<'de> Deserialize<'de> for TreeNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = TreeNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping, a list, a text, a number, a truth value or nothing")
            }

            fn visit_unit<E>(self) -> Result<TreeNode, E> {
                Ok(TreeNode::Null)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<TreeNode, E> {
                Ok(TreeNode::Bool(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<TreeNode, E> {
                Ok(TreeNode::Number(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<TreeNode, E> {
                Ok(TreeNode::Number(number.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<TreeNode, E> {
                Number::from_f64(number)
                    .map(TreeNode::Number)
                    .ok_or_else(|| E::custom("a number must be finite"))
            }

            fn visit_str<E>(self, text: &str) -> Result<TreeNode, E> {
                Ok(TreeNode::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<TreeNode, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(TreeNode::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<TreeNode, A::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    keys.push(entry);
                }
                Ok(TreeNode::Map(keys))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}
