//! Evaluation: executes a checked expression, counts its steps, and stops at the first record that
//! is not loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::functions::{Function, account_part};
use super::node::{Binary, ExprNode, Loop, LoopKind, shown};
use super::time::{span_within, time_within};
use super::value::{EvalHalt, ExprValue, Fuel, failed};
use super::{ResolvedValue, Resolver};

/// One evaluation.
pub(super) struct Evaluation<'v> {
    sight: &'v dyn Resolver,
    fuel: Fuel,
    locals: Vec<ExprValue<'v>>,
}

impl<'v> Evaluation<'v> {
    pub(super) fn new(sight: &'v dyn Resolver) -> Self {
        Self { sight, fuel: Fuel::full(), locals: Vec::new() }
    }

    /// Returns the remaining steps.
    pub(super) const fn left(&self) -> u32 {
        self.fuel.left()
    }

    /// Evaluates a node.
    pub(super) fn value(&mut self, node: &'v ExprNode) -> Result<ExprValue<'v>, EvalHalt> {
        self.fuel.burn(1)?;
        match node {
            ExprNode::Const(value, _) => Ok(value.clone()),
            ExprNode::Local(place, _) => {
                self.locals.get(*place).cloned().ok_or_else(|| failed("there is no such variable"))
            }
            ExprNode::Name(name) => self.name(name),
            ExprNode::Select(of, key) => self.select(node, of, key),
            ExprNode::Has(of, key) => {
                if let Some(found) = self.entry(of, key)? {
                    return Ok(ExprValue::Bool(!matches!(found, ExprValue::Null)));
                }
                let of = self.value(of)?;
                Ok(ExprValue::Bool(!matches!(of.key(key)?, None | Some(ExprValue::Null))))
            }
            ExprNode::Index(of, index) => self.index(node, of, index),
            ExprNode::Not(of) => Ok(ExprValue::Bool(!self.truth(of)?)),
            ExprNode::Negate(of) => self.negate(node, of),
            ExprNode::Binary(operator, sides) => {
                let left = self.value(&sides[0])?;
                let right = self.value(&sides[1])?;
                binary(*operator, &left, &right, &mut self.fuel).map_err(|halt| at(node, halt))
            }
            ExprNode::And(sides) => self.decide(sides, false),
            ExprNode::Or(sides) => self.decide(sides, true),
            ExprNode::Choose(parts) => {
                let branch = if self.truth(&parts[0])? { &parts[1] } else { &parts[2] };
                self.value(branch)
            }
            ExprNode::List(elements) => {
                let mut made = Vec::with_capacity(elements.len());
                for element in elements {
                    made.push(self.value(element)?);
                }
                Ok(ExprValue::List(Arc::new(made)))
            }
            ExprNode::Object(entries) => self.object(entries),
            ExprNode::Call(function, arguments) => {
                let mut made = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    made.push(self.value(argument)?);
                }
                function.call(made, self.sight, &mut self.fuel).map_err(|halt| at(node, halt))
            }
            ExprNode::Matches(of, pattern) => match self.value(of)? {
                ExprValue::Text(text) => {
                    self.fuel.burn_bytes(text.len() * PATTERN_COST)?;
                    Ok(ExprValue::Bool(pattern.is_in(&text)))
                }
                other => Err(at(node, failed(format!("{} is no text", other.what())))),
            },
            ExprNode::Loop(each) => self.repeat(node, each),
        }
    }

    fn name(&mut self, name: &Arc<str>) -> Result<ExprValue<'v>, EvalHalt> {
        match self.sight.name(name) {
            Some(seen) => self.seen(seen),
            None => Err(failed(format!("there is no `{name}` here"))),
        }
    }

    fn seen(&mut self, seen: ResolvedValue<'v>) -> Result<ExprValue<'v>, EvalHalt> {
        self.fuel.burn(self.sight.take_cost())?;
        ExprValue::of(seen, &mut self.fuel)
    }

    /// Returns one entry of a name's value: most expressions read no other.
    fn entry(&mut self, of: &ExprNode, key: &str) -> Result<Option<ExprValue<'v>>, EvalHalt> {
        let ExprNode::Name(name) = of else { return Ok(None) };
        let Some(seen) = self.sight.entry(name, key) else { return Ok(None) };
        self.fuel.burn(1)?;
        self.seen(seen).map(Some)
    }

    fn truth(&mut self, node: &'v ExprNode) -> Result<bool, EvalHalt> {
        match self.value(node)? {
            ExprValue::Bool(truth) => Ok(truth),
            other => {
                Err(failed(format!("`{}` is {}, not true or false", shown(node), other.what())))
            }
        }
    }

    fn select(
        &mut self,
        node: &ExprNode,
        of: &'v ExprNode,
        key: &str,
    ) -> Result<ExprValue<'v>, EvalHalt> {
        if let ExprNode::Call(Function::Account, arguments) = of
            && let [id] = arguments.as_slice()
        {
            self.fuel.burn(1)?;
            let id = self.value(id)?;
            let part = account_part(&id, key, self.sight, &mut self.fuel);
            if let Some(found) = part.map_err(|halt| at(of, halt))? {
                return Ok(found);
            }
        }
        if let Some(found) = self.entry(of, key)? {
            return Ok(found);
        }
        let value = self.value(of)?;
        match value.key(key).map_err(|halt| at(node, halt))? {
            Some(found) => Ok(found),
            None if value.is_object() => Err(failed(format!("`{}` has no key {key:?}", shown(of)))),
            None => {
                Err(failed(format!("`{}` is {}; it has no key {key:?}", shown(of), value.what())))
            }
        }
    }

    fn index(
        &mut self,
        node: &ExprNode,
        of: &'v ExprNode,
        index: &'v ExprNode,
    ) -> Result<ExprValue<'v>, EvalHalt> {
        let value = self.value(of)?;
        let place = self.value(index)?;
        let found = match &place {
            ExprValue::Text(key) if value.is_object() => value.key(key),
            ExprValue::Int(place) if value.is_list() => {
                usize::try_from(*place).map_or(Ok(None), |place| value.at(place))
            }
            _ => Err(failed(format!("{} has no place that is {}", value.what(), place.what()))),
        };
        found
            .map_err(|halt| at(node, halt))?
            .ok_or_else(|| at(node, failed(format!("there is nothing at `{}`", shown(index)))))
    }

    fn negate(&mut self, node: &ExprNode, of: &'v ExprNode) -> Result<ExprValue<'v>, EvalHalt> {
        match self.value(of)? {
            ExprValue::Int(int) => int
                .checked_neg()
                .map(ExprValue::Int)
                .ok_or_else(|| at(node, failed("the number is too large"))),
            ExprValue::Double(double) => Ok(ExprValue::Double(-double)),
            ExprValue::Amount(amount) => Ok(ExprValue::Amount(amount.negated())),
            other => Err(at(node, failed(format!("{} has no negative", other.what())))),
        }
    }

    /// Evaluates `&&` and `||`: a side that decides alone does so even if the other one fails; a
    /// missing record stops both.
    fn decide(
        &mut self,
        sides: &'v [ExprNode; 2],
        deciding: bool,
    ) -> Result<ExprValue<'v>, EvalHalt> {
        let left = match self.truth(&sides[0]) {
            Ok(truth) if truth == deciding => return Ok(ExprValue::Bool(deciding)),
            Err(halt) if halt.is_need() => return Err(halt),
            other => other,
        };
        let right = self.truth(&sides[1])?;
        if right == deciding { Ok(ExprValue::Bool(deciding)) } else { left.map(ExprValue::Bool) }
    }

    fn object(&mut self, entries: &'v [(ExprNode, ExprNode)]) -> Result<ExprValue<'v>, EvalHalt> {
        let mut made = BTreeMap::new();
        for (key, value) in entries {
            let ExprValue::Text(text) = self.value(key)? else {
                return Err(failed(format!("the key `{}` is no text", shown(key))));
            };
            self.fuel.burn_bytes(text.len())?;
            let value = self.value(value)?;
            if made.insert(Arc::from(&*text), value).is_some() {
                return Err(failed(format!("the key `{}` is there twice", shown(key))));
            }
        }
        Ok(ExprValue::Map(Arc::new(made)))
    }

    fn repeat(&mut self, node: &ExprNode, each: &'v Loop) -> Result<ExprValue<'v>, EvalHalt> {
        let range = self.value(&each.range)?;
        self.fuel.burn_elements(range.len().unwrap_or(0))?;
        let parts = range.parts().map_err(|halt| at(node, halt))?;
        let mut made = Vec::new();
        let mut found = 0_i64;
        let mut failure = None;
        for part in parts {
            self.locals.push(part);
            let step = self.step(each);
            self.locals.pop();
            match (each.kind, step) {
                (_, Err(halt)) if halt.is_need() => return Err(halt),
                // Another element may decide, unless the steps are used up.
                (LoopKind::All | LoopKind::Exists, Err(halt)) if self.fuel.left() > 0 => {
                    failure = failure.or(Some(halt));
                }
                (_, Err(halt)) => return Err(halt),
                (LoopKind::All, Ok((false, _))) => return Ok(ExprValue::Bool(false)),
                (LoopKind::Exists, Ok((true, _))) => return Ok(ExprValue::Bool(true)),
                (LoopKind::ExistsOne, Ok((true, _))) => found += 1,
                (LoopKind::Collect, Ok((true, value))) => made.push(value),
                (_, Ok(_)) => {}
            }
        }
        if let Some(halt) = failure {
            return Err(halt);
        }
        Ok(match each.kind {
            LoopKind::All => ExprValue::Bool(true),
            LoopKind::Exists => ExprValue::Bool(false),
            LoopKind::ExistsOne => ExprValue::Bool(found == 1),
            LoopKind::Collect => ExprValue::List(Arc::new(made)),
        })
    }

    /// Evaluates one element: the result of the test, and the new element.
    fn step(&mut self, each: &'v Loop) -> Result<(bool, ExprValue<'v>), EvalHalt> {
        if let Some(test) = &each.test
            && !self.truth(test)?
        {
            return Ok((false, ExprValue::Null));
        }
        let value = match &each.make {
            Some(make) => self.value(make)?,
            None => ExprValue::Null,
        };
        Ok((true, value))
    }
}

/// Factor of the cost of a byte that a pattern scans over one that is copied.
const PATTERN_COST: usize = 8;

/// Adds the failing expression to a message, once.
fn at(node: &ExprNode, halt: EvalHalt) -> EvalHalt {
    match halt.message() {
        Some(message) if !message.starts_with('`') => {
            failed(format!("`{}`: {message}", shown(node)))
        }
        _ => halt,
    }
}

/// Applies a binary operator.
pub(super) fn binary<'v>(
    operator: Binary,
    left: &ExprValue<'v>,
    right: &ExprValue<'v>,
    fuel: &mut Fuel,
) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(match operator {
        Binary::Equal => ExprValue::Bool(left.same(right, fuel)?),
        Binary::NotEqual => ExprValue::Bool(!left.same(right, fuel)?),
        Binary::Less => ExprValue::Bool(left.order(right, fuel)?.is_lt()),
        Binary::LessEqual => ExprValue::Bool(left.order(right, fuel)?.is_le()),
        Binary::Greater => ExprValue::Bool(left.order(right, fuel)?.is_gt()),
        Binary::GreaterEqual => ExprValue::Bool(left.order(right, fuel)?.is_ge()),
        Binary::In => ExprValue::Bool(is_in(left, right, fuel)?),
        Binary::Add => add(left, right, fuel)?,
        Binary::Subtract => subtract(left, right)?,
        Binary::Multiply => multiply(left, right)?,
        Binary::Divide => match (left, right) {
            (ExprValue::Int(_), ExprValue::Int(0)) => return Err(failed("division by zero")),
            (ExprValue::Int(left), ExprValue::Int(right)) => whole(left.checked_div(*right))?,
            (ExprValue::Double(left), ExprValue::Double(right)) => ExprValue::Double(left / right),
            _ => return Err(unfit(operator, left, right)),
        },
        Binary::Remainder => match (left, right) {
            (ExprValue::Int(_), ExprValue::Int(0)) => return Err(failed("division by zero")),
            (ExprValue::Int(left), ExprValue::Int(right)) => whole(left.checked_rem(*right))?,
            _ => return Err(unfit(operator, left, right)),
        },
    })
}

fn whole<'v>(int: Option<i64>) -> Result<ExprValue<'v>, EvalHalt> {
    int.map(ExprValue::Int).ok_or_else(|| failed("the result is too large for a whole number"))
}

fn unfit(operator: Binary, left: &ExprValue<'_>, right: &ExprValue<'_>) -> EvalHalt {
    let hint = match (operator, left, right) {
        (Binary::Multiply, ExprValue::Amount(_), ExprValue::Double(_))
        | (Binary::Multiply, ExprValue::Double(_), ExprValue::Amount(_)) => {
            "; an amount is exact: use percent(...) or a whole number"
        }
        (Binary::Divide, ExprValue::Amount(_), _) => "; use split(...) or percent(...)",
        (
            _,
            ExprValue::Amount(_),
            ExprValue::Text(_) | ExprValue::Int(_) | ExprValue::Double(_),
        )
        | (
            _,
            ExprValue::Text(_) | ExprValue::Int(_) | ExprValue::Double(_),
            ExprValue::Amount(_),
        ) => "; make an amount of it with amount(...)",
        (_, ExprValue::Int(_), ExprValue::Double(_))
        | (_, ExprValue::Double(_), ExprValue::Int(_)) => {
            "; make the same of both with double(...) or int(...)"
        }
        (_, ExprValue::Time(_), ExprValue::Text(_)) => "; make a duration of it with duration(...)",
        _ => "",
    };
    failed(format!(
        "{} does not go with {} and {}{hint}",
        operator.sign(),
        left.what(),
        right.what()
    ))
}

fn add<'v>(
    left: &ExprValue<'v>,
    right: &ExprValue<'v>,
    fuel: &mut Fuel,
) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(match (left, right) {
        (ExprValue::Int(left), ExprValue::Int(right)) => whole(left.checked_add(*right))?,
        (ExprValue::Double(left), ExprValue::Double(right)) => ExprValue::Double(left + right),
        (ExprValue::Text(left), ExprValue::Text(right)) => {
            let bytes = left.len() + right.len();
            fuel.burn_bytes(bytes)?;
            if bytes > super::value::RESULT_BYTES_MAX {
                return Err(failed("the text is longer than 64 KiB"));
            }
            ExprValue::text(format!("{}{}", &**left, &**right))
        }
        (ExprValue::Amount(left), ExprValue::Amount(right)) => {
            ExprValue::Amount(left.plus(*right).map_err(super::functions::inexact)?)
        }
        (ExprValue::Time(time), ExprValue::Span(span))
        | (ExprValue::Span(span), ExprValue::Time(time)) => {
            ExprValue::Time(time_within(time.checked_add(*span))?)
        }
        (ExprValue::Span(left), ExprValue::Span(right)) => {
            ExprValue::Span(span_within(left.checked_add(*right))?)
        }
        (left, right) if left.is_list() && right.is_list() => {
            fuel.burn_elements(left.len().unwrap_or(0) + right.len().unwrap_or(0))?;
            let mut made = left.parts()?;
            made.extend(right.parts()?);
            ExprValue::List(Arc::new(made))
        }
        _ => return Err(unfit(Binary::Add, left, right)),
    })
}

fn subtract<'v>(left: &ExprValue<'v>, right: &ExprValue<'v>) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(match (left, right) {
        (ExprValue::Int(left), ExprValue::Int(right)) => whole(left.checked_sub(*right))?,
        (ExprValue::Double(left), ExprValue::Double(right)) => ExprValue::Double(left - right),
        (ExprValue::Amount(left), ExprValue::Amount(right)) => {
            ExprValue::Amount(left.minus(*right).map_err(super::functions::inexact)?)
        }
        (ExprValue::Time(time), ExprValue::Span(span)) => {
            ExprValue::Time(time_within(time.checked_sub(*span))?)
        }
        (ExprValue::Time(left), ExprValue::Time(right))
        | (ExprValue::Span(left), ExprValue::Span(right)) => {
            ExprValue::Span(span_within(left.checked_sub(*right))?)
        }
        _ => return Err(unfit(Binary::Subtract, left, right)),
    })
}

fn multiply<'v>(left: &ExprValue<'v>, right: &ExprValue<'v>) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(match (left, right) {
        (ExprValue::Int(left), ExprValue::Int(right)) => whole(left.checked_mul(*right))?,
        (ExprValue::Double(left), ExprValue::Double(right)) => ExprValue::Double(left * right),
        (ExprValue::Amount(amount), ExprValue::Int(factor))
        | (ExprValue::Int(factor), ExprValue::Amount(amount)) => {
            ExprValue::Amount(amount.times(*factor).map_err(super::functions::inexact)?)
        }
        _ => return Err(unfit(Binary::Multiply, left, right)),
    })
}

fn is_in(left: &ExprValue<'_>, right: &ExprValue<'_>, fuel: &mut Fuel) -> Result<bool, EvalHalt> {
    if right.is_list() {
        fuel.burn_elements(right.len().unwrap_or(0))?;
        for element in right.parts()? {
            if left.same(&element, fuel)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    match left {
        ExprValue::Text(key) if right.is_object() => Ok(right.key(key)?.is_some()),
        _ => Err(unfit(Binary::In, left, right)),
    }
}
