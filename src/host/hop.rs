//! The host that a remote host's guests are reached through, as its libvirt URI names it: ssh to a
//! guest and tunnels to its ports go the same way, by the same key.

use crate::shell::shell_words;

/// A host that guests are reached through; the caller's own settings of ssh hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its name or address.
    pub host: String,
    /// User to log in as.
    pub user: Option<String>,
    /// Port of its ssh daemon.
    pub port: Option<u16>,
    /// Private key.
    pub key_file: Option<String>,
    /// File with its public key.
    pub known_hosts: Option<String>,
    /// Whether its key is checked.
    pub verify: bool,
    /// The client, where it is not `ssh`.
    pub program: Option<String>,
}

impl Hop {
    /// Reads the way to a host from a URI that goes by ssh; `None` for every other one.
    ///
    /// Format: <https://libvirt.org/uri.html#ssh-transport>.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let transport = scheme.split_once('+')?.1;
        if !matches!(transport, "ssh" | "libssh" | "libssh2") {
            return None;
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = place.split('/').next().unwrap_or_default();
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(decoded(user)), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address);
        if host.is_empty() {
            return None;
        }
        let parameter = |name: &str| {
            let mut pairs = query.split(['&', ';']).filter_map(|p| p.split_once('='));
            pairs.find(|(n, _)| *n == name).map(|(_, v)| decoded(v))
        };
        let unverified = parameter("no_verify").is_some_and(|v| v != "0")
            || parameter("known_hosts_verify").is_some_and(|v| v == "ignore");
        Some(Self {
            host: host.to_owned(),
            user,
            port: port.and_then(|p| p.parse().ok()),
            key_file: parameter("keyfile"),
            known_hosts: parameter("known_hosts"),
            verify: !unverified,
            program: parameter("command"),
        })
    }

    /// Returns the client that leads there.
    pub(super) fn program(&self) -> &str {
        self.program.as_deref().unwrap_or("ssh")
    }

    /// Returns the options of every ssh that goes there.
    pub(super) fn options(&self) -> Vec<String> {
        let mut argv = Vec::new();
        let mut option = |flag: &str, value: String| argv.extend([flag.to_owned(), value]);
        if let Some(port) = self.port {
            option("-p", port.to_string());
        }
        if let Some(user) = &self.user {
            option("-l", user.clone());
        }
        if let Some(file) = &self.key_file {
            option("-i", file.clone());
        }
        if let Some(file) = &self.known_hosts {
            option("-o", format!("UserKnownHostsFile={file}"));
        }
        if !self.verify {
            option("-o", "StrictHostKeyChecking=no".to_owned());
        }
        option("-o", "LogLevel=ERROR".to_owned());
        argv
    }

    /// Builds the command that connects stdin and stdout with the target's port.
    pub(super) fn proxy_command(&self) -> String {
        // The command is expanded: only the last two percent signs are meant.
        let quoted = |argv: &[String]| shell_words(argv).replace('%', "%%");
        let mut before = vec![self.program().to_owned()];
        before.extend(self.options());
        let host = ["--".to_owned(), self.host.clone()];
        format!("{} -W '[%h]:%p' {}", quoted(&before), quoted(&host))
    }
}

/// An IPv6 address stands in brackets.
fn host_and_port(address: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    }
}

/// Decodes `%XX`; what is no such thing stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let code = match (first, more) {
            (b'%', [a, b, ..]) => std::str::from_utf8(&[*a, *b])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quoted_for_the_shell_and_for_ssh() {
        let hop = Hop {
            host: "h".to_owned(),
            user: Some("u%".to_owned()),
            port: Some(2222),
            key_file: Some("/a b".to_owned()),
            known_hosts: Some("/k".to_owned()),
            verify: true,
            program: None,
        };
        assert_eq!(
            hop.proxy_command(),
            "ssh -p 2222 -l u%% -i '/a b' -o UserKnownHostsFile=/k -o LogLevel=ERROR \
             -W '[%h]:%p' -- h"
        );
    }

    #[test]
    fn everything_of_the_uri_reaches_ssh() {
        let hop = Hop::of_uri(
            "qemu+ssh://a%40b@h.example:2222/system?keyfile=/k%20ey&known_hosts=/k&no_verify=1",
        )
        .unwrap();
        assert_eq!((hop.host.as_str(), hop.port), ("h.example", Some(2222)));
        assert_eq!(hop.user.as_deref(), Some("a@b"));
        assert_eq!(hop.key_file.as_deref(), Some("/k ey"));
        assert_eq!(hop.known_hosts.as_deref(), Some("/k"));
        assert!(!hop.verify);
        let six =
            Hop::of_uri("qemu+libssh://[fd00::1]:22/system?known_hosts_verify=normal").unwrap();
        assert_eq!((six.host.as_str(), six.port), ("fd00::1", Some(22)));
        assert!(six.verify && six.user.is_none());
    }

    #[test]
    fn only_ssh_is_a_way() {
        for uri in [
            "qemu:///system",
            "qemu+tcp://h/system",
            "qemu+ssh:///system",
            "test:///default",
        ] {
            assert_eq!(Hop::of_uri(uri), None, "{uri}");
        }
    }
}
