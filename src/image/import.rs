//! Takes a private copy of an image, hashes it, checks the copy, and names it.
//!
//! Check-then-use on somebody's file is a race: between the two it can become another file. So the
//! bytes are first copied (or cloned) to an unnamed temporary file that nobody else can open; the
//! digest and the header check are of that copy, and that copy is what the caller uploads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::ioctl_ficlone;

use crate::api::{DiskFormat, Quantity};

use super::digest::{Hasher, Sha256};
use super::error::ImageError;
use super::header::{self, Inspected, Limits};
use super::record::VolumeName;

const PIECE: usize = 1 << 20;

/// An image whose bytes are ours, hashed and found harmless.
#[derive(Debug)]
pub struct Staged {
    file: File,
    inspected: Inspected,
    sha256: Sha256,
}

impl Staged {
    /// Returns what the header says.
    pub const fn inspected(&self) -> &Inspected {
        &self.inspected
    }

    /// Returns the digest of the content.
    pub const fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Returns the name its volume gets.
    pub fn volume(&self) -> VolumeName {
        VolumeName::new(self.sha256, self.inspected.format)
    }

    /// Returns the size of the file in bytes.
    pub const fn size(&self) -> u64 {
        self.inspected.size.bytes()
    }

    /// Returns the file with the checked bytes.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Returns the checked bytes from the beginning, for the upload.
    ///
    /// # Errors
    /// When the file cannot be rewound.
    pub fn reader(&mut self) -> io::Result<&mut File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file)
    }
}

/// Copies `source` to a private temporary file in `dir`, and checks and hashes the copy.
///
/// `progress` hears how many bytes are done and how many there are; `stop` ends it early.
///
/// # Errors
/// [`ImageError`] with the reason why it is not taken; `Io` of kind `Interrupted` after `stop`.
pub fn stage(
    source: &mut File,
    dir: &Path,
    limits: &Limits,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Staged, ImageError> {
    let metadata = source.metadata().map_err(failed("read"))?;
    if !metadata.is_file() {
        let not_a_file = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(failed("read")(not_a_file));
    }
    // Refuses the hopeless before a long copy; the check that counts is of the copy.
    header::inspect(source, limits)?;
    let mut copy = tempfile::tempfile_in(dir).map_err(failed("copy"))?;
    let walk = Walk {
        total: metadata.len(),
        stop,
        progress,
    };
    let sha256 = if ioctl_ficlone(&copy, &*source).is_ok() {
        walk.hash(&mut copy)?
    } else {
        source.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
        walk.copy(source, &mut copy)?
    };
    finish(copy, sha256, limits)
}

/// Copies `source` as the bytes of a raw disk, whatever they are: nobody will ever look for a format
/// in them. The copy is filled up to whole sectors.
///
/// # Errors
/// [`ImageError::Empty`], `TooLarge`, `DoesNotFit`; `Io`, of kind `Interrupted` after `stop`.
pub fn stage_raw(
    source: &mut File,
    dir: &Path,
    limits: &Limits,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Staged, ImageError> {
    let length = source.metadata().map_err(failed("read"))?.len();
    let size = length.next_multiple_of(512);
    let quantity = Quantity::from_bytes(size).ok_or(ImageError::Empty)?;
    limits.check(size)?;
    let mut copy = tempfile::tempfile_in(dir).map_err(failed("copy"))?;
    let walk = Walk {
        total: length,
        stop,
        progress,
    };
    source.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
    let sha256 = walk.copy(source, &mut copy)?;
    copy.set_len(size).map_err(failed("copy"))?;
    Ok(Staged {
        file: copy,
        inspected: Inspected {
            format: DiskFormat::Raw,
            virtual_size: quantity,
            size: quantity,
            qcow2: None,
            partitions: None,
        },
        sha256,
    })
}

/// Checks a file that is already private to us, such as one that [`super::download`] has just
/// written to its directory, and hashes it unless `sha256` is known.
///
/// # Errors
/// As [`stage`].
pub fn stage_private(
    mut file: File,
    sha256: Option<Sha256>,
    limits: &Limits,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Staged, ImageError> {
    let total = file.metadata().map_err(failed("read"))?.len();
    header::inspect(&mut file, limits)?;
    let walk = Walk {
        total,
        stop,
        progress,
    };
    let sha256 = match sha256 {
        Some(known) => known,
        None => walk.hash(&mut file)?,
    };
    finish(file, sha256, limits)
}

fn finish(mut file: File, sha256: Sha256, limits: &Limits) -> Result<Staged, ImageError> {
    let inspected = header::inspect(&mut file, limits)?;
    Ok(Staged {
        file,
        inspected,
        sha256,
    })
}

/// One pass over the bytes of an image.
struct Walk<'a> {
    total: u64,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Walk<'_> {
    fn hash(self, file: &mut File) -> Result<Sha256, ImageError> {
        file.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
        self.each_piece(file, |_, _| Ok(()))
    }

    fn copy(self, source: &mut File, copy: &mut File) -> Result<Sha256, ImageError> {
        let write = |offset, piece: &[u8]| write_sparse(copy, offset, piece);
        let sha256 = self.each_piece(source, write)?;
        let end = source.stream_position().map_err(failed("read"))?;
        copy.set_len(end).map_err(failed("copy"))?;
        Ok(sha256)
    }

    fn each_piece(
        self,
        source: &mut File,
        mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<Sha256, ImageError> {
        let mut hasher = Hasher::new(None);
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(failed("copy")(io::ErrorKind::Interrupted.into()));
            }
            let count = source.read(&mut piece).map_err(failed("read"))?;
            if count == 0 {
                return Ok(hasher.finish().0);
            }
            hasher.update(&piece[..count]);
            take(done, &piece[..count]).map_err(failed("copy"))?;
            done += count as u64;
            (self.progress)(done, self.total.max(done));
        }
    }
}

/// Writes a piece at `offset` but for blocks of zeros, which stay holes.
fn write_sparse(copy: &mut File, offset: u64, piece: &[u8]) -> io::Result<()> {
    const BLOCK: usize = 64 << 10;
    for (index, block) in piece.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            copy.seek(SeekFrom::Start(offset + (index * BLOCK) as u64))?;
            copy.write_all(block)?;
        }
    }
    Ok(())
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> ImageError {
    move |source| ImageError::Io { doing, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn disk() -> Vec<u8> {
        let mut bytes = vec![0; 3 << 20];
        bytes[446 + 4] = 0x83;
        bytes[446 + 12] = 8;
        bytes[510..512].copy_from_slice(b"\x55\xaa");
        bytes[2 << 20] = 7;
        bytes
    }

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn stage_in(dir: &Path, source: &mut File) -> Result<Staged, ImageError> {
        let on = AtomicBool::new(false);
        stage(source, dir, &Limits::default(), &on, &mut |_, _| {})
    }

    #[test]
    fn the_copy_has_the_bytes_the_digest_and_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut staged = stage_in(dir.path(), &mut file_with(&disk())).unwrap();
        let mut read = Vec::new();
        staged.reader().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, disk());
        let mut hasher = Hasher::new(None);
        hasher.update(&disk());
        assert_eq!(staged.sha256(), hasher.finish().0);
        assert!(staged.volume().as_str().ends_with(".raw"));
        assert!(staged.volume().matches(staged.sha256()));
    }

    #[test]
    fn the_copy_is_sparse_and_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let staged = stage_in(dir.path(), &mut file_with(&disk())).unwrap();
        let metadata = staged.file.metadata().unwrap();
        assert_eq!(metadata.len(), 3 << 20);
        assert!(
            metadata.blocks() * 512 <= 512 << 10,
            "{}",
            metadata.blocks()
        );
        assert_eq!(metadata.nlink(), 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_changes_afterwards_does_not_change_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = file_with(&disk());
        let mut staged = stage_in(dir.path(), &mut source).unwrap();
        source.seek(SeekFrom::Start(0)).unwrap();
        source.write_all(b"QFI\xfb evil").unwrap();
        let mut read = Vec::new();
        staged.reader().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, disk());
    }

    #[test]
    fn an_interrupt_ends_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(true);
        let limits = Limits::default();
        let mut source = file_with(&disk());
        let error = stage(&mut source, dir.path(), &limits, &stop, &mut |_, _| {}).unwrap_err();
        let ImageError::Io { source, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn a_directory_or_device_is_no_image() {
        let dir = tempfile::tempdir().unwrap();
        let mut zero = File::open("/dev/zero").unwrap();
        assert!(stage_in(dir.path(), &mut zero).is_err());
        let mut itself = File::open(dir.path()).unwrap();
        assert!(stage_in(dir.path(), &mut itself).is_err());
    }
}
