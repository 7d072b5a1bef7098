//! Work that is done side by side.

use std::thread;

/// Returns whether everything is to be done on one thread, if `KVMCTL_ONE_THREAD` is set: strace counts
/// the calls of each thread by themselves, and only so is the N-th of one the N-th of all. Only debug
/// builds know it.
pub(crate) fn one_thread() -> bool {
    cfg!(debug_assertions) && std::env::var_os("KVMCTL_ONE_THREAD").is_some()
}

/// Does one thing on a thread of its own and another here; the panic of one is that of both.
pub(super) fn side_by_side<A: Send, B>(
    aside: impl FnOnce() -> A + Send,
    here: impl FnOnce() -> B,
) -> (A, B) {
    if one_thread() {
        let here = here();
        return (aside(), here);
    }
    thread::scope(|scope| {
        let aside = scope.spawn(aside);
        let here = here();
        let aside = aside.join();
        (
            aside.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            here,
        )
    })
}
