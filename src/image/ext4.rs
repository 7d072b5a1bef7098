//! Makes an ext4 file system of a tree, without root: `mke2fs` makes an empty one in a file, and
//! `debugfs` puts in what the tree has, with owners, modes and attributes that the caller could not
//! give to files of his own. `mke2fs -d` takes archives only since 1.47.1, and the owners of a
//! directory's files are those that its files have.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::host::{HostError, Output, Tool, find_in_sbin};

use super::tar::{Node, NodeKind, Tree};

const BLOCK: u64 = 4096;
const INODE: u64 = 256;
/// The smallest that has a journal and room.
const SMALLEST: u64 = 16 << 20;
/// debugfs reads its commands in lines of at most 8191 bytes.
const LONGEST_LINE: usize = 8000;
/// Commands that one run of debugfs is given: it repeats each on its stdout.
const BATCH: usize = 20_000;
const IMAGE: &str = "fs.img";
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Why there is no file system.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// A tool is missing or failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file could not be written.
    #[error("cannot write the file system")]
    Write(#[from] io::Error),
    /// A name is too long for debugfs.
    #[error("{path:?} has a name or target that is too long")]
    TooLong {
        /// The name.
        path: String,
    },
    /// debugfs complained.
    #[error("debugfs: {0}")]
    Refused(String),
    /// What was made is not sound.
    #[error("the file system that was made is not sound: {0}")]
    Unsound(String),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

impl From<Ext4Error> for Error {
    fn from(error: Ext4Error) -> Self {
        match error {
            Ext4Error::Host(host) => host.into(),
            Ext4Error::Write(source) => {
                Self::failed("cannot write the file system").caused_by(source)
            }
            Ext4Error::TooLong { .. } => Self::usage(error.to_string()),
            Ext4Error::Interrupted => Self::new(Kind::Interrupted, error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

/// The tools that make a file system.
#[derive(Debug, Clone)]
pub struct Ext4 {
    mke2fs: Tool,
    debugfs: Tool,
    e2fsck: Tool,
}

impl Ext4 {
    /// Finds the tools.
    ///
    /// # Errors
    /// [`HostError::Missing`].
    pub fn find() -> Result<Self, HostError> {
        let tool =
            |name: &str| find_in_sbin(&[name], "e2fsprogs").map(|tool| tool.timeout(PATIENCE));
        Ok(Self {
            mke2fs: tool("mke2fs")?,
            debugfs: tool("debugfs")?,
            e2fsck: tool("e2fsck")?,
        })
    }

    /// Makes the file system of `tree`, whose files' content lies in `dir`, in a file of `size` bytes
    /// there; returns the file.
    ///
    /// # Errors
    /// [`Ext4Error`]; what was made stays in `dir`, which is the caller's to remove.
    pub fn make(
        &self,
        dir: &Path,
        tree: &Tree,
        size: u64,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PathBuf, Ext4Error> {
        let image = dir.join(IMAGE);
        private(&image)?.set_len(size)?;
        let inodes = inodes(tree, size).to_string();
        let form = ["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-N"];
        let mut args: Vec<&str> = form.to_vec();
        args.extend([&inodes, "-E", "root_owner=0:0", "--", IMAGE]);
        run(&self.mke2fs, &args, dir, stop, &mut |_| {})?;
        let commands = commands(dir, tree)?;
        let total = commands.len() as u64;
        for (n, batch) in commands.chunks(BATCH).enumerate() {
            self.fill(dir, batch, stop)?;
            progress(((n + 1) * BATCH) as u64, total);
        }
        self.check(dir, stop)?;
        Ok(image)
    }

    fn fill(&self, dir: &Path, commands: &[Vec<u8>], stop: &AtomicBool) -> Result<(), Ext4Error> {
        let script = dir.join("script");
        let mut text = Vec::new();
        for command in commands {
            text.extend(command);
            text.push(b'\n');
        }
        std::fs::write(&script, text)?;
        let args = ["-w", "-f", "script", "--", IMAGE];
        let output = run(&self.debugfs, &args, dir, stop, &mut |_| {})?;
        // It ends well whatever became of its commands.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let complaint = said
            .lines()
            .find(|line| !line.trim().is_empty() && !is_banner(line));
        match complaint {
            Some(line) => Err(Ext4Error::Refused(line.trim().to_owned())),
            None => Ok(()),
        }
    }

    fn check(&self, dir: &Path, stop: &AtomicBool) -> Result<(), Ext4Error> {
        let mut said = Vec::new();
        let mut hear = |piece: &[u8]| said.extend_from_slice(piece);
        match run(&self.e2fsck, &["-fn", "--", IMAGE], dir, stop, &mut hear) {
            Err(Ext4Error::Host(HostError::Failed { .. })) => {}
            other => return other.map(drop),
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let line = said.lines().find(|line| line.contains("? no"));
        Err(Ext4Error::Unsound(
            line.unwrap_or("e2fsck refuses it").to_owned(),
        ))
    }
}

/// Runs a tool in the directory of what it works on; a signal ends it.
fn run(
    tool: &Tool,
    args: &[&str],
    dir: &Path,
    stop: &AtomicBool,
    hear: &mut dyn FnMut(&[u8]),
) -> Result<Output, Ext4Error> {
    let output = tool.run_watched(args, dir, stop, hear);
    match stop.load(Ordering::Relaxed) {
        true => Err(Ext4Error::Interrupted),
        false => Ok(output?),
    }
}

fn is_banner(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next() == Some("debugfs") && words.next().is_some_and(|w| w.starts_with("1."))
}

fn private(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Returns how many bytes a file system needs at least to hold a tree.
pub fn least_size(tree: &Tree) -> u64 {
    let content: u64 = tree.nodes.iter().map(blocks).sum();
    let names: u64 = tree.names.keys().map(|n| n.len() as u64 + 16).sum();
    let inode_blocks = (tree.nodes.len() as u64 + 64) * INODE / BLOCK;
    let needed = content + names / BLOCK + content / 256 + inode_blocks;
    // Bitmaps and tables of groups, room to grow the tables, and the journal.
    let overhead = needed / 64 + 1024 + journal(needed);
    ((needed + overhead) * BLOCK).max(SMALLEST)
}

/// Returns the size for a tree of which nothing is said: with some room, in whole MiB.
pub fn fitting_size(tree: &Tree) -> u64 {
    let least = least_size(tree);
    (least + least / 10).next_multiple_of(1 << 20)
}

/// As mke2fs chooses it, in blocks.
const fn journal(blocks: u64) -> u64 {
    match blocks {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        524_288..4_194_304 => 16_384,
        4_194_304..8_388_608 => 32_768,
        8_388_608..16_777_216 => 65_536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    }
}

/// Blocks beside the inode.
fn blocks(node: &Node) -> u64 {
    let own = match &node.kind {
        NodeKind::Directory => 1,
        NodeKind::File(size) => size.div_ceil(BLOCK),
        NodeKind::Symlink(target) => u64::from(target.len() >= 60),
        NodeKind::Fifo => 0,
    };
    own + u64::from(!node.xattrs.is_empty())
}

/// What the tree needs, and what mke2fs would give a file system of that size.
fn inodes(tree: &Tree, size: u64) -> u64 {
    let usual = size / 16_384;
    usual.max(tree.nodes.len() as u64 + 64)
}

/// Writes what debugfs is to do. Values of attributes are put down in files beside the content.
fn commands(dir: &Path, tree: &Tree) -> Result<Vec<Vec<u8>>, Ext4Error> {
    let mut lines = Vec::new();
    let mut first: Vec<Option<&[u8]>> = vec![None; tree.nodes.len()];
    let mut links = vec![0_u32; tree.nodes.len()];
    for (path, node) in &tree.names {
        links[*node] += 1;
        let made = match first[*node] {
            Some(other) => Some(line("ln", &[&absolute(other), &absolute(path)])),
            None => {
                first[*node] = Some(path);
                creation(path, *node, &tree.nodes[*node])
            }
        };
        match made {
            Some(made) if made.len() > LONGEST_LINE => {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(Ext4Error::TooLong { path });
            }
            made => lines.extend(made),
        }
    }
    // After what is in them: making a file changes its directory.
    for (number, node) in tree.nodes.iter().enumerate() {
        let Some(path) = first[number] else {
            continue;
        };
        let path = absolute(path);
        let mut set = |field: &str, value: &str| {
            lines.push(line("sif", &[&path, field.as_bytes(), value.as_bytes()]));
        };
        set("mode", &format!("0{:o}", node.mode | type_bits(&node.kind)));
        set("uid", &node.uid.to_string());
        set("gid", &node.gid.to_string());
        for field in ["atime", "ctime", "mtime"] {
            set(field, &format!("@{}", node.mtime));
        }
        if node.nanos > 0 {
            // The lowest two bits are the seconds' highest.
            let epoch = node.mtime.checked_add(1 << 31).map_or(0, |s| (s >> 32) & 3);
            let extra = (u64::from(node.nanos) << 2) | epoch.unsigned_abs();
            set("mtime_extra", &extra.to_string());
        }
        if links[number] > 1 {
            set("links_count", &links[number].to_string());
        }
        for (n, (name, value)) in node.xattrs.iter().enumerate() {
            let mut file = String::new();
            // Writing to a string does not fail.
            let _ = write!(file, "x{number}.{n}");
            private(&dir.join(&file))?.write_all(value)?;
            lines.push(line("ea_set", &[b"-f", file.as_bytes(), &path, name]));
        }
    }
    Ok(lines)
}

/// Returns how a node comes to be; what is there from the beginning need not.
fn creation(path: &[u8], number: usize, node: &Node) -> Option<Vec<u8>> {
    let at = absolute(path);
    let there = path.is_empty() || path == b"lost+found";
    Some(match &node.kind {
        NodeKind::Directory if there => return None,
        NodeKind::Directory => line("mkdir", &[&at]),
        NodeKind::File(_) => {
            let content = super::tar::content_name(number);
            line("write", &[content.as_bytes(), &at])
        }
        NodeKind::Symlink(target) => line("symlink", &[&at, target]),
        NodeKind::Fifo => {
            // `mknod` alone takes no path.
            let split = path.iter().rposition(|b| *b == b'/');
            let (dir, name) = split.map_or((&b""[..], path), |n| (&path[..n], &path[n + 1..]));
            let back = line("cd", &[b"/"]);
            [
                line("cd", &[&absolute(dir)]),
                line("mknod", &[name, b"p"]),
                back,
            ]
            .join(&b'\n')
        }
    })
}

const fn type_bits(kind: &NodeKind) -> u32 {
    match kind {
        NodeKind::Directory => 0o040_000,
        NodeKind::File(_) => 0o100_000,
        NodeKind::Symlink(_) => 0o120_000,
        NodeKind::Fifo => 0o010_000,
    }
}

fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

/// Every word is quoted; a quote in it is doubled.
fn line(command: &str, words: &[&[u8]]) -> Vec<u8> {
    let mut line = command.as_bytes().to_vec();
    for word in words {
        line.extend(b" \"");
        for byte in *word {
            line.push(*byte);
            if *byte == b'"' {
                line.push(b'"');
            }
        }
        line.push(b'"');
    }
    line
}

#[cfg(test)]
mod tests;
