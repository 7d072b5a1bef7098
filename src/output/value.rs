//! Objects as the values that machine formats, paths and selectors see, with secrets masked.

use serde_json::{Value, json};

use crate::api::{API_VERSION, Object, SecretValue};

/// What stands where a secret was.
pub const MASK: &str = crate::api::MASKED;

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

/// Takes away what is observed of an object, so that only what a person may change is left.
pub fn strip_status(object: &mut Object) {
    match object {
        Object::Instance(o) => o.status = None,
        Object::Image(o) => o.status = None,
        Object::PortForward(o) => o.status = None,
        Object::LoadBalancer(o) => o.status = None,
        Object::Network(o) => o.status = None,
        Object::Volume(o) => o.status = None,
        Object::Snapshot(o) => o.status = None,
        Object::InstanceType(_) | Object::Secret(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::columns::samples;

    #[test]
    fn what_is_observed_can_be_taken_away() {
        let mut object: Object = samples::instance("web").into();
        strip_status(&mut object);
        assert_eq!(of(&object).get("status"), None);
        assert_eq!(of(&object)["spec"]["image"], "debian-12");
    }

    #[test]
    fn a_secret_is_masked_before_anything_sees_it() {
        let value = of(&samples::secret("db"));
        assert_eq!(value["data"], json!({"PASSWORD": "***", "USER": "***"}));
        assert!(!value.to_string().contains(samples::PASSWORD));
    }
}
