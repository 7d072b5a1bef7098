//! The rules in the language of iptables-save and iptables-restore.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::api::Protocol;
use crate::net::forward::{Endpoint, protocol_name};

use super::delta::{ChainDelta, Delta};
use super::present::{Jump, Present, Seen};
use super::rule::{Chain, Rule, Tag, Verdict};
use super::words::{owned_words, words};

/// Comment of a jump in a table that was not there before us.
const MADE_TABLE: &str = "kvmctl:table";

/// What iptables-save printed.
#[derive(Debug, Clone, Default)]
pub(super) struct Saved {
    /// Tables that are there.
    pub(super) tables: BTreeSet<String>,
    /// Our chains.
    pub(super) present: Present,
    /// The rules of others.
    pub(super) others: Vec<Line>,
    /// Chains of others that the tool does not make by itself, by table.
    pub(super) own_made: BTreeSet<(String, String)>,
    /// Whether what no rule accepts is not forwarded.
    pub(super) forward_drops: bool,
}

/// A rule of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) words: Vec<String>,
}

impl Line {
    /// Returns the word after an option.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        let at = self.words.iter().position(|w| w == option)?;
        self.words.get(at + 1).map(String::as_str)
    }
}

impl Saved {
    /// Returns the rules of others in a chain.
    pub(super) fn chain<'a>(
        &'a self,
        table: &'a str,
        chain: &'a str,
    ) -> impl Iterator<Item = &'a Line> {
        self.others
            .iter()
            .filter(move |line| line.table == table && line.chain == chain)
    }
}

/// The table of a chain, and the chain that the packets come from.
const fn place(chain: Chain) -> (&'static str, &'static str) {
    match chain {
        Chain::Raw => ("raw", "PREROUTING"),
        Chain::Dnat => ("nat", "PREROUTING"),
        Chain::Out => ("nat", "OUTPUT"),
        Chain::Fwd => ("filter", "FORWARD"),
        Chain::Snat => ("nat", "POSTROUTING"),
    }
}

/// Which packets a chain is entered for.
const fn entry(chain: Chain) -> &'static str {
    match chain {
        Chain::Raw => "-d 127.0.0.0/8",
        Chain::Dnat | Chain::Out => "-m addrtype --dst-type LOCAL",
        Chain::Fwd | Chain::Snat => "-m conntrack --ctstate DNAT",
    }
}

/// Writes a rule without its chain.
pub(super) fn render(rule: &Rule) -> String {
    let mut text = String::new();
    let mut put = |option: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{option} {value} ");
    };
    if let Some(net) = rule.source {
        put("-s", &net);
    }
    if let Some(net) = rule.destination {
        put("-d", &net);
    }
    if let Some(net) = rule.not_destination {
        put("! -d", &net);
    }
    if let Some(bridge) = &rule.input {
        put("-i", bridge);
    }
    if let Some(bridge) = &rule.output {
        put("-o", bridge);
    }
    if let Some((protocol, first, last)) = rule.ports {
        let name = protocol_name(protocol);
        put("-p", &name);
        put("-m", &name);
        if last > first {
            put("--dport", &format_args!("{first}:{last}"));
        } else {
            put("--dport", &first);
        }
    }
    if rule.translated {
        put("-m conntrack --ctstate", &"DNAT");
    }
    if rule.reply {
        put("--ctdir", &"REPLY");
    }
    put("-m comment --comment", &rule.tag);
    match rule.verdict {
        Verdict::Accept => put("-j", &"ACCEPT"),
        Verdict::Drop => put("-j", &"DROP"),
        Verdict::Masquerade => put("-j", &"MASQUERADE"),
        Verdict::Dnat(to, None) => put("-j DNAT --to-destination", &to),
        Verdict::Dnat(to, Some(port)) => put("-j DNAT --to-destination", &Endpoint(to, port)),
    }
    text.truncate(text.trim_end().len());
    text
}

/// Reads a rule; `None` for one that we do not write.
fn parse(chain: Chain, line: &[Cow<'_, str>]) -> Option<Rule> {
    let tag = comment(line).and_then(Tag::parse)?;
    let mut rule = Rule::new(chain, tag, Verdict::Accept);
    let (mut protocol, mut target, mut to, mut not) = (None, None, None, false);
    let mut rest = line.iter().map(Cow::as_ref);
    while let Some(option) = rest.next() {
        if option == "!" {
            not = true;
            continue;
        }
        let value = rest.next()?;
        match (option, std::mem::take(&mut not)) {
            ("-m" | "--comment", false) => {}
            ("-s", false) => rule.source = Some(net(value)?),
            ("-d", false) => rule.destination = Some(net(value)?),
            ("-d", true) => rule.not_destination = Some(net(value)?),
            ("-i", false) => rule.input = Some(value.parse().ok()?),
            ("-o", false) => rule.output = Some(value.parse().ok()?),
            ("-p", false) => protocol = Some(protocol_named(value)?),
            ("--dport", false) => rule.ports = Some(ports(protocol?, value, ':')?),
            ("--ctstate", false) if value == "DNAT" => rule.translated = true,
            ("--ctdir", false) if value == "REPLY" => rule.reply = true,
            ("-j", false) => target = Some(value),
            ("--to-destination", false) => to = Some(endpoint(value)?),
            _ => return None,
        }
    }
    rule.verdict = match (target?, to) {
        ("ACCEPT", None) => Verdict::Accept,
        ("DROP", None) => Verdict::Drop,
        ("MASQUERADE", None) => Verdict::Masquerade,
        ("DNAT", Some((address, port))) => Verdict::Dnat(address, port),
        _ => return None,
    };
    Some(rule)
}

fn comment(line: &[impl AsRef<str>]) -> Option<&str> {
    let at = line.iter().position(|w| w.as_ref() == "--comment")?;
    line.get(at + 1).map(AsRef::as_ref)
}

/// Reads `10.0.0.0/24` or a bare address.
pub(super) fn net(text: &str) -> Option<ipnet::IpNet> {
    let bare = || text.parse::<IpAddr>().ok().map(ipnet::IpNet::from);
    text.parse().ok().or_else(bare)
}

pub(super) fn protocol_named(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// Reads one port or a range.
pub(super) fn ports(protocol: Protocol, text: &str, between: char) -> Option<(Protocol, u16, u16)> {
    let (first, last) = text.split_once(between).unwrap_or((text, text));
    Some((protocol, first.parse().ok()?, last.parse().ok()?))
}

/// Reads `10.0.0.2`, `10.0.0.2:80`, `fd00::2`, `[fd00::2]` or `[fd00::2]:80`.
pub(super) fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return Some((inside.parse().ok()?, None));
    }
    let socket: std::net::SocketAddr = text.parse().ok()?;
    Some((socket.ip(), Some(socket.port())))
}

/// Reads what iptables-save printed.
pub(super) fn read(text: &str) -> Saved {
    let mut saved = Saved::default();
    let (mut table, mut counts) = (String::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            saved.tables.insert(table.clone());
            counts.clear();
        } else if let Some(chain) = line.strip_prefix(':') {
            read_chain(&mut saved, &table, chain);
        } else if line.starts_with(['-', '[']) {
            read_rule(&mut saved, &table, line, &mut counts);
        }
    }
    saved
}

fn read_chain(saved: &mut Saved, table: &str, line: &str) {
    let mut parts = line.split_whitespace();
    let (Some(name), Some(policy)) = (parts.next(), parts.next()) else {
        return;
    };
    if let Some(chain) = Chain::named(name).filter(|c| place(*c).0 == table) {
        saved.present.chains.entry(chain).or_default();
    } else if policy == "-" {
        saved.own_made.insert((table.to_owned(), name.to_owned()));
    } else if (table, name, policy) == ("filter", "FORWARD", "DROP") {
        saved.forward_drops = true;
    }
}

fn read_rule(saved: &mut Saved, table: &str, text: &str, counts: &mut BTreeMap<String, u64>) {
    let all = words(text);
    let (packets, words) = match all.first().and_then(|w| w.strip_prefix('[')) {
        Some(counters) => {
            let number = counters.split(':').next().and_then(|n| n.parse().ok());
            (number.unwrap_or(0), &all[1..])
        }
        None => (0, &all[..]),
    };
    let [add, parent, words @ ..] = words else {
        return;
    };
    if add != "-A" {
        return;
    }
    let number = counts.get(parent.as_ref()).map_or(1, |before| before + 1);
    counts.insert(parent.to_string(), number);
    if let Some(chain) = Chain::named(parent).filter(|c| place(*c).0 == table) {
        let seen = Seen {
            rule: parse(chain, words),
            tag: comment(words).and_then(Tag::parse),
            place: number,
            packets,
        };
        saved.present.chains.entry(chain).or_default().push(seen);
        return;
    }
    let line = Line {
        table: table.to_owned(),
        chain: parent.to_string(),
        words: words.iter().map(|w| w.to_string()).collect(),
    };
    let text = text.split_once("-A ").map_or(text, |(_, rule)| rule);
    match jump(&line, number, text) {
        Some((chain, jump)) => saved.present.jumps.entry(chain).or_default().push(jump),
        None => saved.others.push(line),
    }
}

fn jump(line: &Line, number: u64, text: &str) -> Option<(Chain, Jump)> {
    let chain = Chain::named(line.value("-j")?)?;
    let made_table = comment(&line.words) == Some(MADE_TABLE);
    let mut bare = line.words.clone();
    if let Some(at) = bare.iter().position(|w| w == "--comment") {
        // `-m comment` stands before it.
        bare.drain(at.saturating_sub(2)..(at + 2).min(bare.len()));
    }
    let expected = owned_words(&format!("{} -j {}", entry(chain), chain.name()));
    let home = (line.table.as_str(), line.chain.as_str()) == place(chain);
    let jump = Jump {
        place: number,
        text: text.to_owned(),
        first: number == 1,
        right: home && bare == expected,
        made_table,
    };
    Some((chain, jump))
}

/// Writes the changes as one input for iptables-restore.
pub(super) fn script(delta: &Delta, saved: &Saved) -> String {
    let mut text = String::new();
    for table in ["raw", "nat", "filter"] {
        let changes: Vec<_> = delta
            .iter()
            .filter(|(c, _)| place(**c).0 == table)
            .collect();
        if changes.is_empty() {
            continue;
        }
        let _ = writeln!(text, "*{table}");
        for (chain, change) in changes {
            write_chain(&mut text, *chain, change, !saved.tables.contains(table));
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn write_chain(text: &mut String, chain: Chain, change: &ChainDelta, new_table: bool) {
    let (name, parent) = (chain.name(), place(chain).1);
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    if change.drop_table {
        // The jump says that the table is ours, and goes with it.
        line(format_args!("-F {name}"));
        return;
    }
    if change.make {
        line(format_args!(":{name} - [0:0]"));
    }
    for jump in &change.unjump {
        line(format_args!("-D {}", jump.text));
    }
    if change.drop {
        line(format_args!("-F {name}"));
        line(format_args!("-X {name}"));
        return;
    }
    // From the end, so that the numbers that follow still hold.
    for number in change.delete.iter().rev() {
        line(format_args!("-D {name} {number}"));
    }
    for rule in &change.add {
        line(format_args!("-A {name} {}", render(rule)));
    }
    if change.jump {
        let comment = match new_table {
            true => format!(" -m comment --comment {MADE_TABLE}"),
            false => String::new(),
        };
        line(format_args!(
            "-I {parent} 1 {}{comment} -j {name}",
            entry(chain)
        ));
    }
}

/// Returns the tables that were made for what goes now, and the chains of ours that are the last in
/// them.
pub(super) fn tables_to_drop(delta: &Delta) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut tables: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (chain, _) in delta.iter().filter(|(_, change)| change.drop_table) {
        tables
            .entry(place(*chain).0)
            .or_default()
            .push(chain.name());
    }
    tables
}

/// Writes the end of those chains in a table that must stay.
pub(super) fn end_of_chains(delta: &Delta, table: &str) -> String {
    let mut text = format!("*{table}\n");
    let going =
        |(chain, change): &(&Chain, &ChainDelta)| change.drop_table && place(**chain).0 == table;
    for (chain, change) in delta.iter().filter(going) {
        for jump in &change.unjump {
            let _ = writeln!(text, "-D {}", jump.text);
        }
        let _ = writeln!(text, "-X {}", chain.name());
    }
    text.push_str("COMMIT\n");
    text
}
