//! What an object needs to be there: the caller looks it up among the documents and on the host.

use super::path::FieldPath;
use crate::api::{
    InstanceSpec, Kind, LoadBalancerSpec, Name, Object, ObjectKey, PortForwardSpec, SnapshotSpec,
    VolumeSpec,
};

/// Something that an object refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// An instance.
    Instance(Name),
    /// An image by name, alias or URL.
    Image(String),
    /// An instance type.
    InstanceType(String),
    /// A volume.
    Volume(Name),
    /// A snapshot.
    Snapshot(Name),
    /// A libvirt network.
    Network(String),
    /// A key of a Secret.
    SecretKey {
        /// Name of the Secret.
        name: Name,
        /// Key in it.
        key: String,
    },
}

impl Reference {
    /// Returns the object that is meant, where it is one of ours whose name can be one.
    pub fn key(&self) -> Option<ObjectKey> {
        let (kind, name) = match self {
            Self::Instance(name) => (Kind::Instance, name.clone()),
            Self::Image(name) => (Kind::Image, Name::new(name.as_str()).ok()?),
            Self::InstanceType(name) => (Kind::InstanceType, Name::new(name.as_str()).ok()?),
            Self::Volume(name) => (Kind::Volume, name.clone()),
            Self::Snapshot(name) => (Kind::Snapshot, name.clone()),
            Self::SecretKey { name, .. } => (Kind::Secret, name.clone()),
            Self::Network(name) => (Kind::Network, Name::new(name.as_str()).ok()?),
        };
        Some(ObjectKey::new(kind, name))
    }
}

/// Returns what an object refers to, each with the field that does, in the order of the fields.
pub fn references(object: &Object) -> Vec<(FieldPath, Reference)> {
    match object {
        Object::Instance(instance) => of_instance(&instance.spec),
        // What an instance's own list shows stands and falls with that instance.
        Object::PortForward(forward) if forward.owner().is_some() => Vec::new(),
        Object::PortForward(forward) => of_forward(&forward.spec),
        Object::LoadBalancer(balancer) => of_balancer(&balancer.spec),
        Object::Volume(volume) => of_volume(&volume.spec),
        Object::Snapshot(snapshot) => of_snapshot(&snapshot.spec),
        Object::Image(_) | Object::Network(_) | Object::InstanceType(_) | Object::Secret(_) => {
            Vec::new()
        }
    }
}

fn of_forward(spec: &PortForwardSpec) -> Vec<(FieldPath, Reference)> {
    let instance = Reference::Instance(spec.instance.clone());
    let mut found = vec![(FieldPath::of("spec.instance"), instance)];
    if let Some(network) = &spec.network {
        let reference = Reference::Network(network.clone());
        found.push((FieldPath::of("spec.network"), reference));
    }
    found
}

fn of_balancer(spec: &LoadBalancerSpec) -> Vec<(FieldPath, Reference)> {
    let target = |(n, target): (usize, &crate::api::BalancerTarget)| {
        let path = FieldPath::of("spec.targets").index(n).key("instance");
        (path, Reference::Instance(target.instance.clone()))
    };
    spec.targets.iter().enumerate().map(target).collect()
}

fn of_instance(spec: &InstanceSpec) -> Vec<(FieldPath, Reference)> {
    let mut found = Vec::new();
    if let Some(image) = &spec.image {
        found.push((FieldPath::of("spec.image"), Reference::Image(image.clone())));
    }
    if let Some(name) = &spec.instance_type {
        let reference = Reference::InstanceType(name.clone());
        found.push((FieldPath::of("spec.type"), reference));
    }
    for (n, network) in spec.networks.iter().enumerate() {
        let path = FieldPath::of("spec.networks").index(n).key("name");
        found.push((path, Reference::Network(network.name.clone())));
    }
    for (n, volume) in spec.volumes.iter().enumerate() {
        let path = FieldPath::of("spec.volumes").index(n).key("name");
        found.push((path, Reference::Volume(volume.name.clone())));
    }
    for (n, variable) in spec.env.iter().enumerate() {
        let Some(source) = &variable.value_from else {
            continue;
        };
        let path = FieldPath::of("spec.env")
            .index(n)
            .key("valueFrom")
            .key("secret");
        let reference = Reference::SecretKey {
            name: source.secret.name.clone(),
            key: source.secret.key.to_string(),
        };
        found.push((path, reference));
    }
    found
}

fn of_volume(spec: &VolumeSpec) -> Vec<(FieldPath, Reference)> {
    let mut found = Vec::new();
    let source = spec.source.iter();
    for source in source {
        if let Some(image) = &source.image {
            let path = FieldPath::of("spec.source.image");
            found.push((path, Reference::Image(image.clone())));
        }
        if let Some(volume) = &source.volume {
            let path = FieldPath::of("spec.source.volume");
            found.push((path, Reference::Volume(volume.clone())));
        }
        if let Some(snapshot) = &source.snapshot {
            let path = FieldPath::of("spec.source.snapshot");
            found.push((path, Reference::Snapshot(snapshot.clone())));
        }
    }
    found
}

fn of_snapshot(spec: &SnapshotSpec) -> Vec<(FieldPath, Reference)> {
    let mut found = Vec::new();
    if let Some(name) = &spec.base {
        let path = FieldPath::of("spec.base");
        found.push((path, Reference::Snapshot(name.clone())));
    }
    found
}
