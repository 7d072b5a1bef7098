//! The targets of a balancer, and how one of them is chosen.

use std::net::SocketAddr;

use super::word::{Joined, Own, Word, Writer};
use crate::api::{Algorithm, ResolvedBalancer, ResolvedTarget, Uid};

/// How many idle connections to targets each worker keeps.
const IDLE: u16 = 32;

/// Which part of nginx the targets are for: they have different methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Requests.
    Http,
    /// Connections and packets.
    Stream,
}

/// A target that is tried, and how.
struct Server<'a> {
    at: SocketAddr,
    target: &'a ResolvedTarget,
    backup: bool,
}

/// Writes the targets that get new connections. Returns whether there are any: nginx takes no
/// upstream without.
pub(super) fn write(out: &mut Writer, part: Part, uid: Uid, balancer: &ResolvedBalancer) -> bool {
    let servers = servers(balancer);
    if servers.is_empty() {
        return false;
    }
    out.block("upstream", &[&Own(uid)], |out| {
        // What one worker learns of a target, all of them know; turns are taken among all of them.
        let kilobytes = 64 + 2 * servers.len().saturating_sub(24);
        out.line("zone", &[&Own(uid), &Kilobytes(kilobytes)]);
        method(out, part, balancer.object.spec.algorithm());
        for server in &servers {
            write_server(out, server);
        }
        if part == Part::Http {
            out.line("keepalive", &[&IDLE]);
            // Less than the 5 s after which many servers close an idle connection: a request that
            // is sent into the closing one is lost.
            out.line("keepalive_timeout", &[&"4s"]);
        }
    });
    true
}

/// Backups step in by being ordinary targets where there is no other one: nginx takes no upstream
/// of backups only.
fn servers(balancer: &ResolvedBalancer) -> Vec<Server<'_>> {
    let mut servers: Vec<Server<'_>> = balancer
        .targets
        .iter()
        .filter_map(|target| {
            Some(Server {
                at: target.open()?,
                target,
                backup: target.target.is_backup(),
            })
        })
        .collect();
    let has_backups = balancer.object.spec.algorithm().has_backups();
    if !has_backups || servers.iter().all(|s| s.backup) {
        for server in &mut servers {
            server.backup = false;
        }
    }
    servers
}

fn write_server(out: &mut Writer, server: &Server<'_>) {
    let weight = server.target.target.weight();
    let weight = Joined("weight=", &weight);
    let mut words: Vec<&dyn Word> = vec![&server.at];
    if server.target.target.weight() != 1 {
        words.push(&weight);
    }
    words.extend([&"max_fails=1" as &dyn Word, &"fail_timeout=10s"]);
    if server.backup {
        words.push(&"backup");
    }
    out.line("server", &words);
}

fn method(out: &mut Writer, part: Part, algorithm: Algorithm) {
    match (algorithm, part) {
        (Algorithm::RoundRobin, _) => {}
        (Algorithm::LeastConn, _) => out.line("least_conn", &[]),
        (Algorithm::RandomTwo, _) => out.line("random", &[&"two", &"least_conn"]),
        (Algorithm::IpHash, Part::Http) => out.line("ip_hash", &[]),
        // Only HTTP has the other one.
        (Algorithm::IpHash, Part::Stream) => out.line("hash", &[&"$remote_addr"]),
        (Algorithm::ConsistentHash, _) => out.line("hash", &[&"$remote_addr", &"consistent"]),
    }
}

struct Kilobytes(usize);

impl Word for Kilobytes {
    fn put(&self, text: &mut String) {
        self.0.put(text);
        text.push('k');
    }
}
