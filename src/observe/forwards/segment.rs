//! What the rules of forwards must know of a network.

use std::collections::BTreeMap;

use super::wanted::Astray;
use crate::error::Result;
use crate::libvirt::xml::network::NetworkXml;
use crate::net::forward::{Bridge, LibvirtRules, Segment};
use crate::observe::World;

/// What is looked up once for all forwards of a run.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    segments: BTreeMap<String, Result<Segment, Astray>>,
}

impl World {
    /// Looks up what rules must know of a network.
    pub(super) fn segment(
        &self,
        name: &str,
        lookup: &mut Lookup,
    ) -> Result<Result<Segment, Astray>> {
        if let Some(known) = lookup.segments.get(name) {
            return Ok(known.clone());
        }
        let found = match self.host()?.network(name) {
            // That of one which is not active is known as well, and its rules need not go.
            Ok(network) => segment_of(&network.definition()?),
            Err(e) if e.is_not_found() => Err(Astray::new(
                "NetworkNotFound",
                format!("there is no network {name:?}"),
            )),
            Err(e) => return Err(e.into()),
        };
        lookup.segments.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

pub(in crate::observe) fn segment_of(xml: &NetworkXml) -> Result<Segment, Astray> {
    let astray = |why: &str| Astray::new("NoRules", format!("network {:?} {why}", xml.name));
    let bridge = xml.bridge.as_ref().and_then(|b| b.name.as_deref());
    let bridge: Bridge = bridge
        .ok_or_else(|| astray("has no bridge of its own"))?
        .parse()
        .map_err(|e: crate::api::InvalidName| astray(&format!("cannot be named in a rule: {e}")))?;
    let subnet = xml
        .subnet()
        .ok_or_else(|| astray("has no IPv4 range of libvirt's"))?;
    let mode = xml.forward.as_ref();
    let libvirt = match mode.map(|f| f.mode.as_deref().unwrap_or("nat")) {
        Some("nat") => LibvirtRules::Nat,
        Some("route") => LibvirtRules::Filter,
        None => LibvirtRules::Isolated,
        Some(_) => LibvirtRules::None,
    };
    Ok(Segment {
        bridge,
        subnet: subnet.trunc().into(),
        libvirt,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_must_know_is_read_from_the_network() {
        let network = |inside: &str| {
            let xml = format!("<network><name>n</name>{inside}</network>");
            segment_of(&NetworkXml::from_xml(&xml).unwrap())
        };
        let ip = "<ip address='10.0.0.1' netmask='255.255.255.0'/>";
        let bridge = "<bridge name='virbr7'/>";
        for (forward, rules) in [
            ("<forward mode='nat'/>", LibvirtRules::Nat),
            ("<forward/>", LibvirtRules::Nat),
            ("<forward mode='route'/>", LibvirtRules::Filter),
            ("", LibvirtRules::Isolated),
            ("<forward mode='open'/>", LibvirtRules::None),
        ] {
            let found = network(&format!("{forward}{bridge}{ip}")).unwrap();
            assert_eq!(found.libvirt, rules, "{forward}");
            assert_eq!(found.subnet.to_string(), "10.0.0.0/24");
        }
        assert_eq!(network(ip).unwrap_err().reason, "NoRules");
        assert_eq!(network(bridge).unwrap_err().reason, "NoRules");
    }
}
