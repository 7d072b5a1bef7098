//! Which ports of this host programs listen at, from the kernel's own tables (proc(5)).

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use crate::api::Protocol;

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub protocol: Protocol,
    /// The address, unspecified for all of them.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Number of the socket.
    pub inode: u64,
}

/// States of a socket that takes in what nobody asked for: TCP_LISTEN, and for UDP, TCP_CLOSE.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

const TABLES: [(Protocol, &str); 4] = [
    (Protocol::Tcp, "/proc/net/tcp"),
    (Protocol::Tcp, "/proc/net/tcp6"),
    (Protocol::Udp, "/proc/net/udp"),
    (Protocol::Udp, "/proc/net/udp6"),
];

/// A connection that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The protocol.
    pub protocol: Protocol,
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Number of the socket.
    pub inode: u64,
}

/// State of a socket that has another end.
const ESTABLISHED: &str = "01";

/// Lists all connections that are open. Empty where the kernel does not tell.
pub fn connections() -> Vec<Connection> {
    let all = TABLES.iter().flat_map(|(protocol, path)| {
        let table = fs::read_to_string(path).unwrap_or_default();
        let found: Vec<Connection> = table
            .lines()
            .skip(1)
            .filter_map(|line| connection(*protocol, line))
            .collect();
        found
    });
    all.collect()
}

fn connection(protocol: Protocol, line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != ESTABLISHED {
        return None;
    }
    Some(Connection {
        protocol,
        local: parse_socket(fields.get(1)?)?,
        remote: parse_socket(fields.get(2)?)?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

fn parse_socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(parse_address(address)?, port))
}

/// Lists everybody who listens at an address of this host. Empty where the kernel does not tell.
pub fn listeners() -> Vec<Listener> {
    let tables = TABLES.iter();
    tables
        .flat_map(|(protocol, path)| parse(*protocol, &beginning(*protocol, path)))
        .collect()
}

/// Reads a table as far as listeners go. Those of TCP stand before its connections, of which there
/// may be tens of thousands that are over and not forgotten yet.
fn beginning(protocol: Protocol, path: &str) -> String {
    if protocol == Protocol::Udp {
        return fs::read_to_string(path).unwrap_or_default();
    }
    let Ok(file) = File::open(path) else {
        return String::new();
    };
    let listens = |line: &String| line.split_whitespace().nth(3) == Some(TCP_LISTEN);
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let mut text = String::new();
    for (at, line) in lines.enumerate() {
        if at > 0 && !listens(&line) {
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Parses one of the kernel's tables: addresses stand there in words of the host's byte order.
pub fn parse(protocol: Protocol, table: &str) -> Vec<Listener> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| of_line(protocol, line))
        .collect()
}

fn of_line(protocol: Protocol, line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let state = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    if *fields.get(3)? != state {
        return None;
    }
    let at = parse_socket(fields.get(1)?)?;
    Some(Listener {
        protocol,
        address: at.ip(),
        port: at.port(),
        inode: fields.get(9)?.parse().ok()?,
    })
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok();
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into()),
        32 => {
            let mut bytes = [0; 16];
            for (n, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(8 * n)?.to_ne_bytes());
            }
            let address = Ipv6Addr::from(bytes);
            Some(address.to_ipv4_mapped().map_or(address.into(), IpAddr::V4))
        }
        _ => None,
    }
}

/// Finds the program that has a socket, as `nginx (pid 123)`; root sees everybody's, others only
/// their own.
pub fn program(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            has_file(&entry.path(), &wanted).then(|| named(&entry.path(), pid))
        })
        .next()
}

fn has_file(process: &Path, wanted: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|f| fs::read_link(f.path()).is_ok_and(|to| to.as_os_str() == wanted))
}

fn named(process: &Path, pid: u32) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim_end())
}

/// Tries whether a port can be taken: binds it and lets go at once.
///
/// # Errors
/// What the system says: `AddrInUse`, `AddrNotAvailable` for an address that is not the host's, or
/// `PermissionDenied` below 1024 without the right, which tells nothing.
pub fn try_bind(protocol: Protocol, address: Option<IpAddr>, port: u16) -> io::Result<()> {
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let at = SocketAddr::new(address, port);
    match protocol {
        Protocol::Tcp => TcpListener::bind(at).map(drop),
        Protocol::Udp => UdpSocket::bind(at).map(drop),
    }
}

/// What came of knocking at a port of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// Somebody listens.
    Answered,
    /// The guest is there, and nobody listens.
    Refused,
    /// Nothing came back.
    Silence,
}

/// Knocks at a TCP port.
pub fn knock(address: Ipv4Addr, port: u16, patience: Duration) -> Knock {
    match TcpStream::connect_timeout(&SocketAddr::new(address.into(), port), patience) {
        Ok(_) => Knock::Answered,
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Knock::Refused,
        Err(_) => Knock::Silence,
    }
}

/// Returns the ports that the kernel gives to outgoing connections
/// (`net.ipv4.ip_local_port_range`).
pub fn ephemeral() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => (first, last),
        _ => (32768, 60999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        let found = parse(Protocol::Tcp, tcp);
        assert_eq!(found.len(), 1, "a connection is no listener");
        assert_eq!(
            (found[0].address.to_string().as_str(), found[0].port),
            ("127.0.0.1", 8080)
        );
        assert_eq!(found[0].inode, 4711);
        let udp6 = "head\n  1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 99 2 0 0\n\
            2: 0000000000000000FFFF00000100007F:0035 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 98 2 0 0\n";
        let found = parse(Protocol::Udp, udp6);
        assert_eq!(found[0].address.to_string(), "::1");
        assert_eq!(found[1].address.to_string(), "127.0.0.1");
    }

    #[test]
    fn a_socket_of_ours_is_found_with_its_program() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners();
        let ours = found.iter().find(|l| l.port == port).unwrap();
        assert_eq!(ours.address.to_string(), "127.0.0.1");
        let pid = std::process::id();
        let program = program(ours.inode).unwrap();
        assert!(program.contains(&format!("pid {pid}")), "{program}");
        let here = Ipv4Addr::LOCALHOST;
        assert_eq!(knock(here, port, Duration::from_secs(5)), Knock::Answered);
        let taken = try_bind(Protocol::Tcp, None, port).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert_eq!(knock(here, port, Duration::from_secs(5)), Knock::Refused);
        assert!(try_bind(Protocol::Udp, "127.0.0.1".parse().ok(), port).is_ok());
        let elsewhere = try_bind(Protocol::Tcp, "192.0.2.1".parse().ok(), port).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
