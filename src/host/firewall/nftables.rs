//! The rules in the language of nft: address translation in a table of our own, the way past
//! libvirt's rejects at the head of libvirt's own chain, because in nftables every table must accept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::net::forward::{Endpoint, protocol_name};

use super::delta::{ChainDelta, Delta};
use super::iptables::{endpoint, net, ports, protocol_named};
use super::present::{Jump, Present, Seen};
use super::rule::{Chain, Family, Rule, Tag, Verdict};
use super::words::owned_words as words;

/// Our table.
pub(super) const OWN: &str = "kvmctl";
/// libvirt's table.
pub(super) const LIBVIRT: &str = "libvirt_network";
const JUMP_TAG: &str = "kvmctl:jump";

/// What `nft -a list` printed of one family's tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    /// Whether our table is there.
    pub(super) own_table: bool,
    /// Our chains, wherever they are.
    pub(super) present: Present,
    /// The chains of libvirt's table with the words of their rules.
    pub(super) libvirt: BTreeMap<String, Vec<Vec<String>>>,
}

/// Returns the word for a family.
pub(super) const fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The table of a chain, the chain that the packets come from, and how that one is made.
const fn place(chain: Chain) -> (&'static str, &'static str, &'static str) {
    match chain {
        Chain::Raw => (
            OWN,
            "raw-prerouting",
            "type filter hook prerouting priority -300",
        ),
        Chain::Dnat => (
            OWN,
            "nat-prerouting",
            "type nat hook prerouting priority -100",
        ),
        Chain::Out => (OWN, "nat-output", "type nat hook output priority -100"),
        Chain::Snat => (
            OWN,
            "nat-postrouting",
            "type nat hook postrouting priority 100",
        ),
        Chain::Fwd => (LIBVIRT, "forward", ""),
    }
}

/// Which packets a chain is entered for.
const fn entry(chain: Chain) -> &'static str {
    match chain {
        Chain::Raw => "ip daddr 127.0.0.0/8",
        Chain::Dnat | Chain::Out => "fib daddr type local",
        Chain::Fwd | Chain::Snat => "ct status dnat",
    }
}

/// Writes a rule without its chain, in the order in which nft prints it.
pub(super) fn render(rule: &Rule, family: Family) -> String {
    let (mut text, ip) = (String::new(), keyword(family));
    let mut put = |words: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{words} ");
    };
    if let Some(bridge) = &rule.input {
        put(format_args!("iifname \"{bridge}\""));
    }
    if let Some(bridge) = &rule.output {
        put(format_args!("oifname \"{bridge}\""));
    }
    if let Some(net) = rule.source {
        put(format_args!("{ip} saddr {net}"));
    }
    if let Some(net) = rule.destination {
        put(format_args!("{ip} daddr {net}"));
    }
    if let Some(net) = rule.not_destination {
        put(format_args!("{ip} daddr != {net}"));
    }
    match rule.ports {
        Some((protocol, first, last)) if last > first => {
            put(format_args!(
                "{} dport {first}-{last}",
                protocol_name(protocol)
            ));
        }
        Some((protocol, first, _)) => {
            put(format_args!("{} dport {first}", protocol_name(protocol)));
        }
        None => {}
    }
    if rule.translated {
        put(format_args!("ct status dnat"));
    }
    if rule.reply {
        put(format_args!("ct direction reply"));
    }
    put(format_args!("counter"));
    match rule.verdict {
        Verdict::Accept => put(format_args!("accept")),
        Verdict::Drop => put(format_args!("drop")),
        Verdict::Masquerade => put(format_args!("masquerade")),
        Verdict::Dnat(to, None) => put(format_args!("dnat to {to}")),
        Verdict::Dnat(to, Some(port)) => put(format_args!("dnat to {}", Endpoint(to, port))),
    }
    put(format_args!("comment \"{}\"", rule.tag));
    text.truncate(text.trim_end().len());
    text
}

/// Reads a rule; `None` for one that we do not write.
fn parse(chain: Chain, line: &[String], tag: Tag) -> Option<Rule> {
    let mut rule = Rule::new(chain, tag, Verdict::Accept);
    let mut decided = false;
    let mut rest = line.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "iifname" => rule.input = Some(rest.next()?.parse().ok()?),
            "oifname" => rule.output = Some(rest.next()?.parse().ok()?),
            "ip" | "ip6" => match (rest.next()?, rest.next()?) {
                ("saddr", value) => rule.source = Some(net(value)?),
                ("daddr", "!=") => rule.not_destination = Some(net(rest.next()?)?),
                ("daddr", value) => rule.destination = Some(net(value)?),
                _ => return None,
            },
            "tcp" | "udp" if rest.next()? == "dport" => {
                rule.ports = Some(ports(protocol_named(word)?, rest.next()?, '-')?);
            }
            "ct" => match (rest.next()?, rest.next()?) {
                ("status", "dnat") => rule.translated = true,
                ("direction", "reply") => rule.reply = true,
                _ => return None,
            },
            "counter" => {
                let _ = rest.nth(3)?;
            }
            "accept" | "drop" | "masquerade" | "dnat" if decided => return None,
            "accept" => decided = true,
            "drop" => (decided, rule.verdict) = (true, Verdict::Drop),
            "masquerade" => (decided, rule.verdict) = (true, Verdict::Masquerade),
            "dnat" if rest.next()? == "to" => {
                let (to, port) = endpoint(rest.next()?)?;
                (decided, rule.verdict) = (true, Verdict::Dnat(to, port));
            }
            _ => return None,
        }
    }
    decided.then_some(rule)
}

/// Reads what `nft -a list` printed, of one family.
pub(super) fn read(text: &str, family: Family) -> Listed {
    let mut listed = Listed::default();
    let (mut table, mut chain) = (None::<String>, None::<String>);
    for line in text.lines() {
        let words = words(line);
        let parts: Vec<&str> = words.iter().map(String::as_str).collect();
        match (&table, &chain, parts.as_slice()) {
            (None, _, ["table", kind, name, "{", ..]) => {
                table = Some(if *kind == keyword(family) {
                    (*name).to_owned()
                } else {
                    String::new()
                });
                listed.own_table |= table.as_deref() == Some(OWN);
            }
            (Some(at), None, ["chain", name, "{", ..]) => {
                start_chain(&mut listed, at, name);
                chain = Some((*name).to_owned());
            }
            // A set or a map: no chain of anybody has an empty name.
            (Some(_), None, [_, _, "{", ..]) => chain = Some(String::new()),
            (_, Some(_), ["}"]) => chain = None,
            (Some(_), None, ["}"]) => table = None,
            (_, Some(_), ["type", "filter" | "nat", "hook", ..]) | (_, _, []) => {}
            (Some(at), Some(name), _) if !name.is_empty() => {
                read_rule(&mut listed, at, name, words)
            }
            _ => {}
        }
    }
    listed
}

fn start_chain(listed: &mut Listed, table: &str, name: &str) {
    if let Some(chain) = Chain::named(name).filter(|c| place(*c).0 == table) {
        listed.present.chains.entry(chain).or_default();
    } else if table == LIBVIRT {
        listed.libvirt.entry(name.to_owned()).or_default();
    }
}

fn read_rule(listed: &mut Listed, table: &str, name: &str, mut words: Vec<String>) {
    let handle = match words.iter().rposition(|w| w == "handle") {
        Some(at) => {
            let number = words.get(at + 1).and_then(|n| n.parse().ok());
            words.truncate(at.saturating_sub(1));
            number.unwrap_or(0)
        }
        None => 0,
    };
    let comment = match words.iter().rposition(|w| w == "comment") {
        Some(at) => {
            let text = words.get(at + 1).cloned();
            words.truncate(at);
            text
        }
        None => None,
    };
    if let Some(chain) = Chain::named(name).filter(|c| place(*c).0 == table) {
        let tag = comment.as_deref().and_then(Tag::parse);
        let rule = tag.clone().and_then(|tag| parse(chain, &words, tag));
        let seen = Seen {
            rule,
            tag,
            place: handle,
            packets: packets(&words),
        };
        listed.present.chains.entry(chain).or_default().push(seen);
        return;
    }
    let rules = (table == LIBVIRT).then(|| listed.libvirt.entry(name.to_owned()).or_default());
    let first = match &rules {
        Some(rules) => rules.is_empty() && !has_jump(&listed.present),
        None => true,
    };
    match jump(table, name, &words, handle, first) {
        Some((chain, jump)) => listed.present.jumps.entry(chain).or_default().push(jump),
        None => {
            if let Some(rules) = rules {
                rules.push(words);
            }
        }
    }
}

fn has_jump(present: &Present) -> bool {
    present.jumps.contains_key(&Chain::Fwd)
}

fn packets(words: &[String]) -> u64 {
    let at = words.iter().position(|w| w == "packets");
    at.and_then(|at| words.get(at + 1)?.parse().ok())
        .unwrap_or(0)
}

fn jump(
    table: &str,
    parent: &str,
    line: &[String],
    handle: u64,
    first: bool,
) -> Option<(Chain, Jump)> {
    let at = line.iter().position(|w| w == "jump")?;
    let chain = Chain::named(line.get(at + 1)?)?;
    let mut bare = line.to_vec();
    if let Some(at) = bare.iter().position(|w| w == "counter") {
        bare.drain(at..(at + 5).min(bare.len()));
    }
    let expected = words(&format!("{} jump {}", entry(chain), chain.name()));
    let (home, base, _) = place(chain);
    let jump = Jump {
        place: handle,
        text: String::new(),
        first,
        right: (table, parent) == (home, base) && bare == expected,
        made_table: false,
    };
    Some((chain, jump))
}

/// Writes the changes as one input for `nft -f`.
pub(super) fn script(delta: &Delta, listed: &Listed, family: Family) -> String {
    let mut text = String::new();
    let (mut own, fwd): (Vec<_>, Vec<_>) = delta.iter().partition(|(c, _)| **c != Chain::Fwd);
    let stays: BTreeSet<Chain> = listed
        .present
        .chains
        .keys()
        .copied()
        .chain(
            own.iter()
                .filter(|(_, change)| change.make)
                .map(|(c, _)| **c),
        )
        .filter(|c| *c != Chain::Fwd && !delta.get(c).is_some_and(|change| change.drop))
        .collect();
    if stays.is_empty() && listed.own_table {
        let _ = writeln!(text, "delete table {} {OWN}", keyword(family));
        own.clear();
    } else if !own.is_empty() {
        let _ = writeln!(text, "add table {} {OWN}", keyword(family));
    }
    for (chain, change) in own.into_iter().chain(fwd) {
        write_chain(&mut text, *chain, change, family);
    }
    text
}

fn write_chain(text: &mut String, chain: Chain, change: &ChainDelta, family: Family) {
    let (ip, name) = (keyword(family), chain.name());
    let (table, parent, base) = place(chain);
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    if change.make {
        line(format_args!("add chain {ip} {table} {name}"));
    }
    for Jump { place: handle, .. } in &change.unjump {
        line(format_args!(
            "delete rule {ip} {table} {parent} handle {handle}"
        ));
    }
    if change.drop {
        line(format_args!("flush chain {ip} {table} {name}"));
        line(format_args!("delete chain {ip} {table} {name}"));
        if !base.is_empty() {
            // It may be gone already, and then it cannot be deleted.
            line(format_args!(
                "add chain {ip} {table} {parent} {{ {base}; }}"
            ));
            line(format_args!("delete chain {ip} {table} {parent}"));
        }
        return;
    }
    for handle in &change.delete {
        line(format_args!(
            "delete rule {ip} {table} {name} handle {handle}"
        ));
    }
    for rule in &change.add {
        line(format_args!(
            "add rule {ip} {table} {name} {}",
            render(rule, family)
        ));
    }
    if change.jump {
        if !base.is_empty() {
            line(format_args!(
                "add chain {ip} {table} {parent} {{ {base}; }}"
            ));
        }
        let jump = entry(chain);
        line(format_args!(
            "insert rule {ip} {table} {parent} {jump} counter jump {name} comment \"{JUMP_TAG}\""
        ));
    }
}

/// Writes the end of a table of iptables in which there is nothing but some chains of ours, which are
/// empty, and the jumps to them; `None` when there is more. The listing tells handles.
pub(super) fn drop_whole(listed: &str, ip: &str, table: &str, ours: &[&str]) -> Option<String> {
    let (mut rules, mut chains) = (String::new(), Vec::new());
    for line in listed.lines().map(str::trim) {
        let (text, handle) = line.split_once(" # handle ").unwrap_or((line, ""));
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["table", ..] | ["}" | "" | "#", ..] => {}
            ["type", .., "policy", "accept;"] => {}
            ["chain", name, "{"] => chains.push((*name).to_owned()),
            words => {
                let leads = |pair: &[&str]| pair[0] == "jump" && ours.contains(&pair[1]);
                let chain = chains.last().filter(|_| words.windows(2).any(leads))?;
                let _ = writeln!(rules, "delete rule {ip} {table} {chain} handle {handle}");
            }
        }
    }
    let mut script = rules;
    // A chain with a rule cannot be deleted, so one that came just now saves the table.
    for chain in chains {
        let _ = writeln!(script, "delete chain {ip} {table} {chain}");
    }
    let _ = writeln!(script, "delete table {ip} {table}");
    Some(script)
}
