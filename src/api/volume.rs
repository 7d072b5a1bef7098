//! Volumes: disks that live by themselves, whatever becomes of the instances they are attached to.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::image::DiskFormat;
use super::meta::{ObjectMeta, Uid};
use super::name::Name;
use super::quantity::Quantity;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// `kvmctl/v1`.
    pub api_version: String,
    /// `Volume`.
    pub kind: String,
    /// Name, labels and identity.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: VolumeSpec,
    /// What is observed. Ignored in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<VolumeStatus>,
}

/// What a volume should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSpec {
    /// Size that a guest sees; that of the source when it has one and nothing is said. It can grow
    /// later; it shrinks only by `volumes resize --allow-shrink`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// `qcow2` when nothing is said. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
    /// Storage pool it lies in; the context's when nothing is said. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What is taken on the host at once; nothing when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preallocation: Option<Preallocation>,
    /// What it begins as; empty when nothing is said. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<VolumeSource>,
}

/// What a volume begins as: one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSource {
    /// A copy of this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Name>,
    /// A copy-on-write overlay of this image, or a copy of it when the format is raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What this snapshot holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// Which disk of the snapshot, where it has several: `root` or the name of a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// A file system with what is in this tar archive: the path of a file, or `-` for standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar: Option<String>,
    /// Which file system; ext4 when nothing is said, and no other yet. Goes with `tar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<FileSystem>,
}

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them, in the order of help.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the word of the manifest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let known = || Self::ALL.iter().map(|w| w.as_str());
                let found = Self::ALL.iter().copied().find(|w| w.as_str() == text);
                found.ok_or_else(|| UnknownWord::among(text, known()))
            }
        }
    };
}

pub(super) use word_enum;

/// A text that is none of the words that are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {known}")]
pub struct UnknownWord {
    text: String,
    known: String,
}

impl UnknownWord {
    pub(super) fn among<'w>(text: &str, known: impl Iterator<Item = &'w str>) -> Self {
        let known = known.collect::<Vec<_>>().join(", ");
        let text = text.to_owned();
        Self { text, known }
    }
}

word_enum!(
    /// What a volume takes on the host at once.
    Preallocation {
        /// Nothing: it grows as it is written to.
        Off = "off",
        /// The tables of a qcow2 file.
        Metadata = "metadata",
        /// All of its room, without writing to it.
        Falloc = "falloc",
        /// All of its room, written with zeroes.
        Full = "full",
    }
);

word_enum!(
    /// How the host's page cache is used for a disk.
    CacheMode {
        /// Not at all: the guest's flushes reach the device.
        None = "none",
        /// For reads and writes.
        Writeback = "writeback",
        /// For reads; each write reaches the device.
        Writethrough = "writethrough",
        /// Not at all, and each write reaches the device.
        Directsync = "directsync",
        /// For everything, also for what the guest asks to be flushed: loses data with the power.
        Unsafe = "unsafe",
    }
);

word_enum!(
    /// What becomes of the guest's TRIM.
    DiscardMode {
        /// The room is given back to the host.
        Unmap = "unmap",
        /// Nothing.
        Ignore = "ignore",
    }
);

word_enum!(
    /// How QEMU does its input and output.
    IoMode {
        /// By threads.
        Threads = "threads",
        /// By the kernel's asynchronous I/O; goes with cache `none` or `directsync`.
        Native = "native",
        /// By io_uring.
        IoUring = "io_uring",
    }
);

word_enum!(
    /// Which thread of QEMU serves a disk.
    IoThread {
        /// The main one, with everything else.
        Main = "main",
        /// One for all volumes of the instance that ask for it.
        Shared = "shared",
        /// One for this volume alone.
        Own = "own",
    }
);

word_enum!(
    /// A file system that a blank volume is given.
    FileSystem {
        /// ext4.
        Ext4 = "ext4",
        /// XFS.
        Xfs = "xfs",
    }
);

/// A volume of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeAttachment {
    /// The volume.
    pub name: Name,
    /// Directory of the guest where cloud-init mounts it at the first boot, formatting it if it is
    /// blank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// File system that a blank volume is given; ext4 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<FileSystem>,
    /// Whether the guest cannot write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether other instances may have it too; raw volumes only, and every one has to say so. What
    /// the guests put on it must be made for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// How the host's page cache is used; QEMU's own choice when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// What becomes of the guest's TRIM; `unmap` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<DiscardMode>,
    /// How QEMU does its input and output; its own choice when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoMode>,
    /// Which thread of QEMU serves it; the main one when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iothread: Option<IoThread>,
}

impl VolumeAttachment {
    /// Makes an attachment of which nothing but the name is said.
    pub const fn named(name: Name) -> Self {
        Self {
            name,
            mount_path: None,
            fs: None,
            read_only: None,
            shared: None,
            cache: None,
            discard: None,
            io: None,
            iothread: None,
        }
    }

    /// Returns whether other instances may have it too.
    pub fn is_shared(&self) -> bool {
        self.shared.unwrap_or(false)
    }
}

/// Where a volume stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumePhase {
    /// Its making was begun and has not ended.
    #[default]
    Pending,
    /// It is there, and nobody has it.
    Available,
    /// It is attached.
    InUse,
    /// It is not where it should be.
    Failed,
    /// Its deletion was begun and has not ended.
    Terminating,
}

impl fmt::Display for VolumePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Available => "Available",
            Self::InUse => "InUse",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        })
    }
}

/// What is observed of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeStatus {
    /// Where it stands.
    pub phase: VolumePhase,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether kvmctl made it.
    pub managed: bool,
    /// Size that a guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// What it takes on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Quantity>,
    /// Format, as it was recorded when the volume was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
    /// Storage pool it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Its path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Serial that guests see: it is `/dev/disk/by-id/virtio-SERIAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Files it is an overlay of, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing: Vec<String>,
    /// Domains that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached_to: Vec<VolumeUse>,
}

/// A domain that has a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeUse {
    /// Name of the domain, which for an instance is the instance's.
    pub domain: String,
    /// Whether the domain is an instance of kvmctl's.
    pub managed: bool,
    /// Whether it runs.
    pub running: bool,
    /// Name libvirt has for the disk, as `vdb`; the guest may name it otherwise.
    pub target: String,
}

/// Returns the serial that guests see of the disk of an object: twenty hex digits of its identity,
/// the most that virtio has room for.
pub fn disk_serial(uid: Uid) -> String {
    let digits = uid.to_string().replace('-', "");
    digits.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for mode in CacheMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(*mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        let error = "zstd -o /etc/x".parse::<DiscardMode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"zstd -o /etc/x\" is not one of unmap, ignore"
        );
    }

    #[test]
    fn a_serial_has_twenty_digits() {
        let uid: Uid = "1a2b3c4d-5e6f-4000-8000-00000000abcd".parse().unwrap();
        assert_eq!(disk_serial(uid), "1a2b3c4d5e6f40008000");
    }
}
