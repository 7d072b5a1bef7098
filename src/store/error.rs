//! What goes wrong with the store, as facts, and how a person is told.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{Error, Kind};

use super::lock::Holder;

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none, and the caller may not make one.
    #[error("there is no store at {}", .0.display())]
    Missing(PathBuf),
    /// A symbolic link stands where the store or a part of it should be.
    #[error("{} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    /// Something else than a file or directory of ours stands there.
    #[error("{} is not a {expected}", .path.display())]
    WrongType {
        /// What it is.
        path: PathBuf,
        /// "directory" or "regular file".
        expected: &'static str,
    },
    /// The directory belongs to another user.
    #[error("the store {} belongs to user {owner}, not to {}", .path.display(), welcome(*.caller))]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        caller: u32,
    },
    /// Others may write to the directory.
    #[error("the store {} can be written by others (mode {mode:04o})", .path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The caller has no permission.
    #[error("no permission to {doing} {}", .path.display())]
    NoPermission {
        /// "read", "write"…
        doing: &'static str,
        /// What.
        path: PathBuf,
    },
    /// The file system or the store is read-only.
    #[error("the store is read-only: cannot {doing} {}", .path.display())]
    ReadOnly {
        /// "write", "remove"…
        doing: &'static str,
        /// What.
        path: PathBuf,
    },
    /// No space or quota is left.
    #[error("no space is left to {doing} {}", .path.display())]
    NoSpace {
        /// "write"…
        doing: &'static str,
        /// What.
        path: PathBuf,
    },
    /// A file does not parse, or says it is another one.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file; it was left as it is.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        what: String,
    },
    /// A newer kvmctl wrote the store.
    #[error("the store {} has schema {found}; this kvmctl knows schemas up to {known}", .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process holds the lock.
    #[error("{what} is locked{}", held_by(.holder.as_ref()))]
    Busy {
        /// "the store" or `instance/web`.
        what: String,
        /// Who holds it, if it told.
        holder: Option<Holder>,
        /// How long we waited.
        waited: Duration,
    },
    /// A user's type has the name of a built-in one.
    #[error("type {0:?} is built in and cannot be changed")]
    BuiltInType(String),
    /// An object without a name cannot be stored.
    #[error("the {0} has no name")]
    Unnamed(&'static str),
    /// Anything else the system says.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// "read", "write", "lock"…
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |h| format!(" by {h}"))
}

/// The result of everything in the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Sorts an error of the system by what a person has to do about it.
    pub(crate) fn system(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::NoPermission { doing, path },
            Some(Errno::ROFS) => Self::ReadOnly { doing, path },
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { doing, path },
            Some(Errno::LOOP | Errno::XDEV) => Self::Symlink(path),
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }

    /// Returns whether the caller merely lacks the right or the chance to write.
    pub const fn is_refusal_to_write(&self) -> bool {
        matches!(
            self,
            Self::Missing(_)
                | Self::NoPermission { .. }
                | Self::ReadOnly { .. }
                | Self::NoSpace { .. }
                | Self::Busy { .. }
        )
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Symlink(_)
            | Self::WrongType { .. }
            | Self::Foreign { .. }
            | Self::Writable { .. }
            | Self::Newer { .. }
            | Self::Unnamed(_) => Kind::Usage,
            Self::BuiltInType(_) => Kind::Conflict,
            Self::Busy { .. } => Kind::Busy,
            Self::Missing(_) | Self::NoPermission { .. } => Kind::Unavailable,
            Self::ReadOnly { .. }
            | Self::NoSpace { .. }
            | Self::Damaged { .. }
            | Self::Io { .. } => Kind::Failed,
        }
    }

    fn remedy(&self) -> Option<String> {
        let in_system = |path: &Path| path.starts_with(crate::paths::SYSTEM_STORE);
        match self {
            Self::Missing(_) => Some("sudo kvmctl setup".to_owned()),
            Self::NoPermission { path, .. } if in_system(path) => Some(
                "sudo usermod -aG libvirt \"$USER\" and log in again (members of that group are \
                 root's equals on this host)"
                    .to_owned(),
            ),
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", path.display())),
            Self::Foreign {
                path, caller: 0, ..
            } => Some(format!("chown -R root {}", path.display())),
            Self::Foreign { .. } | Self::Symlink(_) => {
                Some("name another directory with KVMCTL_STORE".to_owned())
            }
            Self::NoSpace { path, .. } => Some(format!(
                "df -h {}",
                path.parent().unwrap_or_else(|| Path::new("/")).display()
            )),
            Self::Damaged { path, .. } => Some(format!(
                "the file was left as it is; mend it, or move it away ('mv {0} {0}.damaged') and \
                 run 'kvmctl store rebuild'",
                path.display()
            )),
            Self::Newer { .. } => Some("use the kvmctl that wrote it, or a newer one".to_owned()),
            Self::Busy {
                holder: Some(holder),
                ..
            } => Some(format!("wait for process {} to end", holder.pid)),
            Self::BuiltInType(name) => Some(format!(
                "choose another name, as my-{name}; 'kvmctl types list' shows all"
            )),
            _ => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let worded = Self::new(error.kind(), error.to_string());
        match error.remedy() {
            Some(hint) => worded.hint(hint),
            None => worded,
        }
    }
}

/// Whose a store may be.
fn welcome(caller: u32) -> String {
    match caller {
        0 => "root".to_owned(),
        uid => format!("root or user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_reasons_are_sorted_by_what_to_do() {
        let worded =
            |errno: Errno| Error::from(StoreError::system("write", Path::new("/s/a.yaml"), errno));
        assert_eq!(
            worded(Errno::NOSPC).message(),
            "no space is left to write /s/a.yaml"
        );
        assert_eq!(worded(Errno::NOSPC).hints(), ["df -h /s"]);
        assert_eq!(worded(Errno::ROFS).kind(), Kind::Failed);
        assert_eq!(worded(Errno::ACCESS).kind(), Kind::Unavailable);
        assert_eq!(worded(Errno::LOOP).kind(), Kind::Usage);
        assert!(
            worded(Errno::IO)
                .message()
                .starts_with("cannot write /s/a.yaml: ")
        );
    }

    #[test]
    fn a_stranger_to_the_system_store_is_told_of_the_group() {
        let error = Error::from(StoreError::NoPermission {
            doing: "read",
            path: "/var/lib/kvmctl/instances".into(),
        });
        assert!(error.hints()[0].contains("usermod -aG libvirt"));
    }
}
