//! Functions of expressions: their names, parameters and results.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Weekday;

use super::time::{
    calendar_span, later, quoted, span_of, span_text, time_of, time_text, time_within, zone_of,
    zoned,
};
use super::value::{EvalHalt, ExprValue, Fuel, TextValue, failed};
use super::{AccountSeen, Resolver, Type};
use crate::types::{Decimal, DecimalError, Rounding};

/// Kinds of values, as bits of a set.
pub(super) mod kinds {
    pub(in super::super) const NULL: u16 = 1;
    pub(in super::super) const BOOL: u16 = 2;
    pub(in super::super) const INT: u16 = 4;
    pub(in super::super) const DOUBLE: u16 = 8;
    pub(in super::super) const TEXT: u16 = 16;
    pub(in super::super) const AMOUNT: u16 = 32;
    pub(in super::super) const TIME: u16 = 64;
    pub(in super::super) const SPAN: u16 = 128;
    pub(in super::super) const LIST: u16 = 256;
    pub(in super::super) const OBJECT: u16 = 512;
    pub(in super::super) const ANY: u16 = 1023;
}
use kinds::{AMOUNT, ANY, BOOL, DOUBLE, INT, LIST, OBJECT, SPAN, TEXT, TIME};

/// Part of a time, by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimePart {
    Year,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    String,
    Int,
    Double,
    Bool,
    Dyn,
    Timestamp,
    Duration,
    Get(TimePart),
    Amount,
    Percent,
    /// Sum of amounts.
    Sum,
    /// Sum of whole numbers: an empty list gives 0 and not an amount.
    SumInts,
    Split,
    Plus,
    Account,
    Hold,
    Value,
    Secret,
}

/// Form of a call of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)`
    Plain,
    /// `x.f()`
    Member,
    /// Both.
    Both,
}

/// Signature of a function.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) style: Style,
    /// Number of parameters that are required.
    pub(super) least: usize,
    /// Types that each parameter takes, the receiver first.
    pub(super) takes: &'static [u16],
    /// Form of its call, for messages.
    pub(super) usage: &'static str,
}

const fn plain(
    name: &'static str,
    function: Function,
    least: usize,
    takes: &'static [u16],
    usage: &'static str,
) -> Signature {
    Signature { name, function, style: Style::Plain, least, takes, usage }
}

const fn member(
    name: &'static str,
    function: Function,
    takes: &'static [u16],
    usage: &'static str,
) -> Signature {
    Signature { name, function, style: Style::Member, least: takes.len(), takes, usage }
}

const fn get(name: &'static str, part: TimePart, takes: &'static [u16]) -> Signature {
    let usage = "of a time, with a time zone like \"Europe/Berlin\" or none (UTC)";
    let function = Function::Get(part);
    Signature { name, function, style: Style::Member, least: 1, takes, usage }
}

const OF_TIME: &[u16] = &[TIME, TEXT];
const OF_TIME_OR_SPAN: &[u16] = &[TIME | SPAN, TEXT];

/// All functions.
pub(super) const SIGNATURES: &[Signature] = &[
    Signature {
        name: "size",
        function: Function::Size,
        style: Style::Both,
        least: 1,
        takes: &[TEXT | LIST | OBJECT],
        usage: "size(text, list or object)",
    },
    member("contains", Function::Contains, &[TEXT, TEXT], "text.contains(text)"),
    member("startsWith", Function::StartsWith, &[TEXT, TEXT], "text.startsWith(text)"),
    member("endsWith", Function::EndsWith, &[TEXT, TEXT], "text.endsWith(text)"),
    Signature {
        name: "matches",
        function: Function::Matches,
        style: Style::Both,
        least: 2,
        takes: &[TEXT, TEXT],
        usage: "text.matches(\"pattern\")",
    },
    plain(
        "string",
        Function::String,
        1,
        &[BOOL | INT | DOUBLE | TEXT | AMOUNT | TIME | SPAN],
        "string(value)",
    ),
    plain("int", Function::Int, 1, &[INT | DOUBLE | TEXT | TIME], "int(number, text or time)"),
    plain("double", Function::Double, 1, &[INT | DOUBLE | TEXT], "double(number or text)"),
    plain("bool", Function::Bool, 1, &[BOOL | TEXT], "bool(text)"),
    plain("dyn", Function::Dyn, 1, &[ANY], "dyn(value)"),
    plain("timestamp", Function::Timestamp, 1, &[TEXT | TIME | INT], "timestamp(text)"),
    plain("duration", Function::Duration, 1, &[TEXT | SPAN], "duration(text)"),
    get("getFullYear", TimePart::Year, OF_TIME),
    get("getMonth", TimePart::Month, OF_TIME),
    get("getDayOfYear", TimePart::DayOfYear, OF_TIME),
    get("getDayOfMonth", TimePart::DayOfMonth, OF_TIME),
    get("getDate", TimePart::Date, OF_TIME),
    get("getDayOfWeek", TimePart::DayOfWeek, OF_TIME),
    get("getHours", TimePart::Hours, OF_TIME_OR_SPAN),
    get("getMinutes", TimePart::Minutes, OF_TIME_OR_SPAN),
    get("getSeconds", TimePart::Seconds, OF_TIME_OR_SPAN),
    get("getMilliseconds", TimePart::Milliseconds, OF_TIME_OR_SPAN),
    plain(
        "amount",
        Function::Amount,
        1,
        &[TEXT | INT | AMOUNT, TEXT],
        "amount(text or whole number), amount(text, whole number or amount, asset)",
    ),
    plain(
        "percent",
        Function::Percent,
        3,
        &[AMOUNT, TEXT | INT, TEXT],
        "percent(amount, \"0.5\", \"half_even\")",
    ),
    plain("sum", Function::Sum, 1, &[LIST], "sum(list of amounts or of whole numbers)"),
    plain(
        "split",
        Function::Split,
        2,
        &[AMOUNT, LIST, TEXT],
        "split(amount, [1, 1, 1]), split(amount, [1, 1, 1], asset)",
    ),
    plain(
        "plus",
        Function::Plus,
        2,
        &[TIME | TEXT, TEXT, TEXT],
        "plus(time, \"P1M\"), plus(time, \"P1M\", \"Europe/Berlin\")",
    ),
    plain("account", Function::Account, 1, &[TEXT], "account(id)"),
    plain("hold", Function::Hold, 1, &[TEXT], "hold(id)"),
    plain("secret", Function::Secret, 1, &[TEXT], "secret(\"NAME\")"),
    plain(
        "value",
        Function::Value,
        2,
        &[TEXT, TEXT, ANY],
        "value(set, key), value(set, key, default)",
    ),
];

impl Function {
    /// Returns its name.
    pub(super) fn name(self) -> &'static str {
        let same = |signature: &&Signature| {
            signature.function == self || self == Self::SumInts && signature.function == Self::Sum
        };
        SIGNATURES.iter().find(same).map_or("", |signature| signature.name)
    }

    /// Returns whether it is called as a member of its first argument.
    pub(super) fn is_member(self) -> bool {
        matches!(self, Self::Contains | Self::StartsWith | Self::EndsWith | Self::Get(_))
    }

    /// Returns its cost, in steps.
    const fn steps(self) -> u32 {
        match self {
            // Calendars and time zones; reading a record and converting it.
            Self::Plus | Self::Get(_) | Self::Account | Self::Hold | Self::Value | Self::Secret => {
                10
            }
            Self::Timestamp | Self::Duration => 2,
            _ => 0,
        }
    }

    /// Returns whether its result depends on its arguments alone.
    pub(super) const fn is_pure(self, arguments: usize) -> bool {
        match self {
            // The argument of `dyn` is not evaluated when the expression is compiled.
            Self::Account | Self::Hold | Self::Value | Self::Secret | Self::Dyn => false,
            Self::Amount => arguments == 1,
            Self::Split => arguments == 2,
            _ => true,
        }
    }

    /// Returns the type of its result.
    pub(super) fn makes(self, arguments: &[Type]) -> Type {
        let object = |keys: &[(&str, Type)]| Type::Object {
            keys: keys.iter().map(|(key, kind)| (Arc::from(*key), kind.clone())).collect(),
            open: false,
        };
        match self {
            Self::Size | Self::Int | Self::Get(_) | Self::SumInts => Type::Int,
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches | Self::Bool => {
                Type::Bool
            }
            Self::String | Self::Secret => Type::Text,
            Self::Double => Type::Number,
            Self::Timestamp | Self::Plus => Type::Time,
            Self::Duration => Type::Duration,
            Self::Amount | Self::Percent => Type::Amount,
            Self::Sum => match arguments.first() {
                Some(Type::List(of)) if **of == Type::Amount => Type::Amount,
                _ => Type::Any,
            },
            Self::Split => Type::List(Box::new(Type::Amount)),
            Self::Dyn | Self::Value => Type::Any,
            Self::Account => object(&[
                ("owner", Type::Text),
                ("asset", Type::Text),
                ("posted", Type::Amount),
                ("held", Type::Amount),
                ("available", Type::Amount),
                ("frozen", Type::Bool),
                ("closed", Type::Bool),
                ("exists", Type::Bool),
            ]),
            Self::Hold => object(&[
                ("amount", Type::AmountText),
                ("status", Type::Text),
                ("account", Type::Text),
                ("exists", Type::Bool),
            ]),
        }
    }

    /// Calls the function.
    pub(super) fn call<'v>(
        self,
        mut arguments: Vec<ExprValue<'v>>,
        sight: &'v dyn Resolver,
        fuel: &mut Fuel,
    ) -> Result<ExprValue<'v>, EvalHalt> {
        for argument in &arguments {
            if let ExprValue::Text(text) = argument {
                fuel.burn_bytes(text.len())?;
            }
        }
        fuel.burn(self.steps())?;
        // The number of arguments was checked at publish; a missing argument is treated as null.
        let third = if arguments.len() > 2 { Some(arguments.swap_remove(2)) } else { None };
        let second = if arguments.len() > 1 { Some(arguments.swap_remove(1)) } else { None };
        let first = arguments.pop().unwrap_or(ExprValue::Null);
        match self {
            Self::Size => size(&first, fuel),
            Self::Contains => two(&first, second, |text, part| text.contains(part)),
            Self::StartsWith => two(&first, second, |text, part| text.starts_with(part)),
            Self::EndsWith => two(&first, second, |text, part| text.ends_with(part)),
            // Its pattern is compiled with the expression: Node::Matches.
            Self::Matches => Err(failed("the pattern must be a literal text")),
            Self::String => string(first),
            Self::Int => int(&first),
            Self::Double => double(&first),
            Self::Bool => match &first {
                ExprValue::Bool(_) => Ok(first),
                ExprValue::Text(text) if &**text == "true" => Ok(ExprValue::Bool(true)),
                ExprValue::Text(text) if &**text == "false" => Ok(ExprValue::Bool(false)),
                ExprValue::Text(text) => {
                    Err(failed(format!("{} is neither true nor false", quoted(text))))
                }
                other => Err(wrong(other, "a text")),
            },
            Self::Dyn => Ok(first),
            Self::Timestamp => match &first {
                ExprValue::Time(_) => Ok(first),
                ExprValue::Int(seconds) => {
                    time_within(seconds.checked_mul(1000)).map(ExprValue::Time)
                }
                ExprValue::Text(text) => time_of(text).map(ExprValue::Time),
                other => Err(wrong(other, "a text")),
            },
            Self::Duration => match &first {
                ExprValue::Span(_) => Ok(first),
                ExprValue::Text(text) => span_of(text).map(ExprValue::Span),
                other => Err(wrong(other, "a text")),
            },
            Self::Get(part) => part_of(part, &first, second.as_ref()),
            Self::Amount => amount(&first, second.as_ref(), sight, fuel),
            Self::Percent => percent(&first, second, third),
            Self::Sum | Self::SumInts => sum(self, &first, fuel),
            Self::Split => split(&first, second, third.as_ref(), sight, fuel),
            Self::Plus => {
                let time = match &first {
                    ExprValue::Time(time) => *time,
                    ExprValue::Text(text) => time_of(text)?,
                    other => return Err(wrong(other, "a time")),
                };
                let zone = third.as_ref().map(text).transpose()?;
                later(time, text(&second.unwrap_or(ExprValue::Null))?, zone).map(ExprValue::Time)
            }
            Self::Account => account(text(&first)?, sight, fuel),
            Self::Hold => ExprValue::made(sight.hold(text(&first)?).map_err(EvalHalt::need)?, fuel),
            Self::Secret => match sight.secret(text(&first)?) {
                Some(stands_for) => Ok(ExprValue::text(stands_for)),
                None => Err(failed("a secret goes into the headers of a call and nowhere else")),
            },
            Self::Value => {
                let key = second.unwrap_or(ExprValue::Null);
                let (set, key) = (text(&first)?, text(&key)?);
                let seen = sight.value(set, key).map_err(EvalHalt::need)?;
                fuel.burn(sight.take_cost())?;
                match seen {
                    Some(seen) => ExprValue::of(seen, fuel),
                    None => third.ok_or_else(|| {
                        failed(format!("there is no value {} in {}", quoted(key), quoted(set)))
                    }),
                }
            }
        }
    }
}

/// Checks a literal argument whose value can be checked at publish.
pub(super) fn literal(
    function: Function,
    place: usize,
    value: &ExprValue<'_>,
) -> Result<(), EvalHalt> {
    match (function, place, value) {
        (Function::Percent, 1, value) => percentage(value).map(drop),
        (Function::Percent, 2, ExprValue::Text(text)) => rounding(text).map(drop),
        (Function::Plus, 1, ExprValue::Text(text)) => calendar_span(text).map(drop),
        (Function::Plus, 2, ExprValue::Text(text))
        | (Function::Get(_), 1, ExprValue::Text(text)) => zone_of(text).map(drop),
        (Function::Amount, 0, value) => decimal(value).map(drop),
        _ => Ok(()),
    }
}

fn wrong(value: &ExprValue<'_>, expected: &str) -> EvalHalt {
    let hint = match (value, expected) {
        (ExprValue::Text(_) | ExprValue::Int(_), "an amount") => {
            "; make one of it with amount(...)"
        }
        (ExprValue::Text(_), "a time") => "; make one of it with timestamp(...)",
        _ => "",
    };
    failed(format!("{expected} was expected, this is {}{hint}", value.what()))
}

fn text<'t>(value: &'t ExprValue<'_>) -> Result<&'t str, EvalHalt> {
    match value {
        ExprValue::Text(text) => Ok(text),
        other => Err(wrong(other, "a text")),
    }
}

fn two<'v>(
    left: &ExprValue<'_>,
    right: Option<ExprValue<'_>>,
    test: fn(&str, &str) -> bool,
) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(ExprValue::Bool(test(text(left)?, text(&right.unwrap_or(ExprValue::Null))?)))
}

fn size<'v>(value: &ExprValue<'_>, fuel: &mut Fuel) -> Result<ExprValue<'v>, EvalHalt> {
    let size = match value {
        ExprValue::Text(text) => {
            fuel.burn_bytes(text.len())?;
            text.chars().count()
        }
        other => other.len().ok_or_else(|| wrong(other, "a text, a list or an object"))?,
    };
    Ok(ExprValue::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn string(value: ExprValue<'_>) -> Result<ExprValue<'_>, EvalHalt> {
    Ok(match value {
        ExprValue::Text(_) => value,
        ExprValue::Bool(truth) => ExprValue::text(if truth { "true" } else { "false" }),
        ExprValue::Int(int) => ExprValue::text(int.to_string()),
        ExprValue::Double(double) => ExprValue::text(double.to_string()),
        ExprValue::Amount(amount) => ExprValue::text(amount.settled().to_string()),
        ExprValue::Time(ms) => ExprValue::text(time_text(ms)),
        ExprValue::Span(ms) => ExprValue::text(span_text(ms)),
        other => return Err(wrong(&other, "a text, a number, an amount or a time")),
    })
}

fn int<'v>(value: &ExprValue<'_>) -> Result<ExprValue<'v>, EvalHalt> {
    /// 2^63: the first double that no `i64` reaches.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    Ok(ExprValue::Int(match value {
        ExprValue::Int(int) => *int,
        ExprValue::Double(double) if *double > -BEYOND && *double < BEYOND => {
            #[allow(clippy::cast_possible_truncation, reason = "within the range of i64")]
            let whole = *double as i64;
            whole
        }
        ExprValue::Double(_) => return Err(failed("the number is too large for a whole number")),
        ExprValue::Text(text) => {
            text.parse().map_err(|_| failed(format!("{} is not a whole number", quoted(text))))?
        }
        ExprValue::Time(ms) => ms.div_euclid(1000),
        other => return Err(wrong(other, "a number, a text or a time")),
    }))
}

fn double<'v>(value: &ExprValue<'_>) -> Result<ExprValue<'v>, EvalHalt> {
    Ok(ExprValue::Double(match value {
        #[allow(clippy::cast_precision_loss, reason = "as CEL has it: to the nearest double")]
        ExprValue::Int(int) => *int as f64,
        ExprValue::Double(double) => *double,
        ExprValue::Text(text) => {
            text.parse().map_err(|_| failed(format!("{} is not a number", quoted(text))))?
        }
        other => return Err(wrong(other, "a number or a text")),
    }))
}

fn part_of<'v>(
    part: TimePart,
    value: &ExprValue<'_>,
    zone: Option<&ExprValue<'_>>,
) -> Result<ExprValue<'v>, EvalHalt> {
    if let ExprValue::Span(ms) = value {
        return Ok(ExprValue::Int(match part {
            TimePart::Hours => ms / 3_600_000,
            TimePart::Minutes => ms / 60_000,
            TimePart::Seconds => ms / 1000,
            TimePart::Milliseconds => *ms,
            _ => return Err(wrong(value, "a time")),
        }));
    }
    let ExprValue::Time(ms) = value else { return Err(wrong(value, "a time")) };
    let zoned = zoned(*ms, zone.map(text).transpose()?)?;
    Ok(ExprValue::Int(match part {
        TimePart::Year => i64::from(zoned.year()),
        TimePart::Month => i64::from(zoned.month()) - 1,
        TimePart::DayOfYear => i64::from(zoned.day_of_year()) - 1,
        TimePart::DayOfMonth => i64::from(zoned.day()) - 1,
        TimePart::Date => i64::from(zoned.day()),
        TimePart::DayOfWeek => match zoned.weekday() {
            Weekday::Sunday => 0,
            other => i64::from(other.to_monday_one_offset()),
        },
        TimePart::Hours => i64::from(zoned.hour()),
        TimePart::Minutes => i64::from(zoned.minute()),
        TimePart::Seconds => i64::from(zoned.second()),
        TimePart::Milliseconds => i64::from(zoned.millisecond()),
    }))
}

/// Converts a text, a whole number or an amount to an amount.
pub(super) fn decimal(value: &ExprValue<'_>) -> Result<Decimal, EvalHalt> {
    match value {
        ExprValue::Amount(amount) => Ok(*amount),
        ExprValue::Int(int) => Ok(Decimal::whole(*int)),
        ExprValue::Text(text) => text
            .parse()
            .map_err(|_| failed(format!("{} is not an amount like \"12.50\"", quoted(text)))),
        ExprValue::Double(_) => Err(failed(
            "a number with a fraction is not exact; write the amount as a text like \"12.50\"",
        )),
        other => Err(wrong(other, "a text or a whole number")),
    }
}

fn amount<'v>(
    value: &ExprValue<'_>,
    asset: Option<&ExprValue<'_>>,
    sight: &dyn Resolver,
    fuel: &mut Fuel,
) -> Result<ExprValue<'v>, EvalHalt> {
    let amount = decimal(value)?;
    let Some(asset) = asset else { return Ok(ExprValue::Amount(amount)) };
    amount.of_scale(scale(text(asset)?, sight, fuel)?).map(ExprValue::Amount).map_err(inexact)
}

fn scale(asset: &str, sight: &dyn Resolver, fuel: &mut Fuel) -> Result<u8, EvalHalt> {
    let scale = sight.scale(asset).map_err(EvalHalt::need)?;
    fuel.burn(sight.take_cost())?;
    scale.ok_or_else(|| failed(format!("there is no asset {}", quoted(asset))))
}

fn percentage(value: &ExprValue<'_>) -> Result<Decimal, EvalHalt> {
    match value {
        ExprValue::Text(_) | ExprValue::Int(_) => decimal(value),
        other => Err(wrong(other, "a percentage as a text like \"0.5\"")),
    }
}

fn rounding(text: &str) -> Result<Rounding, EvalHalt> {
    text.parse().map_err(|_| {
        failed(format!(
            "{} is no rounding; it is one of {}",
            quoted(text),
            Rounding::NAMES.join(", ")
        ))
    })
}

/// Converts an error of an amount.
pub(super) fn inexact(error: DecimalError) -> EvalHalt {
    failed(error.to_string())
}

fn percent<'v>(
    of: &ExprValue<'_>,
    percent: Option<ExprValue<'_>>,
    mode: Option<ExprValue<'_>>,
) -> Result<ExprValue<'v>, EvalHalt> {
    let ExprValue::Amount(amount) = of else { return Err(wrong(of, "an amount")) };
    let percent = percentage(&percent.unwrap_or(ExprValue::Null))?;
    let mode = rounding(text(&mode.unwrap_or(ExprValue::Null))?)?;
    amount.percent(percent, mode).map(ExprValue::Amount).map_err(inexact)
}

fn sum<'v>(
    function: Function,
    list: &ExprValue<'_>,
    fuel: &mut Fuel,
) -> Result<ExprValue<'v>, EvalHalt> {
    if !list.is_list() {
        return Err(wrong(list, "a list"));
    }
    fuel.burn_elements(list.len().unwrap_or(0))?;
    let mut total = None;
    for element in list.parts()? {
        total = Some(match (total, element) {
            (None, ExprValue::Int(int)) => ExprValue::Int(int),
            (None, ExprValue::Amount(amount)) => ExprValue::Amount(amount),
            (Some(ExprValue::Int(total)), ExprValue::Int(int)) => {
                let total = total.checked_add(int);
                ExprValue::Int(
                    total.ok_or_else(|| failed("the sum is too large for a whole number"))?,
                )
            }
            (Some(ExprValue::Amount(total)), ExprValue::Amount(amount)) => {
                ExprValue::Amount(total.plus(amount).map_err(inexact)?)
            }
            (Some(ExprValue::Amount(_)), other) | (_, other @ ExprValue::Text(_)) => {
                return Err(wrong(&other, "an amount"));
            }
            (_, other) => return Err(wrong(&other, "a whole number")),
        });
    }
    Ok(total.unwrap_or(match function {
        Function::SumInts => ExprValue::Int(0),
        _ => ExprValue::Amount(Decimal::ZERO),
    }))
}

/// Maximum number of parts that an amount is split into, equal to the maximum number of elements of
/// `each`.
const PARTS_MAX: usize = 100;

fn split<'v>(
    of: &ExprValue<'_>,
    weights: Option<ExprValue<'_>>,
    asset: Option<&ExprValue<'_>>,
    sight: &dyn Resolver,
    fuel: &mut Fuel,
) -> Result<ExprValue<'v>, EvalHalt> {
    let ExprValue::Amount(amount) = of else { return Err(wrong(of, "an amount")) };
    let weights = weights.unwrap_or(ExprValue::Null);
    if !weights.is_list() {
        return Err(wrong(&weights, "a list of whole numbers"));
    }
    if weights.len() > Some(PARTS_MAX) {
        return Err(failed(format!("an amount is split into at most {PARTS_MAX} parts")));
    }
    fuel.burn_elements(weights.len().unwrap_or(0))?;
    let weights: Result<Vec<i64>, EvalHalt> = weights
        .parts()?
        .iter()
        .map(|weight| match weight {
            ExprValue::Int(int) => Ok(*int),
            other => Err(wrong(other, "a whole number")),
        })
        .collect();
    let scale = asset.map(|asset| scale(text(asset)?, sight, fuel)).transpose()?;
    let parts = amount.split(&weights?, scale).map_err(|_| {
        failed(
            "only an amount that is not negative and has no more digits than its asset is split, \
             by weights that are not negative and not all zero",
        )
    })?;
    Ok(ExprValue::List(Arc::new(parts.into_iter().map(ExprValue::Amount).collect())))
}

/// Names of an account's properties.
const OF_ACCOUNT: [&str; 8] =
    ["owner", "asset", "posted", "held", "available", "frozen", "closed", "exists"];

fn account<'v>(id: &str, sight: &dyn Resolver, fuel: &mut Fuel) -> Result<ExprValue<'v>, EvalHalt> {
    let seen = sight.account(id).map_err(EvalHalt::need)?;
    fuel.burn(sight.take_cost())?;
    let part = |key: &&str| Some((Arc::from(*key), of_account(&seen, key)?));
    let entries: BTreeMap<_, _> = OF_ACCOUNT.iter().filter_map(part).collect();
    Ok(ExprValue::Map(Arc::new(entries)))
}

fn of_account<'v>(seen: &AccountSeen, key: &str) -> Option<ExprValue<'v>> {
    Some(match key {
        "owner" => seen.owner.as_ref().map_or(ExprValue::Null, |owner| {
            ExprValue::Text(TextValue::TemplateOutput(Arc::clone(owner)))
        }),
        "asset" => ExprValue::Text(TextValue::TemplateOutput(Arc::clone(&seen.asset))),
        "posted" => ExprValue::Amount(seen.posted),
        "held" => ExprValue::Amount(seen.held),
        "available" => ExprValue::Amount(seen.available),
        "frozen" => ExprValue::Bool(seen.frozen),
        "closed" => ExprValue::Bool(seen.closed),
        "exists" => ExprValue::Bool(seen.exists),
        _ => return None,
    })
}

/// Returns one property of an account without computing the others: most expressions read only one.
pub(super) fn account_part<'v>(
    id: &ExprValue<'_>,
    key: &str,
    sight: &dyn Resolver,
    fuel: &mut Fuel,
) -> Result<Option<ExprValue<'v>>, EvalHalt> {
    let id = text(id)?;
    fuel.burn_bytes(id.len())?;
    fuel.burn(Function::Account.steps())?;
    let seen = sight.account(id).map_err(EvalHalt::need)?;
    fuel.burn(sight.take_cost())?;
    Ok(of_account(&seen, key))
}
