//! Commands in the guest, by the agent or ssh.

use std::time::Duration;

use super::running;
use super::ssh::ssh_to;
use crate::api::ObjectKey;
use crate::error::Result;
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
}

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
) -> Result<ExecResult> {
    let domain = running(world, key)?;
    let agent = match via {
        Via::Agent => true,
        Via::Ssh => false,
        Via::Auto => domain.agent_answers(),
    };
    if agent {
        let done = domain.agent_exec(argv, input, timeout)?;
        return Ok(ExecResult {
            code: done.code,
            stdout: done.stdout,
            stderr: done.stderr,
        });
    }
    let (ssh, target) = ssh_to(world, key, None)?;
    let out = ssh.run(&target, argv, input, timeout)?;
    Ok(ExecResult {
        code: out.code,
        stdout: out.stdout,
        stderr: out.stderr,
    })
}
