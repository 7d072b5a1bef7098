//! Files of a pool whose folder is on this machine: written beside their final place, synced, and
//! then named.

mod delete;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

pub(in crate::engine) use delete::{delete, is_there, named};

use crate::api::{ObjectKey, Reporter};
use crate::engine::holes::Holes;
use crate::engine::{Interrupt, interrupted};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::host::{Copy, HostError, ImagePath, QemuImg};
use crate::image::{Hasher, Sha256};
use crate::libvirt::Pool;
use crate::observe::World;
use crate::store::FileRecord;

/// The folder of a pool, which the caller may write to.
pub(in crate::engine) struct Folder {
    pub(in crate::engine) pool: Pool,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder of a pool.
    ///
    /// # Errors
    /// Usage or a conflict for a pool that cannot hold files; a conflict for a caller without the right.
    pub(in crate::engine) fn open(world: &World, name: &str) -> Result<Self> {
        let pool = super::volumes::pool(world, name)?;
        let path = PathBuf::from(pool.path()?);
        if !world.host()?.is_local() {
            return Err(Error::conflict(format!(
                "the folder of pool {name:?} is on another machine, where qemu-img has to run"
            ))
            .hint(format!(
                "run kvmctl on that machine: {}",
                world.host()?.hostname()?
            )));
        }
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(&path, wanted).map_err(|e| {
            let right = format!("this needs the right to write to {}", path.display());
            Error::conflict(right).caused_by(e).hint_as_root()
        })?;
        Ok(Self { pool, path })
    }

    /// Returns the path of a file in it.
    ///
    /// # Errors
    /// Usage for a folder whose name qemu-img would misread.
    pub(in crate::engine) fn at(&self, file: &str) -> Result<ImagePath> {
        ImagePath::new(self.path.join(file)).map_err(|e| Error::usage(e.to_string()))
    }

    /// Makes an empty file that only its owner can read; one of that name goes.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn fresh(&self, file: &str) -> Result<ImagePath> {
        let path = self.at(file)?;
        self.remove(file)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path.as_path())
            .map_err(|e| cannot("write", path.as_path(), e))?;
        Ok(path)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn remove(&self, file: &str) -> Result<()> {
        let path = self.path.join(file);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Syncs a file and gives it its final name, in the place of what has it.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn publish(&self, part: &str, file: &str) -> Result<()> {
        let (from, to) = (self.path.join(part), self.path.join(file));
        let synced = File::open(&from).and_then(|f| f.sync_all());
        synced.map_err(|e| cannot("sync", &from, e))?;
        fs::rename(&from, &to).map_err(|e| cannot("rename", &from, e))?;
        self.sync()
    }

    /// Writes a small file as a whole.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn write(&self, file: &str, text: &[u8]) -> Result<()> {
        let part = part_name(file);
        let path = self.fresh(&part)?;
        fs::write(path.as_path(), text).map_err(|e| cannot("write", path.as_path(), e))?;
        self.publish(&part, file)
    }

    /// Makes sure that names outlive a power cut.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn sync(&self) -> Result<()> {
        let synced = File::open(&self.path).and_then(|f| f.sync_all());
        synced.map_err(|e| cannot("sync", &self.path, e))
    }

    /// Makes sure that a file and its name outlive a power cut.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn settle(&self, file: &str) -> Result<()> {
        let path = self.path.join(file);
        let synced = File::open(&path).and_then(|f| f.sync_all());
        synced.map_err(|e| cannot("sync", &path, e))?;
        self.sync()
    }

    /// Returns whether a file is there.
    pub(in crate::engine) fn has(&self, file: &str) -> bool {
        fs::symlink_metadata(self.path.join(file)).is_ok()
    }

    /// Returns which file a name leads to.
    pub(in crate::engine) fn identity(&self, file: &str) -> Option<(u64, u64)> {
        let found = fs::symlink_metadata(self.path.join(file)).ok()?;
        Some((found.dev(), found.ino()))
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn link(&self, file: &str, name: &str) -> Result<()> {
        let (from, to) = (self.path.join(file), self.path.join(name));
        fs::hard_link(&from, &to).map_err(|e| cannot("link", &from, e))
    }

    /// Gives one file the owner and the rights of another.
    ///
    /// # Errors
    /// What the system refuses.
    pub(in crate::engine) fn same_rights(&self, like: &str, file: &str) -> Result<()> {
        let (like, file) = (self.path.join(like), self.path.join(file));
        let Ok(old) = fs::symlink_metadata(&like) else {
            return Ok(());
        };
        let mine = fs::metadata(&file).map_err(|e| cannot("look at", &file, e))?;
        if (old.uid(), old.gid()) != (mine.uid(), mine.gid()) {
            std::os::unix::fs::chown(&file, Some(old.uid()), Some(old.gid()))
                .map_err(|e| cannot("give away", &file, e))?;
        }
        fs::set_permissions(&file, old.permissions()).map_err(|e| cannot("protect", &file, e))
    }

    /// Returns the length of a file in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub(in crate::engine) fn length(&self, file: &str) -> Result<u64> {
        let path = self.path.join(file);
        let found = fs::metadata(&path).map_err(|e| cannot("look at", &path, e))?;
        Ok(found.len())
    }

    /// Runs a copy, and tells how far it is of `total` bytes.
    ///
    /// # Errors
    /// A conflict for a disk that is in use; a full pool; the caller's signal.
    pub(in crate::engine) fn copy(
        &self,
        copy: &Copy<'_>,
        told: &Told<'_>,
        total: u64,
    ) -> Result<()> {
        run(copy, told, total)?.map_err(|e| self.worded(e, copy))
    }

    fn worded(&self, error: HostError, copy: &Copy<'_>) -> Error {
        let HostError::Failed { stderr, .. } = &error else {
            return error.into();
        };
        if stderr.contains("No space left on device") {
            return full(&self.pool.name).caused_by(first_line(stderr));
        }
        if stderr.contains("Failed to get") && stderr.contains("lock") {
            return Error::conflict(format!("{} is in use", copy.from))
                .caused_by(first_line(stderr));
        }
        error.into()
    }

    /// Computes the SHA-256 of a file.
    ///
    /// # Errors
    /// What the system refuses; the caller's signal.
    pub(in crate::engine) fn sha256(&self, file: &str, told: &Told<'_>) -> Result<Sha256> {
        let mut hasher = Hasher::new(None);
        let path = self.path.join(file);
        read(&path, told, &mut |piece| hasher.update(piece))?;
        Ok(hasher.finish().0)
    }

    /// As [`Folder::sha256`], of a file that was just packed: its zeroes become holes meanwhile.
    ///
    /// # Errors
    /// What the system refuses; the caller's signal.
    pub(in crate::engine) fn sha256_of_new(&self, file: &str, told: &Told<'_>) -> Result<Sha256> {
        let path = self.path.join(file);
        let (mut hasher, mut holes) = (Hasher::new(None), holes_of(&path)?);
        read(&path, told, &mut |piece| {
            hasher.update(piece);
            holes.pass(piece);
        })?;
        Ok(hasher.finish().0)
    }
}

/// Makes holes of the zeroes of a file that was just packed.
///
/// # Errors
/// What the system refuses; the caller's signal.
pub(in crate::engine) fn make_holes(path: &Path, told: &Told<'_>) -> Result<()> {
    let mut holes = holes_of(path)?;
    read(path, told, &mut |piece| holes.pass(piece))
}

fn holes_of(path: &Path) -> Result<Holes> {
    let file = OpenOptions::new().write(true).open(path);
    file.map(Holes::of).map_err(|e| cannot("write", path, e))
}

fn read(path: &Path, told: &Told<'_>, each: &mut dyn FnMut(&[u8])) -> Result<()> {
    const PIECE: usize = 1 << 20;
    let failed = |e| cannot("read", path, e);
    let mut reader = File::open(path).map_err(failed)?;
    let total = reader.metadata().map_err(failed)?.len();
    let (mut buffer, mut done) = (vec![0; PIECE], 0);
    let stop = Interrupt::flag();
    loop {
        if stop.load(Ordering::Relaxed) {
            interrupted()?;
        }
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        each(&buffer[..read]);
        done += read as u64;
        told.reporter
            .progress(told.key, told.label, done, Some(total));
    }
}

/// As [`Folder::copy`], of files that lie elsewhere.
///
/// # Errors
/// What qemu-img says; the caller's signal.
pub(in crate::engine) fn copy(copy: &Copy<'_>, told: &Told<'_>, total: u64) -> Result<()> {
    Ok(run(copy, told, total)??)
}

/// Runs a copy; the outer error is the caller's signal.
fn run(copy: &Copy<'_>, told: &Told<'_>, total: u64) -> Result<Result<(), HostError>> {
    let stop = Interrupt::flag();
    let mut progress = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a u64, for people"
        )]
        let done = (part * total as f64) as u64;
        told.reporter
            .progress(told.key, told.label, done, Some(total));
    };
    let copied = QemuImg::find()?.copy(copy, &stop, &mut progress);
    interrupted()?;
    Ok(copied)
}

/// How the names of files end that are being written.
const PART: &str = ".part";

/// Returns the name of a small file while it is being written.
pub(in crate::engine) fn part_of(file: &FileRecord) -> FileRecord {
    FileRecord {
        pool: file.pool.clone(),
        volume: part_name(&file.volume),
    }
}

/// As [`part_of`], of the name alone.
pub(in crate::engine) fn part_name(file: &str) -> String {
    format!("{file}{PART}")
}

/// Who hears of a long step, and what it is called.
pub(in crate::engine) struct Told<'t> {
    pub(in crate::engine) key: &'t ObjectKey,
    pub(in crate::engine) label: &'t str,
    pub(in crate::engine) reporter: &'t dyn Reporter,
}

/// Refuses what does not fit into a pool, before any of it is written: an upload that fills it would
/// even end the daemon.
///
/// # Errors
/// A pool that is full.
pub(in crate::engine) fn has_room(pool: &Pool, bytes: u64) -> Result<()> {
    // Until it looks again, the daemon knows what was free when it last did.
    pool.refresh()?;
    let available = pool.info()?.available;
    if bytes <= available {
        return Ok(());
    }
    Err(full(&pool.name).caused_by(format!(
        "{} MiB are needed, and {} MiB are free",
        bytes.div_ceil(1 << 20),
        available >> 20
    )))
}

/// Words that a pool is full.
pub(in crate::engine) fn full(pool: &str) -> Error {
    Error::new(ErrorKind::Failed, format!("pool {pool:?} is full"))
        .hint(format!("kvmctl pools describe {pool}"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::failed(format!("cannot {what} {}", path.display())).caused_by(error)
}
