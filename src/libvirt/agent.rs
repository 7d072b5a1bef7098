//! The QEMU guest agent: commands, files, a sign of life.
//!
//! The protocol is JSON (QEMU's qga/qapi-schema.json); bytes travel as base64. The agent is an
//! accelerator and never a requirement: every caller has another way.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::domain::Domain;
use super::error::{Cause, LibvirtError};

/// What a command in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// Output was cut, because the agent keeps 16 MiB.
    pub truncated: bool,
}

/// An absolute path in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPath(pub String);

/// How much of a file travels at once. The agent takes a request byte by byte: a mebibyte does not
/// get through in 20 s without KVM.
const PIECE: usize = 48 << 10;

impl Domain {
    /// Sends one command to the agent and returns what it returned.
    ///
    /// # Errors
    /// [`Cause::Agent`] when none answers, [`Cause::AgentRefused`] when it cannot do it.
    pub fn agent(&self, command: &Value, timeout: Duration) -> Result<Value, LibvirtError> {
        let seconds = i32::try_from(timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let name = command
            .get("execute")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let text = command.to_string();
        let doing = format!("ask the guest agent ({name}) of");
        let answer = self.ask("virDomainQemuAgentCommand", &doing, |raw| {
            raw.qemu_agent_command(&text, seconds, 0)
        })?;
        let parsed: Value = serde_json::from_str(&answer)
            .map_err(|e| self.nonsense(&format!("the agent's answer is no JSON: {e}")))?;
        Ok(parsed.get("return").cloned().unwrap_or(Value::Null))
    }

    /// Returns whether an agent answers.
    pub fn agent_answers(&self) -> bool {
        self.agent(&json!({"execute": "guest-ping"}), Duration::from_secs(2))
            .is_ok()
    }

    /// Returns where the guest has mounted something of the disk with this serial; `None` also where
    /// its agent cannot tell.
    pub fn agent_mountpoint(&self, serial: &str) -> Option<String> {
        let told = self
            .agent(&json!({"execute": "guest-get-fsinfo"}), CALL)
            .ok()?;
        let of_it = |fs: &&Value| {
            let disks = fs.get("disk").and_then(Value::as_array);
            disks.is_some_and(|disks| {
                disks
                    .iter()
                    .any(|d| d.get("serial").and_then(Value::as_str) == Some(serial))
            })
        };
        let found = told.as_array()?.iter().find(of_it)?;
        Some(found.get("mountpoint")?.as_str()?.to_owned())
    }

    /// Lets a user of the guest log in by an SSH key, besides those that may already (QEMU 5.2).
    ///
    /// # Errors
    /// [`Cause::Agent`]; [`Cause::AgentRefused`] when the guest has no such command or user.
    pub fn agent_authorize(&self, user: &str, public_key: &str) -> Result<(), LibvirtError> {
        let arguments = json!({"username": user, "keys": [public_key], "reset": false});
        let command = json!({"execute": "guest-ssh-add-authorized-keys", "arguments": arguments});
        self.agent(&command, CALL).map(drop)
    }

    /// Runs a command and waits for its end.
    ///
    /// # Errors
    /// [`Cause::Agent`]; [`Cause::AgentRefused`] when the guest has no such command;
    /// [`Cause::TimedOut`] when it runs longer than `timeout`, and goes on.
    pub fn agent_exec(
        &self,
        argv: &[String],
        input: &[u8],
        timeout: Duration,
    ) -> Result<Executed, LibvirtError> {
        let Some((path, rest)) = argv.split_first() else {
            return Err(self.nonsense("there is no command"));
        };
        let mut arguments = json!({"path": path, "arg": rest, "capture-output": true});
        if !input.is_empty() {
            arguments["input-data"] = json!(STANDARD.encode(input));
        }
        let command = json!({"execute": "guest-exec", "arguments": arguments});
        let started = self.agent(&command, CALL)?;
        let pid = started
            .get("pid")
            .and_then(Value::as_i64)
            .ok_or_else(|| self.nonsense("the agent told no pid"))?;
        self.await_exit(pid, timeout)
    }

    /// The agent has no event for the end of a command, so it is asked, ever less often.
    fn await_exit(&self, pid: i64, timeout: Duration) -> Result<Executed, LibvirtError> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(20);
        let command = json!({"execute": "guest-exec-status", "arguments": {"pid": pid}});
        loop {
            let status = self.agent(&command, CALL)?;
            if status.get("exited").and_then(Value::as_bool) == Some(true) {
                return executed(&status).ok_or_else(|| self.nonsense("the agent sent no base64"));
            }
            if Instant::now() >= deadline {
                let message = format!("the command still runs after {} s", timeout.as_secs());
                return Err(LibvirtError::ours(
                    "run a command in the guest",
                    Cause::TimedOut,
                    message,
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        }
    }

    /// Opens a file in the guest; `mode` as in fopen(3).
    ///
    /// # Errors
    /// [`Cause::AgentRefused`] with the guest's reason.
    pub fn agent_open(&self, path: &GuestPath, mode: &str) -> Result<i64, LibvirtError> {
        let arguments = json!({"path": path.0, "mode": mode});
        let handle = self.agent(
            &json!({"execute": "guest-file-open", "arguments": arguments}),
            CALL,
        )?;
        handle
            .as_i64()
            .ok_or_else(|| self.nonsense("the agent told no handle"))
    }

    /// Reads the next piece of a file; empty at its end.
    ///
    /// # Errors
    /// [`Cause::AgentRefused`] with the guest's reason.
    pub fn agent_read(&self, handle: i64) -> Result<Vec<u8>, LibvirtError> {
        let arguments = json!({"handle": handle, "count": PIECE});
        let got = self.agent(
            &json!({"execute": "guest-file-read", "arguments": arguments}),
            CALL,
        )?;
        decoded(&got, "buf-b64").ok_or_else(|| self.nonsense("the agent sent no base64"))
    }

    /// Writes a piece to a file, all of it.
    ///
    /// # Errors
    /// [`Cause::AgentRefused`] with the guest's reason.
    pub fn agent_write(&self, handle: i64, bytes: &[u8]) -> Result<(), LibvirtError> {
        for piece in bytes.chunks(PIECE) {
            let mut rest = piece;
            while !rest.is_empty() {
                let arguments = json!({"handle": handle, "buf-b64": STANDARD.encode(rest)});
                let command = json!({"execute": "guest-file-write", "arguments": arguments});
                let count = self
                    .agent(&command, CALL)?
                    .get("count")
                    .and_then(Value::as_u64);
                let count = count.and_then(|c| usize::try_from(c).ok()).unwrap_or(0);
                if count == 0 || count > rest.len() {
                    return Err(self.nonsense("the agent wrote nothing"));
                }
                rest = &rest[count..];
            }
        }
        Ok(())
    }

    /// Closes a file.
    ///
    /// # Errors
    /// [`Cause::AgentRefused`] with the guest's reason.
    pub fn agent_close(&self, handle: i64) -> Result<(), LibvirtError> {
        let arguments = json!({"handle": handle});
        self.agent(
            &json!({"execute": "guest-file-close", "arguments": arguments}),
            CALL,
        )
        .map(drop)
    }

    fn nonsense(&self, message: &str) -> LibvirtError {
        LibvirtError::ours(
            format!("talk to the guest agent of {:?}", self.name),
            Cause::Agent,
            message,
        )
    }
}

/// How long one call to the agent may take.
const CALL: Duration = Duration::from_secs(20);

fn executed(status: &Value) -> Option<Executed> {
    let number = |key: &str| status.get(key).and_then(Value::as_i64);
    let flag = |key: &str| status.get(key).and_then(Value::as_bool).unwrap_or(false);
    let code = match (number("exitcode"), number("signal")) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    Some(Executed {
        code: u8::try_from(code & 0xff).unwrap_or(1),
        stdout: decoded(status, "out-data")?,
        stderr: decoded(status, "err-data")?,
        truncated: flag("out-truncated") || flag("err-truncated"),
    })
}

/// Nothing is empty; what is no base64 is `None`, lest it pass for the end of a file.
fn decoded(value: &Value, key: &str) -> Option<Vec<u8>> {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_read_as_a_shell_tells_it() {
        let status = json!({"exited": true, "exitcode": 7, "out-data": "aGk=", "err-data": ""});
        let done = executed(&status).unwrap();
        assert_eq!((done.code, done.stdout.as_slice()), (7, b"hi".as_slice()));
        let killed = executed(&json!({"exited": true, "signal": 9})).unwrap();
        assert_eq!(killed.code, 137);
        assert!(!killed.truncated);
        let cut = json!({"exited": true, "exitcode": 0, "out-data": "aGk=", "out-truncated": true});
        assert!(executed(&cut).unwrap().truncated);
        assert_eq!(executed(&json!({"exited": true, "out-data": "!"})), None);
    }
}
