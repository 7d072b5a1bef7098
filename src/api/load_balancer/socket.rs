//! Sockets of the host that balancers ask for, and which of them may share one.

use std::fmt;
use std::net::IpAddr;

use super::{BalancerProtocol, HostName, LoadBalancerSpec, PortNumber};
use crate::api::PortMapping;

/// A socket of the host that a balancer listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerSocket {
    /// Address and port, as those of a forward.
    pub ports: PortMapping,
    /// How it can be shared by name; not at all where nothing is said by clients.
    sharing: Option<Sharing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sharing {
    tls: bool,
    names: Vec<HostName>,
}

/// Why two balancers cannot both have their sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketClash {
    /// Both take the port, and nothing tells their clients apart.
    Port,
    /// They listen at the same port of different addresses, one of which is all of them.
    Addresses,
    /// One speaks TLS at the port and the other does not.
    Tls,
    /// Both answer to every name.
    EveryName,
    /// Both answer to this name.
    Name(HostName),
}

impl LoadBalancerSpec {
    /// Returns the sockets that the balancer listens on: its own, and that of its redirect.
    pub fn sockets(&self) -> Vec<BalancerSocket> {
        let http = self.protocol() == BalancerProtocol::Http;
        let sharing = |tls| Sharing {
            tls,
            names: self.hostnames().to_vec(),
        };
        let own = self.socket(self.port, http.then(|| sharing(self.tls.is_some())));
        let redirect = self.redirect_port();
        let redirect = redirect.map(|port| self.socket(port, Some(sharing(false))));
        std::iter::once(own).chain(redirect).collect()
    }

    fn socket(&self, port: PortNumber, sharing: Option<Sharing>) -> BalancerSocket {
        let ports = PortMapping {
            address: self.address,
            host: port.get(),
            guest: port.get(),
            count: 1,
            protocol: self.protocol().transport(),
        };
        BalancerSocket { ports, sharing }
    }
}

impl BalancerSocket {
    /// Returns why this socket and another balancer's cannot both be; nothing where they can.
    pub fn clash(&self, other: &Self) -> Option<SocketClash> {
        if !self.ports.clashes(&other.ports) {
            return None;
        }
        let (Some(mine), Some(theirs)) = (&self.sharing, &other.sharing) else {
            return Some(SocketClash::Port);
        };
        if everywhere(self.ports.address) != everywhere(other.ports.address) {
            // nginx would serve the one with the address alone there.
            return Some(SocketClash::Addresses);
        }
        if mine.tls != theirs.tls {
            return Some(SocketClash::Tls);
        }
        if mine.names.is_empty() && theirs.names.is_empty() {
            return Some(SocketClash::EveryName);
        }
        let twice = mine.names.iter().find(|name| theirs.names.contains(name));
        twice.cloned().map(SocketClash::Name)
    }
}

fn everywhere(address: Option<IpAddr>) -> Option<IpAddr> {
    address.filter(|a| !a.is_unspecified())
}

impl fmt::Display for BalancerSocket {
    /// Prints `*:80/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (port, protocol) = (self.ports.host, self.ports.protocol);
        match self.ports.address {
            None => write!(f, "*:{port}/{protocol}"),
            Some(IpAddr::V6(a)) => write!(f, "[{a}]:{port}/{protocol}"),
            Some(IpAddr::V4(a)) => write!(f, "{a}:{port}/{protocol}"),
        }
    }
}

impl fmt::Display for SocketClash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("takes the port"),
            Self::Addresses => f.write_str("takes the port at other addresses of the host"),
            Self::Tls => f.write_str("takes the port, and one of both speaks TLS there"),
            Self::EveryName => {
                f.write_str("takes the port for every host name: give one of both http.hostnames")
            }
            Self::Name(name) => write!(f, "answers to {name} at the port already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(yaml: &str) -> Vec<BalancerSocket> {
        let spec: LoadBalancerSpec = serde_yaml::from_str(yaml).unwrap();
        spec.sockets()
    }

    fn clash(a: &str, b: &str) -> Option<SocketClash> {
        let (a, b) = (sockets(a), sockets(b));
        let both = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
        let mut found = both.filter_map(|(x, y)| x.clash(y));
        found.next()
    }

    #[test]
    fn a_port_is_shared_by_name_and_by_nothing_else() {
        let plain = "{port: 80}";
        let named = |name: &str| format!("{{port: 80, http: {{hostnames: [{name}]}}}}");
        assert_eq!(clash(plain, plain), Some(SocketClash::EveryName));
        assert_eq!(clash(plain, &named("a.example")), None);
        assert_eq!(clash(&named("b.example"), &named("a.example")), None);
        let twice = clash(&named("a.example"), &named("a.example"));
        assert_eq!(
            twice,
            Some(SocketClash::Name(HostName::new("a.example").unwrap()))
        );
        assert_eq!(
            clash(plain, "{port: 80, protocol: tcp}"),
            Some(SocketClash::Port)
        );
        assert_eq!(clash(plain, "{port: 80, protocol: udp}"), None);
        assert_eq!(clash(plain, "{port: 81}"), None);
        let at = "{port: 80, address: 127.0.0.1, http: {hostnames: [a.example]}}";
        assert_eq!(clash(plain, at), Some(SocketClash::Addresses));
        assert_eq!(clash("{port: 80, address: 127.0.0.2}", at), None);
    }

    #[test]
    fn a_redirect_takes_a_port_too() {
        let tls = "{port: 443, tls: {certificateFile: /c, keyFile: /k}, http: {redirectToHttps: true, hostnames: [a.example]}}";
        assert_eq!(clash(tls, "{port: 80}"), None);
        assert_eq!(
            clash(tls, "{port: 80, protocol: tcp}"),
            Some(SocketClash::Port)
        );
        assert_eq!(clash(tls, "{port: 443}"), Some(SocketClash::Tls));
    }
}
