//! Threads of QEMU that serve disks: the crate cannot add or remove them.
#![expect(unsafe_code, reason = "the crate has no I/O threads")]

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Adds a thread of this number.
pub(in crate::libvirt) fn add(domain: &Domain, id: u32, flags: u32) -> Result<(), Error> {
    // SAFETY: `domain` holds a reference for the whole call, which takes numbers only.
    checked(unsafe { sys::virDomainAddIOThread(domain.as_ptr(), id, flags) })
}

/// Removes the thread of this number.
pub(in crate::libvirt) fn remove(domain: &Domain, id: u32, flags: u32) -> Result<(), Error> {
    // SAFETY: as in `add`.
    checked(unsafe { sys::virDomainDelIOThread(domain.as_ptr(), id, flags) })
}

fn checked(result: i32) -> Result<(), Error> {
    match result {
        0.. => Ok(()),
        _ => Err(Error::last_error()),
    }
}
