//! What carries the forwards of a context, and whether the caller may change it.

use crate::config::Privilege;
use crate::error::{Error, Result};
use crate::host::firewall::{self, Firewall, FirewallError};
use crate::observe::World;

/// What carries the forwards of a context.
#[derive(Debug, Clone)]
pub enum Carrier {
    /// Rules in this host's firewall.
    Firewall(Firewall),
    /// The emulator itself: the daemon is a user's own. passt could, but its ports are fixed when the
    /// guest starts, and that of Debian 12 keeps a core busy as long as it runs.
    UserSpace,
    /// Nothing: why.
    Nothing(String),
}

impl World {
    /// Returns what carries the forwards of the context.
    ///
    /// # Errors
    /// When libvirt cannot be reached.
    pub fn carrier(&self) -> Result<Carrier> {
        let host = self.host()?;
        let uri = host.uri();
        if host.is_session() {
            return Ok(Carrier::UserSpace);
        }
        if !host.is_local() {
            return Ok(Carrier::Nothing(format!(
                "forwards are rules in the firewall of the host itself, and {uri} is reached from \
                 another one"
            )));
        }
        if !uri.starts_with("qemu") {
            return Ok(Carrier::Nothing(format!(
                "the guests of {uri} have no network that could be reached"
            )));
        }
        Ok(Carrier::Firewall(Firewall::new(self.privilege())))
    }

    /// Returns how the host's tools get the rights they need.
    pub const fn privilege(&self) -> firewall::Privilege {
        match self.settings().privilege {
            Privilege::None => firewall::Privilege::Own,
            Privilege::Sudo => firewall::Privilege::Sudo,
        }
    }

    /// Returns the firewall that forwards are made in, if the caller may change it; asked before
    /// anything is changed.
    ///
    /// # Errors
    /// Usage with the reason why there is none; what right is missing, and how to get it.
    pub fn firewall_to_change(&self) -> Result<Firewall> {
        let firewall = match self.carrier()? {
            Carrier::Firewall(firewall) => firewall,
            Carrier::Nothing(why) => {
                let message = format!("ports cannot be forwarded here: {why}");
                return Err(Error::usage(message).hint("run kvmctl on that host itself"));
            }
            Carrier::UserSpace => return Err(no_rules()),
        };
        let root = rustix::process::geteuid().is_root();
        match self.settings().privilege {
            Privilege::None if root => {}
            Privilege::None => return Err(not_root()),
            // sudo itself says whether it lets us.
            Privilege::Sudo => drop(firewall.observe(&[])?),
        }
        Ok(firewall)
    }
}

fn no_rules() -> Error {
    Error::usage("forwards are rules in the host's firewall, to which qemu:///session has no right")
        .hint("spec.ports of the instance (-p 8080:80) needs none")
        .hint("kvmctl port-forward instance/NAME 8080:80 needs none")
}

fn not_root() -> Error {
    FirewallError::NotPermitted {
        tool: "iptables-restore".to_owned(),
        said: "forwards are rules in the host's firewall, which only root may change".to_owned(),
        sudo: false,
    }
    .into()
}
