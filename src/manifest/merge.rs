//! The three-way merge of `apply`: what was applied last, what is wanted now, what is there.
//!
//! Mappings merge field by field. The lists `env` and `networks` merge by the `name` of their
//! entries and `targets` by the `instance`, in the order of the new manifest; every other list is
//! replaced as a whole. A field that
//! is there but in neither manifest is kept and told, never kept silently.

use serde_json::{Map, Value};

use super::path::FieldPath;

/// Lists of mappings that have a key, and the key.
const KEYED: [(&str, &str); 3] = [
    ("env", "name"),
    ("networks", "name"),
    ("targets", "instance"),
];

/// One field that gets another value.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// The field; an entry of a keyed list is named by its key.
    pub path: FieldPath,
    /// The value that is there, if any.
    pub old: Option<Value>,
    /// The value that is wanted; nothing when the field goes.
    pub new: Option<Value>,
}

/// What comes of a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The object as it is wanted.
    pub result: Value,
    /// How it differs from what is there.
    pub changes: Vec<FieldChange>,
    /// Fields that no manifest mentions and that stay as they are.
    pub unmanaged_kept: Vec<FieldPath>,
}

/// Merges `new` into `live`; `last_applied` tells what was ours to remove (`null` when unknown).
///
/// Give the parts that a manifest governs (labels, annotations, spec), not identity or status.
pub fn merge(last_applied: &Value, new: &Value, live: &Value) -> Merged {
    let mut merger = Merger::default();
    let result = merger.value(&FieldPath::root(), Some(last_applied), new, Some(live));
    Merged {
        result,
        changes: merger.changes,
        unmanaged_kept: merger.kept,
    }
}

#[derive(Default)]
struct Merger {
    changes: Vec<FieldChange>,
    kept: Vec<FieldPath>,
}

impl Merger {
    fn value(
        &mut self,
        path: &FieldPath,
        last: Option<&Value>,
        new: &Value,
        live: Option<&Value>,
    ) -> Value {
        match (new, live) {
            (Value::Object(new), None | Some(Value::Object(_))) if !new.is_empty() => {
                let live = live.and_then(Value::as_object);
                let last = last.and_then(Value::as_object);
                Value::Object(self.mapping(path, last, new, live))
            }
            (Value::Object(_), Some(Value::Object(live))) => {
                let last = last.and_then(Value::as_object);
                Value::Object(self.mapping(path, last, &Map::new(), Some(live)))
            }
            (Value::Array(wanted), Some(Value::Array(there))) => {
                let last = last.and_then(Value::as_array);
                match Lists::keyed(path, last, wanted, there) {
                    Some(lists) => self.list(path, &lists, there),
                    None => self.replace(path, new, live),
                }
            }
            _ => self.replace(path, new, live),
        }
    }

    fn mapping(
        &mut self,
        path: &FieldPath,
        last: Option<&Map<String, Value>>,
        new: &Map<String, Value>,
        live: Option<&Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut result = Map::new();
        for (key, wanted) in new.iter().filter(|(_, v)| !v.is_null()) {
            let there = live.and_then(|m| m.get(key));
            let before = last.and_then(|m| m.get(key));
            let merged = self.value(&path.key(key), before, wanted, there);
            result.insert(key.clone(), merged);
        }
        for (key, there) in live.into_iter().flatten() {
            if result.contains_key(key) {
                continue;
            }
            let ours = last.is_some_and(|m| m.contains_key(key)) || new.contains_key(key);
            if ours {
                self.remove(&path.key(key), there);
            } else {
                self.kept.push(path.key(key));
                result.insert(key.clone(), there.clone());
            }
        }
        result
    }

    fn list(&mut self, path: &FieldPath, lists: &Lists<'_>, there: &[Value]) -> Value {
        let before = self.changes.len();
        let mut result = Vec::new();
        for (name, wanted) in &lists.new {
            let live = find(&lists.live, name);
            let last = find(&lists.last, name);
            result.push(self.value(&path.key(*name), last, wanted, live));
        }
        for (name, entry) in &lists.live {
            if find(&lists.new, name).is_some() {
                continue;
            }
            if find(&lists.last, name).is_some() {
                self.remove(&path.key(*name), entry);
            } else {
                self.kept.push(path.key(*name));
                result.push((*entry).clone());
            }
        }
        if self.changes.len() == before && result != there {
            self.change(
                path,
                Some(&Value::from(there)),
                Some(&Value::from(result.clone())),
            );
        }
        Value::Array(result)
    }

    fn replace(&mut self, path: &FieldPath, new: &Value, live: Option<&Value>) -> Value {
        if live != Some(new) {
            self.change(path, live, Some(new));
        }
        new.clone()
    }

    fn remove(&mut self, path: &FieldPath, live: &Value) {
        self.change(path, Some(live), None);
    }

    fn change(&mut self, path: &FieldPath, old: Option<&Value>, new: Option<&Value>) {
        self.changes.push(FieldChange {
            path: path.clone(),
            old: old.cloned(),
            new: new.cloned(),
        });
    }
}

type Entries<'v> = Vec<(&'v str, &'v Value)>;

struct Lists<'v> {
    last: Entries<'v>,
    new: Entries<'v>,
    live: Entries<'v>,
}

impl<'v> Lists<'v> {
    /// Returns the lists by key, where the field is a keyed list and every entry has its own key.
    fn keyed(
        path: &FieldPath,
        last: Option<&'v Vec<Value>>,
        new: &'v [Value],
        live: &'v [Value],
    ) -> Option<Self> {
        let field = path.to_string();
        let (_, key) = KEYED.iter().find(|(name, _)| {
            field
                .strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })?;
        Some(Self {
            last: by_key(last.map_or(&[], Vec::as_slice), key).unwrap_or_default(),
            new: by_key(new, key)?,
            live: by_key(live, key)?,
        })
    }
}

fn by_key<'v>(entries: &'v [Value], key: &str) -> Option<Entries<'v>> {
    let mut found: Entries<'v> = Vec::new();
    for entry in entries {
        let name = entry.get(key)?.as_str()?;
        if find(&found, name).is_some() {
            return None;
        }
        found.push((name, entry));
    }
    Some(found)
}

fn find<'v>(entries: &Entries<'v>, name: &str) -> Option<&'v Value> {
    entries.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(merged: &Merged) -> (Vec<String>, Vec<String>) {
        (
            merged.changes.iter().map(|c| c.path.to_string()).collect(),
            merged
                .unmanaged_kept
                .iter()
                .map(ToString::to_string)
                .collect(),
        )
    }

    #[test]
    fn a_field_that_was_applied_and_is_gone_is_removed() {
        let merged = merge(
            &json!({"spec": {"cpus": 2, "memory": "1Gi"}}),
            &json!({"spec": {"cpus": 2}}),
            &json!({"spec": {"cpus": 2, "memory": "1Gi"}}),
        );
        assert_eq!(merged.result, json!({"spec": {"cpus": 2}}));
        assert_eq!(told(&merged), (vec!["spec.memory".to_owned()], vec![]));
        assert_eq!(merged.changes[0].old, Some(json!("1Gi")));
        assert_eq!(merged.changes[0].new, None);
    }

    #[test]
    fn a_field_of_neither_manifest_is_kept_and_told() {
        let merged = merge(
            &json!({"spec": {"cpus": 2}}),
            &json!({"spec": {"cpus": 4}}),
            &json!({"spec": {"cpus": 2, "memory": "1Gi"}}),
        );
        assert_eq!(merged.result, json!({"spec": {"cpus": 4, "memory": "1Gi"}}));
        assert_eq!(
            told(&merged),
            (vec!["spec.cpus".to_owned()], vec!["spec.memory".to_owned()])
        );
    }

    #[test]
    fn drift_of_an_applied_field_is_put_right() {
        let wanted = json!({"spec": {"cpus": 2}});
        let merged = merge(&wanted, &wanted, &json!({"spec": {"cpus": 8}}));
        assert_eq!(merged.result, wanted);
        assert_eq!(merged.changes.len(), 1);
    }

    #[test]
    fn env_merges_by_name() {
        let merged = merge(
            &json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}),
            &json!({"env": [{"name": "C", "value": "3"}, {"name": "A", "value": "2"}]}),
            &json!({"env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "1"},
                {"name": "HAND", "value": "x"},
            ]}),
        );
        assert_eq!(
            merged.result,
            json!({"env": [
                {"name": "C", "value": "3"},
                {"name": "A", "value": "2"},
                {"name": "HAND", "value": "x"},
            ]})
        );
        let (changes, kept) = told(&merged);
        assert_eq!(
            changes,
            ["env.C.name", "env.C.value", "env.A.value", "env.B"]
        );
        assert_eq!(kept, ["env.HAND"]);
    }

    #[test]
    fn a_variable_may_turn_from_value_to_secret() {
        let merged = merge(
            &json!({"env": [{"name": "A", "value": "1"}]}),
            &json!({"env": [{"name": "A", "valueFrom": {"secret": {"name": "s", "key": "K"}}}]}),
            &json!({"env": [{"name": "A", "value": "1"}]}),
        );
        assert_eq!(
            merged.result["env"][0],
            json!({"name": "A", "valueFrom": {"secret": {"name": "s", "key": "K"}}})
        );
        assert!(merged.unmanaged_kept.is_empty());
    }

    #[test]
    fn the_order_of_networks_is_a_change() {
        let merged = merge(
            &Value::Null,
            &json!({"networks": [{"name": "b"}, {"name": "a"}]}),
            &json!({"networks": [{"name": "a"}, {"name": "b"}]}),
        );
        assert_eq!(told(&merged).0, ["networks"]);
    }

    #[test]
    fn other_lists_are_replaced() {
        let merged = merge(
            &json!({"run": ["a"]}),
            &json!({"run": ["b"]}),
            &json!({"run": ["a", "hand"]}),
        );
        assert_eq!(merged.result, json!({"run": ["b"]}));
        assert_eq!(told(&merged).0, ["run"]);
    }

    #[test]
    fn a_list_that_is_emptied_goes() {
        let merged = merge(
            &json!({"env": [{"name": "A", "value": "1"}]}),
            &json!({}),
            &json!({"env": [{"name": "A", "value": "1"}]}),
        );
        assert_eq!(merged.result, json!({}));
        assert_eq!(told(&merged).0, ["env"]);
    }

    #[test]
    fn a_new_object_is_told_field_by_field() {
        let merged = merge(
            &Value::Null,
            &json!({"spec": {"a": 1, "b": {}}}),
            &json!({}),
        );
        assert_eq!(merged.result, json!({"spec": {"a": 1, "b": {}}}));
        assert_eq!(told(&merged).0, ["spec.a", "spec.b"]);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("(a|b|env|networks)", inner.clone(), 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
                prop::collection::vec(("[ab]", inner), 0..3).prop_map(|entries| {
                    entries
                        .into_iter()
                        .map(|(name, v)| json!({"name": name, "v": v}))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_the_result_again_changes_nothing(last in tree(), new in tree(), live in tree()) {
            let first = merge(&last, &new, &live);
            let second = merge(&new, &new, &first.result);
            prop_assert_eq!(&second.result, &first.result);
            prop_assert_eq!(second.changes, vec![]);
            prop_assert_eq!(first.changes.is_empty(), first.result == live);
        }

        #[test]
        fn what_was_applied_last_and_nothing_else_is_replaced_exactly(last in tree(), new in tree()) {
            prop_assert_eq!(merge(&last, &new, &last).result, new);
        }
    }
}
