//! Steps of volumes.

use crate::api::{DiskFormat, Name, ObjectKey, Preallocation, Quantity};
use crate::shell::shell_words;

use super::instance::VolumeRef;
use super::{ObjectPlan, Outcome};

/// One change of a volume. Every step is idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Makes the file.
    Create(NewVolume),
    /// Writes the sidecar and the record, and ends the intent.
    Record,
    /// Gives it another size.
    Resize {
        /// The volume.
        volume: VolumeRef,
        /// The new size.
        capacity: Quantity,
        /// Whether what lies beyond a smaller size may be lost.
        shrink: bool,
    },
    /// Takes the new file instead of the old one, which goes with its sidecar.
    Swap {
        /// The old file and its sidecar.
        old: [VolumeRef; 2],
    },
    /// Deletes a file.
    Delete(VolumeRef),
    /// Removes the record and ends the intent.
    Forget,
}

/// A volume to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Where.
    pub volume: VolumeRef,
    /// Its format.
    pub format: DiskFormat,
    /// Its size; that of what it is a copy of when nothing is said.
    pub capacity: Option<Quantity>,
    /// What is taken at once.
    pub preallocation: Preallocation,
    /// What it begins as.
    pub source: Source,
}

/// What a new volume begins as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Empty,
    /// A copy-on-write overlay.
    Overlay {
        /// Path of the base.
        base: String,
        /// Format of the base.
        format: DiskFormat,
    },
    /// The content of a file of the user's, checked and so many bytes long.
    File {
        /// Its length.
        bytes: u64,
    },
    /// What a snapshot stored.
    Stored {
        /// The snapshot.
        snapshot: Name,
        /// Name of the disk in it.
        disk: String,
        /// The stored file.
        file: VolumeRef,
    },
    /// A copy.
    Copy {
        /// The original.
        volume: VolumeRef,
        /// Its format.
        format: DiskFormat,
    },
}

/// Plans the making of a volume.
pub fn create(key: ObjectKey, new: NewVolume) -> ObjectPlan {
    let stages = vec![vec![Step::Create(new)], vec![Step::Record]];
    plan(key, Outcome::Created, stages)
}

/// Plans that a volume gets other content: a new file takes the place of the old one.
pub fn replace(key: ObjectKey, new: NewVolume, old: [VolumeRef; 2]) -> ObjectPlan {
    let stages = vec![vec![Step::Create(new)], vec![Step::Swap { old }]];
    plan(key, Outcome::Configured, stages)
}

/// Plans the change of a volume; without a size only its record changes.
pub fn change(key: ObjectKey, resize: Option<Step>) -> ObjectPlan {
    let mut stages: Vec<Vec<Step>> = resize.into_iter().map(|step| vec![step]).collect();
    stages.push(vec![Step::Record]);
    plan(key, Outcome::Configured, stages)
}

/// Plans the deletion of a volume. The sidecar goes last, so that what is left of an interrupted
/// deletion is still known for what it was.
pub fn delete(
    key: ObjectKey,
    file: VolumeRef,
    rest: Vec<VolumeRef>,
    sidecar: VolumeRef,
) -> ObjectPlan {
    let files = std::iter::once(file).chain(rest);
    let stages = vec![
        files.map(Step::Delete).collect(),
        vec![Step::Delete(sidecar)],
        vec![Step::Forget],
    ];
    plan(key, Outcome::Deleted, stages)
}

fn plan(key: ObjectKey, outcome: Outcome, stages: Vec<Vec<Step>>) -> ObjectPlan {
    let any = |stage: Vec<Step>| stage.into_iter().map(super::Step::Volume).collect();
    ObjectPlan {
        key,
        outcome,
        stages: stages.into_iter().map(any).collect(),
        notes: Vec::new(),
    }
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Create(new) => new.describe(),
            Self::Record => "write the record".to_owned(),
            Self::Resize {
                volume, capacity, ..
            } => format!("resize {} to {capacity}", volume.name),
            Self::Swap { old: [file, _] } => format!("take it instead of {}", file.name),
            Self::Delete(volume) => format!("delete {}", volume.name),
            Self::Forget => "remove the record".to_owned(),
        }
    }

    /// Returns the commands a person would type to the same effect.
    pub fn equivalent(&self) -> Option<String> {
        let virsh = |args: &[&str]| Some(format!("virsh {}", shell_words(args)));
        match self {
            Self::Create(new) => Some(new.equivalent()),
            Self::Resize {
                volume,
                capacity,
                shrink,
            } => {
                let bytes = capacity.bytes().to_string();
                let mut args = vec!["vol-resize", &volume.name, &bytes, "--pool", &volume.pool];
                args.extend(shrink.then_some("--shrink"));
                virsh(&args)
            }
            Self::Delete(volume) | Self::Swap { old: [volume, _] } => {
                virsh(&["vol-delete", &volume.name, "--pool", &volume.pool])
            }
            Self::Record | Self::Forget => None,
        }
    }
}

impl NewVolume {
    fn describe(&self) -> String {
        let name = &self.volume.name;
        let size = self.capacity.map(|c| format!(" ({c})")).unwrap_or_default();
        match &self.source {
            Source::Empty => format!("create {name}{size}"),
            Source::File { .. } => format!("upload {name}{size}"),
            Source::Overlay { base, .. } => format!("create {name}{size} on {base}"),
            Source::Stored { file, .. } => format!("unpack {} to {name}{size}", file.name),
            Source::Copy { volume, .. } => format!("copy {} to {name}{size}", volume.name),
        }
    }

    fn equivalent(&self) -> String {
        let bytes = self.capacity.map_or(0, Quantity::bytes).to_string();
        let (pool, name, format) = (&self.volume.pool, &self.volume.name, self.format.as_str());
        let mut args = match &self.source {
            Source::Stored { file: volume, .. } | Source::Copy { volume, .. } => {
                vec!["vol-clone", &volume.name, name, "--pool", &volume.pool]
            }
            Source::File { .. } => vec!["vol-upload", name, "FILE", "--pool", pool],
            _ => vec!["vol-create-as", pool, name, &bytes, "--format", format],
        };
        if let Source::Overlay { base, format } = &self.source {
            args.extend([
                "--backing-vol",
                base,
                "--backing-vol-format",
                format.as_str(),
            ]);
        }
        match self.preallocation {
            Preallocation::Off if self.source == Source::Empty => {
                args.extend(["--allocation", "0"]);
            }
            Preallocation::Off => {}
            Preallocation::Metadata => args.push("--prealloc-metadata"),
            Preallocation::Falloc | Preallocation::Full => args.extend(["--allocation", &bytes]),
        }
        format!("virsh {}", shell_words(&args))
    }
}
