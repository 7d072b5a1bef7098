//! The end of an instance, and of what a killed one left behind.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::change::{PATIENCE, PAUSE, not_in_force};
use super::error::NginxError;
use super::home::Home;
use super::process::{Processes, signal};
use super::{Did, sockets};

/// Connections of the last balancer get so long to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Workers whose master was killed hold the ports and follow nobody: they finish and go.
pub(super) fn retire_orphans(running: &Processes) -> Result<(), NginxError> {
    for pid in &running.orphans {
        // One that does not listen to us any more leaves its port when it ends.
        let _ = signal(*pid, Signal::QUIT);
    }
    let begin = Instant::now();
    let listens = |pid: &i32| !sockets::listening(*pid).is_empty();
    while running.orphans.iter().any(listens) {
        if begin.elapsed() > FAREWELL {
            for pid in &running.orphans {
                let _ = signal(*pid, Signal::KILL);
            }
        }
        if begin.elapsed() > PATIENCE {
            return Err(not_in_force(
                "workers without a master keep its ports".to_owned(),
            ));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Ends the instance, and removes all that there was of it.
pub(super) fn stop(home: &Home, running: &Processes) -> Result<Did, NginxError> {
    let was_there = !running.is_empty() || home.live().is_some();
    // First, so that a run that is killed here does not bring it back.
    home.unset()?;
    end(home)?;
    home.remove()?;
    Ok(if was_there {
        Did::Stopped
    } else {
        Did::Nothing
    })
}

/// Lets the processes finish, for a while.
pub(super) fn end(home: &Home) -> Result<(), NginxError> {
    let begin = Instant::now();
    let mut sent = None;
    loop {
        let left = Processes::of(home.path());
        if left.is_empty() {
            return Ok(());
        }
        let next = match begin.elapsed() {
            t if t < FAREWELL => Signal::QUIT,
            t if t < FAREWELL * 2 => Signal::TERM,
            t if t < PATIENCE => Signal::KILL,
            _ => return Err(not_in_force("its processes do not end".to_owned())),
        };
        if sent != Some(next) {
            for pid in left.all() {
                signal(pid, next).map_err(|e| NginxError::io("signal", home.path(), e))?;
            }
            sent = Some(next);
        }
        thread::sleep(PAUSE);
    }
}
