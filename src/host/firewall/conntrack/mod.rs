//! Connections that exist: rules are asked for new ones only, so a forward that changes or goes
//! leaves its connections on the old way, UDP clients for ever. Entries are found by their original
//! port, and only ours are deleted.

mod message;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use crate::api::Protocol;
use crate::net::forward::protocol_name;

use super::super::error::HostError;
use super::error::FirewallError;
use super::netlink::{open, receive, send};
use super::plan::Moved;
use super::rule::Family;
use super::tools::{Privilege, Tools};
use message::{Entry, Reply};

/// Deletes the entries that translations which moved leave behind.
pub(super) fn flush(tools: Tools, moved: &[Moved]) -> Result<(), FirewallError> {
    // Who calls by TCP where there was no forward has been told so, and asks anew by itself.
    let leaves = |m: &&Moved| m.from.is_some() || m.claim.protocol == Protocol::Udp;
    let moved: Vec<&Moved> = moved.iter().filter(leaves).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let moved = moved.as_slice();
    if tools.privilege == Privilege::Sudo {
        return by_tool(tools, moved);
    }
    let io = |source| FirewallError::Kernel {
        path: "the kernel's table of connections".to_owned(),
        source,
    };
    let socket = open().map_err(io)?;
    let local = local_addresses();
    let ports: HashSet<(Protocol, u16)> = moved
        .iter()
        .flat_map(|m| (m.claim.first..=m.claim.last).map(|port| (m.claim.protocol, port)))
        .collect();
    for family in families(moved) {
        let entries = dump(&socket, family).map_err(io)?;
        for entry in entries {
            let known = ports.contains(&(entry.protocol, entry.port));
            if known && moved.iter().any(|m| is_left_behind(&entry, m, &local)) {
                delete(&socket, family, &entry).map_err(io)?;
            }
        }
    }
    Ok(())
}

fn families(moved: &[&Moved]) -> Vec<Family> {
    let of = |m: &&Moved| m.from.or(m.claim.address).map(Family::of);
    let all = [Family::V4, Family::V6];
    all.into_iter()
        .filter(|family| moved.iter().any(|m| of(m).is_none_or(|f| f == *family)))
        .collect()
}

/// Returns whether an entry goes a way that a translation has left.
fn is_left_behind(entry: &Entry, moved: &Moved, local: &HashSet<IpAddr>) -> bool {
    let claim = &moved.claim;
    let ours = entry.protocol == claim.protocol
        && (claim.first..=claim.last).contains(&entry.port)
        && claim.address.is_none_or(|address| address == entry.address);
    let to_host = || claim.address.is_some() || local.contains(&entry.address);
    match moved.from {
        Some(guest) => ours && entry.translated && entry.answers_from == guest,
        // A client that asked before there was a forward.
        None => ours && !entry.translated && entry.protocol == Protocol::Udp && to_host(),
    }
}

fn dump(socket: &OwnedFd, family: Family) -> io::Result<Vec<Entry>> {
    send(socket, &message::get_all(family))?;
    let (mut entries, mut buffer) = (Vec::new(), vec![0; 1 << 18]);
    loop {
        for reply in message::replies(receive(socket, &mut buffer)?) {
            match reply {
                Reply::Entry(entry) => entries.push(entry),
                Reply::Other => {}
                Reply::Done(0) => return Ok(entries),
                Reply::Done(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }
}

fn delete(socket: &OwnedFd, family: Family, entry: &Entry) -> io::Result<()> {
    const GONE: i32 = rustix::io::Errno::NOENT.raw_os_error();
    send(socket, &message::delete(family, entry))?;
    let mut buffer = vec![0; 1 << 13];
    loop {
        for reply in message::replies(receive(socket, &mut buffer)?) {
            match reply {
                Reply::Done(0 | GONE) => return Ok(()),
                Reply::Done(code) => return Err(io::Error::from_raw_os_error(code)),
                Reply::Entry(_) | Reply::Other => {}
            }
        }
    }
}

/// Returns the addresses of the host (proc(5), `/proc/net/fib_trie` and `/proc/net/if_inet6`).
fn local_addresses() -> HashSet<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut found: HashSet<IpAddr> = HashSet::new();
    let mut last: Option<IpAddr> = None;
    for line in text.lines() {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last);
        }
    }
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let number = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    found.extend(
        text.lines()
            .filter_map(number)
            .map(|n| IpAddr::V6(n.into())),
    );
    found
}

/// The tool deletes by the same marks; a status of 1 says that there was no such entry.
fn by_tool(tools: Tools, moved: &[&Moved]) -> Result<(), FirewallError> {
    for one in moved {
        let Some(guest) = one.from else { continue };
        for port in one.claim.first..=one.claim.last {
            let (port, guest) = (port.to_string(), guest.to_string());
            let protocol = protocol_name(one.claim.protocol);
            let args = [
                "-D",
                "-p",
                protocol,
                "--orig-port-dst",
                &port,
                "--reply-src",
                &guest,
            ];
            match tools.run_if_there("conntrack", "conntrack", &args, b"") {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(HostError::Missing {
                        names: vec!["conntrack".to_owned()],
                        package: "conntrack",
                    }
                    .into());
                }
                Err(FirewallError::Tool(HostError::Failed { stderr, .. }))
                    if stderr.contains("0 flow entries") => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}
