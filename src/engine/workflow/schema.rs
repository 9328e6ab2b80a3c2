//! The inputs of steps: JSON Schema 2020-12, closed unless it says otherwise.
//!
//! A schema is compiled once, when its definition is published: its own keywords are checked
//! (a misspelt one would silently check nothing), object schemas are closed, and what is asked of
//! it later is laid out as a [`Shape`]. References stay within the document and never lead back to
//! themselves. Patterns are matched in linear time.

mod close;
mod faults;
mod shape;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use self::shape::Shape;
use crate::engine::FieldError;
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
    /// All that is wrong with it: where in it (a JSON Pointer), and what.
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

    /// As the API shows it.
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
    /// All that is wrong with it, by pointers into the input (first: `""`).
    pub fn check(&self, input: &Value) -> Result<(), Vec<FieldError>> {
        // The quick way first: nearly all inputs are right.
        if self.validator.is_valid(input) {
            return Ok(());
        }
        if parts(input) <= TOLD_PARTS_MAX {
            return Err(faults::of_input(self.validator.iter_errors(input), &self.shape));
        }
        let first = self.validator.validate(input).err();
        Err(faults::of_input(first.into_iter(), &self.shape))
    }

    /// The input with `null` for each declared property that is absent, at every depth; whole
    /// numbers that were written with a fraction of zero become whole numbers.
    #[must_use]
    pub fn completed(&self, input: &Value) -> Value {
        self.shape.completed(input)
    }

    /// The input without what is `writeOnly`: what may be stored.
    #[must_use]
    pub fn storable(&self, input: &Value) -> Value {
        self.shape.storable(input).unwrap_or_else(|| Value::Object(Map::new()))
    }
}

/// Most parts of an input of which all faults are told, and not only the first: all of them are
/// collected, and there may be one for each part and schema.
const TOLD_PARTS_MAX: usize = 1000;

/// Returns the number of values in a value.
fn parts(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(parts).sum(),
        Value::Object(entries) => entries.values().map(parts).sum(),
        _ => 0_usize,
    }
}

/// The dialect: 2020-12, formats checked, `amount` among them, nothing fetched.
fn options() -> jsonschema::ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .with_format(AMOUNT, |text: &str| text.parse::<Decimal>().is_ok())
}

/// The format of amounts as text.
const AMOUNT: &str = "amount";

/// Appends to a JSON Pointer (RFC 6901).
fn within(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
