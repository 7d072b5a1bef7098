//! The caller's editor.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::command::Tool;
use super::error::HostError;
use crate::error::{Error, Result};

/// An editor, found as kubectl finds its own.
#[derive(Debug)]
pub struct Editor {
    shell: Tool,
    command: String,
}

/// The file that is edited; it goes when this goes out of scope, unless it is kept.
#[derive(Debug)]
pub struct EditorFile {
    file: NamedTempFile,
}

impl Editor {
    /// Finds `KVMCTL_EDITOR`, `VISUAL`, `EDITOR` or vi.
    ///
    /// # Errors
    /// [`HostError::Missing`] without a shell.
    pub fn find() -> Result<Self, HostError> {
        let named = ["KVMCTL_EDITOR", "VISUAL", "EDITOR"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()));
        let shell = Tool::find(&["sh"], "dash")?;
        Ok(Self {
            shell,
            command: named.unwrap_or_else(|| "vi".to_owned()),
        })
    }

    /// Makes a file to edit, readable by the caller only.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn file(&self, stem: &str) -> Result<EditorFile> {
        let file = tempfile::Builder::new()
            .prefix(&format!("kvmctl-{stem}-"))
            .suffix(".yaml")
            .tempfile()
            .map_err(|e| Error::failed("cannot make a file to edit").caused_by(e))?;
        Ok(EditorFile { file })
    }

    /// Lets the caller edit `text` and returns what they made of it.
    ///
    /// # Errors
    /// When the editor fails.
    pub fn edit(&self, file: &mut EditorFile, text: &str) -> Result<String> {
        let path = file.path().to_owned();
        fs::File::create(&path)
            .and_then(|mut f| f.write_all(text.as_bytes()))
            .map_err(|e| Error::failed(format!("cannot write {}", path.display())).caused_by(e))?;
        // The variable may hold arguments, as "code --wait" does.
        let script = format!("{} \"$1\"", self.command);
        let path_arg = path.to_string_lossy().into_owned();
        let code = self.shell.interactive(&["-c", &script, "sh", &path_arg])?;
        if code != 0 {
            return Err(Error::failed(format!(
                "the editor {:?} ended with {code}",
                self.command
            )));
        }
        fs::read_to_string(&path)
            .map_err(|e| Error::failed(format!("cannot read {}", path.display())).caused_by(e))
    }
}

impl EditorFile {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Keeps the file and returns where it is.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn keep(self) -> Result<PathBuf> {
        self.file
            .keep()
            .map(|(_, path)| path)
            .map_err(|e| Error::failed("cannot keep the edited file").caused_by(e))
    }
}
