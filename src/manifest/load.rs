//! `-f`: files, directories, patterns, URLs and standard input become named texts.
//!
//! The only part of the module that reads anything. Sizes are bounded before a parser sees a byte
//! (CVE-2019-11253).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::LoadError;
use super::glob;
use crate::error::Error;

/// How large one manifest may be, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The text of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File, `-` or URL, as messages print it.
    pub name: String,
    /// The text.
    pub text: String,
}

/// How deep a directory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    /// The files in it.
    TopLevel,
    /// The files in it and in every directory below it.
    All,
}

/// Fetches a URL: at most the given number of bytes and one more, which tells that it is too large.
pub type Fetch<'f> = &'f mut dyn FnMut(&str, usize) -> Result<Vec<u8>, Error>;

/// Loads what `-f` names, in the order given; files of a directory are sorted by name.
///
/// # Errors
///
/// What is missing, too large, or not text. `verb` is for `no objects passed to VERB`, when the
/// texts hold nothing at all.
pub fn load(
    inputs: &[String],
    recursion: Recursion,
    verb: &str,
    stdin: &mut dyn Read,
    fetch: Fetch<'_>,
) -> Result<Vec<Source>, LoadError> {
    let mut sources = Vec::new();
    let mut stdin = Some(stdin);
    for input in inputs {
        if input == "-" {
            let reader = stdin.take().ok_or(LoadError::StdinTwice)?;
            sources.push(text_of("-", read_capped("-", reader)?)?);
        } else if is_url(input) {
            let bytes = fetch(input, MAX_BYTES).map_err(LoadError::Fetch)?;
            sources.push(text_of(input, bytes)?);
        } else {
            for path in files_of(input, recursion)? {
                sources.push(read_file(&path)?);
            }
        }
    }
    if sources.iter().all(|s| s.text.trim().is_empty()) {
        return Err(LoadError::NoObjects {
            verb: verb.to_owned(),
        });
    }
    Ok(sources)
}

fn is_url(input: &str) -> bool {
    let lower = input.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn files_of(input: &str, recursion: Recursion) -> Result<Vec<PathBuf>, LoadError> {
    let missing = || LoadError::Missing {
        path: input.to_owned(),
    };
    let path = Path::new(input);
    let found = match fs::metadata(path) {
        Ok(_) => vec![path.to_owned()],
        Err(e) if is_absent(&e) && glob::is_pattern(input) => glob::expand(input),
        Err(e) if is_absent(&e) => return Err(missing()),
        Err(source) => {
            return Err(LoadError::Io {
                name: input.to_owned(),
                source,
            });
        }
    };
    if found.is_empty() {
        return Err(missing());
    }
    let mut files = Vec::new();
    for path in found {
        if path.is_dir() {
            files.extend(directory(&path, recursion)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    ) || error.kind() == io::ErrorKind::InvalidInput
}

/// Returns the manifests of a directory, sorted by path.
fn directory(top: &Path, recursion: Recursion) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    let mut waiting = vec![top.to_owned()];
    let mut has_directories = false;
    while let Some(directory) = waiting.pop() {
        let failed = |source| LoadError::Io {
            name: directory.display().to_string(),
            source,
        };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                has_directories = true;
                waiting.push(path);
            } else if is_manifest(&path) && path.is_file() {
                files.push(path);
            }
        }
        if recursion == Recursion::TopLevel {
            break;
        }
    }
    if files.is_empty() {
        return Err(LoadError::NoManifests {
            path: top.display().to_string(),
            has_directories: has_directories && recursion == Recursion::TopLevel,
        });
    }
    files.sort();
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.contains(&e))
}

fn read_file(path: &Path) -> Result<Source, LoadError> {
    let name = path.display().to_string();
    let failed = |source| LoadError::Io {
        name: name.clone(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    text_of(&name, read_capped(&name, &mut file)?)
}

fn read_capped(name: &str, reader: &mut dyn Read) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Io {
            name: name.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn text_of(name: &str, bytes: Vec<u8>) -> Result<Source, LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(LoadError::TooLarge {
            name: name.to_owned(),
        });
    }
    let not_text = |what: String| LoadError::NotText {
        name: name.to_owned(),
        what,
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(not_text("UTF-16 text; save it as UTF-8".to_owned()));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(not_text(format!(
            "a binary file (NUL at byte {at}), not a manifest"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        not_text(format!("not UTF-8 text (byte {at})"))
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    Ok(Source {
        name: name.to_owned(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    struct Place(TempDir);

    impl Place {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for (name, content) in files {
                let path = place.path(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Loads paths below the place; returns the names below it.
        fn load(&self, inputs: &[&str], recursion: Recursion) -> Result<Vec<String>, String> {
            let inputs: Vec<_> = inputs
                .iter()
                .map(|i| self.path(i).to_str().unwrap().to_owned())
                .collect();
            let top = format!("{}/", self.0.path().display());
            let mut fetch = |_: &str, _: usize| unreachable!();
            match load(&inputs, recursion, "apply", &mut io::empty(), &mut fetch) {
                Ok(sources) => Ok(sources.iter().map(|s| s.name.replace(&top, "")).collect()),
                Err(error) => Err(Error::from(error).to_string().replace(&top, "")),
            }
        }

        fn error(&self, name: &str) -> String {
            self.load(&[name], Recursion::TopLevel).unwrap_err()
        }
    }

    fn from_stdin(text: &[u8]) -> Result<Vec<Source>, LoadError> {
        let mut fetch = |_: &str, _: usize| unreachable!();
        let mut text = text;
        load(
            &["-".to_owned()],
            Recursion::TopLevel,
            "apply",
            &mut text,
            &mut fetch,
        )
    }

    #[test]
    fn directories_give_their_manifests_sorted() {
        let place = Place::new(&[
            ("d/b.yaml", b"b: 1"),
            ("d/a.yml", b"a: 1"),
            ("d/c.json", b"{}"),
            ("d/readme.md", b"x"),
            ("d/e.yaml.bak", b"x"),
            ("d/sub/z.yaml", b"z: 1"),
        ]);
        let top = place.load(&["d"], Recursion::TopLevel).unwrap();
        assert_eq!(top, ["d/a.yml", "d/b.yaml", "d/c.json"]);
        let all = place.load(&["d"], Recursion::All).unwrap();
        assert_eq!(all, ["d/a.yml", "d/b.yaml", "d/c.json", "d/sub/z.yaml"]);
        let twice = place
            .load(&["d/c.json", "d/a.yml"], Recursion::TopLevel)
            .unwrap();
        assert_eq!(twice, ["d/c.json", "d/a.yml"], "in the order given");
    }

    #[test]
    fn patterns_are_expanded_unless_a_file_has_that_name() {
        let place = Place::new(&[("x/a.yaml", b"a"), ("y/a.yaml", b"a"), ("x/[b].yaml", b"b")]);
        let found = place.load(&["*/a.y?ml"], Recursion::TopLevel).unwrap();
        assert_eq!(found, ["x/a.yaml", "y/a.yaml"]);
        let found = place.load(&["x/[b].yaml"], Recursion::TopLevel).unwrap();
        assert_eq!(found, ["x/[b].yaml"]);
        insta::assert_snapshot!(
            place.error("z*.yaml").replace(place.0.path().to_str().unwrap(), ""),
            @r#"the path "z*.yaml" does not exist"#
        );
    }

    #[test]
    fn what_cannot_be_a_manifest_is_refused() {
        let huge = vec![b'a'; MAX_BYTES + 1];
        let place = Place::new(&[
            ("huge.yaml", &huge),
            ("limit.yaml", &huge[1..]),
            ("nul.yaml", b"a: \0"),
            ("latin.yaml", b"a: \xe9"),
            ("wide.yaml", b"\xff\xfea\0"),
            ("empty.yaml", b" \n"),
            ("dir/readme.md", b""),
            ("nested/dir/a.yaml", b"a: 1"),
        ]);
        let all = [
            "huge.yaml",
            "nul.yaml",
            "latin.yaml",
            "wide.yaml",
            "empty.yaml",
            "dir",
            "nested",
            "nofile.yaml",
            "nul.yaml/x",
        ];
        let all = all.map(|name| place.error(name));
        insta::assert_snapshot!(all.join("\n"), @r#"
    huge.yaml: larger than 1 MiB, which no manifest may be
    nul.yaml: a binary file (NUL at byte 3), not a manifest
    latin.yaml: not UTF-8 text (byte 3)
    wide.yaml: UTF-16 text; save it as UTF-8
    no objects passed to apply
    error reading "dir": recognized file extensions are [.json .yaml .yml]
    error reading "nested": recognized file extensions are [.json .yaml .yml]
    the path "nofile.yaml" does not exist
    the path "nul.yaml/x" does not exist
    "#);
        assert!(place.load(&["limit.yaml"], Recursion::TopLevel).is_ok());
    }

    #[test]
    fn standard_input_is_read_once_and_within_bounds() {
        assert_eq!(from_stdin(b"\xef\xbb\xbfa: 1").unwrap()[0].text, "a: 1");
        let told = |text: &[u8]| from_stdin(text).unwrap_err().to_string();
        assert_eq!(told(b""), "no objects passed to apply");
        assert_eq!(
            told(&vec![b'a'; 2 * MAX_BYTES]),
            "-: larger than 1 MiB, which no manifest may be"
        );
        let mut fetch = |_: &str, _: usize| unreachable!();
        let twice = ["-".to_owned(), "-".to_owned()];
        let result = load(
            &twice,
            Recursion::TopLevel,
            "apply",
            &mut io::empty(),
            &mut fetch,
        );
        assert_eq!(
            result.unwrap_err().to_string(),
            "standard input (\"-\") can be read only once"
        );
    }

    #[test]
    fn urls_are_fetched_by_the_caller() {
        let mut asked = Vec::new();
        let mut fetch = |url: &str, limit: usize| {
            asked.push((url.to_owned(), limit));
            Ok(b"a: 1".to_vec())
        };
        let url = ["https://example.com/a.yaml".to_owned()];
        let sources = load(
            &url,
            Recursion::TopLevel,
            "apply",
            &mut io::empty(),
            &mut fetch,
        )
        .unwrap();
        assert_eq!(
            (sources[0].name.as_str(), sources[0].text.as_str()),
            (url[0].as_str(), "a: 1")
        );
        assert_eq!(asked, [(url[0].clone(), MAX_BYTES)]);
    }
}
