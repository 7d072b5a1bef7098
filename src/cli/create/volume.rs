//! `volumes create NAME`.

use clap::Args;

use crate::api::{
    API_VERSION, DiskFormat, Name, ObjectMeta, Preallocation, Quantity, Volume, VolumeSource,
    VolumeSpec,
};

/// Flags that describe a volume.
#[derive(Debug, Clone, Args)]
pub(crate) struct VolumeArgs {
    /// Name of the volume
    #[arg(value_name = "NAME")]
    name: Name,
    /// Size that a guest sees, as 100G; that of the source when it has one
    #[arg(long, value_name = "SIZE", required_unless_present_any = ["from_volume", "from_image", "from_snapshot"])]
    size: Option<Quantity>,
    /// qcow2 or raw
    #[arg(long, value_name = "FORMAT", value_parser = disk_format)]
    format: Option<DiskFormat>,
    /// Storage pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// What is taken on the host at once: off, metadata, falloc or full
    #[arg(long, value_name = "WHAT")]
    preallocation: Option<Preallocation>,
    /// Begin as a copy of this volume
    #[arg(long, value_name = "VOLUME", conflicts_with_all = ["from_image", "from_snapshot"])]
    from_volume: Option<Name>,
    /// Begin as an overlay of this image
    #[arg(long, value_name = "IMAGE")]
    from_image: Option<String>,
    /// Begin as what this snapshot holds
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "from_image")]
    from_snapshot: Option<Name>,
    /// Which disk of the snapshot, where it has several: root or the name of a volume
    #[arg(long, value_name = "DISK", requires = "from_snapshot")]
    disk: Option<String>,
}

impl VolumeArgs {
    /// Builds the Volume that the flags describe.
    pub(crate) fn object(&self) -> Volume {
        let from = VolumeSource {
            volume: self.from_volume.clone(),
            image: self.from_image.clone(),
            snapshot: self.from_snapshot.clone(),
            disk: self.disk.clone(),
        };
        let source = (from != VolumeSource::default()).then_some(from);
        volume(
            self.name.clone(),
            VolumeSpec {
                size: self.size,
                format: self.format,
                pool: self.pool.clone(),
                preallocation: self.preallocation,
                source,
            },
        )
    }
}

/// Builds a Volume.
pub(crate) fn volume(name: Name, spec: VolumeSpec) -> Volume {
    Volume {
        api_version: API_VERSION.to_owned(),
        kind: "Volume".to_owned(),
        metadata: ObjectMeta::named(name),
        spec,
        status: None,
    }
}

/// Reads a format; no other is offered.
pub(crate) fn disk_format(text: &str) -> Result<DiskFormat, String> {
    [DiskFormat::Qcow2, DiskFormat::Raw]
        .into_iter()
        .find(|f| f.as_str() == text)
        .ok_or_else(|| format!("{text:?} is neither qcow2 nor raw"))
}
