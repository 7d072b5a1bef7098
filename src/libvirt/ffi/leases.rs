//! `virNetworkGetDHCPLeases`, which the crate lacks.
#![expect(unsafe_code, reason = "the crate lacks DHCP leases")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use virt::error::Error;
use virt::network::Network;
use virt::sys;

/// A lease as libvirt tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::libvirt) struct RawLease {
    pub(in crate::libvirt) expires: i64,
    pub(in crate::libvirt) mac: Option<String>,
    pub(in crate::libvirt) address: Option<String>,
    pub(in crate::libvirt) hostname: Option<String>,
    pub(in crate::libvirt) client_id: Option<String>,
}

unsafe extern "C" {
    // From the C library, which is linked anyway; libvirt leaves the array to it.
    fn free(pointer: *mut c_void);
}

/// Frees the leases and their array when it goes out of scope.
struct Leases {
    list: *mut sys::virNetworkDHCPLeasePtr,
    count: usize,
}

impl Drop for Leases {
    fn drop(&mut self) {
        // SAFETY: list and leases came from virNetworkGetDHCPLeases and are freed only here.
        unsafe {
            for index in 0..self.count {
                sys::virNetworkDHCPLeaseFree(*self.list.add(index));
            }
            free(self.list.cast());
        }
    }
}

/// Returns the leases of a network; of one hardware address when `mac` is given.
pub(in crate::libvirt) fn leases(network: &Network) -> Result<Vec<RawLease>, Error> {
    let mut list: *mut sys::virNetworkDHCPLeasePtr = ptr::null_mut();
    // SAFETY: `network` holds a reference for the whole call; NULL asks for all hardware addresses.
    let count =
        unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), ptr::null(), &mut list, 0) };
    if count < 0 {
        return Err(Error::last_error());
    }
    let leases = Leases {
        list,
        count: usize::try_from(count).unwrap_or(0),
    };
    Ok((0..leases.count)
        .map(|index| {
            // SAFETY: libvirt returned `count` valid leases, which `leases` keeps alive.
            let lease = unsafe { &**leases.list.add(index) };
            RawLease {
                expires: lease.expirytime,
                mac: text(lease.mac),
                address: text(lease.ipaddr),
                hostname: text(lease.hostname),
                client_id: text(lease.clientid),
            }
        })
        .collect())
}

fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, and libvirt's strings end with NUL and live as long as their lease.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(text.to_string_lossy().into_owned())
}
