//! The one process runner: finds a tool, runs it with a clean environment and a deadline, and keeps
//! its stderr for the error.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
#[expect(
    clippy::disallowed_types,
    reason = "this file is the one process runner"
)]
use std::process::Command;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

mod foreground;
mod watched;

use super::error::HostError;
use crate::shell::shell_words;

/// What a tool printed.
#[derive(Debug)]
pub struct Output {
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

/// A program that runs beside us, and ends when this goes out of scope.
#[derive(Debug)]
pub struct Running {
    program: String,
    child: std::process::Child,
    said: mpsc::Receiver<Vec<u8>>,
}

impl Running {
    /// Returns why it ended, if it has.
    pub fn ended(&mut self) -> Option<HostError> {
        let status = self.child.try_wait().ok()??;
        let stderr = rest(&self.said, Instant::now() + Duration::from_secs(1));
        Some(HostError::Failed {
            program: self.program.clone(),
            status: status.to_string(),
            stderr: String::from_utf8_lossy(&stderr.unwrap_or_default()).into_owned(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on this host, found once.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    timeout: Duration,
    held: Option<Arc<File>>,
    stop: Option<Arc<AtomicBool>>,
}

impl Tool {
    /// Finds the first of `names` on PATH.
    ///
    /// # Errors
    /// [`HostError::Missing`] with all the names and the Debian package.
    pub fn find(names: &[&str], package: &'static str) -> Result<Self, HostError> {
        names
            .iter()
            .find_map(|name| which::which(name).ok())
            .map(|program| Self {
                program,
                timeout: Duration::from_secs(600),
                held: None,
                stop: None,
            })
            .ok_or_else(|| HostError::Missing {
                names: names.iter().map(|&n| n.to_owned()).collect(),
                package,
            })
    }

    /// Sets the deadline of a run.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Gives it a flag that ends a run when it is set.
    #[must_use]
    pub fn stopped_by(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Gives it a file that it keeps open as long as it runs, and its children too: it is what they
    /// have for their stdout, which is not read then.
    #[must_use]
    pub fn holding(mut self, file: Option<Arc<File>>) -> Self {
        self.held = file;
        self
    }

    /// Returns the file that it keeps open.
    pub fn held(&self) -> Option<Arc<File>> {
        self.held.clone()
    }

    /// Returns the path of the program.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Runs it with `args` and `stdin`, in `dir` if given, and waits for success.
    ///
    /// The child sees `LC_ALL=C`, so that its messages can be read.
    ///
    /// # Errors
    /// Any [`HostError`] but `Missing` and `Garbage`.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        stdin: &[u8],
        dir: Option<&Path>,
    ) -> Result<Output, HostError> {
        let (status, output) = self.run_any(args, stdin, dir)?;
        if status.success() {
            return Ok(output);
        }
        let tail = output.stderr.len().saturating_sub(4096);
        Err(HostError::Failed {
            program: self.name(),
            status: status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr[tail..]).into_owned(),
        })
    }

    /// As [`Tool::run`], but a failing exit status is a result, not an error.
    ///
    /// # Errors
    /// [`HostError::Spawn`] and [`HostError::TimedOut`].
    pub fn run_any<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        stdin: &[u8],
        dir: Option<&Path>,
    ) -> Result<(ExitStatus, Output), HostError> {
        let args: Vec<OsString> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        tracing::info!(target: "host", "{} {}", self.name(), shell_words(&args));
        let spawn_error = |source| HostError::Spawn {
            program: self.name(),
            source,
        };
        #[expect(
            clippy::disallowed_types,
            reason = "this file is the one process runner"
        )]
        let mut command = Command::new(&self.program);
        command.args(&args).env("LC_ALL", "C");
        let stdout = match &self.held {
            Some(file) => Stdio::from(file.try_clone().map_err(spawn_error)?),
            None => Stdio::piped(),
        };
        command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped());
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(spawn_error)?;
        feed(child.stdin.take(), stdin);
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let deadline = Instant::now() + self.timeout;
        let late = || HostError::TimedOut {
            program: self.name(),
            seconds: self.timeout.as_secs(),
        };
        let status = wait(&mut child, deadline, self.stop.as_deref()).map_err(spawn_error)?;
        let status = status.ok_or_else(late)?;
        let (stdout, stderr) = (rest(&out, deadline), rest(&err, deadline));
        let (stdout, stderr) = (stdout.ok_or_else(late)?, stderr.ok_or_else(late)?);
        Ok((status, Output { stdout, stderr }))
    }

    /// Starts it beside us; it ends with the returned value. Its output is not kept.
    ///
    /// # Errors
    /// [`HostError::Spawn`].
    pub fn beside<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Running, HostError> {
        let args: Vec<OsString> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        tracing::info!(target: "host", "{} {}", self.name(), shell_words(&args));
        let spawn_error = |source| HostError::Spawn {
            program: self.name(),
            source,
        };
        #[expect(
            clippy::disallowed_types,
            reason = "this file is the one process runner"
        )]
        let mut command = Command::new(&self.program);
        command.args(&args).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(spawn_error)?;
        let said = drain(child.stderr.take());
        let program = self.name();
        Ok(Running {
            program,
            child,
            said,
        })
    }

    fn name(&self) -> String {
        self.program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// How often a run is looked at that may be stopped.
const LOOK: Duration = Duration::from_millis(100);

/// Writes to a tool's stdin on a thread of its own: a tool may begin to print before it has read all.
fn feed(pipe: Option<impl Write + Send + 'static>, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    thread::spawn(move || {
        // A tool that does not read its stdin is not an error of ours.
        let _ = pipe.map(|mut p| p.write_all(&bytes));
    });
}

/// Reads a pipe to its end on a thread of its own, which is left alone when the tool hangs: a child
/// of the tool may hold the pipe open long after the tool was killed.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error means that the child is gone; its status tells the rest.
        let _ = pipe.map(|mut p| p.read_to_end(&mut bytes));
        // Nobody listens any more when the tool was killed.
        let _ = tell.send(bytes);
    });
    told
}

/// Returns what a tool that has ended printed; `None` if its pipe is still open at the deadline.
fn rest(pipe: &mpsc::Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    const AT_LEAST: Duration = Duration::from_secs(2);
    let left = deadline.saturating_duration_since(Instant::now());
    pipe.recv_timeout(left.max(AT_LEAST)).ok()
}

/// Waits for the child; after the deadline it is killed and `None` is returned. Where it is to be
/// stopped it is killed, too, and has ended by that.
///
/// The kernel tells when it has ended (pidfd_open(2), Linux 5.3); an older one is asked again and again.
fn wait(
    child: &mut std::process::Child,
    deadline: Instant,
    stop: Option<&AtomicBool>,
) -> std::io::Result<Option<ExitStatus>> {
    let pid = rustix::process::Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).ok();
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stop.is_some_and(|stop| stop.load(Ordering::SeqCst)) {
            child.kill()?;
            return child.wait().map(Some);
        }
        let mut left = deadline.saturating_duration_since(Instant::now());
        if stop.is_some() {
            left = left.min(LOOK);
        }
        if deadline <= Instant::now() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        match &ended {
            // A signal ends the waiting early, and it is begun again.
            Some(ended) => drop(poll(
                &mut [PollFd::new(ended, PollFlags::IN)],
                Timespec::try_from(left).ok().as_ref(),
            )),
            None => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let error = Tool::find(&["no-such-tool", "nor-this"], "some-package").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-tool or nor-this not found on PATH"
        );
    }

    #[test]
    fn stdin_reaches_the_tool_and_stdout_comes_back() {
        let cat = Tool::find(&["cat"], "coreutils").unwrap();
        let out = cat.run::<&str>(&[], b"hello", None).unwrap();
        assert_eq!(out.stdout, b"hello");
    }

    #[test]
    fn failure_keeps_what_the_tool_said() {
        let sh = Tool::find(&["sh"], "dash").unwrap();
        let error = sh
            .run(&["-c", "echo oh no >&2; exit 3"], b"", None)
            .unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): oh no");
    }

    #[test]
    fn a_tool_that_hangs_is_killed() {
        let sleep = Tool::find(&["sleep"], "coreutils").unwrap();
        let error = sleep
            .timeout(Duration::from_millis(50))
            .run(&["60"], b"", None)
            .unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }));
    }

    #[test]
    fn a_tool_whose_child_holds_its_output_hangs_nobody() {
        let begun = Instant::now();
        let sh = Tool::find(&["sh"], "dash").unwrap();
        let error = sh
            .timeout(Duration::from_millis(50))
            .run(&["-c", "sleep 30; true"], b"", None)
            .unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
