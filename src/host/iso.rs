//! Makes seed media: ISO 9660 with Joliet and Rock Ridge names.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::cloudinit::iso_read;

use super::command::Tool;
use super::error::HostError;
use super::workshop::Workshop;

/// A seed takes milliseconds; a tool that needs longer than this will not come to an end.
const LONGEST: Duration = Duration::from_secs(30);

/// The tool that makes the image, found once.
#[derive(Debug, Clone)]
pub struct IsoMaker {
    tool: Tool,
    xorriso: bool,
}

impl IsoMaker {
    /// Finds genisoimage, mkisofs or xorriso.
    ///
    /// # Errors
    /// [`HostError::Missing`], which names all three.
    pub fn find() -> Result<Self, HostError> {
        let tool = Tool::find(&["genisoimage", "mkisofs", "xorriso"], "genisoimage");
        tool.map(|tool| Self::with(tool.timeout(LONGEST)))
    }

    fn with(tool: Tool) -> Self {
        let xorriso = tool.path().file_name().is_some_and(|n| n == "xorriso");
        Self { tool, xorriso }
    }

    /// Writes an image with `files` at its top level to `out`, which must not exist: it is made
    /// readable by its owner only, and no link at that name is followed.
    ///
    /// The files lie for that moment in a directory of a random name that only the owner can
    /// enter; it is removed on every path, and so is a half-written `out`.
    ///
    /// # Errors
    /// [`HostError`]; `Spawn` for the file system's reasons.
    pub fn make(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        label: &str,
        out: &Path,
    ) -> Result<(), HostError> {
        create_private(out, &[]).map_err(|e| self.io(e))?;
        let made = self.fill(files, label, out);
        if made.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(out);
        }
        made
    }

    /// As [`IsoMaker::make`], but returns the image; no file stays behind.
    ///
    /// # Errors
    /// As [`IsoMaker::make`].
    pub fn bytes(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        label: &str,
    ) -> Result<Vec<u8>, HostError> {
        let dir = workshop().map_err(|e| self.io(e))?;
        let out = dir.path().join("seed.iso");
        self.make(files, label, &out)?;
        let image = std::fs::read(&out).map_err(|e| self.io(e))?;
        // A guest with an unreadable seed would boot unconfigured and never say why.
        match iso_read::read(&image) {
            Ok(medium) if medium.label == label && medium.files == *files => Ok(image),
            Ok(_) => Err(self.garbage("the image does not hold the files it was given".to_owned())),
            Err(e) => Err(self.garbage(format!("the image is not one: {e}"))),
        }
    }

    /// Returns the path of the tool, for `--explain-plan` and `doctor`.
    pub fn path(&self) -> &Path {
        self.tool.path()
    }

    fn fill(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        label: &str,
        out: &Path,
    ) -> Result<(), HostError> {
        let dir = workshop().map_err(|e| self.io(e))?;
        for (name, bytes) in files {
            create_private(&dir.path().join(name), bytes).map_err(|e| self.io(e))?;
        }
        let out = std::path::absolute(out).map_err(|e| self.io(e))?;
        let mut args: Vec<&std::ffi::OsStr> = Vec::new();
        if self.xorriso {
            args.extend(["-as", "mkisofs"].map(std::ffi::OsStr::new));
        }
        let options = [
            "-quiet",
            "-volid",
            label,
            "-joliet",
            "-rational-rock",
            "-output",
        ];
        args.extend(options.map(std::ffi::OsStr::new));
        args.push(out.as_os_str());
        args.push(std::ffi::OsStr::new("."));
        self.tool.run(&args, b"", Some(dir.path())).map(drop)
    }

    fn garbage(&self, what: String) -> HostError {
        let program = self.tool.path().display().to_string();
        HostError::Garbage { program, what }
    }

    fn io(&self, source: std::io::Error) -> HostError {
        HostError::Spawn {
            program: self.tool.path().display().to_string(),
            source,
        }
    }
}

/// What the names of our temporary directories begin with: they hold the secrets of a seed.
const WORKSHOP: &str = "kvmctl-seed.";

fn workshop() -> std::io::Result<Workshop> {
    Workshop::new(&std::env::temp_dir(), WORKSHOP)
}

/// Removes what killed processes of this user left of their seeds. What cannot be removed stays.
pub fn sweep() {
    Workshop::sweep(&std::env::temp_dir(), WORKSHOP);
}

/// Makes a new file that only its owner can read.
fn create_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::cloudinit::LABEL;

    fn makers() -> Vec<IsoMaker> {
        let find = |name| IsoMaker::with(Tool::find(&[name], name).unwrap());
        ["genisoimage", "mkisofs", "xorriso"].map(find).into()
    }

    fn files() -> BTreeMap<String, Vec<u8>> {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        [
            file("meta-data", b"{}"),
            file("user-data", b""),
            file("vendor-data", &[b'x'; 100_000]),
            file("network-config", b"{\"version\": 2}"),
        ]
        .into()
    }

    #[test]
    fn media_of_all_three_tools_read_back() {
        for maker in makers() {
            let iso = maker.bytes(&files(), LABEL).unwrap();
            let back = iso_read::read(&iso).unwrap();
            assert_eq!(back.label, LABEL, "{}", maker.path().display());
            assert_eq!(back.files, files(), "{}", maker.path().display());
        }
    }

    #[test]
    fn the_image_is_private_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let maker = IsoMaker::find().unwrap();
        let out = dir.path().join("seed.iso");
        maker.make(&files(), LABEL, &out).unwrap();
        let mode = out.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let (link, target) = (dir.path().join("link.iso"), dir.path().join("target"));
        symlink(&target, &link).unwrap();
        assert!(maker.make(&files(), LABEL, &link).is_err());
        assert!(!target.exists());
        assert!(maker.make(&files(), LABEL, &out).is_err(), "exists already");
        assert!(out.exists(), "what was there before stays");
    }

    #[test]
    fn a_tool_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("seed.iso");
        let maker = IsoMaker::with(Tool::find(&["false"], "coreutils").unwrap());
        assert!(maker.make(&files(), LABEL, &out).is_err());
        assert!(!out.exists());
    }
}
