//! Checksums: what a publisher states and what a file has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A checksum algorithm that publishers of images use and that is not broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256: 64 hex digits.
    Sha256,
    /// SHA-512: 128 hex digits.
    Sha512,
}

impl Algorithm {
    const fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Returns the name as checksum files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {algorithm} sum: it must have {} hex digits", .algorithm.hex_digits())]
pub struct InvalidDigest {
    /// The text, shortened.
    pub value: String,
    /// What it should have been.
    pub algorithm: Algorithm,
}

/// The sum that a publisher states for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

impl Checksum {
    /// Parses `hex` as a sum of `algorithm`; upper case is accepted.
    ///
    /// # Errors
    /// An error unless it has exactly the algorithm's number of hex digits.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Self, InvalidDigest> {
        let right = hex.len() == algorithm.hex_digits()
            && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        if right {
            let hex = hex.to_ascii_lowercase();
            Ok(Self { algorithm, hex })
        } else {
            let value = hex.chars().take(140).collect();
            Err(InvalidDigest { value, algorithm })
        }
    }

    /// Returns the algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the lower-case hex digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str().to_lowercase(), self.hex)
    }
}

/// The SHA-256 of a file's content, by which images are stored once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex(&self.0))
    }
}

impl FromStr for Sha256 {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let sum = Checksum::new(Algorithm::Sha256, text)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(sum.hex.as_bytes().chunks_exact(2)) {
            *byte = (nibble(pair[0]) << 4) | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes a file as it streams by: always SHA-256, and SHA-512 beside it where a publisher states
/// that one.
#[derive(Debug, Clone)]
pub struct Hasher {
    sha256: sha2::Sha256,
    sha512: Option<sha2::Sha512>,
}

impl Hasher {
    /// Starts; `expected` decides whether SHA-512 is needed.
    pub fn new(expected: Option<&Checksum>) -> Self {
        let wide = expected.is_some_and(|sum| sum.algorithm == Algorithm::Sha512);
        Self {
            sha256: sha2::Sha256::new(),
            sha512: wide.then(sha2::Sha512::new),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(wide) = &mut self.sha512 {
            wide.update(bytes);
        }
    }

    /// Returns the SHA-256, and the sum of the stated algorithm.
    pub fn finish(self) -> (Sha256, Checksum) {
        let sha256 = Sha256(self.sha256.finalize().into());
        let stated = match self.sha512 {
            Some(wide) => Checksum {
                algorithm: Algorithm::Sha512,
                hex: hex(&wide.finalize()),
            },
            None => Checksum {
                algorithm: Algorithm::Sha256,
                hex: sha256.to_string(),
            },
        };
        (sha256, stated)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    let pairs = bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
    pairs.collect()
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase().wrapping_sub(b'a' - 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_sum_of_nothing_is_the_known_one() {
        let (sha256, stated) = Hasher::new(None).finish();
        assert_eq!(sha256.to_string(), EMPTY);
        assert_eq!(stated.to_string(), format!("sha256:{EMPTY}"));
    }

    #[test]
    fn a_stated_sha512_is_computed_beside_the_sha256() {
        let wanted = Checksum::new(Algorithm::Sha512, &"0".repeat(128)).unwrap();
        let (sha256, stated) = Hasher::new(Some(&wanted)).finish();
        assert_eq!(sha256.to_string(), EMPTY);
        assert!(stated.hex().starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    }

    #[test]
    fn text_becomes_a_digest_and_back() {
        let upper = EMPTY.to_uppercase();
        assert_eq!(upper.parse::<Sha256>().unwrap().to_string(), EMPTY);
        for bad in [
            "",
            "xyz",
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            &"ü".repeat(32),
        ] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }
}
