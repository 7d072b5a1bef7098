//! The layout of kubectl, and that nothing lacks words.

use super::*;
use crate::error::Error;

fn text(path: &str, depth: Depth) -> String {
    explain(path, depth).unwrap().to_string()
}

#[test]
fn a_field_is_explained_as_kubectl_does() {
    insta::assert_snapshot!(text("instance.spec.cpus", Depth::Fields), @r#"
    KIND:       Instance
    VERSION:    kvmctl/v1

    FIELD: cpus <integer>

    DESCRIPTION:
        Number of virtual CPUs, instead of the type's.
    "#);
    insta::assert_snapshot!(text("vm.spec.env", Depth::Fields), @r#"
    KIND:       Instance
    VERSION:    kvmctl/v1

    FIELD: env <[]EnvVar>

    DESCRIPTION:
        Environment of login shells, services and the startup commands.

    FIELDS:
      name	<string> -required-
        Name of the variable.

      value	<string>
        Its value; either this or valueFrom.

      valueFrom	<EnvVarSource>
        Where its value comes from.
    "#);
    insta::assert_snapshot!(text("instances.spec.accelerator", Depth::Fields), @r#"
    KIND:       Instance
    VERSION:    kvmctl/v1

    FIELD: accelerator <string>
    ENUM:
        auto
        kvm
        tcg

    DESCRIPTION:
        How the CPU is run: auto takes KVM only where it works.
    "#);
}

#[test]
fn all_fields_of_a_kind_are_listed() {
    insta::assert_snapshot!(text("i", Depth::Recursive), @r#"
    KIND:       Instance
    VERSION:    kvmctl/v1

    DESCRIPTION:
        A virtual machine.

    FIELDS:
      apiVersion	<string> -required-
      kind	<string> -required-
      metadata	<ObjectMeta> -required-
        name	<string>
        generateName	<string>
        labels	<map[string]string>
        annotations	<map[string]string>
        uid	<string>
        creationTimestamp	<string>
        generation	<integer>
        resourceVersion	<string>
        ownerReferences	<[]OwnerReference>
          kind	<string> -required-
          name	<string> -required-
          uid	<string> -required-
        deletionTimestamp	<string>
      spec	<InstanceSpec> -required-
        image	<string>
        type	<string>
        cpus	<integer>
        memory	<Quantity>
        disk	<Quantity>
        networks	<[]NetworkAttachment>
          name	<string> -required-
          ip	<string>
          mac	<string>
          model	<string>
        volumes	<[]VolumeAttachment>
          name	<string> -required-
          mountPath	<string>
          fs	<string>
          readOnly	<boolean>
          shared	<boolean>
          cache	<string>
          discard	<string>
          io	<string>
          iothread	<string>
        sshKeys	<[]string>
        env	<[]EnvVar>
          name	<string> -required-
          value	<string>
          valueFrom	<EnvVarSource>
            secret	<SecretKeyRef> -required-
              name	<string> -required-
              key	<string> -required-
        run	<[]string>
        command	<[]string>
        userData	<string>
        ports	<[]PortMapping>
        allowPrivilegedPorts	<boolean>
        accelerator	<string>
        firmware	<string>
        tpm	<boolean>
        autostart	<boolean>
      status	<InstanceStatus>
        phase	<string> -required-
        reason	<string>
        message	<string>
        managed	<boolean> -required-
        address	<string>
        addresses	<[]AddressStatus>
          address	<string> -required-
          network	<string>
          mac	<string>
          source	<string> -required-
        conditions	<[]Condition>
          type	<string> -required-
          status	<string> -required-
          reason	<string>
          message	<string>
          lastTransitionTime	<string>
        accelerator	<string>
        cpus	<integer>
        memory	<Quantity>
        disk	<Quantity>
        cloudInit	<CloudInitStatus>
          status	<string> -required-
          stage	<string>
          errors	<[]string>
          source	<string>
        observedGeneration	<integer>
    "#);
}

#[test]
fn every_field_of_every_kind_has_words_and_can_be_reached() {
    fn walk(path: &str, fields: &[ExplainedField]) {
        for field in fields {
            let path = format!("{path}.{}", field.name);
            assert!(!field.description.is_empty(), "{path}");
            explain(&path, Depth::Fields).unwrap();
            walk(&path, &field.fields);
        }
    }
    for row in KINDS {
        for noun in [row.singular, row.plural].iter().chain(row.aliases) {
            assert_eq!(explain(noun, Depth::Fields).unwrap().kind, row.kind);
        }
        walk(
            row.singular,
            &explain(row.singular, Depth::Recursive).unwrap().fields,
        );
    }
}

#[test]
fn what_does_not_exist_is_told_with_what_does() {
    let told = |path| {
        let error = Error::from(explain(path, Depth::Fields).unwrap_err());
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        format!("{} | {}", error.message(), error.hints().join(" "))
    };
    let all = [
        "instance.zz",
        "instance.spec.cpu",
        "instanc",
        "zz.a",
        "",
        "vm.",
        "vm.spec.cpus.x",
    ]
    .map(told);
    insta::assert_snapshot!(all.join("\n"), @r#"
    field "zz" does not exist | 
    field "cpu" does not exist | did you mean "instance.spec.cpus"?
    no resource type "instanc" | did you mean "instance"?
    no resource type "zz" | kvmctl api-resources
    no resource type "" | kvmctl api-resources
    field "" does not exist | 
    field "x" does not exist |
    "#);
}
