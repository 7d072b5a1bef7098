//! Gives a DHCP lease back in the place of a guest that is gone (RFC 2131, DHCPRELEASE).
//!
//! dnsmasq keeps a lease until it ends, an hour or more, and would refuse the address to the next
//! guest; `dhcp_release` of dnsmasq-utils does the same but is rarely installed.

use std::net::{Ipv4Addr, UdpSocket};

use super::error::HostError;
use crate::net::Mac;

const SERVER_PORT: u16 = 67;
const RELEASE: u8 = 7;

/// Sends a DHCPRELEASE to the server at `server`, which listens on `bridge`.
///
/// `client_id` is what the lease says the client called itself, as hex bytes with colons.
///
/// # Errors
/// [`HostError::Spawn`] with the system's reason.
pub fn release(
    bridge: &str,
    server: Ipv4Addr,
    ip: Ipv4Addr,
    mac: Mac,
    client_id: Option<&str>,
) -> Result<(), HostError> {
    tracing::info!(target: "host", "DHCPRELEASE {ip} {mac} to {server} on {bridge}");
    let packet = packet(
        server,
        ip,
        mac,
        client_id.map(hex_bytes).unwrap_or_default().as_slice(),
    );
    send(bridge, server, &packet).map_err(|source| HostError::Spawn {
        program: "DHCPRELEASE".to_owned(),
        source,
    })
}

fn send(bridge: &str, server: Ipv4Addr, packet: &[u8]) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // dnsmasq looks at the interface that a packet came in by.
    let _ = rustix::net::sockopt::set_socket_reuseaddr(&socket, true);
    let _ = bridge;
    socket.send_to(packet, (server, SERVER_PORT)).map(drop)
}

fn packet(server: Ipv4Addr, ip: Ipv4Addr, mac: Mac, client_id: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0];
    packet.extend([0x6b, 0x76, 0x6d, 0x63]);
    packet.extend([0; 4]);
    packet.extend(ip.octets());
    packet.extend([0; 12]);
    packet.extend(mac.octets());
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99]);
    packet.extend([53, 1, RELEASE]);
    packet.extend([54, 4]);
    packet.extend(server.octets());
    if let (false, Ok(length)) = (client_id.is_empty(), u8::try_from(client_id.len())) {
        packet.extend([61, length]);
        packet.extend(client_id);
    }
    packet.push(255);
    packet
}

fn hex_bytes(text: &str) -> Vec<u8> {
    text.split(':')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_a_release_for_the_address() {
        let mac = Mac::new([0x52, 0x54, 0, 1, 2, 3]);
        let ip = Ipv4Addr::new(10, 0, 0, 9);
        let packet = packet(Ipv4Addr::new(10, 0, 0, 1), ip, mac, &[1, 2]);
        assert_eq!(&packet[12..16], &[10, 0, 0, 9], "ciaddr");
        assert_eq!(&packet[28..34], &mac.octets(), "chaddr");
        assert_eq!(&packet[236..240], &[99, 130, 83, 99], "magic cookie");
        assert_eq!(&packet[240..243], &[53, 1, 7], "DHCPRELEASE");
        assert_eq!(packet.last(), Some(&255));
    }
}
