//! Chains of compressed images: each holds what has changed since the one that it stands on.
//!
//! A base in the same directory is written down by its name alone, so that the directory can move.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::super::error::HostError;
use super::{Copy, ImagePath, Packing, QemuImg};
use crate::api::DiskFormat;

/// Copying takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

impl QemuImg {
    /// Writes into a qcow2 image which one it stands on, and changes nothing else in it.
    ///
    /// A backup job leaves there the disk that the guest is writing to.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn set_base(&self, image: &ImagePath, base: &ImagePath) -> Result<(), HostError> {
        let name = base_name(image, base);
        let form = ["rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"];
        let args = [&form[..], &[&name, "--", image.text()]].concat();
        self.tool.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Writes an image anew as one that stands on another of its chain, or on nothing; the content that
    /// a reader sees is the same, which is of so many `bytes`. `scratch` is used on the way; neither it nor `to` may hold anything.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing`; `to` is then worth nothing.
    pub fn move_onto(
        &self,
        image: &ImagePath,
        base: Option<&ImagePath>,
        scratch: &ImagePath,
        to: &ImagePath,
        bytes: u64,
        stop: &AtomicBool,
    ) -> Result<(), HostError> {
        let mut copy = Copy {
            from: image,
            from_format: DiskFormat::Qcow2,
            to,
            to_format: DiskFormat::Qcow2,
            packing: Packing::Archive(bytes),
        };
        if let Some(base) = base {
            self.rebased_copy(image, base, scratch)?;
            copy.from = scratch;
            copy.packing = Packing::Onto(base);
        }
        self.copy(&copy, stop, &mut |_| {})?;
        self.compare(image, to)
    }

    /// Copies an image file and gives the copy another base, with all that the two bases differ in.
    fn rebased_copy(
        &self,
        image: &ImagePath,
        base: &ImagePath,
        to: &ImagePath,
    ) -> Result<(), HostError> {
        std::fs::copy(image.as_path(), to.as_path()).map_err(|source| HostError::Spawn {
            program: "qemu-img".into(),
            source,
        })?;
        let name = base_name(to, base);
        let form = ["rebase", "-q", "-f", "qcow2", "-F", "qcow2", "-b"];
        let args = [&form[..], &[&name, "--", to.text()]].concat();
        let patient = self.tool.clone().timeout(PATIENCE);
        patient.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Fails unless a reader sees the same in both.
    ///
    /// # Errors
    /// [`HostError::Failed`] when they differ.
    pub fn compare(&self, one: &ImagePath, other: &ImagePath) -> Result<(), HostError> {
        let form = ["compare", "-q", "-f", "qcow2", "-F", "qcow2", "--"];
        let args = [&form[..], &[one.text(), other.text()]].concat();
        let patient = self.tool.clone().timeout(PATIENCE);
        patient.run(&args, b"", Some(Path::new("/"))).map(drop)
    }

    /// Deletes a snapshot within a qcow2 disk that nothing uses; one that is not there is deleted.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn delete_snapshot(&self, disk: &ImagePath, snapshot: &str) -> Result<(), HostError> {
        let form = ["snapshot", "-q", "-d", snapshot, "--", disk.text()];
        match self.tool.run(&form, b"", Some(Path::new("/"))) {
            Err(HostError::Failed { stderr, .. }) if stderr.contains("not found") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes a bitmap from a qcow2 disk that nothing uses; one that is not there is removed.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn remove_bitmap(&self, disk: &ImagePath, bitmap: &str) -> Result<(), HostError> {
        let args = [
            "bitmap",
            "--remove",
            "-f",
            "qcow2",
            "--",
            disk.text(),
            bitmap,
        ];
        match self.tool.run(&args, b"", Some(Path::new("/"))) {
            Err(HostError::Failed { stderr, .. }) if stderr.contains("not found") => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The base as the image's header names it; both paths are absolute and without symlinks of ours.
pub(super) fn base_name(image: &ImagePath, base: &ImagePath) -> String {
    let same = image.as_path().parent() == base.as_path().parent();
    match base.as_path().file_name().and_then(|name| name.to_str()) {
        Some(name) if same => name.to_owned(),
        _ => base.text().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::api::Quantity;
    use crate::host::Backing;

    struct Chain {
        dir: tempfile::TempDir,
        qemu: QemuImg,
    }

    impl Chain {
        /// Four points in time; each later one writes 64 KiB more of its own number, and over the one before.
        fn make() -> Self {
            let chain = Self {
                dir: tempfile::tempdir().unwrap(),
                qemu: QemuImg::find().unwrap(),
            };
            let (qemu, disk) = (&chain.qemu, chain.at("disk.raw"));
            qemu.create(&disk, DiskFormat::Raw, Quantity::mib(4))
                .unwrap();
            for point in 0..4 {
                chain.write(point);
                let (delta, to) = (chain.at("delta"), chain.at(&format!("p{point}.qcow2")));
                let parent = chain.at(&format!("p{}.qcow2", point.max(1) - 1));
                let mut copy = Copy {
                    from: &disk,
                    from_format: DiskFormat::Raw,
                    to: &to,
                    to_format: DiskFormat::Qcow2,
                    packing: Packing::Archive(0),
                };
                if point > 0 {
                    chain.delta(point, &delta);
                    qemu.set_base(&delta, &parent).unwrap();
                    copy.from = &delta;
                    copy.from_format = DiskFormat::Qcow2;
                    copy.packing = Packing::Onto(&parent);
                }
                qemu.copy(&copy, &AtomicBool::new(false), &mut |_| {})
                    .unwrap();
                let _ = std::fs::remove_file(delta.as_path());
            }
            chain
        }

        fn at(&self, name: &str) -> ImagePath {
            ImagePath::new(self.dir.path().join(name)).unwrap()
        }

        fn write(&self, point: u8) {
            let mut disk = std::fs::OpenOptions::new()
                .write(true)
                .open(self.at("disk.raw").as_path())
                .unwrap();
            disk.seek(SeekFrom::Start(u64::from(point) << 16)).unwrap();
            // Noise of its own, so that nothing of it can come from elsewhere; zeroes over the first one.
            let noise: Vec<u8> = (0..0x20000u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ point)
                .collect();
            disk.write_all(&noise).unwrap();
            if point == 2 {
                disk.rewind().unwrap();
                disk.write_all(&[0; 0x10000]).unwrap();
            }
        }

        /// What a backup job would write: the changed clusters, standing on what must not be read.
        fn delta(&self, point: u8, to: &ImagePath) {
            let live = Backing {
                path: &self.at("disk.raw"),
                format: DiskFormat::Raw,
            };
            self.qemu.create_overlay(to, live, None).unwrap();
            // A rebase onto the parent writes exactly what differs.
            let parent = self.at(&format!("p{}.qcow2", point - 1));
            let args = [
                "rebase",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                parent.text(),
                to.text(),
            ];
            self.qemu.tool.run(&args, b"", None).unwrap();
        }

        fn content(&self, name: &str) -> Vec<u8> {
            let out = self.at("out.raw");
            let (from, format) = (self.at(name), DiskFormat::Qcow2);
            let copy = Copy {
                from: &from,
                from_format: format,
                to: &out,
                to_format: DiskFormat::Raw,
                packing: Packing::Plain,
            };
            let stop = std::sync::atomic::AtomicBool::new(false);
            self.qemu.copy(&copy, &stop, &mut |_| {}).unwrap();
            std::fs::read(out.as_path()).unwrap()
        }
    }

    #[test]
    fn each_point_of_a_chain_has_its_own_content_wherever_the_chain_lies() {
        let chain = Chain::make();
        let all: Vec<_> = (0..4)
            .map(|p| chain.content(&format!("p{p}.qcow2")))
            .collect();
        assert_eq!(
            all[3],
            std::fs::read(chain.at("disk.raw").as_path()).unwrap()
        );
        for (one, next) in all.iter().zip(&all[1..]) {
            assert_ne!(one, next);
        }
        let size = |name: &str| chain.at(name).as_path().metadata().unwrap().len();
        assert!(size("p1.qcow2") < size("p0.qcow2") + 0x40000);
        // Nothing in it names the directory.
        let away = tempfile::tempdir().unwrap();
        for point in 0..4 {
            let name = format!("p{point}.qcow2");
            std::fs::rename(chain.at(&name).as_path(), away.path().join(&name)).unwrap();
        }
        let moved = Chain {
            dir: away,
            qemu: QemuImg::find().unwrap(),
        };
        assert_eq!(moved.content("p3.qcow2"), all[3]);
    }

    #[test]
    fn a_link_is_taken_out_and_every_other_keeps_its_content() {
        let chain = Chain::make();
        let (scratch, part) = (chain.at("scratch"), chain.at("part"));
        let before: Vec<_> = (0..4)
            .map(|p| chain.content(&format!("p{p}.qcow2")))
            .collect();
        let onto = |child: &str, base: Option<&str>| {
            let base = base.map(|name| chain.at(name));
            let child = chain.at(child);
            chain
                .qemu
                .move_onto(
                    &child,
                    base.as_ref(),
                    &scratch,
                    &part,
                    0,
                    &AtomicBool::new(false),
                )
                .unwrap();
            std::fs::rename(part.as_path(), child.as_path()).unwrap();
            let _ = std::fs::remove_file(scratch.as_path());
        };
        onto("p2.qcow2", Some("p0.qcow2"));
        std::fs::remove_file(chain.at("p1.qcow2").as_path()).unwrap();
        for point in [0, 2, 3] {
            assert!(
                chain.content(&format!("p{point}.qcow2")) == before[point],
                "{point}"
            );
        }
        onto("p2.qcow2", None);
        std::fs::remove_file(chain.at("p0.qcow2").as_path()).unwrap();
        for point in [2, 3] {
            assert!(
                chain.content(&format!("p{point}.qcow2")) == before[point],
                "{point}"
            );
        }
        assert!(
            chain
                .qemu
                .compare(&chain.at("p2.qcow2"), &chain.at("p3.qcow2"))
                .is_err()
        );
    }

    #[test]
    fn a_bitmap_is_removed_once() {
        let chain = Chain {
            dir: tempfile::tempdir().unwrap(),
            qemu: QemuImg::find().unwrap(),
        };
        let disk = chain.at("disk.qcow2");
        let qemu = &chain.qemu;
        qemu.create(&disk, DiskFormat::Qcow2, Quantity::mib(4))
            .unwrap();
        let add = ["bitmap", "--add", "-f", "qcow2", disk.text(), "b"];
        qemu.tool.run(&add, b"", None).unwrap();
        qemu.remove_bitmap(&disk, "b").unwrap();
        qemu.tool.run(&add, b"", None).unwrap();
        qemu.remove_bitmap(&disk, "b").unwrap();
        qemu.remove_bitmap(&disk, "b").unwrap();
        assert!(qemu.remove_bitmap(&chain.at("missing"), "b").is_err());
    }
}
