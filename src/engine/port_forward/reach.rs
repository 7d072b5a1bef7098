//! The way to a guest: its own address, a port that QEMU's user-mode network forwards, or either of
//! them through ssh.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{ObjectKey, Protocol};
use crate::error::{Error, Result};
use crate::host::relay::{Far, connect_tcp};
use crate::host::{Hop, Tunnel};
use crate::libvirt::xml::interface::InterfaceXml;
use crate::libvirt::{Domain, HostForward};
use crate::observe::World;

use super::super::guest::no_address;
use super::super::signal::Interrupt;

/// Where connections go, by port of the guest.
#[derive(Debug, Clone)]
pub(super) enum Ends {
    /// To addresses that this machine reaches.
    Addresses(BTreeMap<u16, SocketAddr>),
    /// To sockets of a tunnel.
    Sockets(BTreeMap<u16, PathBuf>),
}

impl Ends {
    /// Connects to a port of the guest.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn connect(&self, guest: u16, patience: Duration) -> io::Result<Far> {
        let unknown = || io::Error::other("the port is not forwarded");
        match self {
            Self::Addresses(ends) => connect_tcp(*ends.get(&guest).ok_or_else(unknown)?, patience),
            Self::Sockets(ends) => {
                UnixStream::connect(ends.get(&guest).ok_or_else(unknown)?).map(Far::Unix)
            }
        }
    }
}

/// A way to a guest. What was made for it goes with it.
pub(super) struct Reach {
    ends: Ends,
    tunnel: Option<Tunnel>,
    made: Made,
}

/// Ports that QEMU forwards for us, on the loopback of its host.
#[derive(Default)]
struct Made {
    domain: Option<(Domain, InterfaceXml)>,
    forwards: Vec<HostForward>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some((domain, nic)) = &self.domain {
            for forward in &self.forwards {
                // With the guest they are gone, too.
                let _ = domain.remove_host_forward(nic, forward);
            }
        }
    }
}

impl Reach {
    /// Finds a way to some ports of a guest.
    ///
    /// # Errors
    /// A conflict when the guest has no address, or cannot be reached from this machine.
    pub(super) fn open(
        world: &World,
        key: &ObjectKey,
        domain: &Domain,
        guests: &[u16],
    ) -> Result<Self> {
        let (near, made) = near(world, key, domain, guests)?;
        let host = world.host()?;
        if host.is_local() {
            return Ok(Self {
                ends: Ends::Addresses(near),
                tunnel: None,
                made,
            });
        }
        let through = Hop::of_uri(host.uri()).ok_or_else(|| no_ssh(key, host.uri()))?;
        let tunnel = Tunnel::open(&through, &near)?;
        let sockets = near.keys().map(|guest| (*guest, tunnel.socket(*guest)));
        Ok(Self {
            ends: Ends::Sockets(sockets.collect()),
            tunnel: Some(tunnel),
            made,
        })
    }

    /// Finds the way anew, where it has changed.
    ///
    /// # Errors
    /// As [`Reach::open`].
    pub(super) fn renew(
        &mut self,
        world: &World,
        key: &ObjectKey,
        domain: &Domain,
        guests: &[u16],
    ) -> Result<()> {
        self.made = Made::default();
        self.tunnel = None;
        *self = Self::open(world, key, domain, guests)?;
        Ok(())
    }

    /// Returns where connections go.
    pub(super) const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Returns whether the way has come to an end by itself.
    pub(super) fn broken(&mut self) -> bool {
        let _ = &self.made;
        match self.tunnel.as_mut().and_then(Tunnel::ended) {
            Some(error) => {
                tracing::warn!(target: "host", "{error}");
                true
            }
            None => false,
        }
    }
}

/// A port of the loopback of a guest's host that leads to one of the guest's, for as long as this
/// lives, or until a signal to stop.
pub(in crate::engine) struct Door {
    at: SocketAddr,
    _made: Made,
}

impl Door {
    /// Opens one where the guest is in QEMU's user-mode network. Nobody else has the same: who is done
    /// first would shut it before the other.
    ///
    /// # Errors
    /// A conflict when the guest's host cannot be reached from this machine; what libvirt refuses.
    pub(in crate::engine) fn open(
        world: &World,
        key: &ObjectKey,
        domain: &Domain,
        guest: u16,
    ) -> Result<Option<Self>> {
        let mut nics = domain.live()?.devices.interfaces.into_iter();
        let Some(nic) = nics.find(|nic| nic.kind == "user") else {
            return Ok(None);
        };
        let host = world.host()?;
        if !host.is_local() && Hop::of_uri(host.uri()).is_none() {
            return Err(no_ssh(key, host.uri()));
        }
        Interrupt::install_with_hangup()
            .map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
        let mut made = Made {
            domain: Some((domain.clone(), nic.clone())),
            forwards: Vec::new(),
        };
        let forward = forward(domain, &nic, guest)?;
        made.forwards.push(forward);
        Ok(Some(Self {
            at: (forward.address, forward.host).into(),
            _made: made,
        }))
    }

    /// Returns where it is.
    pub(in crate::engine) const fn at(&self) -> SocketAddr {
        self.at
    }
}

fn no_ssh(key: &ObjectKey, uri: &str) -> Error {
    Error::conflict(format!(
        "{key} is on another host, which only libvirt reaches"
    ))
    .caused_by(format!("{uri} has no ssh that could carry connections"))
    .hint("use a context whose URI is qemu+ssh://HOST/system")
}

/// Returns the addresses of the ports as the guest's host sees them.
fn near(
    world: &World,
    key: &ObjectKey,
    domain: &Domain,
    guests: &[u16],
) -> Result<(BTreeMap<u16, SocketAddr>, Made)> {
    let address = world.instance(&key.name)?.status.and_then(|s| s.address);
    if let Some(address) = address {
        let end = |guest: &u16| (*guest, SocketAddr::new(IpAddr::V4(address), *guest));
        return Ok((guests.iter().map(end).collect(), Made::default()));
    }
    let live = domain.live()?;
    let mut nics = live.devices.interfaces.into_iter();
    match nics.find(|nic| nic.kind == "user") {
        // A terminal that is closed must not leave a port open.
        Some(_) if Interrupt::install_with_hangup().is_err() => {
            Err(Error::failed("cannot catch signals"))
        }
        Some(nic) => through_qemu(domain, nic, guests),
        None => {
            let record = world.store_for_reading()?.get(&domain.uid())?;
            Err(no_address(key, record.as_ref()))
        }
    }
}

/// Makes QEMU forward a port of its loopback for each of the guest's. One that is there already, as of
/// an earlier run that was killed, serves as well.
fn through_qemu(
    domain: &Domain,
    nic: InterfaceXml,
    guests: &[u16],
) -> Result<(BTreeMap<u16, SocketAddr>, Made)> {
    let mut made = Made {
        domain: Some((domain.clone(), nic.clone())),
        forwards: Vec::new(),
    };
    let there = domain.host_forwards()?;
    let mut ends = BTreeMap::new();
    for guest in guests {
        let serves = |f: &&HostForward| {
            let near = f.address.is_unspecified() || f.address.is_loopback();
            near && f.protocol == Protocol::Tcp && f.guest == *guest
        };
        let port = match there.iter().find(serves) {
            Some(known) => known.host,
            None => {
                let forward = forward(domain, &nic, *guest)?;
                made.forwards.push(forward);
                forward.host
            }
        };
        ends.insert(*guest, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    Ok((ends, made))
}

/// A port that is free now may be taken a moment later: a few are tried.
fn forward(domain: &Domain, nic: &InterfaceXml, guest: u16) -> Result<HostForward> {
    const TRIES: usize = 5;
    let mut last = None;
    for _ in 0..TRIES {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
        let free = free.map_err(|e| Error::failed("no port is free").caused_by(e))?;
        let forward = HostForward {
            protocol: Protocol::Tcp,
            address: Ipv4Addr::LOCALHOST,
            host: free.port(),
            guest,
        };
        match domain.add_host_forward(nic, &forward) {
            Ok(()) => return Ok(forward),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Error::failed("no port is free"), Error::from))
}
