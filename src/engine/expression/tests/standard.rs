//! The standard part of the language is CEL: this evaluator and the crate's own give the same
//! results, and fail for the same expressions.

use std::sync::{Arc, LazyLock};

use cel::{Context, Env};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Evaluates with the crate's own evaluator; `None`: it fails.
fn standard(source: &str) -> Option<Value> {
    let program = STANDARD.compile(source).ok()?;
    let context = Context::with_env(Arc::clone(&STANDARD));
    json_of(&program.execute(&context).ok()?)
}

fn json_of(value: &cel::Value) -> Option<Value> {
    Some(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(truth) => json!(truth),
        cel::Value::Int(int) => json!(int),
        cel::Value::Float(float) => json!(float),
        cel::Value::String(text) => json!(**text),
        cel::Value::List(elements) => {
            elements.iter().map(json_of).collect::<Option<Vec<_>>>().map(Value::from)?
        }
        _ => return None,
    })
}

/// Evaluates with this evaluator. Literals are wrapped in `dyn`, so that an expression which always
/// fails is not refused at publish.
fn ours(source: &str) -> Option<Value> {
    let expr = Expr::compile(source, &TypeScope::default()).ok()?;
    expr.eval(&World::new()).ok().map(TemplateOutput::into_json)
}

/// Returns whether this evaluator refuses the expression for a limit of its own.
fn is_beyond(source: &str) -> bool {
    let compiled = Expr::compile(source, &TypeScope::default());
    let limits = |fault: &ExprFault| fault.message.contains("loops inside one another");
    compiled.is_err_and(|faults| faults.iter().any(limits))
}

fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-4_i64..5).prop_map(|int| format!("dyn({int})")),
        Just("dyn(9223372036854775807)".to_owned()),
        Just("dyn(1.5)".to_owned()),
        Just("dyn(-2.0)".to_owned()),
        Just("dyn('a')".to_owned()),
        Just("dyn('bé')".to_owned()),
        Just("dyn(true)".to_owned()),
        Just("dyn(false)".to_owned()),
        Just("dyn(null)".to_owned()),
        Just("dyn([])".to_owned()),
        Just("dyn([1, 2, 3])".to_owned()),
        Just("dyn(['a', 1.0, null])".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = prop_oneof![
            Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("=="), Just("!="), Just("<"),
            Just("<="), Just(">"), Just(">="), Just("in"), Just("&&"), Just("||"),
        ];
        let one = prop_oneof![Just("size"), Just("-"), Just("!"), Just("int"), Just("string"), Just("dyn")];
        let each = prop_oneof![Just("map"), Just("filter"), Just("all"), Just("exists"), Just("exists_one")];
        let test = prop_oneof![Just("=="), Just(">"), Just("+"), Just("%"), Just("in")];
        let asked = prop_oneof![Just("contains"), Just("startsWith"), Just("endsWith")];
        prop_oneof![
            3 => (inner.clone(), two, inner.clone()).prop_map(|(a, sign, b)| format!("dyn(({a}) {sign} ({b}))")),
            1 => (one, inner.clone()).prop_map(|(name, a)| format!("dyn({name}({a}))")),
            2 => (inner.clone(), each, test, inner.clone())
                .prop_map(|(list, name, sign, b)| format!("dyn(({list}).{name}(x, dyn(dyn(x) {sign} ({b}))))")),
            1 => (inner.clone(), asked, inner.clone()).prop_map(|(a, name, b)| format!("dyn(({a}).{name}({b}))")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("dyn(({a}) ? ({b}) : ({c}))")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn(({a})[{b}])")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("dyn([{a}, {b}])")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn both_make_the_same(source in expressions()) {
        prop_assume!(!is_beyond(&source));
        let standard = standard(&source);
        // JSON has no NaN and no infinities.
        prop_assume!(standard.as_ref().is_none_or(|value| !value.to_string().contains("null") || source.contains("null")));
        prop_assert_eq!(ours(&source), standard, "{}", source);
    }
}
