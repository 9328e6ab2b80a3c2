//! Changes of JSON objects that clients store: replacement, merge patch, JSON patch.

use std::sync::Arc;

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use crate::engine::Refusal;
use crate::types::Revision;

/// Maximum number of operations in one JSON patch.
const PATCH_OPERATIONS_MAX: usize = 1000;

/// Maximum number of bytes that the operations of a patch copy and move in total, as a multiple of
/// the size limit: nested copies would double the document each time, and each operation may touch
/// all of it.
const PATCH_MOVES_MAX: usize = 16;

/// Maximum work of one JSON patch, in values that are copied, compared or counted: some
/// milliseconds. Elements that an operation shifts in an array count too, since each operation may
/// shift the whole array.
const PATCH_WORK_MAX: usize = 100_000;

/// Number of array elements that are shifted in the time that the copy of one value takes.
const SHIFTED_FOR_ONE: usize = 16;

/// Maximum nesting depth of a stored object, the object itself included: the same as for a request
/// body. Without it successive operations would nest deeper than readers can parse.
const DEPTH_MAX: usize = 64;

/// A change of a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub enum DataChange {
    /// Replaces the object (PUT).
    Replace(Map<String, Value>),
    /// Merge patch (RFC 7396).
    Merge(Value),
    /// JSON patch (RFC 6902).
    Patch(json_patch::Patch),
}

/// A JSON object as it is stored, and the commit that last changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The object, as compact JSON text.
    pub json: Arc<str>,
    /// The commit that last changed it (its `ETag`).
    pub revision: Revision,
}

/// Stored text of an object without members.
pub const EMPTY: &str = "{}";

/// Returns the compact text of an object.
pub(in crate::engine) fn text(object: &Map<String, Value>) -> Arc<str> {
    // An object of JSON values always has a text: its keys are strings, its numbers finite.
    serde_json::to_string(object).unwrap_or_else(|_| EMPTY.to_owned()).into()
}

fn parse(json: &str) -> Map<String, Value> {
    // The stored text was an object when it was written.
    serde_json::from_str(json).unwrap_or_default()
}

/// Returns the object after a change; `what` names the object in a refusal.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::PatchFailed`].
pub(in crate::engine) fn change(
    current: &str,
    change: &DataChange,
    what: &'static str,
    bytes_max: usize,
) -> Result<Arc<str>, Refusal> {
    let changed = match change {
        DataChange::Replace(object) => text(object),
        DataChange::Merge(Value::Object(patch)) => text(&merge(current, patch)),
        // RFC 7396 lets such a patch replace the whole document; here the document must be an
        // object.
        DataChange::Merge(_) => return Err(not_an_object()),
        DataChange::Patch(patch) => {
            let patched = apply_patch(parse(current), patch, bytes_max)
                .map_err(|refusal| name_it(refusal, what))?;
            text(&patched)
        }
    };
    if changed.len() > bytes_max {
        return Err(Refusal::TooLarge { what, bytes_max });
    }
    Ok(changed)
}

/// Applies a merge patch to an object and returns the result.
pub(in crate::engine) fn merge(current: &str, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut value = Value::Object(parse(current));
    json_patch::merge(&mut value, &Value::Object(patch.clone()));
    match value {
        Value::Object(object) => object,
        // An object merged with an object is an object.
        _ => Map::new(),
    }
}

fn apply_patch(
    current: Map<String, Value>,
    patch: &json_patch::Patch,
    bytes_max: usize,
) -> Result<Map<String, Value>, Refusal> {
    if patch.0.len() > PATCH_OPERATIONS_MAX {
        let message = format!("it has more than {PATCH_OPERATIONS_MAX} operations");
        return Err(Refusal::PatchFailed(message));
    }
    let mut value = Value::Object(current);
    let mut left = bytes_max.saturating_mul(PATCH_MOVES_MAX);
    let mut work = PATCH_WORK_MAX;
    for (index, operation) in patch.0.iter().enumerate() {
        // The check comes before any expensive part of the operation.
        work = work.checked_sub(work_of(&value, operation, work)).ok_or_else(|| {
            Refusal::PatchFailed(format!(
                "up to operation {index} it copies, compares and shifts too much: more than \
                 {PATCH_WORK_MAX} values, of which {SHIFTED_FOR_ONE} that an array shifts count as \
                 one; replace the array instead, or send fewer operations"
            ))
        })?;
        let bytes = bytes_to_move(&value, operation, left);
        left = bytes.ok_or(Refusal::TooLarge { what: "", bytes_max })?;
        if nests_too_deep(&value, operation) {
            let message = format!("operation {index} nests deeper than {DEPTH_MAX}");
            return Err(Refusal::PatchFailed(message));
        }
        if let PatchOperation::Test(test) = operation
            && let Some(found) = value.pointer(test.path.as_str())
        {
            if super::json::is_same(found, &test.value) {
                continue;
            }
            let at = &test.path;
            let message = format!("operation {index}, {at}: value did not match");
            return Err(Refusal::PatchFailed(message));
        }
        json_patch::patch(&mut value, std::slice::from_ref(operation)).map_err(|error| {
            Refusal::PatchFailed(format!("operation {index}, {}: {}", error.path, error.kind))
        })?;
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(not_an_object()),
    }
}

/// Returns the work of an operation; the count stops once it exceeds `left`.
fn work_of(document: &Value, operation: &PatchOperation, left: usize) -> usize {
    let there = |pointer: &str| document.pointer(pointer).map_or(0, |value| values(value, left));
    let work = match operation {
        PatchOperation::Add(add) => values(&add.value, left) + shifted(document, &add.path),
        PatchOperation::Replace(replace) => {
            values(&replace.value, left) + there(replace.path.as_str())
        }
        PatchOperation::Remove(remove) => {
            there(remove.path.as_str()) + shifted(document, &remove.path)
        }
        PatchOperation::Test(test) => values(&test.value, left),
        // The source is counted, measured and then copied.
        PatchOperation::Copy(copy) => 3 * there(copy.from.as_str()) + shifted(document, &copy.path),
        PatchOperation::Move(moved) => {
            let (from, to) = (&moved.from, &moved.path);
            2 * there(from.as_str()) + shifted(document, from) + shifted(document, to)
        }
    };
    work + 1
}

/// Returns the work of shifting the array elements behind a position.
fn shifted(document: &Value, path: &json_patch::jsonptr::PointerBuf) -> usize {
    let Some((parent, at)) = path.split_back() else { return 0 };
    match document.pointer(parent.as_str()) {
        Some(Value::Array(elements)) => {
            let at = at.encoded().parse().unwrap_or(elements.len());
            elements.len().saturating_sub(at).div_ceil(SHIFTED_FOR_ONE)
        }
        _ => 0,
    }
}

/// Returns the number of values in a value, itself included; the count stops once it exceeds
/// `most`.
fn values(value: &Value, most: usize) -> usize {
    fn count(value: &Value, left: &mut usize) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        match value {
            Value::Array(elements) => elements.iter().for_each(|value| count(value, left)),
            Value::Object(entries) => entries.values().for_each(|value| count(value, left)),
            _ => {}
        }
    }
    let mut left = most.saturating_add(1);
    let before = left;
    count(value, &mut left);
    before - left
}

/// Returns whether an operation would put a value deeper than [`DEPTH_MAX`].
fn nests_too_deep(document: &Value, operation: &PatchOperation) -> bool {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, document.pointer(copy.from.as_str())),
        PatchOperation::Move(moved) => (&moved.path, document.pointer(moved.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return false,
    };
    value.is_some_and(|value| path.count() + depth(value) > DEPTH_MAX)
}

/// Returns the nesting depth of a value; that of a scalar is 0. Each measured value is within
/// [`DEPTH_MAX`], so the recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn not_an_object() -> Refusal {
    Refusal::PatchFailed("the result must be a JSON object".to_owned())
}

fn name_it(refusal: Refusal, what: &'static str) -> Refusal {
    match refusal {
        Refusal::TooLarge { bytes_max, .. } => Refusal::TooLarge { what, bytes_max },
        other => other,
    }
}

/// Subtracts the bytes that an operation copies or moves from `left`; `None`: `left` is too small.
fn bytes_to_move(document: &Value, operation: &PatchOperation, left: usize) -> Option<usize> {
    let from = match operation {
        PatchOperation::Copy(copy) => &copy.from,
        PatchOperation::Move(moved) => &moved.from,
        _ => return Some(left),
    };
    document.pointer(from.as_str()).map_or(Some(left), |value| without(value, left))
}

/// Subtracts the length of a value's text from `left`, without building the text; `None`: `left` is
/// too small.
fn without(value: &Value, left: usize) -> Option<usize> {
    struct Count {
        left: usize,
    }
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match self.left.checked_sub(bytes.len()) {
                Some(left) => {
                    self.left = left;
                    Ok(bytes.len())
                }
                None => Err(std::io::ErrorKind::FileTooLarge.into()),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count { left };
    serde_json::to_writer(&mut count, value).ok().map(|()| count.left)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn patched(current: &str, patch: Value) -> Result<Arc<str>, Refusal> {
        let patch = serde_json::from_value(patch).unwrap();
        change(current, &DataChange::Patch(patch), "the data", 1000)
    }

    #[test]
    fn each_kind_of_change_makes_an_object() {
        let replace = json!({"b": 1}).as_object().unwrap().clone();
        let replaced = change(r#"{"a":1}"#, &DataChange::Replace(replace), "the data", 1000);
        assert_eq!(&*replaced.unwrap(), r#"{"b":1}"#);
        let merge = DataChange::Merge(json!({"a": null, "b": {"c": [null]}}));
        let merged = change(r#"{"a":1,"d":2}"#, &merge, "the data", 1000).unwrap();
        assert_eq!(&*merged, r#"{"b":{"c":[null]},"d":2}"#);
        let added = patched(r#"{"a":[1]}"#, json!([{"op": "add", "path": "/a/-", "value": 2}]));
        assert_eq!(&*added.unwrap(), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn the_result_must_be_an_object() {
        let merge = DataChange::Merge(json!([1]));
        let refused = change("{}", &merge, "the data", 1000).unwrap_err();
        assert_eq!(refused.code(), "patch-failed");
        let refused = patched("{}", json!([{"op": "replace", "path": "", "value": 1}]));
        assert_eq!(refused.unwrap_err().code(), "patch-failed");
    }

    #[test]
    fn a_patch_applies_whole_or_not_at_all() {
        let patch = json!([
            {"op": "add", "path": "/b", "value": 1},
            {"op": "test", "path": "/a", "value": 2},
        ]);
        assert_eq!(patched(r#"{"a":1}"#, patch).unwrap_err().code(), "patch-failed");
    }

    #[test]
    fn operations_that_build_on_each_other_nest_no_deeper_than_a_body() {
        let deep = "/a".repeat(20);
        let copy = |to: &str| json!({"op": "copy", "from": "/a", "path": format!("{deep}{to}")});
        let mut nest: Vec<_> =
            (1..=20).map(|n| json!({"op": "add", "path": "/a".repeat(n), "value": {}})).collect();
        nest.extend([copy("/b"), copy("/b/c")]);
        assert!(patched("{}", nest.clone().into()).is_ok());
        nest.push(copy("/b/c/d"));
        let refused = patched("{}", nest.into()).unwrap_err();
        assert!(refused.to_string().contains("nests deeper than 64"), "{refused}");
        // At the limit exactly: a scalar at the end of 64 names.
        let wide =
            format!(r#"{{"a":{}{}}}"#, r#"{"a":"#.repeat(62), "{}".to_owned() + &"}".repeat(62));
        let deepest = json!([{"op": "add", "path": "/a".repeat(64), "value": 1}]);
        assert!(patched(&wide, deepest).is_ok());
        let deeper = json!([{"op": "add", "path": "/a".repeat(64), "value": []}]);
        assert!(patched(&wide, deeper).is_err());
    }

    #[test]
    fn copies_of_copies_are_stopped() {
        let copies: Vec<_> = (0..1000)
            .map(|n| json!({"op": "copy", "from": "", "path": format!("/c{n}")}))
            .collect();
        assert_eq!(patched(r#"{"a":"xxxx"}"#, copies.into()).unwrap_err().code(), "too-large");
        // Any mix of copies and moves may reach 16 times the limit, and no more.
        let (large, current) = ("x".repeat(398), format!(r#"{{"a":"{}"}}"#, "x".repeat(398)));
        for op in ["copy", "move"] {
            let there = json!({"op": op, "from": "/a", "path": "/b"});
            let back = json!({"op": op, "from": "/b", "path": "/a"});
            let both = |times: usize| {
                let pair = [there.clone(), back.clone()];
                pair.into_iter().cycle().take(2 * times).collect::<Vec<_>>()
            };
            let moved = patched(&current, both(20).into()).unwrap();
            assert!(moved.contains(&large));
            let refused = patched(&current, both(21).into()).unwrap_err();
            assert_eq!(refused.code(), "too-large", "{op}");
        }
        let many = vec![json!({"op": "test", "path": "/a", "value": 1}); 1001];
        assert_eq!(patched(r#"{"a":1}"#, many.into()).unwrap_err().code(), "patch-failed");
    }

    /// The work of any patch is bounded: the elements that it shifts in an array count as well.
    #[test]
    fn patch_that_shifts_a_long_array_again_and_again_is_refused() {
        let elements = 30_000;
        let current = json!({ "list": vec![1; elements], "other": vec![1; 200] }).to_string();
        let patched = |operations: Vec<Value>| {
            let patch = serde_json::from_value(Value::Array(operations)).unwrap();
            change(&current, &DataChange::Patch(patch), "the data", 1_000_000)
        };
        let refused = |operation: Value| {
            let refusal = patched(vec![operation; 1000]).unwrap_err();
            assert_eq!(refusal.code(), "patch-failed");
            assert!(refusal.to_string().contains("shifts too much"), "{refusal}");
        };
        refused(json!({ "op": "add", "path": "/list/0", "value": 2 }));
        refused(json!({ "op": "remove", "path": "/list/0" }));
        refused(json!({ "op": "move", "from": "/list/0", "path": "/list/29999" }));
        refused(json!({ "op": "move", "from": "/list/29999", "path": "/list/0" }));
        refused(json!({ "op": "copy", "from": "/list/29999", "path": "/list/0" }));
        refused(json!({ "op": "copy", "from": "/list", "path": "/other" }));
        refused(json!({ "op": "replace", "path": "/other", "value": vec![1; 200] }));
        refused(json!({ "op": "test", "path": "/other", "value": vec![1; 200] }));
        // Nothing is shifted at the end of an array, and a few operations at its head are harmless.
        let last = json!({ "op": "add", "path": "/list/-", "value": 2 });
        let first = json!({ "op": "add", "path": "/list/0", "value": 2 });
        assert!(patched(vec![last; 1000]).is_ok());
        let made = patched(vec![first; 20]).unwrap();
        assert!(made.starts_with("{\"list\":[2,2,2"), "{}", &made[..40]);
    }

    #[test]
    fn the_limit_is_exact() {
        let object = json!({"a": "x".repeat(92)}).as_object().unwrap().clone();
        assert!(change("{}", &DataChange::Replace(object.clone()), "the data", 100).is_ok());
        let refused = change("{}", &DataChange::Replace(object), "the data", 99).unwrap_err();
        assert_eq!(refused, Refusal::TooLarge { what: "the data", bytes_max: 99 });
    }
}
