//! `setup`: what a fresh host lacks: the store, the pool, the network. What is there is started at the
//! most, never changed; only libvirt's own network `default` gets address slots while nobody uses it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::api::{NetworkMode, Reporter, Uid};
use crate::error::{Error, Result};
use crate::host::taps;
use crate::libvirt::xml::network::NetworkXml;
use crate::libvirt::xml::network_params::{Ipv4Params, NetworkParams};
use crate::net::slots;
use crate::net::subnet::{free_range, overlap};
use crate::observe::{Plugged, Seen, World};

/// How to set up.
#[derive(Debug, Clone)]
pub struct SetupOptions {
    /// Folder of the pool, if it has to be made.
    pub pool_path: Option<PathBuf>,
    /// Range of the network, if it has to be made.
    pub cidr: Option<Ipv4Net>,
    /// Try whether KVM really runs a guest.
    pub probe: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Make the store.
    MakeStore(PathBuf),
    /// Make the pool.
    MakePool(PathBuf),
    /// Start the pool.
    StartPool,
    /// Let the pool start with the host.
    AutostartPool,
    /// Make the network.
    MakeNetwork {
        /// Its range.
        cidr: Ipv4Net,
        /// Why it is not the usual one.
        instead_of: Option<Ipv4Net>,
    },
    /// Give the unused network address slots.
    AddSlots,
    /// Take the network down and put it up again, so that its slots are in force.
    RestartNetwork,
    /// Start the network.
    StartNetwork,
    /// Let the network start with the host.
    AutostartNetwork,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct SetupPlan {
    tasks: Vec<Task>,
    pool: String,
    network: String,
    probe: bool,
}

impl SetupPlan {
    /// Returns whether everything is there already.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && !self.probe
    }

    /// Returns what is to be done, a line each, or that nothing is.
    pub fn lines(&self) -> Vec<String> {
        if self.tasks.is_empty() {
            return vec![format!(
                "Everything is set up: pool {:?}, network {:?}.",
                self.pool, self.network
            )];
        }
        self.tasks
            .iter()
            .map(|t| self.describe(t, "make", "start"))
            .collect()
    }

    fn describe(&self, task: &Task, make: &str, start: &str) -> String {
        let (pool, network) = (&self.pool, &self.network);
        match task {
            Task::MakeStore(path) => format!("{make} the store {}", path.display()),
            Task::MakePool(path) => format!("{make} pool {pool:?} in {}", path.display()),
            Task::StartPool => format!("{start} pool {pool:?}"),
            Task::AutostartPool => format!("let pool {pool:?} start with the host"),
            Task::MakeNetwork {
                cidr,
                instead_of: None,
            } => {
                format!("{make} NAT network {network:?}, {cidr}")
            }
            Task::MakeNetwork {
                cidr,
                instead_of: Some(taken),
            } => {
                format!("{make} NAT network {network:?}, {cidr} ({taken} is in use on this host)")
            }
            Task::AddSlots => format!("give network {network:?} address slots for instances"),
            Task::RestartNetwork => {
                format!("re{start} network {network:?}, which nobody uses, with them")
            }
            Task::StartNetwork => format!("{start} network {network:?}"),
            Task::AutostartNetwork => format!("let network {network:?} start with the host"),
        }
    }
}

/// The network that libvirt's packages bring.
const LIBVIRTS_OWN: &str = "default";

/// The usual range of libvirt's default network.
const USUAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 122, 0), 24);

/// Finds out what is missing.
///
/// # Errors
/// What libvirt refuses; usage for a range that is taken.
pub fn plan(world: &World, options: &SetupOptions) -> Result<SetupPlan> {
    let host = world.host()?;
    let settings = world.settings();
    let mut tasks = Vec::new();
    if !world.store_for_reading()?.exists() {
        tasks.push(Task::MakeStore(world.store_path()));
    }
    match host.pool(&settings.pool) {
        Ok(pool) => {
            if !pool.is_active()? {
                tasks.push(Task::StartPool);
            }
            if !pool.autostart()? {
                tasks.push(Task::AutostartPool);
            }
        }
        Err(e) if e.is_not_found() => {
            tasks.push(Task::MakePool(pool_path(world, options)?));
            tasks.extend([Task::StartPool, Task::AutostartPool]);
        }
        Err(e) => return Err(e.into()),
    }
    if !host.is_session() {
        network_tasks(world, options, &mut tasks)?;
    }
    Ok(SetupPlan {
        tasks,
        pool: settings.pool.clone(),
        network: match host.is_session() {
            // It can make none, and instances do without.
            true => crate::observe::USER_NETWORK.to_owned(),
            false => settings.network.clone(),
        },
        probe: options.probe && probe_wanted(world)?,
    })
}

/// A host whose KVM looks right and has never been seen to work is probed, once.
fn probe_wanted(world: &World) -> Result<bool> {
    let facts = world.kvm_facts()?;
    Ok(facts.offered && facts.extension && facts.probed.is_none())
}

fn network_tasks(world: &World, options: &SetupOptions, tasks: &mut Vec<Task>) -> Result<()> {
    let host = world.host()?;
    let name = &world.settings().network;
    match host.network(name) {
        Ok(network) => {
            let active = network.is_active()?;
            let seen = Seen::of(&network)?;
            let slots = wants_slots(&seen.live);
            if !active && slots {
                tasks.push(Task::AddSlots);
            } else if active && slots && is_unused(world, &seen)? {
                tasks.extend([Task::AddSlots, Task::RestartNetwork]);
            }
            if !active {
                tasks.push(Task::StartNetwork);
            }
            if !network.autostart()? {
                tasks.push(Task::AutostartNetwork);
            }
        }
        Err(e) if e.is_not_found() => {
            let (cidr, instead_of) = range(world, options)?;
            tasks.push(Task::MakeNetwork { cidr, instead_of });
            tasks.extend([Task::StartNetwork, Task::AutostartNetwork]);
        }
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// The network that comes with libvirt, as it comes. Another's is not ours to change, whatever its
/// state.
fn wants_slots(xml: &NetworkXml) -> bool {
    let dhcp = xml.ipv4().and_then(|ip| ip.dhcp.as_ref());
    let is_plain = xml.subnet().is_some() && dhcp.is_some_and(|d| d.hosts.is_empty());
    xml.name == LIBVIRTS_OWN && is_plain
}

/// Returns whether nobody would notice that a network is taken down for a moment: no domain is in it,
/// nothing is plugged into its bridge, and nobody has an address of it.
fn is_unused(world: &World, seen: &Seen) -> Result<bool> {
    let host = world.host()?;
    let bridge = seen.live.bridge.as_ref().and_then(|b| b.name.as_deref());
    let Some(bridge) = bridge.filter(|_| host.is_local()) else {
        return Ok(false);
    };
    let in_it = |p: &Plugged| p.is_in(&seen.live);
    Ok(taps::ports(bridge).is_ok_and(|ports| ports.is_empty())
        && host.leases(&seen.live.name)?.is_empty()
        && !world.plugged()?.iter().any(in_it))
}

fn pool_path(world: &World, options: &SetupOptions) -> Result<PathBuf> {
    if let Some(path) = &options.pool_path {
        return std::path::absolute(path)
            .map_err(|e| Error::usage("--pool-path is no path").caused_by(e));
    }
    if world.host()?.is_session() {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let home =
            home.ok_or_else(|| Error::usage("HOME is not set").hint("--pool-path FOLDER"))?;
        return Ok(home.join(".local/share/libvirt/images"));
    }
    Ok(PathBuf::from("/var/lib/libvirt/images"))
}

fn range(world: &World, options: &SetupOptions) -> Result<(Ipv4Net, Option<Ipv4Net>)> {
    let used = super::networks::used_ranges(world)?;
    if let Some(cidr) = options.cidr {
        return match used.iter().find(|u| overlap(u.net, cidr)) {
            Some(taken) => Err(Error::conflict(format!(
                "{cidr} overlaps {}, {}, which is in use on this host",
                taken.net, taken.by
            ))),
            None => Ok((cidr, None)),
        };
    }
    let used: Vec<Ipv4Net> = used.into_iter().map(|u| u.net).collect();
    let cidr = free_range(&used)?;
    Ok((cidr, (cidr != USUAL).then_some(USUAL)))
}

/// Does what was planned, and returns what was done.
///
/// # Errors
/// What libvirt refuses; a failed start of a new network leaves nothing defined.
pub fn run(world: &World, plan: SetupPlan, reporter: &dyn Reporter) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for task in &plan.tasks {
        super::signal::interrupted()?;
        perform(world, &plan, task)?;
        done.push(plan.describe(task, "made", "started"));
    }
    if plan.probe
        && let Some(verdict) = super::probe::run(world, reporter)?
    {
        let found = if verdict.works {
            "KVM works"
        } else {
            "KVM does not work, TCG is used"
        };
        done.push(format!("probed KVM: {found} ({})", verdict.reason));
    }
    Ok(done)
}

fn perform(world: &World, plan: &SetupPlan, task: &Task) -> Result<()> {
    let host = world.host()?;
    match task {
        Task::MakeStore(_) => world.store().map(drop),
        Task::MakePool(path) => {
            let pool = host.define_directory_pool(&plan.pool, path)?;
            Ok(pool.build()?)
        }
        Task::StartPool => Ok(host.pool(&plan.pool)?.start()?),
        Task::AutostartPool => Ok(host.pool(&plan.pool)?.set_autostart(true)?),
        Task::MakeNetwork { cidr, .. } => {
            host.define_network(&network(&plan.network, *cidr)?)?;
            Ok(())
        }
        Task::AddSlots => add_slots(world, &plan.network),
        Task::RestartNetwork => {
            let network = host.network(&plan.network)?;
            // Whoever has come meanwhile is not cut off: the slots wait for the next start.
            if is_unused(world, &Seen::of(&network)?)? {
                network.stop()?;
                network.start()?;
            }
            Ok(())
        }
        Task::StartNetwork => {
            let network = host.network(&plan.network)?;
            network.start().map_err(|e| {
                if plan
                    .tasks
                    .iter()
                    .any(|t| matches!(t, Task::MakeNetwork { .. }))
                {
                    // What was made a moment ago and cannot start helps nobody.
                    let _ = network.undefine();
                }
                Error::from(e)
            })
        }
        Task::AutostartNetwork => Ok(host.network(&plan.network)?.set_autostart(true)?),
    }
}

/// Builds a NAT network whose lower half is left to others.
fn network(name: &str, cidr: Ipv4Net) -> Result<NetworkXml> {
    let uid = Uid::random();
    let gateway = cidr
        .hosts()
        .next()
        .ok_or_else(|| Error::usage(format!("{cidr} has no address")))?;
    let plan = slots::plan(uid, cidr, gateway, slots::shared_network_dynamic(cidr))?;
    let params = NetworkParams {
        name: name.to_owned(),
        uid,
        mode: NetworkMode::Nat,
        bridge: None,
        device: None,
        ipv4: Some(Ipv4Params {
            cidr,
            gateway,
            dhcp: Some(super::networks::dhcp_params(&plan)),
        }),
        ipv6: None,
        domain: None,
        mtu: None,
        metadata: None,
    };
    Ok(params.build())
}

/// Gives a network that nobody has used yet slots in the upper part of its range; everything else of
/// its definition stays.
fn add_slots(world: &World, name: &str) -> Result<()> {
    use crate::libvirt::xml::tree::Element;
    let host = world.host()?;
    let network = host.network(name)?;
    let xml = network.configured()?;
    if !wants_slots(&xml) {
        // An earlier run was ended before they were in force.
        return Ok(());
    }
    let (Some(uid), Some(cidr), Some(ip)) = (xml.uuid, xml.subnet(), xml.ipv4()) else {
        return Err(Error::failed(format!("network {name:?} has no IPv4 range")));
    };
    let IpAddr::V4(gateway) = ip.address else {
        return Err(Error::failed(format!("network {name:?} has no IPv4 range")));
    };
    let plan = slots::plan(uid, cidr, gateway, slots::shared_network_dynamic(cidr))?;
    let mut root = Element::parse(&network.definition_text()?)?;
    let dhcp = root
        .get_mut("ip/dhcp")
        .ok_or_else(|| Error::failed(format!("network {name:?} has no DHCP")))?;
    dhcp.remove_where(|e| e.local_name() == "range");
    for range in plan.ranges() {
        dhcp.push(
            Element::new("range")
                .with("start", range.start.to_string())
                .with("end", range.end.to_string()),
        );
    }
    for slot in &plan.hosts {
        dhcp.push(
            Element::new("host")
                .with("mac", slot.mac.to_string())
                .with("ip", slot.ip.to_string()),
        );
    }
    Ok(network.redefine(host, &root.to_string())?)
}
