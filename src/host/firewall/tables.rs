//! Which tables nftables has, asked of the kernel itself (`linux/netfilter/nf_tables.h`): to start nft
//! for each table that might be there takes longer than to read all that is.

use std::collections::BTreeSet;
use std::io;

use super::netlink;
use super::rule::Family;

const NEW_TABLE: u16 = 10 << 8;
const GET_TABLE: u16 = NEW_TABLE | 1;
const NAME: u16 = 1;

const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The tables of each family.
pub(super) type Tables = BTreeSet<(Family, String)>;

/// Lists the tables; an error where the kernel has none or does not tell the caller.
pub(super) fn list() -> io::Result<Tables> {
    let socket = netlink::open()?;
    netlink::send(&socket, &netlink::request(GET_TABLE, REQUEST_DUMP, 0, &[]))?;
    let (mut tables, mut buffer) = (Tables::new(), vec![0; 1 << 16]);
    loop {
        for (kind, message) in netlink::messages(netlink::receive(&socket, &mut buffer)?) {
            match kind {
                DONE => return Ok(tables),
                ERROR => return Err(io::Error::from_raw_os_error(netlink::error_of(message))),
                NEW_TABLE => tables.extend(table(message)),
                _ => {}
            }
        }
    }
}

fn table(message: &[u8]) -> Option<(Family, String)> {
    let family = match message.first()? {
        2 => Family::V4,
        10 => Family::V6,
        _ => return None,
    };
    let attributes = netlink::attributes(message.get(4..)?);
    let (_, name, _) = attributes.into_iter().find(|(kind, ..)| *kind == NAME)?;
    let name = String::from_utf8_lossy(name);
    Some((family, name.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for (_, message) in netlink::messages(&bytes) {
                let _ = table(message);
            }
        }
    }

    #[test]
    fn a_table_is_read() {
        let name = b"\x0b\0\x01\0kvmctl\0\0";
        let packet = netlink::request(NEW_TABLE, 0, 10, name);
        let messages = netlink::messages(&packet);
        assert_eq!(messages[0].0, NEW_TABLE);
        assert_eq!(
            table(messages[0].1),
            Some((Family::V6, "kvmctl".to_owned()))
        );
    }
}
