//! Which images there are to pull: the distributions' own, and what the user adds or overrides.

mod file;

pub(in crate::image) use file::url_problem;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::decompress::Packing;
use super::digest::{Algorithm, Checksum, Sha256};
use super::error::{CatalogueError, Problem};
use crate::api::Name;
use crate::error::did_you_mean;

const BUILT_IN: &str = include_str!("catalogue.yaml");
const MAX_FILE: u64 = 1 << 20;

/// A CPU architecture, by libvirt's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86, also called amd64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM, also called arm64.
    Aarch64,
    /// 64-bit little-endian POWER.
    Ppc64le,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM Z.
    S390x,
}

impl Architecture {
    /// Returns the architecture of this name, libvirt's or Debian's.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "x86_64" | "amd64" => Self::X86_64,
            "aarch64" | "arm64" => Self::Aarch64,
            "ppc64le" | "ppc64el" => Self::Ppc64le,
            "riscv64" => Self::Riscv64,
            "s390x" => Self::S390x,
            _ => return None,
        })
    }

    /// Returns libvirt's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Ppc64le => "ppc64le",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an image can boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// BIOS only.
    Bios,
    /// UEFI only.
    Uefi,
    /// Either.
    Both,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Both => "both",
        })
    }
}

/// One image of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The name it is pulled by, and the name of the image then.
    pub alias: Name,
    /// Further names; a bare distribution's name means its current release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Name>,
    /// Operating system, as `debian`.
    pub os: String,
    /// Its release, as `12`.
    pub version: String,
    /// User that cloud-init gives the SSH key to.
    pub default_user: String,
    /// What it can boot from on x86; on ARM it is always UEFI.
    #[serde(default = "Firmware::usual")]
    pub firmware: Firmware,
    /// How the file is packed, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Packing>,
    /// What one should know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Where it is, for each architecture.
    pub sources: BTreeMap<Architecture, Source>,
}

impl Firmware {
    const fn usual() -> Self {
        Self::Both
    }
}

impl Entry {
    /// Returns the alias and all further names.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.alias).chain(&self.aliases)
    }
}

/// Where an image is and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// URL of the image.
    pub url: String,
    /// What its checksum is, or where that is stated.
    pub checksum: ChecksumSource,
}

/// What the checksum of a download is, or where the publisher states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all = "camelCase", deny_unknown_fields)]
pub enum ChecksumSource {
    /// The publisher's checksum file, for URLs whose content changes.
    Published {
        /// URL of the file.
        url: String,
        /// Algorithm of its sums.
        algorithm: Algorithm,
        /// Form of the file.
        #[serde(default)]
        form: SumsForm,
    },
    /// The SHA-256 itself, for URLs whose content stays.
    Sha256 {
        /// 64 hex digits.
        sha256: String,
    },
    /// The SHA-512 itself.
    Sha512 {
        /// 128 hex digits.
        sha512: String,
    },
}

/// The form of a checksum file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SumsForm {
    /// Lines `SUM  name` (GNU) or `SHA256 (name) = SUM` (BSD), in any mixture.
    #[default]
    List,
    /// One sum, whatever name stands beside it.
    Single,
}

/// The images that can be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// An entry of the catalogue and its source for one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// The architecture.
    pub architecture: Architecture,
    /// Where it is.
    pub source: &'a Source,
}

impl Choice<'_> {
    /// Returns what the image boots from: on ARM always UEFI.
    pub const fn firmware(&self) -> Firmware {
        match self.architecture {
            Architecture::X86_64 => self.entry.firmware,
            _ => Firmware::Uefi,
        }
    }
}

impl Catalogue {
    /// Returns the catalogue that is compiled in.
    pub fn built_in() -> Self {
        let parsed = file::parse("the built-in catalogue", BUILT_IN);
        let entries = parsed.expect("a test parses the catalogue that is compiled in");
        Self { entries }
    }

    /// Returns the built-in catalogue with the entries of `path` added. An entry whose alias exists
    /// replaces that one; a name that both have belongs to the user's.
    ///
    /// # Errors
    /// [`CatalogueError::Unreadable`] and [`CatalogueError::Invalid`] with everything that is wrong.
    pub fn with_file(path: &Path) -> Result<Self, CatalogueError> {
        let unreadable = |source| CatalogueError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        let mut file = file.take(MAX_FILE + 1);
        file.read_to_string(&mut text).map_err(unreadable)?;
        let origin = path.display().to_string();
        if text.len() as u64 > MAX_FILE {
            let problem = Problem {
                entry: String::new(),
                at: None,
                what: "the file is larger than 1 MiB".into(),
            };
            let problems = vec![problem];
            return Err(CatalogueError::Invalid { origin, problems });
        }
        let mut catalogue = Self::built_in();
        catalogue.add(file::parse(&origin, &text)?);
        Ok(catalogue)
    }

    fn add(&mut self, added: Vec<Entry>) {
        let claimed: Vec<Name> = added.iter().flat_map(Entry::names).cloned().collect();
        self.entries.retain(|old| !claimed.contains(&old.alias));
        for old in &mut self.entries {
            old.aliases.retain(|alias| !claimed.contains(alias));
        }
        self.entries.extend(added);
    }

    /// Returns all entries: the built-in ones first, each group in its own order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entry of this alias or further name.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`] with the nearest name and all aliases.
    pub fn entry(&self, name: &str) -> Result<&Entry, CatalogueError> {
        let named = |entry: &&Entry| entry.names().any(|n| n.as_str() == name);
        self.entries.iter().find(named).ok_or_else(|| {
            let names = self.entries.iter().flat_map(Entry::names);
            CatalogueError::Unknown {
                name: name.to_owned(),
                suggestion: did_you_mean(name, names.map(Name::as_str)).map(str::to_owned),
                candidates: self.entries.iter().map(|e| e.alias.to_string()).collect(),
            }
        })
    }

    /// Returns the entry of this name and its source for `architecture`.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`] and [`CatalogueError::NotForArchitecture`].
    pub fn choose(
        &self,
        name: &str,
        architecture: Architecture,
    ) -> Result<Choice<'_>, CatalogueError> {
        let entry = self.entry(name)?;
        match entry.sources.get(&architecture) {
            Some(source) => Ok(Choice {
                entry,
                architecture,
                source,
            }),
            None => Err(CatalogueError::NotForArchitecture {
                name: entry.alias.to_string(),
                architecture,
                available: entry.sources.keys().copied().collect(),
            }),
        }
    }
}

/// Mirrors: URL prefixes and what they are replaced with; the longest prefix wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mirrors(BTreeMap<String, String>);

impl Mirrors {
    /// Makes a table of mirrors.
    ///
    /// # Errors
    /// A [`Problem`] for each prefix or replacement that is not a URL ending in `/`: without the
    /// slash `https://a.org` would also match `https://a.organic/`.
    pub fn new(table: BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let whole = |url: &str| file::url_problem(url).is_none() && url.ends_with('/');
        let wrong = table.iter().flat_map(|(from, to)| [from, to]);
        let problems: Vec<Problem> = wrong
            .filter(|url| !whole(url))
            .map(|url| Problem {
                entry: "mirrors".into(),
                at: None,
                what: format!("{url:?} is not an http or https URL that ends in \"/\""),
            })
            .collect();
        if problems.is_empty() {
            Ok(Self(table))
        } else {
            Err(problems)
        }
    }

    /// Returns whether the mirror of an https URL is one without TLS: whoever configured that has
    /// allowed it.
    pub fn allow_http(&self, url: &str) -> bool {
        url.starts_with("https://") && self.rewrite(url).starts_with("http://")
    }

    /// Returns where `url` is fetched from.
    pub fn rewrite<'a>(&self, url: &'a str) -> Cow<'a, str> {
        let fitting = self.0.iter().filter(|(from, _)| url.starts_with(*from));
        match fitting.max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => Cow::Owned(format!("{to}{}", &url[from.len()..])),
            None => Cow::Borrowed(url),
        }
    }
}

impl ChecksumSource {
    /// Returns the sum that is stated here itself, if one is.
    pub fn pinned(&self) -> Option<Checksum> {
        match self {
            Self::Published { .. } => None,
            Self::Sha256 { sha256 } => Checksum::new(Algorithm::Sha256, sha256).ok(),
            Self::Sha512 { sha512 } => Checksum::new(Algorithm::Sha512, sha512).ok(),
        }
    }
}

impl From<Sha256> for ChecksumSource {
    fn from(sum: Sha256) -> Self {
        Self::Sha256 {
            sha256: sum.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
