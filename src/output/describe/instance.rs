//! Describes instances.

use super::Doc;
use crate::api::{
    Condition, ConditionStatus, Described, DiskDetail, EnvVar, Instance, InstanceDetails,
    InstanceStatus, NicDetail, Phase, Timestamp,
};
use crate::output::age::age_or_unknown;
use crate::output::size::{bytes, size};
use crate::output::style::Role;
use crate::output::table::{Cell, Table};

pub(super) fn body(doc: &mut Doc, o: &Instance, described: &Described, now: Timestamp) {
    let nothing = InstanceDetails::default();
    let details = described.instance.as_ref().unwrap_or(&nothing);
    state(doc, o, details);
    hardware(doc, o);
    doc.list("Addresses", addresses(o));
    doc.section("Disks", disks(&details.disks));
    doc.section("Interfaces", nics(&details.nics));
    doc.list("Ports", o.spec.ports.iter().map(ToString::to_string));
    if !details.forwards.is_empty() {
        doc.list("Forwards", details.forwards.clone());
    }
    boot(doc, o, details);
    conditions(doc, o, now);
    if !details.host.is_empty() {
        let mut host = Doc::default();
        for (key, value) in &details.host {
            host.field(key, value.as_str());
        }
        doc.section("Host", host);
    }
}

fn state(doc: &mut Doc, o: &Instance, details: &InstanceDetails) {
    let Some(status) = &o.status else {
        doc.field("Status", "<unknown>");
        return;
    };
    let ready = o.ready().is_some_and(|c| c.status == ConditionStatus::True);
    let role = match status.phase {
        Phase::Running if ready => Role::Good,
        Phase::Failed | Phase::Crashed => Role::Bad,
        Phase::Stopped | Phase::Paused => Role::Plain,
        _ => Role::Warning,
    };
    doc.field("Status", Cell::new(status.phase.to_string(), role));
    doc.maybe("Reason", status.reason.as_ref());
    doc.maybe("Message", status.message.as_ref());
    doc.maybe("Blocked by", details.blocker.as_ref());
    doc.maybe("Domain state", details.domain_state.as_ref());
    doc.field(
        "Managed",
        if status.managed {
            "Yes"
        } else {
            "No (made outside of kvmctl)"
        },
    );
}

fn hardware(doc: &mut Doc, o: &Instance) {
    let none = || "<none>".to_owned();
    let status = o.status.as_ref();
    doc.field("Image", o.spec.image.clone().unwrap_or_else(none));
    doc.field("Type", o.spec.instance_type.clone().unwrap_or_else(none));
    doc.maybe("CPUs", status.and_then(|s| s.cpus).or(o.spec.cpus));
    doc.maybe(
        "Memory",
        status.and_then(|s| s.memory).or(o.spec.memory).map(size),
    );
    doc.maybe("Accelerator", status.and_then(|s| s.accelerator));
    doc.maybe(
        "Autostart",
        o.spec.autostart.map(|on| if on { "Yes" } else { "No" }),
    );
}

fn addresses(o: &Instance) -> Vec<String> {
    let all = o.status.iter().flat_map(|s| &s.addresses);
    all.map(|a| {
        let network = a
            .network
            .as_ref()
            .map_or_else(String::new, |n| format!(" in {n}"));
        format!("{}{network} ({})", a.address, a.source)
    })
    .collect()
}

fn disks(disks: &[DiskDetail]) -> Doc {
    let mut doc = Doc::default();
    for disk in disks {
        let mut one = Doc::default();
        one.field("Source", disk.source.as_str());
        one.field("Format", disk.format.as_str());
        one.maybe("Capacity", disk.capacity.map(size));
        one.maybe("On host", disk.allocation.map(bytes));
        if !disk.chain.is_empty() {
            one.list("Backed by", disk.chain.clone());
        }
        doc.section(disk.target.as_str(), one);
    }
    doc
}

fn nics(nics: &[NicDetail]) -> Doc {
    let mut doc = Doc::default();
    for nic in nics {
        let mut one = Doc::default();
        one.field("MAC", nic.mac.as_str());
        one.maybe("Model", nic.model.as_ref());
        one.maybe("Device", nic.device.as_ref());
        one.list("Addresses", nic.addresses.clone());
        doc.section(nic.network.as_str(), one);
    }
    doc
}

fn boot(doc: &mut Doc, o: &Instance, details: &InstanceDetails) {
    doc.list("Environment", o.spec.env.iter().map(env_line));
    doc.list("Run", o.spec.run.clone());
    if !o.spec.command.is_empty() {
        doc.list("Command", o.spec.command.clone());
    }
    if let Some(user_data) = &o.spec.user_data {
        doc.field("User data", user_data_line(user_data));
    }
    let mut cloud_init = Doc::default();
    if let Some(seen) = o
        .status
        .as_ref()
        .and_then(|s: &InstanceStatus| s.cloud_init.as_ref())
    {
        let role = match seen.status.as_str() {
            "done" => Role::Good,
            "error" => Role::Bad,
            _ => Role::Plain,
        };
        cloud_init.field("Status", Cell::new(seen.status.as_str(), role));
        cloud_init.maybe("Stage", seen.stage.as_ref());
        cloud_init.maybe("Told by", seen.source.as_ref());
        if !seen.errors.is_empty() {
            cloud_init.list("Errors", seen.errors.clone());
        }
    }
    if let Some(seed) = &details.seed {
        cloud_init.field("Seed", format!("{} ({})", seed.source, seed.state));
    }
    doc.section("Cloud-init", cloud_init);
}

/// User-data may hold passwords: only its type and size are shown.
fn user_data_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let kind = match first.strip_prefix("#!") {
        Some(_) => "a script",
        None if first.starts_with("#cloud-config") => "#cloud-config",
        None if first.starts_with('#') => "cloud-init parts",
        None => "text",
    };
    format!("{kind}, {} bytes", text.len())
}

/// A value that comes from a secret is never shown, only where it comes from.
fn env_line(var: &EnvVar) -> String {
    match (&var.value, &var.value_from) {
        (_, Some(from)) => format!(
            "{}: <from secret/{} key {}>",
            var.name, from.secret.name, from.secret.key
        ),
        (Some(value), None) => format!("{}: {value}", var.name),
        (None, None) => format!("{}: <unset>", var.name),
    }
}

fn conditions(doc: &mut Doc, o: &Instance, now: Timestamp) {
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"]);
    for condition in o.status.iter().flat_map(|s| &s.conditions) {
        table.push(condition_row(condition, now));
    }
    doc.table("Conditions", table);
}

fn condition_row(condition: &Condition, now: Timestamp) -> [Cell; 5] {
    let (word, role) = match condition.status {
        ConditionStatus::True => ("True", Role::Good),
        ConditionStatus::False => ("False", Role::Warning),
        ConditionStatus::Unknown => ("Unknown", Role::Plain),
    };
    let since = age_or_unknown(condition.last_transition_time, now);
    let text = |value: &Option<String>| Cell::from(value.as_deref().unwrap_or_default());
    [
        condition.kind.as_str().into(),
        Cell::new(word, role),
        text(&condition.reason),
        since.into(),
        text(&condition.message),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EventLevel, EventLine, Quantity, SeedDetail};
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    fn described(now: Timestamp) -> Described {
        let event = |ago: i64, reason: &str, message: &str| EventLine {
            at: Timestamp::from_second(now.as_second() - ago),
            count: 1,
            level: EventLevel::Normal,
            reason: reason.into(),
            message: message.into(),
        };
        let details = InstanceDetails {
            domain_state: Some("running (booted)".into()),
            disks: vec![DiskDetail {
                target: "vda".into(),
                source: "default/web.7f3a9c2e.qcow2".into(),
                format: "qcow2".into(),
                capacity: Some(Quantity::gib(8)),
                allocation: Some(412_000_000),
                chain: vec!["/var/lib/libvirt/images/base.qcow2 (qcow2)".into()],
            }],
            nics: vec![NicDetail {
                network: "default".into(),
                mac: "52:54:00:12:34:56".into(),
                addresses: vec!["192.168.122.201 (reservation)".into()],
                ..NicDetail::default()
            }],
            seed: Some(SeedDetail {
                source: "default/web.7f3a9c2e.iso".into(),
                state: "without secrets".into(),
            }),
            host: vec![("URI".into(), "qemu:///system".into())],
            ..InstanceDetails::default()
        };
        Described {
            instance: Some(details),
            events: vec![
                event(5, "Ready", "cloud-init done"),
                event(7200, "Created", "instance created\x1b]0;x\x07"),
            ],
            ..Described::new(samples::instance("web"))
        }
    }

    #[test]
    fn everything_about_an_instance_with_events_last() {
        let now = samples::ctx().now;
        let text = render(&described(now), now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:          web
        Kind:          Instance
        UID:           7f3a9c2e-0000-4000-8000-000000000001
        Labels:        app=shop
                       tier=web
        Annotations:   <none>
        Created:       2024-05-01T10:00:00Z (120m ago)
        Status:        Running
        Domain state:  running (booted)
        Managed:       Yes
        Image:         debian-12
        Type:          t2.micro
        CPUs:          1
        Memory:        1Gi
        Accelerator:   tcg
        Addresses:     192.168.122.201 in default (reservation)
        Disks:
          vda:
            Source:     default/web.7f3a9c2e.qcow2
            Format:     qcow2
            Capacity:   8Gi
            On host:    392Mi
            Backed by:  /var/lib/libvirt/images/base.qcow2 (qcow2)
        Interfaces:
          default:
            MAC:        52:54:00:12:34:56
            Addresses:  192.168.122.201 (reservation)
        Ports:         8080:80
        Environment:   GREETING: hello
        Run:           <none>
        Cloud-init:
          Seed:  default/web.7f3a9c2e.iso (without secrets)
        Conditions:
          TYPE    STATUS   REASON          AGE         MESSAGE
          Ready   True     CloudInitDone   <unknown>   <none>
        Host:
          URI:  qemu:///system
        Events:
          TYPE     REASON    AGE    MESSAGE
          Normal   Created   120m   instance created\x1b]0;x\x07
          Normal   Ready     5s     cloud-init done
        ");
    }

    #[test]
    fn what_is_not_known_is_none_and_nothing_panics() {
        let new = Described::new(samples::bare_instance("new"));
        let text = render(&new, samples::ctx().now, Paint::Off);
        assert!(text.contains("Status:       <unknown>"), "{text}");
        assert!(text.ends_with("Events:       <none>\n"), "{text}");
    }

    #[test]
    fn a_secret_is_shown_by_where_it_is() {
        let mut o = samples::instance("web");
        o.spec.env = serde_json::from_value(serde_json::json!([
            {"name": "PW", "valueFrom": {"secret": {"name": "db", "key": "PASSWORD"}}},
            {"name": "A", "value": "b"},
        ]))
        .unwrap();
        let lines: Vec<String> = o.spec.env.iter().map(env_line).collect();
        assert_eq!(lines, ["PW: <from secret/db key PASSWORD>", "A: b"]);
    }
}
