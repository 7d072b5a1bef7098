//! A way for tests to end the process between two steps, as a power cut would.
//!
//! Only debug builds have it; a release build ignores the variable.

/// Ends the process by SIGKILL at the N-th boundary between steps, if `KVMCTL_FAILPOINT` is N.
#[cfg(debug_assertions)]
pub(super) fn boundary() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(at) = std::env::var("KVMCTL_FAILPOINT")
        .ok()
        .and_then(|n| n.parse::<u64>().ok())
    else {
        return;
    };
    if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == at {
        let me = rustix::process::getpid();
        // A process that cannot kill itself goes on, and the test that asked for it fails.
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub(super) fn boundary() {}
