//! Tar archives, read member by member.
//!
//! By hand, because what there is splits extended headers at line ends: a capability or an ACL with a
//! byte 10 in it, and every owner named after it, would be lost without a word. Formats: ustar, GNU's
//! long names, POSIX.1-2001 ("pax") headers with what star, GNU tar and Docker put into them.

mod error;
mod header;
mod pax;
mod tree;

use std::collections::BTreeMap;
use std::io::{self, Read};

pub use error::TarError;
use header::{BLOCK, Header};
use pax::Pax;
pub(in crate::image) use tree::content_name;
pub use tree::{Node, NodeKind, Tree, Unpacking};

/// The most that a long name or an extended header may have, in bytes.
const MAX_HEADER: u64 = 4 << 20;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it is written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Its permission bits.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// When it was changed, in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds beyond that.
    pub nanos: u32,
    /// How many bytes follow.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether it has an ACL in words, which is not read.
    pub acl: bool,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this text.
    Symlink(Vec<u8>),
    /// Another name of the member of this name.
    Link(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// Reads an archive.
pub struct Reader<R> {
    source: R,
    /// Of the member: bytes not read yet, and the padding behind them.
    left: u64,
    padding: u64,
    global: Pax,
    begun: bool,
}

impl<R: Read> Reader<R> {
    /// Begins with an archive.
    pub fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            global: Pax::default(),
            begun: false,
        }
    }

    /// Returns the next member, passing over what was not read of the one before.
    ///
    /// # Errors
    /// [`TarError`] for what is no archive, is cut off, or holds what cannot be kept as it is.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let rest = self.left + self.padding;
        self.skip(rest)?;
        (self.left, self.padding) = (0, 0);
        let (mut local, mut name, mut link) = (Pax::default(), None, None);
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.kind() {
                b'x' => local.read(&self.body(header.size()?)?)?,
                b'g' => {
                    let text = self.body(header.size()?)?;
                    self.global.read(&text)?;
                }
                b'L' => name = Some(until_nul(self.body(header.size()?)?)),
                b'K' => link = Some(until_nul(self.body(header.size()?)?)),
                // The name of the whole archive.
                b'V' => self.skip(padded(header.size()?))?,
                _ => {
                    let pax = self.global.with(local);
                    return self.member(&header, pax, name, link).map(Some);
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::new(block, self.begun)?;
        self.begun = true;
        Ok(Some(header))
    }

    fn member(
        &mut self,
        header: &Header,
        pax: Pax,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> Result<Member, TarError> {
        let path = pax.path.or(name).unwrap_or_else(|| header.path());
        let refuse = |why: &str| TarError::refused(&path, why);
        if pax.sparse || header.kind() == b'S' {
            return Err(refuse(
                "is kept as a sparse file: make the archive without --sparse",
            ));
        }
        let target = pax.link.or(link).unwrap_or_else(|| header.link());
        let kind = match header.kind() {
            // Before POSIX a directory was told by its name.
            b'0' | 0 | b'7' if path.ends_with(b"/") => MemberKind::Directory,
            b'0' | 0 | b'7' => MemberKind::File,
            b'1' => MemberKind::Link(target),
            b'2' => MemberKind::Symlink(target),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'3' | b'4' => return Err(refuse("is a device")),
            other => {
                let kind = char::from(other).escape_default();
                return Err(refuse(&format!("is of the unknown type '{kind}'")));
            }
        };
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        if size > 0 && kind != MemberKind::File {
            return Err(refuse("has content, and is no file"));
        }
        (self.left, self.padding) = (size, padded(size) - size);
        Ok(Member {
            kind,
            mode: header.mode()? & 0o7777,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            nanos: pax.mtime.map_or(0, |(_, nanos)| nanos),
            mtime: pax
                .mtime
                .map_or_else(|| header.mtime(), |(whole, _)| Ok(whole))?,
            size,
            xattrs: pax.xattrs,
            acl: pax.acl,
            path,
        })
    }

    fn body(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_HEADER {
            return Err(TarError::Broken("a header of more than 4 MiB".to_owned()));
        }
        // It fits: it is at most MAX_HEADER.
        let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut body)?;
        self.skip(padded(size) - size)?;
        Ok(body)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TarError> {
        self.source.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Cut,
            _ => TarError::Read(e),
        })
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        let mut rest = (&mut self.source).take(bytes);
        let skipped = io::copy(&mut rest, &mut io::sink()).map_err(TarError::Read)?;
        if skipped < bytes {
            return Err(TarError::Cut);
        }
        Ok(())
    }
}

/// The content of the member that came last.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        if most == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut into[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

const fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|b| *b == 0).unwrap_or(text.len()));
    text
}

#[cfg(test)]
mod tests;
