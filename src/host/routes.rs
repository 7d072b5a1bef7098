//! The IPv4 routes of this host, from the kernel's own table (proc(5), `/proc/net/route`).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Parses the kernel's table: destination and mask are hexadecimal in the host's byte order.
pub fn parse(table: &str) -> Vec<Ipv4Net> {
    parse_named(table).into_iter().map(|(net, _)| net).collect()
}

/// Parses the table with the device of each route.
pub(super) fn parse_named(table: &str) -> Vec<(Ipv4Net, String)> {
    table.lines().skip(1).filter_map(line).collect()
}

fn line(line: &str) -> Option<(Ipv4Net, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let destination = number(fields.get(1)?)?;
    let mask = number(fields.get(7)?)?;
    let address = Ipv4Addr::from(destination.to_ne_bytes());
    let mask = Ipv4Addr::from(mask.to_ne_bytes());
    let net = Ipv4Net::with_netmask(address, mask).ok()?;
    let device = (*fields.first()?).to_owned();
    (net.prefix_len() > 0).then_some((net, device))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_the_default_one_is_left_out() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n\
            virbr0\t007AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";
        let expected: Ipv4Net = "192.168.122.0/24".parse().unwrap();
        assert_eq!(parse(table), [expected]);
    }
}
