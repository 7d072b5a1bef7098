//! Runs of tools that the caller talks to: they have the terminal, and we wait.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

#[expect(
    clippy::disallowed_types,
    reason = "this is a part of the one process runner"
)]
use super::Command;
use super::{HostError, LOOK, Tool};
use crate::shell::shell_words;

/// How long a tool that was told to end may take to put the terminal right.
const FAREWELL: Duration = Duration::from_secs(3);

impl Tool {
    /// Runs it on the caller's own terminal and returns its exit code, as a shell tells it.
    ///
    /// # Errors
    /// [`HostError::Spawn`].
    pub fn interactive<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<u8, HostError> {
        let args: Vec<OsString> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        tracing::info!(target: "host", "{} {}", self.name(), shell_words(&args));
        #[expect(
            clippy::disallowed_types,
            reason = "this is a part of the one process runner"
        )]
        let mut command = Command::new(&self.program);
        let ended = command
            .args(&args)
            .spawn()
            .and_then(|mut child| match &self.stop {
                Some(stop) => attend(&mut child, stop),
                None => child.wait(),
            });
        let status = ended.map_err(|source| HostError::Spawn {
            program: self.name(),
            source,
        })?;
        let code = status
            .code()
            .or_else(|| status.signal().map(|s| 128 + s))
            .unwrap_or(1);
        Ok(u8::try_from(code & 0xff).unwrap_or(1))
    }
}

/// Waits for its end; told to stop it is asked to end first, and killed when it does not.
fn attend(child: &mut Child, stop: &AtomicBool) -> io::Result<ExitStatus> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match asked {
            None if stop.load(Ordering::SeqCst) => {
                // It has not been waited for, so its number is its own still.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(asked) if asked.elapsed() >= FAREWELL => child.kill()?,
            _ => {}
        }
        // A signal ends the waiting early, and it is begun again.
        let look = Timespec::try_from(LOOK).ok();
        match &ended {
            Some(ended) => drop(poll(
                &mut [PollFd::new(ended, PollFlags::IN)],
                look.as_ref(),
            )),
            None => thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_ends_when_we_are_to_stop() {
        let begun = Instant::now();
        let sh = Tool::find(&["sh"], "dash").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            told.store(true, Ordering::SeqCst);
        });
        let sh = sh.stopped_by(stop);
        let script = ["-c", "sleep 30 & trap 'kill $!; exit 7' TERM; wait"];
        assert_eq!(sh.interactive(&script).unwrap(), 7);
        let (status, _) = sh.run_any(&["-c", "exec sleep 30"], b"", None).unwrap();
        assert!(!status.success());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
