//! Paths that qemu-img cannot misread.

use std::fmt;
use std::path::{Path, PathBuf};

/// A path that qemu-img takes as the name of a file and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImagePath(PathBuf);

/// Why a path is not handed to qemu-img.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} cannot be given to qemu-img: {why}")]
pub struct InvalidImagePath {
    path: PathBuf,
    why: &'static str,
}

impl ImagePath {
    /// Takes an absolute path without `:`, `,`, control characters and `..`.
    ///
    /// # Errors
    /// [`InvalidImagePath`] with what is wrong.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, InvalidImagePath> {
        let path = path.into();
        match path_problem(&path) {
            None => Ok(Self(path)),
            Some(why) => Err(InvalidImagePath { path, why }),
        }
    }

    /// Returns the path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    pub(super) fn text(&self) -> &str {
        self.0
            .to_str()
            .expect("new() refuses a path that is not UTF-8")
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

fn path_problem(path: &Path) -> Option<&'static str> {
    let Some(text) = path.to_str() else {
        return Some("it is not UTF-8");
    };
    if !path.is_absolute() {
        return Some("it is not absolute");
    }
    if text.contains([':', ',']) {
        return Some("qemu-img reads ':' and ',' in a name as options");
    }
    if text.chars().any(char::is_control) {
        return Some("it has control characters");
    }
    if path.components().any(|c| c.as_os_str() == "..") {
        return Some("it has \"..\" in it");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_to_qemu_img_are_refused() {
        for bad in [
            "disk.qcow2",
            "-f",
            "json:{\"driver\":\"raw\"}",
            "nbd://host/x",
            "/pool/a:b.qcow2",
            "/pool/a,b.qcow2",
            "/pool/a\nb",
            "/pool/../etc/passwd",
            "",
        ] {
            assert!(ImagePath::new(bad).is_err(), "{bad:?}");
        }
        assert!(ImagePath::new("/pool/-a b.qcow2").is_ok());
    }
}
