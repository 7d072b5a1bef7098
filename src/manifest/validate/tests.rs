//! Every rule, by the message it gives.

use super::*;
use crate::manifest::{Strictness, parse};

fn told(text: &str, purpose: Purpose) -> String {
    let parsed = parse("a.yaml", text, Strictness::Strict).unwrap_or_else(|d| panic!("{d:#?}"));
    match validate(&parsed.objects, purpose) {
        Ok(()) => String::new(),
        Err(found) => found
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn instance(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: kvmctl/v1\nkind: Instance\nmetadata:\n  name: {name}\nspec:\n  image: debian-12\n{spec}"
    )
}

#[test]
fn a_good_instance_has_no_problems() {
    let text = instance(
        "web",
        "  type: t2.micro
  cpus: 2
  memory: 32Mi
  disk: 10G
  networks: [{name: default, ip: 192.168.122.5, mac: '52:54:00:AB:cd:ef'}, {name: blue}]
  sshKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a@b]
  env: [{name: A, value: \"a\\tb\\n'$\\\" é\"}, {name: B, valueFrom: {secret: {name: s, key: K}}}, {name: C, value: ''}]
  run: [systemctl start nginx]
  command: [echo, '']
  ports: ['8080:80', '8080:80/udp', '0:81', '0:82', '127.0.0.1:9000:1', '127.0.0.2:9000:1']
  userData: '***sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
",
    );
    assert_eq!(told(&text, Purpose::Apply), "");
}

#[test]
fn every_rule_of_an_instance_is_told_at_its_place() {
    let text = instance(
        "web.example",
        "  type: ''
  cpus: 0
  memory: 512
  disk: 100000T
  networks:
  - {name: default, ip: 127.0.0.1, mac: '01:00:5e:00:00:01'}
  - {name: default, ip: 224.0.0.1, mac: '52:54:00:00:00:01'}
  - {name: 'a b', ip: 255.255.255.255, mac: '52:54:00:00:00:01'}
  - {name: -x, ip: 0.0.0.0, mac: 52-54-00-00-00-01}
  - {name: e, mac: 'fe:54:00:00:00:01'}
  - {name: f, mac: '00:00:00:00:00:00'}
  - {name: g}
  - {name: h}
  - {name: i}
  sshKeys:
  - not a key
  - |
    -----BEGIN OPENSSH PRIVATE KEY-----
    AAAA
  env:
  - {name: A, value: x}
  - {name: A, value: y}
  - {name: B}
  - {name: C, value: x, valueFrom: {secret: {name: s, key: K}}}
  - {name: D, value: \"a\\0b\"}
  - {name: E, value: \"a\\rb\"}
  run: ['  ', \"a\\0\"]
  command: ['', \"a\\0\"]
  ports: ['2080:80', '2079-2081:1-3', '0.0.0.0:2080:1', '22:22']
",
    )
    .replace("  image: debian-12\n", "");
    insta::assert_snapshot!(told(&text, Purpose::Create), @r#"
    a.yaml:5:9: (document 1) metadata.name: "web.example" has a dot, which the name of an instance cannot have: it becomes its host name; did you mean "web-example"?
    a.yaml:6:1: (document 1) spec.image: not set; kvmctl images list shows what there is
    a.yaml:7:9: (document 1) spec.type: empty
    a.yaml:8:9: (document 1) spec.cpus: must be between 1 and 512, is 0
    a.yaml:9:11: (document 1) spec.memory: must be at least 32Mi, is 512; did you mean 512M?
    a.yaml:10:9: (document 1) spec.disk: must be at most 64Ti, is 100000Ti
    a.yaml:12:3: (document 1) spec.networks: 9 interfaces, at most 8
    a.yaml:12:25: (document 1) spec.networks[0].ip: 127.0.0.1 is a loopback address
    a.yaml:12:41: (document 1) spec.networks[0].mac: is a multicast address; write one as 52:54:00:12:34:56
    a.yaml:13:12: (document 1) spec.networks[1].name: "default" is in the list already
    a.yaml:13:25: (document 1) spec.networks[1].ip: 224.0.0.1 is a multicast address
    a.yaml:14:12: (document 1) spec.networks[2].name: has blanks or control characters
    a.yaml:14:23: (document 1) spec.networks[2].ip: 255.255.255.255 is no host's address
    a.yaml:14:45: (document 1) spec.networks[2].mac: is in the list already
    a.yaml:15:12: (document 1) spec.networks[3].name: starts with '-'
    a.yaml:15:20: (document 1) spec.networks[3].ip: 0.0.0.0 is no host's address
    a.yaml:15:34: (document 1) spec.networks[3].mac: is not a hardware address; write one as 52:54:00:12:34:56
    a.yaml:16:20: (document 1) spec.networks[4].mac: begins with fe, which libvirt keeps for the host's side
    a.yaml:17:20: (document 1) spec.networks[5].mac: is no address; write one as 52:54:00:12:34:56
    a.yaml:22:5: (document 1) spec.sshKeys[0]: not a public key of OpenSSH, as ssh-ed25519 AAAA… name@host
    a.yaml:23:5: (document 1) spec.sshKeys[1]: this is a private key: give the .pub file, and make a new pair
    a.yaml:28:12: (document 1) spec.env[1].name: "A" is in the list already
    a.yaml:29:5: (document 1) spec.env[2]: has neither value nor valueFrom; an empty value is ""
    a.yaml:30:5: (document 1) spec.env[3]: has both value and valueFrom; write one of them
    a.yaml:31:22: (document 1) spec.env[4].value: control character U+0000; only tab and newline get through the guest's environment files
    a.yaml:32:22: (document 1) spec.env[5].value: control character U+000D; only tab and newline get through the guest's environment files
    a.yaml:33:9: (document 1) spec.run[0]: an empty line
    a.yaml:33:15: (document 1) spec.run[1]: a NUL character, which no shell can read
    a.yaml:34:13: (document 1) spec.command[0]: the program's name is empty
    a.yaml:34:17: (document 1) spec.command[1]: a NUL character, which no argument can hold
    a.yaml:35:57: (document 1) spec.ports[3]: 22:22 takes port 22, by which one logs in to the host; spec.allowPrivilegedPorts: true (--force on the command line) allows it
    a.yaml:35:22: (document 1) spec.ports[1]: 2079-2081:1-3 takes a port of the host that 2080:80 of spec.ports[0] takes too
    a.yaml:35:39: (document 1) spec.ports[2]: 0.0.0.0:2080:1 takes a port of the host that 2079-2081:1-3 of spec.ports[1] takes too
    "#);
}

#[test]
fn sizes_are_bounded() {
    let value = "x".repeat(131_060);
    let text = instance(
        "big",
        &format!(
            "  env:\n  - {{name: A, value: {value}}}\n  - {{name: B, value: {value}}}\n  - {{name: LONGER_NAME_, value: {value}}}\n"
        ),
    ) + &instance(
        "data",
        &format!("  userData: {}\n", "x".repeat((512 << 10) + 1)),
    ) + &instance(
        "ports",
        &format!("  ports: [{}]\n", vec!["'0:1'"; 101].join(",")),
    ) + &instance("notes", "").replace(
        "spec:",
        &format!(
            "  annotations:\n    a: {}\n    b: \"\\e[31m\"\nspec:",
            "x".repeat(256 << 10)
        ),
    );
    insta::assert_snapshot!(told(&text, Purpose::Apply), @r#"
    a.yaml:9:3: (document 1) spec.env: 393200 bytes in all, less than 262144 are possible
    a.yaml:11:33: (document 1) spec.env[2].value: 131074 bytes, at most 131071 can be handed to a process
    a.yaml:19:13: (document 2) spec.userData: 524289 bytes, at most 524288
    a.yaml:27:10: (document 3) spec.ports: 101 mappings, at most 100
    a.yaml:34:5: (document 4) metadata.annotations: 262151 bytes, at most 262144
    a.yaml:35:8: (document 4) metadata.annotations.b: control character U+001B; only tab and newline are allowed
    "#);
}

#[test]
fn names_are_given_or_generated_where_that_can_be() {
    let stem = |stem: &str| instance("x", "").replace("name: x", &format!("generateName: {stem}"));
    assert_eq!(told(&stem("web-"), Purpose::Create), "");
    assert_eq!(
        told(
            &instance("x", "").replace("name: x", "name: x\n  generateName: y-"),
            Purpose::Apply
        ),
        ""
    );
    let all = [
        told(&stem("web-"), Purpose::Apply),
        told(&stem("Web-"), Purpose::Create),
        told(&stem("a.b-"), Purpose::Create),
        told(
            &instance("x", "").replace("name: x", "labels: {}"),
            Purpose::Create,
        ),
        told(
            &instance("x", "  cpus: 0\n").replace("name: x", "labels: {}"),
            Purpose::Refer,
        ),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    a.yaml:5:17: (document 1) from web-: cannot use generate name with apply
    a.yaml:5:17: (document 1) metadata.generateName: "Web-" is not the start of a name: at most 58 characters, only a-z, 0-9 and '-', starting with a letter or digit
    a.yaml:5:17: (document 1) metadata.generateName: "a.b-" is not the start of a name: at most 58 characters, only a-z, 0-9 and '-', starting with a letter or digit
    a.yaml:4:1: (document 1) metadata.name: not set
    a.yaml:4:1: (document 1) metadata.name: not set
    "#);
}

#[test]
fn an_adopted_instance_needs_no_image() {
    let text = instance("x", "  cpus: 1\n")
        .replace("  image: debian-12\n", "")
        .replace(
            "name: x",
            "name: x\n  uid: 5f0c0d8e-0b9f-4c3c-8d6e-0d6c4b1b7a11",
        );
    assert_eq!(told(&text, Purpose::Apply), "");
}

#[test]
fn the_other_kinds_have_rules_too() {
    let head =
        |kind: &str| format!("---\napiVersion: kvmctl/v1\nkind: {kind}\nmetadata: {{name: a.b}}\n");
    let text = format!(
        "{}spec: {{cpus: 513, memory: 1M, disk: 1}}\n{}spec: {{url: file:///etc/passwd, sha256: abc, defaultUser: '-x'}}\n{}data: {{A: '***', B: \"a\\0\", C: '***sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}}\n",
        head("InstanceType"),
        head("Image"),
        head("Secret"),
    );
    insta::assert_snapshot!(told(&text, Purpose::Create), @r#"
    a.yaml:5:14: (document 1) spec.cpus: must be between 1 and 512, is 513
    a.yaml:5:27: (document 1) spec.memory: must be at least 32Mi, is 1Mi
    a.yaml:5:37: (document 1) spec.disk: must be at least 1Mi, is 1; did you mean 1M?
    a.yaml:10:13: (document 2) spec.url: not a URL, as https://example.com/image.qcow2
    a.yaml:10:41: (document 2) spec.sha256: not a SHA-256 sum: 64 hex digits
    a.yaml:10:59: (document 2) spec.defaultUser: not a user name: a-z, 0-9, '_' and '-', at most 32, not starting with a digit or '-'
    a.yaml:15:11: (document 3) data.A: this is the mask that kvmctl prints, not a value; write the value or leave the key out
    a.yaml:15:21: (document 3) data.B: control character U+0000; only tab and newline are allowed
    a.yaml:15:31: (document 3) data.C: this is the mask that kvmctl prints, not a value; write the value or leave the key out
    "#);
    let good = format!(
        "{}spec: {{cpus: 512, memory: 32M, disk: 1M}}\n{}spec: {{url: 'https://example.com/a', defaultUser: debian}}\n{}data: {{A: 'p ä$'}}\n",
        head("InstanceType"),
        head("Image"),
        head("Secret"),
    );
    assert_eq!(told(&good, Purpose::Apply), "");
    let printed = format!("{}data: {{A: '***'}}\n", head("Secret"));
    assert_eq!(told(&printed, Purpose::Apply), "");
}

#[test]
fn a_secret_in_a_problem_is_not_shown() {
    let text =
        "apiVersion: kvmctl/v1\nkind: Secret\nmetadata: {name: s}\ndata: {A: \"hunter2\\0\"}\n";
    let parsed = parse("-", text, Strictness::Strict).unwrap();
    let found = validate(&parsed.objects, Purpose::Apply).unwrap_err();
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn nothing_is_wanted_twice_in_a_run() {
    let text = instance(
        "a",
        "  ports: ['8080:80', '8081-8090:1-10', '5353:53/udp']\n  networks: [{name: n, ip: 10.0.0.5, mac: '52:54:00:00:00:01'}]\n",
    ) + &instance("a", "")
        + &instance(
            "b",
            "  ports: ['127.0.0.1:8080:80', '8090:1', '5353:53', '8091:1']\n  networks: [{name: n, ip: 10.0.0.5, mac: '52:54:00:00:00:01'}]\n",
        )
        + &instance("c", "  networks: [{name: other, ip: 10.0.0.5}]\n");
    insta::assert_snapshot!(told(&text, Purpose::Apply), @r#"
    a.yaml:14:9: (document 2) instance/a is given twice; the first is at a.yaml:4 (document 1)
    a.yaml:25:43: (document 3) spec.networks[0].mac: 52:54:00:00:00:01 is wanted by instance/a too
    a.yaml:25:28: (document 3) spec.networks[0].ip: 10.0.0.5 in "n" is wanted by instance/a too
    a.yaml:24:11: (document 3) spec.ports[0]: 127.0.0.1:8080:80 takes a port of the host that 8080:80 of instance/a at a.yaml:4 (document 1) takes too
    a.yaml:24:32: (document 3) spec.ports[1]: 8090:1 takes a port of the host that 8081-8090:1-10 of instance/a at a.yaml:4 (document 1) takes too
    "#);
}

#[test]
fn a_thousand_forwards_are_compared_quickly() {
    let documents: String = (0..400)
        .map(|n| {
            let ports: Vec<_> = (0..100)
                .map(|p| format!("'{}:80'", 1024 + n * 100 + p))
                .collect();
            instance(
                &format!("i{n}"),
                &format!("  ports: [{}]\n", ports.join(",")),
            )
        })
        .collect();
    let parsed = parse("-", &documents, Strictness::Strict).unwrap();
    let start = std::time::Instant::now();
    assert!(validate(&parsed.objects, Purpose::Apply).is_ok());
    assert!(start.elapsed().as_secs() < 5);
}
