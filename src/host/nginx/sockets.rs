//! What our nginx listens on and whom it talks to, from the kernel's own tables (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::api::Protocol;
use crate::host::ports::{self, Listener};

/// Connections of our workers that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connections(Vec<(Protocol, SocketAddr, SocketAddr)>);

impl Connections {
    /// Counts those of clients that came to a socket.
    pub fn of_clients(&self, protocol: Protocol, at: SocketAddr) -> u64 {
        self.count(|p, local, _| p == protocol && covers(at, local))
    }

    /// Counts those to a target.
    pub fn to_target(&self, protocol: Protocol, at: SocketAddr) -> u64 {
        self.count(|p, _, remote| p == protocol && remote == at)
    }

    fn count(&self, matches: impl Fn(Protocol, SocketAddr, SocketAddr) -> bool) -> u64 {
        let all = self.0.iter().filter(|(p, l, r)| matches(*p, *l, *r));
        all.count() as u64
    }
}

/// Returns whether what comes to `address` comes to a socket that is bound to `bound`.
pub(super) fn covers(bound: SocketAddr, address: SocketAddr) -> bool {
    let same_family = bound.is_ipv4() == address.is_ipv4();
    let same_address = bound.ip() == address.ip() || bound.ip().is_unspecified();
    bound.port() == address.port() && same_family && same_address
}

/// Returns the numbers of the sockets that a process has.
pub(super) fn inodes(pid: i32) -> BTreeSet<u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = files.into_iter().flatten().flatten();
    links
        .filter_map(|file| inode(&fs::read_link(file.path()).ok()?))
        .collect()
}

fn inode(link: &Path) -> Option<u64> {
    let rest = link.to_str()?.strip_prefix("socket:[")?;
    rest.strip_suffix(']')?.parse().ok()
}

/// Everybody who listens on this host at one moment.
pub(super) struct Listening(Vec<Listener>);

impl Listening {
    /// Looks.
    pub(super) fn now() -> Self {
        Self(ports::listeners())
    }

    /// Returns what is listened on with sockets of these numbers.
    pub(super) fn with(&self, inodes: &BTreeSet<u64>) -> BTreeSet<(Protocol, SocketAddr)> {
        let ours = self.0.iter().filter(|l| inodes.contains(&l.inode));
        ours.map(|l| (l.protocol, SocketAddr::new(l.address, l.port)))
            .collect()
    }

    /// Returns who listens where `at` would, with a socket of another number.
    pub(super) fn other(
        &self,
        protocol: Protocol,
        at: SocketAddr,
        ours: &BTreeSet<u64>,
    ) -> Option<&Listener> {
        self.0.iter().find(|l| {
            let there = SocketAddr::new(l.address, l.port);
            let overlap = covers(there, at) || covers(at, there);
            // One that takes both families is not told from one that takes IPv6 only: binding says.
            l.protocol == protocol && overlap && !ours.contains(&l.inode)
        })
    }
}

/// Returns what a process listens on.
pub(super) fn listening(pid: i32) -> BTreeSet<(Protocol, SocketAddr)> {
    Listening::now().with(&inodes(pid))
}

/// Tries whether a socket can be bound, IPv6 on its own.
pub(super) fn try_bind(protocol: Protocol, at: SocketAddr) -> io::Result<()> {
    if at.is_ipv4() {
        return ports::try_bind(protocol, Some(at.ip()), at.port());
    }
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket(AddressFamily::INET6, kind, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, protocol == Protocol::Tcp)?;
    rustix::net::bind(&socket, &at)?;
    if protocol == Protocol::Tcp {
        // Two may be bound to one port as long as none listens.
        rustix::net::listen(&socket, 1)?;
    }
    Ok(())
}

/// Returns the open connections of processes.
pub(super) fn connections(pids: impl Iterator<Item = i32>) -> Connections {
    let held: BTreeSet<u64> = pids.flat_map(inodes).collect();
    let all = ports::connections().into_iter();
    let ours = all.filter(|c| held.contains(&c.inode));
    Connections(ours.map(|c| (c.protocol, c.local, c.remote)).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_for_all_addresses_covers_each_of_its_family() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(covers(at("0.0.0.0:80"), at("10.0.0.1:80")));
        assert!(covers(at("[::]:80"), at("[fd00::1]:80")));
        for (bound, address) in [
            ("0.0.0.0:80", "10.0.0.1:81"),
            ("0.0.0.0:80", "[fd00::1]:80"),
            ("10.0.0.1:80", "10.0.0.2:80"),
            ("10.0.0.1:80", "0.0.0.0:80"),
        ] {
            assert!(!covers(at(bound), at(address)), "{bound} {address}");
        }
    }

    #[test]
    fn our_own_sockets_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let me = std::process::id().cast_signed();
        assert!(listening(me).contains(&(Protocol::Tcp, at)));
        let now = Listening::now();
        assert!(now.other(Protocol::Tcp, at, &inodes(me)).is_none());
        assert!(now.other(Protocol::Tcp, at, &BTreeSet::new()).is_some());
        let _client = TcpStream::connect(at).unwrap();
        let _server = listener.accept().unwrap();
        let open = connections([me].into_iter());
        assert_eq!(open.to_target(Protocol::Tcp, at), 1);
        assert_eq!(open.of_clients(Protocol::Tcp, at), 1);
    }

    #[test]
    fn a_port_of_ipv6_is_tried_without_that_of_ipv4() {
        let Ok(six) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let at = six.local_addr().unwrap();
        assert!(try_bind(Protocol::Tcp, at).is_err());
        assert!(try_bind(Protocol::Udp, at).is_ok());
        drop(six);
        let _four = TcpListener::bind(("0.0.0.0", at.port())).unwrap();
        assert!(
            try_bind(
                Protocol::Tcp,
                SocketAddr::new("::".parse().unwrap(), at.port())
            )
            .is_ok()
        );
    }
}
