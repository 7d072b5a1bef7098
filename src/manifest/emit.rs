//! Objects back to text, for `--dry-run=client -o yaml` and `edit`.

use serde_json::Value;

use crate::api::Object;
use crate::text::yaml;

/// Returns an object as a manifest that `parse` reads back unchanged.
///
/// What is observed (`status`) is left out, for a manifest says what is wanted. Secrets stand in it
/// as they are: it is for files with mode 0600, not for screens.
pub fn to_manifest_yaml(object: &Object) -> String {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut value {
        fields.shift_remove("status");
    }
    yaml::to_string(&value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{
        EnvName, EnvVar, EnvVarSource, Instance, InstanceSpec, LabelKey, LabelValue, Name,
        NetworkAttachment, ObjectMeta, Quantity, Secret, SecretKeyRef, SecretValue, Uid,
    };
    use crate::manifest::{Strictness, parse, validate::mask};

    /// Texts that parsers like to take for something else.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ \\t\\n:#'\"|>&*!%@`\\[\\]{},?~-]{0,8}[a-z0-9]{0,3}[ \\t\\n:#'\"-]{0,4}",
            "([ \\t]{0,3}[a-zé#:-]{0,5}[ \\t]{0,2}\\n){0,4}[ a-z]{0,3}",
            prop::sample::select(vec![
                "no",
                "yes",
                "on",
                "y",
                "012",
                "1e3",
                "1_000",
                "0x1F",
                "0o7",
                ".inf",
                ".nan",
                "~",
                "null",
                "true",
                "",
                " ",
                "  x",
                "x ",
                "\u{1b}[31m",
                "a\0b",
                "\u{feff}x",
                "\u{85}",
                "a\u{2028}b",
                "---",
                "--- x",
                "...",
                "a\n---\nb",
                "a: b",
                "a #b",
                "#!/bin/sh\nset -e\n",
                "\n",
                "\n\na\n\n",
                "a\r\nb",
                "=",
                "<<",
                "2024-01-01",
                "12:30:45",
                "\t\n x",
                "- a",
                "#cloud-config\nwrite_files:\n  - path: /x\n    content: |\n      a\n",
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn label() -> impl Strategy<Value = Name> {
        prop_oneof![
            "[a-z0-9]{1,8}",
            prop::sample::select(vec!["no", "on", "1e3", "012", "null"]).prop_map(str::to_owned),
        ]
        .prop_map(|s| Name::new(s).unwrap())
    }

    fn env() -> impl Strategy<Value = EnvVar> {
        let name = "[A-Za-z_][A-Za-z0-9_]{0,5}".prop_map(|s| EnvName::new(s).unwrap());
        (name, text(), label(), any::<bool>()).prop_map(|(name, value, secret, plain)| EnvVar {
            value: plain.then_some(value),
            value_from: (!plain).then(|| EnvVarSource {
                secret: SecretKeyRef {
                    name: secret,
                    key: name.clone(),
                },
            }),
            name,
        })
    }

    fn meta() -> impl Strategy<Value = ObjectMeta> {
        let key = prop_oneof![
            "[a-z0-9]{1,4}",
            "[a-z0-9]{1,4}/[a-zA-Z0-9]{1,4}",
            Just("on".to_owned()),
        ]
        .prop_map(|s| LabelKey::new(s).unwrap());
        let value = "([a-zA-Z0-9]([a-zA-Z0-9_.-]{0,4}[a-zA-Z0-9])?)?"
            .prop_map(|s| LabelValue::new(s).unwrap());
        (
            label(),
            prop::collection::btree_map(key.clone(), value, 0..3),
            prop::collection::btree_map(key, text(), 0..3),
            any::<[u8; 16]>(),
        )
            .prop_map(|(name, labels, annotations, uid)| ObjectMeta {
                labels,
                annotations,
                uid: Some(Uid::from_bytes(uid)),
                ..ObjectMeta::named(name)
            })
    }

    fn instance() -> impl Strategy<Value = Object> {
        let spec = (
            prop::option::of(text()),
            prop::option::of((1u64..1 << 50).prop_map(|n| Quantity::from_bytes(n).unwrap())),
            prop::collection::vec(env(), 0..3),
            prop::collection::vec(text(), 0..4),
            prop::collection::vec(text(), 0..4),
            prop::option::of(text()),
            prop::collection::vec((text(), any::<[u8; 4]>()), 0..3),
        )
            .prop_map(
                |(image, memory, env, run, command, user_data, nics)| InstanceSpec {
                    image,
                    memory,
                    env,
                    run,
                    command,
                    user_data,
                    ports: vec![
                        "127.0.0.1:8080:80".parse().unwrap(),
                        "53:53/udp".parse().unwrap(),
                    ],
                    networks: nics
                        .into_iter()
                        .map(|(name, ip)| NetworkAttachment {
                            name,
                            ip: Some(ip.into()),
                            mac: None,
                            model: None,
                        })
                        .collect(),
                    ..InstanceSpec::default()
                },
            );
        (meta(), spec).prop_map(|(metadata, spec)| {
            Object::from(Instance {
                api_version: "kvmctl/v1".to_owned(),
                kind: "Instance".to_owned(),
                metadata,
                spec,
                status: None,
            })
        })
    }

    fn secret() -> impl Strategy<Value = Object> {
        let key = "[A-Za-z_][A-Za-z0-9_]{0,5}".prop_map(|s| EnvName::new(s).unwrap());
        let data = prop::collection::btree_map(key, text().prop_map(SecretValue::new), 0..4);
        (meta(), data).prop_map(|(metadata, data)| {
            Object::from(Secret {
                api_version: "kvmctl/v1".to_owned(),
                kind: "Secret".to_owned(),
                metadata,
                data,
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn an_object_is_read_back_as_it_was(object in prop_oneof![instance(), secret()]) {
            let yaml = to_manifest_yaml(&object);
            let parsed = parse("-", &yaml, Strictness::Strict);
            let parsed = parsed.map_err(|d| TestCaseError::fail(format!("{d:#?}\n{yaml}")))?;
            prop_assert_eq!(parsed.objects.len(), 1, "{}", &yaml);
            prop_assert_eq!(&parsed.objects[0].value, &object, "{}", &yaml);
        }

        #[test]
        fn any_value_is_read_back_by_serde_yaml(values in prop::collection::vec(text(), 0..4)) {
            let value = serde_json::json!({"a": values, "b": [[values], {"c": {"d": values}}], "e": values.concat()});
            let read: Value = serde_yaml::from_str(&yaml::to_string(&value)).unwrap();
            prop_assert_eq!(read, value);
        }
    }

    #[test]
    fn a_manifest_looks_as_a_person_would_write_it() {
        let text = "{\"apiVersion\": \"kvmctl/v1\", \"kind\": \"Instance\", \"metadata\": {\"name\": \"no\", \
            \"labels\": {\"on\": \"012\"}}, \"spec\": {\"image\": \"debian-12\", \"memory\": \"1Gi\", \
            \"env\": [{\"name\": \"A\", \"value\": \"yes\"}], \"run\": [\"set -e\\necho $A\\n\", \"systemctl start nginx\"], \
            \"userData\": \"#cloud-config\\n  a: 1\", \"ports\": [\"8080:80\"]}}";
        let object = &parse("-", text, Strictness::Strict).unwrap().objects[0].value;
        insta::assert_snapshot!(to_manifest_yaml(object), @r#"
    apiVersion: kvmctl/v1
    kind: Instance
    metadata:
      name: "no"
      labels:
        "on": "012"
    spec:
      image: debian-12
      memory: 1Gi
      env:
      - name: A
        value: "yes"
      run:
      - |
        set -e
        echo $A
      - systemctl start nginx
      userData: |-
        #cloud-config
          a: 1
      ports:
      - "8080:80"
    "#);
        assert!(mask("x").starts_with("***sha256:"));
    }
}
