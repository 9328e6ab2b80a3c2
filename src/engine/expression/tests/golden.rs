//! Results of expressions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::engine::workflow::Template;

/// Returns the result as JSON; amounts and times as text.
fn made(source: &str) -> Value {
    match eval(source) {
        Ok(made) => made.into_json(),
        Err(stop) => panic!("{source}: {stop:?}"),
    }
}

fn failure(source: &str) -> String {
    match eval(source) {
        Err(EvalStop::Failed(message)) => message,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn expressions_make_what_they_say() {
    for (source, expected) in [
        // Literals and operators.
        ("1 + 2 * 3", json!(7)),
        ("7 / 2 == 3 && -7 / 2 == -3 && -7 % 2 == -1", json!(true)),
        ("1.5 + 1.5", json!(3.0)),
        ("1 == 1.0 && 2 > 1.5 && 3 < 3.5 && -3 > -3.5", json!(true)),
        ("'a' + \"b\"", json!("ab")),
        ("[1] + [2, 'x']", json!([1, 2, "x"])),
        ("{'a': 1, 'b': [true, null]}", json!({ "a": 1, "b": [true, null] })),
        ("true ? 1 : 2", json!(1)),
        ("!(1 > 2)", json!(true)),
        ("'b' in data.tags && !('c' in data.tags)", json!(true)),
        ("'deep' in data.nested", json!(true)),
        ("[1, 2] == [1, 2] && {'a': 1} == {'a': 1.0} && 'a' != 'b'", json!(true)),
        ("dyn(1) == '1'", json!(false)),
        // Data.
        ("data.count", json!(3)),
        ("data.nested.deep.er + data['count']", json!(4)),
        ("data.items[1].price", json!("0.05")),
        ("data.nested", json!({ "deep": { "er": 1 } })),
        ("has(data.note) || has(data.gone)", json!(false)),
        ("has(data.count)", json!(true)),
        ("data.note == null", json!(true)),
        ("actor.user != tx.owner && 'manager' in actor.roles", json!(true)),
        // Loops.
        ("data.numbers.map(x, x * 2)", json!([2, 4, 6])),
        ("data.numbers.filter(x, x > 1)", json!([2, 3])),
        ("data.numbers.map(x, x > 1, x * 10)", json!([20, 30])),
        ("data.numbers.all(x, x > 0)", json!(true)),
        ("data.numbers.exists(x, x > 2)", json!(true)),
        ("data.numbers.exists_one(x, x > 2)", json!(true)),
        ("data.numbers.exists_one(x, x > 1)", json!(false)),
        ("[[1, 2], [3]].map(x, x.map(y, y + size(x)))", json!([[3, 4], [4]])),
        ("data.nested.map(key, key)", json!(["deep"])),
        ("[].all(x, x) && ![].exists(x, x)", json!(true)),
        // An error on one side, and another side that decides.
        ("1 / (data.count - 3) == 1 || true", json!(true)),
        ("data.gone && false", json!(false)),
        ("[0, 1].exists(x, 1 / x == 1)", json!(true)),
        // Texts.
        ("size('é') + size([1]) + size({'a': 1}) + 'ab'.size()", json!(5)),
        (
            "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
            json!(true),
        ),
        ("data.to.matches('^[a-z]+:eur$')", json!(true)),
        ("matches('xyz', 'y')", json!(true)),
        ("string(1) + string(true) + string(1.5) + string('x')", json!("1true1.5x")),
        ("int('42') + int(3.9)", json!(45)),
        ("double(2) * 1.5", json!(3.0)),
        ("bool('true') && dyn(true)", json!(true)),
        // Amounts.
        ("amount(data.amount) + amount(data.fee)", json!("251.50")),
        ("amount(data.amount) > amount(\"10000.00\")", json!(false)),
        ("amount(\"10\") == amount(\"10.00\")", json!(true)),
        (
            "amount(data.amount) + percent(amount(data.amount), \"0.5\", \"half_even\")",
            json!("251.25"),
        ),
        ("-amount(5) - amount('0.5') * 3", json!("-6.5")),
        ("2 * amount('0.5')", json!("1.0")),
        ("amount(5, 'EUR')", json!("5.00")),
        ("amount('5.5', 'JPY')", json!("5.5")),
        ("sum(data.items.map(i, amount(i.price) * i.pieces))", json!("20.15")),
        ("sum([1, 2, 3])", json!(6)),
        ("sum(data.numbers.filter(x, x > 5)) == amount(0)", json!(true)),
        ("split(amount('100.00'), [1, 1, 1])", json!(["33.34", "33.33", "33.33"])),
        ("split(amount(100), [1, 1, 1], 'JPY')", json!(["34", "33", "33"])),
        ("{'fee': amount('1.50')}", json!({ "fee": "1.50" })),
        ("string(amount('1.50'))", json!("1.50")),
        // Times.
        ("now", json!("2026-01-31T10:30:00.250Z")),
        ("plus(now, 'P1M')", json!("2026-02-28T10:30:00.250Z")),
        ("plus(now, 'P2M', 'Europe/Berlin')", json!("2026-03-31T09:30:00.250Z")),
        ("plus('2026-03-28T12:00:00Z', 'P1D', 'Europe/Berlin')", json!("2026-03-29T11:00:00.000Z")),
        (
            "plus('2026-03-28T12:00:00Z', 'PT24H', 'Europe/Berlin')",
            json!("2026-03-29T12:00:00.000Z"),
        ),
        ("timestamp(data.born) < plus(now, '-P18Y')", json!(true)),
        ("timestamp(data.born)", json!("1961-02-28T00:00:00.000Z")),
        ("timestamp('2026-01-01T01:00:00+01:00') == timestamp(1767225600)", json!(true)),
        ("now + duration('1h30m')", json!("2026-01-31T12:00:00.250Z")),
        ("now - timestamp('2026-01-31T10:00:00Z')", json!("1800250ms")),
        ("duration('90m')", json!("90m")),
        ("duration('1.5h') == duration('90m') && duration('-1d') < duration('0')", json!(true)),
        ("duration('90m').getHours() * 100 + duration('90m').getMinutes()", json!(190)),
        ("now.getFullYear() * 100 + now.getMonth()", json!(202_600)),
        ("now.getDate() * 100 + now.getDayOfMonth()", json!(3130)),
        ("now.getDayOfYear() * 10 + now.getDayOfWeek()", json!(306)),
        (
            "now.getHours('Asia/Tokyo') * 10000 + now.getMinutes() * 100 + now.getMilliseconds()",
            json!(193_250),
        ),
        ("now.getHours('+02:00')", json!(12)),
        ("int(timestamp('1970-01-01T00:00:01.999Z'))", json!(1)),
        // Records.
        ("account(data.to).available", json!("75.00")),
        ("account(data.to).owner", json!("alice")),
        ("account('none').exists || account('none').owner != null", json!(false)),
        ("amount(hold('funds').amount)", json!("25.00")),
        ("amount(value('limits', 'daily').max)", json!("5000.00")),
        ("value('limits', 'weekly', null) == null", json!(true)),
    ] {
        assert_eq!(made(source), expected, "{source}");
    }
}

#[test]
fn what_fails_says_what_and_where() {
    for (source, part) in [
        ("1 / 0", "`1 / 0`: division by zero"),
        ("data.count / 0", "`data.count / 0`: division by zero"),
        ("data.gone", "`data` has no key \"gone\""),
        ("data.count.x", "`data.count` is a whole number"),
        ("data.note.x", "`data.note` is null"),
        ("data.numbers[3]", "nothing at `3`"),
        ("data.numbers[-1]", "nothing at"),
        ("data.big", "too large"),
        ("data.amount + 1", "`data.amount + 1`: + does not go with a text and a whole number"),
        ("amount(data.ratio)", "`amount(data.ratio)`: a number with a fraction is not exact"),
        ("amount(data.amount) * data.ratio", "an amount is exact"),
        ("amount(data.amount) > data.fee", "make an amount of it with amount(...)"),
        ("amount(data.amount) == data.amount", "make an amount of it with amount(...)"),
        ("now > data.born", "make a time of it with timestamp(...)"),
        ("amount(data.to)", "\"alice:eur\" is not an amount"),
        ("amount(1, data.to)", "there is no asset \"alice:eur\""),
        ("percent(amount(1), data.fee, data.to)", "is no rounding"),
        ("sum(data.tags)", "make one of it with amount(...)"),
        ("split(-amount(data.amount), [1])", "not negative"),
        ("value('limits', data.to)", "there is no value \"alice:eur\" in \"limits\""),
        ("data.count ? 1 : 2", "`data.count` is a whole number, not true or false"),
        ("9223372036854775807 + data.count", "too large"),
        ("plus(now, data.to)", "ISO 8601"),
        ("plus(now, 'P1D', data.to)", "is not a time zone"),
        ("plus(now, 'P9999Y')", "outside of the years"),
        ("timestamp(data.to)", "is not a time"),
        ("duration(data.to)", "is not a duration"),
        ("data.flag || data.gone && true ? data.gone : 1", "has no key"),
        ("data.numbers.all(x, x > 0 && data.gone)", "has no key"),
    ] {
        let compiled = Expr::compile(source, &any_scope());
        let message = match compiled {
            Ok(expr) => match expr.eval(&World::new()) {
                Err(EvalStop::Failed(message)) => message,
                other => panic!("{source}: {other:?}"),
            },
            // An expression that always fails is reported at publish.
            Err(faults) => faults[0].message.clone(),
        };
        assert!(message.contains(part), "{source}: {message}");
    }
    assert!(!failure("data.gone").contains("NoSuch"));
}

#[test]
fn a_missing_record_wins_over_any_result() {
    let world = World { loaded: false, ..World::new() };
    let need = Some(EvalStop::Need(fact()));
    for source in [
        "account('a').exists",
        "true && account('a').exists",
        "account('a').exists || true",
        "account('a').exists && false",
        "1 / (3 - data.count) == 1 || account('a').exists",
        "[1].exists(x, account('a').exists) || true",
        "[1, 2].all(x, x > 0 && hold('h').exists)",
        "[1, 2].exists(x, x == 1 ? account('a').exists : true)",
        "[1, 2].all(x, x == 1 && account('a').exists)",
        "value('a', 'b', 1) == 1",
        "amount(1, 'EUR') > amount(0)",
        "split(amount(1), [1], 'EUR')",
    ] {
        assert_eq!(compile(source).eval(&world).err(), need, "{source}");
    }
    assert_eq!(
        compile("true || account('a').exists").eval(&world),
        Ok(TemplateOutput::Json(json!(true)))
    );
}

#[test]
fn templates_make_json_or_what_their_one_expression_makes() {
    let mut faults = Vec::new();
    let read =
        |value: Value, faults: &mut Vec<_>| Template::read(&value, &any_scope(), "/do/0", faults);
    let template = read(
        json!({ "to": "=data.to", "fee": "=amount(data.fee)", "at": ["=now", "==x", "y", 1], "is": null }),
        &mut faults,
    );
    assert_eq!(
        template.make(&World::new()),
        Ok(TemplateOutput::Json(json!({
            "to": "alice:eur", "fee": "1.5",
            "at": ["2026-01-31T10:30:00.250Z", "=x", "y", 1], "is": null,
        })))
    );
    let amount = read(json!("=amount(data.amount)"), &mut faults);
    assert_eq!(amount.make(&World::new()), Ok(TemplateOutput::Amount("250.00".parse().unwrap())));
    assert!(faults.is_empty(), "{faults:?}");

    read(json!({ "a/b": ["=data.", "=dta.x"] }), &mut faults);
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/do/0/a~1b/0", "/do/0/a~1b/1"], "{faults:?}");
}

#[test]
fn what_was_made_is_read_as_it_is_needed() {
    let number = |text: &str| TemplateOutput::Json(json!(text)).to_decimal();
    assert_eq!(number("12.50"), Ok("12.5".parse().unwrap()));
    assert!(number("12,50").unwrap_err().contains("12,50"));
    assert_eq!(TemplateOutput::Json(json!(12)).to_decimal(), Ok(Decimal::whole(12)));
    assert!(TemplateOutput::Json(json!(0.1)).to_decimal().unwrap_err().contains("not exact"));
    assert_eq!(TemplateOutput::Json(json!(true)).as_bool(), Ok(true));
    assert!(TemplateOutput::Json(json!(null)).as_bool().unwrap_err().contains("null"));
    assert_eq!(TemplateOutput::Json(json!("x")).to_text(), Ok("x"));
    assert_eq!(TemplateOutput::Json(json!(3)).to_int(), Ok(3));
    assert!(TemplateOutput::Json(json!(3.0)).to_int().is_err());
    assert!(TemplateOutput::Amount(Decimal::ZERO).to_text().is_err());
    let time = TemplateOutput::Json(json!("1970-01-01T00:00:01Z")).to_time().unwrap();
    assert_eq!(time.ms(), 1000);
    assert!(TemplateOutput::Json(json!("1960-01-01T00:00:01Z")).to_time().is_err());
}
