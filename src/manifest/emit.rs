//! Objects back to text, for `--dry-run=client -o yaml` and `edit`.

use serde_json::Value;

use super::yaml::to_yaml;
use crate::api::Object;

/// Returns an object as a manifest that `parse` reads back unchanged.
///
/// What is observed (`status`) is left out, for a manifest says what is wanted. Secrets stand in it
/// as they are: it is for files with mode 0600, not for screens.
pub fn to_manifest_yaml(object: &Object) -> String {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut value {
        fields.shift_remove("status");
    }
    to_yaml(&value)
}
