//! `virConnectGetAllDomainStats`: facts about all domains in one round trip.
//!
//! The crate's wrapper is a stub that leaks the records.
#![expect(unsafe_code, reason = "the crate's wrapper is a stub")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_uint};
use std::ptr;

use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// One domain with the numbers that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::libvirt) struct Record {
    pub(in crate::libvirt) name: String,
    pub(in crate::libvirt) uuid: [u8; 16],
    pub(in crate::libvirt) id: Option<u32>,
    pub(in crate::libvirt) params: BTreeMap<String, Value>,
}

/// A value; libvirt's signed and unsigned numbers of all widths are one here.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::libvirt) enum Value {
    Number(i128),
    Float(f64),
    Text(String),
}

/// Frees the list when it goes out of scope, whatever happens on the way.
struct Records(*mut sys::virDomainStatsRecordPtr);

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: the list came from virConnectGetAllDomainStats and is freed only here.
        unsafe { sys::virDomainStatsRecordListFree(self.0) };
    }
}

/// Asks for the groups in `stats` (`VIR_DOMAIN_STATS_*`) of all domains.
pub(in crate::libvirt) fn all_domain_stats(
    conn: &Connect,
    stats: u32,
    flags: u32,
) -> Result<Vec<Record>, Error> {
    let mut list: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: `conn` holds a reference for the whole call, and `list` is a live out-parameter.
    let count = unsafe {
        sys::virConnectGetAllDomainStats(conn.as_ptr(), stats as c_uint, &mut list, flags as c_uint)
    };
    if count < 0 {
        return Err(Error::last_error());
    }
    let records = Records(list);
    let count = usize::try_from(count).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: libvirt returned `count` valid records, which `records` keeps alive.
            unsafe { record(&**records.0.add(index)) }
        })
        .collect()
}

/// # Safety
/// `raw` must be a record that libvirt returned and that is not freed yet.
unsafe fn record(raw: &sys::virDomainStatsRecord) -> Result<Record, Error> {
    let mut uuid = [0u8; 16];
    // SAFETY: `raw.dom` is a valid domain, and `uuid` has VIR_UUID_BUFLEN (16) bytes.
    let (name, known, id) = unsafe {
        (
            sys::virDomainGetName(raw.dom),
            sys::virDomainGetUUID(raw.dom, uuid.as_mut_ptr()),
            sys::virDomainGetID(raw.dom),
        )
    };
    if name.is_null() || known < 0 {
        return Err(Error::last_error());
    }
    let count = usize::try_from(raw.nparams).unwrap_or(0);
    let params = (0..count)
        .filter_map(|index| {
            // SAFETY: `raw.params` is an array of `raw.nparams` parameters.
            unsafe { parameter(&*raw.params.add(index)) }
        })
        .collect();
    Ok(Record {
        // SAFETY: `name` is a NUL-terminated string owned by the domain, which is alive.
        name: unsafe { CStr::from_ptr(name) }
            .to_string_lossy()
            .into_owned(),
        uuid,
        // libvirt's number for "not running" is (unsigned) -1.
        id: (id != u32::MAX).then_some(id),
        params,
    })
}

/// # Safety
/// `raw` must be a typed parameter that libvirt filled in and that is not freed yet.
pub(super) unsafe fn parameter(raw: &sys::virTypedParameter) -> Option<(String, Value)> {
    // SAFETY: `field` is a NUL-terminated array, and `type_` says which member of the union is set.
    unsafe {
        let name = CStr::from_ptr(raw.field.as_ptr())
            .to_string_lossy()
            .into_owned();
        let value = match raw.type_ as sys::virTypedParameterType {
            sys::VIR_TYPED_PARAM_INT => Value::Number(i128::from(raw.value.i)),
            sys::VIR_TYPED_PARAM_UINT => Value::Number(i128::from(raw.value.ui)),
            sys::VIR_TYPED_PARAM_LLONG => Value::Number(i128::from(raw.value.l)),
            sys::VIR_TYPED_PARAM_ULLONG => Value::Number(i128::from(raw.value.ul)),
            sys::VIR_TYPED_PARAM_BOOLEAN => Value::Number(i128::from(raw.value.b)),
            sys::VIR_TYPED_PARAM_DOUBLE => Value::Float(raw.value.d),
            sys::VIR_TYPED_PARAM_STRING if !raw.value.s.is_null() => {
                Value::Text(CStr::from_ptr(raw.value.s).to_string_lossy().into_owned())
            }
            _ => return None,
        };
        Some((name, value))
    }
}
