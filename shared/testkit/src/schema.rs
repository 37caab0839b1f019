//! A published JSON Schema, against which what a tool prints is held.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// A compiled schema.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    /// The schema of this text.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn new(text: &str) -> Self {
        const NAME: &str = "file:///schema.json";
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let value = serde_json::from_str(text).expect("JSON");
        compiler.add_resource(NAME, value).expect("one schema of that name");
        let index = compiler.compile(NAME, &mut schemas).expect("a schema");
        Self { schemas, index }
    }

    /// What the schema says of a value.
    ///
    /// # Errors
    /// Each place where the value is not as the schema says.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_schema_refuses_is_named() {
        let schema = Schema::new(
            r#"{"type":"object","required":["at"],"properties":{"at":{"type":"string"}},"additionalProperties":false}"#,
        );
        assert_eq!(schema.check(&json!({"at": "noon"})), Ok(()));
        for (wrong, named) in [(json!({"at": 12}), "/at"), (json!({}), "at"), (json!({"at": "noon", "by": 1}), "by")] {
            assert!(schema.check(&wrong).unwrap_err().contains(named), "{wrong}");
        }
    }
}
