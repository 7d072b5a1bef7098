//! Logs: what the guest wrote to its console, cloud-init's output, QEMU's own.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::serial_log::SerialLog;
use super::{Via, check, exec};
use crate::api::{ObjectKey, Silent};
use crate::error::{Error, Result};
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
pub struct Log<'w> {
    world: &'w World,
    first: Option<Vec<u8>>,
    follow: Option<Follow>,
}

/// A log that may grow, and how much of it was read.
#[derive(Debug)]
enum Follow {
    Serial(SerialLog, u64),
    File(PathBuf, u64),
}

/// How often a log that is followed is looked at: a file has no event that libvirt would hand on.
const LOOK: Duration = Duration::from_millis(300);
/// How often a log may be missing in a row, as it is for a moment while it is put aside.
const MISSES: u32 = 3;

/// Opens a log.
///
/// # Errors
/// `NotFound` where there is none; a conflict where only the running guest could tell.
pub fn open_log<'w>(
    world: &'w World,
    key: &ObjectKey,
    source: LogSource,
    tail: Option<usize>,
) -> Result<Log<'w>> {
    let (bytes, follow) = match source {
        LogSource::Serial => {
            let log = SerialLog::of(world, key)?;
            let enough = |bytes: &[u8]| tail.is_some_and(|wanted| lines(bytes) > wanted);
            let (bytes, at) = log.read(world.host()?, enough)?;
            (bytes, Some(Follow::Serial(log, at)))
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
        LogSource::Qemu => {
            let path = qemu_log(world, key)?;
            let bytes = read_from(&path, 0)?;
            let at = u64::try_from(bytes.len()).unwrap_or(0);
            (bytes, Some(Follow::File(path, at)))
        }
    };
    Ok(Log {
        world,
        first: Some(last_lines(bytes, tail)),
        follow,
    })
}

impl Log<'_> {
    /// Returns the next piece; `None` at the end, which never comes when following.
    ///
    /// # Errors
    /// When the log goes away.
    pub fn next(&mut self, follow: bool) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(log) = self.follow.as_mut().filter(|_| follow) else {
            return Ok(None);
        };
        let mut missed = 0;
        loop {
            std::thread::sleep(LOOK);
            let news = match log {
                Follow::Serial(log, at) => log.since(self.world.host()?, at),
                Follow::File(path, at) => since(path, at),
            };
            match news {
                Ok(news) if news.is_empty() => missed = 0,
                Ok(news) => return Ok(Some(news)),
                Err(_) if missed < MISSES => missed += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns what came after `at` in a file; one that has become shorter was begun anew.
fn since(path: &Path, at: &mut u64) -> Result<Vec<u8>> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() < *at) {
        *at = 0;
    }
    let news = read_from(path, *at)?;
    *at += u64::try_from(news.len()).unwrap_or(0);
    Ok(news)
}

fn read_from(path: &Path, offset: u64) -> Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    read().map_err(|e| {
        Error::failed(format!("cannot read {}", path.display()))
            .caused_by(e)
            .hint("only root may read QEMU's log of the system daemon")
    })
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
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
    let Ok(log) = SerialLog::of(world, key) else {
        return Ok(Vec::new());
    };
    let mut bytes = log.current(0)?;
    let from = bytes.len().saturating_sub(limit);
    Ok(bytes.split_off(from))
}

fn qemu_log(world: &World, key: &ObjectKey) -> Result<PathBuf> {
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
        PathBuf::from("/var/log/libvirt/qemu")
    };
    Ok(dir.join(format!("{}.log", key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let last = |text: &str, tail| {
            String::from_utf8(last_lines(text.as_bytes().to_vec(), tail)).unwrap()
        };
        assert_eq!(last("a\nb\nc\n", None), "a\nb\nc\n");
        assert_eq!(last("a\nb\nc\n", Some(2)), "b\nc\n");
        assert_eq!(last("a\nb\nc", Some(1)), "c");
        assert_eq!(last("a\n", Some(5)), "a\n");
        assert_eq!(last("a\n", Some(0)), "");
    }

    #[test]
    fn a_file_is_followed_past_its_beginning_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        std::fs::write(&path, "first\n").unwrap();
        let mut at = 0;
        assert_eq!(since(&path, &mut at).unwrap(), b"first\n");
        assert_eq!(since(&path, &mut at).unwrap(), b"");
        std::fs::write(&path, "first\nsecond\n").unwrap();
        assert_eq!(since(&path, &mut at).unwrap(), b"second\n");
        std::fs::rename(&path, folder.path().join("web.log.0")).unwrap();
        assert!(since(&path, &mut at).is_err());
        std::fs::write(&path, "third\n").unwrap();
        assert_eq!(since(&path, &mut at).unwrap(), b"third\n");
    }
}
