//! One type over all kinds, so that verbs need not know them.

use std::fmt;

use serde::Serialize;

use super::forward::PortForward;
use super::image::Image;
use super::instance::Instance;
use super::instance_type::InstanceType;
use super::kind::Kind;
use super::load_balancer::LoadBalancer;
use super::meta::ObjectMeta;
use super::name::Name;
use super::network::Network;
use super::secret::Secret;
use super::snapshot::Snapshot;
use super::volume::Volume;

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    /// A virtual machine.
    Instance(Box<Instance>),
    /// A base image.
    Image(Box<Image>),
    /// A network.
    Network(Box<Network>),
    /// A disk of its own.
    Volume(Box<Volume>),
    /// A named size.
    InstanceType(Box<InstanceType>),
    /// A set of secret values.
    Secret(Box<Secret>),
    /// What disks held at one moment.
    Snapshot(Box<Snapshot>),
    /// A port of the host for a port of an instance.
    PortForward(Box<PortForward>),
    /// A port of the host for a port of several instances.
    LoadBalancer(Box<LoadBalancer>),
}

/// Kind and name: how a person addresses an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: Name,
}

impl ObjectKey {
    /// Makes a key.
    pub const fn new(kind: Kind, name: Name) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for ObjectKey {
    /// Prints `instance/web`, as `-o name` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

impl Object {
    /// Returns the kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Instance(_) => Kind::Instance,
            Self::Image(_) => Kind::Image,
            Self::Network(_) => Kind::Network,
            Self::Volume(_) => Kind::Volume,
            Self::InstanceType(_) => Kind::InstanceType,
            Self::Secret(_) => Kind::Secret,
            Self::Snapshot(_) => Kind::Snapshot,
            Self::PortForward(_) => Kind::PortForward,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
        }
    }

    /// Returns name, labels and identity.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Instance(o) => &o.metadata,
            Self::Image(o) => &o.metadata,
            Self::Network(o) => &o.metadata,
            Self::Volume(o) => &o.metadata,
            Self::InstanceType(o) => &o.metadata,
            Self::Secret(o) => &o.metadata,
            Self::Snapshot(o) => &o.metadata,
            Self::PortForward(o) => &o.metadata,
            Self::LoadBalancer(o) => &o.metadata,
        }
    }

    /// Returns name, labels and identity, to be changed.
    pub fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Instance(o) => &mut o.metadata,
            Self::Image(o) => &mut o.metadata,
            Self::Network(o) => &mut o.metadata,
            Self::Volume(o) => &mut o.metadata,
            Self::InstanceType(o) => &mut o.metadata,
            Self::Secret(o) => &mut o.metadata,
            Self::Snapshot(o) => &mut o.metadata,
            Self::PortForward(o) => &mut o.metadata,
            Self::LoadBalancer(o) => &mut o.metadata,
        }
    }

    /// Returns kind and name, if the object has a name yet.
    pub fn key(&self) -> Option<ObjectKey> {
        let name = self.meta().name.clone()?;
        Some(ObjectKey::new(self.kind(), name))
    }
}

impl From<Instance> for Object {
    fn from(o: Instance) -> Self {
        Self::Instance(Box::new(o))
    }
}

impl From<Image> for Object {
    fn from(o: Image) -> Self {
        Self::Image(Box::new(o))
    }
}

impl From<Network> for Object {
    fn from(o: Network) -> Self {
        Self::Network(Box::new(o))
    }
}

impl From<Volume> for Object {
    fn from(o: Volume) -> Self {
        Self::Volume(Box::new(o))
    }
}

impl From<InstanceType> for Object {
    fn from(o: InstanceType) -> Self {
        Self::InstanceType(Box::new(o))
    }
}

impl From<Secret> for Object {
    fn from(o: Secret) -> Self {
        Self::Secret(Box::new(o))
    }
}

impl From<PortForward> for Object {
    fn from(o: PortForward) -> Self {
        Self::PortForward(Box::new(o))
    }
}

impl From<Snapshot> for Object {
    fn from(o: Snapshot) -> Self {
        Self::Snapshot(Box::new(o))
    }
}

impl From<LoadBalancer> for Object {
    fn from(o: LoadBalancer) -> Self {
        Self::LoadBalancer(Box::new(o))
    }
}
