//! From a spec to a definition, and from one definition to the next.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::api::{AddressRange, Name, NetworkSpec, Uid};
use crate::error::{Error, Result};
use crate::libvirt::ObjectMetadata;
use crate::libvirt::xml::network::NetworkXml;
use crate::libvirt::xml::network_params::{DhcpParams, Ipv4Params, NetworkParams};
use crate::libvirt::xml::tree::Element;
use crate::net::subnet::Range;
use crate::net::{SlotPlan, slots};
use crate::observe::World;

/// What of a network was chosen for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Its range and the host's address in it.
    pub(super) ipv4: Option<(Ipv4Net, Ipv4Addr)>,
    /// Its bridge.
    pub(super) bridge: Option<String>,
}

/// Builds the definition of a network.
///
/// # Errors
/// A range that leaves no address for instances.
pub(super) fn build(
    name: &Name,
    uid: Uid,
    spec: &NetworkSpec,
    place: &Place,
    metadata: ObjectMetadata,
) -> Result<NetworkXml> {
    let own = spec.mode().has_own_bridge();
    let ipv4 = match place.ipv4 {
        Some((cidr, gateway)) => Some(Ipv4Params {
            cidr,
            gateway,
            dhcp: dhcp(uid, spec, cidr, gateway)?,
        }),
        None => None,
    };
    let domain = spec.dns_domain.clone();
    let params = NetworkParams {
        name: name.to_string(),
        uid,
        mode: spec.mode(),
        bridge: place.bridge.clone(),
        device: spec.device.clone(),
        ipv4,
        ipv6: spec.ipv6,
        domain: own.then(|| domain.unwrap_or_else(|| default_domain(name))),
        mtu: spec.mtu,
        metadata: Some(metadata),
    };
    Ok(params.build())
}

/// Under `internal`, which nobody will ever own (ICANN's resolution 2024.07.29.06): a bare name of a
/// network might be a domain of the world's, which its guests would then never reach.
fn default_domain(name: &Name) -> String {
    format!("{name}.internal")
}

fn dhcp(
    uid: Uid,
    spec: &NetworkSpec,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
) -> Result<Option<DhcpParams>> {
    if !spec.has_dhcp() {
        return Ok(None);
    }
    let said = spec.dhcp.as_ref().and_then(|d| d.range);
    let plan = match said {
        Some(AddressRange { start, end }) => {
            slots::plan_around(uid, cidr, gateway, Range { start, end })?
        }
        None => slots::plan(uid, cidr, gateway, slots::OWN_NETWORK_DYNAMIC)?,
    };
    if plan.hosts.is_empty() {
        return Err(Error::usage(format!(
            "spec.dhcp.range leaves no address of {cidr} for instances"
        )));
    }
    Ok(Some(dhcp_params(&plan)))
}

/// Writes a division of addresses as a definition has it.
pub(in crate::engine) fn dhcp_params(plan: &SlotPlan) -> DhcpParams {
    let hosts = plan.hosts.iter().map(|h| (h.mac.to_string(), h.ip));
    let ranges = plan.ranges().into_iter().map(|r| AddressRange {
        start: r.start,
        end: r.end,
    });
    DhcpParams {
        ranges: ranges.collect(),
        hosts: hosts.collect(),
    }
}

/// Changes a definition from what one spec comes to, to what another one does. What is the same in
/// both stays as somebody may have edited it, and so does everything that no spec can say.
///
/// # Errors
/// What cannot be read as XML.
pub(super) fn edit(text: &str, before: &NetworkXml, after: &NetworkXml) -> Result<String> {
    let mut root = Element::parse(text)?;
    let (before, after) = (
        Element::parse(&before.to_xml()?)?,
        Element::parse(&after.to_xml()?)?,
    );
    for name in ["forward", "mtu", "domain"] {
        let wanted = after.get(name);
        if before.get(name) == wanted {
            continue;
        }
        root.remove_where(|e| e.name == name);
        root.children.extend(
            wanted
                .cloned()
                .map(crate::libvirt::xml::tree::Node::Element),
        );
    }
    for family in ["ipv4", "ipv6"] {
        let wanted = ip(&after, family);
        if ip(&before, family) == wanted {
            continue;
        }
        let kept = ip(&root, family).map(own_hosts).unwrap_or_default();
        root.remove_where(|e| is_ip(e, family));
        if let Some(mut wanted) = wanted.cloned() {
            if let Some(dhcp) = wanted.get_mut("dhcp") {
                merge_hosts(dhcp, kept);
            }
            root.push(wanted);
        }
    }
    if let Some(metadata) = crate::libvirt::xml::object::ObjectMetadata::find_in(&after)? {
        metadata.put_into(&mut root, "uuid")?;
    }
    Ok(root.to_string())
}

fn is_ip(e: &Element, family: &str) -> bool {
    e.name == "ip" && e.attribute("family").unwrap_or("ipv4") == family
}

fn ip<'a>(root: &'a Element, family: &str) -> Option<&'a Element> {
    root.elements().find(|e| is_ip(e, family))
}

/// The entries of a definition that stand there now.
fn own_hosts(ip: &Element) -> Vec<Element> {
    let dhcp = ip.get("dhcp").into_iter();
    dhcp.flat_map(|d| d.children_named("host").cloned())
        .collect()
}

/// Keeps entries that have a name: reservations of single instances, or of somebody else's guests.
fn merge_hosts(dhcp: &mut Element, kept: Vec<Element>) {
    for host in kept.into_iter().filter(|h| h.attribute("name").is_some()) {
        let ip = host.attribute("ip").map(str::to_owned);
        dhcp.remove_where(|e| e.name == "host" && e.attribute("ip").map(str::to_owned) == ip);
        dhcp.push(host);
    }
}

/// A range of addresses that somebody has, and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct UsedRange {
    /// The range.
    pub(in crate::engine) net: Ipv4Net,
    /// Who has it, as `network "default"` or `the route via eth0`.
    pub(in crate::engine) by: String,
}

/// Collects the ranges of libvirt's networks, and, on this machine, of its routes and addresses.
/// Networks come first: the route to one is its own.
///
/// # Errors
/// What the daemon refuses.
pub(in crate::engine) fn used_ranges(world: &World) -> Result<Vec<UsedRange>> {
    let host = world.host()?;
    let mut used = Vec::new();
    for network in host.networks()? {
        match network.definition() {
            Ok(definition) => used.extend(definition.subnet().map(|net| UsedRange {
                net: net.trunc(),
                by: format!("network {:?}", definition.name),
            })),
            // Undefined meanwhile.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
    }
    if host.is_local() {
        used.extend(
            crate::host::taken_ranges()
                .into_iter()
                .map(|taken| UsedRange {
                    net: taken.net,
                    by: taken.by,
                }),
        );
    }
    Ok(used)
}

/// Returns the name of the bridge that a network of this identity has: at most 15 characters, as
/// Linux wants it, however long the network's own name is.
pub(super) fn bridge_name(uid: Uid) -> String {
    format!("kvm-{}", uid.short())
}
