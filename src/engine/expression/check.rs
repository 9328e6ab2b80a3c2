//! Converts the text of an expression to checked nodes: names, keys, functions, types and limits.

use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, LiteralValue, MapExpr, SelectExpr,
};
use cel::parser::{Expression, PrattParser};

use super::eval::binary;
use super::functions::{Function, SIGNATURES, Signature, Style, kinds, literal};
use super::near::nearest;
use super::node::{Binary, ExprNode, Loop, LoopKind, Pattern, shown};
use super::types::{described, joined, mask, named};
use super::value::{EvalHalt, ExprValue, Fuel};
use super::{ExprFault, Resolver, Type, TypeScope};

/// Maximum length of an expression, in bytes: a screen of text, and the stack suffices for any
/// nesting in it.
pub(super) const SOURCE_BYTES_MAX: usize = 4096;

/// Maximum depth of nesting: more than people can read, and far less than the stack takes.
const DEPTH_MAX: usize = 64;

/// Maximum number of nodes.
const NODES_MAX: usize = 1000;

/// Maximum number of nested loops: two suffice to compare two lists.
const LOOPS_MAX: usize = 2;

/// Maximum number of patterns in one expression, because each takes memory while its definition is
/// loaded.
const PATTERNS_MAX: usize = 4;

/// Maximum number of reported faults of one expression.
const FAULTS_MAX: usize = 20;

/// Parses and checks an expression.
pub(super) fn check(source: &str, scope: &TypeScope) -> Result<(ExprNode, Type), Vec<ExprFault>> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!("an expression has at most {SOURCE_BYTES_MAX} bytes");
        return Err(vec![ExprFault { code: "too-long", message }]);
    }
    let ast = parse(source)?;
    let mut checker = Checker {
        source,
        scope,
        locals: Vec::new(),
        faults: Vec::new(),
        nodes: 0,
        depth: 0,
        loops: 0,
        patterns: 0,
        stopped: false,
    };
    let (node, kind) = checker.node(&ast);
    if checker.faults.is_empty() { Ok((node, kind)) } else { Err(checker.faults) }
}

fn parse(source: &str) -> Result<Expression, Vec<ExprFault>> {
    PrattParser::new().enable_optional_syntax(false).parse(source).map_err(|errors| {
        let mut before = None;
        let mut faults: Vec<ExprFault> = errors
            .errors
            .iter()
            .filter(|error| {
                // A character of several bytes is reported once, not for each byte.
                let (line, column) = error.pos;
                let again = before.replace((line, column + 1, error.msg.clone()));
                again != Some((line, column, error.msg.clone()))
            })
            .take(FAULTS_MAX)
            .map(|error| {
                let said = error.msg.trim_start_matches("Syntax error: ");
                let place = match error.pos {
                    (line, column) if line > 0 => format!(" at line {line}, column {column}"),
                    _ => String::new(),
                };
                ExprFault { code: "syntax", message: format!("{said}{place}") }
            })
            .collect();
        if faults.is_empty() {
            faults.push(ExprFault {
                code: "syntax",
                message: "this is no expression of CEL".to_owned(),
            });
        }
        faults
    })
}

struct Checker<'s> {
    source: &'s str,
    scope: &'s TypeScope,
    locals: Vec<(Arc<str>, Type)>,
    faults: Vec<ExprFault>,
    nodes: usize,
    depth: usize,
    loops: usize,
    patterns: usize,
    /// True if a limit was exceeded: the rest is not checked.
    stopped: bool,
}

/// Placeholder for a part with faults.
fn nothing() -> (ExprNode, Type) {
    (ExprNode::Const(ExprValue::Null, "?".into()), Type::Any)
}

impl Checker<'_> {
    fn fault(&mut self, code: &'static str, message: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            let fault = ExprFault { code, message: message.into() };
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    fn stop(&mut self, message: impl Into<String>) {
        if !self.stopped {
            self.stopped = true;
            self.fault("too-complex", message);
        }
    }

    /// Returns the position of a word in the text.
    fn place(&self, word: &str) -> String {
        let is_word = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let bytes = self.source.as_bytes();
        let found = self.source.match_indices(word).map(|(at, _)| at).find(|at| {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            !is_word(before) && !is_word(bytes.get(at + word.len()))
        });
        found.map_or_else(String::new, |at| {
            let before = &self.source[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            format!(" at line {line}, column {column}")
        })
    }

    fn node(&mut self, expr: &Expression) -> (ExprNode, Type) {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.stop(format!("an expression has at most {NODES_MAX} parts; split it"));
        }
        if self.depth >= DEPTH_MAX {
            self.stop(format!("an expression is nested at most {DEPTH_MAX} deep; split it"));
        }
        if self.stopped {
            return nothing();
        }
        self.depth += 1;
        let made = match &expr.expr {
            Ast::Literal(value) => self.literal(value),
            Ast::Ident(name) => self.name(name),
            Ast::Select(select) => self.select(select),
            Ast::Call(call) => self.call(call),
            Ast::List(list) => {
                let (nodes, types) = self.nodes(&list.elements);
                let of = types.into_iter().reduce(|left, right| joined(&left, &right));
                (ExprNode::List(nodes), Type::List(Box::new(of.unwrap_or(Type::Any))))
            }
            Ast::Map(map) => self.object(map),
            Ast::Comprehension(each) => self.repeat(each),
            Ast::Struct(_) => {
                self.fault("not-supported", "objects are written {\"key\": value}");
                nothing()
            }
            Ast::Unspecified => {
                self.fault("syntax", "a part of the expression is missing");
                nothing()
            }
        };
        self.depth -= 1;
        made
    }

    fn nodes(&mut self, exprs: &[Expression]) -> (Vec<ExprNode>, Vec<Type>) {
        exprs.iter().map(|expr| self.node(expr)).unzip()
    }

    fn literal(&mut self, value: &LiteralValue) -> (ExprNode, Type) {
        let (value, kind, text) = match value {
            LiteralValue::Null => (ExprValue::Null, Type::Null, "null".to_owned()),
            LiteralValue::Boolean(truth) => {
                (ExprValue::Bool(*truth.inner()), Type::Bool, truth.inner().to_string())
            }
            LiteralValue::Int(int) => {
                (ExprValue::Int(*int.inner()), Type::Int, int.inner().to_string())
            }
            LiteralValue::Double(double) => {
                (ExprValue::Double(*double.inner()), Type::Number, double.inner().to_string())
            }
            LiteralValue::String(text) => {
                (ExprValue::text(text.inner()), Type::Text, format!("{:?}", text.inner()))
            }
            LiteralValue::UInt(int) => {
                let int = int.inner();
                self.fault("not-supported", format!("whole numbers are written {int}, not {int}u"));
                return nothing();
            }
            LiteralValue::Bytes(_) => {
                self.fault("not-supported", "there are no bytes here; write a text");
                return nothing();
            }
        };
        (ExprNode::Const(value, text.into()), kind)
    }

    fn name(&mut self, name: &str) -> (ExprNode, Type) {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| **local == *name) {
            let (name, kind) = &self.locals[place];
            return (ExprNode::Local(place, Arc::clone(name)), kind.clone());
        }
        if let Some((name, kind)) = self.scope.names.get_key_value(name) {
            return (ExprNode::Name(Arc::clone(name)), kind.clone());
        }
        let names = self
            .scope
            .names
            .keys()
            .filter(|name| ***name != *super::SECRETS)
            .chain(self.locals.iter().map(|(name, _)| name));
        let hint = match nearest(name, names.map(|name| &**name)) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if SIGNATURES.iter().any(|signature| signature.name == name) => {
                "; it is a function: write its arguments in parentheses".to_owned()
            }
            None => {
                let names: Vec<_> = self
                    .scope
                    .names
                    .keys()
                    .filter(|name| ***name != *super::SECRETS)
                    .map(|name| format!("`{name}`"))
                    .collect();
                format!("; there are {}", names.join(", "))
            }
        };
        let place = self.place(name);
        self.fault("unknown-name", format!("there is no `{name}` here{place}{hint}"));
        nothing()
    }

    fn select(&mut self, select: &SelectExpr) -> (ExprNode, Type) {
        let (of, kind) = self.node(&select.operand);
        let key: Arc<str> = select.field.as_str().into();
        let found = self.key(&of, &kind, &key);
        if select.test {
            (ExprNode::Has(Box::new(of), key), Type::Bool)
        } else {
            (ExprNode::Select(Box::new(of), key), found)
        }
    }

    /// Returns the type of a key.
    fn key(&mut self, of: &ExprNode, kind: &Type, key: &str) -> Type {
        match kind {
            Type::Object { keys, open } => {
                if let Some(kind) = keys.get(key) {
                    return kind.clone();
                }
                if !open {
                    let hint = match nearest(key, keys.keys().map(|key| &**key)) {
                        Some(near) => format!("; did you mean `{near}`?"),
                        None if keys.is_empty() => "; it has no keys".to_owned(),
                        None => {
                            let keys: Vec<_> = keys.keys().map(|key| format!("`{key}`")).collect();
                            format!("; there are {}", keys.join(", "))
                        }
                    };
                    let place = self.place(key);
                    let of = shown(of);
                    self.fault("unknown-key", format!("`{of}` has no key `{key}`{place}{hint}"));
                }
                Type::Any
            }
            Type::Any | Type::Null => Type::Any,
            other => {
                let (of, what) = (shown(of), described(other));
                self.fault("wrong-type", format!("`{of}` is {what}; it has no key `{key}`"));
                Type::Any
            }
        }
    }

    fn object(&mut self, map: &MapExpr) -> (ExprNode, Type) {
        let mut entries = Vec::with_capacity(map.entries.len());
        let mut keys = Some(std::collections::BTreeMap::new());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                self.fault("not-supported", "objects are written {\"key\": value}");
                continue;
            };
            let (key, key_kind) = self.node(&entry.key);
            let (value, kind) = self.node(&entry.value);
            if mask(&key, &key_kind) & kinds::TEXT == 0 {
                let what = described(&key_kind);
                self.fault(
                    "wrong-type",
                    format!("the key `{}` is {what}, not a text", shown(&key)),
                );
            }
            match (&key, &mut keys) {
                (ExprNode::Const(ExprValue::Text(text), _), Some(keys)) => {
                    if keys.insert(Arc::from(&**text), kind).is_some() {
                        let message = format!("the key {:?} is there twice", &**text);
                        self.fault("invalid-value", message);
                    }
                }
                _ => keys = None,
            }
            entries.push((key, value));
        }
        let open = keys.is_none();
        (ExprNode::Object(entries), Type::Object { keys: keys.unwrap_or_default(), open })
    }

    fn call(&mut self, call: &CallExpr) -> (ExprNode, Type) {
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("_?_:_", [test, then, otherwise]) if call.target.is_none() => {
                let test = self.truth(test);
                let (then, left) = self.node(then);
                let (otherwise, right) = self.node(otherwise);
                let kind = joined(&left, &right);
                (ExprNode::Choose(Box::new([test, then, otherwise])), kind)
            }
            ("_&&_", [left, right]) => {
                let sides = Box::new([self.truth(left), self.truth(right)]);
                (ExprNode::And(sides), Type::Bool)
            }
            ("_||_", [left, right]) => {
                let sides = Box::new([self.truth(left), self.truth(right)]);
                (ExprNode::Or(sides), Type::Bool)
            }
            ("!_", [of]) => (ExprNode::Not(Box::new(self.truth(of))), Type::Bool),
            ("-_", [of]) => self.negate(of),
            ("_[_]", [of, index]) => self.index(of, index),
            (name, [left, right]) if call.target.is_none() && operator(name).is_some() => {
                self.binary(operator(name).unwrap_or(Binary::Equal), left, right)
            }
            (name, arguments) => self.function(name, call.target.as_deref(), arguments),
        }
    }

    fn truth(&mut self, expr: &Expression) -> ExprNode {
        let (node, kind) = self.node(expr);
        if mask(&node, &kind) & kinds::BOOL == 0 {
            let what = described(&kind);
            self.fault("wrong-type", format!("`{}` is {what}, not true or false", shown(&node)));
        }
        node
    }

    fn negate(&mut self, of: &Expression) -> (ExprNode, Type) {
        let (node, kind) = self.node(of);
        let known = mask(&node, &kind);
        if known & (kinds::INT | kinds::DOUBLE | kinds::AMOUNT) == 0 {
            let what = described(&kind);
            self.fault("wrong-type", format!("`{}` is {what}; it has no negative", shown(&node)));
        }
        match node {
            ExprNode::Const(ExprValue::Double(double), text) => {
                (ExprNode::Const(ExprValue::Double(-double), format!("-{text}").into()), kind)
            }
            node => (ExprNode::Negate(Box::new(node)), kind),
        }
    }

    fn index(&mut self, of: &Expression, index: &Expression) -> (ExprNode, Type) {
        let (of, kind) = self.node(of);
        let (index, index_kind) = self.node(index);
        let place = mask(&index, &index_kind);
        let found = match &kind {
            Type::List(element) if place & kinds::INT != 0 => (**element).clone(),
            Type::Object { .. } if place & kinds::TEXT != 0 => match &index {
                ExprNode::Const(ExprValue::Text(key), _) => self.key(&of, &kind, key),
                _ => Type::Any,
            },
            Type::Any | Type::Null => Type::Any,
            other => {
                let (what, place) = (described(other), described(&index_kind));
                let message =
                    format!("`{}` is {what}; it has no place that is {place}", shown(&of));
                self.fault("wrong-type", message);
                Type::Any
            }
        };
        (ExprNode::Index(Box::new(of), Box::new(index)), found)
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &Expression,
        right: &Expression,
    ) -> (ExprNode, Type) {
        let (left, left_kind) = self.node(left);
        let (right, right_kind) = self.node(right);
        let known = (mask(&left, &left_kind), mask(&right, &right_kind));
        let text_amount = |kind: &Type| *kind == Type::AmountText;
        let is_text = |kind: &Type| matches!(kind, Type::Text | Type::AmountText);
        let by_letter = match operator {
            Binary::Add => text_amount(&left_kind) && text_amount(&right_kind),
            Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
                (text_amount(&left_kind) || text_amount(&right_kind))
                    && is_text(&left_kind)
                    && is_text(&right_kind)
            }
            _ => false,
        };
        let kind = match made_by(operator, known) {
            Some(kind) if !by_letter => kind,
            _ => {
                let (left, right) = (named(&left, &left_kind), named(&right, &right_kind));
                let hint = hint(operator, &left_kind, &right_kind, known);
                let sign = operator.sign();
                let message = format!("`{sign}` does not go with {left} and {right}{hint}");
                self.fault("wrong-type", message);
                made_by(operator, (kinds::ANY, kinds::ANY)).unwrap_or(Type::Any)
            }
        };
        let kind = match (operator, &left_kind, &right_kind) {
            (Binary::Add, Type::List(left), Type::List(right)) => {
                Type::List(Box::new(joined(left, right)))
            }
            _ => kind,
        };
        if let (ExprNode::Const(a, _), ExprNode::Const(b, _)) = (&left, &right) {
            match binary(operator, a, b, &mut Fuel::full()) {
                Err(halt) if self.faults.is_empty() => {
                    let text = format!("{} {} {}", shown(&left), operator.sign(), shown(&right));
                    self.invalid(&text, &halt);
                }
                _ => {}
            }
        }
        (ExprNode::Binary(operator, Box::new([left, right])), kind)
    }

    /// Reports a part that always fails.
    fn invalid(&mut self, text: &str, halt: &EvalHalt) {
        if let Some(message) = halt.message() {
            self.fault("invalid-value", format!("`{text}`: {message}"));
        }
    }

    fn function(
        &mut self,
        name: &str,
        target: Option<&Expression>,
        arguments: &[Expression],
    ) -> (ExprNode, Type) {
        let target = target.map(|target| self.node(target));
        let is_member = target.is_some();
        let (mut nodes, mut types): (Vec<_>, Vec<_>) = target.into_iter().unzip();
        let (more_nodes, more_types) = self.nodes(arguments);
        nodes.extend(more_nodes);
        types.extend(more_types);
        let Some(signature) = SIGNATURES.iter().find(|signature| signature.name == name) else {
            self.unknown_function(name);
            return nothing();
        };
        if signature.function == Function::Secret && !self.scope.names.contains_key(super::SECRETS)
        {
            let message = "`secret` may be used in the headers of a call and nowhere else";
            self.fault("secret-out-of-place", message.to_owned());
            return (nothing().0, Type::Text);
        }
        let styled = match signature.style {
            Style::Plain => !is_member,
            Style::Member => is_member,
            Style::Both => true,
        };
        let place = self.place(name);
        let usage = signature.usage;
        if !styled || nodes.len() < signature.least || nodes.len() > signature.takes.len() {
            let message = format!("`{name}`{place} is called so: {usage}");
            self.fault("wrong-arity", message);
            return (nothing().0, signature.function.makes(&types));
        }
        self.arguments(signature, &nodes, &types);
        let function = match (signature.function, types.first()) {
            (Function::Sum, Some(Type::List(of))) if **of == Type::Int => Function::SumInts,
            (function, _) => function,
        };
        let kind = function.makes(&types);
        if function == Function::Matches {
            return (self.matches(nodes), kind);
        }
        (self.folded(function, nodes), kind)
    }

    /// Checks the arguments of a function.
    fn arguments(&mut self, signature: &Signature, nodes: &[ExprNode], types: &[Type]) {
        let (name, usage) = (signature.name, signature.usage);
        for (place, ((node, kind), takes)) in
            nodes.iter().zip(types).zip(signature.takes).enumerate()
        {
            let known = mask(node, kind);
            if known & takes == 0 {
                let hint = if *takes == kinds::AMOUNT && known & (kinds::TEXT | kinds::INT) != 0 {
                    "; make an amount of it with amount(...)"
                } else {
                    ""
                };
                let what = named(node, kind);
                let message = format!("`{name}` does not take {what}: {usage}{hint}");
                self.fault("wrong-type", message);
            } else if let ExprNode::Const(value, _) = node
                && let Err(halt) = literal(signature.function, place, value)
            {
                self.invalid(&shown(node), &halt);
            }
        }
        if signature.function == Function::Sum
            && let Some(Type::List(of)) = types.first()
            && mask(&nodes[0], of) & (kinds::INT | kinds::AMOUNT) == 0
        {
            let what = described(of);
            let message = format!(
                "`sum` adds amounts or whole numbers, these are each {what}; make amounts of them: \
                 sum(list.map(x, amount(x)))"
            );
            self.fault("wrong-type", message);
        }
    }

    fn unknown_function(&mut self, name: &str) {
        let names = SIGNATURES.iter().map(|signature| signature.name);
        let macros = ["has", "all", "exists", "exists_one", "map", "filter"];
        let hint = match name {
            "has" => "; it is called so: has(x.key)".to_owned(),
            "all" | "exists" | "exists_one" | "map" | "filter" => {
                format!("; it is called so: list.{name}(x, ...)")
            }
            "min" | "max" => "; write a > b ? a : b".to_owned(),
            "uint" => "; there is int(...)".to_owned(),
            "type" | "bytes" => String::new(),
            _ => match nearest(name, names.chain(macros)) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => String::new(),
            },
        };
        let place = self.place(name);
        self.fault("unknown-function", format!("there is no function `{name}`{place}{hint}"));
    }

    fn matches(&mut self, mut nodes: Vec<ExprNode>) -> ExprNode {
        let pattern = nodes.pop();
        let of = nodes.pop().unwrap_or_else(|| nothing().0);
        let Some(ExprNode::Const(ExprValue::Text(text), _)) = pattern else {
            let message = "the pattern of `matches` must be a literal text, so that it is checked \
                           when the definition is published";
            self.fault("not-supported", message);
            return nothing().0;
        };
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            self.stop(format!("an expression has at most {PATTERNS_MAX} patterns"));
            return nothing().0;
        }
        if let Some(pattern) = Pattern::new(&text) {
            return ExprNode::Matches(Box::new(of), pattern);
        }
        let message = format!(
            "{:?} is no pattern, or too large a one; there are no look-arounds and no \
                     back-references",
            &*text
        );
        self.fault("invalid-value", message);
        nothing().0
    }

    /// Returns the node of a call; for literals its result.
    fn folded(&mut self, function: Function, nodes: Vec<ExprNode>) -> ExprNode {
        let consts: Option<Vec<ExprValue<'static>>> = nodes
            .iter()
            .map(|node| match node {
                ExprNode::Const(value, _) => Some(value.clone()),
                _ => None,
            })
            .collect();
        let node = ExprNode::Call(function, nodes);
        let (ExprNode::Call(_, nodes), Some(consts)) = (&node, consts) else { return node };
        if !function.is_pure(nodes.len()) || !self.faults.is_empty() {
            return node;
        }
        match function.call(consts, &Nothing, &mut Fuel::full()) {
            Ok(value) => ExprNode::Const(value, shown(&node).into()),
            Err(halt) => {
                self.invalid(&shown(&node), &halt);
                node
            }
        }
    }

    fn repeat(&mut self, each: &ComprehensionExpr) -> (ExprNode, Type) {
        let (range, kind) = self.node(&each.iter_range);
        let element = match &kind {
            Type::List(element) => (**element).clone(),
            Type::Object { .. } => Type::Text,
            Type::Any | Type::Null => Type::Any,
            other => {
                let what = described(other);
                self.fault("wrong-type", format!("`{}` is {what}, not a list", shown(&range)));
                Type::Any
            }
        };
        let name: Arc<str> = each.iter_var.as_str().into();
        if self.loops >= LOOPS_MAX {
            self.stop(format!("there are at most {LOOPS_MAX} loops inside one another"));
            return nothing();
        }
        let Some((kind, test, make)) = parts(each) else {
            self.fault("not-supported", "there is no such loop");
            return nothing();
        };
        self.loops += 1;
        self.locals.push((Arc::clone(&name), element.clone()));
        let test = test.map(|test| self.truth(test));
        let (make, of) = make.map(|make| self.node(make)).unzip();
        self.locals.pop();
        self.loops -= 1;
        let whole = match kind {
            LoopKind::Collect => Type::List(Box::new(of.unwrap_or(element))),
            _ => Type::Bool,
        };
        (ExprNode::Loop(Box::new(Loop { kind, range, name, test, make })), whole)
    }
}

/// Returns the kind of the loop that the parser expanded, its condition, and its result expression.
fn parts(each: &ComprehensionExpr) -> Option<(LoopKind, Option<&Expression>, Option<&Expression>)> {
    let Ast::Call(step) = &each.loop_step.expr else { return None };
    match (&each.accu_init.expr, step.args.as_slice()) {
        (Ast::Literal(LiteralValue::Boolean(start)), [_, test]) => {
            let kind = if *start.inner() { LoopKind::All } else { LoopKind::Exists };
            Some((kind, Some(test), None))
        }
        (Ast::Literal(LiteralValue::Int(_)), [test, _, _]) => {
            Some((LoopKind::ExistsOne, Some(test), None))
        }
        (Ast::List(_), [_, added]) => Some((LoopKind::Collect, None, Some(element(added)?))),
        (Ast::List(_), [test, added, _]) => {
            let Ast::Call(added) = &added.expr else { return None };
            Some((LoopKind::Collect, Some(test), Some(element(added.args.get(1)?)?)))
        }
        _ => None,
    }
}

/// Returns the first element of a list.
fn element(list: &Expression) -> Option<&Expression> {
    match &list.expr {
        Ast::List(list) => list.elements.first(),
        _ => None,
    }
}

fn operator(name: &str) -> Option<Binary> {
    Some(match name {
        "_+_" => Binary::Add,
        "_-_" => Binary::Subtract,
        "_*_" => Binary::Multiply,
        "_/_" => Binary::Divide,
        "_%_" => Binary::Remainder,
        "_==_" => Binary::Equal,
        "_!=_" => Binary::NotEqual,
        "_<_" => Binary::Less,
        "_<=_" => Binary::LessEqual,
        "_>_" => Binary::Greater,
        "_>=_" => Binary::GreaterEqual,
        "@in" => Binary::In,
        _ => return None,
    })
}

/// Returns the type of an operator's result; `None`: it always fails.
fn made_by(operator: Binary, (left, right): (u16, u16)) -> Option<Type> {
    use kinds::{AMOUNT, BOOL, DOUBLE, INT, LIST, NULL, OBJECT, SPAN, TEXT, TIME};
    let any_list = || Type::List(Box::new(Type::Any));
    let table: &[(u16, u16, Type)] = &match operator {
        Binary::Equal | Binary::NotEqual => {
            let numbers = INT | DOUBLE;
            let wide = |mask: u16| if mask & numbers == 0 { mask } else { mask | numbers };
            let related = wide(left) & wide(right) != 0 || (left | right) & NULL != 0;
            return related.then_some(Type::Bool);
        }
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => vec![
            (INT | DOUBLE, INT | DOUBLE, Type::Bool),
            (TEXT, TEXT, Type::Bool),
            (AMOUNT, AMOUNT, Type::Bool),
            (TIME, TIME, Type::Bool),
            (SPAN, SPAN, Type::Bool),
            (BOOL, BOOL, Type::Bool),
        ],
        Binary::In => vec![(kinds::ANY, LIST, Type::Bool), (TEXT, OBJECT, Type::Bool)],
        Binary::Add => vec![
            (INT, INT, Type::Int),
            (DOUBLE, DOUBLE, Type::Number),
            (TEXT, TEXT, Type::Text),
            (AMOUNT, AMOUNT, Type::Amount),
            (TIME, SPAN, Type::Time),
            (SPAN, TIME, Type::Time),
            (SPAN, SPAN, Type::Duration),
            (LIST, LIST, any_list()),
        ],
        Binary::Subtract => vec![
            (INT, INT, Type::Int),
            (DOUBLE, DOUBLE, Type::Number),
            (AMOUNT, AMOUNT, Type::Amount),
            (TIME, SPAN, Type::Time),
            (TIME, TIME, Type::Duration),
            (SPAN, SPAN, Type::Duration),
        ],
        Binary::Multiply => vec![
            (INT, INT, Type::Int),
            (DOUBLE, DOUBLE, Type::Number),
            (AMOUNT, INT, Type::Amount),
            (INT, AMOUNT, Type::Amount),
        ],
        Binary::Divide => vec![(INT, INT, Type::Int), (DOUBLE, DOUBLE, Type::Number)],
        Binary::Remainder => vec![(INT, INT, Type::Int)],
    };
    table
        .iter()
        .filter(|(of_left, of_right, _)| of_left & left != 0 && of_right & right != 0)
        .map(|(_, _, kind)| kind.clone())
        .reduce(|one, other| joined(&one, &other))
}

fn hint(operator: Binary, left: &Type, right: &Type, known: (u16, u16)) -> &'static str {
    let amount = |kind: &Type| matches!(kind, Type::Amount | Type::AmountText);
    let either = |test: &dyn Fn(&Type) -> bool| test(left) || test(right);
    match operator {
        Binary::Divide if either(&amount) => "; use split(...) or percent(...)",
        Binary::Multiply if either(&amount) && (known.0 | known.1) & kinds::DOUBLE != 0 => {
            "; an amount is exact: use percent(...) or a whole number"
        }
        _ if either(&amount) => {
            "; compare and add amounts: make one of each text or number with amount(...)"
        }
        _ if either(&|kind| *kind == Type::Time) && either(&|kind| *kind == Type::Text) => {
            match operator {
                Binary::Add | Binary::Subtract => {
                    "; make a duration of the text with duration(...)"
                }
                _ => "; make a time of the text with timestamp(...)",
            }
        }
        _ if either(&|kind| *kind == Type::Duration) && either(&|kind| *kind == Type::Text) => {
            "; make a duration of the text with duration(...)"
        }
        _ if known.0 & kinds::DOUBLE != 0 && known.1 & kinds::INT != 0
            || known.0 & kinds::INT != 0 && known.1 & kinds::DOUBLE != 0 =>
        {
            "; make the same of both with double(...) or int(...)"
        }
        Binary::Add if either(&|kind| *kind == Type::Text) => {
            "; make a text of the other with string(...)"
        }
        _ => "",
    }
}

/// Resolver without values, to evaluate parts that depend on nothing.
struct Nothing;

impl Resolver for Nothing {
    fn name(&self, _: &str) -> Option<super::ResolvedValue<'_>> {
        None
    }

    fn account(&self, _: &str) -> Result<super::AccountSeen, crate::engine::RecordKey> {
        Err(crate::engine::RecordKey::KeyCount)
    }

    fn hold(&self, _: &str) -> Result<serde_json::Value, crate::engine::RecordKey> {
        Err(crate::engine::RecordKey::KeyCount)
    }

    fn value(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Option<super::ResolvedValue<'_>>, crate::engine::RecordKey> {
        Err(crate::engine::RecordKey::KeyCount)
    }

    fn scale(&self, _: &str) -> Result<Option<u8>, crate::engine::RecordKey> {
        Ok(None)
    }
}
