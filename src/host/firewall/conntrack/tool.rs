//! Connections by `conntrack`, for a caller without the right to ask the kernel.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::super::error::HostError;
use super::super::error::FirewallError;
use super::super::rule::Family;
use super::super::tools::Tools;
use super::left::Left;
use super::message::Entry;
use crate::api::Protocol;
use crate::net::forward::protocol_name;

/// One connection as the tool prints it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    entry: Entry,
    source: IpAddr,
    source_port: u16,
}

/// Lists all entries at once, and deletes those that are left.
pub(super) fn flush(
    tools: Tools,
    left: &Left<'_>,
    local: &HashSet<IpAddr>,
) -> Result<(), FirewallError> {
    for family in left.families() {
        let family = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let Some(listed) = run(tools, &["-L", "-f", family])? else {
            if left.is_doubt() {
                return Ok(());
            }
            return Err(HostError::Missing {
                names: vec!["conntrack".to_owned()],
                package: "conntrack",
            }
            .into());
        };
        for told in listed.lines().filter_map(told) {
            if left.has(&told.entry, local)? {
                delete(tools, family, &told)?;
            }
        }
    }
    Ok(())
}

fn delete(tools: Tools, family: &str, told: &Told) -> Result<(), FirewallError> {
    let (source, source_port) = (told.source.to_string(), told.source_port.to_string());
    let (to, port) = (told.entry.address.to_string(), told.entry.port.to_string());
    let protocol = protocol_name(told.entry.protocol);
    let args = [
        "-D",
        "-f",
        family,
        "-p",
        protocol,
        "--orig-src",
        &source,
        "--orig-dst",
        &to,
        "--orig-port-src",
        &source_port,
        "--orig-port-dst",
        &port,
    ];
    match run(tools, &args) {
        // It has ended by itself.
        Err(FirewallError::Tool(HostError::Failed { stderr, .. }))
            if stderr.contains("0 flow entries") =>
        {
            Ok(())
        }
        done => done.map(drop),
    }
}

/// Returns what it prints; nothing where there is no such tool.
fn run(tools: Tools, args: &[&str]) -> Result<Option<String>, FirewallError> {
    let output = tools.run_if_there("conntrack", "conntrack", args, b"")?;
    Ok(output.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()))
}

/// Reads `udp 17 29 src=A dst=B sport=1 dport=2 src=C dst=A sport=3 dport=1 mark=0 use=1`.
fn told(line: &str) -> Option<Told> {
    let protocol = match line.split_whitespace().next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let value = |key: &str, n: usize| {
        let of = |word| str::strip_prefix(word, key)?.strip_prefix('=');
        line.split_whitespace().filter_map(of).nth(n)
    };
    let ip = |key: &str, n: usize| value(key, n)?.parse::<IpAddr>().ok();
    let port = |key: &str, n: usize| value(key, n)?.parse::<u16>().ok();
    let (to, answers_from) = (ip("dst", 0)?, ip("src", 1)?);
    let translated = (to, port("dport", 0)?) != (answers_from, port("sport", 1)?);
    Some(Told {
        entry: Entry::told(protocol, (to, port("dport", 0)?), answers_from, translated),
        source: ip("src", 0)?,
        source_port: port("sport", 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_prints_is_read() {
        let line = "udp      17 29 src=10.0.0.9 dst=10.0.0.1 sport=4000 dport=53 [UNREPLIED] \
                    src=10.1.0.2 dst=10.0.0.9 sport=5353 dport=4000 mark=0 use=1";
        let read = told(line).unwrap();
        assert_eq!((read.source_port, read.entry.port), (4000, 53));
        assert!(read.entry.translated);
        assert_eq!(read.entry.answers_from, IpAddr::from([10, 1, 0, 2]));
        let plain = "tcp 6 431999 ESTABLISHED src=::1 dst=::1 sport=40 dport=22 src=::1 dst=::1 \
                     sport=22 dport=40 [ASSURED] mark=0 use=1";
        assert!(!told(plain).unwrap().entry.translated);
        assert_eq!(
            told("icmp 1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0"),
            None
        );
    }
}
