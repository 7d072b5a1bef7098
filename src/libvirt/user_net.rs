//! QEMU's own user-mode network: the ports of the host that it forwards, which libvirt has no words
//! for and QEMU's monitor has.

use std::net::Ipv4Addr;

use virt::sys;

use super::domain::Domain;
use super::error::{Cause, LibvirtError};
use super::xml::interface::InterfaceXml;
use crate::api::Protocol;

/// A port of the host that QEMU forwards to its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostForward {
    /// The protocol.
    pub protocol: Protocol,
    /// Address of the host; all of them when unspecified.
    pub address: Ipv4Addr,
    /// Port of the host.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
}

impl HostForward {
    /// `tcp:127.0.0.1:8080`, which names it.
    fn near(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let any = self.address.is_unspecified();
        let address = if any {
            String::new()
        } else {
            self.address.to_string()
        };
        format!("{protocol}:{address}:{}", self.host)
    }
}

impl Domain {
    fn monitor(&self, doing: &str, line: &str) -> Result<String, LibvirtError> {
        self.ask("virDomainQemuMonitorCommand", doing, |raw| {
            raw.qemu_monitor_command(line, sys::VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
        })
    }

    /// Lists the ports that the user-mode network forwards.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn host_forwards(&self) -> Result<Vec<HostForward>, LibvirtError> {
        let text = self.monitor("list the forwarded ports of", "info usernet")?;
        Ok(text.lines().filter_map(read_line).collect())
    }

    /// Makes the user-mode network forward a port.
    ///
    /// # Errors
    /// [`Cause::Exists`] when the port cannot be had.
    pub fn add_host_forward(
        &self,
        nic: &InterfaceXml,
        forward: &HostForward,
    ) -> Result<(), LibvirtError> {
        let line = format!(
            "hostfwd_add {} {}-:{}",
            netdev(nic),
            forward.near(),
            forward.guest
        );
        let doing = "forward a port to";
        let said = self.monitor(doing, &line)?;
        match said.trim() {
            "" => Ok(()),
            said => Err(LibvirtError::ours(
                format!("{doing} domain {:?}", self.name),
                Cause::Exists,
                format!("QEMU: {said} ({})", forward.near()),
            )),
        }
    }

    /// Makes the user-mode network forward a port no more; one that it does not forward is fine.
    ///
    /// # Errors
    /// [`Cause::NotNow`] when it does not run.
    pub fn remove_host_forward(
        &self,
        nic: &InterfaceXml,
        forward: &HostForward,
    ) -> Result<(), LibvirtError> {
        let line = format!("hostfwd_remove {} {}", netdev(nic), forward.near());
        self.monitor("stop forwarding a port to", &line).map(drop)
    }
}

/// libvirt names the host's end after the guest's.
fn netdev(nic: &InterfaceXml) -> String {
    let alias = nic.alias.as_ref().map_or("net0", |a| a.name.as_str());
    format!("host{alias}")
}

/// Reads `  TCP[HOST_FORWARD]  15  127.0.0.1 18080  10.0.2.15  80  0  0`.
fn read_line(line: &str) -> Option<HostForward> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [state, _fd, address, host, _guest_address, guest, ..] = words[..] else {
        return None;
    };
    let protocol = match state {
        "TCP[HOST_FORWARD]" => Protocol::Tcp,
        "UDP[HOST_FORWARD]" => Protocol::Udp,
        _ => return None,
    };
    let address = match address {
        "*" => Ipv4Addr::UNSPECIFIED,
        other => other.parse().ok()?,
    };
    Some(HostForward {
        protocol,
        address,
        host: host.parse().ok()?,
        guest: guest.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_lists_is_read() {
        let text = "hostnet0:\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n\
            \x20 TCP[HOST_FORWARD]  22       127.0.0.1 18080       10.0.2.15    80     0     0\n\
            \x20 UDP[HOST_FORWARD]  23               *   5353       10.0.2.15    53     0     0\n\
            \x20 TCP[ESTABLISHED]   24       127.0.0.1 18080       10.0.2.15    80     0     0\n";
        let read: Vec<HostForward> = text.lines().filter_map(read_line).collect();
        let near: Vec<String> = read.iter().map(HostForward::near).collect();
        assert_eq!(near, ["tcp:127.0.0.1:18080", "udp::5353"]);
        assert_eq!((read[0].guest, read[1].guest), (80, 53));
    }
}
