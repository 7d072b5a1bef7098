//! Everything about forwards that the kernel holds, read at one moment: each tool takes some
//! milliseconds, most of them to start, so they run side by side.

use super::super::error::HostError;
use super::super::threads::side_by_side;
use super::error::FirewallError;
use super::iptables::Saved;
use super::nftables::Listed;
use super::rule::Family;
use super::ruleset::{Firewalls, Half, Ruleset};
use super::tables::{self, Tables};
use super::tools::Privilege;
use super::{Firewall, iptables, nftables};

impl Firewall {
    /// Reads both firewalls of both families.
    pub(super) fn read(&self) -> Result<Ruleset, FirewallError> {
        let tables = self.tables();
        let (v6, (nftables, iptables)) = side_by_side(
            || self.half(Family::V6, tables.as_ref()),
            || {
                side_by_side(
                    || self.nftables(Family::V4, tables.as_ref()),
                    || self.iptables(Family::V4),
                )
            },
        );
        let ruleset = Ruleset {
            v4: Half {
                iptables: iptables?,
                nftables: nftables?,
            },
            v6: v6?,
        };
        if ruleset.v4.iptables.is_none() && ruleset.v4.nftables.is_none() {
            return Err(FirewallError::NoTool);
        }
        Ok(ruleset)
    }

    /// Reads these firewalls again; the others are as they were.
    pub(super) fn read_again<'a>(
        &self,
        ruleset: &mut Ruleset,
        written: impl Iterator<Item = &'a (Family, Firewalls)>,
    ) -> Result<(), FirewallError> {
        for (family, firewall) in written {
            let half = ruleset.half_mut(*family);
            match firewall {
                Firewalls::Iptables => half.iptables = self.iptables(*family)?,
                Firewalls::Nftables => half.nftables = self.nftables(*family, None)?,
            }
        }
        Ok(())
    }

    /// Asks the kernel which tables there are; `None` where it does not tell the caller, and nft must
    /// be asked for each.
    fn tables(&self) -> Option<Tables> {
        match self.tools.privilege {
            Privilege::Own => tables::list().ok(),
            Privilege::Sudo => None,
        }
    }

    fn half(&self, family: Family, tables: Option<&Tables>) -> Result<Half, FirewallError> {
        Ok(Half {
            iptables: self.iptables(family)?,
            nftables: self.nftables(family, tables)?,
        })
    }

    fn iptables(&self, family: Family) -> Result<Option<Saved>, FirewallError> {
        let name = match family {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        };
        let saved = self.tools.run_if_there(name, "iptables", &["-c"], b"")?;
        Ok(saved.map(|out| iptables::read(&String::from_utf8_lossy(&out.stdout))))
    }

    fn nftables(
        &self,
        family: Family,
        tables: Option<&Tables>,
    ) -> Result<Option<Listed>, FirewallError> {
        let ip = nftables::keyword(family);
        let list = |table: &str| match tables {
            Some(tables) if !tables.contains(&(family, table.to_owned())) => {
                let empty = self.tools.has("nft", "nftables").then(String::new);
                Ok(empty)
            }
            _ => self.nft_table(ip, table),
        };
        let (own, libvirt) = (list(nftables::OWN)?, list(nftables::LIBVIRT)?);
        let listed = own.zip(libvirt).map(|(own, libvirt)| own + &libvirt);
        Ok(listed.map(|text| nftables::read(&text, family)))
    }

    /// Lists one table, which is empty when it is not there; `None` where there is no nft.
    ///
    /// `nft list tables` would read all rules of all tables, those of iptables too.
    fn nft_table(&self, ip: &str, table: &str) -> Result<Option<String>, FirewallError> {
        match self.nft(&["-a", "list", "table", ip, table]) {
            Err(FirewallError::Tool(HostError::Failed { stderr, .. }))
                if stderr.contains("No such file or directory") =>
            {
                Ok(Some(String::new()))
            }
            listed => listed,
        }
    }

    /// Runs nft and returns what it prints; `None` where there is no nft.
    pub(super) fn nft(&self, args: &[&str]) -> Result<Option<String>, FirewallError> {
        let output = self.tools.run_if_there("nft", "nftables", args, b"")?;
        Ok(output.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()))
    }
}
