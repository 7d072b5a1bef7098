//! Objects as the values that machine formats, paths and selectors see, with secrets masked.

use serde_json::{Value, json};

use crate::api::{API_VERSION, Object, SecretValue};

/// What stands where a secret was.
pub const MASK: &str = "***";

/// Returns an object as a value. The data of a Secret are masked before anything else sees them, so
/// that no format, path or selector reaches them.
pub fn of(object: &Object) -> Value {
    let value = match object {
        Object::Secret(secret) => {
            let mut masked = secret.clone();
            for value in masked.data.values_mut() {
                *value = SecretValue::new(MASK);
            }
            serde_json::to_value(masked)
        }
        other => serde_json::to_value(other),
    };
    // The objects have string keys and no failing serialiser.
    value.unwrap_or(Value::Null)
}

/// Returns a list of objects as one value that the manifest reader takes apart again.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "List", "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::columns::samples;

    #[test]
    fn a_secret_is_masked_before_anything_sees_it() {
        let value = of(&samples::secret("db"));
        assert_eq!(value["data"], json!({"PASSWORD": "***", "USER": "***"}));
        assert!(!value.to_string().contains(samples::PASSWORD));
    }
}
