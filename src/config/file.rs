//! The file of contexts, as a person may write it by hand.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::{API_VERSION, Accelerator};

use super::error::ConfigError;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// `kvmctl/v1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// Context that is used when nobody names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_context: Option<String>,
    /// The contexts, in the order in which they were made.
    #[serde(default)]
    pub contexts: Vec<Context>,
    /// Beginnings of image URLs, and what stands in their place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_mirrors: BTreeMap<String, String>,
    /// File with the user's own catalogue of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<PathBuf>,
}

fn api_version() -> String {
    API_VERSION.to_owned()
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            api_version: api_version(),
            current_context: None,
            contexts: Vec::new(),
            image_mirrors: BTreeMap::new(),
            catalogue: None,
        }
    }
}

/// One context: a libvirt and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// The libvirt URI; the caller's default where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Storage pool; `default` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Network; `default` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Accelerator; `auto` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// Directory of the store; the daemon's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// How host tools get the rights they need; `none` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privilege: Option<Privilege>,
}

/// How host tools (iptables, nginx) get the rights they need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privilege {
    /// Those of the caller.
    #[default]
    None,
    /// Through `sudo -n`, which never asks.
    Sudo,
}

impl ConfigFile {
    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line and column, and [`ConfigError::Io`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(io_error("read", path, source)),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |at: String, what: String| ConfigError::Parse { at, what };
        let file = path.display().to_string();
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_yaml::from_str(text).map_err(|e| {
            let what = e.to_string();
            match e.location() {
                Some(place) => {
                    let (line, column) = (place.line(), place.column());
                    let suffix = format!(" at line {line} column {column}");
                    wrong(format!("{file}:{line}:{column}"), what.replace(&suffix, ""))
                }
                None => wrong(file.clone(), what),
            }
        })?;
        if config.api_version != API_VERSION {
            let what = format!("apiVersion {:?} is not {API_VERSION:?}", config.api_version);
            return Err(wrong(file, what));
        }
        for (n, context) in config.contexts.iter().enumerate() {
            check_name(&context.name)?;
            context.uri.as_deref().map_or(Ok(()), check_uri)?;
            if config.contexts[..n].iter().any(|c| c.name == context.name) {
                return Err(wrong(
                    file,
                    format!("context {:?} stands there twice", context.name),
                ));
            }
        }
        Ok(config)
    }

    /// Writes the file as a whole, for its owner alone; where it is a symbolic link, as dotfile
    /// managers make them, what it leads to.
    ///
    /// # Errors
    /// [`ConfigError::Io`]; the old file is then still there.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let text = serde_yaml::to_string(self)
            .map_err(|e| io_error("write", path, io::Error::other(e)))?;
        write_private(path, text.as_bytes()).map_err(|e| io_error("write", path, e))
    }

    /// Finds a context.
    ///
    /// # Errors
    /// [`ConfigError::NoContext`] with the names that there are.
    pub fn context(&self, name: &str) -> Result<&Context, ConfigError> {
        self.contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| self.no_context(name))
    }

    pub(super) fn no_context(&self, name: &str) -> ConfigError {
        ConfigError::NoContext {
            name: name.to_owned(),
            known: self.contexts.iter().map(|c| c.name.clone()).collect(),
        }
    }
}

/// Replaces a small file of the caller's own: temporary file, fsync, rename, fsync of the directory.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    // Made 0600; removed again on every way out that does not rename it.
    let mut temp = tempfile::Builder::new()
        .prefix(".kvmctl-")
        .tempfile_in(dir)?;
    temp.as_file()
        .set_permissions(PermissionsExt::from_mode(0o600))?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|e| e.error)?;
    std::fs::File::open(dir)?.sync_all()
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    Err(ConfigError::Invalid {
        value: name.to_owned(),
        what: "context name",
        rule: "it has at most 63 letters, digits, '-', '_', '.' and '@' and does not start with '-'",
    })
}

pub(super) fn check_uri(uri: &str) -> Result<(), ConfigError> {
    // An alias from libvirt.conf has no scheme; libvirt says the rest better than we could.
    if !uri.is_empty() && !uri.chars().any(|c| c.is_control() || c == ' ') {
        return Ok(());
    }
    Err(ConfigError::Invalid {
        value: uri.to_owned(),
        what: "libvirt URI",
        rule: "write qemu:///system, qemu:///session or qemu+ssh://HOST/system",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(text, Path::new("c.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = parse("apiVersion: kvmctl/v1\ncontexts:\n- name: a\n  uir: x\n").unwrap_err();
        assert!(error.starts_with("c.yaml:4:3: "), "{error}");
        assert!(error.contains("unknown field `uir`"), "{error}");
        assert!(!error.contains(" at line "), "said once: {error}");
        for (text, expected) in [
            ("contexts: 3\n", "c.yaml:1:11: "),
            ("currentContext: [\n", "c.yaml:"),
            ("apiVersion: v2\n", "is not \"kvmctl/v1\""),
            (
                "contexts: [{name: a}, {name: a}]\n",
                "\"a\" stands there twice",
            ),
            ("contexts: [{name: 'a b'}]\n", "not a valid context name"),
            (
                "contexts: [{name: a, uri: \"q\\e[m\"}]\n",
                "not a valid libvirt URI",
            ),
            ("contexts: [{name: a, name: b}]\n", "duplicate field"),
            (
                "contexts: [{name: a, accelerator: warp}]\n",
                "unknown variant",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(parse("# nothing yet\n").unwrap(), ConfigFile::default());
        assert_eq!(parse(" \n").unwrap(), ConfigFile::default());
    }

    #[test]
    fn a_file_is_replaced_whole_and_private_and_a_link_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("kvmctl/config.yaml");
        assert_eq!(ConfigFile::load(&path).unwrap(), ConfigFile::default());
        let mut config = ConfigFile::default();
        config.contexts.push(Context {
            name: "no".to_owned(),
            uri: Some("qemu+ssh://h/system".to_owned()),
            privilege: Some(Privilege::Sudo),
            ..Context::default()
        });
        config.save(&path).unwrap();
        assert_eq!(ConfigFile::load(&path).unwrap(), config);
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let link = tmp.path().join("link.yaml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        config.current_context = Some("no".to_owned());
        config.save(&link).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(ConfigFile::load(&path).unwrap(), config);
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays");
    }
}
