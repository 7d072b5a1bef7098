//! The rules of an instance.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::forward;
use super::others::{MAX_VALUE, MAX_VALUES, cpus, disk, memory};
use super::text::{control_character, ssh_key_problem};
use crate::api::{EnvVar, Instance, InstanceSpec, NetworkAttachment};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

const MAX_NETWORKS: usize = 8;
const MAX_PORTS: usize = 100;
const MAX_USER_DATA: usize = 512 << 10;
/// Longer names do not fit where libvirt puts them.
const MAX_REFERENCE: usize = 255;

pub(super) fn check(instance: &Instance, problems: &mut Vec<Problem>) {
    let spec = &instance.spec;
    match &spec.image {
        Some(image) => reference("spec.image", image, problems),
        // An adopted instance has none; its printed form, which has a uid, can be applied again.
        None if instance.metadata.uid.is_some() => {}
        None => {
            let problem = Problem::of_value(FieldPath::of("spec.image"), "not set");
            problems.push(problem.help("kvmctl images list shows what there is"));
        }
    }
    size(spec, problems);
    networks(&spec.networks, problems);
    super::volume::attachments(&spec.volumes, problems);
    keys(&spec.ssh_keys, problems);
    env(&spec.env, problems);
    startup(spec, problems);
    if spec.ports.len() > MAX_PORTS {
        let rule = format!("{} mappings, at most {MAX_PORTS}", spec.ports.len());
        problems.push(Problem::of_value(FieldPath::of("spec.ports"), rule));
    }
    for (n, mapping) in spec.ports.iter().enumerate() {
        let at = FieldPath::of("spec.ports").index(n);
        let allowed = spec.allow_privileged_ports == Some(true);
        forward::mapping(&at, &at, mapping, allowed, problems);
    }
}

fn size(spec: &InstanceSpec, problems: &mut Vec<Problem>) {
    if let Some(name) = &spec.instance_type {
        reference("spec.type", name, problems);
    }
    if let Some(number) = spec.cpus {
        cpus("spec.cpus", number, problems);
    }
    if let Some(size) = spec.memory {
        memory("spec.memory", size, problems);
    }
    if let Some(size) = spec.disk {
        disk("spec.disk", size, problems);
    }
}

fn reference(path: &str, text: &str, problems: &mut Vec<Problem>) {
    if let Some(rule) = reference_problem(text) {
        problems.push(Problem::of_value(FieldPath::of(path), rule));
    }
}

fn reference_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("empty")
    } else if text.len() > MAX_REFERENCE {
        Some("longer than 255 bytes")
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Some("has blanks or control characters")
    } else if text.starts_with('-') {
        Some("starts with '-'")
    } else {
        None
    }
}

fn networks(networks: &[NetworkAttachment], problems: &mut Vec<Problem>) {
    let list = FieldPath::of("spec.networks");
    if networks.len() > MAX_NETWORKS {
        let rule = format!("{} interfaces, at most {MAX_NETWORKS}", networks.len());
        problems.push(Problem::of_value(list.clone(), rule));
    }
    let (mut names, mut macs) = (HashSet::new(), HashSet::new());
    for (n, network) in networks.iter().enumerate() {
        let at = list.index(n);
        if let Some(rule) = reference_problem(&network.name) {
            problems.push(Problem::of_value(at.key("name"), rule));
        } else if !names.insert(network.name.as_str()) {
            let rule = format!("{:?} is in the list already", network.name);
            problems.push(Problem::of_value(at.key("name"), rule));
        }
        if let Some(mac) = &network.mac {
            if let Some(rule) = mac_problem(mac) {
                problems.push(Problem::of_value(at.key("mac"), rule));
            } else if !macs.insert(mac.to_ascii_lowercase()) {
                problems.push(Problem::of_value(at.key("mac"), "is in the list already"));
            }
        }
        if let Some(rule) = network.ip.and_then(ip_problem) {
            problems.push(Problem::of_value(at.key("ip"), rule));
        }
    }
}

fn mac_problem(mac: &str) -> Option<&'static str> {
    let octets: Vec<u8> = mac
        .split(':')
        .filter(|o| o.len() == 2 && super::text::is_hex(o))
        .filter_map(|o| u8::from_str_radix(o, 16).ok())
        .collect();
    let well_formed = octets.len() == 6 && mac.len() == 17;
    match octets.first() {
        Some(first) if well_formed => {
            if first & 1 == 1 {
                Some("is a multicast address; write one as 52:54:00:12:34:56")
            } else if *first == 0xfe {
                Some("begins with fe, which libvirt keeps for the host's side")
            } else if octets.iter().all(|o| *o == 0) {
                Some("is no address; write one as 52:54:00:12:34:56")
            } else {
                None
            }
        }
        _ => Some("is not a hardware address; write one as 52:54:00:12:34:56"),
    }
}

fn ip_problem(ip: Ipv4Addr) -> Option<String> {
    let what = if ip.is_loopback() {
        "a loopback"
    } else if ip.is_multicast() {
        "a multicast"
    } else if ip.is_broadcast() || ip.is_unspecified() || ip.octets()[0] == 0 {
        "no host's"
    } else if ip.octets()[0] >= 240 {
        "a reserved"
    } else {
        return None;
    };
    Some(format!("{ip} is {what} address"))
}

fn keys(keys: &[String], problems: &mut Vec<Problem>) {
    for (n, key) in keys.iter().enumerate() {
        if let Some(rule) = ssh_key_problem(key) {
            problems.push(Problem::of_value(
                FieldPath::of("spec.sshKeys").index(n),
                rule,
            ));
        }
    }
}

fn env(env: &[EnvVar], problems: &mut Vec<Problem>) {
    let list = FieldPath::of("spec.env");
    let mut names = HashSet::new();
    let mut total = 0;
    for (n, variable) in env.iter().enumerate() {
        let at = list.index(n);
        if !names.insert(variable.name.as_str()) {
            let rule = format!("\"{}\" is in the list already", variable.name);
            problems.push(Problem::of_value(at.key("name"), rule));
        }
        let value = variable.value.as_deref().unwrap_or_default();
        let bytes = variable.name.as_str().len() + value.len() + 2;
        total += bytes;
        match (&variable.value, &variable.value_from) {
            (Some(_), None) => value_rules(&at, value, bytes, problems),
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                let rule = "has both value and valueFrom; write one of them";
                problems.push(Problem::of_value(at, rule));
            }
            (None, None) => {
                let rule = "has neither value nor valueFrom; an empty value is \"\"";
                problems.push(Problem::of_value(at, rule));
            }
        }
    }
    if total >= MAX_VALUES {
        let rule = format!("{total} bytes in all, less than {MAX_VALUES} are possible");
        problems.push(Problem::of_value(list, rule));
    }
}

fn value_rules(at: &FieldPath, value: &str, bytes: usize, problems: &mut Vec<Problem>) {
    if let Some(c) = control_character(value) {
        let rule = format!(
            "control character {c}; only tab and newline get through the guest's environment files"
        );
        problems.push(Problem::of_value(at.key("value"), rule));
    } else if bytes > MAX_VALUE {
        let rule = format!("{bytes} bytes, at most {MAX_VALUE} can be handed to a process");
        problems.push(Problem::of_value(at.key("value"), rule));
    }
}

fn startup(spec: &InstanceSpec, problems: &mut Vec<Problem>) {
    for (n, line) in spec.run.iter().enumerate() {
        let at = FieldPath::of("spec.run").index(n);
        if line.trim().is_empty() {
            problems.push(Problem::of_value(at, "an empty line"));
        } else if line.contains('\0') {
            problems.push(Problem::of_value(
                at,
                "a NUL character, which no shell can read",
            ));
        }
    }
    for (n, argument) in spec.command.iter().enumerate() {
        let at = FieldPath::of("spec.command").index(n);
        if n == 0 && argument.trim().is_empty() {
            problems.push(Problem::of_value(at, "the program's name is empty"));
        } else if argument.contains('\0') {
            let rule = "a NUL character, which no argument can hold";
            problems.push(Problem::of_value(at, rule));
        }
    }
    let bytes = spec.user_data.as_deref().map_or(0, str::len);
    if bytes > MAX_USER_DATA {
        let rule = format!("{bytes} bytes, at most {MAX_USER_DATA}");
        problems.push(Problem::of_value(FieldPath::of("spec.userData"), rule));
    }
}
