//! The connection: one per command, shared by all its threads.

use std::sync::OnceLock;

use virt::connect::Connect;

use super::error::{Cause, LibvirtError};
use super::events;
use super::xml::caps::{DomainCaps, HostCaps};
use crate::api::Uid;

/// Seconds between two signs of life on a connection that supports them.
const KEEPALIVE_SECONDS: i32 = 5;
/// How many signs may be missed before the connection counts as broken.
const KEEPALIVE_MISSES: u32 = 6;

/// A host that libvirt manages, and the connection to it.
#[derive(Debug)]
pub struct Host {
    pub(super) conn: Connect,
    uri: String,
    driver: Driver,
    capabilities: OnceLock<HostCaps>,
    domain_capabilities: OnceLock<DomainCaps>,
    pub(super) hub: OnceLock<Result<events::Hub, LibvirtError>>,
}

/// What runs the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// QEMU, with KVM or without.
    Qemu,
    /// libvirt's driver for tests: everything in memory, nothing runs.
    Test,
    /// Something else, with which kvmctl may not work.
    Other,
}

/// A version as libvirt counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// Makes a version of its three numbers.
    pub const fn new(major: u32, minor: u32, release: u32) -> Self {
        Self(major * 1_000_000 + minor * 1_000 + release)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(number) = self;
        write!(
            f,
            "{}.{}.{}",
            number / 1_000_000,
            number / 1_000 % 1_000,
            number % 1_000
        )
    }
}

impl Host {
    /// Refuses what no daemon needs to be asked about.
    ///
    /// # Errors
    /// [`Cause::BadUri`].
    pub fn check_uri(uri: &str) -> Result<(), LibvirtError> {
        if let Some(bad) = uri.chars().find(|c| c.is_control()) {
            let message = format!("the URI holds the character {bad:?}");
            return Err(LibvirtError::ours("connect", Cause::BadUri, message));
        }
        // libvirt asks its daemon about a driver it does not know, and would miss the daemon instead.
        if let Some(driver) = unknown_driver(uri) {
            let message = format!("{uri}: {driver:?} is no driver that kvmctl works with");
            return Err(LibvirtError::ours("connect", Cause::BadUri, message));
        }
        Ok(())
    }

    /// Opens a connection for reading and writing; never asks for anything.
    ///
    /// # Errors
    /// [`Cause::BadUri`], [`Cause::Unreachable`] or [`Cause::Denied`].
    pub fn open(uri: &str) -> Result<Self, LibvirtError> {
        // libvirt prints every error to stderr until it is told not to.
        virt::error::clear_error_callback();
        Self::check_uri(uri)?;
        events::run_loop()?;
        tracing::info!(target: "libvirt", "virConnectOpen {uri}");
        let conn = Connect::open(Some(uri)).map_err(|e| LibvirtError::at_open(uri, &e))?;
        // The test driver and local daemons of old know no keepalive; that is no failure.
        let _ = conn.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_MISSES);
        let driver = match conn.driver_type() {
            Ok(name) if name.eq_ignore_ascii_case("qemu") => Driver::Qemu,
            Ok(name) if name.eq_ignore_ascii_case("test") => Driver::Test,
            Ok(_) => Driver::Other,
            Err(e) => return Err(LibvirtError::at_open(uri, &e)),
        };
        let uri = conn.uri().unwrap_or_else(|_| uri.to_owned());
        Ok(Self {
            conn,
            uri,
            driver,
            capabilities: OnceLock::new(),
            domain_capabilities: OnceLock::new(),
            hub: OnceLock::new(),
        })
    }

    /// Returns the URI, as libvirt completed it.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns what runs the machines.
    pub const fn driver(&self) -> Driver {
        self.driver
    }

    /// Returns whether paths that libvirt names are paths of this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.uri)
    }

    /// Returns whether the daemon is a user's own, without rights.
    pub fn is_session(&self) -> bool {
        let path = self.uri.split(['?', '#']).next().unwrap_or_default();
        path.ends_with("/session")
    }

    /// Returns whether the driver runs in our own process, and not in a daemon.
    pub(super) fn is_in_process(&self) -> bool {
        self.uri.starts_with("test://") && self.is_local()
    }

    /// Returns whether the connection still works.
    pub fn is_alive(&self) -> bool {
        self.conn.is_alive().unwrap_or(false)
    }

    /// Returns the name of the host.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn hostname(&self) -> Result<String, LibvirtError> {
        self.ask("virConnectGetHostname", Connect::hostname)
    }

    /// Returns the version of the daemon's libvirt.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn lib_version(&self) -> Result<Version, LibvirtError> {
        self.ask("virConnectGetLibVersion", Connect::lib_version)
            .map(Version)
    }

    /// Returns the version of QEMU.
    ///
    /// # Errors
    /// When the connection is broken or there is no QEMU.
    pub fn hypervisor_version(&self) -> Result<Version, LibvirtError> {
        self.ask("virConnectGetVersion", Connect::hyp_version)
            .map(Version)
    }

    /// Returns what the host can do; asked once per connection.
    ///
    /// # Errors
    /// When the connection is broken or the answer is no capabilities document.
    pub fn capabilities(&self) -> Result<&HostCaps, LibvirtError> {
        if let Some(known) = self.capabilities.get() {
            return Ok(known);
        }
        let xml = self.ask("virConnectGetCapabilities", Connect::capabilities)?;
        let read = HostCaps::from_xml(&xml)?;
        Ok(self.capabilities.get_or_init(|| read))
    }

    /// Returns what its best domains can have: of KVM where that is offered, else of QEMU.
    ///
    /// # Errors
    /// When the connection is broken or the answer is no capabilities document.
    pub fn domain_capabilities(&self) -> Result<&DomainCaps, LibvirtError> {
        if let Some(known) = self.domain_capabilities.get() {
            return Ok(known);
        }
        let xml = self.ask("virConnectGetDomainCapabilities", |conn| {
            conn.domain_capabilities(None, None, None, None, 0)
        })?;
        let read = DomainCaps::from_xml(&xml)?;
        Ok(self.domain_capabilities.get_or_init(|| read))
    }

    /// Returns the identity of the host, where it has one (the test driver has none).
    ///
    /// # Errors
    /// As for [`Self::capabilities`].
    pub fn host_uuid(&self) -> Result<Option<Uid>, LibvirtError> {
        Ok(self.capabilities()?.uuid)
    }

    fn ask<T>(
        &self,
        api: &'static str,
        f: impl FnOnce(&Connect) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        call(api, "ask libvirt about", "the host", || f(&self.conn))
    }
}

/// Makes one call: shows it with `-v` and says in its error what was being done with what.
pub(super) fn call<T>(
    api: &'static str,
    doing: &str,
    subject: &str,
    f: impl FnOnce() -> Result<T, virt::error::Error>,
) -> Result<T, LibvirtError> {
    tracing::info!(target: "libvirt", "{api} {subject}");
    f().map_err(|e| LibvirtError::new(format!("{doing} {subject}"), &e))
}

/// Refuses what cannot be handed to a C library; some wrappers would panic on it.
pub(super) fn plain<'a>(doing: &str, text: &'a str) -> Result<&'a str, LibvirtError> {
    if text.contains('\0') {
        let message = "a text holds a NUL character";
        return Err(LibvirtError::ours(doing, Cause::Other, message));
    }
    Ok(text)
}

/// Returns whether a URI leads to a daemon of this machine.
pub fn is_local(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return true;
    };
    let transport = scheme.split_once('+').map(|(_, transport)| transport);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    matches!(transport, None | Some("unix")) && host.is_empty()
}

/// Returns the driver of `driver[+transport]://…` when it is neither `qemu` nor `test`.
///
/// A text without a scheme may be an alias of the caller's `libvirt.conf`.
fn unknown_driver(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once("://")?;
    let driver = scheme.split('+').next().unwrap_or(scheme);
    (!matches!(driver, "qemu" | "test")).then_some(driver)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Opens a test driver of one's own: all `test:///default` of a process are one.
    pub(in crate::libvirt) fn own_test_host() -> Host {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let node = "<node><domain type='test'><name>test</name><memory>8192</memory>\
                    <os><type>hvm</type></os></domain></node>";
        file.write_all(node.as_bytes()).unwrap();
        Host::open(&format!("test://{}", file.path().display())).unwrap()
    }

    #[test]
    fn local_uris_are_told_from_remote_ones() {
        for local in [
            "qemu:///system",
            "qemu:///session",
            "test:///default",
            "qemu+unix:///system?socket=/run/x",
        ] {
            assert!(is_local(local), "{local}");
        }
        for remote in [
            "qemu+ssh://root@host/system",
            "qemu+tcp://10.0.0.1/system",
            "qemu://host/system",
            "qemu+ssh:///system",
        ] {
            assert!(!is_local(remote), "{remote}");
        }
    }

    #[test]
    fn the_test_driver_opens() {
        let host = Host::open("test:///default").unwrap();
        assert_eq!(host.driver(), Driver::Test);
        assert!(host.is_local() && !host.is_session() && host.is_alive());
        assert!(!host.hostname().unwrap().is_empty());
        assert!(host.lib_version().unwrap() >= Version::new(8, 0, 0));
        assert_eq!(host.capabilities().unwrap().arch, "i686");
    }

    #[test]
    fn hostile_and_unknown_uris_are_refused() {
        for bad in ["qemu:///system\0", "qemu:///sys\ntem", "nosuch:///system"] {
            assert_eq!(
                Host::open(bad).unwrap_err().cause(),
                Cause::BadUri,
                "{bad:?}"
            );
        }
        let gone = Host::open("qemu+unix:///system?socket=/nonexistent/sock").unwrap_err();
        assert_eq!(gone.cause(), Cause::Unreachable, "{gone}");
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(Version::new(11, 3, 0).to_string(), "11.3.0");
    }
}
