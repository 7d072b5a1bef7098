//! What an archive comes to: a tree in which every name is inside it, checked before anything of it
//! is made.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::TarError;
use super::{Member, MemberKind, Reader};

/// The most members that are taken: each costs memory.
const MAX_NODES: usize = 4_000_000;
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 3500;
/// Room that every node takes besides its content, at most a block and an inode.
const PER_NODE: u64 = 512;

/// A tree of files; the root is `b""`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What there is; the root is the first. Some may have lost all their names.
    pub nodes: Vec<Node>,
    /// The names, parents before what is in them.
    pub names: BTreeMap<Vec<u8>, usize>,
    /// How many members had an ACL in words, which is not kept.
    pub acls: usize,
}

/// A file, directory, link or pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
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
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A file of so many bytes; its content lies under the node's number.
    File(u64),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// How to unpack.
pub struct Unpacking<'u> {
    /// Where each file's content is put, named by the number of its node; nowhere to check only.
    pub into: Option<&'u Path>,
    /// Bytes for which there is room.
    pub limit: u64,
    /// Ends it early.
    pub stop: &'u AtomicBool,
    /// Hears how many bytes of content were read.
    pub progress: &'u mut dyn FnMut(u64),
}

impl Unpacking<'_> {
    /// Reads an archive and puts down its files.
    ///
    /// # Errors
    /// [`TarError`] for the first thing that is wrong with it.
    pub fn read(self, source: impl Read) -> Result<Tree, TarError> {
        let mut reader = Reader::new(source);
        let mut tree = Tree::new();
        let mut done = 0_u64;
        while let Some(member) = reader.next_member()? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TarError::Interrupted);
            }
            done = done.saturating_add(member.size).saturating_add(PER_NODE);
            if done > self.limit || tree.nodes.len() >= MAX_NODES {
                let limit = self.limit;
                return Err(TarError::TooLarge { limit });
            }
            let node = tree.add(member)?;
            if let (Some(into), Some(node)) = (self.into, node) {
                put_down(&mut reader, &into.join(content_name(node)), self.stop)?;
            }
            (self.progress)(done);
        }
        Ok(tree)
    }
}

/// Returns the name of the file that a node's content lies in.
pub(in crate::image) fn content_name(node: usize) -> String {
    format!("c{node}")
}

fn put_down(source: &mut dyn Read, path: &Path, stop: &AtomicBool) -> Result<(), TarError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file: File = opened.map_err(TarError::Write)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(TarError::Interrupted);
        }
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => file.write_all(&piece[..read]).map_err(TarError::Write)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(TarError::Cut),
            Err(e) => return Err(TarError::Read(e)),
        }
    }
}

impl Tree {
    fn new() -> Self {
        Self {
            nodes: vec![Node::directory()],
            names: BTreeMap::from([(Vec::new(), 0)]),
            acls: 0,
        }
    }

    /// Adds a member; returns its node where content belongs to it.
    fn add(&mut self, member: Member) -> Result<Option<usize>, TarError> {
        let path = inside(&member.path)?;
        self.acls += usize::from(member.acl);
        self.make_parents(&path)?;
        let refuse = |why: &str| Err(TarError::refused(&member.path, why));
        for name in member.xattrs.keys() {
            if let Some(why) = xattr_problem(name) {
                return refuse(why);
            }
        }
        let is_directory = |n: &usize| self.nodes[*n].kind == NodeKind::Directory;
        let before = self.names.get(&path).map(is_directory);
        let directory = member.kind == MemberKind::Directory;
        match before {
            Some(was) if was != directory => {
                return refuse("is in the archive twice, once as a directory");
            }
            _ => {}
        }
        let kind = match member.kind {
            MemberKind::Directory => NodeKind::Directory,
            MemberKind::File => NodeKind::File(member.size),
            MemberKind::Fifo => NodeKind::Fifo,
            MemberKind::Symlink(target) => {
                if let Some(why) = symlink_problem(&path, &target) {
                    return refuse(why);
                }
                NodeKind::Symlink(target)
            }
            MemberKind::Link(target) => {
                let target = inside(&target)?;
                return match self.names.get(&target).copied() {
                    Some(n) if self.nodes[n].kind != NodeKind::Directory => {
                        self.names.insert(path, n);
                        Ok(None)
                    }
                    _ => refuse("is a link to what is not in the archive before it"),
                };
            }
        };
        let content = matches!(kind, NodeKind::File(_));
        let node = Node {
            kind,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            nanos: member.nanos,
            xattrs: member.xattrs,
        };
        let number = match (directory, self.names.get(&path)) {
            (true, Some(known)) => {
                let known = *known;
                self.nodes[known] = node;
                known
            }
            _ => {
                self.nodes.push(node);
                self.names.insert(path, self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        Ok(content.then_some(number))
    }

    /// Nothing lies below what is no directory: a link there would lead elsewhere.
    fn make_parents(&mut self, path: &[u8]) -> Result<(), TarError> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        for (end, _) in ends {
            let parent = &path[..end];
            match self.names.get(parent) {
                None => {
                    self.nodes.push(Node::directory());
                    self.names.insert(parent.to_owned(), self.nodes.len() - 1);
                }
                Some(n) if self.nodes[*n].kind == NodeKind::Directory => {}
                Some(_) => {
                    let parent = String::from_utf8_lossy(parent);
                    let why = format!("lies below {parent:?}, which is a link or a file");
                    return Err(TarError::refused(path, why));
                }
            }
        }
        Ok(())
    }
}

impl Node {
    /// A directory that the archive leaves unsaid.
    const fn directory() -> Self {
        Self {
            kind: NodeKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            nanos: 0,
            xattrs: BTreeMap::new(),
        }
    }
}

/// Returns a name without what says nothing: `./a//b/` is `a/b`.
fn inside(path: &[u8]) -> Result<Vec<u8>, TarError> {
    let refuse = |why: &str| Err(TarError::refused(path, why));
    if path.starts_with(b"/") {
        return refuse("is an absolute path");
    }
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return refuse("has '..' in it");
    }
    if path.iter().any(u8::is_ascii_control) {
        return refuse("has a control character in its name");
    }
    let whole = parts.join(&b'/');
    if whole.len() > MAX_PATH || parts.iter().any(|p| p.len() > MAX_NAME) {
        return refuse("has a name that is too long");
    }
    Ok(whole)
}

/// An absolute target is what the guest makes of it; a relative one that climbs out of the volume
/// would lead to where the volume is mounted.
fn symlink_problem(path: &[u8], target: &[u8]) -> Option<&'static str> {
    if target.is_empty() || target.len() > MAX_PATH || target.iter().any(u8::is_ascii_control) {
        return Some("is a link whose target is empty, too long or has a control character");
    }
    if target.starts_with(b"/") {
        return None;
    }
    let mut depth = path.iter().filter(|b| **b == b'/').count();
    for part in target.split(|b| *b == b'/') {
        depth = match part {
            b".." if depth == 0 => return Some("is a link that leads out of the archive"),
            b".." => depth - 1,
            b"" | b"." => depth,
            _ => depth + 1,
        };
    }
    None
}

fn xattr_problem(name: &[u8]) -> Option<&'static str> {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'".contains(b);
    let known = [&b"user."[..], b"trusted.", b"security."];
    let acl = [&b"system.posix_acl_access"[..], b"system.posix_acl_default"];
    let sort = known.iter().any(|k| name.starts_with(k)) || acl.contains(&name);
    (!sort || name.len() > MAX_NAME || !name.iter().all(plain))
        .then_some("has an extended attribute that ext4 does not know")
}
