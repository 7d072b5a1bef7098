//! Holes in streams: the crate sends and receives bytes only.
#![expect(unsafe_code, reason = "the crate has no holes in streams")]

use std::ffi::{c_char, c_longlong};

use virt::error::Error;
use virt::stream::Stream;
use virt::sys;

/// Says that so many bytes are a hole.
pub(in crate::libvirt) fn send_hole(stream: &Stream, length: u64) -> Result<(), Error> {
    let length = c_longlong::try_from(length).unwrap_or(c_longlong::MAX);
    // SAFETY: `stream` holds a reference for the whole call, which keeps no pointer of ours.
    let result = unsafe { sys::virStreamSendHole(stream.as_ptr(), length, 0) };
    match result {
        0.. => Ok(()),
        _ => Err(Error::last_error()),
    }
}

/// What came next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::libvirt) enum Came {
    /// So many bytes.
    Bytes(usize),
    /// A hole of so many bytes.
    Hole(u64),
}

/// Receives bytes or a hole; no bytes are the end.
pub(in crate::libvirt) fn receive(stream: &Stream, into: &mut [u8]) -> Result<Came, Error> {
    const AT_A_HOLE: i32 = -3;
    let stop = sys::VIR_STREAM_RECV_STOP_AT_HOLE;
    let room = into.as_mut_ptr().cast::<c_char>();
    // SAFETY: `room` points to `into.len()` writable bytes, borrowed for the whole call, of which
    // libvirt writes at most that many; `stream` holds a reference.
    let got = unsafe { sys::virStreamRecvFlags(stream.as_ptr(), room, into.len(), stop) };
    if let Ok(bytes) = usize::try_from(got) {
        return Ok(Came::Bytes(bytes.min(into.len())));
    }
    if got != AT_A_HOLE {
        return Err(Error::last_error());
    }
    let mut length: c_longlong = 0;
    // SAFETY: `length` is live for the whole call.
    match unsafe { sys::virStreamRecvHole(stream.as_ptr(), &mut length, 0) } {
        0.. => Ok(Came::Hole(u64::try_from(length).unwrap_or(0))),
        _ => Err(Error::last_error()),
    }
}
