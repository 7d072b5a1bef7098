//! Changes of an instance that need it made anew: said as such, with the way there.

use serde_json::{Value, json};

use super::host::{Identity, apply, field, guest_env, host, tiny};

const NAME: &str = "fixed";
const ANEW: &str = "kvmctl delete instance/fixed && kvmctl apply -f FILE";

fn with(field: &str, value: Value) -> Value {
    let mut manifest = tiny(NAME);
    manifest["spec"]["env"] = json!([{"name": "A", "value": "1"}]);
    manifest["spec"][field] = value;
    manifest
}

#[test]
fn what_only_a_new_instance_can_have_is_refused_with_the_way_to_it() {
    let env = guest_env();
    let original = with("accelerator", json!("tcg"));
    apply(&env, &original, &["--no-wait"]).ok();
    let identity = Identity::of(&env, NAME);
    let run = host("virsh", &["-q", "domid", NAME]);
    for (name, value) in [
        ("env", json!([{"name": "A", "value": "2"}])),
        ("run", json!(["true"])),
        ("command", json!(["true"])),
        ("userData", json!("#!/bin/sh\ntrue\n")),
        ("firmware", json!("uefi")),
        ("tpm", json!(true)),
        ("image", json!("debian-12")),
    ] {
        let output = apply(&env, &with(name, value), &[]).code(5);
        let refusal = format!("spec.{name}: field is immutable");
        let output = output.says(&refusal).says(ANEW);
        assert_eq!(output.stdout, "", "{output}");
    }
    let told = apply(&env, &with("accelerator", json!("auto")), &[]).ok();
    told.says("it runs as it was made until it is made anew")
        .says(ANEW);
    assert_eq!(field(&env, NAME, ".status.accelerator"), "tcg");
    assert_eq!(host("virsh", &["-q", "domid", NAME]), run, "it still runs");
    apply(&env, &original, &[]).ok();
    apply(&env, &original, &[]).ok().prints("unchanged");
    env.kvmctl(["delete", "instance", NAME, "--force"]).ok();
    identity.expect_gone();
}
