//! `qemu-img`, with the format always given, absolute paths only, and limits where it reads what a
//! stranger wrote.
//!
//! qemu-img reads meaning into file names (`json:{…}`, `nbd://…`, `a:b.qcow2` is a protocol) and into
//! headers; OpenStack bounds it to 1 GiB of memory and 30 s of CPU time (CVE-2024-4467), and so do we.

mod chain;
mod copy;
mod path;

use std::path::Path;
use std::time::Duration;

pub use copy::{Copy, Packing};
pub use path::{ImagePath, InvalidImagePath};
use serde::Deserialize;

use super::command::Tool;
use super::error::HostError;
use crate::api::{DiskFormat, Quantity};

/// What `qemu-img info` says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageInfo {
    /// Size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes on the disk.
    #[serde(default)]
    pub actual_size: Option<u64>,
    /// Its backing file, as the header names it.
    #[serde(default)]
    pub backing_filename: Option<String>,
    /// The format of its backing file, as the header names it.
    #[serde(default)]
    pub backing_filename_format: Option<String>,
    /// Whether it was not closed properly.
    #[serde(default)]
    pub dirty_flag: bool,
}

/// What `qemu-img check` found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// Clusters whose content is lost or doubled.
    #[serde(default)]
    pub corruptions: u64,
    /// Clusters that are allocated and unused; harmless.
    #[serde(default)]
    pub leaks: u64,
    /// Errors that kept the check from its end.
    #[serde(default)]
    pub check_errors: u64,
}

impl CheckReport {
    /// Returns whether the image can be used.
    pub const fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.check_errors == 0
    }
}

/// The base of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Backing<'a> {
    /// The base.
    pub path: &'a ImagePath,
    /// Its format, which the overlay records.
    pub format: DiskFormat,
}

/// `qemu-img` on this host.
#[derive(Debug, Clone)]
pub struct QemuImg {
    tool: Tool,
    prlimit: Option<Tool>,
}

/// qemu-img reads with up to 64 threads, and aborts when it cannot make one: with stacks of 8 MiB and a
/// heap of 64 MiB for each, as many as there are CPUs eight times, they would not fit into the memory.
const LIMITS: [&str; 6] = [
    "--as=1073741824",
    "--cpu=30",
    "--stack=2097152",
    "--",
    "env",
    "MALLOC_ARENA_MAX=1",
];

impl QemuImg {
    /// Finds qemu-img, and prlimit to bound it where that is there.
    ///
    /// # Errors
    /// [`HostError::Missing`].
    pub fn find() -> Result<Self, HostError> {
        Ok(Self {
            tool: Tool::find(&["qemu-img"], "qemu-utils")?,
            prlimit: Tool::find(&["prlimit"], "util-linux").ok(),
        })
    }

    /// Reads what the header says. A running guest's disk can be asked too.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing`.
    pub fn info(&self, path: &ImagePath, format: DiskFormat) -> Result<ImageInfo, HostError> {
        let form = ["info", "-U", "-f", format.as_str(), "--output=json", "--"];
        let printed = self.bounded(&form, path)?;
        parse(&printed)
    }

    /// Checks the metadata of a qcow2 image that nothing uses.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing`; what the check finds is no error.
    pub fn check(&self, path: &ImagePath) -> Result<CheckReport, HostError> {
        let form = ["check", "-f", "qcow2", "--output=json", "--"];
        match self.bounded(&form, path) {
            Ok(printed) => parse(&printed),
            Err(Ended::Status {
                code: 2 | 3,
                stdout,
                ..
            }) => parse(&stdout),
            Err(ended) => Err(ended.into()),
        }
    }

    /// Makes an empty disk.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn create(
        &self,
        path: &ImagePath,
        format: DiskFormat,
        size: Quantity,
    ) -> Result<(), HostError> {
        let bytes = size.bytes().to_string();
        let args = [
            "create",
            "-q",
            "-f",
            format.as_str(),
            "--",
            path.text(),
            &bytes,
        ];
        self.tool.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Makes a qcow2 overlay, as large as its base unless `size` says more.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn create_overlay(
        &self,
        path: &ImagePath,
        backing: Backing<'_>,
        size: Option<Quantity>,
    ) -> Result<(), HostError> {
        let bytes = size.map(|s| s.bytes().to_string());
        let base = [backing.format.as_str(), "-b", backing.path.text()];
        let mut args = vec!["create", "-q", "-f", "qcow2", "-F"];
        args.extend(base);
        args.extend(["--", path.text()]);
        args.extend(bytes.as_deref());
        self.tool.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Grows a disk that nothing uses; making it smaller is refused by qemu-img itself.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn grow(
        &self,
        path: &ImagePath,
        format: DiskFormat,
        size: Quantity,
    ) -> Result<(), HostError> {
        let bytes = size.bytes().to_string();
        let args = [
            "resize",
            "-q",
            "-f",
            format.as_str(),
            "--",
            path.text(),
            &bytes,
        ];
        self.tool.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Runs a question about an image that may be a stranger's: bounded, in a directory where a relative
    /// name leads to nothing of a stranger's. One of its own would be left over when we are killed.
    fn bounded(&self, form: &[&str], path: &ImagePath) -> Result<Vec<u8>, Ended> {
        let program = self.tool.path().to_string_lossy();
        let mut args: Vec<&str> = Vec::new();
        if self.prlimit.is_some() {
            args.extend(LIMITS);
            args.push(&program);
        }
        args.extend(form);
        args.push(path.text());
        let runner = self.prlimit.as_ref().unwrap_or(&self.tool).clone();
        let runner = runner.timeout(Duration::from_secs(60));
        let (status, output) = runner.run_any(&args, b"", Some(Path::new("/")))?;
        if status.success() {
            return Ok(output.stdout);
        }
        Err(Ended::Status {
            code: status.code().unwrap_or(-1),
            said: status.to_string(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr)
                .chars()
                .take(4096)
                .collect(),
        })
    }
}

/// How a bounded run ended when not well.
enum Ended {
    Status {
        code: i32,
        said: String,
        stdout: Vec<u8>,
        stderr: String,
    },
    Host(HostError),
}

impl From<HostError> for Ended {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<Ended> for HostError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Host(error) => error,
            Ended::Status { said, stderr, .. } => Self::Failed {
                program: "qemu-img".into(),
                status: said,
                stderr,
            },
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, HostError> {
    serde_json::from_slice(json).map_err(|error| HostError::Garbage {
        program: "qemu-img".into(),
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn at(dir: &tempfile::TempDir, name: &str) -> ImagePath {
        ImagePath::new(dir.path().join(name)).unwrap()
    }

    #[test]
    fn an_overlay_records_its_base_and_the_bases_format() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = QemuImg::find().unwrap();
        let (base, top) = (at(&dir, "base.raw"), at(&dir, "top.qcow2"));
        qemu.create(&base, DiskFormat::Raw, Quantity::mib(8))
            .unwrap();
        let backing = Backing {
            path: &base,
            format: DiskFormat::Raw,
        };
        qemu.create_overlay(&top, backing, Some(Quantity::mib(16)))
            .unwrap();
        let info = qemu.info(&top, DiskFormat::Qcow2).unwrap();
        assert_eq!(info.virtual_size, 16 << 20);
        assert_eq!(info.backing_filename.as_deref(), base.as_path().to_str());
        assert_eq!(info.backing_filename_format.as_deref(), Some("raw"));
        qemu.grow(&top, DiskFormat::Qcow2, Quantity::mib(32))
            .unwrap();
        assert!(
            qemu.grow(&top, DiskFormat::Qcow2, Quantity::mib(1))
                .is_err()
        );
        assert_eq!(
            qemu.info(&top, DiskFormat::Qcow2).unwrap().virtual_size,
            32 << 20
        );
        assert!(qemu.check(&top).unwrap().is_sound());
    }

    #[test]
    fn a_raw_disk_stays_raw_whatever_a_guest_writes_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = QemuImg::find().unwrap();
        let (disk, evil) = (at(&dir, "disk.raw"), at(&dir, "evil.qcow2"));
        qemu.create(&disk, DiskFormat::Raw, Quantity::mib(8))
            .unwrap();
        qemu.create(&evil, DiskFormat::Qcow2, Quantity::gib(100))
            .unwrap();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(disk.as_path())
            .unwrap();
        file.write_all(&std::fs::read(evil.as_path()).unwrap())
            .unwrap();
        let info = qemu.info(&disk, DiskFormat::Raw).unwrap();
        assert_eq!(info.virtual_size, 8 << 20);
        qemu.grow(&disk, DiskFormat::Raw, Quantity::mib(16))
            .unwrap();
        assert_eq!(disk.as_path().metadata().unwrap().len(), 16 << 20);
    }

    #[test]
    fn a_damaged_image_is_a_finding_and_no_image_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = QemuImg::find().unwrap();
        let disk = at(&dir, "disk.qcow2");
        qemu.create(&disk, DiskFormat::Qcow2, Quantity::mib(8))
            .unwrap();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(disk.as_path())
            .unwrap();
        // An L1 entry that points at the header itself.
        file.seek(SeekFrom::Start(0x30000)).unwrap();
        file.write_all(&(1u64 << 63).to_be_bytes()).unwrap();
        file.write_all(&0u64.to_be_bytes()).unwrap();
        file.seek(SeekFrom::Start(0x30000)).unwrap();
        file.write_all(&((1u64 << 63) | 0x10000).to_be_bytes())
            .unwrap();
        assert!(!qemu.check(&disk).unwrap().is_sound());
        assert!(qemu.check(&at(&dir, "missing.qcow2")).is_err());
    }
}
