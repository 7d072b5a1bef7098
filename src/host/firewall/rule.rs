//! The rules of a forward as values: made from mappings, compared with what is read back, written by
//! one renderer for each firewall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::api::{Name, Protocol, Uid};
use crate::net::forward::{Bridge, Claim, LibvirtRules, Mapping};

/// The chains that are ours, in the order in which a packet meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Chain {
    /// Keeps guests out of the host's 127.0.0.0/8.
    Raw,
    /// Translates what comes from outside and from guests.
    Dnat,
    /// Translates what comes from the host itself.
    Out,
    /// Lets translated packets pass.
    Fwd,
    /// Hides the sender where the answer would not come back by us.
    Snat,
}

impl Chain {
    pub(super) const ALL: [Self; 5] = [Self::Raw, Self::Dnat, Self::Out, Self::Fwd, Self::Snat];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "KVMCTL-RAW",
            Self::Dnat => "KVMCTL-DNAT",
            Self::Out => "KVMCTL-OUT",
            Self::Fwd => "KVMCTL-FWD",
            Self::Snat => "KVMCTL-SNAT",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.name() == name)
    }
}

/// The family of a rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Who a rule belongs to, as its comment says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Tag {
    /// A forward: `kvmctl:UID` or `kvmctl:UID:NAME`.
    Owner(Uid, Option<Name>),
    /// All forwards of a bridge: `kvmctl:BRIDGE`.
    Bridge(Bridge),
}

impl Tag {
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let rest = comment.strip_prefix("kvmctl:")?;
        let (first, name) = match rest.split_once(':') {
            Some((first, name)) => (first, Some(Name::new(name).ok()?)),
            None => (rest, None),
        };
        // A uid is longer than any bridge's name.
        match first.parse() {
            Ok(uid) if first.len() == 36 => Some(Self::Owner(uid, name)),
            _ if name.is_none() => first.parse().ok().map(Self::Bridge),
            _ => None,
        }
    }

    pub(super) const fn owner(&self) -> Option<Uid> {
        match self {
            Self::Owner(uid, _) => Some(*uid),
            Self::Bridge(_) => None,
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(uid, None) => write!(f, "kvmctl:{uid}"),
            Self::Owner(uid, Some(name)) => write!(f, "kvmctl:{uid}:{name}"),
            Self::Bridge(bridge) => write!(f, "kvmctl:{bridge}"),
        }
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Masquerade,
    /// To this address, and port unless it stays.
    Dnat(IpAddr, Option<u16>),
}

/// One rule; what is absent matches everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rule {
    pub(super) chain: Chain,
    /// Here, because it is what tells most rules apart, and they are sorted.
    pub(super) ports: Option<(Protocol, u16, u16)>,
    pub(super) tag: Tag,
    pub(super) input: Option<Bridge>,
    pub(super) output: Option<Bridge>,
    pub(super) source: Option<IpNet>,
    pub(super) destination: Option<IpNet>,
    pub(super) not_destination: Option<IpNet>,
    /// The connection's destination was translated.
    pub(super) translated: bool,
    /// The packet answers one.
    pub(super) reply: bool,
    pub(super) verdict: Verdict,
}

impl Rule {
    pub(super) const fn new(chain: Chain, tag: Tag, verdict: Verdict) -> Self {
        Self {
            chain,
            tag,
            input: None,
            output: None,
            source: None,
            destination: None,
            not_destination: None,
            ports: None,
            translated: false,
            reply: false,
            verdict,
        }
    }
}

/// 127.0.0.0/8.
pub(super) const fn loopback() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))
}

/// Which sort of rules one firewall holds for a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Address translation and what belongs to it.
    Nat,
    /// The way past libvirt's rules.
    Accept,
}

/// Returns the rules of one mapping, those that its whole bridge shares included.
pub(super) fn rules_of(mapping: &Mapping, part: Part) -> BTreeSet<Rule> {
    let shared = shared_rules(&mapping.segment().bridge, mapping.localhost(), part);
    let own = match part {
        Part::Nat => nat(mapping),
        Part::Accept => accept(mapping),
    };
    own.into_iter().chain(shared).collect()
}

/// Returns the rules that all forwards to a bridge share.
pub(super) fn shared_rules(bridge: &Bridge, localhost: bool, part: Part) -> Vec<Rule> {
    let tag = || Tag::Bridge(bridge.clone());
    match part {
        Part::Nat if localhost => vec![Rule {
            input: Some(bridge.clone()),
            destination: Some(loopback()),
            ..Rule::new(Chain::Raw, tag(), Verdict::Drop)
        }],
        Part::Nat => Vec::new(),
        Part::Accept => vec![Rule {
            input: Some(bridge.clone()),
            translated: true,
            reply: true,
            ..Rule::new(Chain::Fwd, tag(), Verdict::Accept)
        }],
    }
}

fn tag(mapping: &Mapping) -> Tag {
    Tag::Owner(mapping.owner(), mapping.name().cloned())
}

fn nat(mapping: &Mapping) -> Vec<Rule> {
    let claim = mapping.claim();
    let mut rules = Vec::new();
    for leg in mapping.legs() {
        let port = (leg.first != leg.guest).then_some(leg.guest);
        let rule = |chain| Rule {
            destination: claim.address.map(IpNet::from),
            ports: Some((claim.protocol, leg.first, leg.last)),
            ..Rule::new(chain, tag(mapping), Verdict::Dnat(mapping.guest(), port))
        };
        if !mapping.only_localhost() {
            rules.push(rule(Chain::Dnat));
        }
        let closed = claim.address.is_none() && mapping.guest().is_ipv4() && !mapping.localhost();
        rules.push(Rule {
            not_destination: closed.then(loopback),
            ..rule(Chain::Out)
        });
    }
    rules.extend(masquerade(mapping));
    rules
}

/// A guest of the same bridge would answer the sender directly, and 127.0.0.1 is nobody there. The
/// guest of an isolated network knows no way to anybody but the host.
fn masquerade(mapping: &Mapping) -> Vec<Rule> {
    let hidden = |source: Option<IpNet>| Rule {
        source,
        ..to_guest(mapping, Chain::Snat, Verdict::Masquerade)
    };
    let neighbours = match mapping.segment().libvirt {
        LibvirtRules::Isolated => None,
        _ => Some(mapping.segment().subnet.trunc()),
    };
    let mut rules = vec![hidden(neighbours)];
    if mapping.localhost() {
        rules.push(hidden(Some(loopback())));
    }
    rules
}

fn accept(mapping: &Mapping) -> Vec<Rule> {
    vec![to_guest(mapping, Chain::Fwd, Verdict::Accept)]
}

fn to_guest(mapping: &Mapping, chain: Chain, verdict: Verdict) -> Rule {
    let (first, last) = mapping.guest_ports();
    Rule {
        output: Some(mapping.segment().bridge.clone()),
        destination: Some(mapping.guest().into()),
        ports: Some((mapping.claim().protocol, first, last)),
        translated: true,
        ..Rule::new(chain, tag(mapping), verdict)
    }
}

/// A forward as rules tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub owner: Uid,
    /// The name of a forward that stands alone.
    pub name: Option<Name>,
    /// What it takes of the host.
    pub claim: Claim,
    /// The guest's address.
    pub guest: IpAddr,
    /// The guest's first port.
    pub guest_port: u16,
    /// The guest's bridge, where a rule names it.
    pub bridge: Option<Bridge>,
    /// Whether it is reached by 127.0.0.1.
    pub localhost: bool,
}

/// Reads the forwards out of rules. A range whose ports change their numbers comes as several.
pub(super) fn found<'a>(rules: impl Iterator<Item = &'a Rule> + Clone) -> Vec<Found> {
    let mut forwards: Vec<Found> = rules.clone().filter_map(one_found).collect();
    forwards.sort_by_key(|f| (f.owner, f.claim.first, f.claim.address, f.guest));
    forwards.dedup_by(|b, a| (a.owner, a.claim, a.guest) == (b.owner, b.claim, b.guest));
    let mut bridges = BTreeMap::new();
    for rule in rules {
        if let (Some(uid), Some(bridge), Some(to)) =
            (rule.tag.owner(), &rule.output, rule.destination)
        {
            bridges.insert((uid, to.addr()), bridge);
        }
    }
    for forward in &mut forwards {
        let bridge = bridges.get(&(forward.owner, forward.guest));
        forward.bridge = bridge.map(|bridge| (*bridge).clone());
    }
    forwards
}

fn one_found(rule: &Rule) -> Option<Found> {
    let (Tag::Owner(owner, name), Verdict::Dnat(guest, port)) = (&rule.tag, rule.verdict) else {
        return None;
    };
    let (protocol, first, last) = rule.ports?;
    // What the host itself may use is a superset of what others may.
    if rule.chain != Chain::Out {
        return None;
    }
    let address = rule.destination.map(|net| net.addr());
    Some(Found {
        owner: *owner,
        name: name.clone(),
        claim: Claim {
            address,
            protocol,
            first,
            last,
        },
        guest,
        guest_port: port.unwrap_or(first),
        bridge: None,
        localhost: guest.is_ipv4()
            && rule.not_destination.is_none()
            && address.is_none_or(|a| a.is_loopback()),
    })
}
