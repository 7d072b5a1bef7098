//! Connections that exist: rules are asked for new ones only, so a forward that changes or goes
//! leaves its connections on the old way, UDP clients for ever. Entries are found by their original
//! port, and only ours are deleted.

mod left;
mod message;
mod tool;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::error::FirewallError;
use super::netlink::{open, receive, send};
use super::rule::Family;
use super::tools::{Privilege, Tools};
pub(super) use left::Left;
use message::{Entry, Reply};

/// Deletes the entries that are left on an old way.
pub(super) fn flush(tools: Tools, left: &Left<'_>) -> Result<(), FirewallError> {
    if left.is_nothing() {
        return Ok(());
    }
    let local = local_addresses();
    if tools.privilege == Privilege::Sudo {
        return tool::flush(tools, left, &local);
    }
    let io = |source| FirewallError::Kernel {
        path: "the kernel's table of connections".to_owned(),
        source,
    };
    let socket = open().map_err(io)?;
    for family in left.families() {
        for entry in dump(&socket, family).map_err(io)? {
            if left.has(&entry, &local)? {
                delete(&socket, family, &entry).map_err(io)?;
            }
        }
    }
    Ok(())
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
