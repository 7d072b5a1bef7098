//! Rules of others that take ports of the host: Docker's, a firewall's own forwards.

use crate::api::Protocol;
use crate::net::forward::Claim;

use super::error::FirewallError;
use super::iptables::{Line, net, ports, protocol_named};
use super::nftables::OWN;
use super::rule::Tag;
use super::ruleset::Ruleset;
use super::tools::Tools;
use super::words::owned_words as words;

/// A rule of somebody else that translates what comes to a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it takes.
    pub claim: Claim,
    /// The rule, as its tool prints it.
    pub rule: String,
}

pub(super) fn find(tools: Tools, ruleset: &Ruleset) -> Result<Vec<Foreign>, FirewallError> {
    let mut found: Vec<Foreign> = [&ruleset.v4, &ruleset.v6]
        .iter()
        .filter_map(|half| half.iptables.as_ref())
        .flat_map(|saved| &saved.others)
        .filter(|line| line.table == "nat")
        .flat_map(of_iptables)
        .collect();
    if let Some(out) = tools.run_if_there("nft", "nftables", &["list", "ruleset"], b"")? {
        let said = String::from_utf8_lossy(&out.stderr);
        let listed = String::from_utf8_lossy(&out.stdout);
        let is_saved = |family: &str, table: &str| {
            let half = match family {
                "ip" => &ruleset.v4,
                "ip6" => &ruleset.v6,
                _ => return false,
            };
            let saved = half.iptables.as_ref();
            saved.is_some_and(|saved| saved.others.iter().any(|line| line.table == table))
        };
        found.extend(of_nftables(&said, &listed, &is_saved));
    }
    Ok(found)
}

fn of_iptables(line: &Line) -> Vec<Foreign> {
    if !matches!(line.value("-j"), Some("DNAT" | "REDIRECT")) {
        return Vec::new();
    }
    let stretches = match line.value("-p") {
        Some(protocol) => protocol_named(protocol).and_then(|p| stretch(line, p)),
        None => None,
    };
    let stretches = match (stretches, line.value("-p")) {
        (Some(one), _) => vec![one],
        // Whatever comes to the host, unless the way into a chain of theirs says more.
        (None, None)
            if matches!(&*line.chain, "PREROUTING" | "OUTPUT") && line.value("-s").is_none() =>
        {
            BOTH.map(|protocol| (protocol, 1, u16::MAX)).to_vec()
        }
        (None, _) => Vec::new(),
    };
    let not = line
        .words
        .windows(2)
        .any(|pair| pair[0] == "!" && pair[1] == "-d");
    let host = line.value("-d").filter(|_| !not).and_then(net);
    let foreign = |(protocol, first, last)| Foreign {
        claim: Claim {
            address: host
                .filter(|n| n.prefix_len() == n.max_prefix_len())
                .map(|n| n.addr()),
            protocol,
            first,
            last,
        },
        rule: format!("-A {} {}", line.chain, line.words.join(" ")),
    };
    stretches.into_iter().map(foreign).collect()
}

fn stretch(line: &Line, protocol: Protocol) -> Option<(Protocol, u16, u16)> {
    match (line.value("--dport"), line.value("--dports")) {
        (Some(port), _) => ports(protocol, port, ':'),
        (None, Some(list)) => span(protocol, list),
        (None, None) => Some((protocol, 1, u16::MAX)),
    }
}

/// The least and the greatest of `80,443,8000:8010`: rather one conflict too many.
fn span(protocol: Protocol, list: &str) -> Option<(Protocol, u16, u16)> {
    let each: Vec<_> = list
        .split(',')
        .filter_map(|part| ports(protocol, part, ':'))
        .collect();
    let first = each.iter().map(|p| p.1).min()?;
    Some((protocol, first, each.iter().map(|p| p.2).max()?))
}

/// What iptables made is read by iptables-save: a table that nft says is of iptables, or that has
/// iptables' chains and rules. What carries our mark is ours.
fn of_nftables(said: &str, listed: &str, is_saved: &dyn Fn(&str, &str) -> bool) -> Vec<Foreign> {
    let (mut found, mut table) = (Vec::new(), None);
    for line in listed.lines() {
        let words = words(line);
        let text: Vec<&str> = words.iter().map(String::as_str).collect();
        match text.as_slice() {
            ["table", family, name, ..] => {
                let warning = format!("table {family} {name} is managed by iptables-nft");
                let made = said.contains(&warning) || listed.contains(&warning);
                let read = name != &OWN && !made;
                table = read.then(|| (is_saved(family, name), false));
            }
            ["chain", name, ..] => {
                if let Some((saved, theirs)) = &mut table {
                    *theirs |= *saved && USUAL.contains(name);
                }
            }
            _ if matches!(table, Some((_, false))) && !text.iter().any(|w| is_ours(w)) => {
                found.extend(of_rule(line.trim(), &words));
            }
            _ => {}
        }
    }
    found
}

/// The chains that iptables has.
const USUAL: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn is_ours(comment: &str) -> bool {
    Tag::parse(comment).is_some()
}

/// A claim for each stretch of ports of each protocol.
fn of_rule(line: &str, words: &[String]) -> Vec<Foreign> {
    if !words.iter().any(|w| w == "dnat" || w == "redirect") {
        return Vec::new();
    }
    let Some(at) = words
        .windows(2)
        .position(|w| w[1] == "dport" && matches!(&*w[0], "tcp" | "udp" | "th"))
    else {
        return Vec::new();
    };
    let says = |name: &str| words.iter().any(|w| w.trim_end_matches(',') == name);
    let protocols: Vec<Protocol> = match protocol_named(&words[at]) {
        Some(protocol) => vec![protocol],
        None if says("tcp") != says("udp") => match says("tcp") {
            true => vec![Protocol::Tcp],
            false => vec![Protocol::Udp],
        },
        None => BOTH.to_vec(),
    };
    let host = words
        .windows(2)
        .find(|w| w[0] == "daddr")
        .and_then(|w| w[1].parse().ok());
    let mut found = Vec::new();
    for protocol in protocols {
        let stretches = listed_ports(words.get(at + 2..).unwrap_or_default());
        let stretches = stretches.filter_map(|text| ports(protocol, text, '-'));
        found.extend(stretches.map(|(protocol, first, last)| Foreign {
            claim: Claim {
                address: host,
                protocol,
                first,
                last,
            },
            rule: line.to_owned(),
        }));
    }
    found
}

/// The ports of `80`, `{ 80, 8000-8010 }` or `map { 80 : 10.0.0.2, 81 : 10.0.0.3 }`.
fn listed_ports(words: &[String]) -> impl Iterator<Item = &str> {
    let first = words.first().map(String::as_str);
    let (skip, is_map) = match first {
        Some("{") => (1, false),
        Some("map") => (2, true),
        _ => (0, false),
    };
    let many = skip > 0;
    let inside = words.iter().enumerate().skip(skip);
    let inside = inside.take_while(move |(at, word)| match many {
        true => *word != "}",
        false => *at == 0,
    });
    let key = move |at: usize| !is_map || words.get(at + 1).is_some_and(|w| w == ":");
    inside
        .filter(move |(at, _)| key(*at))
        .map(|(_, word)| word.trim_end_matches(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &str, listed: &str, saved: bool) -> Vec<String> {
        let found = of_nftables(said, listed, &|family, _| saved && family == "ip");
        found.iter().map(|f| f.claim.to_string()).collect()
    }

    #[test]
    fn tables_of_others_are_read_and_those_of_iptables_are_not() {
        let listed = r#"
table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 80 counter packets 0 bytes 0 dnat to 10.0.0.1
	}
}
table inet nat {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport { 443, 8000-8010 } dnat ip to 10.0.0.2
		dnat ip to tcp dport map { 81 : 10.0.0.3, 90-95 : 10.0.0.4 }
		meta l4proto { tcp, udp } th dport 53 redirect to :5353
		ip daddr 10.0.0.9 udp dport 123 dnat ip to 10.0.0.2
		tcp dport 99 dnat ip to 10.0.0.2 comment "kvmctl:00000000-0000-4000-8000-000000000001"
	}
}
"#;
        let theirs = [
            "443/tcp",
            "8000-8010/tcp",
            "81/tcp",
            "90-95/tcp",
            "53/tcp",
            "53/udp",
            "10.0.0.9:123/udp",
        ];
        let warning = "# Warning: table ip nat is managed by iptables-nft, do not touch!";
        assert_eq!(told(warning, listed, false), theirs);
        assert_eq!(told("", listed, true), theirs);
        let by_hand = told("", listed, false);
        assert_eq!((by_hand[0].as_str(), by_hand.len()), ("80/tcp", 8));
    }

    #[test]
    fn a_rule_for_every_protocol_takes_all() {
        let line = |chain: &str, words: &str| Line {
            table: "nat".to_owned(),
            chain: chain.to_owned(),
            words: words.split(' ').map(str::to_owned).collect(),
        };
        let all = of_iptables(&line("PREROUTING", "-d 10.0.0.9/32 -j DNAT --to 10.0.0.2"));
        let claims: Vec<String> = all.iter().map(|f| f.claim.to_string()).collect();
        assert_eq!(claims, ["10.0.0.9:1-65535/tcp", "10.0.0.9:1-65535/udp"]);
        assert!(of_iptables(&line("THEIRS", "-j DNAT --to 10.0.0.2")).is_empty());
    }
}
