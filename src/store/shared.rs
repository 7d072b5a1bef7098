//! The store of the local system daemon, which root shares with the libvirt group.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::process::Gid;

use super::error::{Result, StoreError};

/// Returns the id of a local group.
pub fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    parse_group(&groups, name)
}

fn parse_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

/// Makes a store of root's that the group may write, or gives an existing one to the group.
///
/// Without a group it is root's alone.
///
/// # Errors
/// What the system says; [`StoreError::Symlink`] for a link.
pub fn make_shared(path: &Path, group: Option<u32>) -> Result<()> {
    let io = |e: std::io::Error| StoreError::system("make", path, e);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path.parent().unwrap_or_else(|| Path::new("/")))
        .map_err(io)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(e)),
        _ => {}
    }
    let Some(group) = group else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| io(e.into()))?;
    lend(&fd, Gid::from_raw(group)).map_err(|e| io(e.into()))
}

/// Gives a directory and all beneath it to the group; links are left alone.
fn lend(dir: &rustix::fd::OwnedFd, group: Gid) -> rustix::io::Result<()> {
    rustix::fs::fchown(dir, None, Some(group))?;
    rustix::fs::fchmod(dir, Mode::from_raw_mode(0o2770))?;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let sub = rustix::fs::openat(dir, name, flags | OFlags::DIRECTORY, Mode::empty())?;
                lend(&sub, group)?;
            }
            FileType::RegularFile => {
                let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
                rustix::fs::fchown(&file, None, Some(group))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(0o660))?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nlibvirt-qemu:x:64055:libvirt-qemu\nlibvirt:x:106:ann,bob\n";
        assert_eq!(parse_group(groups, "libvirt"), Some(106));
        assert_eq!(parse_group(groups, "libvir"), None);
        assert_eq!(parse_group("libvirt:x:nope:", "libvirt"), None);
    }
}
