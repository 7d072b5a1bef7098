//! Describes networks.

use super::Doc;
use crate::api::{LibvirtRulesState, Network, NetworkFirewall, NetworkStatus, Timestamp};
use crate::output::age::age;
use crate::output::style::Role;
use crate::output::table::{Cell, Table};

pub(super) fn body(doc: &mut Doc, o: &Network, now: Timestamp) {
    let Some(status) = &o.status else { return };
    let phase = match &status.reason {
        Some(reason) => format!("{} ({reason})", status.phase),
        None => status.phase.to_string(),
    };
    doc.field("Status", phase);
    doc.maybe("Message", status.message.as_ref());
    doc.field("Managed", if status.managed { "Yes" } else { "No" });
    doc.maybe("Mode", status.mode);
    doc.maybe("CIDR", status.cidr);
    doc.maybe("Gateway", status.gateway);
    doc.maybe("IPv6", status.ipv6);
    doc.maybe("Bridge", status.bridge.as_ref());
    doc.maybe("Device", status.device.as_ref());
    doc.maybe("MTU", status.mtu);
    doc.maybe("DNS domain", status.dns_domain.as_ref());
    doc.maybe("Dynamic range", status.dynamic_range);
    let slots = status.slots;
    doc.maybe(
        "Instance addresses",
        slots.map(|s| format!("{} of {} in use", s.used, s.total)),
    );
    if let Some(autostart) = status.autostart {
        doc.field("Autostart", if autostart { "Yes" } else { "No" });
    }
    if let Some(firewall) = &status.firewall {
        let backend = firewall.backend.as_deref().unwrap_or("none");
        doc.field("Firewall backend", backend);
        doc.field("Rules of libvirt", rules(firewall));
    }
    doc.table("Attached", attached(status));
    doc.table("Reservations", reservations(status));
    doc.table("Leases", leases(status, now));
}

fn rules(firewall: &NetworkFirewall) -> Cell {
    match (firewall.libvirt_rules, &firewall.missing) {
        (LibvirtRulesState::Present, _) => "present".into(),
        (LibvirtRulesState::NotExpected, _) => "none, and none expected".into(),
        (LibvirtRulesState::Missing, what) => {
            let what = what.as_deref().unwrap_or("some");
            let told = format!("missing: {what}; restart libvirt's network daemon");
            Cell::new(told, Role::Bad)
        }
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "<none>".to_owned(), |v| v.to_string())
}

fn attached(status: &NetworkStatus) -> Table {
    let mut table = Table::new(["NAME", "STATE", "ADDRESS", "MAC", "DEVICE", "MANAGED"]);
    for one in &status.attached {
        table.push([
            one.domain.clone(),
            if one.running { "running" } else { "off" }.to_owned(),
            or_none(one.address),
            or_none(one.mac.as_ref()),
            or_none(one.device.as_ref()),
            if one.managed { "Yes" } else { "No" }.to_owned(),
        ]);
    }
    table
}

fn reservations(status: &NetworkStatus) -> Table {
    let mut table = Table::new(["ADDRESS", "MAC", "HOLDER"]);
    for one in &status.reservations {
        table.push([
            one.address.to_string(),
            one.mac.clone(),
            or_none(one.holder.as_ref()),
        ]);
    }
    table
}

fn leases(status: &NetworkStatus, now: Timestamp) -> Table {
    let mut table = Table::new(["ADDRESS", "MAC", "HOSTNAME", "EXPIRES"]);
    for one in &status.leases {
        let ends = one.expires.map_or_else(
            || "never".to_owned(),
            |at| match at > now {
                // The age of the present, seen from the end.
                true => format!("in {}", age(now, at)),
                false => "over".to_owned(),
            },
        );
        table.push([
            one.address.to_string(),
            one.mac.clone(),
            or_none(one.hostname.as_ref()),
            ends,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use crate::api::{Described, Kind, Name, ObjectKey};
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_network_says_who_is_in_it() {
        let described = Described {
            used_by: vec![ObjectKey::new(Kind::Instance, Name::new("web").unwrap())],
            ..Described::new(samples::network("blue"))
        };
        let text = render(&described, samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:                blue
        Kind:                Network
        UID:                 1a2b3c4d-0000-4000-8000-000000000001
        Labels:              <none>
        Annotations:         <none>
        Created:             2024-05-01T10:00:00Z (120m ago)
        Status:              Active
        Managed:             Yes
        Mode:                nat
        CIDR:                10.10.0.0/24
        Gateway:             10.10.0.1
        Bridge:              kvm-1a2b3c4d
        DNS domain:          blue.internal
        Dynamic range:       10.10.0.2-10.10.0.9
        Instance addresses:  1 of 245 in use
        Autostart:           Yes
        Firewall backend:    iptables
        Rules of libvirt:    present
        Attached:
          NAME   STATE     ADDRESS      MAC                 DEVICE   MANAGED
          web    running   10.10.0.10   52:54:00:12:34:56   vnet0    Yes
        Reservations:
          ADDRESS      MAC                 HOLDER
          10.10.0.10   52:54:00:12:34:56   instance/web
        Leases:
          ADDRESS      MAC                 HOSTNAME   EXPIRES
          10.10.0.10   52:54:00:12:34:56   web        in 60m
        Used by:             instance/web
        Events:              <none>
        ");
    }
}
