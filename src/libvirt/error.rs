//! What libvirt refused, and how that is worded: the one place that knows libvirt's error codes.

use virt::error::{ErrorDomain, ErrorNumber as Code};

use super::xml::XmlError;
use crate::error::{Error, Kind};

/// A call to libvirt that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {doing}: {message}")]
pub struct LibvirtError {
    doing: String,
    message: String,
    cause: Cause,
}

/// The sort of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The domain, network, pool or volume does not exist.
    NotFound,
    /// One of that name or identity exists, or what is asked for is taken.
    Exists,
    /// The thing is in a state in which this cannot be done.
    NotNow,
    /// The daemon cannot be reached.
    Unreachable,
    /// The daemon is there and does not let us in.
    Denied,
    /// The connection broke in the middle.
    Lost,
    /// Another call holds the thing.
    Busy,
    /// The driver or the daemon's version cannot do this.
    Unsupported,
    /// The URI names nothing that libvirt knows, or holds what no URI can hold.
    BadUri,
    /// We wrote XML that libvirt does not accept.
    BadXml,
    /// The disk of the host is full.
    DiskFull,
    /// The guest agent is absent or silent.
    Agent,
    /// The guest agent answered that it cannot do it.
    AgentRefused,
    /// It did not end in the time that was given.
    TimedOut,
    /// The metadata is not there.
    NoMetadata,
    /// Anything else.
    Other,
}

impl LibvirtError {
    /// Makes an error of libvirt's; `doing` is what was tried, as `start domain "web"`.
    pub(super) fn new(doing: String, error: &virt::error::Error) -> Self {
        Self {
            doing,
            message: error.message().to_owned(),
            cause: classify(error),
        }
    }

    /// Makes an error of libvirt's in opening a connection: whatever it is, the daemon was not
    /// reached, or does not let us in.
    pub(super) fn at_open(uri: &str, error: &virt::error::Error) -> Self {
        const GATES: [&str; 4] = ["system bus", "polkit", "PolicyKit", "uthenticat"];
        let mut opened = Self::new(format!("connect to {uri}"), error);
        if GATES.iter().any(|gate| opened.message.contains(gate)) {
            opened.cause = Cause::Denied;
        } else if !matches!(opened.cause, Cause::Denied | Cause::BadUri) {
            opened.cause = Cause::Unreachable;
        }
        opened
    }

    /// Makes an error of our own in talking to libvirt.
    pub(super) fn ours(doing: impl Into<String>, cause: Cause, message: impl ToString) -> Self {
        Self {
            doing: doing.into(),
            message: message.to_string(),
            cause,
        }
    }

    /// Returns the sort of the failure.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns what was tried, as `start domain "web"`.
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// Returns libvirt's own words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns whether the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.cause == Cause::NotFound
    }

    /// Returns whether one of that name or identity exists.
    pub fn is_exists(&self) -> bool {
        self.cause == Cause::Exists
    }

    /// Returns whether the thing is in a state in which this cannot be done.
    pub fn is_not_now(&self) -> bool {
        self.cause == Cause::NotNow
    }

    /// Returns whether the driver or daemon cannot do this.
    pub fn is_no_support(&self) -> bool {
        self.cause == Cause::Unsupported
    }

    /// Returns whether the daemon cannot be reached, or no longer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.cause, Cause::Unreachable | Cause::Lost)
    }

    /// Returns whether the daemon does not let us in.
    pub fn is_denied(&self) -> bool {
        self.cause == Cause::Denied
    }

    /// Returns whether the guest agent is absent or silent.
    pub fn is_agent(&self) -> bool {
        self.cause == Cause::Agent
    }
}

fn classify(error: &virt::error::Error) -> Cause {
    by_words(error)
        .or_else(|| error.code().known().and_then(by_code))
        .unwrap_or(Cause::Other)
}

fn by_code(code: Code) -> Option<Cause> {
    Some(match code {
        Code::NoDomain
        | Code::NoNetwork
        | Code::NoStoragePool
        | Code::NoStorageVolume
        | Code::NoDomainSnapshot
        | Code::NoDomainCheckpoint
        | Code::NoDomainBackup
        | Code::DeviceMissing => Cause::NotFound,
        Code::NoDomainMetadata | Code::NoNetworkMetadata => Cause::NoMetadata,
        Code::DomExist | Code::NetworkExist | Code::StorageVolExist | Code::StoragePoolBuilt => {
            Cause::Exists
        }
        Code::OperationInvalid | Code::BlockCopyActive => Cause::NotNow,
        Code::OperationTimeout | Code::ResourceBusy => Cause::Busy,
        Code::AuthFailed
        | Code::AuthUnavailable
        | Code::AuthCancelled
        | Code::AccessDenied
        | Code::OperationDenied => Cause::Denied,
        Code::NoSupport
        | Code::OperationUnsupported
        | Code::ArgumentUnsupported
        | Code::ConfigUnsupported => Cause::Unsupported,
        Code::NoConnect | Code::UnknownHost => Cause::BadUri,
        Code::InvalidConn => Cause::Lost,
        Code::XmlInvalidSchema | Code::XmlError | Code::XmlDetail => Cause::BadXml,
        Code::AgentUnresponsive | Code::AgentUnsynced | Code::AgentCommandTimeout => Cause::Agent,
        Code::AgentCommandFailed => Cause::AgentRefused,
        Code::GnutlsError | Code::Ssh | Code::Libssh => Cause::Unreachable,
        _ => return None,
    })
}

/// How ssh ends where it does not let us in; the daemon behind it was never asked.
const REFUSED_BY_SSH: &[&str] = &[
    "Permission denied (",
    "Host key verification failed",
    "Too many authentication failures",
];

/// Many failures have one code for everything; then only the words tell them apart.
fn by_words(error: &virt::error::Error) -> Option<Cause> {
    let has = |words: &[&str]| words.iter().any(|w| error.message().contains(w));
    let rpc = error.domain().is(ErrorDomain::Rpc) || error.domain().is(ErrorDomain::Remote);
    let code = error.code().known()?;
    if has(&["guest agent is not"]) {
        return Some(Cause::Agent);
    }
    if has(&["unable to execute QEMU agent command"]) {
        return Some(Cause::AgentRefused);
    }
    if has(&["existing dhcp host entry"]) {
        return Some(Cause::Exists);
    }
    if has(&["unsupported flags"]) {
        return Some(Cause::Unsupported);
    }
    if has(&["couldn't locate a matching dhcp host entry"]) {
        return Some(Cause::NotFound);
    }
    let generic = matches!(
        code,
        Code::InternalError | Code::OperationFailed | Code::SystemError | Code::InvalidArg
    );
    if !generic {
        return None;
    }
    if has(&["No space left on device", "Disk quota exceeded"]) {
        Some(Cause::DiskFull)
    } else if rpc && has(REFUSED_BY_SSH) {
        Some(Cause::Unreachable)
    } else if rpc
        && has(&[
            "Permission denied",
            "authentication failed",
            "Authentication",
        ])
    {
        Some(Cause::Denied)
    } else if rpc
        && has(&[
            "client socket is closed",
            "Broken pipe",
            "Cannot write data",
            "End of file while reading data",
            "connection closed due to keepalive timeout",
            "received hangup event on socket",
        ])
        && !error.message().contains("ssh:")
    {
        Some(Cause::Lost)
    } else if rpc {
        Some(Cause::Unreachable)
    } else if has(&[
        "already exists",
        "already in use",
        "already defined",
        "in use by",
    ]) {
        Some(Cause::Exists)
    } else if has(&[
        "already running",
        "not running",
        "already active",
        "Active console session exists",
        "Active channel stream exists",
    ]) {
        // The test driver's code for the first three is that of an internal error.
        Some(Cause::NotNow)
    } else if has(&["unsupported flags", "not supported by"]) {
        Some(Cause::Unsupported)
    } else {
        None
    }
}

impl LibvirtError {
    /// Returns the command that starts the very daemon that did not answer: where daemons are modular,
    /// each has its own socket.
    pub fn start_hint(&self) -> Option<String> {
        let Self { message, doing, .. } = self;
        if self.cause != Cause::Unreachable || is_remote(message) {
            return None;
        }
        let in_socket = || {
            let name = message.split("-sock").next()?.rsplit('/').next()?;
            let modular = name.starts_with("virt") && name.ends_with('d');
            modular.then_some(name)
        };
        let session = doing.contains("/session");
        Some(match in_socket() {
        Some(daemon) if session => format!("start the daemon: `{daemon} -d`"),
        Some(daemon) => format!(
            "start the daemon: `systemctl start {daemon}.socket` (without systemd: `{daemon} -d`)"
        ),
        None if message.contains("does not exist in $PATH") => {
            "install the daemon (apt-get install libvirt-daemon-system), or start your own where \
             daemons are modular: `virtqemud -d`"
                .to_owned()
        }
        None if session => {
            "start the daemon: `libvirtd -d` (modular: `virtqemud -d`)".to_owned()
        }
        None => "start the daemon: `systemctl start libvirtd` (modular: `systemctl start \
                 virtqemud`; without systemd: `libvirtd -d`)"
            .to_owned(),
    })
    }
}

impl From<LibvirtError> for Error {
    fn from(error: LibvirtError) -> Self {
        let kind = match error.cause {
            Cause::NotFound | Cause::NoMetadata => Kind::NotFound,
            Cause::Exists | Cause::NotNow => Kind::Conflict,
            Cause::Unreachable | Cause::Denied | Cause::Lost => Kind::Unavailable,
            Cause::Busy => Kind::Busy,
            Cause::BadUri => Kind::Usage,
            Cause::TimedOut => Kind::Timeout,
            Cause::Unsupported
            | Cause::BadXml
            | Cause::DiskFull
            | Cause::Agent
            | Cause::AgentRefused
            | Cause::Other => Kind::Failed,
        };
        let worded = Self::new(kind, format!("cannot {}", error.doing))
            .caused_by(format!("libvirt: {}", error.message.trim_end()));
        let worded = error.start_hint().into_iter().fold(worded, Self::hint);
        hints(&error).iter().fold(worded, |e, hint| e.hint(*hint))
    }
}

/// Returns whether it was another host that could not be reached.
fn is_remote(message: &str) -> bool {
    by_ssh(message) || message.contains("connect to server at")
}

fn by_ssh(message: &str) -> bool {
    message.contains("ssh") || REFUSED_BY_SSH.iter().any(|words| message.contains(words))
}

fn hints(error: &LibvirtError) -> &'static [&'static str] {
    match error.cause {
        Cause::Unreachable if by_ssh(&error.message) => &[
            "try the way itself: `ssh HOST true` must work and ask nothing; libvirt and nc must be installed there",
        ],
        Cause::Unreachable if error.message.contains("connect to server at") => {
            &["start the daemon on that host, listening: see libvirtd(8), `--listen`"]
        }
        Cause::Unreachable => &["see what is missing: `kvmctl doctor`"],
        Cause::Denied => &[
            "join the libvirt group, which gives the rights of root: `sudo usermod -aG libvirt $USER`, then log in again",
            "or use your own daemon, which needs no right: `kvmctl --uri qemu:///session …`",
        ],
        Cause::Lost => &[
            "the daemon stopped or restarted; run the same command again to finish what was begun",
        ],
        Cause::Busy => &["another command works on it; try again when it is done"],
        Cause::BadUri => {
            &["valid URIs are as qemu:///system, qemu:///session, qemu+ssh://root@HOST/system"]
        }
        Cause::BadXml => &["this is a bug of kvmctl; please report it with the output of `-v`"],
        Cause::DiskFull => &["free some space; `kvmctl images prune` removes unused images"],
        // libvirt chooses a firmware when a domain is defined.
        _ if error.message.contains("'efi' firmware") => {
            &["install the UEFI firmware on the host: apt-get install ovmf"]
        }
        Cause::Agent => &["install and start qemu-guest-agent in the guest"],
        _ => &[],
    }
}

impl From<XmlError> for LibvirtError {
    fn from(error: XmlError) -> Self {
        let (doing, cause) = match &error {
            XmlError::IllegalCharacter { document, .. } | XmlError::Write { document, .. } => {
                (format!("write {document} XML"), Cause::BadXml)
            }
            XmlError::Read { document, .. } => (format!("read {document} XML"), Cause::Other),
        };
        Self::ours(doing, cause, error)
    }
}

impl From<XmlError> for Error {
    fn from(error: XmlError) -> Self {
        LibvirtError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(doing: &str, cause: Cause) -> Error {
        LibvirtError::ours(doing, cause, "words").into()
    }

    #[test]
    fn each_cause_has_its_exit_code() {
        let code = |cause| error("do it", cause).kind().exit_code();
        assert_eq!(code(Cause::NotFound), 4);
        assert_eq!(code(Cause::Exists), 5);
        assert_eq!(code(Cause::NotNow), 5);
        assert_eq!(code(Cause::TimedOut), 6);
        assert_eq!(code(Cause::Busy), 7);
        assert_eq!(code(Cause::Unreachable), 8);
        assert_eq!(code(Cause::Denied), 8);
        assert_eq!(code(Cause::Lost), 8);
        assert_eq!(code(Cause::Other), 1);
    }

    #[test]
    fn the_hint_fits_the_way_to_the_host() {
        let hints = |message| {
            let error = LibvirtError::ours("connect", Cause::Unreachable, message);
            Error::from(error).hints().join("\n")
        };
        assert!(hints("Failed to connect socket to '/x'").contains("systemctl start libvirtd"));
        let modular =
            "Failed to connect socket to '/var/run/libvirt/virtnetworkd-sock': No such file";
        assert!(hints(modular).contains("systemctl start virtnetworkd.socket"));
        assert!(
            hints("binary '/usr/sbin/libvirtd' does not exist in $PATH").contains("virtqemud -d")
        );
        assert!(hints("Cannot recv data: ssh: no route").contains("ssh HOST true"));
        assert!(hints("a@h: Permission denied (publickey)").contains("ssh HOST true"));
        assert!(hints("unable to connect to server at 'x:16509'").contains("--listen"));
    }

    #[test]
    fn a_refused_caller_learns_what_the_group_means() {
        let hints = error("connect", Cause::Denied).hints().join("\n");
        assert!(hints.contains("rights of root"));
        assert!(!hints.contains("chmod"));
    }
}
