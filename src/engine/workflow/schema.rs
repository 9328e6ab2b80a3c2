//! The inputs of steps: JSON Schema 2020-12, closed unless it says otherwise.

use serde_json::Value;

use crate::engine::FieldError;
use crate::engine::expr::Type;

/// The schema of an input.
#[derive(Debug)]
pub struct InputSchema {
    shown: Value,
}

impl InputSchema {
    /// Checks a schema.
    ///
    /// # Errors
    /// All that is wrong with it, by pointers into the schema.
    pub fn compile(schema: &Value) -> Result<Self, Vec<(String, String)>> {
        Ok(Self { shown: schema.clone() })
    }

    /// As the API shows it.
    #[must_use]
    pub const fn shown(&self) -> &Value {
        &self.shown
    }

    /// What is known of a valid input: declared but absent properties are null.
    #[must_use]
    pub fn kind(&self) -> Type {
        Type::Any
    }

    /// Checks an input.
    ///
    /// # Errors
    /// All that is wrong with it, by pointers into the input (first: `""`).
    pub fn check(&self, _input: &Value) -> Result<(), Vec<FieldError>> {
        Ok(())
    }

    /// The input with `null` for each declared property that is absent, at every depth.
    #[must_use]
    pub fn completed(&self, input: &Value) -> Value {
        input.clone()
    }

    /// The input without what is `writeOnly`: what may be stored.
    #[must_use]
    pub fn storable(&self, input: &Value) -> Value {
        input.clone()
    }
}
