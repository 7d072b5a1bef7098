//! Our own nginx: one instance for each context that has balancers.
//!
//! It never reads the distribution's configuration and has its own directory, process number, logs
//! and sockets. Every configuration has a name, the hash of all that is in it; the workers tell on a
//! socket of ours which one they have. So whether anything is to be done, and whether it was done, is
//! asked and not guessed, and a run that is killed anywhere is finished by the next one.

mod binary;
mod blame;
mod change;
mod control;
mod counters;
mod ending;
mod error;
mod home;
mod ports;
mod process;
mod sockets;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::api::{BalancerCounters, Protocol, ResolvedBalancer, Uid};
pub use crate::host::render::nginx::Recorded;
use crate::host::render::nginx::Site;

pub use error::NginxError;
pub use sockets::Connections;

use binary::Binary;
use blame::{blocked, culprit};
use home::Home;
use ports::Ports;
use process::Processes;

/// The nginx of one context, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Nginx {
    home: Home,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// All was in force already.
    Nothing,
    /// The first balancer came.
    Started,
    /// New workers took over.
    Reloaded,
    /// The last balancer went.
    Stopped,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// To nginx.
    pub did: Did,
    /// Balancers that nginx does not take, and why; the others are in force.
    pub refused: Vec<(Uid, String)>,
}

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Process number of its master.
    pub pid: i32,
    /// Workers that take new connections.
    pub workers: usize,
    /// Workers that finish what they had before a change.
    pub retiring: usize,
}

/// What is seen of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The instance; `None` when it does not run.
    pub running: Option<Running>,
    /// Whether its workers have the configuration that is on disk.
    pub in_force: bool,
    /// What it listens on.
    pub listening: BTreeSet<(Protocol, SocketAddr)>,
    /// Connections that are open.
    pub connections: Connections,
    /// Those of workers that finish what they had before a change.
    pub retired: Connections,
}

impl Seen {
    /// Returns whether clients reach `at`: a socket for all addresses takes those of each.
    pub fn listens(&self, protocol: Protocol, at: SocketAddr) -> bool {
        let all = self.listening.iter();
        all.into_iter()
            .any(|(p, bound)| *p == protocol && sockets::covers(*bound, at))
    }
}

impl Nginx {
    /// Returns the instance that belongs to a store. Nothing is made yet.
    ///
    /// Its directory lies beside the store, so that the balancers outlive it.
    pub fn beside(store: &Path) -> Self {
        let mut name = store.file_name().unwrap_or_default().to_owned();
        name.push("-balancers");
        Self {
            home: Home::new(store.with_file_name(name)),
        }
    }

    /// Returns its directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes sure that the caller may change balancers at all. Changes nothing.
    ///
    /// # Errors
    /// [`NginxError::OtherUser`] or [`NginxError::Roots`]; an unsafe directory.
    pub fn may_change(&self) -> Result<(), NginxError> {
        self.home.may_change()
    }

    /// Looks at what decides whether balancers can be put into force. Changes nothing.
    ///
    /// # Errors
    /// [`NginxError`], where there is no nginx.
    pub fn checker(&self) -> Result<Checker, NginxError> {
        Ok(Checker {
            binary: Binary::find()?,
            ports: Ports::now(self.processes()?),
        })
    }

    /// Puts balancers into force, and takes others out; the rest stays as it is. Nothing is done
    /// where all of it is so already. The first balancer starts nginx, the last one ends it.
    ///
    /// # Errors
    /// [`NginxError`]; then what was in force before is in force again.
    pub fn change(&self, put: &[ResolvedBalancer], remove: &[Uid]) -> Result<Changed, NginxError> {
        if put.is_empty() && !self.home().exists() {
            return Ok(Changed::nothing());
        }
        let _locked = self.home.lock()?;
        let mut sites = self.sites()?;
        sites.retain(|uid, _| !remove.contains(uid));
        let mut ours = BTreeSet::new();
        for balancer in put {
            let site = Site::render(balancer)?;
            ours.insert(site.uid);
            sites.insert(site.uid, site);
        }
        self.force(sites, &ours, BTreeMap::new())
    }

    /// Puts balancers into force as [`Self::change`] does. One that nginx does not take stays as it
    /// was, and is named.
    ///
    /// # Errors
    /// [`NginxError`], when it is not for one of them alone that it cannot be done.
    pub fn change_each(&self, put: &[ResolvedBalancer]) -> Result<Changed, NginxError> {
        if put.is_empty() {
            return Ok(Changed::nothing());
        }
        let _locked = self.home.lock()?;
        let mut sites = self.sites()?;
        let mut else_as = BTreeMap::new();
        for balancer in put {
            let site = Site::render(balancer)?;
            let uid = site.uid;
            else_as.insert(uid, sites.insert(uid, site));
        }
        let ours = else_as.keys().copied().collect();
        self.force(sites, &ours, else_as)
    }

    /// Makes exactly these balancers be in force. One that nginx does not take, such as one whose
    /// certificate is gone, is left out and named, and does not keep the others from serving.
    ///
    /// # Errors
    /// [`NginxError`], when none of them can be.
    pub fn converge(&self, all: &[ResolvedBalancer]) -> Result<Changed, NginxError> {
        if all.is_empty() && !self.home().exists() {
            return Ok(Changed::nothing());
        }
        let _locked = self.home.lock()?;
        let mut sites: BTreeMap<Uid, Site> = BTreeMap::new();
        for balancer in all {
            let site = Site::render(balancer)?;
            sites.insert(site.uid, site);
        }
        let ours = sites.keys().copied().collect();
        let else_as = sites.keys().map(|uid| (*uid, None)).collect();
        self.force(sites, &ours, else_as)
    }

    fn sites(&self) -> Result<BTreeMap<Uid, Site>, NginxError> {
        let sites = self.home.sites()?.into_iter();
        Ok(sites.map(|site| (site.uid, site)).collect())
    }

    /// Brings sites into force, of which some are `ours` to change. One of `else_as` that nginx does not
    /// take becomes what it is there.
    fn force(
        &self,
        mut sites: BTreeMap<Uid, Site>,
        ours: &BTreeSet<Uid>,
        mut else_as: BTreeMap<Uid, Option<Site>>,
    ) -> Result<Changed, NginxError> {
        let mut refused = Vec::new();
        loop {
            let tried = change::bring_into_force(&self.home, &self.processes()?, &in_order(&sites));
            let error = match tried {
                Ok(did) => return Ok(Changed { did, refused }),
                Err(error) => error,
            };
            let Some(uid) = culprit(&error, &sites) else {
                return Err(error);
            };
            let Some(before) = else_as.remove(&uid) else {
                let other = sites.get(&uid).filter(|_| !ours.contains(&uid));
                return Err(match other {
                    Some(other) => blocked(error, other),
                    None => error,
                });
            };
            match before {
                Some(before) => sites.insert(uid, before),
                None => sites.remove(&uid),
            };
            refused.push((uid, error.to_string()));
            if sites.is_empty() {
                return Err(error);
            }
        }
    }

    /// Reads the balancers whose files are in force: with them a lost store is rebuilt.
    ///
    /// # Errors
    /// What the file system says.
    pub fn recorded(&self) -> Result<Vec<Recorded>, NginxError> {
        let sites = self.home.sites()?;
        Ok(sites.into_iter().map(|site| site.recorded).collect())
    }

    /// Returns whether a balancer's file on disk is what would be written now.
    ///
    /// # Errors
    /// [`NginxError::NoIdentity`].
    pub fn is_current(&self, balancer: &ResolvedBalancer) -> Result<bool, NginxError> {
        let site = Site::render(balancer)?;
        Ok(self.home.has(&site))
    }

    /// Returns the balancers whose certificates are others by now than those that nginx has loaded, if
    /// it runs with what is on disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_other_certificates(&self) -> Result<BTreeSet<Uid>, NginxError> {
        let sites = self.home.sites()?;
        let tls: BTreeSet<Uid> = sites
            .iter()
            .filter(|s| s.tls().is_some())
            .map(|s| s.uid)
            .collect();
        if tls.is_empty() || change::is_on_disk(&self.home, &sites)? {
            return Ok(BTreeSet::new());
        }
        Ok(tls)
    }

    /// Looks at the instance, once for all its balancers.
    ///
    /// # Errors
    /// [`NginxError::OtherUser`] where the caller may not see it.
    pub fn seen(&self) -> Result<Seen, NginxError> {
        let processes = self.processes()?;
        let Some(pid) = processes.master else {
            return Ok(Seen::default());
        };
        let wanted = change::generation_on_disk(&self.home);
        Ok(Seen {
            running: Some(Running {
                pid,
                workers: processes.workers.len(),
                retiring: processes.retiring.len(),
            }),
            in_force: wanted.is_some() && control::generation(self.home()) == wanted,
            listening: sockets::listening(pid),
            connections: sockets::connections(processes.all()),
            retired: sockets::connections(processes.retiring.iter().copied()),
        })
    }

    /// Counts what passed through the balancers since each was made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn counters(&self) -> Result<BTreeMap<Uid, BalancerCounters>, NginxError> {
        let found = counters::read(&self.home)?;
        if self.are_logs_long() {
            // Whoever may only look cannot, and counts all the same.
            let _ = self.rotate();
        }
        Ok(found)
    }

    /// Returns whether a log that is counted has grown so long that [`Self::rotate`] has something to do.
    pub fn are_logs_long(&self) -> bool {
        counters::are_long(&self.home)
    }

    /// Lets the logs that are counted not grow for ever: what was counted is kept as numbers.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rotate(&self) -> Result<(), NginxError> {
        if !self.home().exists() {
            return Ok(());
        }
        let _locked = self.home.lock()?;
        counters::rotate(&self.home, &self.processes()?)
    }

    fn processes(&self) -> Result<Processes, NginxError> {
        let found = Processes::of(self.home());
        if found.is_empty() && self.home.is_of_another() {
            return Err(NginxError::OtherUser);
        }
        Ok(found)
    }
}

/// What decides whether balancers can be put into force, at one moment.
pub struct Checker {
    binary: Binary,
    ports: Ports,
}

impl Checker {
    /// Makes sure that a balancer can be put into force: nginx has the parts that it needs, and nobody
    /// else has its ports.
    ///
    /// # Errors
    /// [`NginxError`], which says what is in the way.
    pub fn check(&self, balancer: &ResolvedBalancer) -> Result<(), NginxError> {
        let site = Site::render(balancer)?;
        if site.is_stream() {
            self.binary.stream()?;
        }
        self.ports.check(&[&site]).map(drop)
    }
}

/// Makes sure that there is an nginx that can balance tcp and udp, too.
///
/// # Errors
/// What is missing.
pub fn stream_module() -> Result<(), NginxError> {
    Binary::find()?.stream().map(drop)
}

impl Changed {
    const fn nothing() -> Self {
        Self {
            did: Did::Nothing,
            refused: Vec::new(),
        }
    }
}

/// In the order of their files, so that the same balancers give the same configuration.
fn in_order(sites: &BTreeMap<Uid, Site>) -> Vec<&Site> {
    let mut all: Vec<&Site> = sites.values().collect();
    all.sort_by(|a, b| a.file.cmp(&b.file));
    all
}

/// Returns where a file of `home` lies.
fn within(home: &Home, file: &str) -> PathBuf {
    home.path().join(file)
}
