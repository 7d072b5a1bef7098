//! Steps of snapshots.

use crate::api::{DiskFormat, Name, ObjectKey, Quantity};
use crate::shell::shell_words;

use super::instance::VolumeRef;
use super::{ObjectPlan, Outcome};

/// One change of a snapshot, or of the disks that it is restored to. Every step is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Copies a disk that nobody writes to, compressed.
    Copy(DiskCopy),
    /// Lets QEMU copy the disks of a running guest, all at one moment.
    BackUp {
        /// The domain.
        domain: String,
        /// The disks.
        disks: Vec<DiskCopy>,
    },
    /// Compresses what QEMU copied.
    Compress(DiskCopy),
    /// Keeps the whole guest, with its memory, within its own disks.
    KeepMemory {
        /// The domain.
        domain: String,
    },
    /// Writes the sidecar and the record, and ends the intent.
    Record,
    /// Makes a snapshot that stands on this one stand on what this one stands on, or alone.
    Lift {
        /// The snapshot that stands on it.
        child: Name,
    },
    /// Frees what the domain has of it.
    Release {
        /// The domain.
        domain: String,
    },
    /// Deletes a file.
    Delete(VolumeRef),
    /// Removes the record and ends the intent.
    Forget,
    /// Unpacks a stored disk into a new file.
    Unpack(Unpack),
    /// Notes that all new files are there: from here on the restore goes forward.
    Commit,
    /// Puts a new file in the place of a disk.
    Swap(Swap),
    /// Ends a restore.
    Settle,
}

/// A disk to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCopy {
    /// Its name in the snapshot.
    pub name: String,
    /// Path of the disk.
    pub from: String,
    /// Its format.
    pub format: DiskFormat,
    /// The file that it is stored in.
    pub to: VolumeRef,
}

/// A stored disk to be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpack {
    /// Its name in the snapshot.
    pub name: String,
    /// The stored file.
    pub from: VolumeRef,
    /// The new file.
    pub to: VolumeRef,
    /// Format of the new file.
    pub format: DiskFormat,
    /// Size that it is given at least.
    pub least: Option<Quantity>,
}

/// A file that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The new file.
    pub new: VolumeRef,
    /// The disk.
    pub disk: VolumeRef,
    /// The name that the old file is kept under; it goes where there is none.
    pub kept: Option<VolumeRef>,
}

/// Plans a snapshot of disks that nobody writes to.
pub fn create(key: ObjectKey, disks: Vec<DiskCopy>) -> ObjectPlan {
    let mut stages: Vec<Vec<Step>> = disks.into_iter().map(|d| vec![Step::Copy(d)]).collect();
    stages.push(vec![Step::Record]);
    plan(key, Outcome::Created, stages)
}

/// Plans a snapshot of the disks of a running guest.
pub fn create_running(key: ObjectKey, domain: String, disks: Vec<DiskCopy>) -> ObjectPlan {
    let compress = disks.iter().cloned().map(|d| vec![Step::Compress(d)]);
    let compress: Vec<Vec<Step>> = compress.collect();
    let mut stages = vec![vec![Step::BackUp { domain, disks }]];
    stages.extend(compress);
    stages.push(vec![Step::Record]);
    plan(key, Outcome::Created, stages)
}

/// Plans a snapshot of a running guest with its memory.
pub fn create_memory(key: ObjectKey, domain: String) -> ObjectPlan {
    let stages = vec![vec![Step::KeepMemory { domain }], vec![Step::Record]];
    plan(key, Outcome::Created, stages)
}

/// Plans a change of labels or description.
pub fn change(key: ObjectKey) -> ObjectPlan {
    plan(key, Outcome::Configured, vec![vec![Step::Record]])
}

/// Plans the deletion of a snapshot, after which those that stood on it stand without it; the sidecar goes last of the files, so that what is left of an
/// interrupted deletion is still known for what it was.
pub fn delete(
    key: ObjectKey,
    domain: Option<String>,
    children: Vec<Name>,
    files: Vec<VolumeRef>,
    sidecar: Option<VolumeRef>,
) -> ObjectPlan {
    let mut stages = lifts(children);
    stages.extend(domain.map(|domain| vec![Step::Release { domain }]));
    stages.extend(files.into_iter().map(|file| vec![Step::Delete(file)]));
    stages.extend(sidecar.map(|file| vec![Step::Delete(file)]));
    stages.push(vec![Step::Forget]);
    plan(key, Outcome::Deleted, stages)
}

/// Plans that others stand without a snapshot, before anything of it goes.
pub fn lift(key: ObjectKey, children: Vec<Name>) -> ObjectPlan {
    plan(key, Outcome::Deleted, lifts(children))
}

fn lifts(children: Vec<Name>) -> Vec<Vec<Step>> {
    let each = children.into_iter();
    each.map(|child| vec![Step::Lift { child }]).collect()
}

/// Plans the first half of a restore: the new files beside the disks, which stay as they are.
pub fn unpack(key: ObjectKey, disks: Vec<Unpack>) -> ObjectPlan {
    let stages = disks.into_iter().map(|d| vec![Step::Unpack(d)]).collect();
    plan(key, Outcome::Restored, stages)
}

/// Plans the second half of a restore, in which nothing is copied.
pub fn swap(key: ObjectKey, disks: Vec<Swap>) -> ObjectPlan {
    let mut stages = vec![vec![Step::Commit]];
    stages.extend(disks.into_iter().map(|d| vec![Step::Swap(d)]));
    stages.push(vec![Step::Settle]);
    plan(key, Outcome::Restored, stages)
}

fn plan(key: ObjectKey, outcome: Outcome, stages: Vec<Vec<Step>>) -> ObjectPlan {
    let any = |stage: Vec<Step>| stage.into_iter().map(super::Step::Snapshot).collect();
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
            Self::Copy(copy) => format!("store {} in {}", copy.name, copy.to.name),
            Self::BackUp { domain, disks } => {
                let names: Vec<&str> = disks.iter().map(|d| d.name.as_str()).collect();
                format!("let QEMU copy {} of {domain}", names.join(", "))
            }
            Self::Compress(copy) => format!("compress {} to {}", copy.name, copy.to.name),
            Self::KeepMemory { domain } => format!("keep {domain} with its memory"),
            Self::Record => "write the record".to_owned(),
            Self::Lift { child } => format!("let snapshot/{child} stand without it"),
            Self::Release { domain } => format!("free what {domain} has of it"),
            Self::Delete(file) => format!("delete {}", file.name),
            Self::Forget => "remove the record".to_owned(),
            Self::Unpack(disk) => format!("unpack {} to {}", disk.from.name, disk.to.name),
            Self::Commit => "note that the new files are there".to_owned(),
            Self::Swap(swap) => format!("put {} in the place of {}", swap.new.name, swap.disk.name),
            Self::Settle => "end the restore".to_owned(),
        }
    }

    /// Returns the commands a person would type to the same effect.
    pub fn equivalent(&self) -> Option<String> {
        match self {
            Self::Copy(copy) => Some(copy.equivalent()),
            Self::BackUp { domain, .. } => {
                Some(format!("virsh {}", shell_words(&["backup-begin", domain])))
            }
            Self::Compress(copy) => Some(format!("# as qemu-img convert -c to {}", copy.to.name)),
            Self::KeepMemory { domain } => Some(format!(
                "virsh {}",
                shell_words(&["snapshot-create-as", domain])
            )),
            Self::Lift { child } => Some(format!(
                "# as qemu-img rebase and qemu-img convert -c of the disks of snapshot/{child}"
            )),
            Self::Delete(file) => {
                let args = ["vol-delete", &file.name, "--pool", &file.pool];
                Some(format!("virsh {}", shell_words(&args)))
            }
            Self::Unpack(disk) => {
                let args = [
                    "qemu-img",
                    "convert",
                    "-W",
                    "-f",
                    "qcow2",
                    "-O",
                    disk.format.as_str(),
                    "--",
                    &disk.from.name,
                    &disk.to.name,
                ];
                Some(shell_words(&args))
            }
            Self::Swap(swap) => {
                let (new, disk) = (&swap.new.name, &swap.disk.name);
                let kept = swap.kept.iter();
                let keep = kept.map(|k| format!("ln {}\n", shell_words(&[disk, &k.name])));
                let moved = shell_words(&["mv", new, disk]);
                Some(format!("{}{moved}", keep.collect::<String>()))
            }
            Self::Record | Self::Release { .. } | Self::Forget | Self::Commit | Self::Settle => {
                None
            }
        }
    }
}

impl DiskCopy {
    fn equivalent(&self) -> String {
        let args = [
            "qemu-img",
            "convert",
            "-c",
            "-W",
            "-f",
            self.format.as_str(),
            "-O",
            "qcow2",
            "-o",
            "compression_type=zstd",
            "--",
            &self.from,
            &self.to.name,
        ];
        format!(
            "{}\nvirsh {}",
            shell_words(&args),
            shell_words(&["pool-refresh", &self.to.pool])
        )
    }
}
