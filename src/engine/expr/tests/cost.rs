//! What expressions cost. Prints; `cargo test --lib cost -- --ignored --nocapture`.

use std::time::Instant;

use serde_json::json;

use super::*;

/// Microseconds of one run.
fn measured(rounds: u32, mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let world = World::new();
    for source in [
        "amount(data.amount) > amount(\"10000.00\")",
        "actor.user != tx.owner",
        "amount(data.amount) + percent(amount(data.amount), \"0.5\", \"half_even\")",
        "sum(data.items.map(i, amount(i.price) * i.pieces))",
        "plus(now, 'P1M', 'Europe/Berlin')",
        "account(data.to).available >= amount(data.amount)",
        "data.to.matches('^[a-z]+:eur$')",
    ] {
        let expr = compile(source);
        let checked = measured(1000, || drop(compile(source)));
        let made = measured(10_000, || drop(expr.eval(&world)));
        println!("{made:8.2} us, checked in {checked:8.2} us: {source}");
    }
    let mut world = World::new();
    let numbers: Vec<i64> = (0..12_000).collect();
    world.names.insert("data", json!({ "numbers": numbers, "text": "x".repeat(60_000) }));
    for source in [
        "data.numbers.all(a, data.numbers.all(b, a + b >= 0))",
        "data.numbers.map(a, data.numbers.map(b, [a * b]))",
        "data.numbers.all(a, data.text.matches('(x+x+)+y') == false)",
        "data.numbers.all(a, data.text + data.text != '')",
        "data.numbers.all(a, plus(now, 'P1M', 'Europe/Berlin') > now)",
        "data.numbers.all(a, account('alice:eur').exists)",
        "data.numbers.all(a, amount('1.00') + amount(string(a)) > amount('0'))",
        "data.numbers.all(a, value('big', 'big').size() > 0)",
    ] {
        let expr = compile(source);
        let made = measured(5, || drop(expr.eval(&world)));
        println!("{made:8.0} us at worst: {source}");
    }
}
