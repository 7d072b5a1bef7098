//! The block before each member.

use super::error::TarError;

/// Everything in an archive begins at a multiple of this.
pub(super) const BLOCK: usize = 512;

/// A block that is a header: its sum is right.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// Takes a block; the first one of a file may show what the file is instead.
    pub(super) fn new(block: [u8; BLOCK], begun: bool) -> Result<Self, TarError> {
        let header = Self(block);
        // The sum counts its own field as blanks.
        let sum: u64 = (0..BLOCK)
            .map(|n| {
                if (148..156).contains(&n) {
                    b' '
                } else {
                    block[n]
                }
            })
            .map(u64::from)
            .sum();
        if header.number(148..156).is_ok_and(|told| told == sum) {
            return Ok(header);
        }
        if begun {
            return Err(TarError::Broken("the sum of a header is wrong".to_owned()));
        }
        let packed: [(&[u8], &str); 4] = [
            (b"\x1f\x8b", "gzip"),
            (b"\xfd7zXZ", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh", "bzip2"),
        ];
        let found = packed.iter().find(|(magic, _)| block.starts_with(magic));
        Err(match found {
            Some((_, tool)) => TarError::Packed { tool },
            None => TarError::NotTar,
        })
    }

    pub(super) const fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        // GNU's own format keeps other things there.
        let posix = &self.0[257..263] == b"ustar\0";
        match posix && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_owned(),
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_owned()
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.number(124..136)
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        narrow(self.number(100..108)?)
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        narrow(self.number(108..116)?)
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        narrow(self.number(116..124)?)
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        // GNU keeps what lies before 1970 as a negative number; ext4 and we begin there.
        let before = self.0[136] == 0xff;
        if before {
            return Ok(0);
        }
        Ok(i64::try_from(self.number(136..148)?).unwrap_or(0))
    }

    /// Octal digits, or with the first bit set GNU's binary number.
    fn number(&self, at: std::ops::Range<usize>) -> Result<u64, TarError> {
        let field = &self.0[at];
        let broken = || TarError::Broken("a number in a header is none".to_owned());
        if field[0] & 0x80 != 0 {
            let first = u64::from(field[0] & 0x7f);
            return field[1..].iter().try_fold(first, |sum, byte| {
                let higher = sum.checked_mul(256).ok_or_else(broken)?;
                Ok(higher | u64::from(*byte))
            });
        }
        let digits = text(field).trim_ascii();
        digits.iter().try_fold(0_u64, |sum, digit| match digit {
            b'0'..=b'7' => {
                let higher = sum.checked_mul(8).ok_or_else(broken)?;
                Ok(higher | u64::from(digit - b'0'))
            }
            _ => Err(broken()),
        })
    }
}

fn narrow(number: u64) -> Result<u32, TarError> {
    u32::try_from(number).map_err(|_| TarError::Broken(format!("{number} is no owner or mode")))
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}
