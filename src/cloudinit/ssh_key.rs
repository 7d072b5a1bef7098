//! SSH host keys, made here and put into the guest, so that they are known before it boots.
//!
//! `ssh-keygen` costs a process of 9 ms for each instance; the ed25519 of `ring`, which TLS needs
//! anyway, costs microseconds, and the file format is a page (PROTOCOL.key of OpenSSH).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::error::CloudInitError;

/// An ed25519 key pair in OpenSSH's formats.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    /// The private key file: PEM, as OpenSSH writes it, without a passphrase.
    pub private: String,
    /// The public key: `ssh-ed25519 AAAA…`, without comment and newline.
    pub public: String,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.public)
    }
}

impl HostKey {
    /// Makes a new key pair; fit for hosts and for clients alike.
    ///
    /// # Errors
    /// [`CloudInitError::Random`] when the system gives no random numbers.
    pub fn generate() -> Result<Self, CloudInitError> {
        let random = SystemRandom::new();
        let mut seed = [0; 32];
        let mut check = [0; 4];
        let filled = random.fill(&mut seed).and(random.fill(&mut check));
        filled.map_err(|_| CloudInitError::Random)?;
        Self::from_seed(&seed, check)
    }

    fn from_seed(seed: &[u8; 32], check: [u8; 4]) -> Result<Self, CloudInitError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CloudInitError::Random)?;
        let public = pair.public_key().as_ref();
        let blob = [string(b"ssh-ed25519"), string(public)].concat();
        Ok(Self {
            private: pem(&private_file(seed, public, &blob, check)),
            public: format!("ssh-ed25519 {}", STANDARD.encode(&blob)),
        })
    }
}

/// A length and the bytes, as SSH writes strings.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

fn private_file(seed: &[u8; 32], public: &[u8], blob: &[u8], check: [u8; 4]) -> Vec<u8> {
    let mut secret = [
        check.to_vec(),
        check.to_vec(),
        blob.to_vec(),
        string(&[seed.as_slice(), public].concat()),
        string(b""),
    ]
    .concat();
    // Padded to the cipher's block: 8 bytes where there is no cipher.
    for pad in 1u8.. {
        if secret.len().is_multiple_of(8) {
            break;
        }
        secret.push(pad);
    }
    [
        b"openssh-key-v1\0".to_vec(),
        string(b"none"),
        string(b"none"),
        string(b""),
        1u32.to_be_bytes().to_vec(),
        string(blob),
        string(&secret),
    ]
    .concat()
}

fn pem(bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (at, c) in body.chars().enumerate() {
        if at > 0 && at % 70 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_types, reason = "OpenSSH's own reader is the judge")]
    fn openssh_reads_the_private_key_and_derives_the_same_public_key() {
        let key = HostKey::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, &key.private).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let out = std::process::Command::new("ssh-keygen")
            .args(["-y", "-f"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), key.public);
    }

    #[test]
    fn two_keys_differ_and_debug_output_has_only_the_public_half() {
        let (a, b) = (HostKey::generate().unwrap(), HostKey::generate().unwrap());
        assert_ne!(a.public, b.public);
        assert!(!format!("{a:?}").contains("PRIVATE"));
    }
}
