//! The rules between the objects of a run: nothing is wanted twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::api::{BalancerSocket, Object, ObjectKey, PortMapping, Protocol};
use crate::manifest::diagnostic::Diagnostic;
use crate::manifest::origin::{Located, Problem};
use crate::manifest::path::FieldPath;

/// After this many clashes a person has understood.
const ENOUGH: usize = 20;

pub(super) fn check(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    names(objects, found);
    addresses(objects, found);
    ports(objects, found);
    balancers(objects, found);
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

/// Ports of the host that an object asks for.
struct Claim {
    owner: usize,
    field: FieldPath,
    index: usize,
    mapping: PortMapping,
}

impl Claim {
    const fn order(&self) -> (usize, usize) {
        (self.owner, self.index)
    }
}

fn ports(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut claims: Vec<Claim> = objects
            .iter()
            .enumerate()
            .flat_map(|(owner, object)| claims_of(owner, &object.value))
            .filter(|c| c.mapping.protocol == protocol && c.mapping.host != 0)
            .collect();
        claims.sort_by_key(|c| (c.mapping.host, c.owner, c.index));
        for (earlier, later) in clashes(&claims) {
            found.push(clash(objects, earlier, later));
        }
    }
}

/// Balancers share ports with each other by name, and with nobody else.
fn balancers(objects: &[Located<Object>], found: &mut Vec<Diagnostic>) {
    let sockets: Vec<(usize, BalancerSocket)> = objects
        .iter()
        .enumerate()
        .filter_map(|(n, object)| match &object.value {
            Object::LoadBalancer(balancer) => Some((n, balancer.spec.sockets())),
            _ => None,
        })
        .flat_map(|(n, sockets)| sockets.into_iter().map(move |s| (n, s)))
        .collect();
    if sockets.is_empty() {
        return;
    }
    let claims: Vec<Claim> = objects
        .iter()
        .enumerate()
        .flat_map(|(owner, object)| claims_of(owner, &object.value))
        .collect();
    let mut told = |owner: usize, other: usize, why: String| {
        let (at, other) = (&objects[owner].origin, &objects[other]);
        let rule = format!("{} at {} {why}", label(&other.value), other.origin);
        found.push(at.diagnose(&Problem::of_value(FieldPath::of("spec.port"), rule)));
    };
    for (n, (owner, socket)) in sockets.iter().enumerate() {
        let mut earlier = sockets[..n].iter().filter(|(other, _)| other != owner);
        if let Some((other, clash)) =
            earlier.find_map(|(other, s)| Some((*other, s.clash(socket)?)))
        {
            told(*owner, other, clash.to_string());
        }
        let taken = |claim: &&Claim| claim.mapping.clashes(&socket.ports);
        if let Some(claim) = claims.iter().find(taken) {
            told(*owner, claim.owner, format!("takes port {socket}, too"));
        }
    }
}

fn claims_of(owner: usize, object: &Object) -> Vec<Claim> {
    let list = FieldPath::of("spec.ports");
    match object {
        Object::Instance(instance) => {
            let mappings = instance.spec.ports.iter().enumerate();
            mappings
                .map(|(index, mapping)| Claim {
                    owner,
                    field: list.index(index),
                    index,
                    mapping: mapping.clone(),
                })
                .collect()
        }
        // What an instance's own list shows is that instance's claim already.
        Object::PortForward(forward) if forward.owner().is_none() => vec![Claim {
            owner,
            field: FieldPath::of("spec.hostPort"),
            index: 0,
            mapping: forward.spec.mapping(),
        }],
        _ => Vec::new(),
    }
}

/// Returns pairs of claims to one port, from claims sorted by their first port.
fn clashes(claims: &[Claim]) -> Vec<(&Claim, &Claim)> {
    let mut found = Vec::new();
    let mut open: Vec<&Claim> = Vec::new();
    for claim in claims {
        open.retain(|o| o.mapping.last_host() >= claim.mapping.host);
        if let Some(taken) = open.iter().find(|o| o.mapping.clashes(&claim.mapping)) {
            let pair = if taken.order() < claim.order() {
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

fn clash(objects: &[Located<Object>], earlier: &Claim, later: &Claim) -> Diagnostic {
    let other = if earlier.owner == later.owner {
        earlier.field.to_string()
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
        .diagnose(&Problem::of_value(later.field.clone(), rule))
}

fn label(object: &Object) -> String {
    match object.key() {
        Some(key) => key.to_string(),
        None => format!("{}/(generated)", object.kind()),
    }
}
