//! The inputs of steps: JSON Schema 2020-12, closed unless the schema says otherwise.
//!
//! A schema is compiled once, when its definition is published: its own keywords are checked (a
//! misspelt one would silently check nothing), object schemas are closed, and a [`Shape`] is built
//! for later questions. References stay within the document and never form a loop. Patterns are
//! matched in linear time.

mod close;
mod faults;
mod shape;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use self::shape::Shape;
use crate::engine::InputError;
use crate::engine::expression::{PATTERN_BYTES_MAX, Type};
use crate::types::Decimal;

/// Faults of a schema: a JSON Pointer and a message.
pub(super) type SchemaFault = (String, String);

/// The schema of an input.
#[derive(Debug)]
pub struct InputSchema {
    shown: Value,
    shape: Shape,
    validator: Validator,
}

impl InputSchema {
    /// Compiles a schema: checks it, and closes its objects.
    ///
    /// # Errors
    /// All faults of the schema, each with a JSON Pointer and a message.
    pub fn compile(schema: &Value) -> Result<Self, Vec<(String, String)>> {
        let shown = close::closed(schema)?;
        let shape = Shape::of(&shown)?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = options()
            .with_pattern_options(patterns)
            .build(&shown)
            .map_err(|error| vec![faults::of_schema(&error)])?;
        Ok(Self { shown, shape, validator })
    }

    /// Returns the schema as the API shows it.
    #[must_use]
    pub const fn shown(&self) -> &Value {
        &self.shown
    }

    /// Returns the type of a valid input: declared but absent properties are null.
    #[must_use]
    pub fn kind(&self) -> Type {
        self.shape.kind()
    }

    /// Checks an input.
    ///
    /// # Errors
    /// All faults, with pointers into the input (the root is `""`).
    pub fn check(&self, input: &Value) -> Result<(), Vec<InputError>> {
        // The quick check first: nearly all inputs are valid.
        if self.validator.is_valid(input) {
            return Ok(());
        }
        if parts(input) <= TOLD_PARTS_MAX {
            return Err(faults::of_input(self.validator.iter_errors(input), &self.shape));
        }
        let first = self.validator.validate(input).err();
        Err(faults::of_input(first.into_iter(), &self.shape))
    }

    /// Returns the input with `null` for each declared property that is absent, at every depth.
    /// Whole numbers written with a fraction of zero become integers.
    #[must_use]
    pub fn completed(&self, input: &Value) -> Value {
        self.shape.completed(input)
    }

    /// Returns the input without `writeOnly` properties, for storage.
    #[must_use]
    pub fn storable(&self, input: &Value) -> Value {
        self.shape.storable(input).unwrap_or_else(|| Value::Object(Map::new()))
    }
}

/// Maximum number of values in an input whose faults are all reported; for a larger input only the
/// first is. All faults are collected, and there may be one for each value and schema.
const TOLD_PARTS_MAX: usize = 1000;

/// Returns the number of values in a value.
fn parts(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(parts).sum(),
        Value::Object(entries) => entries.values().map(parts).sum(),
        _ => 0_usize,
    }
}

/// Returns the dialect: 2020-12 with checked formats, including `amount`, and no remote references.
fn options() -> jsonschema::ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .with_format(AMOUNT, |text: &str| text.parse::<Decimal>().is_ok())
}

/// Format of amounts as text.
const AMOUNT: &str = "amount";

/// Appends to a JSON Pointer (RFC 6901).
fn within(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
