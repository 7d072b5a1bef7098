//! SIGINT and SIGTERM: the step that runs is finished, then what was begun is undone or recorded.
//!
//! A second signal ends the process at once; nothing is lost by that, because every intent is on
//! disk before its first side effect. Two that come together are one: timeout(1) sends its own to the
//! process and to its group.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Kind};

/// How far apart two signals are that somebody sent twice.
const APART: Duration = Duration::from_millis(500);
const STACK: usize = 64 << 10;

static SEEN: OnceLock<Seen> = OnceLock::new();
static HANGUP: OnceLock<()> = OnceLock::new();

#[derive(Debug, Default)]
struct Seen {
    any: Arc<AtomicBool>,
    last: Arc<AtomicUsize>,
}

/// The signal handlers of this process.
#[derive(Debug)]
pub struct Interrupt;

impl Interrupt {
    /// Installs the handlers, once.
    ///
    /// # Errors
    /// The system's reason, if it refuses.
    pub fn install() -> io::Result<()> {
        let mut is_first = false;
        let seen = SEEN.get_or_init(|| {
            is_first = true;
            Seen::default()
        });
        if !is_first {
            return Ok(());
        }
        let ends: Arc<AtomicBool> = Arc::default();
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&ends))?;
            signal_hook::flag::register(signal, Arc::clone(&seen.any))?;
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&seen.last), number)?;
        }
        let mut first = Signals::new([SIGINT, SIGTERM])?;
        let arm = move || {
            if first.forever().next().is_some() {
                thread::sleep(APART);
                ends.store(true, Ordering::SeqCst);
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.stack_size(STACK).spawn(arm)?;
        Ok(())
    }

    /// Takes also the end of the terminal for a signal to stop, unless nobody wants to hear of it
    /// (nohup).
    ///
    /// # Errors
    /// The system's reason, if it refuses.
    pub fn install_with_hangup() -> std::io::Result<()> {
        Self::install()?;
        let mut first = false;
        HANGUP.get_or_init(|| first = true);
        if let Some(seen) = SEEN.get().filter(|_| first && !ignored(SIGHUP)) {
            signal_hook::flag::register(SIGHUP, Arc::clone(&seen.any))?;
            let number = usize::try_from(SIGTERM).unwrap_or(0);
            signal_hook::flag::register_usize(SIGHUP, Arc::clone(&seen.last), number)?;
        }
        Ok(())
    }

    /// Returns the flag that is set when a signal has come, for loops that must look at it.
    pub fn flag() -> Arc<AtomicBool> {
        if SHIELDED.get() {
            return Arc::default();
        }
        SEEN.get().map_or_else(Arc::default, |s| Arc::clone(&s.any))
    }
}

/// Returns whether this process was started with a signal ignored.
///
/// Format: proc_pid_status(5), a mask of bits from signal 1 on.
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|m| m >> (signal - 1) & 1 == 1)
}

thread_local! {
    static SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Does what a first signal must not stop, in this thread: what takes back what was begun, or ends what
/// would be worse half done.
pub(super) fn shielded<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            SHIELDED.set(self.0);
        }
    }
    let _before = Before(SHIELDED.replace(true));
    work()
}

/// Returns an error if a signal has come, unless what is done is shielded from it.
///
/// # Errors
/// Kind `Interrupted` or `Terminated`.
pub fn interrupted() -> Result<(), Error> {
    match SEEN.get().filter(|_| !SHIELDED.get()) {
        Some(seen) if seen.any.load(Ordering::SeqCst) => {
            let terminated = i32::try_from(seen.last.load(Ordering::SeqCst)) == Ok(SIGTERM);
            Err(if terminated {
                Error::new(Kind::Terminated, "terminated")
            } else {
                Error::new(Kind::Interrupted, "interrupted")
            })
        }
        _ => Ok(()),
    }
}
