//! Which fields a kind has, so that a misspelt path is an error and one that happens to be empty is not.

use serde_json::Value;

use crate::api::{
    Image, Instance, InstanceType, Kind, LoadBalancer, Network, PortForward, Secret, Snapshot,
    Volume,
};

/// Returns whether objects of the kind may have the field, whether or not one has it now.
pub(super) fn exists(kind: Kind, names: &[&str]) -> bool {
    let schema = match kind {
        Kind::Instance => schemars::schema_for!(Instance),
        Kind::Image => schemars::schema_for!(Image),
        Kind::Network => schemars::schema_for!(Network),
        Kind::Volume => schemars::schema_for!(Volume),
        Kind::Snapshot => schemars::schema_for!(Snapshot),
        Kind::InstanceType => schemars::schema_for!(InstanceType),
        Kind::Secret => schemars::schema_for!(Secret),
        Kind::PortForward => schemars::schema_for!(PortForward),
        Kind::LoadBalancer => schemars::schema_for!(LoadBalancer),
    };
    let root = schema.to_value();
    let mut nodes = vec![&root];
    for name in names {
        nodes = nodes
            .iter()
            .flat_map(|node| step(&root, node, name))
            .collect();
    }
    !nodes.is_empty()
}

fn step<'a>(root: &'a Value, node: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for node in alternatives(root, node) {
        if let Some(next) = node.get("properties").and_then(|p| p.get(name)) {
            found.push(next);
        } else if let Some(next) = node
            .get("additionalProperties")
            .filter(|n| **n != Value::Bool(false))
        {
            found.push(next);
        } else if let Some(patterns) = node.get("patternProperties").and_then(Value::as_object) {
            found.extend(patterns.values());
        }
    }
    found
}

/// Follows `$ref` and the branches that an optional field has.
fn alternatives<'a>(root: &'a Value, node: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(Vec::new, |target| alternatives(root, target));
    }
    let branches = ["anyOf", "oneOf", "allOf"].into_iter();
    let branches = branches
        .filter_map(|word| node.get(word)?.as_array())
        .flatten();
    let mut all: Vec<&Value> = branches
        .flat_map(|branch| alternatives(root, branch))
        .collect();
    all.push(node);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_types() {
        for (kind, path, known) in [
            (Kind::Instance, "metadata.name", true),
            (Kind::Instance, "metadata.creationTimestamp", true),
            (Kind::Instance, "metadata.labels.app", true),
            (Kind::Instance, "status.address", true),
            (Kind::Instance, "status.cloudInit.stage", true),
            (Kind::Instance, "spec.zz", false),
            (Kind::Instance, "metadata.name.zz", false),
            (Kind::Image, "status.virtualSize", true),
            (Kind::Image, "status.phase", false),
            (Kind::Secret, "data.PASSWORD", true),
            (Kind::InstanceType, "spec.cpus", true),
        ] {
            let names: Vec<&str> = path.split('.').collect();
            assert_eq!(exists(kind, &names), known, "{kind} {path}");
        }
    }
}
