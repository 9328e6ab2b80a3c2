//! Faults of an input, in the words of the API. No message repeats a value: it may be a secret in
//! the wrong place.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::shape::Shape;
use super::{AMOUNT, SchemaFault, within};
use crate::engine::InputError;
use crate::engine::expression::nearest;

/// Maximum number of reported faults of one input.
const FAULTS_MAX: usize = 50;

/// Returns the fault of the schema itself.
pub(super) fn of_schema(error: &ValidationError<'_>) -> SchemaFault {
    let pointer = error.instance_path().as_str().to_owned();
    let mut found = Vec::new();
    told(error, "", None, &mut found);
    let message = match (error.kind(), found.first()) {
        (ValidationErrorKind::Format { format }, _) if format == "regex" => {
            "this is no pattern, or too large a one; there are no look-arounds and no \
             back-references"
                .to_owned()
        }
        (_, Some(fault)) => fault.message.clone(),
        (_, None) => "this is no JSON Schema of 2020-12".to_owned(),
    };
    (pointer, message)
}

/// Returns the faults of an input.
pub(super) fn of_input<'e>(
    errors: impl Iterator<Item = ValidationError<'e>>,
    shape: &Shape,
) -> Vec<InputError> {
    let mut found: Vec<InputError> = Vec::new();
    for error in errors {
        if found.len() >= FAULTS_MAX {
            break;
        }
        let pointer = error.instance_path().as_str().to_owned();
        let keys = pointer.split('/').skip(1).map(unescaped);
        let place = keys.into_iter().try_fold(shape, |shape, key| shape.part(&key));
        told(&error, &pointer, place, &mut found);
    }
    found.truncate(FAULTS_MAX);
    found.dedup();
    if found.is_empty() {
        found.push(InputError::new("", "invalid-value", "the input does not fit its schema"));
    }
    found
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// Adds the faults of one validation error.
fn told(
    error: &ValidationError<'_>,
    pointer: &str,
    shape: Option<&Shape>,
    found: &mut Vec<InputError>,
) {
    use ValidationErrorKind as Kind;
    let mut tell = |code, message: String| found.push(InputError::new(pointer, code, message));
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let fault =
                InputError::new(&within(pointer, name), "missing-field", "the field is missing");
            found.push(fault);
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                let known = shape.into_iter().flat_map(Shape::names);
                let message = match nearest(name, known) {
                    // Another form of the input declares the field.
                    Some(near) if near == name => {
                        "there is no such field together with the others".to_owned()
                    }
                    Some(near) => format!("there is no such field; did you mean `{near}`?"),
                    None => "there is no such field".to_owned(),
                };
                found.push(InputError::new(&within(pointer, name), "unknown-field", message));
            }
        }
        Kind::FalseSchema => tell("unknown-field", "there is no such field".to_owned()),
        Kind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(kind) => named(kind.as_str()).to_owned(),
                TypeKind::Multiple(kinds) => {
                    let names: Vec<_> = kinds.iter().map(|kind| named(kind.as_str())).collect();
                    names.join(" or ")
                }
            };
            let message = format!("expected {expected}, found {}", kind_of(error.instance()));
            tell("wrong-type", message);
        }
        Kind::MaxLength { limit } => {
            tell("too-long", format!("must have at most {limit} characters"));
        }
        Kind::MinLength { limit } => {
            tell("too-short", format!("must have at least {limit} characters"));
        }
        Kind::MaxItems { limit } => tell("too-many", format!("must have at most {limit} elements")),
        Kind::MinItems { limit } => tell("too-few", format!("must have at least {limit} elements")),
        Kind::AdditionalItems { limit } => {
            tell("too-many", format!("must have at most {limit} elements"));
        }
        Kind::UnevaluatedItems { .. } => {
            tell("too-many", "has more elements than it may".to_owned());
        }
        Kind::MaxProperties { limit } => {
            tell("too-many", format!("must have at most {limit} fields"));
        }
        Kind::MinProperties { limit } => {
            tell("too-few", format!("must have at least {limit} fields"));
        }
        Kind::Maximum { limit } => tell("out-of-range", format!("must be at most {limit}")),
        Kind::Minimum { limit } => tell("out-of-range", format!("must be at least {limit}")),
        Kind::ExclusiveMaximum { limit } => tell("out-of-range", format!("must be below {limit}")),
        Kind::ExclusiveMinimum { limit } => tell("out-of-range", format!("must be above {limit}")),
        Kind::UniqueItems => tell("not-unique", "must not have the same element twice".to_owned()),
        other => tell("invalid-value", value_message(other)),
    }
}

/// Returns the message for a value that has the right type and is invalid.
fn value_message(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Enum { options } => match &**options {
            Value::Array(options) if options.len() <= 20 => {
                let options: Vec<_> = options.iter().map(ToString::to_string).collect();
                format!("must be one of {}", options.join(", "))
            }
            _ => "is none of the values that it may have".to_owned(),
        },
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::Format { format } if format == AMOUNT => {
            "must be an amount as a text like \"12.50\", without exponent, with at most 18 digits \
             after the point"
                .to_owned()
        }
        Kind::Format { format } if format == "date-time" => {
            "must be a time like 2026-11-24T10:35:00Z".to_owned()
        }
        Kind::Format { format } if format == "date" => "must be a date like 2026-11-24".to_owned(),
        Kind::Format { format } => format!("must have the format {format}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "has none of the forms that it may have".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => {
            "has more than one of the forms of which it must have exactly one".to_owned()
        }
        Kind::Not { .. } => "has a form that it must not have".to_owned(),
        Kind::Contains => "must have such elements as its schema says".to_owned(),
        Kind::PropertyNames { .. } => "has a field whose name is not allowed".to_owned(),
        Kind::Referencing(_) => "the reference leads nowhere".to_owned(),
        _ => "does not fit its schema".to_owned(),
    }
}

fn named(kind: &str) -> &'static str {
    match kind {
        "null" => "null",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "an array",
        _ => "an object",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
