//! Runs of tools that take long: what they print is heard while they run, they can be stopped, and
//! they do not outlive us.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_types,
    reason = "this is a part of the one process runner"
)]
use super::Command;
use super::{HostError, Output, Tool, drain, rest};

/// How often a run is looked at that prints nothing.
const LOOK: Duration = Duration::from_millis(50);

impl Tool {
    /// Runs it in a directory and waits for success; what it prints is told piece by piece, and `stop` ends it. It ends
    /// also when we are killed, where the host has `setpriv`.
    ///
    /// # Errors
    /// As [`Tool::run`]; a run that was stopped has failed.
    pub fn run_watched<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        dir: &Path,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Output, HostError> {
        let (program, args) = self.mortal(args);
        tracing::info!(target: "host", "{} {}", program.display(), crate::shell::shell_words(&args));
        let spawn_error = |source| HostError::Spawn {
            program: self.name(),
            source,
        };
        #[expect(
            clippy::disallowed_types,
            reason = "this is a part of the one process runner"
        )]
        let mut command = Command::new(&program);
        command.args(&args).env("LC_ALL", "C").current_dir(dir);
        // What the tool started goes with it: it would hold the pipe open, and us with it.
        command.process_group(0);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(spawn_error)?;
        let (err, out) = (drain(child.stderr.take()), pieces(child.stdout.take()));
        let deadline = Instant::now() + self.timeout;
        let mut killed = false;
        loop {
            match out.recv_timeout(LOOK) {
                Ok(piece) => hear(&piece),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let late = Instant::now() >= deadline;
            if !killed && (late || stop.load(Ordering::Relaxed)) {
                end_group(&child);
                killed = true;
            }
        }
        let status = child.wait().map_err(spawn_error)?;
        let stderr = rest(&err, Instant::now()).unwrap_or_default();
        if status.success() {
            let stdout = Vec::new();
            return Ok(Output { stdout, stderr });
        }
        let tail = stderr.len().saturating_sub(4096);
        Err(HostError::Failed {
            program: self.name(),
            status: status.to_string(),
            stderr: String::from_utf8_lossy(&stderr[tail..]).into_owned(),
        })
    }

    /// Puts `setpriv` before it, so that it is killed when the thread that waits for it is no more.
    fn mortal<S: AsRef<OsStr>>(&self, args: &[S]) -> (std::path::PathBuf, Vec<OsString>) {
        let own = args.iter().map(|a| a.as_ref().to_owned());
        let Ok(setpriv) = Tool::find(&["setpriv"], "util-linux") else {
            return (self.program.clone(), own.collect());
        };
        let before = ["--pdeathsig", "KILL", "--"].map(OsString::from);
        let program: &Path = &self.program;
        let all = before.into_iter().chain([program.into()]).chain(own);
        (setpriv.program, all.collect())
    }
}

/// Kills a tool and everything in its process group. It has not been waited for, so its number is its
/// own still.
fn end_group(child: &std::process::Child) {
    if let Ok(Some(group)) = i32::try_from(child.id()).map(rustix::process::Pid::from_raw) {
        // One that has ended by itself cannot be ended again.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Reads a pipe to its end on a thread of its own, and hands on what comes.
fn pieces(pipe: Option<impl std::io::Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let Some(mut pipe) = pipe else { return };
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            // Nobody listens any more when the run is over.
            if tell.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_heard_before_the_end() {
        let sh = Tool::find(&["sh"], "dash").unwrap();
        let (stop, mut heard) = (AtomicBool::new(false), Vec::new());
        let begun = Instant::now();
        let script = ["-c", "sleep 30 & echo one; wait"];
        let result = sh.run_watched(&script, Path::new("/"), &stop, &mut |piece| {
            heard.extend_from_slice(piece);
            stop.store(true, Ordering::Relaxed);
        });
        assert!(result.is_err());
        assert_eq!(heard, b"one\n");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn failure_keeps_what_the_tool_said() {
        let sh = Tool::find(&["sh"], "dash").unwrap();
        let script = ["-c", "echo oh no >&2; exit 3"];
        let error = sh.run_watched(
            &script,
            Path::new("/"),
            &AtomicBool::new(false),
            &mut |_| {},
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "sh failed (exit status: 3): oh no");
    }
}
