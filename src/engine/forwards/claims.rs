//! Who has which ports of the host: other forwards, programs that listen, rules of others. Asked with
//! the store locked, and what was taken is written down before the lock is given back.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::api::{InstanceSpec, PortMapping, Uid};
use crate::error::{Error, Kind, Result};
use crate::host::ports::{self, Listener};
use crate::observe::{World, ports_of};
use crate::store::{BalancerRecord, ForwardRecord, InstanceRecord, Store};

/// Where free ports are looked for: above what services use, below what the kernel gives to
/// outgoing connections.
const FREE_FROM: u16 = 20_000;

/// Somebody who has ports of the host.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) who: String,
    pub(super) ports: PortMapping,
}

/// All who have ports of the host.
#[derive(Debug)]
pub(in crate::engine) struct Claims {
    holders: Vec<Holder>,
    listeners: Vec<Listener>,
}

impl Claims {
    /// Collects them, leaving out the objects of `except`, whose ports are about to be replaced.
    ///
    /// # Errors
    /// What the store or libvirt refuses.
    pub(in crate::engine) fn collect(world: &World, except: &BTreeSet<Uid>) -> Result<Self> {
        let store = world.store_for_reading()?;
        let mut holders = of_store(store, except)?;
        holders.extend(of_others(world, store, except)?);
        holders.extend(super::rules::foreign(world)?);
        Ok(Self {
            holders,
            listeners: ports::listeners(),
        })
    }

    /// Takes ports for `who`: those that are wanted, or free ones for port 0.
    ///
    /// # Errors
    /// A conflict that names the holder; usage for an address that is not the host's.
    pub(in crate::engine) fn take(
        &mut self,
        who: &str,
        wanted: &PortMapping,
        localhost: bool,
    ) -> Result<PortMapping> {
        let taken = match wanted.host {
            0 => self.free(wanted, localhost)?,
            _ => {
                self.check(wanted, localhost)?;
                wanted.clone()
            }
        };
        self.keep(who, &taken);
        Ok(taken)
    }

    /// Notes ports that `who` has already.
    pub(in crate::engine) fn keep(&mut self, who: &str, ports: &PortMapping) {
        let (who, ports) = (who.to_owned(), ports.clone());
        self.holders.push(Holder { who, ports });
    }

    /// Checks that no object of kvmctl's and no rule of others has ports; programs may listen there.
    ///
    /// # Errors
    /// A conflict that names the holder.
    pub(in crate::engine) fn held(&self, wanted: &PortMapping) -> Result<()> {
        let Some(error) = self.holder(wanted) else {
            return Ok(());
        };
        Err(error
            .hint("choose another port of the host")
            .hint("kvmctl get forwards"))
    }

    fn holder(&self, wanted: &PortMapping) -> Option<Error> {
        let holder = self.holders.iter().find(|h| h.ports.clashes(wanted))?;
        Some(Error::conflict(format!(
            "{} of the host is taken by {} ({})",
            listen(wanted),
            holder.who,
            holder.ports
        )))
    }

    /// Gives back what `who` has, and tells what it was.
    pub(super) fn let_go(&mut self, who: &str) -> Vec<PortMapping> {
        let theirs = self.holders.extract_if(.., |h| h.who == who);
        theirs.map(|h| h.ports).collect()
    }

    fn check(&self, wanted: &PortMapping, localhost: bool) -> Result<()> {
        if let Some(error) = self.holder(wanted) {
            return Err(other_port(error).hint("kvmctl get forwards"));
        }
        let listens = |l: &&Listener| in_the_way(l, wanted, localhost);
        if let Some(listener) = self.listeners.iter().find(listens) {
            let program = ports::program(listener.inode);
            let program = program.unwrap_or_else(|| "another user's program".to_owned());
            let address = match listener.address.is_unspecified() {
                true => "all addresses".to_owned(),
                false => listener.address.to_string(),
            };
            return Err(other_port(Error::conflict(format!(
                "port {}/{} of the host is taken: {program} listens at {address}",
                listener.port, wanted.protocol
            ))));
        }
        bind_all(wanted)
    }

    /// Finds a port that really is free.
    fn free(&self, wanted: &PortMapping, localhost: bool) -> Result<PortMapping> {
        let last = ports::ephemeral().0.saturating_sub(1).max(FREE_FROM + 1000);
        let width = last - FREE_FROM;
        // Two commands that look at the same time on stores of their own hardly begin alike.
        let random = Uid::random();
        let start = u16::from_be_bytes([random.as_bytes()[0], random.as_bytes()[1]]) % width;
        for step in 0..width {
            let host = FREE_FROM + (start + step) % width;
            let candidate = PortMapping {
                host,
                ..wanted.clone()
            };
            match self.check(&candidate, localhost) {
                Ok(()) => return Ok(candidate),
                Err(e) if e.kind() == Kind::Conflict => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::conflict(format!(
            "no port of the host between {FREE_FROM} and {last} is free"
        )))
    }
}

fn other_port(error: Error) -> Error {
    error.hint("choose another port of the host, or 0 for a free one")
}

/// Words what a mapping listens at: `port 8080/tcp`, `port 127.0.0.1:8080/tcp`.
fn listen(ports: &PortMapping) -> String {
    let address = match ports.address {
        Some(IpAddr::V6(a)) => format!("[{a}]:"),
        Some(IpAddr::V4(a)) => format!("{a}:"),
        None => String::new(),
    };
    let (first, last, protocol) = (ports.host, ports.last_host(), ports.protocol);
    match first == last {
        true => format!("port {address}{first}/{protocol}"),
        false => format!("one of the ports {address}{first}-{last}/{protocol}"),
    }
}

/// Whether a forward would take from a program what comes to it.
fn in_the_way(listener: &Listener, wanted: &PortMapping, localhost: bool) -> bool {
    let apart = wanted.address.is_none() && !localhost && listener.address.is_loopback();
    // A forward speaks IPv4 where nothing is said; a program at :: takes that, too.
    let other_family = wanted.address.is_none_or(|a| a.is_ipv4())
        && listener.address.is_ipv6()
        && !listener.address.is_unspecified();
    !apart
        && !other_family
        && wanted.takes(listener.protocol, Some(listener.address), listener.port)
}

/// The kernel knows sockets that its tables do not show, such as those of other namespaces' helpers.
fn bind_all(wanted: &PortMapping) -> Result<()> {
    for port in wanted.host..=wanted.last_host() {
        match ports::try_bind(wanted.protocol, wanted.address, port) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
                let address = wanted.address.map(|a| a.to_string()).unwrap_or_default();
                return Err(Error::usage(format!(
                    "{address} is not an address of this host"
                )));
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && wanted.address.is_some() => {
                let at = listen(wanted);
                return Err(other_port(Error::conflict(format!(
                    "{at} of the host is taken by a program that listens"
                ))));
            }
            // Without an address the tables have told who is in the way and who is not; and below
            // 1024 only root may try.
            Err(_) => {}
        }
    }
    Ok(())
}

fn of_store(store: &Store, except: &BTreeSet<Uid>) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for record in store.all::<ForwardRecord>()? {
        if !except.contains(&record.uid) {
            holders.push(Holder {
                who: format!("forward/{}", record.name),
                ports: record.mapping(),
            });
        }
    }
    for record in store.all::<BalancerRecord>()? {
        if !except.contains(&record.uid) {
            let who = format!("loadbalancer/{}", record.name);
            let sockets = record.spec.sockets().into_iter().map(|s| s.ports);
            let reaches = record.reaches.into_iter().map(|r| r.ports);
            holders.extend(sockets.chain(reaches).map(|ports| Holder {
                who: who.clone(),
                ports,
            }));
        }
    }
    for record in store.all::<InstanceRecord>()? {
        if !except.contains(&record.uid) {
            let ports = taken_or_wanted(&record.ports, &record.spec);
            holders.extend(listed(record.name.as_str(), ports));
        }
    }
    Ok(holders)
}

/// What was taken; of an instance that an older kvmctl made, what it asked for.
fn taken_or_wanted<'r>(taken: &'r [PortMapping], spec: &'r InstanceSpec) -> &'r [PortMapping] {
    match taken.is_empty() {
        true => &spec.ports,
        false => taken,
    }
}

fn listed<'p>(
    instance: &'p str,
    ports: impl IntoIterator<Item = &'p PortMapping>,
) -> impl Iterator<Item = Holder> {
    ports.into_iter().map(move |ports| Holder {
        who: format!("instance/{instance}"),
        ports: ports.clone(),
    })
}

/// What instances have that this store knows nothing of: a colleague's, who reaches the same host
/// with a store of their own.
fn of_others(world: &World, store: &Store, except: &BTreeSet<Uid>) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    let host = world.host()?;
    let index = world.index_of(&host.domain_briefs()?)?;
    for (uid, row) in index.rows.iter().filter(|(uid, _)| !except.contains(uid)) {
        if store.get::<InstanceRecord>(uid)?.is_some() {
            continue;
        }
        let metadata = match host.domain_metadata(*uid) {
            Ok(metadata) => metadata,
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        let ports = metadata.map(|m| ports_of(&m)).unwrap_or_default();
        holders.extend(listed(row.name.as_str(), &ports));
    }
    Ok(holders)
}
