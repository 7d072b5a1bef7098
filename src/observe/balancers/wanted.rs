//! The balancers that ought to be in force, each target led to the address that its instance has now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::api::{
    BalancerSelector, BalancerTarget, LoadBalancerSpec, Name, PortNumber, ResolvedBalancer,
    ResolvedTarget, TargetSource, Uid, Unresolved,
};
use crate::error::{Error, Result};
use crate::host::nginx::Nginx;
use crate::observe::World;
use crate::observe::forwards::Place;
use crate::store::{BalancerRecord, InstanceRecord, Reach, TargetName};

/// A balancer as it ought to be.
#[derive(Debug, Clone)]
pub struct WantedBalancer {
    /// What the store has of it.
    pub record: BalancerRecord,
    /// What nginx is to do.
    pub resolved: ResolvedBalancer,
    /// Why each target is one, in the order of the resolved ones.
    pub sources: Vec<TargetSource>,
}

/// Where instances are, looked up once for all balancers of a run.
#[derive(Debug)]
pub struct Whereabouts {
    places: BTreeMap<Uid, Place>,
    gone: BTreeSet<Uid>,
    /// Those of this store; a selector finds no colleague's, of whom nothing is known here.
    ours: BTreeSet<String>,
    /// Targets are reached through ports of the loopback.
    loopback: bool,
    ipv6: bool,
}

impl World {
    /// Returns the nginx of the context, if the guests are this host's.
    ///
    /// # Errors
    /// Usage with the reason why there is none.
    pub fn nginx(&self) -> Result<Nginx> {
        let host = self.host()?;
        if host.is_local() && host.uri().starts_with("qemu") {
            return Ok(Nginx::beside(&self.store_path()));
        }
        let uri = host.uri();
        let why = match host.is_local() {
            true => format!("the guests of {uri} have no network that could be reached"),
            false => format!(
                "a balancer is a program of the host itself, and {uri} is reached from another one"
            ),
        };
        Err(
            Error::usage(format!("there are no load balancers here: {why}"))
                .hint("run kvmctl on that host itself"),
        )
    }

    /// Lists the balancers that ought to be in force, and those whose deletion has begun.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn wanted_balancers(&self) -> Result<Vec<WantedBalancer>> {
        let records: Vec<BalancerRecord> = self.store_for_reading()?.all()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let whereabouts = self.whereabouts()?;
        let resolve = |record| self.resolve(record, &whereabouts);
        records.into_iter().map(resolve).collect()
    }

    /// Finds out where all instances are.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn whereabouts(&self) -> Result<Whereabouts> {
        Ok(Whereabouts {
            places: self.places()?,
            gone: self.deleted_instances()?,
            ours: self
                .store_for_reading()?
                .keys::<InstanceRecord>()?
                .into_iter()
                .collect(),
            loopback: self.host()?.is_session(),
            ipv6: TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok(),
        })
    }

    /// Works out what one balancer comes to.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn resolve(
        &self,
        record: BalancerRecord,
        whereabouts: &Whereabouts,
    ) -> Result<WantedBalancer> {
        let (mut targets, mut sources) = (Vec::new(), Vec::new());
        for (target, source) in whereabouts.targets(&record.spec) {
            let name = TargetName::from(&target);
            targets.push(ResolvedTarget {
                address: self.address_of(&name, &record.reaches, whereabouts)?,
                out: record.out.contains(&name),
                target,
            });
            sources.push(source);
        }
        let listen = |port: PortNumber| whereabouts.sockets(record.spec.address, port);
        let resolved = ResolvedBalancer {
            object: record.object(),
            listen: listen(record.spec.port),
            redirect: record.spec.redirect_port().map_or_else(Vec::new, listen),
            targets,
        };
        Ok(WantedBalancer {
            record,
            resolved,
            sources,
        })
    }

    fn address_of(
        &self,
        name: &TargetName,
        reaches: &[Reach],
        whereabouts: &Whereabouts,
    ) -> Result<Result<SocketAddr, Unresolved>> {
        let unresolved = |reason: &str, message: String| {
            let reason = reason.to_owned();
            Ok(Err(Unresolved { reason, message }))
        };
        let instance = name.instance.as_str();
        let Some((uid, place)) = whereabouts.find(&name.instance) else {
            let message = format!("there is no instance {instance:?}");
            return unresolved("InstanceNotFound", message);
        };
        if whereabouts.loopback {
            let mine = |r: &&Reach| r.instance == name.instance && r.ports.guest == name.port.get();
            return match reaches.iter().find(mine) {
                Some(reach) => Ok(Ok((Ipv4Addr::LOCALHOST, reach.ports.host).into())),
                None => unresolved(
                    "NotReached",
                    format!("no port of the loopback leads to instance {instance:?} yet"),
                ),
            };
        }
        let nic = match place.nics.first() {
            Some(nic) => Some(nic.clone()),
            None => self.leased(uid, None)?,
        };
        match nic {
            Some(nic) => Ok(Ok((nic.ip, name.port.get()).into())),
            None => unresolved(
                "NoAddress",
                format!("no address of instance {instance:?} is known"),
            ),
        }
    }
}

impl Whereabouts {
    /// Returns whether targets are reached through ports of the loopback.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Returns the targets of a spec: those of the list, then those that the selector finds and the
    /// list does not name.
    pub fn targets(&self, spec: &LoadBalancerSpec) -> Vec<(BalancerTarget, TargetSource)> {
        let listed = spec.targets.iter().cloned();
        let mut targets: Vec<_> = listed.map(|t| (t, TargetSource::Listed)).collect();
        let (Some(selector), Some(port)) = (&spec.selector, spec.target_port) else {
            return targets;
        };
        let mut names: Vec<&Name> = self.selected(selector).collect();
        names.sort();
        for name in names {
            let target = BalancerTarget::new(name.clone(), port);
            let known = |(t, _): &(BalancerTarget, TargetSource)| {
                t.instance == target.instance && t.port == target.port
            };
            if !targets.iter().any(known) {
                targets.push((target, TargetSource::Selected));
            }
        }
        targets
    }

    fn selected<'w>(&'w self, selector: &'w BalancerSelector) -> impl Iterator<Item = &'w Name> {
        let has = |place: &&Place| {
            let mut wanted = selector.match_labels.iter();
            wanted.all(|(key, value)| place.labels.get(key) == Some(value))
        };
        let stays = |uid: &Uid| !self.gone.contains(uid) && self.ours.contains(&uid.to_string());
        let living = self.places.iter().filter(move |(uid, _)| stays(uid));
        living
            .map(|(_, place)| place)
            .filter(has)
            .map(|place| &place.name)
    }

    /// Finds an instance that is there to stay.
    pub fn find(&self, name: &Name) -> Option<(Uid, &Place)> {
        let mut named = self.places.iter().filter(|(_, place)| place.name == *name);
        let found = named.find(|(uid, _)| !self.gone.contains(uid))?;
        Some((*found.0, found.1))
    }

    fn sockets(&self, address: Option<IpAddr>, port: PortNumber) -> Vec<SocketAddr> {
        let port = port.get();
        match address {
            Some(address) => vec![(address, port).into()],
            None if self.ipv6 => vec![
                (Ipv4Addr::UNSPECIFIED, port).into(),
                (Ipv6Addr::UNSPECIFIED, port).into(),
            ],
            None => vec![(Ipv4Addr::UNSPECIFIED, port).into()],
        }
    }
}
