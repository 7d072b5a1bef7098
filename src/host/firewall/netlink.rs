//! Netlink (netlink(7)): sockets, and what messages are made of. Headers are in the host's byte order,
//! values in the network's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// The flags above an attribute's number.
const NUMBER: u16 = 0x3fff;

/// Opens a socket to netfilter, which waits 10 seconds for an answer.
pub(super) fn open() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )?;
    sockopt::set_socket_timeout(
        &socket,
        sockopt::Timeout::Recv,
        Some(Duration::from_secs(10)),
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Sends a message to the kernel.
pub(super) fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, message, SendFlags::empty(), &kernel)?;
    Ok(())
}

/// Receives a packet of messages.
pub(super) fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let (length, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
    Ok(&buffer[..length])
}

/// Makes a message of netfilter (`struct nlmsghdr`, `struct nfgenmsg`).
pub(super) fn request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 20;
    let length = u32::try_from(HEADERS + attributes.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0, 0, 0]);
    message.extend(attributes);
    message
}

/// Splits a packet into its messages: their types and what follows the header.
pub(super) fn messages(packet: &[u8]) -> Vec<(u16, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), packet);
    while let (Some(length), Some(kind)) = (number32(rest), rest.get(4..6)) {
        let length = length as usize;
        let Some(message) = rest.get(16..length) else {
            break;
        };
        all.push((u16::from_ne_bytes([kind[0], kind[1]]), message));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// Returns the error number that an error message carries, or 0.
pub(super) fn error_of(message: &[u8]) -> i32 {
    let four = message.get(..4).and_then(|b| b.try_into().ok());
    -four.map_or(0, i32::from_ne_bytes)
}

fn number32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Splits attributes into numbers, values and themselves with their headers and padding.
pub(super) fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8], &[u8])> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some(header) = rest.get(..4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NUMBER;
        let Some(value) = rest.get(4..length) else {
            break;
        };
        let end = length.next_multiple_of(4).min(rest.len());
        all.push((kind, value, &rest[..end]));
        rest = &rest[end..];
    }
    all
}
