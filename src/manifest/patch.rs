//! Patches: RFC 7386 (`patch -p`, the default) and RFC 6902 (`--type json`).

use serde_json::{Map, Value};

use super::error::PatchError;

/// Applies a JSON merge patch: fields replace fields, `null` removes, lists are replaced whole.
#[must_use]
pub fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else {
        return patch.clone();
    };
    let mut result = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, value) in fields {
        if value.is_null() {
            result.shift_remove(key);
        } else {
            let old = result.get(key).cloned().unwrap_or(Value::Null);
            result.insert(key.clone(), merge_patch(old, value));
        }
    }
    Value::Object(result)
}

/// Applies a JSON patch: `add`, `remove`, `replace`, `move`, `copy` and `test` in order.
///
/// # Errors
///
/// [`PatchError`] at the first operation that does not apply.
pub fn json_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let malformed = |index, reason: &str| PatchError::Malformed {
        index,
        reason: reason.to_owned(),
    };
    let operations = patch
        .as_array()
        .ok_or_else(|| malformed(0, "a JSON patch is a list of operations"))?;
    let mut result = target.clone();
    for (index, operation) in operations.iter().enumerate() {
        Operation { index, operation }.apply(&mut result)?;
    }
    Ok(result)
}

struct Operation<'p> {
    index: usize,
    operation: &'p Value,
}

impl Operation<'_> {
    fn apply(&self, target: &mut Value) -> Result<(), PatchError> {
        let path = self.pointer("path")?;
        match self.operation.get("op").and_then(Value::as_str) {
            Some("add") => self.add(target, path, self.value()?.clone()),
            Some("remove") => self.remove(target, path).map(drop),
            Some("replace") => {
                let value = self.value()?.clone();
                *target.pointer_mut(path).ok_or_else(|| self.nothing(path))? = value;
                Ok(())
            }
            Some("move") => {
                let from = self.pointer("from")?;
                if path.strip_prefix(from).is_some_and(|p| p.starts_with('/')) {
                    return Err(self.malformed("a value cannot be moved into itself"));
                }
                let value = self.remove(target, from)?;
                self.add(target, path, value)
            }
            Some("copy") => {
                let from = self.pointer("from")?;
                let value = target.pointer(from).cloned();
                self.add(target, path, value.ok_or_else(|| self.nothing(from))?)
            }
            Some("test") if target.pointer(path) == Some(self.value()?) => Ok(()),
            Some("test") => Err(PatchError::TestFailed {
                index: self.index,
                pointer: path.to_owned(),
            }),
            _ => Err(self.malformed("op is add, remove, replace, move, copy or test")),
        }
    }

    fn pointer(&self, field: &str) -> Result<&str, PatchError> {
        let pointer = self.operation.get(field).and_then(Value::as_str);
        pointer
            .filter(|p| p.is_empty() || p.starts_with('/'))
            .ok_or_else(|| self.malformed(&format!("{field} is a JSON pointer, as /spec/cpus")))
    }

    fn value(&self) -> Result<&Value, PatchError> {
        self.operation
            .get("value")
            .ok_or_else(|| self.malformed("it has no value"))
    }

    fn add(&self, target: &mut Value, pointer: &str, value: Value) -> Result<(), PatchError> {
        let Some((parent, last)) = pointer.rsplit_once('/') else {
            *target = value;
            return Ok(());
        };
        match target.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                fields.insert(unescape(last), value);
                Ok(())
            }
            Some(Value::Array(entries)) => {
                let at = if last == "-" {
                    entries.len()
                } else {
                    list_index(last).ok_or_else(|| self.nothing(pointer))?
                };
                if at > entries.len() {
                    return Err(self.nothing(pointer));
                }
                entries.insert(at, value);
                Ok(())
            }
            _ => Err(self.nothing(pointer)),
        }
    }

    fn remove(&self, target: &mut Value, pointer: &str) -> Result<Value, PatchError> {
        let nothing = || self.nothing(pointer);
        let (parent, last) = pointer.rsplit_once('/').ok_or_else(nothing)?;
        match target.pointer_mut(parent) {
            Some(Value::Object(fields)) => fields.shift_remove(&unescape(last)).ok_or_else(nothing),
            Some(Value::Array(entries)) => list_index(last)
                .filter(|at| *at < entries.len())
                .map(|at| entries.remove(at))
                .ok_or_else(nothing),
            _ => Err(nothing()),
        }
    }

    fn nothing(&self, pointer: &str) -> PatchError {
        PatchError::NoTarget {
            index: self.index,
            pointer: pointer.to_owned(),
        }
    }

    fn malformed(&self, reason: &str) -> PatchError {
        PatchError::Malformed {
            index: self.index,
            reason: reason.to_owned(),
        }
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Reads a list index; RFC 6901 has no signs and no leading zeros.
fn list_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|b| b.is_ascii_digit());
    (digits && (token == "0" || !token.starts_with('0')))
        .then(|| token.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_are_those_of_rfc_7386_appendix_a() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!([1, 2]),
                json!({"a": "b", "c": null}),
                json!({"a": "b"}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            assert_eq!(
                merge_patch(target.clone(), &patch),
                result,
                "{target} {patch}"
            );
        }
    }

    #[test]
    fn json_patches_are_those_of_rfc_6902_appendix_a() {
        for (target, patch, result) in [
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "qux"}]),
                json!({"foo": "bar", "baz": "qux"}),
            ),
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "remove", "path": "/baz"}]),
                json!({"foo": "bar"}),
            ),
            (
                json!({"foo": ["bar", "qux"]}),
                json!([{"op": "remove", "path": "/foo/1"}]),
                json!({"foo": ["bar"]}),
            ),
            (
                json!({"baz": "qux"}),
                json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                json!({"baz": "boo"}),
            ),
            (
                json!({"foo": {"bar": 1}, "qux": {}}),
                json!([{"op": "move", "from": "/foo/bar", "path": "/qux/thud"}]),
                json!({"foo": {}, "qux": {"thud": 1}}),
            ),
            (
                json!({"foo": [1, 2, 3, 4]}),
                json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
                json!({"foo": [1, 3, 4, 2]}),
            ),
            (
                json!({"foo": [1]}),
                json!([{"op": "add", "path": "/foo/-", "value": [2]}]),
                json!({"foo": [1, [2]]}),
            ),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                json!({"/": 9, "~1": 10}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                json!({"a": 1, "b": 1}),
            ),
        ] {
            assert_eq!(json_patch(&target, &patch).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn an_operation_that_does_not_apply_is_named() {
        let target = json!({"a": [1], "b": 1});
        let message = |patch| json_patch(&target, &patch).unwrap_err().to_string();
        assert_eq!(
            message(
                json!([{"op": "test", "path": "/b", "value": 1}, {"op": "remove", "path": "/c"}])
            ),
            "operation 1 of the patch: nothing lies at \"/c\""
        );
        assert_eq!(
            message(json!([{"op": "test", "path": "/b", "value": 2}])),
            "operation 0 of the patch: the value at \"/b\" is another one"
        );
        for bad in [
            json!({}),
            json!([{"op": "drop", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "add", "path": "/a/2", "value": 1}]),
            json!([{"op": "add", "path": "/a/00", "value": 1}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "move", "from": "/a", "path": "/a/0"}]),
            json!([{"op": "remove", "path": ""}]),
        ] {
            assert!(json_patch(&target, &bad).is_err(), "{bad}");
        }
    }
}
