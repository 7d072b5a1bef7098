//! `volumes create NAME`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::{
    API_VERSION, DiskFormat, FileSystem, Name, ObjectMeta, Preallocation, Quantity, Volume,
    VolumeSource, VolumeSpec,
};

/// Flags that describe a volume.
#[derive(Debug, Clone, Args)]
pub(crate) struct VolumeArgs {
    /// Name of the volume
    #[arg(value_name = "NAME")]
    name: Name,
    /// Size that a guest sees, as 100G; that of the source when it has one
    #[arg(long, value_name = "SIZE",
        required_unless_present_any = ["from_volume", "from_image", "from_snapshot", "from_tar"])]
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
    #[arg(long, value_name = "VOLUME",
        conflicts_with_all = ["from_image", "from_snapshot", "from_tar"])]
    from_volume: Option<Name>,
    /// Begin as an overlay of this image
    #[arg(long, value_name = "IMAGE", conflicts_with = "from_tar")]
    from_image: Option<String>,
    /// Begin as what this snapshot holds
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["from_image", "from_tar"])]
    from_snapshot: Option<Name>,
    /// Which disk of the snapshot, where it has several: root or the name of a volume
    #[arg(long, value_name = "DISK", requires = "from_snapshot")]
    disk: Option<String>,
    /// Begin as a file system with the content of this tar archive; '-' reads standard input
    #[arg(long, value_name = "FILE")]
    from_tar: Option<PathBuf>,
    /// File system that --from-tar makes: ext4
    #[arg(long, value_name = "FS", requires = "from_tar")]
    fs: Option<FileSystem>,
}

impl VolumeArgs {
    /// Builds the Volume that the flags describe.
    pub(crate) fn object(&self) -> Volume {
        let source = VolumeSource {
            volume: self.from_volume.clone(),
            image: self.from_image.clone(),
            snapshot: self.from_snapshot.clone(),
            disk: self.disk.clone(),
            tar: self.from_tar.as_deref().map(archive),
            fs: self.fs,
        };
        let source = (source != VolumeSource::default()).then_some(source);
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

/// A manifest may be applied from elsewhere: it has the whole path.
fn archive(path: &Path) -> String {
    let stdin = path == Path::new("-");
    let whole = match stdin {
        true => path.to_owned(),
        // Without a current directory it cannot be opened either, and that is told then.
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    };
    whole.to_string_lossy().into_owned()
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
