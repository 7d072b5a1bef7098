//! Holes in files that are kept: where nothing but zeroes is written, nothing needs to lie on the disk.
//! The tables of a compressed image are mostly that.

use std::fs::File;

use rustix::fs::{FallocateFlags, fallocate};

/// What file systems give back at the least.
const BLOCK: u64 = 4096;

/// Makes holes of the zeroes of a file while it is read from its beginning.
#[derive(Debug)]
pub(super) struct Holes {
    /// None any more once the file system has refused one.
    file: Option<File>,
    at: u64,
}

impl Holes {
    /// Begins with a file that may be written to.
    pub(super) const fn of(file: File) -> Self {
        let file = Some(file);
        Self { file, at: 0 }
    }

    /// Takes what was read next. What a reader sees stays the same.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let mut run = 0_u64;
        for block in piece.chunks(BLOCK as usize) {
            let zero = block.len() as u64 == BLOCK
                && self.at.is_multiple_of(BLOCK)
                && block.iter().all(|byte| *byte == 0);
            if zero {
                run += BLOCK;
            } else {
                self.punch(run);
                run = 0;
            }
            self.at += block.len() as u64;
        }
        self.punch(run);
    }

    fn punch(&mut self, run: u64) {
        let Some(file) = self.file.as_ref().filter(|_| run > 0) else {
            return;
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(file, flags, self.at - run, run).is_err() {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeroes_take_no_room_and_are_read_as_before() {
        let mut bytes = vec![0_u8; 1 << 20];
        bytes[0] = 1;
        bytes[600_000] = 2;
        bytes.extend([0; 100]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        file.as_file().sync_all().unwrap();
        let blocks = || file.as_file().metadata().unwrap().blocks() * 512;
        let before = blocks();
        let mut holes = Holes::of(file.reopen().unwrap());
        for piece in bytes.chunks(100 * 4096) {
            holes.pass(piece);
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
        assert!(blocks() <= before - (900 << 10), "{} of {before}", blocks());
    }
}
