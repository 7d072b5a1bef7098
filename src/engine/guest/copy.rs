//! Files into and out of the guest.

use std::path::Path;
use std::time::Duration;

use super::{Via, check, exec, running};
use crate::api::{ObjectKey, Reporter};
use crate::engine::interrupted;
use crate::error::{Error, Result};
use crate::libvirt::GuestPath;
use crate::observe::World;

/// Copies a file into a guest.
///
/// # Errors
/// What reading, the agent or ssh refuses.
pub fn copy_in(
    world: &World,
    key: &ObjectKey,
    from: &Path,
    to: &str,
    reporter: &dyn Reporter,
) -> Result<()> {
    let domain = running(world, key)?;
    let bytes = std::fs::read(from)
        .map_err(|e| Error::usage(format!("cannot read {}", from.display())).caused_by(e))?;
    let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if domain.agent_answers() {
        let handle = domain.agent_open(&GuestPath(to.to_owned()), "w")?;
        let mut done = 0;
        for piece in bytes.chunks(1 << 20) {
            interrupted()?;
            domain.agent_write(handle, piece)?;
            done += u64::try_from(piece.len()).unwrap_or(0);
            reporter.progress(
                key,
                &format!("copying {}", from.display()),
                done,
                Some(total),
            );
        }
        domain.agent_close(handle)?;
        reporter.finished(key);
        return Ok(());
    }
    let script = [
        "sh".to_owned(),
        "-c".to_owned(),
        "cat > \"$1\"".to_owned(),
        "sh".to_owned(),
        to.to_owned(),
    ];
    let result = exec(
        world,
        key,
        Via::Ssh,
        &script,
        &bytes,
        Duration::from_secs(3600),
        reporter,
    )?;
    check(result).map(drop)
}

/// Copies a file out of a guest.
///
/// # Errors
/// What writing, the agent or ssh refuses.
pub fn copy_out(
    world: &World,
    key: &ObjectKey,
    from: &str,
    to: &Path,
    reporter: &dyn Reporter,
) -> Result<()> {
    let domain = running(world, key)?;
    let to = match to.is_dir() {
        true => to.join(Path::new(from).file_name().unwrap_or_default()),
        false => to.to_owned(),
    };
    let mut bytes = Vec::new();
    if domain.agent_answers() {
        let handle = domain.agent_open(&GuestPath(from.to_owned()), "r")?;
        loop {
            interrupted()?;
            let piece = domain.agent_read(handle)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
            let done = u64::try_from(bytes.len()).unwrap_or(0);
            reporter.progress(key, &format!("copying {from}"), done, None);
        }
        domain.agent_close(handle)?;
        reporter.finished(key);
    } else {
        let argv = ["cat".to_owned(), "--".to_owned(), from.to_owned()];
        bytes = check(exec(
            world,
            key,
            Via::Ssh,
            &argv,
            &[],
            Duration::from_secs(3600),
            reporter,
        )?)?;
    }
    std::fs::write(&to, bytes)
        .map_err(|e| Error::failed(format!("cannot write {}", to.display())).caused_by(e))
}
