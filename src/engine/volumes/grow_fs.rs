//! The file system on a volume that has grown, grown by the guest that has it mounted: nobody else may
//! touch it.

use std::time::Duration;

use crate::api::{ObjectKey, Quantity, Reporter};
use crate::error::{Error, Result};
use crate::libvirt::Domain;
use crate::observe::World;

/// Growing ext4 or XFS is quick; a slow guest with a large disk may need longer than one would think.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until the kernel has seen the size, then asks the file system what it is. Its exit codes are
/// told in words below.
const SCRIPT: &str = r#"
PATH=/usr/sbin:/usr/bin:/sbin:/bin
disk=
for file in /sys/block/vd*/serial; do
    [ "$(cat "$file")" = "$1" ] && disk=${file%/serial} && disk=${disk#/sys/block/}
done
[ -n "$disk" ] || exit 90
tries=0
while [ "$(cat "/sys/block/$disk/size")" -lt "$2" ]; do
    tries=$((tries + 1)); [ "$tries" -le 100 ] || exit 91
    sleep 0.1
done
dev=/dev/$disk
type=$(blkid -p -o value -s TYPE "$dev")
at=$(awk -v dev="$dev" '$1 == dev { print $2; exit }' /proc/mounts)
case $type in
    ext2 | ext3 | ext4)
        before=$(dumpe2fs -h "$dev" 2>/dev/null | grep '^Block count')
        resize2fs "$dev" || exit 1
        [ "$before" != "$(dumpe2fs -h "$dev" 2>/dev/null | grep '^Block count')" ] || exit 95 ;;
    xfs) [ -n "$at" ] || exit 93; xfs_growfs "$at" ;;
    btrfs) [ -n "$at" ] || exit 93; btrfs filesystem resize max "$at" ;;
    '') exit 92 ;;
    *) echo "$type" >&2; exit 94 ;;
esac
"#;

/// A guest that can grow the file system on a volume.
pub struct GrowFs {
    domain: Domain,
    serial: String,
}

impl GrowFs {
    /// Finds the guest.
    ///
    /// # Errors
    /// A conflict where no running instance has it, several have it, or no agent answers.
    pub fn find(world: &World, key: &ObjectKey) -> Result<Self> {
        let status = world.volume(&key.name)?.status.unwrap_or_default();
        let running: Vec<_> = status.attached_to.iter().filter(|u| u.running).collect();
        let cannot = |why: String| {
            Error::conflict(format!("the file system on {key} cannot be grown: {why}"))
                .hint("without --grow-fs only the volume grows")
        };
        let user = match running.as_slice() {
            [one] if one.managed => &one.domain,
            [] => return Err(cannot("no running instance has it".to_owned())),
            _ => {
                return Err(cannot(
                    "other than one instance of kvmctl's has it".to_owned(),
                ));
            }
        };
        let domain = world.host()?.domain(user)?;
        if !domain.agent_answers() {
            let why = format!("no guest agent answers in instance/{user}");
            return Err(cannot(why).hint(format!(
                "kvmctl exec instance/{user} --via ssh -- sudo resize2fs \
                 /dev/disk/by-id/virtio-{}",
                status.serial.clone().unwrap_or_default()
            )));
        }
        let serial = status.serial.unwrap_or_default();
        Ok(Self { domain, serial })
    }
}

/// Lets the guest grow the file system to a volume of this size; returns whether it was smaller.
///
/// # Errors
/// What the guest says; the volume has grown all the same.
pub fn grow_fs(
    guest: &GrowFs,
    key: &ObjectKey,
    size: Quantity,
    reporter: &dyn Reporter,
) -> Result<bool> {
    reporter.phase(key, "growing the file system in the guest");
    let sectors = (size.bytes() / 512).to_string();
    let argv = ["/bin/sh", "-c", SCRIPT, "sh", &guest.serial, &sectors].map(str::to_owned);
    let done = guest.domain.agent_exec(&argv, &[], PATIENCE)?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    let why = match done.code {
        0 => return Ok(true),
        95 => return Ok(false),
        90 => "the guest has no disk with its serial".to_owned(),
        91 => "the guest has not seen the new size".to_owned(),
        92 => "there is none on it as a whole: it is blank, or has partitions".to_owned(),
        93 => "it is not mounted there, and its sort grows only while it is".to_owned(),
        94 => format!("the guest cannot grow {said}"),
        _ => said,
    };
    let instance = guest.domain.name();
    Err(Error::failed(format!(
        "{key} has grown, and the file system on it has not: {why}"
    ))
    .hint(format!("kvmctl exec instance/{instance} -- lsblk -f")))
}
