//! `virConnectDomainEventRegisterAny` and `virConnectRegisterCloseCallback`, which the crate lacks.
#![expect(unsafe_code, reason = "the crate lacks domain events")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// What happened to a domain, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::libvirt) struct RawEvent {
    pub(in crate::libvirt) uuid: [u8; 16],
    pub(in crate::libvirt) source: Source,
    pub(in crate::libvirt) event: i32,
    pub(in crate::libvirt) detail: i32,
}

/// What the numbers of an event mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::libvirt) enum Source {
    Lifecycle,
    Agent,
    DeviceRemoved,
    DeviceRemovalFailed,
    /// `event` is the operation (virDomainJobOperation), `detail` whether it went well.
    JobCompleted,
}

/// What libvirt tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::libvirt) enum Message {
    /// Something happened to a domain.
    Event(RawEvent),
    /// The connection broke; no event will come.
    Closed,
}

/// Where messages go. libvirt owns it while the callback is registered, and frees it after.
struct Sink(Mutex<Sender<Message>>);

impl Sink {
    fn send(&self, message: Message) {
        if let Ok(sender) = self.0.lock() {
            // Nobody waits any more: the message is of no use.
            let _ = sender.send(message);
        }
    }
}

/// Registered callbacks; they are taken back when it goes out of scope.
#[derive(Debug)]
pub(in crate::libvirt) struct Registration {
    conn: Connect,
    callbacks: Vec<c_int>,
    watches_close: bool,
}

impl Drop for Registration {
    fn drop(&mut self) {
        for callback in &self.callbacks {
            // SAFETY: `conn` is referenced, and the number came from a registration on it. libvirt
            // frees the sink by `release`, once no callback runs any more. A broken connection
            // makes this fail, which changes nothing: the sink is then freed with the connection.
            unsafe { sys::virConnectDomainEventDeregisterAny(self.conn.as_ptr(), *callback) };
        }
        if self.watches_close {
            // SAFETY: as above; `closed` is the callback that was registered.
            unsafe { sys::virConnectUnregisterCloseCallback(self.conn.as_ptr(), Some(closed)) };
        }
    }
}

/// Sends lifecycle, agent and device events of all domains, and the end of the connection, to `sender` until
/// the registration is dropped. `can_break` is false for a driver inside our own process.
pub(in crate::libvirt) fn register(
    conn: &Connect,
    sender: &Sender<Message>,
    can_break: bool,
) -> Result<Registration, Error> {
    let mut registration = Registration {
        conn: conn.clone(),
        callbacks: Vec::new(),
        watches_close: can_break && watch_close(conn, sender.clone()),
    };
    // SAFETY: libvirt calls back with the signature of the event's id, for which each function is
    // written; the generic type is how its C interface takes all of them.
    let callbacks: [(u32, sys::virConnectDomainEventGenericCallback); 5] = unsafe {
        [
            (
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                Some(std::mem::transmute::<Lifecycle, Generic>(lifecycle)),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
                Some(std::mem::transmute::<Lifecycle2, Generic>(agent)),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                Some(std::mem::transmute::<Device, Generic>(removed)),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
                Some(std::mem::transmute::<Device, Generic>(removal_failed)),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
                Some(std::mem::transmute::<Job, Generic>(job_completed)),
            ),
        ]
    };
    for (id, callback) in callbacks {
        match register_one(conn, id, callback, sender.clone()) {
            Ok(number) => registration.callbacks.push(number),
            // Not every driver has agents and devices that come and go; lifecycle must be there.
            Err(error) if id == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE => return Err(error),
            Err(_) => {}
        }
    }
    Ok(registration)
}

type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
type Lifecycle =
    extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Lifecycle2 = extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void);
type Device = extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
type Job = extern "C" fn(
    sys::virConnectPtr,
    sys::virDomainPtr,
    sys::virTypedParameterPtr,
    c_int,
    *mut c_void,
);

fn register_one(
    conn: &Connect,
    id: u32,
    callback: sys::virConnectDomainEventGenericCallback,
    sender: Sender<Message>,
) -> Result<c_int, Error> {
    let sink = Box::into_raw(Box::new(Sink(Mutex::new(sender))));
    // SAFETY: `conn` is referenced; no domain means all; `sink` stays alive until `release`.
    let number = unsafe {
        sys::virConnectDomainEventRegisterAny(
            conn.as_ptr(),
            ptr::null_mut(),
            id as c_int,
            callback,
            sink.cast(),
            Some(release),
        )
    };
    if number < 0 {
        let error = Error::last_error();
        // SAFETY: libvirt did not take the sink, so it is still ours alone.
        drop(unsafe { Box::from_raw(sink) });
        return Err(error);
    }
    Ok(number)
}

/// Only for a connection that can break: for a driver inside our own process libvirt says yes, and
/// forgets the sink.
fn watch_close(conn: &Connect, sender: Sender<Message>) -> bool {
    let sink = Box::into_raw(Box::new(Sink(Mutex::new(sender))));
    // SAFETY: `conn` is referenced, and `sink` stays alive until `release`.
    let result = unsafe {
        sys::virConnectRegisterCloseCallback(
            conn.as_ptr(),
            Some(closed),
            sink.cast(),
            Some(release),
        )
    };
    if result < 0 {
        // SAFETY: libvirt did not take the sink, so it is still ours alone.
        drop(unsafe { Box::from_raw(sink) });
    }
    result >= 0
}

extern "C" fn closed(_conn: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: `opaque` is the sink given at registration, alive until `release`, and only shared.
    unsafe { &*opaque.cast::<Sink>() }.send(Message::Closed);
}

extern "C" fn lifecycle(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    deliver(domain, Source::Lifecycle, event, detail, opaque);
    0
}

extern "C" fn agent(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    state: c_int,
    reason: c_int,
    opaque: *mut c_void,
) {
    deliver(domain, Source::Agent, state, reason, opaque);
}

extern "C" fn removed(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    deliver(domain, Source::DeviceRemoved, 0, 0, opaque);
}

extern "C" fn removal_failed(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    deliver(domain, Source::DeviceRemovalFailed, 0, 0, opaque);
}

extern "C" fn job_completed(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    params: sys::virTypedParameterPtr,
    count: c_int,
    opaque: *mut c_void,
) {
    let count = usize::try_from(count).unwrap_or(0);
    let mut operation = 0;
    // A daemon that does not say how it went is taken at the word of whoever looks at the result.
    let mut success = 1;
    for index in 0..count {
        // SAFETY: libvirt gives `count` parameters for the time of the call.
        let parameter = unsafe { super::stats::parameter(&*params.add(index)) };
        match parameter {
            Some((name, super::stats::Value::Number(n))) if name == "operation" => operation = n,
            Some((name, super::stats::Value::Number(n))) if name == "success" => success = n,
            _ => {}
        }
    }
    let number = |n| i32::try_from(n).unwrap_or(0);
    deliver(
        domain,
        Source::JobCompleted,
        number(operation),
        number(success),
        opaque,
    );
}

fn deliver(
    domain: sys::virDomainPtr,
    source: Source,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) {
    let mut uuid = [0u8; 16];
    // SAFETY: libvirt gives a valid domain for the time of the call; `uuid` has 16 bytes.
    if unsafe { sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) } < 0 {
        return;
    }
    // SAFETY: `opaque` is the sink given at registration, alive until `release`, and only shared.
    let sink = unsafe { &*opaque.cast::<Sink>() };
    sink.send(Message::Event(RawEvent {
        uuid,
        source,
        event,
        detail,
    }));
}

extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: libvirt calls this once, when the callback is gone, with the sink it was given.
    drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
}
