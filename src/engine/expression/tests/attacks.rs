//! Attacks: no expression hangs, grows without limit, overflows the stack or panics.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::expression::eval::Evaluation;
use crate::engine::expression::value::{RESULT_BYTES_MAX, STEPS_MAX};
use crate::engine::workflow::Template;

/// Returns a world with the maximum size of a transaction's data.
fn full() -> World {
    let mut world = World::new();
    let numbers: Vec<i64> = (0..12_000).collect();
    let shifted: Vec<i64> = (1..12_001).collect();
    let text = "x".repeat(60_000);
    let data =
        json!({ "numbers": numbers, "shifted": shifted, "text": text, "object": { "a": 1 } });
    world.names.insert("data", data);
    world
}

fn soon<T>(source: &str, work: impl FnOnce() -> T) -> T {
    // The step budget ends the evaluation; a hang would show as a test that does not end.
    assert!(!source.is_empty());
    work()
}

#[test]
fn texts_that_are_too_much_are_refused_and_never_overflow_the_stack() {
    let hostile: Vec<String> = vec![
        "(".repeat(4000),
        format!("{}1{}", "(".repeat(2000), ")".repeat(2000)),
        "[".repeat(4000),
        format!("{}{}", "[".repeat(2000), "]".repeat(2000)),
        format!("{}1{}", "{'a':".repeat(600), "}".repeat(600)),
        "{".repeat(4000),
        "!".repeat(4000),
        format!("{}true", "!".repeat(4000)),
        format!("{}1", "-".repeat(4000)),
        format!("{}1", "- ".repeat(2000)),
        format!("1{}", "+1".repeat(2000)),
        format!("1{}", "*1".repeat(2000)),
        format!("1{}", "<1".repeat(2000)),
        format!("data{}", ".a".repeat(2000)),
        format!("data{}", "[0]".repeat(1300)),
        format!("data{}", ".a()".repeat(1000)),
        format!("true{}", "?true".repeat(800)),
        format!("true{}", "?1:true".repeat(580)),
        format!("{}1{}", "true?".repeat(600), ":1".repeat(500)),
        format!("true{}", "&&true".repeat(680)),
        format!("true{}", "||false&&true".repeat(310)),
        format!("{}1{}", "size(".repeat(680), ")".repeat(680)),
        format!("{}1{}", "[1].map(x,".repeat(300), ")".repeat(300)),
        format!("[1]{}", ".map(x,x)".repeat(450)),
        format!("[1]{}", ".map(x,[1].map(y,x))".repeat(200)),
        format!("'{}'", "\\".repeat(4001)),
        "'".repeat(4000),
        "\"\"\"".repeat(1300),
        "r'".repeat(2000),
        "9".repeat(4000),
        format!("0x{}", "f".repeat(4000)),
        format!("1e{}", "9".repeat(4000)),
        ".".repeat(4000),
        "?".repeat(4000),
        ":".repeat(4000),
        ",".repeat(4000),
        "\u{0}".repeat(4000),
        "é".repeat(2000),
        "💥".repeat(1000),
        "//".repeat(2000),
        " ".repeat(4096),
        "data.to.matches('".to_owned() + &"(a*)*".repeat(500) + "')",
        "data.to.matches('".to_owned() + &"(".repeat(2000) + &")".repeat(1900) + "')",
        format!("'{}'.matches('{}')", "a".repeat(1000), "(a|aa)+".repeat(100) + "$"),
    ];
    // Half of the stack of a runtime thread.
    let run = move || {
        for source in hostile {
            let compiled = soon(&source, || Expr::compile(&source, &any_scope()));
            if let Ok(expr) = compiled {
                // The result does not matter here.
                drop(soon(&source, || expr.eval(&World::new())));
            }
        }
    };
    run();

    let codes = |source: &str| -> Vec<_> {
        let found = Expr::compile(source, &any_scope()).err().unwrap_or_default();
        found.into_iter().map(|fault| fault.code).collect()
    };
    assert_eq!(codes(&" ".repeat(4097)), ["too-long"]);
    assert_eq!(codes(&format!("1{}", "+1".repeat(100))), ["too-complex"]);
    assert_eq!(codes(&format!("[{}1]", "1,".repeat(1000))), ["too-complex"]);
    assert_eq!(codes("[1].map(a, [1].map(b, [1].map(c, c)))"), ["too-complex"]);
    assert_eq!(codes("[1].map(a, [1].map(b, b)).map(c, [c].all(d, d == [1]))"), [] as [&str; 0]);
    assert_eq!(codes(&format!("1{}", "+1".repeat(60))), [] as [&str; 0]);
    assert_eq!(codes(r"data.to.matches('^[\\p{L} .-]{1,70}$')"), [] as [&str; 0]);
    assert_eq!(codes(&format!("true{}", "||data.to.matches('x')".repeat(5))), ["too-complex"]);
}

#[test]
fn loops_and_growth_end_with_the_steps() {
    let world = full();
    for source in [
        "data.numbers.map(a, data.numbers.map(b, a * b))",
        "data.numbers.all(a, data.numbers.all(b, a + b >= 0))",
        "data.numbers.exists(a, data.numbers.exists(b, a + b < 0))",
        "data.numbers.exists(a, 1 / (a - a) == data.numbers.size() || data.gone)",
        "data.numbers.map(a, data.text + data.text)",
        "data.numbers.map(a, data.text.contains('y'))",
        "data.numbers.all(a, data.text.matches('x*y') == false)",
        "data.numbers.all(a, data.numbers == data.numbers)",
        "data.numbers.all(a, data.numbers != data.shifted)",
        "data.numbers.all(a, big.size() > 0)",
        "data.numbers.all(a, value('big', 'big').size() > 0)",
        "data.numbers.all(a, account('alice:eur').exists)",
        "data.numbers.all(a, plus(now, 'P1M', 'Europe/Berlin') > now)",
        "data.numbers.all(a, now.getHours('Asia/Tokyo') > 0)",
        "data.numbers.all(a, !(-1 in data.numbers))",
        "data.numbers.all(a, sum(data.numbers) > 0)",
        "data.numbers.all(a, size(data.numbers + data.numbers) > 0)",
        "data.numbers.all(a, size(data.text) > 0)",
        "data.numbers.all(a, size(data.numbers.filter(b, b >= 0)) > 0)",
        "data.numbers.map(a, data)",
        "data.numbers.map(a, [data.text, data.text])",
        "data.numbers.map(a, {'key': a, data.text: a})",
        "data.numbers.map(a, string(a) + data.text)",
    ] {
        let expr = compile(source);
        let stop = soon(source, || expr.eval(&world));
        let Err(EvalStop::Failed(message)) = stop else { panic!("{source}: it ended") };
        assert!(
            message.contains("steps")
                || message.contains("64 KiB")
                || message.contains("has no key"),
            "{source}: {message}"
        );
    }
    // Doubling: 2^12 times 60 000 bytes.
    let doubling = (0..12).fold("data.text".to_owned(), |text, _| format!("({text}) + data.text"));
    let grown = compile(&doubling).eval(&world);
    assert!(matches!(grown, Err(EvalStop::Failed(message)) if message.contains("64 KiB")));
    let nested = (0..10).fold("data.numbers".to_owned(), |list, _| format!("[{list}, {list}]"));
    let nested = Expr::compile(&nested, &any_scope()).map(|expr| expr.eval(&world));
    assert!(!matches!(nested, Ok(Ok(_))), "a result of 60 MB");
}

#[test]
fn a_template_makes_no_more_than_one_expression_may() {
    let world = full();
    let mut faults = Vec::new();
    let copies: Vec<Value> = (0..50).map(|_| json!("=data.text")).collect();
    let template = Template::read(&json!(copies), &any_scope(), "", &mut faults);
    let made = template.make(&world);
    assert!(matches!(made, Err(EvalStop::Failed(message)) if message.contains("64 KiB")));
    assert!(faults.is_empty() && RESULT_BYTES_MAX < 100_000);
}

#[test]
fn amounts_at_the_edge_are_errors_and_no_panics() {
    for source in [
        "amount('9999999999999999999') * 9223372036854775807",
        "amount('9999999999999999999.999999999999999999') + amount('9999999999999999999.999999999999999999')",
        "percent(amount('9999999999999999999.999999999999999999'), '9999999999999999999', 'up')",
        "amount(dyn(9223372036854775807)) * 9223372036854775807 * 9223372036854775807",
        "-amount('-9999999999999999999') - amount('9999999999999999999')",
        "split(amount('9999999999999999999.999999999999999999'), [9223372036854775807, 9223372036854775807])",
        "split(amount('1'), [data.count, -1])",
        "split(amount('1'), data.numbers.filter(x, x > 5))",
        "string(amount('9999999999999999999') * 9223372036854775807)",
        "amount('9999999999999999999.99') * 1000000000000000000 > amount('0.000000000000000001')",
        "amount('0.000000000000000001') < amount('9999999999999999999.99') * 100000000",
        "int(1e300)",
        "int(-1e300)",
        "int(double('NaN'))",
        "double('inf')",
        "double('1e400')",
        "-9223372036854775808 / -1",
        "-9223372036854775808 % -1",
        "-(-9223372036854775808)",
        "timestamp('9999-12-31T23:59:59Z') + duration('1000000h')",
        "timestamp('0001-01-01T00:00:00Z') - duration('1h')",
        "timestamp(9223372036854775807)",
        "timestamp(-9223372036854775807)",
        "duration('999999999999999d')",
        "duration('-999999999999999d')",
        "duration('.5s')",
        "duration('5.')",
        "plus(now, 'P999999999Y')",
        "plus(now, '-P9999Y')",
        "plus(now, 'PT9999999999999H')",
        "plus(timestamp('9999-12-31T23:59:59Z'), 'P1D', 'Pacific/Kiritimati')",
        "now.getHours('+99:99')",
        "now.getHours('')",
        "now.getHours('../../etc/passwd')",
        "now.getHours('+é')",
        "now.getDayOfYear('-é:00')",
        "'é'.matches('^.$')",
        "data.numbers[9223372036854775807]",
    ] {
        let compiled = Expr::compile(source, &any_scope());
        if let Ok(expr) = compiled {
            match expr.eval(&World::new()) {
                Ok(made) => drop(made.into_json().to_string()),
                Err(EvalStop::Failed(message)) => assert!(!message.is_empty(), "{source}"),
                Err(EvalStop::Need(fact)) => panic!("{source}: {fact:?}"),
            }
        }
    }
}

#[test]
fn the_steps_of_an_expression_are_few() {
    let expr = compile("amount(data.amount) > amount(\"10000.00\")");
    let world = World::new();
    let mut evaluation = Evaluation::new(&world);
    evaluation.value(&expr.node).unwrap();
    assert_eq!(STEPS_MAX - evaluation.left(), 5);
}

/// Returns random combinations of pieces of expressions: most are wrong, some are deep.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("data"),
        Just("now"),
        Just("input"),
        Just("actor"),
        Just(".amount"),
        Just(".count"),
        Just(".numbers"),
        Just(".tags"),
        Just(".items"),
        Just(".born"),
        Just(".map(x, "),
        Just("x"),
        Just(".all(x, "),
        Just(".exists(x, "),
        Just(".filter(x, "),
        Just(")"),
        Just("("),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("'a': "),
        Just("'12.50'"),
        Just("\"x\""),
        Just("1"),
        Just("-3"),
        Just("1.5"),
        Just("true"),
        Just("null"),
        Just(" + "),
        Just(" - "),
        Just(" * "),
        Just(" / "),
        Just(" % "),
        Just(" == "),
        Just(" != "),
        Just(" < "),
        Just(" >= "),
        Just(" in "),
        Just(" && "),
        Just(" || "),
        Just("!"),
        Just(" ? "),
        Just(" : "),
        Just(", "),
        Just("amount("),
        Just("sum("),
        Just("split("),
        Just("percent("),
        Just("plus("),
        Just("'P1M'"),
        Just("'half_up'"),
        Just("timestamp("),
        Just("duration("),
        Just("'1h'"),
        Just("account("),
        Just("hold("),
        Just("value("),
        Just("size("),
        Just("string("),
        Just("int("),
        Just("has("),
        Just(".getHours("),
        Just("é"),
        Just("'"),
        Just("\\"),
        Just("\n"),
        Just("r'"),
        Just("//"),
        Just("9223372036854775807"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Returns expressions with correct grammar.
fn grammatical() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("data.amount"),
        Just("data.count"),
        Just("data.numbers"),
        Just("data.tags"),
        Just("data.note"),
        Just("data.gone"),
        Just("data.ratio"),
        Just("data.items"),
        Just("data.nested"),
        Just("now"),
        Just("data"),
        Just("x"),
        Just("y"),
        Just("1"),
        Just("0"),
        Just("-7"),
        Just("2.5"),
        Just("'a'"),
        Just("'12.50'"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("[]"),
        Just("amount('0.01')"),
        Just("duration('36h')"),
        Just("9223372036854775807"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let one = prop_oneof![
            Just("amount"),
            Just("sum"),
            Just("size"),
            Just("string"),
            Just("int"),
            Just("double"),
            Just("timestamp"),
            Just("-"),
            Just("!"),
            Just("dyn"),
            Just("account"),
            Just("duration"),
        ];
        let two = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("in"),
            Just("&&"),
            Just("||"),
        ];
        let each = prop_oneof![
            Just("map"),
            Just("filter"),
            Just("all"),
            Just("exists"),
            Just("exists_one")
        ];
        prop_oneof![
            (one, inner.clone()).prop_map(|(name, of)| format!("{name}({of})")),
            (inner.clone(), two, inner.clone())
                .prop_map(|(left, sign, right)| format!("({left}) {sign} ({right})")),
            (inner.clone(), each, inner.clone())
                .prop_map(|(list, name, of)| format!("({list}).{name}(x, {of})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'k': {a}, 'l': {b}}}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("split({a}, {b})")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("percent({a}, {b}, 'half_up')")),
            inner.clone().prop_map(|a| format!("plus({a}, 'P1M')")),
            inner.clone().prop_map(|a| format!("has(({a}).k)")),
            inner.prop_map(|a| format!("({a}).k")),
        ]
    })
}

fn never_a_panic(source: &str) {
    let Ok(expr) = Expr::compile(source, &any_scope()) else { return };
    for loaded in [true, false] {
        let world = World { loaded, ..World::new() };
        match expr.eval(&world) {
            Ok(made) => drop(made.into_json().to_string()),
            Err(EvalStop::Failed(message)) => assert!(!message.is_empty()),
            Err(EvalStop::Need(_)) => assert!(!loaded),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_pieces_are_a_panic(source in pieces()) {
        never_a_panic(&source);
    }

    #[test]
    fn no_expression_is_a_panic(source in grammatical()) {
        never_a_panic(&source);
    }

    #[test]
    fn no_amounts_are_a_panic(
        first in "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?",
        rest in prop::collection::vec((0_u8..6, "(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?", any::<i64>()), 1..6),
    ) {
        let source = rest.iter().fold(format!("amount(dyn('{first}'))"), |made, (what, amount, int)| match what {
            0 => format!("({made} + amount('{amount}'))"),
            1 => format!("({made} - amount('{amount}'))"),
            2 => format!("({made} * dyn({int}))"),
            3 => format!("percent({made}, '{amount}', 'half_even')"),
            4 => format!("split({made}, [{int}, 1, 3])[0]"),
            _ => format!("(-{made} > amount('{amount}') ? {made} : amount(string({made}), 'EUR'))"),
        });
        never_a_panic(&source);
        never_a_panic(&format!("string({source}) == string({source} * 3)"));
    }

    #[test]
    fn no_text_is_a_panic(source in "\\PC{0,60}") {
        never_a_panic(&source);
    }

    /// The checker's types are right: with all types known, evaluation finds no wrong type where
    /// the checker was sure.
    #[test]
    fn what_is_known_of_a_result_is_so(source in grammatical()) {
        let world = World::new();
        let scope = TypeScope {
            names: [("data", Type::of(&world.names["data"])), ("now", Type::Time)]
                .into_iter().map(|(name, kind)| (Arc::from(name), kind)).collect(),
        };
        let Ok(expr) = Expr::compile(&source, &scope) else { return Ok(()) };
        let Ok(made) = expr.eval(&world) else { return Ok(()) };
        let found = match &made {
            TemplateOutput::Amount(_) => Type::Amount,
            TemplateOutput::Time(_) => Type::Time,
            TemplateOutput::Json(value) => Type::of(value),
        };
        let fits = match (expr.kind(), &found) {
            (Type::Any, _) | (_, Type::Null) | (Type::Number, Type::Int | Type::Number)
            | (Type::AmountText | Type::Duration | Type::Time, Type::Text) | (Type::List(_), Type::List(_))
            | (Type::Object { .. }, Type::Object { .. }) => true,
            (known, found) => known == found,
        };
        prop_assert!(fits, "{source}: {:?} is {made:?}", expr.kind());
    }
}
