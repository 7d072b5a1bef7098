//! The file that a guest's serial console is written to, and the older pieces of it that virtlogd has
//! put aside: at 2 MiB it renames `NAME` to `NAME.0`, that to `NAME.1`, and begins a new file. It tells
//! libvirt nothing of it.

use std::path::Path;

use crate::api::ObjectKey;
use crate::engine::instances;
use crate::error::{Error, Result};
use crate::libvirt::{Host, Pool, Volume};
use crate::observe::World;

/// A serial log.
#[derive(Debug)]
pub(super) struct SerialLog {
    pool: Pool,
    current: Volume,
}

impl SerialLog {
    /// Finds the log of an instance.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub(super) fn of(world: &World, key: &ObjectKey) -> Result<Self> {
        let domain = instances::find(world, key)?;
        let none = || {
            Error::not_found(format!("{key} has no serial log"))
                .hint(format!("kvmctl console {}", key.name))
        };
        let definition = domain.definition()?;
        let path = definition.serial_log().map(Path::new).ok_or_else(none)?;
        let (folder, name) = match (path.parent(), path.file_name().and_then(|n| n.to_str())) {
            (Some(folder), Some(name)) => (folder, name),
            _ => return Err(none()),
        };
        let pool = pool_of(world.host()?, folder)?.ok_or_else(none)?;
        let current = pool.volume_after_all(name)?.ok_or_else(none)?;
        Ok(Self { pool, current })
    }

    /// Returns the bytes of the current file from `offset` on.
    pub(super) fn current(&self, offset: u64) -> Result<Vec<u8>> {
        bytes(&self.current, offset)
    }

    /// Reads it from its oldest piece on, as far as `enough` asks for pieces before the youngest;
    /// returns how much of that is the current file.
    pub(super) fn read(
        &self,
        host: &Host,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<(Vec<u8>, u64)> {
        let mut all = self.current(0)?;
        let at = u64::try_from(all.len()).unwrap_or(0);
        if !enough(&all) {
            for piece in rotated(host, &self.pool, &self.current.name)? {
                let mut older = bytes(&piece, 0)?;
                older.append(&mut all);
                all = older;
                if enough(&all) {
                    break;
                }
            }
        }
        Ok((all, at))
    }

    /// Returns what came after `at` in the current file, and moves `at` on. Where the file has become
    /// shorter it was put aside meanwhile: its rest comes first.
    pub(super) fn since(&self, host: &Host, at: &mut u64) -> Result<Vec<u8>> {
        let mut news = Vec::new();
        if self.current.length()? < *at {
            let youngest = rotated(host, &self.pool, &self.current.name)?;
            if let Some(piece) = youngest.first() {
                news = bytes(piece, *at)?;
            }
            *at = 0;
        }
        let mut rest = self.current(*at)?;
        *at += u64::try_from(rest.len()).unwrap_or(0);
        news.append(&mut rest);
        Ok(news)
    }
}

fn bytes(volume: &Volume, offset: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    volume.download(&mut bytes, offset, 0)?;
    Ok(bytes)
}

fn pool_of(host: &Host, folder: &Path) -> Result<Option<Pool>> {
    for pool in host.pools()? {
        if pool.is_active()? && pool.folder()?.is_some_and(|f| Path::new(&f) == folder) {
            return Ok(Some(pool));
        }
    }
    Ok(None)
}

/// More pieces than these are looked for only where libvirt knows some; virtlogd keeps three.
const USUAL: usize = 8;

/// Returns the pieces of a serial log that were put aside, the youngest first.
///
/// The pool is looked through only where there are some that libvirt does not know: on this machine the
/// files themselves tell.
///
/// # Errors
/// What libvirt refuses.
pub(in crate::engine) fn rotated(host: &Host, pool: &Pool, log: &str) -> Result<Vec<Volume>> {
    let folder = match host.is_local() {
        true => pool.folder()?,
        false => None,
    };
    if let Some(folder) = folder {
        let path = |number| Path::new(&folder).join(format!("{log}.{number}"));
        let there = (0..USUAL).filter(|n| may_be_there(&path(*n))).count();
        if there == 0 {
            return Ok(Vec::new());
        }
        let pieces = known(pool, log)?;
        if pieces.len() >= there {
            return Ok(pieces);
        }
        pool.refresh()?;
    } else if let Some(current) = pool.find_volume(log)?
        // Of a guest that has written nothing, none was put aside.
        && current.length()? > 0
    {
        pool.refresh()?;
    }
    known(pool, log)
}

/// Lists what libvirt knows of `LOG.0`, `LOG.1` and so on.
fn known(pool: &Pool, log: &str) -> Result<Vec<Volume>> {
    let number = |volume: &Volume| -> Option<u32> {
        let rest = volume.name.strip_prefix(log)?;
        rest.strip_prefix('.')?.parse().ok()
    };
    let mut pieces: Vec<(u32, Volume)> = pool
        .volumes()?
        .into_iter()
        .filter_map(|volume| Some((number(&volume)?, volume)))
        .collect();
    pieces.sort_by_key(|(number, _)| *number);
    Ok(pieces.into_iter().map(|(_, volume)| volume).collect())
}

/// Returns whether a file is there, or may not even be looked for.
fn may_be_there(path: &Path) -> bool {
    let looked = path.symlink_metadata();
    !matches!(looked, Err(e) if e.kind() == std::io::ErrorKind::NotFound)
}
