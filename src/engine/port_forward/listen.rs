//! The ports of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::{ForwardRequest, PortPair};
use crate::error::{Error, Result};

/// A port that is listened on.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) at: SocketAddr,
    pub(super) guest: u16,
}

/// Listens on every port at every address, or on none.
///
/// `localhost` is 127.0.0.1 and ::1, and one of them is enough: not every machine has both.
///
/// # Errors
/// Usage for what is no address, a conflict for a port that is taken.
pub(super) fn bind(request: &ForwardRequest) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for pair in &request.ports {
        let mut port = pair.local;
        for name in &request.addresses {
            let found = all_of(addresses(name)?, &mut port, pair)?;
            bound.extend(found);
        }
    }
    Ok(bound)
}

fn addresses(name: &str) -> Result<Vec<IpAddr>> {
    if name == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    bare.unwrap_or(name)
        .parse()
        .map(|address| vec![address])
        .map_err(|_| {
            Error::usage(format!("--address: {name:?} is no address"))
                .hint("--address localhost,192.168.1.10")
        })
}

/// Listens at each of the addresses; all have the port that the first one got.
fn all_of(addresses: Vec<IpAddr>, port: &mut u16, pair: &PortPair) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    let mut refused = None;
    for address in addresses {
        match listen(SocketAddr::new(address, *port)) {
            Ok((listener, at)) => {
                *port = at.port();
                let guest = pair.guest;
                bound.push(Bound {
                    listener,
                    at,
                    guest,
                });
            }
            Err(error) => refused = Some((SocketAddr::new(address, *port), error)),
        }
    }
    match refused {
        // The other half of localhost may not be there; a port that somebody has is no excuse.
        Some((_, error)) if !bound.is_empty() && error.kind() != io::ErrorKind::AddrInUse => {
            Ok(bound)
        }
        Some((at, error)) => Err(unable(at, pair, &error)),
        None => Ok(bound),
    }
}

fn listen(at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(at)?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn unable(at: SocketAddr, pair: &PortPair, error: &io::Error) -> Error {
    let message = format!("unable to listen on {at}");
    let worded = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::conflict(message).caused_by("only root may have ports below 1024")
        }
        io::ErrorKind::AddrInUse => {
            Error::conflict(message).caused_by("another process has the port")
        }
        _ => Error::conflict(message).caused_by(error),
    };
    worded.hint(format!(":{} takes a free port", pair.guest))
}
