use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

#[test]
fn the_layout_is_kubectls() {
    let value = json!({
        "apiVersion": "kvmctl/v1",
        "metadata": {"name": "web", "labels": {}, "creationTimestamp": "2024-05-01T10:00:00Z"},
        "spec": {
            "command": ["sh", "-c", "echo hi", "a: b"],
            "cpus": 2,
            "ports": ["8080:80"],
            "networks": [{"name": "default", "ip": "10.0.0.5"}, {"name": "blue"}],
            "matrix": [[1, 2], [], [{"a": 1, "b": [true]}]],
            "userData": "#cloud-config\nruncmd:\n  - a\n\n  - b\n",
            "run": ["one\ntwo", "three\n\n"],
        }
    });
    insta::assert_snapshot!(to_string(&value), @r##"
    apiVersion: kvmctl/v1
    metadata:
      name: web
      labels: {}
      creationTimestamp: "2024-05-01T10:00:00Z"
    spec:
      command:
      - sh
      - "-c"
      - echo hi
      - "a: b"
      cpus: 2
      ports:
      - "8080:80"
      networks:
      - name: default
        ip: 10.0.0.5
      - name: blue
      matrix:
      - - 1
        - 2
      - []
      - - a: 1
          b:
          - true
      userData: |
        #cloud-config
        runcmd:
          - a

          - b
      run:
      - |-
        one
        two
      - |+
        three
    "##);
    assert_eq!(read(&to_string(&value)), value);
}

#[test]
fn texts_that_some_reader_takes_for_something_else_are_quoted() {
    for text in [
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "N",
        "~",
        "null",
        "Null",
        "true",
        "",
        " a",
        "a ",
        "12",
        "-1",
        "+1",
        "0x1f",
        "0o17",
        "0b1",
        "012",
        "1_000",
        "1e3",
        "1.5",
        ".5",
        "-.5",
        ".inf",
        "-.INF",
        ".nan",
        "22:22",
        "1:30:00.5",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "2024-1-1 10:00:00 +1",
        "=",
        "<<",
        "-",
        "--- a",
        "...",
        "? a",
        ": a",
        "- a",
        "#a",
        "a #b",
        "a: b",
        "a:",
        "[a",
        "{a",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "\u{85}a",
        "a\u{2028}b",
        "\u{feff}a",
        "52:54:00:12:34:56",
        "8080:80",
        "0",
    ] {
        let yaml = to_string(&json!(text));
        assert!(yaml.starts_with('"'), "{yaml}");
        assert_eq!(read(&yaml), json!(text));
        assert_eq!(read(&to_string(&json!({text: 1}))), json!({text: 1}));
    }
    for text in [
        "web",
        "10.0.0.5",
        "debian-12",
        "t2.micro",
        "/var/lib",
        "kvmctl/v1",
        "echo \"a b\"",
        "7f3a9c2e-0000-4000-8000-000000000000",
        "10Gi",
        "127.0.0.1:80:80",
        "it's",
        "grüße",
    ] {
        let yaml = to_string(&json!(text));
        assert_eq!(yaml, format!("{text}\n"));
        assert_eq!(read(&yaml), json!(text));
    }
}

#[test]
fn nothing_that_a_terminal_obeys_is_written() {
    let yaml = to_string(&json!({"a": "x\u{1b}]0;y\u{7}\u{202e}\u{9b}", "b": "l1\n\u{1b}[2J\n"}));
    assert_eq!(
        yaml,
        "a: \"x\\x1b]0;y\\x07\\u202e\\x9b\"\nb: \"l1\\n\\x1b[2J\\n\"\n"
    );
}

#[test]
fn numbers_have_the_form_that_yaml_1_1_knows() {
    assert_eq!(
        to_string(&json!([1e300, 1.5, -3, 2e-9])),
        "- 1.0e+300\n- 1.5\n- -3\n- 2.0e-9\n"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[a-z0-9:#?~.+= \n\t'\"-]{0,12}",
        "[0-9.:eExTZ_+-]{1,8}",
        "( ?[a#|-]{0,3} ?\n){0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in any_json()) {
        let yaml = to_string(&value);
        let back: Value = serde_yaml::from_str(&yaml)
            .map_err(|e| TestCaseError::fail(format!("{e}: {yaml}")))?;
        prop_assert_eq!(back, value, "{}", yaml);
    }
}
