//! Texts: control characters, masks, SSH keys.

use sha2::{Digest, Sha256};

use crate::api::{InstanceSpec, is_keyed_mask};

const MASK: &str = "***sha256:";

/// Returns what is printed for a text that is not: user-data. Public metadata once had it too, where
/// now a hash with a key stands ([`crate::api::MaskKey`]).
pub fn mask(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(MASK.to_owned(), |mut masked, byte| {
        for digit in [byte >> 4, byte & 15] {
            masked.extend(char::from_digit(u32::from(digit), 16));
        }
        masked
    })
}

/// Returns whether a text is a mask: `***sha256:` and 64 hex digits, or one with a key.
pub fn is_masked(text: &str) -> bool {
    let plain = text.strip_prefix(MASK);
    plain.is_some_and(|digest| digest.len() == 64 && is_hex(digest)) || is_keyed_mask(text)
}

/// Returns the spec as it is printed: user-data is masked, the rest stands as it was written.
pub fn printable(mut spec: InstanceSpec) -> InstanceSpec {
    if let Some(text) = spec.user_data.as_mut().filter(|t| !is_masked(t)) {
        *text = mask(text);
    }
    spec
}

/// Returns whether a text has only hex digits.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the first control character that is neither tab nor newline, as a person names it.
pub(super) fn control_character(text: &str) -> Option<String> {
    text.chars()
        .find(|c| c.is_control() && !matches!(c, '\t' | '\n'))
        .map(|c| format!("U+{:04X}", u32::from(c)))
}

/// Returns what is wrong with a public key of OpenSSH (`ssh-ed25519 AAAA… comment`).
pub(super) fn ssh_key_problem(key: &str) -> Option<&'static str> {
    const KINDS: [&str; 7] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    let key = key.trim();
    if key.contains("PRIVATE KEY") {
        return Some("this is a private key: give the .pub file, and make a new pair");
    }
    if key.chars().any(char::is_control) {
        return Some("one key is one line; give several as several entries");
    }
    let mut words = key.split_whitespace();
    let kind = words.next().unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Some("not a public key of OpenSSH, as ssh-ed25519 AAAA… name@host");
    }
    let blob = words.next().and_then(from_base64).unwrap_or_default();
    // RFC 4253, 6.6: the blob begins with the length and the name of the key's kind.
    let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
    let names_itself = blob
        .strip_prefix(&length)
        .is_some_and(|rest| rest.len() > kind.len() && rest.starts_with(kind.as_bytes()));
    (!names_itself).then_some("the key after its kind is damaged or cut off")
}

/// Decodes base64 with its padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0u32, 0);
    for digit in body.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a@b";

    #[test]
    fn a_mask_is_recognised_and_hides() {
        let masked = mask("hunter2");
        assert!(is_masked(&masked));
        assert!(!masked.contains("hunter2"));
        assert_eq!(
            mask(""),
            "***sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for no in ["", "***", "***sha256:", "***sha256:zz", &masked[1..]] {
            assert!(!is_masked(no), "{no}");
        }
    }

    #[test]
    fn public_keys_are_told_from_everything_else() {
        assert_eq!(ssh_key_problem(KEY), None);
        assert_eq!(ssh_key_problem(&format!(" {KEY}\n")), None);
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 !!!!",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "restrict ssh-ed25519 AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &format!("{KEY}\n{KEY}"),
        ] {
            assert!(ssh_key_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn base64_decodes_and_refuses() {
        assert_eq!(from_base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(from_base64("aGVsbG8"), None);
        assert_eq!(from_base64("a==="), None);
    }
}
