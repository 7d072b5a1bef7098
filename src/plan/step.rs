//! A step over all kinds, and what a plan comes to.

use std::fmt;

use crate::api::Name;

use super::{balancer, forward, image, instance, instance_type, network, secret, snapshot, volume};

/// One idempotent change of the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Of an instance.
    Instance(instance::Step),
    /// Of an image.
    Image(image::Step),
    /// Of a network.
    Network(network::Step),
    /// Of a volume.
    Volume(volume::Step),
    /// Of a snapshot.
    Snapshot(snapshot::Step),
    /// Of a secret.
    Secret(secret::Step),
    /// Of an instance type.
    InstanceType(instance_type::Step),
    /// Of a forward.
    Forward(forward::Step),
    /// Of a load balancer.
    Balancer(balancer::Step),
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Instance(step) => step.describe(),
            Self::Image(step) => step.describe(),
            Self::Network(step) => step.describe(),
            Self::Volume(step) => step.describe(),
            Self::Snapshot(step) => step.describe(),
            Self::Secret(step) => step.describe(),
            Self::InstanceType(step) => step.describe(),
            Self::Forward(step) => step.describe(),
            Self::Balancer(step) => step.describe(),
        }
    }

    /// Returns the commands a person would type to the same effect, one a line; `None` where only
    /// kvmctl's own store changes.
    pub fn equivalent(&self, name: &Name) -> Option<String> {
        match self {
            Self::Instance(step) => step.equivalent(name),
            Self::Image(step) => step.equivalent(),
            Self::Network(step) => step.equivalent(name),
            Self::Volume(step) => step.equivalent(),
            Self::Secret(_) | Self::InstanceType(_) | Self::Balancer(_) => None,
            Self::Snapshot(step) => step.equivalent(),
            Self::Forward(step) => step.equivalent(),
        }
    }
}

/// What happened, or would happen, to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Created,
    /// Its spec was changed.
    Configured,
    /// Nothing was to be done.
    Unchanged,
    /// It was taken away.
    Deleted,
    /// It was started.
    Started,
    /// It was already running.
    AlreadyRunning,
    /// It was shut down.
    Stopped,
    /// It was off already.
    AlreadyStopped,
    /// It was restarted.
    Restarted,
    /// It was suspended.
    Paused,
    /// It was suspended already.
    AlreadyPaused,
    /// It was resumed.
    Resumed,
    /// Its labels were changed.
    Labeled,
    /// Its annotations were changed.
    Annotated,
    /// It was made kvmctl's own.
    Adopted,
    /// It is no longer kvmctl's own.
    Forgotten,
    /// Its disks are as they were.
    Restored,
}

impl Outcome {
    /// Returns whether the world differs afterwards.
    pub const fn changed(self) -> bool {
        !matches!(
            self,
            Self::Unchanged | Self::AlreadyRunning | Self::AlreadyStopped | Self::AlreadyPaused
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Started => "started",
            Self::AlreadyRunning => "already running",
            Self::Stopped => "stopped",
            Self::AlreadyStopped => "already stopped",
            Self::Restarted => "restarted",
            Self::Paused => "paused",
            Self::AlreadyPaused => "already paused",
            Self::Resumed => "resumed",
            Self::Labeled => "labeled",
            Self::Annotated => "annotated",
            Self::Adopted => "adopted",
            Self::Forgotten => "forgotten",
            Self::Restored => "restored",
        })
    }
}
