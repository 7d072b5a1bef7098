//! Where things lie: the XDG directories, and one store for each host and driver.
//!
//! Nothing else is written into a home directory. The local system daemon has one store whoever
//! calls, because root and the members of its group share its world.

use std::ffi::OsString;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::config::env;
use crate::error::{Error, Kind};

/// Store of the local system daemon.
pub const SYSTEM_STORE: &str = "/var/lib/kvmctl";

/// Where configuration, state and caches of the caller lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    config_file: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

/// Why no directory can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell the home directory of this user, nor is {variable} set")]
pub struct NoHome {
    /// The variable that would do.
    pub variable: &'static str,
}

impl From<NoHome> for Error {
    fn from(error: NoHome) -> Self {
        let variable = error.variable;
        Self::new(Kind::Failed, error.to_string())
            .hint(format!("export HOME or {variable} with an absolute path"))
    }
}

impl Paths {
    /// Finds the caller's directories.
    ///
    /// # Errors
    /// [`NoHome`] where neither the environment nor the user database tells.
    pub fn from_env() -> Result<Self, NoHome> {
        let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        // Root without a home and without an entry in the user database: a bare container.
        let root = || {
            rustix::process::geteuid()
                .is_root()
                .then(|| PathBuf::from("/root"))
        };
        Self::resolve(|name| std::env::var_os(name), home.or_else(root))
    }

    fn resolve(
        lookup: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, NoHome> {
        let path = |name: &str| {
            lookup(name)
                .map(PathBuf::from)
                .filter(|p| !p.as_os_str().is_empty())
        };
        // The XDG specification: a path that is not absolute is as if it were not set.
        let base = |variable: &'static str, below_home: &str| {
            path(variable)
                .filter(|p| p.is_absolute())
                .or_else(|| home.as_ref().map(|h| h.join(below_home)))
                .map(|p| p.join("kvmctl"))
                .ok_or(NoHome { variable })
        };
        let config_file = match path(env::CONFIG.name) {
            Some(file) => file,
            None => base("XDG_CONFIG_HOME", ".config")?.join("config.yaml"),
        };
        Ok(Self {
            config_file,
            state: base("XDG_STATE_HOME", ".local/state")?,
            cache: base("XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// Returns the file of contexts: `KVMCTL_CONFIG`, or `$XDG_CONFIG_HOME/kvmctl/config.yaml`.
    pub fn config_file(&self) -> &std::path::Path {
        &self.config_file
    }

    /// Returns the directory of downloads that are under way: `$XDG_CACHE_HOME/kvmctl`.
    pub fn cache_dir(&self) -> &std::path::Path {
        &self.cache
    }

    /// Returns the file that remembers which daemon is the caller's default.
    pub fn default_uri_file(&self) -> PathBuf {
        self.state.join("default-uri.yaml")
    }

    /// Returns the store that belongs to a libvirt URI.
    pub fn store_for(&self, uri: &str) -> PathBuf {
        if is_local_system(uri) {
            PathBuf::from(SYSTEM_STORE)
        } else {
            self.state.join(slug(uri))
        }
    }
}

/// The parts of a libvirt URI that say which daemon it means.
#[derive(Debug, PartialEq, Eq)]
struct UriParts<'a> {
    driver: &'a str,
    host: String,
    path: &'a str,
    /// Parameters that lead to another daemon, in order.
    params: Vec<&'a str>,
}

fn uri_parts(uri: &str) -> UriParts<'_> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = query.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // Who logs in and how the bytes travel does not change the world at the other end.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let mut params: Vec<&str> = query
        .split(['&', ';'])
        .filter(|p| p.starts_with("socket=") || p.starts_with("name="))
        .collect();
    params.sort_unstable();
    UriParts {
        driver: scheme.split('+').next().unwrap_or_default(),
        host: host.to_ascii_lowercase(),
        path,
        params,
    }
}

/// Returns whether a URI means the system daemon of this host.
pub fn is_local_system(uri: &str) -> bool {
    let parts = uri_parts(uri);
    parts.driver == "qemu"
        && parts.host.is_empty()
        && parts.path == "/system"
        && parts.params.is_empty()
}

/// Returns a directory name for the daemon that a URI means: readable, and unique by a hash.
pub fn slug(uri: &str) -> String {
    let parts = uri_parts(uri);
    let key = format!(
        "{}\n{}\n{}\n{}",
        parts.driver,
        parts.host,
        parts.path,
        parts.params.join("\n")
    );
    let digest = Sha256::digest(key.as_bytes());
    let hash: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let words = format!("{}-{}-{}", parts.driver, parts.host, parts.path);
    let mut readable = String::new();
    for c in words.chars().take(60) {
        if c.is_ascii_alphanumeric() {
            readable.push(c.to_ascii_lowercase());
        } else if !readable.is_empty() && !readable.ends_with('-') {
            readable.push('-');
        }
    }
    format!("{}-{hash}", readable.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolve(vars: &[(&str, &str)], home: Option<&str>) -> Result<Paths, NoHome> {
        let lookup = |name: &str| {
            let found = vars.iter().find(|(n, _)| *n == name)?;
            Some(OsString::from(found.1))
        };
        Paths::resolve(lookup, home.map(PathBuf::from))
    }

    #[test]
    fn the_xdg_variables_are_followed_where_they_are_absolute() {
        let plain = resolve(
            &[("XDG_CONFIG_HOME", "relative"), ("XDG_STATE_HOME", "")],
            Some("/h"),
        );
        let plain = plain.unwrap();
        assert_eq!(
            plain.config_file(),
            std::path::Path::new("/h/.config/kvmctl/config.yaml")
        );
        assert_eq!(plain.cache_dir(), std::path::Path::new("/h/.cache/kvmctl"));
        assert!(
            plain
                .store_for("qemu:///session")
                .starts_with("/h/.local/state/kvmctl")
        );
        let set = [
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_CACHE_HOME", "/k"),
        ];
        let set = resolve(&set, None).unwrap();
        assert_eq!(
            set.config_file(),
            std::path::Path::new("/c/kvmctl/config.yaml")
        );
        assert_eq!(
            set.default_uri_file(),
            PathBuf::from("/s/kvmctl/default-uri.yaml")
        );
        let error = resolve(&[("XDG_CONFIG_HOME", "/c")], None).unwrap_err();
        assert_eq!(error.variable, "XDG_STATE_HOME");
        let own = resolve(&[("KVMCTL_CONFIG", "here.yaml")], Some("/h")).unwrap();
        assert_eq!(own.config_file(), std::path::Path::new("here.yaml"));
    }

    #[test]
    fn the_local_system_daemon_has_one_store_whoever_calls() {
        let paths = resolve(&[], Some("/h")).unwrap();
        for uri in [
            "qemu:///system",
            "qemu+unix:///system",
            "qemu:///system?no_verify=1",
        ] {
            assert_eq!(paths.store_for(uri), PathBuf::from(SYSTEM_STORE), "{uri}");
        }
        for uri in [
            "qemu:///session",
            "qemu+ssh://h/system",
            "test:///default",
            "xen:///system",
            "alias",
            "qemu+unix:///system?socket=/tmp/s",
            "qemu:///system?socket=/x",
            "qemu:///embed",
        ] {
            assert!(
                paths.store_for(uri).starts_with("/h/.local/state/kvmctl/"),
                "{uri}"
            );
        }
    }

    #[test]
    fn one_store_for_each_daemon_however_it_is_reached() {
        assert_eq!(
            slug("qemu+ssh://ann@Host.example/system"),
            slug("qemu+tls://host.example/system?no_tty=1")
        );
        let different = [
            "qemu+ssh://a/system",
            "qemu+ssh://b/system",
            "qemu+ssh://a/session",
            "qemu+tcp://a:16510/system",
            "xen+ssh://a/system",
            "qemu:///session",
            "qemu+unix:///system?socket=/a",
            "qemu+unix:///system?socket=/b",
            "",
        ];
        let slugs: std::collections::BTreeSet<_> = different.iter().map(|u| slug(u)).collect();
        assert_eq!(slugs.len(), different.len());
        assert!(slug("qemu+ssh://kvm1.example/system").starts_with("qemu-kvm1-example-system-"));
    }

    proptest! {
        #[test]
        fn a_slug_is_one_plain_file_name(uri in "\\PC{0,100}") {
            let slug = slug(&uri);
            prop_assert!(slug.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{}", slug);
            prop_assert!(slug.len() < 80 && slug.len() >= 8);
        }
    }
}
