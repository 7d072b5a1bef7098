//! `virDomainGetState`: the crate's own wrapper loses the error and returns an unknown state.
#![expect(unsafe_code, reason = "the crate's wrapper loses the error")]

use std::ffi::c_int;

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Returns state and reason, as numbers.
pub(in crate::libvirt) fn state(domain: &Domain) -> Result<(i32, i32), Error> {
    let (mut state, mut reason): (c_int, c_int) = (0, 0);
    // SAFETY: `domain` holds a reference for the whole call, and both out-parameters are live.
    let result = unsafe { sys::virDomainGetState(domain.as_ptr(), &mut state, &mut reason, 0) };
    if result < 0 {
        return Err(Error::last_error());
    }
    Ok((state, reason))
}
