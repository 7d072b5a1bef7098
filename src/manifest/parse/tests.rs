//! Every wording of the reader.

use super::*;

pub(super) const WEB: &str = "\
apiVersion: kvmctl/v1
kind: Instance
metadata:
  name: web
spec:
  image: debian-12
  cpus: 2
";

fn read(text: &str) -> Parsed {
    parse("web.yaml", text, Strictness::Strict).unwrap_or_else(|d| panic!("{d:#?}"))
}

pub(super) fn problems(text: &str) -> String {
    let found = parse("web.yaml", text, Strictness::Strict).unwrap_err();
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn instance(text: &str) -> crate::api::Instance {
    match &read(text).objects[0].value {
        Object::Instance(instance) => (**instance).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_instance_is_read() {
    let web = instance(WEB);
    assert_eq!(web.metadata.name.unwrap().as_str(), "web");
    assert_eq!(web.spec.cpus, Some(2));
}

#[test]
fn scalars_are_kept_as_they_are_written() {
    let text = format!(
        "{WEB}  env:\n  - {{name: A, value: no}}\n  - {{name: B, value: 012}}\n  - {{name: C, value: 1e3}}\n  \
         - {{name: D, value: 1.10}}\n  - {{name: E, value: 0x1F}}\n  - {{name: F, value: \"\"}}\n"
    );
    let values: Vec<_> = instance(&text)
        .spec
        .env
        .into_iter()
        .map(|e| e.value.unwrap())
        .collect();
    assert_eq!(values, ["no", "012", "1e3", "1.10", "0x1F", ""]);
}

#[test]
fn an_unknown_field_is_told_with_place_and_suggestion() {
    insta::assert_snapshot!(
        problems(&format!("---\n{WEB}---\n{}", WEB.replace("cpus", "cpu"))),
        @r#"web.yaml:16:3: (document 2) unknown field "spec.cpu"; did you mean "cpus"?"#
    );
}

#[test]
fn all_problems_of_all_documents_are_told_in_order() {
    let text = "\
apiVersion: kvmctl/v1
kind: Instance
metadata:
  nam: web
  labels:
    app: 'a b'
spec:
  cpus: two
  datta: 1
  memory: -5
  autostart: maybe
  networks:
  - name: default
    model: virtoi
    ip: 300.1.1.1
  env:
  - nme: A
    value: [1]
  command: ls
---
apiVersion: kvmctl/v1
kind: Secret
metadata: {name: s, uid: x}
data:
  a-b: hunter2
  C: [hunter2]
";
    insta::assert_snapshot!(problems(text), @r#"
    web.yaml:4:3: (document 1) unknown field "metadata.nam"; did you mean "name"?
    web.yaml:6:10: (document 1) metadata.labels.app: "a b" is not a valid label value: a value is empty, or at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit
    web.yaml:8:9: (document 1) spec.cpus: expected a whole number that is not negative, found "two"
    web.yaml:9:3: (document 1) unknown field "spec.datta"
    web.yaml:10:11: (document 1) spec.memory: "-5" is not a size: write a positive number and a unit, as 512M, 10G, 1.5Gi or 20GB
    web.yaml:11:14: (document 1) spec.autostart: expected true or false, found "maybe"
    web.yaml:14:12: (document 1) spec.networks[0].model: "virtoi" is not one of virtio, e1000e, rtl8139
    web.yaml:15:9: (document 1) spec.networks[0].ip: invalid IPv4 address syntax
    web.yaml:17:5: (document 1) unknown field "spec.env[0].nme"; did you mean "name"?
    web.yaml:18:12: (document 1) spec.env[0].value: expected a text, found a list
    web.yaml:19:12: (document 1) spec.command: expected a list, found "ls"
    web.yaml:23:26: (document 2) metadata.uid: UUID parsing failed: invalid character: found `x` at 0
    web.yaml:25:3: (document 2) data.a-b: "a-b" is not a valid variable name: a variable name has only letters, digits and '_' and does not start with a digit
    web.yaml:26:6: (document 2) data.C: expected a text, found a list
    "#);
}

#[test]
fn unknown_fields_can_be_warnings() {
    let text = WEB.replace("cpus: 2", "cpus: 2\n  datta: {a: [1]}");
    let parsed = parse("web.yaml", &text, Strictness::Warn).unwrap();
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(parsed.warnings[0].message, "unknown field \"spec.datta\"");
    let parsed = parse("web.yaml", &text, Strictness::Ignore).unwrap();
    assert_eq!((parsed.objects.len(), parsed.warnings.len()), (1, 0));
}

#[test]
fn keys_given_twice_are_errors_anywhere_and_whatever_the_strictness() {
    let text = format!("{WEB}  cpus: 3\n  env: [{{name: A, value: x, value: y}}]\n")
        .replace("name: web", "name: web\n  labels: {a: b, a: c, a: d}");
    insta::assert_snapshot!(problems(&text), @r#"
    web.yaml:5:18: (document 1) duplicate key "metadata.labels.a"
    web.yaml:5:24: (document 1) duplicate key "metadata.labels.a"
    web.yaml:9:3: (document 1) duplicate key "spec.cpus"
    web.yaml:10:29: (document 1) duplicate key "spec.env[0].value"
    "#);
    assert!(parse("-", &text, Strictness::Ignore).is_err());
}

#[test]
fn what_is_not_an_object_of_ours_is_told() {
    let all = [
        "5",
        "[]",
        "a: 1",
        "kind: Instance",
        "apiVersion: v1\nkind: Pod",
        "apiVersion: kvmctl/v1\nkind: instance",
        "apiVersion: kvmctl/v1\nkind: vm",
        "apiVersion: kvmctl/v1\nkind: Instnce",
        "apiVersion: kvmctl/v1\nkind: 5",
        "apiVersion: kvmctl/v1\nkind: Instance",
        "apiVersion: kvmctl/v1\nkind: Instance\nmetadata: [web]\nspec: {}",
        "apiVersion: kvmctl/v1\nkind: List",
    ]
    .map(problems);
    insta::assert_snapshot!(all.join("\n"), @r#"
    web.yaml:1:1: (document 1) expected an object with apiVersion, kind, metadata and spec
    web.yaml:1:2: (document 1) expected an object with apiVersion, kind, metadata and spec
    web.yaml:1:1: (document 1) apiVersion not set, kind not set
    web.yaml:1:1: (document 1) apiVersion not set
    web.yaml:1:13: (document 1) apiVersion: "v1" is not known; this version reads "kvmctl/v1"
    web.yaml:2:7: (document 1) unknown kind "Pod"; the kinds are Secret, InstanceType, Image, Network, Volume, Instance, Snapshot, PortForward, LoadBalancer
    web.yaml:2:7: (document 1) unknown kind "instance"; did you mean "Instance"?
    web.yaml:2:7: (document 1) unknown kind "vm"; did you mean "Instance"?
    web.yaml:2:7: (document 1) unknown kind "Instnce"; did you mean "Instance"?
    web.yaml:2:7: (document 1) unknown kind 5; the kinds are Secret, InstanceType, Image, Network, Volume, Instance, Snapshot, PortForward, LoadBalancer
    web.yaml:1:1: (document 1) missing field "metadata"
    web.yaml:3:11: (document 1) metadata: expected a mapping, found a list
    web.yaml:1:1: (document 1) items: a List has a list of objects here
    "#);
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let all = [
        "a: [1, 2",
        "a: b: c",
        "\ta: 1",
        "a: *nothing",
        "a: 'x",
        "? [a]\n: b",
        "a: !secret x",
        "a: \u{7}",
        "apiVersion: kvmctl/v1\nkind: Instance\nmetadata: {name: w}\nspec:\n  <<: {cpus: 2}\n",
    ]
    .map(problems);
    insta::assert_snapshot!(all.join("\n"), @r#"
    web.yaml:2:1: (document 1) did not find expected ',' or ']', while parsing a flow sequence at line 1 column 4
    web.yaml:1:5: (document 1) a second ": " in one line; a text that has one stands in quotes
    web.yaml:1:1: (document 1) a character that cannot begin anything here; YAML is indented by blanks, not tabs, and a text that begins with @, ` or % stands in quotes
    web.yaml:1:4: (document 1) unknown anchor
    web.yaml:1:6: (document 1) found unexpected end of stream, while scanning a quoted scalar at line 1 column 4
    web.yaml:1:3: (document 1) expected a text as key, found a list
    web.yaml:1:4: (document 1) YAML tags ("!name") are not supported
    web.yaml:1:4: (document 1) control character U+0007; in a text in double quotes it is written "\u0007"
    web.yaml:5:3: (document 1) merge keys ("<<") are not supported; write the fields out
    "#);
}

#[test]
fn empty_values_are_absent_fields_but_not_texts() {
    let web = instance(&format!("{WEB}  run:\n  userData: ~\n  env: null\n"));
    assert!(web.spec.run.is_empty() && web.spec.user_data.is_none());
    let text = format!("{WEB}  run:\n  -\n").replace("name: web", "name: web\n  labels:\n    a:");
    insta::assert_snapshot!(problems(&text), @r#"
    web.yaml:6:7: (document 1) metadata.labels.a: no value; write "" for an empty text
    web.yaml:11:4: (document 1) spec.run[0]: an empty list entry
    "#);
}

#[test]
fn lists_are_expanded_and_their_problems_are_told_per_object() {
    let item = |name: &str, cpus: &str| {
        format!(
            "- apiVersion: kvmctl/v1\n  kind: Instance\n  metadata: {{name: {name}}}\n  spec: {{cpus: {cpus}}}\n"
        )
    };
    let head = "apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n";
    let good = format!("{head}{}{}", item("a", "1"), item("b", "2"));
    let parsed = read(&good);
    let names: Vec<_> = parsed
        .objects
        .iter()
        .filter_map(|o| o.value.key())
        .collect();
    assert_eq!(format!("{names:?}").matches("name").count(), 2);
    assert_eq!(
        parsed.objects[1].origin.to_string(),
        "web.yaml:11 (document 1)"
    );
    let bad = format!(
        "{good}{}- {{kind: X}}\n- apiVersion: kvmctl/v1\n  kind: Instance\n",
        item("c", "no")
    );
    insta::assert_snapshot!(problems(&bad), @r#"
    web.yaml:16:16: (document 1) spec.cpus: expected a whole number that is not negative, found "no"
    web.yaml:17:3: (document 1) apiVersion not set
    web.yaml:17:10: (document 1) unknown kind "X"; the kinds are Secret, InstanceType, Image, Network, Volume, Instance, Snapshot, PortForward, LoadBalancer
    web.yaml:18:3: (document 1) items[4]: missing field "metadata"
    "#);
    assert_eq!(
        read("apiVersion: v1\nkind: List\nitems: []\n")
            .objects
            .len(),
        0
    );
}

#[test]
fn documents_may_be_empty_and_files_too() {
    assert_eq!(read("---\n---\n# x\n---\nnull\n---\n").objects.len(), 0);
    assert_eq!(read("").objects.len(), 0);
    let parsed = read(&format!("---\n---\n{WEB}"));
    assert_eq!(
        parsed.objects[0].origin.to_string(),
        "web.yaml:5 (document 2)"
    );
}

#[test]
fn crlf_and_a_byte_order_mark_do_not_move_places() {
    let text = format!(
        "\u{feff}{}",
        WEB.replace("cpus", "cpu").replace('\n', "\r\n")
    );
    assert!(problems(&text).starts_with("web.yaml:7:3: "));
    let text = format!("{WEB}  run: |-\n").replace("run: |-\n", "userData: |\n    a\n    b\n");
    assert_eq!(
        instance(&text.replace('\n', "\r\n"))
            .spec
            .user_data
            .unwrap(),
        "a\nb\n"
    );
}

#[test]
fn json_is_read_and_its_problems_have_places() {
    let text = "{\n \"apiVersion\": \"kvmctl/v1\",\n \"kind\": \"Instance\",\n \
                \"metadata\": {\"name\": \"web\"},\n \"spec\": {\"cpu\": 2, \"userData\": \"\\ud83d\\ude00\"}\n}\n";
    insta::assert_snapshot!(problems(text), @r#"web.yaml:5:15: (document 1) unknown field "spec.cpu"; did you mean "cpus"?"#);
    let web = instance(&text.replace("cpu", "cpus"));
    assert_eq!(web.spec.user_data.unwrap(), "😀");
    let found = parse("a.json", "{\"a\": 1,}", Strictness::Strict).unwrap_err();
    insta::assert_snapshot!(found[0], @r#"a.json:1:9: (document 1) trailing comma"#);
}

#[test]
fn anchors_work_within_bounds() {
    let text =
        format!("{WEB}  env:\n  - {{name: A, value: &v long}}\n  - {{name: B, value: *v}}\n");
    assert_eq!(instance(&text).spec.env[1].value.as_deref(), Some("long"));
}

#[test]
fn the_observed_part_is_ignored_whatever_it_says() {
    let web = instance(&format!("{WEB}status: {{phase: Flying, x: [1]}}\n"));
    assert_eq!(web.status, None);
}

#[test]
fn no_message_shows_a_secret() {
    let text = "apiVersion: kvmctl/v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  A: hunter2\n  B: {hunter2: x}\n  C-D: hunter2\n";
    for d in parse("-", text, Strictness::Strict).unwrap_err() {
        assert!(!format!("{d:?}").contains("hunter2"), "{d:?}");
    }
}
