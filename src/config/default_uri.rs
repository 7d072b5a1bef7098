//! `qemu:///system` or `qemu:///session`, when nobody says.
//!
//! Permission alone decides, once, and the decision is written down: a system daemon that is merely
//! stopped must be an error with its remedy, never the empty world of a session daemon.

use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::api::Timestamp;
use crate::paths::Paths;

use super::error::ConfigError;
use super::file::{io_error, write_private};

/// The daemon of the host.
pub const SYSTEM_URI: &str = "qemu:///system";
/// The daemon of the user.
pub const SESSION_URI: &str = "qemu:///session";

/// The monolithic daemon's socket and the modular one's.
const SOCKETS: &[&str] = &[
    "/run/libvirt/virtqemud-sock",
    "/run/libvirt/libvirt-sock",
    "/var/run/libvirt/libvirt-sock",
];

/// Which daemon is the caller's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultUri {
    /// The host's.
    System,
    /// The user's own.
    Session,
    /// Only the daemon (polkit) can tell: open the host's, and the user's own where that is refused
    /// for want of permission.
    Try,
}

impl DefaultUri {
    /// Returns the URI to open first.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::System | Self::Try => SYSTEM_URI,
            Self::Session => SESSION_URI,
        }
    }
}

/// What the socket of the system daemon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFact {
    /// There is none: the daemon is stopped or not installed.
    Absent,
    /// The caller may not connect.
    Denied,
    /// The caller may connect as owner or member of its group, which is all that is asked.
    Allowed,
    /// Everybody may connect, and the daemon asks polkit who may do what.
    AskedByDaemon,
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Effective user id.
    pub euid: u32,
    /// Whether the caller is in the group `libvirt`, whom distributions let in.
    pub in_libvirt_group: bool,
    /// The system daemon's socket.
    pub socket: SocketFact,
}

impl Facts {
    /// Looks at this host.
    pub fn gather() -> Self {
        Self {
            euid: rustix::process::geteuid().as_raw(),
            in_libvirt_group: crate::store::group_id("libvirt").is_some_and(is_member),
            socket: SOCKETS
                .iter()
                .map(|path| look_at(Path::new(path)))
                .find(|fact| *fact != SocketFact::Absent)
                .unwrap_or(SocketFact::Absent),
        }
    }
}

fn is_member(gid: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == gid || groups.iter().any(|g| g.as_raw() == gid)
}

fn look_at(socket: &Path) -> SocketFact {
    let stat = match rustix::fs::stat(socket) {
        Ok(stat) => stat,
        Err(Errno::ACCESS) => return SocketFact::Denied,
        Err(_) => return SocketFact::Absent,
    };
    let access = rustix::fs::Access::WRITE_OK;
    match rustix::fs::accessat(CWD, socket, access, AtFlags::EACCESS) {
        Err(_) => SocketFact::Denied,
        Ok(()) if stat.st_mode & 0o002 != 0 => SocketFact::AskedByDaemon,
        Ok(()) => SocketFact::Allowed,
    }
}

/// Decides from the facts alone.
pub const fn decide(facts: &Facts) -> DefaultUri {
    match facts.socket {
        _ if facts.euid == 0 || facts.in_libvirt_group => DefaultUri::System,
        SocketFact::Allowed => DefaultUri::System,
        SocketFact::AskedByDaemon => DefaultUri::Try,
        // Without a socket there is nothing to ask, and a stranger to the group would hardly be
        // let in were there one.
        SocketFact::Denied | SocketFact::Absent => DefaultUri::Session,
    }
}

/// A decision as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// `system` or `session`.
    pub decided: DefaultUri,
    /// When.
    pub when: Timestamp,
}

/// Returns the caller's default: the decision that was written down, else one made now.
///
/// Root's is always the system daemon. A decision is not written here but by [`record`], once the
/// daemon was reached: until then nothing depends on it.
pub fn default_uri(paths: &Paths) -> DefaultUri {
    if rustix::process::geteuid().is_root() {
        return DefaultUri::System;
    }
    recorded(&paths.default_uri_file()).unwrap_or_else(|| decide(&Facts::gather()))
}

/// Returns whether the caller's default has been decided and written down.
pub fn is_recorded(paths: &Paths) -> bool {
    recorded(&paths.default_uri_file()).is_some()
}

/// Reads the decision; one that does not parse is made anew, since nothing is lost by that.
fn recorded(file: &Path) -> Option<DefaultUri> {
    let text = std::fs::read_to_string(file).ok()?;
    let decision: Decision = serde_yaml::from_str(&text).ok()?;
    (decision.decided != DefaultUri::Try).then_some(decision.decided)
}

/// Writes down which daemon the caller's default is, unless it stands there; root's never changes.
///
/// Call it after the default was opened: `SESSION_URI` when the system daemon refused permission,
/// `SYSTEM_URI` when it answered. Returns whether it was news, which is to be said to the person.
///
/// # Errors
/// [`ConfigError::Io`].
pub fn record(paths: &Paths, uri: &str) -> Result<bool, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    record_in(&paths.default_uri_file(), uri)
}

fn record_in(file: &Path, uri: &str) -> Result<bool, ConfigError> {
    if recorded(file).is_some() {
        return Ok(false);
    }
    let decision = Decision {
        decided: match uri {
            SESSION_URI => DefaultUri::Session,
            _ => DefaultUri::System,
        },
        when: Timestamp::now(),
    };
    let io = |e| io_error("write", file, e);
    let text = serde_yaml::to_string(&decision).map_err(|e| io(std::io::Error::other(e)))?;
    write_private(file, text.as_bytes()).map_err(io)?;
    Ok(true)
}

/// Forgets the decision, so that the next call decides anew; returns whether there was one.
///
/// # Errors
/// [`ConfigError::Io`].
pub fn forget(paths: &Paths) -> Result<bool, ConfigError> {
    let file = paths.default_uri_file();
    match std::fs::remove_file(&file) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error("remove", &file, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_alone_decides() {
        use SocketFact::{Absent, Allowed, AskedByDaemon, Denied};
        for (euid, in_libvirt_group, socket, expected) in [
            (0, false, Absent, DefaultUri::System),
            (0, false, AskedByDaemon, DefaultUri::System),
            // A member's daemon that is stopped is still the host's: exit 8, no empty world.
            (1000, true, Absent, DefaultUri::System),
            (1000, true, AskedByDaemon, DefaultUri::System),
            (1000, false, Allowed, DefaultUri::System),
            (1000, false, AskedByDaemon, DefaultUri::Try),
            (1000, false, Denied, DefaultUri::Session),
            (1000, false, Absent, DefaultUri::Session),
        ] {
            let facts = Facts {
                euid,
                in_libvirt_group,
                socket,
            };
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_decision_is_written_once_and_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("kvmctl/default-uri.yaml");
        assert_eq!(recorded(&file), None);
        assert!(record_in(&file, SESSION_URI).unwrap());
        assert!(!record_in(&file, SYSTEM_URI).unwrap(), "the first stays");
        assert_eq!(recorded(&file), Some(DefaultUri::Session));
        for senseless in ["decided: try\nwhen: 2026-01-01T00:00:00Z\n", "{", ""] {
            std::fs::write(&file, senseless).unwrap();
            assert_eq!(recorded(&file), None, "{senseless}");
            assert!(record_in(&file, SYSTEM_URI).unwrap());
            assert_eq!(recorded(&file), Some(DefaultUri::System));
        }
    }

    #[test]
    fn a_socket_is_judged_by_what_the_caller_may_do() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("sock");
        assert_eq!(look_at(&path), SocketFact::Absent);
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for (mode, expected) in [
            (0o666, SocketFact::AskedByDaemon),
            (0o660, SocketFact::Allowed),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(look_at(&path), expected, "{mode:o}");
        }
    }
}
