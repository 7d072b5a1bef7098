//! Commands in the guest, by the agent or ssh.

use std::time::Duration;

use super::running;
use super::ssh::Login;
use crate::api::{ObjectKey, Reporter};
use crate::engine::interrupted;
use crate::error::{Error, Result};
use crate::libvirt::{Domain, Executed, GuestPath};
use crate::observe::World;

/// Which way into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The agent where it answers, ssh elsewhere.
    Auto,
    /// The agent.
    Agent,
    /// ssh.
    Ssh,
}

/// What a command in a guest came to.
#[derive(Debug, Clone)]
pub struct ExecResult {
    /// Its exit code.
    pub code: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// The guest agent kept only the beginning of what it wrote.
    pub truncated: bool,
}

/// The most input that one request to the agent carries; more goes through a file in the guest.
const INPUT: usize = 32 << 10;

/// Runs a command in a guest.
///
/// # Errors
/// A conflict when the guest is off; what the way into it refuses.
pub fn exec(
    world: &World,
    key: &ObjectKey,
    via: Via,
    argv: &[String],
    input: &[u8],
    timeout: Duration,
    reporter: &dyn Reporter,
) -> Result<ExecResult> {
    let domain = running(world, key)?;
    let agent = match via {
        Via::Agent => true,
        Via::Ssh => false,
        Via::Auto => domain.agent_answers(),
    };
    if agent {
        let done = match input.len() {
            ..=INPUT => domain.agent_exec(argv, input, timeout)?,
            _ => exec_reading_file(&domain, argv, input, timeout)?,
        };
        return Ok(ExecResult {
            code: done.code,
            stdout: done.stdout,
            stderr: done.stderr,
            truncated: done.truncated,
        });
    }
    let login = Login::to(world, key, None)?;
    let run = || login.ssh.run(&login.target, argv, input, timeout);
    let out = login.let_in(world, key, reporter, run);
    interrupted()?;
    let out = out.map_err(|e| login.refused(e, key))?;
    Ok(ExecResult {
        code: out.code,
        stdout: out.stdout,
        stderr: out.stderr,
        truncated: false,
    })
}

/// Runs a command whose standard input is too much for one request: it is written to a file, which
/// has no name any more when the command begins.
fn exec_reading_file(
    domain: &Domain,
    argv: &[String],
    input: &[u8],
    timeout: Duration,
) -> Result<Executed> {
    let brief = Duration::from_secs(60);
    let made = domain.agent_exec(&["mktemp".to_owned()], &[], brief)?;
    let path = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if made.code != 0 || path.is_empty() {
        let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        let size = input.len();
        return Err(Error::failed(format!(
            "the guest makes no temporary file for {size} bytes of standard input"
        ))
        .caused_by(why)
        .hint("add --via ssh"));
    }
    let handle = domain.agent_open(&GuestPath(path.clone()), "w")?;
    let written = domain.agent_write(handle, input);
    let closed = domain.agent_close(handle);
    if let Err(error) = written.and(closed) {
        let _ = domain.agent_exec(&["rm".to_owned(), path], &[], brief);
        return Err(error.into());
    }
    let script = "exec <\"$1\" && rm -f -- \"$1\" && shift && exec \"$@\"";
    let mut whole: Vec<String> = ["sh", "-c", script, "sh", &path].map(str::to_owned).into();
    whole.extend(argv.iter().cloned());
    Ok(domain.agent_exec(&whole, &[], timeout)?)
}
