//! The network devices and addresses of this host, from the kernel's own tables (proc(5)).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A range of addresses that the host itself has a use for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenRange {
    /// The range.
    pub net: Ipv4Net,
    /// What it is, as `the route via eth0`.
    pub by: String,
}

/// Returns the names of the network devices. Empty where the kernel does not tell.
pub fn devices() -> Vec<String> {
    device_names(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default())
}

/// Returns the names of the devices that are bridges.
pub fn bridges() -> Vec<String> {
    let is_bridge = |name: &String| {
        std::path::Path::new("/sys/class/net")
            .join(name)
            .join("bridge")
            .exists()
    };
    devices().into_iter().filter(is_bridge).collect()
}

/// Returns the ranges that the host has routes to, without the default route, and the addresses that
/// it has itself.
pub fn taken_ranges() -> Vec<TakenRange> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let routes = super::routes::parse_named(&read("/proc/net/route"));
    let routes = routes.into_iter().map(|(net, device)| TakenRange {
        net,
        by: format!("the route via {device}"),
    });
    let addresses = own_addresses(&read("/proc/net/fib_trie")).into_iter();
    let addresses = addresses.map(|ip| TakenRange {
        net: Ipv4Net::from(ip),
        by: "an address of this host".to_owned(),
    });
    routes.chain(addresses).collect()
}

fn device_names(table: &str) -> Vec<String> {
    let names = table.lines().skip(2).filter_map(|l| l.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// Finds the addresses in the table of local ones: a leaf `|-- ADDRESS` followed by `/32 host LOCAL`.
fn own_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(ip) = leaf.take()
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_before_their_numbers() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n kvm-1a2b3c4d:3 4\n";
        assert_eq!(device_names(table), ["lo", "kvm-1a2b3c4d"]);
    }

    #[test]
    fn addresses_are_leaves_of_the_local_table() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n\
                    Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /32 link BROADCAST\n\
                    \x20    |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        \
                    /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let expected: [Ipv4Addr; 2] = ["10.0.0.7".parse().unwrap(), Ipv4Addr::LOCALHOST];
        assert_eq!(own_addresses(trie), expected);
    }
}
