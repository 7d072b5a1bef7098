//! Checkpoints, which the crate lacks. Nothing here is newer than libvirt 5.6.
#![expect(unsafe_code, reason = "the crate lacks checkpoints")]

use std::ffi::{CStr, c_void};
use std::ptr;

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use super::backup::{done, owned};

unsafe extern "C" {
    /// libvirt documents that the array is freed with free(3).
    fn free(pointer: *mut c_void);
}

/// A checkpoint; its reference is given back when it goes out of scope.
struct Checkpoint(sys::virDomainCheckpointPtr);

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: the pointer came from libvirt with a reference that is ours.
        unsafe { sys::virDomainCheckpointFree(self.0) };
    }
}

/// Returns the names of all checkpoints of a domain.
pub(in crate::libvirt) fn names(domain: &Domain) -> Result<Vec<String>, Error> {
    let mut list: *mut sys::virDomainCheckpointPtr = ptr::null_mut();
    // SAFETY: `domain` holds a reference for the whole call, and `list` is a live out-parameter.
    let count = unsafe { sys::virDomainListAllCheckpoints(domain.as_ptr(), &mut list, 0) };
    let Ok(count) = usize::try_from(count) else {
        return Err(Error::last_error());
    };
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: libvirt returned `count` checkpoints, each with a reference that is ours.
        let checkpoint = Checkpoint(unsafe { *list.add(index) });
        // SAFETY: the checkpoint is alive; the name is its own and ends with NUL.
        let name = unsafe { sys::virDomainCheckpointGetName(checkpoint.0) };
        if !name.is_null() {
            // SAFETY: not null, and alive as long as the checkpoint.
            let name = unsafe { CStr::from_ptr(name) };
            names.push(name.to_string_lossy().into_owned());
        }
    }
    // SAFETY: the array is ours; its elements were given back above.
    unsafe { free(list.cast()) };
    Ok(names)
}

/// Returns the XML of a checkpoint, without the domain's.
pub(in crate::libvirt) fn description(domain: &Domain, name: &CStr) -> Result<String, Error> {
    let found = find(domain, name)?;
    let flags = sys::VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN;
    // SAFETY: the checkpoint is alive.
    let text = unsafe { sys::virDomainCheckpointGetXMLDesc(found.0, flags) };
    // SAFETY: libvirt returned NULL or a string that is now ours.
    unsafe { owned(text) }
}

/// Deletes a checkpoint; `metadata_only` leaves the bitmaps in the disks.
pub(in crate::libvirt) fn delete(
    domain: &Domain,
    name: &CStr,
    metadata_only: bool,
) -> Result<(), Error> {
    let found = find(domain, name)?;
    let flags = match metadata_only {
        true => sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY,
        false => 0,
    };
    // SAFETY: the checkpoint is alive.
    done(unsafe { sys::virDomainCheckpointDelete(found.0, flags) })
}

fn find(domain: &Domain, name: &CStr) -> Result<Checkpoint, Error> {
    // SAFETY: `domain` holds a reference for the whole call, and `name` ends with NUL.
    let found = unsafe { sys::virDomainCheckpointLookupByName(domain.as_ptr(), name.as_ptr(), 0) };
    match found.is_null() {
        true => Err(Error::last_error()),
        false => Ok(Checkpoint(found)),
    }
}
