//! The end of libvirt's event loop: the crate's wrapper of a timeout frees what is not its own when it
//! fails.
#![expect(unsafe_code, reason = "the crate's wrapper of a timeout is unsound")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use virt::sys;

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Returns whether all that was to be done before [`end`] was called has been done.
pub(in crate::libvirt) fn is_over() -> bool {
    IS_OVER.load(Ordering::Acquire)
}

/// Wakes the loop for a last time; returns whether it will end. What closed connections have left to be
/// freed is freed first: libvirt frees in the order in which it was told to let go.
pub(in crate::libvirt) fn end() -> bool {
    // SAFETY: both functions live as long as the process and use no data; the loop is registered.
    let timer = unsafe { sys::virEventAddTimeout(0, Some(fire), ptr::null_mut(), Some(over)) };
    timer >= 0
}

extern "C" fn fire(timer: c_int, _opaque: *mut c_void) {
    // SAFETY: libvirt calls with the number of a timeout that is there, and allows to remove it here.
    unsafe { sys::virEventRemoveTimeout(timer) };
}

extern "C" fn over(_opaque: *mut c_void) {
    IS_OVER.store(true, Ordering::Release);
}
