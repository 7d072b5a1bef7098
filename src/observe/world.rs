//! What a command works in: one context, one connection, one store.

use std::sync::{Arc, OnceLock};

use crate::api::{Kind, Name, Object, ObjectKey};
use crate::config::{self, Settings};
use crate::error::{Error, Result, did_you_mean};
use crate::libvirt::Host;
use crate::paths::Paths;
use crate::store::{Access, Event, Store};

/// Which objects a listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What kvmctl made or adopted.
    Managed,
    /// Everything on the host.
    All,
}

/// How much of each object a listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What the columns of a table show: a few bulk calls for all.
    Listing,
    /// Everything that `-o yaml` shows: a call or two for each.
    Whole,
}

/// The world that a command sees and changes.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    paths: Paths,
    host: OnceLock<Result<Arc<Host>>>,
    store: OnceLock<Result<Store>>,
    reader: OnceLock<Result<Store>>,
}

impl World {
    /// Makes a world; nothing is opened until it is needed, unless only the daemon can tell whether
    /// the caller may use it.
    ///
    /// # Errors
    /// If the decision cannot be made.
    pub fn new(mut settings: Settings, paths: Paths) -> Result<Self> {
        let host = OnceLock::new();
        if settings.undecided {
            match Host::open(&settings.uri) {
                Ok(opened) => {
                    let _ = config::record(&paths, &settings.uri);
                    let _ = host.set(Ok(Arc::new(opened)));
                }
                Err(e) if e.is_denied() => config::SESSION_URI.clone_into(&mut settings.uri),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Self {
            settings,
            paths,
            host,
            store: OnceLock::new(),
            reader: OnceLock::new(),
        })
    }

    /// Makes the same world anew, with nothing opened: a connection does not outlive its daemon.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            settings: Settings {
                undecided: false,
                ..self.settings.clone()
            },
            paths: self.paths.clone(),
            host: OnceLock::new(),
            store: OnceLock::new(),
            reader: OnceLock::new(),
        }
    }

    /// Returns the directories of the caller.
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Returns the directory of the store.
    pub fn store_path(&self) -> std::path::PathBuf {
        self.settings.store_path(&self.paths)
    }

    /// Returns the settings of the context.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the connection, opened at the first call.
    ///
    /// # Errors
    /// Why libvirt cannot be reached, with the remedy.
    pub fn host(&self) -> Result<&Arc<Host>> {
        let open = || {
            let host = Host::open(&self.settings.uri)?;
            if self.settings.is_default() {
                // Permission decides once; a later daemon that is only stopped is then an error.
                let _ = config::record(&self.paths, &self.settings.uri);
            }
            Ok(Arc::new(host))
        };
        self.host.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Returns the store for looking only: one that does not exist is empty, and none is made.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn store_for_reading(&self) -> Result<&Store> {
        // Where there was none it has been made by then.
        if let Some(Ok(store)) = self.store.get() {
            return Ok(store);
        }
        let open = || Store::open(self.store_path(), Access::Read).map_err(Error::from);
        self.reader.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Returns the store for changing, made if it does not exist.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn store(&self) -> Result<&Store> {
        let open = || Store::open(self.store_path(), Access::Write).map_err(Error::from);
        self.store.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Lists the objects of a kind, sorted by name.
    ///
    /// # Errors
    /// What the daemon or the store refuses.
    pub fn list(&self, kind: Kind, scope: Scope, depth: Depth) -> Result<Vec<Object>> {
        let mut objects = match kind {
            Kind::Instance => into_objects(self.instances(scope, depth)?),
            Kind::Image => into_objects(self.images()?),
            Kind::Network => into_objects(self.networks(scope, depth)?),
            Kind::Volume => into_objects(self.volumes(scope)?),
            Kind::Snapshot => into_objects(self.snapshots(scope)?),
            Kind::InstanceType => into_objects(self.types()?),
            Kind::Secret => into_objects(self.secrets()?),
            Kind::PortForward => into_objects(self.forwards()?),
            Kind::LoadBalancer => into_objects(self.balancers()?),
        };
        objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        Ok(objects)
    }

    /// Looks one object up, with everything there is to know.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn get(&self, key: &ObjectKey) -> Result<Object> {
        match key.kind {
            Kind::Instance => Ok(self.instance(&key.name)?.into()),
            Kind::Image => Ok(self.image(&key.name)?.into()),
            Kind::Network => Ok(self.network(&key.name)?.into()),
            Kind::Volume => Ok(self.volume(&key.name)?.into()),
            Kind::Snapshot => Ok(self.snapshot(&key.name)?.into()),
            Kind::InstanceType => Ok(self.instance_type(&key.name)?.into()),
            Kind::Secret => Ok(self.secret(&key.name)?.into()),
            Kind::PortForward => Ok(self.forward(&key.name)?.into()),
            Kind::LoadBalancer => Ok(self.balancer(&key.name)?.into()),
        }
    }

    /// Returns the journal's events, of one object or of all, oldest first.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn events(&self, key: Option<&ObjectKey>) -> Result<Vec<Event>> {
        let wanted = |event: &Event| {
            key.is_none_or(|key| event.kind == key.kind && event.name == key.name.as_str())
        };
        Ok(self.store_for_reading()?.events(wanted)?)
    }
}

fn into_objects<T: Into<Object>>(items: Vec<T>) -> Vec<Object> {
    items.into_iter().map(Into::into).collect()
}

/// Makes the error for an object that does not exist.
pub fn not_found<'a>(kind: Kind, name: &Name, names: impl IntoIterator<Item = &'a str>) -> Error {
    let error = Error::not_found(format!("{kind} {:?} not found", name.as_str()));
    match did_you_mean(name.as_str(), names) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error.hint(format!("kvmctl get {}", kind.info().plural)),
    }
}
