//! Backup jobs and block jobs, which the crate lacks. Nothing here is newer than libvirt 6.0.
#![expect(unsafe_code, reason = "the crate lacks backup and block jobs")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use super::stats::{Value, parameter};

unsafe extern "C" {
    /// libvirt documents that its strings are freed with free(3).
    fn free(pointer: *mut c_void);
}

/// Begins a backup, and a checkpoint of the same moment.
pub(in crate::libvirt) fn begin(
    domain: &Domain,
    backup: &CStr,
    checkpoint: Option<&CStr>,
) -> Result<(), Error> {
    let checkpoint = checkpoint.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: `domain` holds a reference for the whole call; both texts end with NUL and outlive it,
    // and NULL means no checkpoint.
    let result =
        unsafe { sys::virDomainBackupBegin(domain.as_ptr(), backup.as_ptr(), checkpoint, 0) };
    done(result)
}

/// Returns the XML of the backup that runs.
pub(in crate::libvirt) fn description(domain: &Domain) -> Result<String, Error> {
    // SAFETY: `domain` holds a reference for the whole call.
    let text = unsafe { sys::virDomainBackupGetXMLDesc(domain.as_ptr(), 0) };
    // SAFETY: libvirt returned NULL or a string that is now ours.
    unsafe { owned(text) }
}

/// Ends the job that runs on a domain.
pub(in crate::libvirt) fn abort(domain: &Domain) -> Result<(), Error> {
    // SAFETY: `domain` holds a reference for the whole call.
    done(unsafe { sys::virDomainAbortJob(domain.as_ptr()) })
}

/// A job of a domain: its sort (virDomainJobType), and what libvirt tells of it.
pub(in crate::libvirt) type Job = (i32, BTreeMap<String, Value>);

/// Returns what is known of the job that runs on a domain, or of the one that ended last.
pub(in crate::libvirt) fn job(domain: &Domain, completed: bool) -> Result<Job, Error> {
    let flags = match completed {
        true => sys::VIR_DOMAIN_JOB_STATS_COMPLETED | sys::VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED,
        false => 0,
    };
    let (mut sort, mut count): (c_int, c_int) = (0, 0);
    let mut params: sys::virTypedParameterPtr = ptr::null_mut();
    // SAFETY: `domain` holds a reference for the whole call; all out-parameters are live.
    let result = unsafe {
        sys::virDomainGetJobStats(domain.as_ptr(), &mut sort, &mut params, &mut count, flags)
    };
    done(result)?;
    let number = usize::try_from(count).unwrap_or(0);
    let told = (0..number)
        .filter_map(|index| {
            // SAFETY: libvirt returned `count` parameters, which nobody has freed yet.
            unsafe { parameter(&*params.add(index)) }
        })
        .collect();
    // SAFETY: array and texts in it are ours, and copied above.
    unsafe { sys::virTypedParamsFree(params, count) };
    Ok((sort, told))
}

/// Returns the sort of the job that runs on a disk (virDomainBlockJobType), if one does.
pub(in crate::libvirt) fn block_job(domain: &Domain, disk: &CStr) -> Result<Option<i32>, Error> {
    let mut info = sys::virDomainBlockJobInfo {
        type_: 0,
        bandwidth: 0,
        cur: 0,
        end: 0,
    };
    // SAFETY: `domain` holds a reference for the whole call, `disk` ends with NUL, and `info` is a
    // live out-parameter.
    let result =
        unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &mut info, 0) };
    match result {
        1 => Ok(Some(info.type_)),
        0 => Ok(None),
        _ => Err(Error::last_error()),
    }
}

/// Turns libvirt's result into ours.
pub(super) fn done(result: i32) -> Result<(), Error> {
    match result {
        0.. => Ok(()),
        _ => Err(Error::last_error()),
    }
}

/// Takes a string that libvirt allocated; NULL is an error.
///
/// # Safety
/// `text` is NULL, or ends with NUL and may be freed with free(3).
pub(super) unsafe fn owned(text: *mut c_char) -> Result<String, Error> {
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: not null, and ends with NUL by the caller's word.
    let copy = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: by the caller's word it may be freed so, and nobody uses it after.
    unsafe { free(text.cast()) };
    Ok(copy)
}

/// Makes a text of ours one for C; callers have refused NUL before.
pub(in crate::libvirt) fn c_text(text: &str) -> CString {
    // What stands before a NUL is a text that libvirt refuses as XML, or does not know as a name.
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}
