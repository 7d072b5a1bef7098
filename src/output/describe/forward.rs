//! Describes forwards.

use super::Doc;
use crate::api::PortForward;
use crate::output::columns::forward::{listen, phase, target};

pub(super) fn body(doc: &mut Doc, o: &PortForward) {
    doc.field("Instance", o.spec.instance.as_str());
    if let Some(owner) = o.owner() {
        let told = format!("spec.ports of instance/{owner} (kvmctl edit instance {owner})");
        doc.field("Kept in", told);
    }
    doc.maybe("Wanted network", o.spec.network.as_ref());
    doc.field("Listens at", listen(o));
    doc.field("Leads to", target(o));
    let localhost = o.spec.localhost.unwrap_or(true);
    doc.field("At localhost", if localhost { "Yes" } else { "No" });
    let Some(status) = &o.status else { return };
    doc.field("Status", phase(o));
    doc.maybe("Reason", status.reason.as_ref());
    doc.maybe("Message", status.message.as_ref());
    doc.maybe("Network", status.network.as_ref());
    doc.maybe("Carried by", status.backend.as_ref());
    if let [only] = status.ip_families.as_slice() {
        doc.field("IP families", format!("{only} only"));
    }
    doc.maybe("Connections", status.connections);
    doc.maybe("Packets", status.packets);
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_forward_says_where_it_leads_and_how_it_is() {
        let described = Described::new(samples::forward("web-80"));
        let text = render(&described, samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:          web-80
        Kind:          PortForward
        UID:           <none>
        Labels:        <none>
        Annotations:   <none>
        Created:       2024-05-01T11:00:00Z (60m ago)
        Instance:      web
        Listens at:    *:20080/tcp
        Leads to:      192.168.122.201:80
        At localhost:  Yes
        Status:        Stale
        Reason:        AddressChanged
        Message:       the rules lead to 192.168.122.9
        Network:       default
        Carried by:    iptables
        Connections:   2
        Packets:       18
        Events:        <none>
        ");
    }
}
