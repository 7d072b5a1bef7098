//! Rules of others that take ports of the host: Docker's, a firewall's own forwards.

use crate::api::Protocol;
use crate::net::forward::Claim;

use super::error::FirewallError;
use super::iptables::{Line, net, ports, protocol_named};
use super::nftables::OWN;
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
        .filter_map(of_iptables)
        .collect();
    if let Some(out) = tools.run_if_there("nft", "nftables", &["list", "ruleset"], b"")? {
        found.extend(of_nftables(&String::from_utf8_lossy(&out.stdout)));
    }
    Ok(found)
}

fn of_iptables(line: &Line) -> Option<Foreign> {
    if !matches!(line.value("-j"), Some("DNAT" | "REDIRECT")) {
        return None;
    }
    let protocol = protocol_named(line.value("-p")?)?;
    let (protocol, first, last) = match (line.value("--dport"), line.value("--dports")) {
        (Some(port), _) => ports(protocol, port, ':')?,
        (None, Some(list)) => span(protocol, list)?,
        (None, None) => (protocol, 1, u16::MAX),
    };
    let not = line
        .words
        .windows(2)
        .any(|pair| pair[0] == "!" && pair[1] == "-d");
    let host = line.value("-d").filter(|_| !not).and_then(net);
    Some(Foreign {
        claim: Claim {
            address: host
                .filter(|n| n.prefix_len() == n.max_prefix_len())
                .map(|n| n.addr()),
            protocol,
            first,
            last,
        },
        rule: format!("-A {} {}", line.chain, line.words.join(" ")),
    })
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

/// iptables' own tables are read by iptables-save; ours are ours.
fn of_nftables(text: &str) -> Vec<Foreign> {
    let (mut found, mut skip) = (Vec::new(), false);
    let tables = ["nat", "filter", "raw", "mangle", "security", OWN];
    for line in text.lines() {
        let words = words(line);
        if let [table, _, name, ..] = words.as_slice()
            && table == "table"
        {
            skip = tables.contains(&name.as_str());
        } else if !skip {
            found.extend(of_rule(line.trim(), &words));
        }
    }
    found
}

fn of_rule(line: &str, words: &[String]) -> Option<Foreign> {
    if !words.iter().any(|w| w == "dnat" || w == "redirect") {
        return None;
    }
    let at = words
        .windows(2)
        .position(|w| w[1] == "dport" && (w[0] == "tcp" || w[0] == "udp"))?;
    let (protocol, first, last) = ports(protocol_named(&words[at])?, words.get(at + 2)?, '-')?;
    let host = words
        .windows(2)
        .find(|w| w[0] == "daddr")
        .and_then(|w| w[1].parse().ok());
    Some(Foreign {
        claim: Claim {
            address: host,
            protocol,
            first,
            last,
        },
        rule: line.to_owned(),
    })
}
