//! Unpacks a downloaded image with the host's own tool; some publishers ship `.qcow2.xz`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DownloadError;
use crate::host::{HostError, Tool};

/// How a published image is compressed as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// gzip, `.gz`.
    Gz,
    /// xz, `.xz`.
    Xz,
    /// Zstandard, `.zst`.
    Zst,
}

impl Packing {
    /// Returns the packing that the end of a file name tells.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Gz, Self::Xz, Self::Zst]
            .into_iter()
            .find(|packing| name.ends_with(packing.suffix()))
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Gz => ".gz",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    const fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::Gz => ("gzip", "gzip"),
            Self::Xz => ("xz", "xz-utils"),
            Self::Zst => ("zstd", "zstd"),
        }
    }
}

/// Unpacks `packed` beside itself and returns the new file; `packed` stays.
///
/// The result may have at most `limit` bytes, so that a small file cannot fill the disk.
///
/// # Errors
/// [`DownloadError::Unpack`] when the name has not the packing's suffix, or the tool is missing,
/// fails or reaches the limit; what it wrote is removed.
pub fn unpack(packed: &Path, packing: Packing, limit: u64) -> Result<PathBuf, DownloadError> {
    let failed = |source| DownloadError::Unpack {
        path: packed.to_owned(),
        source,
    };
    let name = packed.file_name().and_then(|n| n.to_str());
    let stem = name.and_then(|n| n.strip_suffix(packing.suffix()));
    let (Some(name), Some(stem), Some(dir)) = (name, stem, packed.parent()) else {
        return Err(failed(HostError::Garbage {
            program: packing.tool().0.to_owned(),
            what: format!("the file's name does not end in {}", packing.suffix()),
        }));
    };
    let target = dir.join(stem);
    run(packing, name, dir, limit).map_err(|error| {
        // The tool may have been killed by the limit; half a file is of no use.
        let _ = std::fs::remove_file(&target);
        failed(error)
    })?;
    Ok(target)
}

fn run(packing: Packing, name: &str, dir: &Path, limit: u64) -> Result<(), HostError> {
    let (tool, package) = packing.tool();
    let tool = Tool::find(&[tool], package)?;
    let prlimit = Tool::find(&["prlimit"], "util-linux")?;
    let size = format!("--fsize={limit}");
    let program = tool.path().to_string_lossy().into_owned();
    let here = format!("./{name}");
    let args = [size.as_str(), "--", &program, "-d", "-k", "-f", "--", &here];
    prlimit.run(&args, b"", Some(dir)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(packing: Packing, dir: &Path, bytes: usize) -> PathBuf {
        let plain = dir.join("disk.qcow2");
        std::fs::write(&plain, vec![0u8; bytes]).unwrap();
        let (tool, package) = packing.tool();
        let tool = Tool::find(&[tool], package).unwrap();
        tool.run(&["-k", "--", "disk.qcow2"], b"", Some(dir))
            .unwrap();
        std::fs::remove_file(&plain).unwrap();
        dir.join(format!("disk.qcow2{}", packing.suffix()))
    }

    #[test]
    fn each_packing_is_undone() {
        for packing in [Packing::Gz, Packing::Xz, Packing::Zst] {
            let dir = tempfile::tempdir().unwrap();
            let file = packed(packing, dir.path(), 5000);
            assert_eq!(Packing::of_name(&file.to_string_lossy()), Some(packing));
            let plain = unpack(&file, packing, 1 << 20).unwrap();
            assert_eq!(plain, dir.path().join("disk.qcow2"));
            assert_eq!(std::fs::read(plain).unwrap(), vec![0u8; 5000]);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = packed(Packing::Xz, dir.path(), 20 << 20);
        assert!(file.metadata().unwrap().len() < 10_000);
        assert!(unpack(&file, Packing::Xz, 1 << 20).is_err());
        assert!(!dir.path().join("disk.qcow2").exists());
    }

    #[test]
    fn a_wrong_suffix_or_content_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk.img");
        std::fs::write(&file, b"no xz").unwrap();
        assert!(unpack(&file, Packing::Xz, 1 << 20).is_err());
        let file = dir.path().join("disk.img.xz");
        std::fs::write(&file, b"no xz").unwrap();
        let error = unpack(&file, Packing::Xz, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("disk.img.xz"));
    }
}
