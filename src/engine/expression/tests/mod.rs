//! Expressions: their results, their faults at publish, and attacks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attacks;
mod faults;
mod golden;
mod standard;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// Small resolver for tests.
pub(super) struct World {
    names: BTreeMap<&'static str, Value>,
    /// True if records are loaded.
    loaded: bool,
}

impl World {
    fn new() -> Self {
        let data = json!({
            "amount": "250.00", "fee": "1.5", "count": 3, "ratio": 0.5, "big": 18_446_744_073_709_551_615_u64,
            "to": "alice:eur", "note": null, "flag": true, "born": "1961-02-28T00:00:00Z",
            "items": [ { "price": "10.00", "pieces": 2 }, { "price": "0.05", "pieces": 3 } ],
            "tags": ["a", "b", "é"], "numbers": [1, 2, 3], "nested": { "deep": { "er": 1 } },
        });
        let names = [
            ("data", data),
            ("input", json!({ "code": "123456", "note": null })),
            ("actor", json!({ "user": "ann", "roles": ["manager", "auditor"] })),
            ("tx", json!({ "id": "tx_1", "owner": "bob" })),
        ];
        Self { names: names.into_iter().collect(), loaded: true }
    }
}

fn fact() -> RecordKey {
    RecordKey::Name("ann".parse().unwrap())
}

impl Resolver for World {
    fn name(&self, name: &str) -> Option<ResolvedValue<'_>> {
        match name {
            "now" => Some(ResolvedValue::Time("2026-01-31T10:30:00.250Z".parse().unwrap())),
            "actor" => Some(ResolvedValue::TemplateOutput(self.names["actor"].clone())),
            "big" => Some(ResolvedValue::TemplateOutput(json!(vec![1; 10_000]))),
            name => self.names.get(name).map(ResolvedValue::Json),
        }
    }

    fn account(&self, id: &str) -> Result<AccountSeen, RecordKey> {
        if !self.loaded {
            return Err(fact());
        }
        let exists = id == "alice:eur";
        Ok(AccountSeen {
            owner: exists.then(|| "alice".into()),
            asset: if exists { "EUR" } else { "" }.into(),
            posted: Decimal::from_minor(if exists { 10_000 } else { 0 }, 2),
            held: Decimal::from_minor(if exists { 2500 } else { 0 }, 2),
            available: Decimal::from_minor(if exists { 7500 } else { 0 }, 2),
            frozen: false,
            closed: false,
            exists,
        })
    }

    fn hold(&self, id: &str) -> Result<Value, RecordKey> {
        if !self.loaded {
            return Err(fact());
        }
        Ok(
            json!({ "amount": "25.00", "status": "held", "account": "alice:eur", "exists": id == "funds" }),
        )
    }

    fn value(&self, set: &str, key: &str) -> Result<Option<ResolvedValue<'_>>, RecordKey> {
        if !self.loaded {
            return Err(fact());
        }
        if set == "big" {
            return Ok(Some(ResolvedValue::TemplateOutput(json!(vec![1; 10_000]))));
        }
        let there = set == "limits" && key == "daily";
        Ok(there.then(|| ResolvedValue::TemplateOutput(json!({ "max": "5000.00" }))))
    }

    fn scale(&self, asset: &str) -> Result<Option<u8>, RecordKey> {
        if !self.loaded {
            return Err(fact());
        }
        Ok(match asset {
            "EUR" => Some(2),
            "JPY" => Some(0),
            _ => None,
        })
    }
}

/// Returns a scope with names of unknown types.
fn any_scope() -> TypeScope {
    let names = ["data", "input", "actor", "tx", "now", "big"];
    TypeScope { names: names.map(|name| (Arc::from(name), Type::Any)).into_iter().collect() }
}

fn compile(source: &str) -> Expr {
    Expr::compile(source, &any_scope()).unwrap_or_else(|faults| panic!("{source}: {faults:?}"))
}

fn eval(source: &str) -> Result<TemplateOutput, EvalStop> {
    compile(source).eval(&World::new())
}
