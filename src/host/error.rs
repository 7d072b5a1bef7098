//! Why a tool of the host did not do its work.

use crate::error::{Error, Kind};

/// Why a host tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// None of the names is on PATH.
    #[error("{} not found on PATH", .names.join(" or "))]
    Missing {
        /// The names that were looked for.
        names: Vec<String>,
        /// Package that has the tool, on Debian and its like.
        package: &'static str,
    },
    /// The process could not be started or talked to.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It exited with an error.
    #[error("{program} failed ({status}){}", first_lines(.stderr))]
    Failed {
        /// The program.
        program: String,
        /// Its exit status, as the system words it.
        status: String,
        /// What it wrote to stderr, at most 4 KiB.
        stderr: String,
    },
    /// It did not end in time and was killed.
    #[error("{program} did not end within {seconds} s and was killed")]
    TimedOut {
        /// The program.
        program: String,
        /// The deadline.
        seconds: u64,
    },
    /// Another machine than the guest answers, or the guest has got another SSH host key.
    #[error(
        "{destination} shows another SSH host key than the one that was made with the instance: \
         it is not the guest, or its key was replaced"
    )]
    OtherHostKey {
        /// User and address.
        destination: String,
    },
    /// The guest does not let our key in.
    #[error("cannot log in to {destination}: {why}")]
    KeyRefused {
        /// User and address.
        destination: String,
        /// What ssh said.
        why: String,
    },
    /// ssh could not log in.
    #[error("cannot log in to {destination}: {why}")]
    Login {
        /// User and address.
        destination: String,
        /// What ssh said.
        why: String,
    },
    /// It printed what we cannot read.
    #[error("{program} printed something unexpected: {what}")]
    Garbage {
        /// The program.
        program: String,
        /// What was wrong with it.
        what: String,
    },
}

fn first_lines(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|l| !l.trim().is_empty())
        .take(4)
        .collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!(": {}", lines.join("; "))
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        match &error {
            HostError::Missing { package, .. } => {
                let hint = format!("install the package: apt-get install {package}");
                Self::new(Kind::Unavailable, error.to_string())
                    .hint(hint)
                    .hint("kvmctl doctor")
            }
            HostError::TimedOut { program, .. } => Self::new(Kind::Timeout, error.to_string())
                .hint(format!(
                    "see what keeps it: run `{program} --version` by hand"
                ))
                .hint("kvmctl doctor"),
            HostError::Spawn { source, .. } => {
                Self::new(Kind::Unavailable, error.to_string()).caused_by(source)
            }
            HostError::OtherHostKey { .. } => Self::new(Kind::Conflict, error.to_string()),
            HostError::KeyRefused { destination, why } | HostError::Login { destination, why } => {
                Self::new(
                    Kind::Unavailable,
                    format!("cannot log in to {destination} by ssh"),
                )
                .caused_by(why)
            }
            HostError::Failed { .. } | HostError::Garbage { .. } => Self::failed(error.to_string()),
        }
    }
}
