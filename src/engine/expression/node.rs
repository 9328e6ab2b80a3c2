//! Checked expressions: a tree in which every name, function and pattern is resolved.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::functions::Function;
use super::value::ExprValue;

/// One node of a checked expression.
#[derive(Debug)]
pub(super) enum ExprNode {
    /// A literal, or a function of literals that was evaluated at publish.
    Const(ExprValue<'static>, Arc<str>),
    /// A name of the scope.
    Name(Arc<str>),
    /// The variable of a loop: its index and its name.
    Local(usize, Arc<str>),
    /// `of.key`
    Select(Box<ExprNode>, Arc<str>),
    /// `has(of.key)`
    Has(Box<ExprNode>, Arc<str>),
    /// `of[index]`
    Index(Box<ExprNode>, Box<ExprNode>),
    /// `!of`
    Not(Box<ExprNode>),
    /// `-of`
    Negate(Box<ExprNode>),
    /// An operator whose two sides are always evaluated.
    Binary(Binary, Box<[ExprNode; 2]>),
    /// `left && right`
    And(Box<[ExprNode; 2]>),
    /// `left || right`
    Or(Box<[ExprNode; 2]>),
    /// `when ? then : otherwise`
    Choose(Box<[ExprNode; 3]>),
    /// `[a, b]`
    List(Vec<ExprNode>),
    /// `{"key": value}`
    Object(Vec<(ExprNode, ExprNode)>),
    /// A function call, with its receiver as the first argument.
    Call(Function, Vec<ExprNode>),
    /// `of.matches("pattern")`
    Matches(Box<ExprNode>, Pattern),
    /// A loop.
    Loop(Box<Loop>),
}

impl ExprNode {
    /// Collects the names that `secret("NAME")` has as literals, at any depth.
    pub(super) fn secrets(&self, found: &mut Vec<Arc<str>>) {
        if let Self::Call(Function::Secret, arguments) = self
            && let [Self::Const(ExprValue::Text(name), _)] = arguments.as_slice()
        {
            found.push(Arc::from(&**name));
        }
        match self {
            Self::Const(..) | Self::Name(_) | Self::Local(..) => {}
            Self::Select(of, _)
            | Self::Has(of, _)
            | Self::Not(of)
            | Self::Negate(of)
            | Self::Matches(of, _) => of.secrets(found),
            Self::Index(of, index) => {
                of.secrets(found);
                index.secrets(found);
            }
            Self::Binary(_, nodes) | Self::And(nodes) | Self::Or(nodes) => {
                secrets_of(nodes.iter(), found);
            }
            Self::Choose(nodes) => secrets_of(nodes.iter(), found),
            Self::List(nodes) | Self::Call(_, nodes) => secrets_of(nodes.iter(), found),
            Self::Object(entries) => {
                secrets_of(entries.iter().flat_map(|(key, value)| [key, value]), found);
            }
            Self::Loop(inner) => {
                secrets_of([&inner.range].into_iter().chain(&inner.test).chain(&inner.make), found);
            }
        }
    }
}

fn secrets_of<'n>(nodes: impl Iterator<Item = &'n ExprNode>, found: &mut Vec<Arc<str>>) {
    for node in nodes {
        node.secrets(found);
    }
}

/// A loop over a list, or over the keys of an object.
#[derive(Debug)]
pub(super) struct Loop {
    /// Kind of the loop.
    pub(super) kind: LoopKind,
    /// Expression of the list.
    pub(super) range: ExprNode,
    /// Name of an element.
    pub(super) name: Arc<str>,
    /// Condition; for `map`: filter of the elements.
    pub(super) test: Option<ExprNode>,
    /// Expression of the new element, for `map`.
    pub(super) make: Option<ExprNode>,
}

/// Kind of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `filter`.
    Collect,
}

/// An operator with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Binary {
    /// Returns the operator as it is written.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
        }
    }
}

/// Regular expression in the dialect of JSON Schema's `pattern`, matched in linear time.
#[derive(Clone)]
pub(super) struct Pattern {
    text: Arc<str>,
    validator: Arc<jsonschema::Validator>,
}

/// Memory limit of one compiled pattern, in bytes: enough for seventy letters of any alphabet, too
/// little for nested repetitions.
pub(crate) const PATTERN_BYTES_MAX: usize = 256 * 1024;

impl Pattern {
    /// Compiles a pattern; `None`: it is invalid or too large.
    pub(super) fn new(text: &str) -> Option<Self> {
        let options = jsonschema::PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let schema = json!({ "type": "string", "pattern": text });
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(options)
            .build(&schema)
            .ok()?;
        Some(Self { text: text.into(), validator: Arc::new(validator) })
    }

    /// Returns whether the pattern matches a part of the text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.validator.is_valid(&Value::String(text.to_owned()))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Writes the expression approximately as in its source, for messages.
impl fmt::Display for ExprNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(_, text) => f.write_str(text),
            Self::Name(name) | Self::Local(_, name) => f.write_str(name),
            Self::Select(of, key) => write!(f, "{of}.{key}"),
            Self::Has(of, key) => write!(f, "has({of}.{key})"),
            Self::Index(of, index) => write!(f, "{of}[{index}]"),
            Self::Not(of) => write!(f, "!{of}"),
            Self::Negate(of) => write!(f, "-{of}"),
            Self::Binary(operator, sides) => {
                write!(f, "{} {} {}", sides[0], operator.sign(), sides[1])
            }
            Self::And(sides) => write!(f, "{} && {}", sides[0], sides[1]),
            Self::Or(sides) => write!(f, "{} || {}", sides[0], sides[1]),
            Self::Choose(parts) => write!(f, "{} ? {} : {}", parts[0], parts[1], parts[2]),
            Self::List(elements) => {
                f.write_str("[")?;
                listed(f, elements)?;
                f.write_str("]")
            }
            Self::Object(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Call(function, arguments) => match arguments.split_first() {
                Some((target, rest)) if function.is_member() => {
                    write!(f, "{target}.{}(", function.name())?;
                    listed(f, rest)?;
                    f.write_str(")")
                }
                _ => {
                    write!(f, "{}(", function.name())?;
                    listed(f, arguments)?;
                    f.write_str(")")
                }
            },
            Self::Matches(of, pattern) => write!(f, "{of}.matches({pattern:?})"),
            Self::Loop(each) => {
                write!(f, "{}.{}({}, ...)", each.range, each.kind.name(), each.name)
            }
        }
    }
}

impl LoopKind {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exists => "exists",
            Self::ExistsOne => "exists_one",
            Self::Collect => "map",
        }
    }
}

fn listed(f: &mut fmt::Formatter<'_>, nodes: &[ExprNode]) -> fmt::Result {
    for (at, node) in nodes.iter().enumerate() {
        write!(f, "{}{node}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// Returns a node for a message, shortened if it is long.
pub(super) fn shown(node: &ExprNode) -> String {
    const SHOWN_MAX: usize = 60;
    let text = node.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
