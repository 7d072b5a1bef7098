//! The JSON Schema of manifests, made from the types themselves: for editors and for `explain`.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::api::{
    API_VERSION, Image, Instance, InstanceType, KINDS, Kind, LoadBalancer, Network, PortForward,
    Secret, Snapshot, Volume,
};

/// Returns one schema of all kinds, always in the same order.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    for row in KINDS {
        add(&mut generator, row.kind);
    }
    let mut definitions: Vec<(String, Value)> =
        generator.take_definitions(true).into_iter().collect();
    definitions.sort_by(|a, b| a.0.cmp(&b.0));
    let mut definitions: Map<String, Value> = definitions.into_iter().collect();
    for row in KINDS {
        if let Some(definition) = definitions.get_mut(row.name) {
            pin(definition, "apiVersion", API_VERSION);
            pin(definition, "kind", row.name);
        }
    }
    let kinds: Vec<Value> = KINDS
        .iter()
        .map(|row| json!({"$ref": format!("#/$defs/{}", row.name)}))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("kvmctl manifest, {API_VERSION}"),
        "oneOf": kinds,
        "$defs": definitions,
    })
}

fn add(generator: &mut SchemaGenerator, kind: Kind) {
    match kind {
        Kind::Instance => generator.subschema_for::<Instance>(),
        Kind::Image => generator.subschema_for::<Image>(),
        Kind::Network => generator.subschema_for::<Network>(),
        Kind::Volume => generator.subschema_for::<Volume>(),
        Kind::Snapshot => generator.subschema_for::<Snapshot>(),
        Kind::InstanceType => generator.subschema_for::<InstanceType>(),
        Kind::Secret => generator.subschema_for::<Secret>(),
        Kind::PortForward => generator.subschema_for::<PortForward>(),
        Kind::LoadBalancer => generator.subschema_for::<LoadBalancer>(),
    };
}

/// Tells editors the one value that a field can have.
fn pin(definition: &mut Value, field: &str, value: &str) {
    if let Some(Value::Object(property)) = definition.pointer_mut(&format!("/properties/{field}")) {
        property.insert("const".to_owned(), Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_defined_closed_and_told_by_its_kind() {
        let schema = schema();
        for row in KINDS {
            let definition = &schema["$defs"][row.name];
            assert_eq!(definition["properties"]["kind"]["const"], row.name);
            assert_eq!(definition["additionalProperties"], false, "{}", row.name);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = schema();
        let text = schema.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(schema.pointer(pointer).is_some(), "{pointer}");
        }
        assert_eq!(text, super::schema().to_string(), "the order is stable");
    }
}
