//! Logs: what the guest wrote to its console, cloud-init's output, QEMU's own.

use std::time::Duration;

use super::{Via, check, exec};
use crate::api::{ObjectKey, Silent};
use crate::engine::instances;
use crate::error::{Error, Result};
use crate::libvirt::Volume;
use crate::observe::World;

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// What the guest wrote to its serial console.
    Serial,
    /// cloud-init's output, inside the guest.
    CloudInit,
    /// QEMU's own.
    Qemu,
}

/// A log that is read piece by piece.
#[derive(Debug)]
pub struct Log {
    first: Option<Vec<u8>>,
    follow: Option<(Volume, u64)>,
}

/// Opens a log.
///
/// # Errors
/// `NotFound` where there is none; a conflict where only the running guest could tell.
pub fn open_log(
    world: &World,
    key: &ObjectKey,
    source: LogSource,
    tail: Option<usize>,
) -> Result<Log> {
    let (bytes, follow) = match source {
        LogSource::Serial => {
            let volume = serial_volume(world, key)?;
            let mut bytes = Vec::new();
            volume.download(&mut bytes, 0, 0)?;
            let at = u64::try_from(bytes.len()).unwrap_or(0);
            (bytes, Some((volume, at)))
        }
        LogSource::CloudInit => {
            let argv = [
                "cat".to_owned(),
                "/var/log/cloud-init-output.log".to_owned(),
            ];
            let result = exec(
                world,
                key,
                Via::Auto,
                &argv,
                &[],
                Duration::from_secs(60),
                &Silent,
            )?;
            (check(result)?, None)
        }
        LogSource::Qemu => (qemu_log(world, key)?, None),
    };
    Ok(Log {
        first: Some(last_lines(bytes, tail)),
        follow,
    })
}

impl Log {
    /// Returns the next piece; `None` at the end, which never comes when following.
    ///
    /// # Errors
    /// When the log goes away.
    pub fn next(&mut self, follow: bool) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some((volume, at)) = self.follow.as_mut().filter(|_| follow) else {
            return Ok(None);
        };
        loop {
            // A file has no event that libvirt would hand on.
            std::thread::sleep(Duration::from_millis(300));
            let mut bytes = Vec::new();
            volume.download(&mut bytes, *at, 0)?;
            if !bytes.is_empty() {
                *at += u64::try_from(bytes.len()).unwrap_or(0);
                return Ok(Some(bytes));
            }
        }
    }
}

fn last_lines(bytes: Vec<u8>, tail: Option<usize>) -> Vec<u8> {
    let Some(wanted) = tail else { return bytes };
    let end = bytes
        .len()
        .saturating_sub(usize::from(bytes.last() == Some(&b'\n')));
    let mut seen = 0;
    for at in (0..end).rev() {
        if bytes[at] == b'\n' {
            seen += 1;
            if seen == wanted {
                return bytes[at + 1..].to_vec();
            }
        }
    }
    if wanted == 0 { Vec::new() } else { bytes }
}

/// Returns the end of the serial log, at most `limit` bytes; nothing where there is none.
///
/// # Errors
/// What libvirt refuses.
pub(in crate::engine) fn serial_log(
    world: &World,
    key: &ObjectKey,
    limit: usize,
) -> Result<Vec<u8>> {
    let Ok(volume) = serial_volume(world, key) else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    volume.download(&mut bytes, 0, 0)?;
    let from = bytes.len().saturating_sub(limit);
    Ok(bytes.split_off(from))
}

fn serial_volume(world: &World, key: &ObjectKey) -> Result<Volume> {
    let domain = instances::find(world, key)?;
    let none = || {
        Error::not_found(format!("{key} has no serial log"))
            .hint(format!("kvmctl console {}", key.name))
    };
    let definition = domain.definition()?;
    let path = definition.serial_log().ok_or_else(none)?;
    world
        .host()?
        .volume_by_path(path)
        .map_err(|e| if e.is_not_found() { none() } else { e.into() })
}

fn qemu_log(world: &World, key: &ObjectKey) -> Result<Vec<u8>> {
    let host = world.host()?;
    if !host.is_local() {
        return Err(
            Error::failed("QEMU's log is a file of the host, which is remote")
                .hint("log in to the host and read /var/log/libvirt/qemu"),
        );
    }
    let dir = if host.is_session() {
        world
            .paths()
            .cache_dir()
            .with_file_name("libvirt")
            .join("qemu/log")
    } else {
        std::path::PathBuf::from("/var/log/libvirt/qemu")
    };
    let path = dir.join(format!("{}.log", key.name));
    std::fs::read(&path).map_err(|e| {
        Error::failed(format!("cannot read {}", path.display()))
            .caused_by(e)
            .hint("only root may read QEMU's log of the system daemon")
    })
}
