//! Copying an image to another one, with its progress.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{ImagePath, QemuImg};
use crate::api::DiskFormat;
use crate::host::HostError;

/// How the copy is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing<'a> {
    /// For use: clusters as a guest writes them.
    Plain,
    /// For keeping, of so many bytes. zstd takes a fifth of zlib's time, and large clusters pack better
    /// and in two thirds of it; but each of the tables takes a cluster, too. So what is large goes into
    /// clusters of 2 MiB, and what is not into such of 256 KiB. Most of a table is zeroes: where those
    /// become holes afterwards, even a small disk takes less than zlib would make of it.
    Archive(u64),
    /// As [`Packing::Archive`], but only of what the image itself holds, and standing on this one. In the
    /// clusters in which QEMU notes what changes.
    Onto(&'a ImagePath),
}

/// A copy to be made.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// What is read, with what stands behind it.
    pub from: &'a ImagePath,
    /// Its format.
    pub from_format: DiskFormat,
    /// What is written.
    pub to: &'a ImagePath,
    /// Its format.
    pub to_format: DiskFormat,
    /// How it is packed.
    pub packing: Packing<'a>,
}

/// A copy takes as long as it takes; this is only an end for one that hangs.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
const ZSTD: &str = "compression_type=zstd";
const SMALL_CLUSTERS: &str = "compression_type=zstd,cluster_size=256k";
const LARGE_CLUSTERS: &str = "compression_type=zstd,cluster_size=2M";
/// From how many bytes on a disk is large.
const LARGE: u64 = 256 << 20;
/// Most coroutines that qemu-img takes.
const MOST: usize = 16;

impl Copy<'_> {
    /// Returns the arguments of qemu-img.
    pub fn arguments(&self) -> Vec<String> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let coroutines = cpus.min(MOST).to_string();
        let mut args = vec!["convert", "-p", "-W", "-m", &coroutines];
        args.extend(["-f", self.from_format.as_str()]);
        args.extend(["-O", self.to_format.as_str()]);
        let base;
        match self.packing {
            Packing::Plain => {}
            Packing::Archive(0..LARGE) => args.extend(["-c", "-o", SMALL_CLUSTERS]),
            Packing::Archive(LARGE..) => args.extend(["-c", "-o", LARGE_CLUSTERS]),
            Packing::Onto(image) => {
                base = super::chain::base_name(self.to, image);
                args.extend(["-c", "-o", ZSTD]);
                args.extend(["-F", "qcow2", "-B", &base]);
            }
        }
        args.extend(["--", self.from.text(), self.to.text()]);
        args.into_iter().map(str::to_owned).collect()
    }
}

impl QemuImg {
    /// Makes a copy; `progress` hears which part of it is done, and `stop` ends it.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn copy(
        &self,
        copy: &Copy<'_>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(f64),
    ) -> Result<(), HostError> {
        let tool = self.tool.clone().timeout(LONGEST);
        let mut line = Vec::new();
        let mut hear = |piece: &[u8]| {
            line.extend_from_slice(piece);
            if let Some(done) = part(&line) {
                progress(done);
                line.clear();
            }
        };
        tool.run_watched(&copy.arguments(), Path::new("/"), stop, &mut hear)
            .map(drop)
    }
}

/// Reads the last `(12.34/100%)`.
fn part(printed: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(printed);
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    Some(number.trim().parse::<f64>().ok()? / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Quantity;

    #[test]
    fn progress_is_read_as_it_is_printed() {
        assert_eq!(
            part(b"    (0.00/100%)\r    (12.50/100%)\r    (2"),
            Some(0.125)
        );
        assert_eq!(part(b"    (12.5"), None);
        assert_eq!(part(b"(x/100%)"), None);
    }

    #[test]
    fn an_archive_is_packed_by_its_size() {
        let path = ImagePath::new("/disk").unwrap();
        let options = |bytes: u64| {
            let copy = Copy {
                from: &path,
                from_format: DiskFormat::Qcow2,
                to: &path,
                to_format: DiskFormat::Qcow2,
                packing: Packing::Archive(bytes),
            };
            let args = copy.arguments();
            let at = args.iter().position(|a| a == "-c").unwrap();
            args[at + 1..].join(" ").replace(" -- /disk /disk", "")
        };
        assert_eq!(options(1 << 20), format!("-o {SMALL_CLUSTERS}"));
        assert_eq!(options(256 << 20), format!("-o {LARGE_CLUSTERS}"));
    }

    #[test]
    fn a_copy_tells_its_end_and_holds_what_the_original_held() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| ImagePath::new(dir.path().join(name)).unwrap();
        let (raw, kept, back) = (at("disk.raw"), at("disk.snap.qcow2"), at("back.raw"));
        let qemu = QemuImg::find().unwrap();
        qemu.create(&raw, DiskFormat::Raw, Quantity::mib(8))
            .unwrap();
        let text = b"what the guest wrote".repeat(1000);
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::OpenOptions::new()
                .write(true)
                .open(raw.as_path())
                .unwrap(),
            &text,
            3 << 20,
        )
        .unwrap();
        let stop = AtomicBool::new(false);
        let mut last = 0.0;
        let archive = Copy {
            from: &raw,
            from_format: DiskFormat::Raw,
            to: &kept,
            to_format: DiskFormat::Qcow2,
            packing: Packing::Archive(0),
        };
        qemu.copy(&archive, &stop, &mut |done| last = done).unwrap();
        assert!((last - 1.0).abs() < 0.01, "{last}");
        let plain = Copy {
            from: &kept,
            from_format: DiskFormat::Qcow2,
            to: &back,
            to_format: DiskFormat::Raw,
            packing: Packing::Plain,
        };
        qemu.copy(&plain, &stop, &mut |_| {}).unwrap();
        let (old, new) = (std::fs::read(raw.as_path()), std::fs::read(back.as_path()));
        assert_eq!(old.unwrap(), new.unwrap());
    }
}
