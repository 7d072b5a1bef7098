//! What stands in public for a text that is not: a keyed hash, by which a change is seen and which
//! nobody without the key can try words against.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::meta::Uid;

/// What such a hash begins with.
const MASK: &str = "***hmac:";
/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// The key of one object's hashes. It lies where the texts themselves do: in the store and in the
/// seed. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskKey([u8; 32]);

impl MaskKey {
    /// Makes a new key.
    pub fn random() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(Uid::random().as_bytes());
        key[16..].copy_from_slice(Uid::random().as_bytes());
        Self(key)
    }

    /// Returns what stands for a text of a field. The same text has another hash in another field.
    pub fn mask(&self, field: &str, text: &str) -> String {
        let digest = self.hmac(&[field.as_bytes(), &[0], text.as_bytes()]);
        format!("{MASK}{}", hex(&digest))
    }

    /// HMAC-SHA-256, RFC 2104, of the pieces in a row.
    fn hmac(&self, pieces: &[&[u8]]) -> [u8; 32] {
        let padded = |with: u8| {
            let mut block = [with; BLOCK];
            for (byte, key) in block.iter_mut().zip(self.0) {
                *byte ^= key;
            }
            block
        };
        let mut inner = Sha256::new_with_prefix(padded(0x36));
        pieces.iter().for_each(|piece| inner.update(piece));
        let outer = Sha256::new_with_prefix(padded(0x5c));
        outer.chain_update(inner.finalize()).finalize().into()
    }
}

/// Returns whether a text is what stands for another, by any object's key.
pub fn is_keyed_mask(text: &str) -> bool {
    text.strip_prefix(MASK)
        .is_some_and(|digest| bytes_of(digest).is_some())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(***)")
    }
}

impl Serialize for MaskKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for MaskKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = bytes_of(&text).map(Self);
        bytes.ok_or_else(|| serde::de::Error::custom("a key has 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, whose key is as good as one that is padded with zeros.
    #[test]
    fn it_is_the_hmac_that_others_compute() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = MaskKey(key).hmac(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            hex(&digest),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_mask_is_of_one_key_one_field_and_one_text() {
        let (one, other) = (MaskKey::random(), MaskKey::random());
        let mask = one.mask("run[0]", "hunter2");
        assert!(is_keyed_mask(&mask) && !mask.contains("hunter2"));
        assert_eq!(one.mask("run[0]", "hunter2"), mask);
        assert_ne!(other.mask("run[0]", "hunter2"), mask);
        assert_ne!(one.mask("run[1]", "hunter2"), mask);
        assert_ne!(one.mask("run[0]", "hunter3"), mask);
        for no in ["", "***", "***hmac:", "***hmac:zz", &mask[1..]] {
            assert!(!is_keyed_mask(no), "{no}");
        }
    }

    #[test]
    fn a_key_is_written_read_and_never_shown() {
        let key = MaskKey::random();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<MaskKey>(&text).unwrap(), key);
        assert!(!format!("{key:?}").contains(&text[1..9]));
        assert!(serde_json::from_str::<MaskKey>("\"00\"").is_err());
    }
}
