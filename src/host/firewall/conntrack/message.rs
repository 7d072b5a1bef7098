//! The messages of ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::api::Protocol;

use super::super::netlink::{self, attributes};
use super::super::rule::Family;

const CTNETLINK: u16 = 1 << 8;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const NEW: u16 = CTNETLINK;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

/// Bit of the status: the destination was translated.
const STATUS_DST_NAT: u32 = 1 << 5;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) protocol: Protocol,
    /// Whom the client called.
    pub(super) address: IpAddr,
    /// The port that it called.
    pub(super) port: u16,
    /// Who answers.
    pub(super) answers_from: IpAddr,
    pub(super) translated: bool,
    /// The attributes by which the kernel knows it.
    key: Vec<u8>,
}

impl Entry {
    /// Makes one of what the tool tells, which finds it by other marks.
    pub(super) const fn told(
        protocol: Protocol,
        (address, port): (IpAddr, u16),
        answers_from: IpAddr,
        translated: bool,
    ) -> Self {
        Self {
            protocol,
            address,
            port,
            answers_from,
            translated,
            key: Vec::new(),
        }
    }
}

/// One message of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Entry(Entry),
    /// An entry of a protocol without ports.
    Other,
    /// The end, with an error number or 0.
    Done(i32),
}

/// Asks for all entries of a family.
pub(super) fn get_all(family: Family) -> Vec<u8> {
    request(GET, REQUEST | DUMP, family, &[])
}

/// Asks for the end of one.
pub(super) fn delete(family: Family, entry: &Entry) -> Vec<u8> {
    request(DELETE, REQUEST | ACK, family, &entry.key)
}

fn request(kind: u16, flags: u16, family: Family, attributes: &[u8]) -> Vec<u8> {
    let family = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    netlink::request(kind, flags, family, attributes)
}

/// Reads the messages of one packet.
pub(super) fn replies(packet: &[u8]) -> Vec<Reply> {
    let messages = netlink::messages(packet).into_iter();
    let reply = |(kind, message): (u16, &[u8])| match kind {
        ERROR => Reply::Done(netlink::error_of(message)),
        DONE => Reply::Done(0),
        NEW => message
            .get(4..)
            .and_then(entry)
            .map_or(Reply::Other, Reply::Entry),
        _ => Reply::Other,
    };
    messages.map(reply).collect()
}

fn value(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes).into_iter();
    all.find(|(kind, ..)| *kind == wanted)
        .map(|(_, value, _)| value)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let orig = value(bytes, TUPLE_ORIG)?;
    let reply = value(bytes, TUPLE_REPLY)?;
    let proto = value(orig, TUPLE_PROTO)?;
    let protocol = match value(proto, PROTO_NUM)?.first()? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let port = value(proto, PROTO_DST_PORT)?.get(..2)?;
    let status = value(bytes, STATUS)?.get(..4)?;
    let status = u32::from_be_bytes(status.try_into().ok()?);
    let key = attributes(bytes)
        .into_iter()
        .filter(|(kind, ..)| matches!(*kind, TUPLE_ORIG | ID | ZONE))
        .flat_map(|(_, _, whole)| whole.iter().copied())
        .collect();
    Some(Entry {
        protocol,
        address: address(orig, IP_V4_DST, IP_V6_DST)?,
        port: u16::from_be_bytes([port[0], port[1]]),
        answers_from: address(reply, IP_V4_SRC, IP_V6_SRC)?,
        translated: status & STATUS_DST_NAT != 0,
        key,
    })
}

fn address(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let ip = value(tuple, TUPLE_IP)?;
    if let Some(bytes) = value(ip, v4) {
        let four: [u8; 4] = bytes.try_into().ok()?;
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen: [u8; 16] = value(ip, v6)?.try_into().ok()?;
    Some(Ipv6Addr::from(sixteen).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = replies(&bytes);
            let _ = entry(&bytes);
        }
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4], port: u16) -> Vec<u8> {
        let ip = [attribute(IP_V4_SRC, &from), attribute(IP_V4_DST, &to)].concat();
        let number = attribute(PROTO_NUM, &[17]);
        let proto = [number, attribute(PROTO_DST_PORT, &port.to_be_bytes())].concat();
        let both = [attribute(TUPLE_IP, &ip), attribute(TUPLE_PROTO, &proto)].concat();
        attribute(kind | 0x8000, &both)
    }

    #[test]
    fn a_connection_is_read_and_named_again() {
        let (client, host, guest) = ([1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]);
        let orig = tuple(TUPLE_ORIG, client, host, 8080);
        let status = attribute(STATUS, &STATUS_DST_NAT.to_be_bytes());
        let reply = tuple(TUPLE_REPLY, guest, client, 40000);
        let body = [orig.clone(), reply, status].concat();
        let packet = request(NEW, 0, Family::V4, &body);
        let [Reply::Entry(entry)] = <[Reply; 1]>::try_from(replies(&packet)).unwrap() else {
            panic!("no entry");
        };
        assert_eq!((entry.port, entry.translated), (8080, true));
        assert_eq!(entry.answers_from, IpAddr::from(guest));
        assert_eq!(entry.address, IpAddr::from(host));
        assert!(delete(Family::V4, &entry).ends_with(&orig));
    }
}
