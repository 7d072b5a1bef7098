//! The facts a seed is made of.

use std::fmt;

use sha2::{Digest, Sha256};

use super::env::{EnvEntry, check_env_total};
use super::error::CloudInitError;
use super::ssh_key::HostKey;
use crate::api::{FileSystem, MaskKey, Name, Uid};

/// A network interface of the guest; it gets its addresses by DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedNic {
    /// Hardware address, as `52:54:00:12:34:56`.
    pub mac: String,
}

/// A volume that is mounted at the first boot, and from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedMount {
    /// The volume.
    pub volume: Name,
    /// Serial that the guest sees.
    pub serial: String,
    /// Where it is mounted.
    pub path: String,
    /// What a blank one is given.
    pub fs: FileSystem,
    /// Whether it is only read.
    pub read_only: bool,
}

/// What a seed is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct SeedInput {
    /// Identity of the instance; cloud-init's instance-id is made of it, so that a new name is not
    /// a new instance.
    pub uid: Uid,
    /// Host name of the guest.
    pub hostname: Name,
    /// Public SSH keys for the image's default user.
    pub ssh_keys: Vec<String>,
    /// Network interfaces, the primary one first.
    pub nics: Vec<SeedNic>,
    /// Environment of login shells, services and startup commands.
    pub env: Vec<EnvEntry>,
    /// Volumes to mount, before `run`.
    pub mounts: Vec<SeedMount>,
    /// Shell lines for the first boot.
    pub run: Vec<String>,
    /// A command for the first boot, after `run`, as an argv.
    pub command: Vec<String>,
    /// The user's own user-data of any type, as it was written.
    pub user_data: Option<Vec<u8>>,
    /// SSH host key that the guest is to have.
    pub host_key: Option<HostKey>,
    /// Key of what stands in public for the secrets; kept here for the day when the store is lost.
    pub mask_key: Option<MaskKey>,
}

impl fmt::Debug for SeedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedInput")
            .field("uid", &self.uid)
            .field("hostname", &self.hostname)
            .field("env", &self.env)
            .finish_non_exhaustive()
    }
}

impl SeedInput {
    /// Returns the facts of an instance that is given nothing.
    pub fn new(uid: Uid, hostname: Name) -> Self {
        Self {
            uid,
            hostname,
            ssh_keys: Vec::new(),
            nics: Vec::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            run: Vec::new(),
            command: Vec::new(),
            user_data: None,
            host_key: None,
            mask_key: None,
        }
    }

    /// Checks that everything can be carried into the guest unchanged.
    ///
    /// # Errors
    /// [`CloudInitError`], which says what cannot and why.
    pub fn check(&self) -> Result<(), CloudInitError> {
        check_env_total(&self.env)?;
        for (index, key) in self.ssh_keys.iter().enumerate() {
            check_ssh_key(key).map_err(|reason| CloudInitError::SshKey {
                number: index + 1,
                reason,
            })?;
        }
        let lines = self.run.iter().enumerate();
        let lines = lines.map(|(i, line)| (format!("run[{i}]"), line));
        let words = self.command.iter().enumerate();
        let words = words.map(|(i, word)| (format!("command[{i}]"), word));
        match lines.chain(words).find(|(_, text)| text.contains('\0')) {
            Some((what, _)) => Err(CloudInitError::Nul { what }),
            None => Ok(()),
        }
    }

    /// Returns the sha256 of everything that goes into the guest, in hex. Two media are the same when this is
    /// (the ISO tools write the time of day into theirs).
    pub fn input_hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |tag: &str, bytes: &[u8]| {
            hash.update((tag.len() as u64).to_be_bytes());
            hash.update(tag);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add("format", super::seed::FORMAT.as_bytes());
        add("uid", self.uid.as_bytes());
        add("hostname", self.hostname.as_str().as_bytes());
        for key in &self.ssh_keys {
            add("key", key.as_bytes());
        }
        for nic in &self.nics {
            add("mac", nic.mac.as_bytes());
        }
        for entry in &self.env {
            add(
                if entry.secret { "secret" } else { "env" },
                entry.name.as_str().as_bytes(),
            );
            add("value", entry.value.as_bytes());
        }
        for mount in &self.mounts {
            add("mount", mount.serial.as_bytes());
            add("path", mount.path.as_bytes());
            add("fs", mount.fs.as_str().as_bytes());
            add("read-only", &[u8::from(mount.read_only)]);
        }
        for line in &self.run {
            add("run", line.as_bytes());
        }
        for word in &self.command {
            add("command", word.as_bytes());
        }
        if let Some(data) = &self.user_data {
            add("user-data", data);
        }
        if let Some(key) = &self.host_key {
            add("host-key", key.public.as_bytes());
        }
        super::seed::hex(&hash.finalize())
    }
}

/// Checks that a text is one line of an `authorized_keys` file, without options.
fn check_ssh_key(key: &str) -> Result<(), &'static str> {
    const TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let key = key.trim_end_matches(['\n', '\r']);
    if key.chars().any(char::is_control) {
        return Err("it has more than one line, or control characters");
    }
    if key.contains("PRIVATE KEY") {
        return Err("it is a private key");
    }
    let mut words = key.split_ascii_whitespace();
    if !words
        .next()
        .is_some_and(|w| TYPES.iter().any(|t| w.starts_with(t)))
    {
        return Err("it does not start with a key type such as ssh-ed25519");
    }
    let base64 = |w: &str| {
        w.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    };
    match words.next() {
        Some(body) if body.len() >= 32 && base64(body) => Ok(()),
        _ => Err("its second word is not a key in base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EnvName;

    fn input() -> SeedInput {
        SeedInput::new(Uid::from_bytes([7; 16]), Name::new("web").unwrap())
    }

    #[test]
    fn every_fact_changes_the_hash() {
        let hashes: std::collections::BTreeSet<String> = [
            input(),
            SeedInput {
                uid: Uid::from_bytes([8; 16]),
                ..input()
            },
            SeedInput {
                hostname: Name::new("db").unwrap(),
                ..input()
            },
            SeedInput {
                ssh_keys: vec!["a".into()],
                ..input()
            },
            SeedInput {
                nics: vec![SeedNic { mac: "a".into() }],
                ..input()
            },
            SeedInput {
                run: vec!["a".into()],
                ..input()
            },
            SeedInput {
                run: vec!["a".into(), String::new()],
                ..input()
            },
            SeedInput {
                command: vec!["a".into()],
                ..input()
            },
            SeedInput {
                user_data: Some(b"a".to_vec()),
                ..input()
            },
            SeedInput {
                host_key: Some(HostKey::generate().unwrap()),
                ..input()
            },
        ]
        .iter()
        .map(SeedInput::input_hash)
        .collect();
        assert_eq!(hashes.len(), 10);
        assert_eq!(input().input_hash(), input().input_hash());
    }

    #[test]
    fn making_a_variable_secret_changes_the_hash() {
        let with = |secret| {
            let name = EnvName::new("A").unwrap();
            let env = vec![EnvEntry {
                name,
                value: "b".into(),
                secret,
            }];
            SeedInput { env, ..input() }.input_hash()
        };
        assert_ne!(with(true), with(false));
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_the_reason() {
        let good = HostKey::generate().unwrap();
        let check = |key: &str| {
            SeedInput {
                ssh_keys: vec![key.into()],
                ..input()
            }
            .check()
        };
        assert!(check(&format!("{} me@home\n", good.public)).is_ok());
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 !",
            &good.private,
            "a\nb",
            "ssh-rsa AAAA\u{1b}",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_nul_in_a_command_is_refused() {
        let error = SeedInput {
            command: vec!["a".into(), "b\0".into()],
            ..input()
        }
        .check();
        assert_eq!(
            error.unwrap_err().to_string(),
            "command[1] contains a NUL character"
        );
    }
}
