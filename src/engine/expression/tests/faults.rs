//! Faults that refuse a definition at publish.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use super::*;

/// Returns a scope with known types.
fn scope() -> TypeScope {
    let object = |keys: Vec<(&str, Type)>, open| Type::Object {
        keys: keys.into_iter().map(|(key, kind)| (Arc::from(key), kind)).collect(),
        open,
    };
    let item = object(vec![("price", Type::AmountText), ("pieces", Type::Int)], false);
    let names = [
        (
            "data",
            object(
                vec![
                    ("amount", Type::AmountText),
                    ("fee", Type::AmountText),
                    ("to", Type::Text),
                    ("count", Type::Int),
                    ("ratio", Type::Number),
                    ("flag", Type::Bool),
                    ("items", Type::List(Box::new(item))),
                    ("tags", Type::List(Box::new(Type::Text))),
                    ("free", object(vec![("known", Type::Int)], true)),
                    ("any", Type::Any),
                ],
                false,
            ),
        ),
        (
            "actor",
            object(vec![("user", Type::Text), ("roles", Type::List(Box::new(Type::Text)))], false),
        ),
        ("now", Type::Time),
    ];
    TypeScope { names: names.into_iter().map(|(name, kind)| (Arc::from(name), kind)).collect() }
}

fn faults(source: &str) -> Vec<ExprFault> {
    Expr::compile(source, &scope()).err().unwrap_or_default()
}

#[test]
fn what_is_wrong_is_found_and_named() {
    for (source, code, part) in [
        // Syntax.
        ("data.", "syntax", "line 1, column"),
        ("1 +", "syntax", ""),
        ("data.amount = 5", "syntax", ""),
        ("(1", "syntax", ""),
        ("'a", "syntax", ""),
        ("", "syntax", ""),
        ("has(data)", "syntax", "has()"),
        ("data.tags.map(1, 2)", "syntax", "simple name"),
        ("x.?y", "syntax", "unsupported"),
        // Names, keys and functions.
        (
            "dta.amount",
            "unknown-name",
            "there is no `dta` here at line 1, column 1; did you mean `data`?",
        ),
        ("input.x", "unknown-name", "there are `actor`, `data`, `now`"),
        ("amount", "unknown-name", "it is a function"),
        ("x", "unknown-name", ""),
        ("data.tags.all(t, u == t)", "unknown-name", "`u`"),
        ("data.tags.all(t, true) && t == 'x'", "unknown-name", "`t`"),
        (
            "data.amuont",
            "unknown-key",
            "`data` has no key `amuont` at line 1, column 6; did you mean `amount`?",
        ),
        ("1 == 1 &&\n  has(data.gone)", "unknown-key", "at line 2, column 12"),
        ("data['amuont']", "unknown-key", "did you mean `amount`?"),
        ("data.items[0].prize", "unknown-key", "did you mean `price`?"),
        ("data.items.map(i, i.prize)", "unknown-key", "did you mean `price`?"),
        ("account(data.to).balance", "unknown-key", "`available`"),
        ("account(data.to).ownr", "unknown-key", "did you mean `owner`?"),
        ("amuont('1')", "unknown-function", "did you mean `amount`?"),
        ("size2('1')", "unknown-function", ""),
        ("data.to.size().foo()", "unknown-function", "`foo`"),
        ("max(1, 2)", "unknown-function", "a > b ? a : b"),
        ("uint(1)", "unknown-function", "int(...)"),
        ("type(1) == int", "unknown-function", "`type`"),
        ("data.tags.exists(x)", "unknown-function", "list.exists(x, ...)"),
        ("math.greatest(1, 2)", "unknown-function", "`greatest`"),
        ("amount()", "wrong-arity", "amount(text or whole number)"),
        ("amount('1', 'EUR', 2)", "wrong-arity", "amount("),
        ("contains('a', 'b')", "wrong-arity", "text.contains(text)"),
        ("'a'.amount()", "wrong-arity", "amount("),
        ("percent(amount(1), '1')", "wrong-arity", "half_even"),
        // Types.
        ("data.amount > 5", "wrong-type", "with amount(...)"),
        ("amount(data.amount) > 5", "wrong-type", "with amount(...)"),
        ("amount(data.amount) > '5'", "wrong-type", "with amount(...)"),
        ("amount(data.amount) == data.amount", "wrong-type", "with amount(...)"),
        ("data.amount > data.fee", "wrong-type", "with amount(...)"),
        ("data.amount + data.fee", "wrong-type", "with amount(...)"),
        ("data.amount >= '100'", "wrong-type", "with amount(...)"),
        ("amount(data.amount) * 1.5", "wrong-type", "an amount is exact"),
        ("amount(data.amount) * double(data.count)", "wrong-type", "an amount is exact"),
        ("amount(data.amount) / 3", "wrong-type", "split(...)"),
        ("amount(1.5)", "wrong-type", "`amount` does not take `1.5`"),
        ("amount(data.flag)", "wrong-type", "a truth value"),
        ("amount(data.items)", "wrong-type", "a list"),
        ("percent(data.amount, '1', 'up')", "wrong-type", "with amount(...)"),
        ("sum(data.tags)", "wrong-type", "list.map(x, amount(x))"),
        ("sum(data.items.map(i, i.price))", "wrong-type", "list.map(x, amount(x))"),
        ("sum(1)", "wrong-type", "a whole number"),
        ("split(amount(1), 3)", "wrong-type", "a whole number"),
        ("now > '2026-01-01T00:00:00Z'", "wrong-type", "timestamp(...)"),
        ("now + '1h'", "wrong-type", "duration(...)"),
        ("now + 1", "wrong-type", ""),
        ("data.count + 1.5", "wrong-type", "double(...)"),
        ("data.to + data.count", "wrong-type", "string(...)"),
        ("data.count == 'x'", "wrong-type", ""),
        ("data.to && true", "wrong-type", "`data.to` is a text, not true or false"),
        ("!data.count", "wrong-type", "not true or false"),
        ("data.count ? 1 : 2", "wrong-type", "not true or false"),
        ("data.tags.all(t, t)", "wrong-type", "not true or false"),
        ("data.tags.filter(t, size(t))", "wrong-type", "not true or false"),
        ("data.count.x", "wrong-type", "it has no key `x`"),
        ("data.tags.x", "wrong-type", "it has no key `x`"),
        ("data.tags['x']", "wrong-type", "no place"),
        ("data.count.map(x, x)", "wrong-type", "not a list"),
        ("-data.to", "wrong-type", "no negative"),
        ("'a' in data.to", "wrong-type", ""),
        ("data.to.contains(data.count)", "wrong-type", "text.contains(text)"),
        ("{1: 2}", "wrong-type", "not a text"),
        ("value('s', 1)", "wrong-type", "value(set, key)"),
        // Values that always fail.
        ("amount('1,50')", "invalid-value", "is not an amount"),
        ("amount('x', data.to)", "invalid-value", "is not an amount"),
        ("percent(amount(data.fee), 'x', 'up')", "invalid-value", "is not an amount"),
        ("percent(amount(data.fee), '1', 'bankers')", "invalid-value", "half_even"),
        ("plus(now, '1 month')", "invalid-value", "ISO 8601"),
        ("plus(now, 'P1M', 'Europe/Berln')", "invalid-value", "is not a time zone"),
        ("now.getHours('Mars/Base')", "invalid-value", "is not a time zone"),
        ("timestamp('tomorrow')", "invalid-value", "is not a time"),
        ("duration('1 hour')", "invalid-value", "is not a duration"),
        ("1 / 0", "invalid-value", "division by zero"),
        ("9223372036854775807 + 1", "invalid-value", "too large"),
        ("{'a': 1, 'a': 2}", "invalid-value", "twice"),
        ("data.to.matches('(')", "invalid-value", "no pattern"),
        ("data.to.matches('((a{1,99}){1,99}){1,99}')", "invalid-value", "too large"),
        ("data.to.matches('(?=a)')", "invalid-value", "look-arounds"),
        // Features that do not exist.
        ("data.to.matches(data.to)", "not-supported", "literal"),
        ("1u", "not-supported", "1u"),
        ("b'x'", "not-supported", "text"),
        ("Point{x: 1}", "not-supported", "{\"key\": value}"),
    ] {
        let found = faults(source);
        let fits = |fault: &ExprFault| fault.code == code && fault.message.contains(part);
        assert!(found.iter().any(fits), "{source}: {found:?}");
        for fault in &found {
            assert!(!fault.message.contains("Expr"), "{source}: {fault:?}");
        }
    }
}

#[test]
fn what_may_be_right_is_not_refused() {
    for source in [
        "data.any > 5 && data.any.x.y == 'a' && data.any[0] == 1 && data.any.all(x, x > amount(1))",
        "amount(data.any) * data.any > percent(data.any, data.any, data.any)",
        "data.free.whatever == 1 || has(data.free.other)",
        "data.to == null || data.count == null || null == now || actor.user != null",
        "data.amount == data.fee || data.amount == '1.00' || 'x' + data.amount == data.to",
        "data.ratio + 1.5 > 2.0 || data.ratio + data.count > 1 || data.ratio * data.ratio > 0",
        "amount(data.amount) * data.ratio > amount(0)",
        "(data.flag ? 1 : 'x') == 1 || (data.flag ? null : data.to).startsWith('x')",
        "sum(data.items.map(i, amount(i.price) * i.pieces)) > amount(0)",
        "sum([]) == amount(0) || sum(data.any) == data.any",
        "[1, 'x', null].exists(x, x == 1)",
        "plus(data.to, 'P1D') > now && plus(now, data.to, data.to) > now",
        "now - now > duration('1h') && now - duration('1h') < now",
        "value('a', 'b') == value('a', 'b', 1) && value('a', 'b').x > 1",
        "data.tags.map(t, {'name': t, 'size': size(t)}).exists(t, t.name == 'x' && t.size > 1)",
        "data.items.filter(i, i.pieces > 1).map(i, i.price) == data.tags",
        "data.tags.exists(data, data == 'shadows')",
        "dyn(1) == 'x' && data['count'] > 0 && data[data.to] == 1",
        "hold('funds').exists && amount(hold('funds').amount) > account(data.to).available",
        "data.count in [1, 2] && 'x' in data.tags && 'x' in data.free && !(data.any in data.tags)",
        "data.to.matches('^\\\\d+$') || data.to.matches(r'^\\d+$')",
        "-9223372036854775808 < data.count && 0x10 == 16 && 1e3 == 1000.0",
        "-data.ratio < 0 && -amount(data.fee) < amount(0) && -1.5 < data.ratio",
    ] {
        assert_eq!(faults(source), [], "{source}");
    }
}

#[test]
fn all_faults_are_told_together() {
    let found = faults("dta.x > 1 && data.amuont == '1' && foo(1) && data.amount > 5");
    let codes: Vec<_> = found.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["unknown-name", "unknown-key", "unknown-function", "wrong-type"]);
}

#[test]
fn what_an_expression_makes_is_known() {
    let kind = |source: &str| Expr::compile(source, &scope()).unwrap().kind().clone();
    for (source, expected) in [
        ("data.amount", Type::AmountText),
        ("amount(data.amount) + amount('1')", Type::Amount),
        ("2 * amount(data.amount)", Type::Amount),
        ("sum(data.items.map(i, amount(i.price)))", Type::Amount),
        ("sum(data.items.map(i, i.pieces))", Type::Int),
        ("split(amount('1'), [1, 1])", Type::List(Box::new(Type::Amount))),
        ("now + duration('1h')", Type::Time),
        ("now - now", Type::Duration),
        ("plus(now, 'P1M')", Type::Time),
        ("data.flag ? 1 : null", Type::Int),
        ("data.flag ? 1 : 1.5", Type::Number),
        ("data.flag ? 1 : 'x'", Type::Any),
        ("data.tags.filter(t, t != 'x')", Type::List(Box::new(Type::Text))),
        ("data.tags + ['x']", Type::List(Box::new(Type::Text))),
        ("data.any", Type::Any),
        ("data.any + data.any", Type::Any),
        ("data.any > 1", Type::Bool),
        ("account(data.to).posted", Type::Amount),
        ("value('a', 'b')", Type::Any),
        ("data.to", Type::Text),
    ] {
        assert_eq!(kind(source), expected, "{source}");
    }
}

#[test]
fn a_letter_of_several_bytes_is_told_once() {
    for (source, count) in [("日 == 1", 1), ("日 == 本", 2), ("日本 == 1", 1)] {
        let faults = Expr::compile(source, &scope()).unwrap_err();
        let letters = faults.iter().filter(|fault| fault.message.contains("unexpected character"));
        assert_eq!(letters.count(), count, "{source}: {faults:?}");
    }
}
