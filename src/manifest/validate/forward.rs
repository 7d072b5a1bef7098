//! The rules of forwards, and of the ports in an instance's own list.

use crate::api::{PortForwardSpec, PortMapping};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

/// As many ports as one object may take.
const MAX_COUNT: u16 = 1000;
/// Ports below are those of the host's own services.
const FIRST_UNPRIVILEGED: u16 = 1024;

pub(super) fn check(spec: &PortForwardSpec, problems: &mut Vec<Problem>) {
    let (host, guest) = (
        FieldPath::of("spec.hostPort"),
        FieldPath::of("spec.guestPort"),
    );
    if spec.count == Some(0) {
        let rule = "must be at least 1";
        problems.push(Problem::of_value(FieldPath::of("spec.count"), rule));
        return;
    }
    let allowed = spec.allow_privileged_ports == Some(true);
    mapping(&host, &guest, &spec.mapping(), allowed, problems);
}

/// Checks what every mapping must keep to, wherever it stands.
pub(super) fn mapping(
    host: &FieldPath,
    guest: &FieldPath,
    mapping: &PortMapping,
    privileged: bool,
    problems: &mut Vec<Problem>,
) {
    let mut refuse = |at: &FieldPath, rule: String| {
        problems.push(Problem::of_value(at.clone(), rule));
    };
    let more = u32::from(mapping.count) - 1;
    if mapping.guest == 0 {
        refuse(guest, "a guest port is between 1 and 65535".to_owned());
    }
    if mapping.count > MAX_COUNT {
        refuse(
            host,
            format!("{} ports in a row, at most {MAX_COUNT}", mapping.count),
        );
    } else if u32::from(mapping.guest) + more > 65535 || u32::from(mapping.host) + more > 65535 {
        refuse(host, "the last port is above 65535".to_owned());
    }
    if let Some(address) = mapping.address {
        if address.is_multicast() {
            refuse(host, format!("{address} is a multicast address"));
        } else if address.to_string() == "255.255.255.255" {
            refuse(host, format!("{address} is no host's address"));
        }
    }
    if mapping.host != 0 && mapping.host < FIRST_UNPRIVILEGED && !privileged {
        let which = if mapping.takes(mapping.protocol, mapping.address, 22) {
            "takes port 22, by which one logs in to the host"
        } else {
            "takes a port below 1024, where the host's own services are"
        };
        let problem = Problem::of_value(host.clone(), format!("{mapping} {which}"));
        problems.push(
            problem.help("spec.allowPrivilegedPorts: true (--force on the command line) allows it"),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a rule is made of has a type, field by field; a network's name is only looked up.
    #[test]
    fn hostile_texts_are_nothing_that_a_rule_is_made_of() {
        let good = json!({
            "instance": "web", "network": "blue", "address": "127.0.0.1", "hostPort": 8080,
            "guestPort": 80, "count": 1, "protocol": "tcp", "localhost": true,
            "allowPrivilegedPorts": false,
        });
        assert!(serde_json::from_value::<PortForwardSpec>(good.clone()).is_ok());
        let fields = good.as_object().unwrap().keys();
        for field in fields.filter(|field| *field != "network") {
            for text in [
                "",
                "80\n-A INPUT -j ACCEPT",
                "8080 -j ACCEPT",
                "tcp; flush ruleset",
                "127.0.0.1/0",
                "127.0.0.1\n",
                "web\" accept",
                "$(id)",
                "-I",
            ] {
                let mut spec = good.clone();
                spec[field] = text.into();
                let read = serde_json::from_value::<PortForwardSpec>(spec);
                assert!(read.is_err(), "{field}: {text:?}");
                let listed = format!("8080:80{text}").parse::<PortMapping>();
                assert!(listed.is_err() || text.is_empty(), "{text:?}");
            }
        }
    }
}
