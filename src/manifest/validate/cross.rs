//! The rules between the objects of a run: nothing is wanted twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use crate::api::{Object, ObjectKey, PortMapping, Protocol};
use crate::manifest::diagnostic::Diagnostic;
use crate::manifest::origin::{Located, Problem};
use crate::manifest::path::FieldPath;

/// After this many clashes a person has understood.
const ENOUGH: usize = 20;

pub(super) fn check(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    names(objects, found);
    addresses(objects, found);
    ports(objects, found);
}

fn names(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<ObjectKey, &Located<Object>> = HashMap::new();
    for object in objects {
        let Some(key) = object.value.key() else {
            continue;
        };
        match first.entry(key) {
            Entry::Vacant(free) => {
                free.insert(object);
            }
            Entry::Occupied(taken) => {
                let mut problem = Problem::of_value(FieldPath::of("metadata.name"), "");
                problem.message = format!(
                    "{} is given twice; the first is at {}",
                    taken.key(),
                    taken.get().origin
                );
                found.push(object.origin.diagnose(&problem));
            }
        }
    }
}

/// Hardware addresses, and addresses of one network, are each wanted once.
fn addresses(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<String, (usize, String)> = HashMap::new();
    for (owner, object) in objects.iter().enumerate() {
        let Object::Instance(instance) = &object.value else {
            continue;
        };
        for (n, network) in instance.spec.networks.iter().enumerate() {
            let at = FieldPath::of("spec.networks").index(n);
            let mac = network
                .mac
                .as_ref()
                .map(|mac| (at.key("mac"), mac.to_ascii_lowercase()));
            let ip = network
                .ip
                .map(|ip| (at.key("ip"), format!("{ip} in {:?}", network.name)));
            for (path, wanted) in mac.into_iter().chain(ip) {
                let mine = first
                    .entry(wanted.clone())
                    .or_insert_with(|| (owner, label(&object.value)));
                if mine.0 != owner {
                    let rule = format!("{wanted} is wanted by {} too", mine.1);
                    let problem = Problem::of_value(path, rule);
                    found.push(object.origin.diagnose(&problem));
                }
            }
        }
    }
}

struct Claim<'o> {
    owner: usize,
    index: usize,
    mapping: &'o PortMapping,
}

impl Claim<'_> {
    fn last(&self) -> u16 {
        let more = self.mapping.count.saturating_sub(1);
        self.mapping.host.saturating_add(more)
    }
}

fn ports(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut claims: Vec<Claim<'_>> = objects
            .iter()
            .enumerate()
            .flat_map(|(owner, object)| claims_of(owner, &object.value, protocol))
            .collect();
        claims.sort_by_key(|c| (c.mapping.host, c.owner, c.index));
        for (earlier, later) in clashes(&claims) {
            found.push(clash(objects, earlier, later));
        }
    }
}

/// Returns the mappings of an object that ask for certain ports of the host.
fn claims_of(owner: usize, object: &Object, protocol: Protocol) -> Vec<Claim<'_>> {
    let Object::Instance(instance) = object else {
        return Vec::new();
    };
    let mappings = instance.spec.ports.iter().enumerate();
    mappings
        .filter(|(_, m)| m.protocol == protocol && m.host != 0)
        .map(|(index, mapping)| Claim {
            owner,
            index,
            mapping,
        })
        .collect()
}

/// Returns pairs of claims to one port, from claims sorted by their first port.
fn clashes<'c, 'o>(claims: &'c [Claim<'o>]) -> Vec<(&'c Claim<'o>, &'c Claim<'o>)> {
    let mut found = Vec::new();
    let mut open: Vec<&Claim<'_>> = Vec::new();
    for claim in claims {
        open.retain(|o| o.last() >= claim.mapping.host);
        if let Some(taken) = open
            .iter()
            .find(|o| overlap(o.mapping.address, claim.mapping.address))
        {
            let order = |c: &Claim<'_>| (c.owner, c.index);
            let pair = if order(taken) < order(claim) {
                (*taken, claim)
            } else {
                (claim, *taken)
            };
            found.push(pair);
            if found.len() >= ENOUGH {
                break;
            }
        }
        open.push(claim);
    }
    found
}

/// No address means all of them, and so do `0.0.0.0` and `::`.
fn overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
        _ => true,
    }
}

fn clash(objects: &[Located<Object>], earlier: &Claim<'_>, later: &Claim<'_>) -> Diagnostic {
    let path = FieldPath::of("spec.ports").index(later.index);
    let other = if earlier.owner == later.owner {
        format!("spec.ports[{}]", earlier.index)
    } else {
        let owner = &objects[earlier.owner];
        format!("{} at {}", label(&owner.value), owner.origin)
    };
    let rule = format!(
        "{} takes a port of the host that {} of {other} takes too",
        later.mapping, earlier.mapping
    );
    objects[later.owner]
        .origin
        .diagnose(&Problem::of_value(path, rule))
}

fn label(object: &Object) -> String {
    match object.key() {
        Some(key) => key.to_string(),
        None => format!("{}/(generated)", object.kind()),
    }
}
