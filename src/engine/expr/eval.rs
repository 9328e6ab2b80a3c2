//! Evaluation: walks a checked expression, counts what it spends, and stops at the first record
//! that is not there yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::functions::{Function, account_part};
use super::node::{Binary, Loop, LoopKind, Node, shown};
use super::time::{span_within, time_within};
use super::value::{Fuel, Halt, Val, failed};
use super::{Seen, Sight};

/// One evaluation.
pub(super) struct Evaluation<'v> {
    sight: &'v dyn Sight,
    fuel: Fuel,
    locals: Vec<Val<'v>>,
}

impl<'v> Evaluation<'v> {
    pub(super) fn new(sight: &'v dyn Sight) -> Self {
        Self { sight, fuel: Fuel::full(), locals: Vec::new() }
    }

    /// What is left of the steps.
    pub(super) const fn left(&self) -> u32 {
        self.fuel.left()
    }

    /// What a node makes.
    pub(super) fn value(&mut self, node: &'v Node) -> Result<Val<'v>, Halt> {
        self.fuel.burn(1)?;
        match node {
            Node::Const(value, _) => Ok(value.clone()),
            Node::Local(place, _) => {
                self.locals.get(*place).cloned().ok_or_else(|| failed("there is no such variable"))
            }
            Node::Name(name) => self.name(name),
            Node::Select(of, key) => self.select(node, of, key),
            Node::Has(of, key) => {
                if let Some(found) = self.entry(of, key)? {
                    return Ok(Val::Bool(!matches!(found, Val::Null)));
                }
                let of = self.value(of)?;
                Ok(Val::Bool(!matches!(of.key(key)?, None | Some(Val::Null))))
            }
            Node::Index(of, index) => self.index(node, of, index),
            Node::Not(of) => Ok(Val::Bool(!self.truth(of)?)),
            Node::Negate(of) => self.negate(node, of),
            Node::Binary(operator, sides) => {
                let left = self.value(&sides[0])?;
                let right = self.value(&sides[1])?;
                binary(*operator, &left, &right, &mut self.fuel).map_err(|halt| at(node, halt))
            }
            Node::And(sides) => self.decide(sides, false),
            Node::Or(sides) => self.decide(sides, true),
            Node::Choose(parts) => {
                let branch = if self.truth(&parts[0])? { &parts[1] } else { &parts[2] };
                self.value(branch)
            }
            Node::List(elements) => {
                let mut made = Vec::with_capacity(elements.len());
                for element in elements {
                    made.push(self.value(element)?);
                }
                Ok(Val::List(Arc::new(made)))
            }
            Node::Object(entries) => self.object(entries),
            Node::Call(function, arguments) => {
                let mut made = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    made.push(self.value(argument)?);
                }
                function.call(made, self.sight, &mut self.fuel).map_err(|halt| at(node, halt))
            }
            Node::Matches(of, pattern) => match self.value(of)? {
                Val::Text(text) => {
                    self.fuel.burn_bytes(text.len() * PATTERN_COST)?;
                    Ok(Val::Bool(pattern.is_in(&text)))
                }
                other => Err(at(node, failed(format!("{} is no text", other.what())))),
            },
            Node::Loop(each) => self.repeat(node, each),
        }
    }

    fn name(&mut self, name: &Arc<str>) -> Result<Val<'v>, Halt> {
        match self.sight.name(name) {
            Some(seen) => self.seen(seen),
            None => Err(failed(format!("there is no `{name}` here"))),
        }
    }

    fn seen(&mut self, seen: Seen<'v>) -> Result<Val<'v>, Halt> {
        self.fuel.burn(self.sight.take_cost())?;
        Val::of(seen, &mut self.fuel)
    }

    /// One entry of what a name stands for: most expressions look at no other.
    fn entry(&mut self, of: &Node, key: &str) -> Result<Option<Val<'v>>, Halt> {
        let Node::Name(name) = of else { return Ok(None) };
        let Some(seen) = self.sight.entry(name, key) else { return Ok(None) };
        self.fuel.burn(1)?;
        self.seen(seen).map(Some)
    }

    fn truth(&mut self, node: &'v Node) -> Result<bool, Halt> {
        match self.value(node)? {
            Val::Bool(truth) => Ok(truth),
            other => {
                Err(failed(format!("`{}` is {}, not true or false", shown(node), other.what())))
            }
        }
    }

    fn select(&mut self, node: &Node, of: &'v Node, key: &str) -> Result<Val<'v>, Halt> {
        if let Node::Call(Function::Account, arguments) = of
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

    fn index(&mut self, node: &Node, of: &'v Node, index: &'v Node) -> Result<Val<'v>, Halt> {
        let value = self.value(of)?;
        let place = self.value(index)?;
        let found = match &place {
            Val::Text(key) if value.is_object() => value.key(key),
            Val::Int(place) if value.is_list() => {
                usize::try_from(*place).map_or(Ok(None), |place| value.at(place))
            }
            _ => Err(failed(format!("{} has no place that is {}", value.what(), place.what()))),
        };
        found
            .map_err(|halt| at(node, halt))?
            .ok_or_else(|| at(node, failed(format!("there is nothing at `{}`", shown(index)))))
    }

    fn negate(&mut self, node: &Node, of: &'v Node) -> Result<Val<'v>, Halt> {
        match self.value(of)? {
            Val::Int(int) => int
                .checked_neg()
                .map(Val::Int)
                .ok_or_else(|| at(node, failed("the number is too large"))),
            Val::Double(double) => Ok(Val::Double(-double)),
            Val::Amount(amount) => Ok(Val::Amount(amount.negated())),
            other => Err(at(node, failed(format!("{} has no negative", other.what())))),
        }
    }

    /// `&&` and `||`: a side that decides alone does so even where the other one fails; a record
    /// that is missing stops both.
    fn decide(&mut self, sides: &'v [Node; 2], deciding: bool) -> Result<Val<'v>, Halt> {
        let left = match self.truth(&sides[0]) {
            Ok(truth) if truth == deciding => return Ok(Val::Bool(deciding)),
            Err(halt) if halt.is_need() => return Err(halt),
            other => other,
        };
        let right = self.truth(&sides[1])?;
        if right == deciding { Ok(Val::Bool(deciding)) } else { left.map(Val::Bool) }
    }

    fn object(&mut self, entries: &'v [(Node, Node)]) -> Result<Val<'v>, Halt> {
        let mut made = BTreeMap::new();
        for (key, value) in entries {
            let Val::Text(text) = self.value(key)? else {
                return Err(failed(format!("the key `{}` is no text", shown(key))));
            };
            self.fuel.burn_bytes(text.len())?;
            let value = self.value(value)?;
            if made.insert(Arc::from(&*text), value).is_some() {
                return Err(failed(format!("the key `{}` is there twice", shown(key))));
            }
        }
        Ok(Val::Map(Arc::new(made)))
    }

    fn repeat(&mut self, node: &Node, each: &'v Loop) -> Result<Val<'v>, Halt> {
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
                // Another element may decide; the tank stays empty all the same.
                (LoopKind::All | LoopKind::Exists, Err(halt)) if self.fuel.left() > 0 => {
                    failure = failure.or(Some(halt));
                }
                (_, Err(halt)) => return Err(halt),
                (LoopKind::All, Ok((false, _))) => return Ok(Val::Bool(false)),
                (LoopKind::Exists, Ok((true, _))) => return Ok(Val::Bool(true)),
                (LoopKind::ExistsOne, Ok((true, _))) => found += 1,
                (LoopKind::Collect, Ok((true, value))) => made.push(value),
                (_, Ok(_)) => {}
            }
        }
        if let Some(halt) = failure {
            return Err(halt);
        }
        Ok(match each.kind {
            LoopKind::All => Val::Bool(true),
            LoopKind::Exists => Val::Bool(false),
            LoopKind::ExistsOne => Val::Bool(found == 1),
            LoopKind::Collect => Val::List(Arc::new(made)),
        })
    }

    /// One element: whether the test holds, and what is made of it.
    fn step(&mut self, each: &'v Loop) -> Result<(bool, Val<'v>), Halt> {
        if let Some(test) = &each.test
            && !self.truth(test)?
        {
            return Ok((false, Val::Null));
        }
        let value = match &each.make {
            Some(make) => self.value(make)?,
            None => Val::Null,
        };
        Ok((true, value))
    }
}

/// How much dearer a byte is that a pattern goes over than one that is copied.
const PATTERN_COST: usize = 8;

/// Says where, once.
fn at(node: &Node, halt: Halt) -> Halt {
    match halt.message() {
        Some(message) if !message.starts_with('`') => {
            failed(format!("`{}`: {message}", shown(node)))
        }
        _ => halt,
    }
}

/// What an operator makes of its two sides.
pub(super) fn binary<'v>(
    operator: Binary,
    left: &Val<'v>,
    right: &Val<'v>,
    fuel: &mut Fuel,
) -> Result<Val<'v>, Halt> {
    Ok(match operator {
        Binary::Equal => Val::Bool(left.same(right, fuel)?),
        Binary::NotEqual => Val::Bool(!left.same(right, fuel)?),
        Binary::Less => Val::Bool(left.order(right, fuel)?.is_lt()),
        Binary::LessEqual => Val::Bool(left.order(right, fuel)?.is_le()),
        Binary::Greater => Val::Bool(left.order(right, fuel)?.is_gt()),
        Binary::GreaterEqual => Val::Bool(left.order(right, fuel)?.is_ge()),
        Binary::In => Val::Bool(is_in(left, right, fuel)?),
        Binary::Add => add(left, right, fuel)?,
        Binary::Subtract => subtract(left, right)?,
        Binary::Multiply => multiply(left, right)?,
        Binary::Divide => match (left, right) {
            (Val::Int(_), Val::Int(0)) => return Err(failed("division by zero")),
            (Val::Int(left), Val::Int(right)) => whole(left.checked_div(*right))?,
            (Val::Double(left), Val::Double(right)) => Val::Double(left / right),
            _ => return Err(unfit(operator, left, right)),
        },
        Binary::Remainder => match (left, right) {
            (Val::Int(_), Val::Int(0)) => return Err(failed("division by zero")),
            (Val::Int(left), Val::Int(right)) => whole(left.checked_rem(*right))?,
            _ => return Err(unfit(operator, left, right)),
        },
    })
}

fn whole<'v>(int: Option<i64>) -> Result<Val<'v>, Halt> {
    int.map(Val::Int).ok_or_else(|| failed("the result is too large for a whole number"))
}

fn unfit(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Halt {
    let hint = match (operator, left, right) {
        (Binary::Multiply, Val::Amount(_), Val::Double(_))
        | (Binary::Multiply, Val::Double(_), Val::Amount(_)) => {
            "; an amount is exact: use percent(...) or a whole number"
        }
        (Binary::Divide, Val::Amount(_), _) => "; use split(...) or percent(...)",
        (_, Val::Amount(_), Val::Text(_) | Val::Int(_) | Val::Double(_))
        | (_, Val::Text(_) | Val::Int(_) | Val::Double(_), Val::Amount(_)) => {
            "; make an amount of it with amount(...)"
        }
        (_, Val::Int(_), Val::Double(_)) | (_, Val::Double(_), Val::Int(_)) => {
            "; make the same of both with double(...) or int(...)"
        }
        (_, Val::Time(_), Val::Text(_)) => "; make a duration of it with duration(...)",
        _ => "",
    };
    failed(format!(
        "{} does not go with {} and {}{hint}",
        operator.sign(),
        left.what(),
        right.what()
    ))
}

fn add<'v>(left: &Val<'v>, right: &Val<'v>, fuel: &mut Fuel) -> Result<Val<'v>, Halt> {
    Ok(match (left, right) {
        (Val::Int(left), Val::Int(right)) => whole(left.checked_add(*right))?,
        (Val::Double(left), Val::Double(right)) => Val::Double(left + right),
        (Val::Text(left), Val::Text(right)) => {
            let bytes = left.len() + right.len();
            fuel.burn_bytes(bytes)?;
            if bytes > super::value::RESULT_BYTES_MAX {
                return Err(failed("the text is longer than 64 KiB"));
            }
            Val::text(format!("{}{}", &**left, &**right))
        }
        (Val::Amount(left), Val::Amount(right)) => {
            Val::Amount(left.plus(*right).map_err(super::functions::inexact)?)
        }
        (Val::Time(time), Val::Span(span)) | (Val::Span(span), Val::Time(time)) => {
            Val::Time(time_within(time.checked_add(*span))?)
        }
        (Val::Span(left), Val::Span(right)) => Val::Span(span_within(left.checked_add(*right))?),
        (left, right) if left.is_list() && right.is_list() => {
            fuel.burn_elements(left.len().unwrap_or(0) + right.len().unwrap_or(0))?;
            let mut made = left.parts()?;
            made.extend(right.parts()?);
            Val::List(Arc::new(made))
        }
        _ => return Err(unfit(Binary::Add, left, right)),
    })
}

fn subtract<'v>(left: &Val<'v>, right: &Val<'v>) -> Result<Val<'v>, Halt> {
    Ok(match (left, right) {
        (Val::Int(left), Val::Int(right)) => whole(left.checked_sub(*right))?,
        (Val::Double(left), Val::Double(right)) => Val::Double(left - right),
        (Val::Amount(left), Val::Amount(right)) => {
            Val::Amount(left.minus(*right).map_err(super::functions::inexact)?)
        }
        (Val::Time(time), Val::Span(span)) => Val::Time(time_within(time.checked_sub(*span))?),
        (Val::Time(left), Val::Time(right)) | (Val::Span(left), Val::Span(right)) => {
            Val::Span(span_within(left.checked_sub(*right))?)
        }
        _ => return Err(unfit(Binary::Subtract, left, right)),
    })
}

fn multiply<'v>(left: &Val<'v>, right: &Val<'v>) -> Result<Val<'v>, Halt> {
    Ok(match (left, right) {
        (Val::Int(left), Val::Int(right)) => whole(left.checked_mul(*right))?,
        (Val::Double(left), Val::Double(right)) => Val::Double(left * right),
        (Val::Amount(amount), Val::Int(factor)) | (Val::Int(factor), Val::Amount(amount)) => {
            Val::Amount(amount.times(*factor).map_err(super::functions::inexact)?)
        }
        _ => return Err(unfit(Binary::Multiply, left, right)),
    })
}

fn is_in(left: &Val<'_>, right: &Val<'_>, fuel: &mut Fuel) -> Result<bool, Halt> {
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
        Val::Text(key) if right.is_object() => Ok(right.key(key)?.is_some()),
        _ => Err(unfit(Binary::In, left, right)),
    }
}
