//! The shape of the source: which module may know which, who may use what, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tree;

/// A module, and the modules that it may know. What is pure knows only what is pure.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("error", &[]),
    ("shell", &[]),
    ("text", &[]),
    ("paths", &["error", "config"]),
    ("config", &["api", "error", "paths", "store"]),
    ("manifest", &["api", "error", "text"]),
    ("net", &["api", "error"]),
    ("plan", &["api", "error", "shell"]),
    ("cloudinit", &["api", "error"]),
    ("libvirt", &["api", "error"]),
    ("store", &["api", "error", "net", "paths"]),
    (
        "host",
        &["api", "cloudinit", "error", "net", "shell", "store"],
    ),
    ("image", &["api", "error", "host"]),
    (
        "observe",
        &[
            "api", "config", "error", "host", "image", "libvirt", "manifest", "net", "paths",
            "plan", "shell", "store",
        ],
    ),
    (
        "engine",
        &[
            "api",
            "cloudinit",
            "error",
            "host",
            "image",
            "libvirt",
            "manifest",
            "net",
            "observe",
            "plan",
            "shell",
            "store",
        ],
    ),
    ("output", &["api", "error", "plan", "shell", "text"]),
    (
        "cli",
        &[
            "api", "config", "engine", "error", "host", "image", "libvirt", "manifest", "observe",
            "output", "paths", "plan", "shell", "store",
        ],
    ),
];

/// A word that only some places may use.
const DOORS: &[(&str, &[&str])] = &[
    ("virt::", &["src/libvirt/"]),
    ("clap::", &["src/cli/"]),
    ("dialoguer::", &["src/cli/"]),
    ("tabled::", &["src/output/"]),
    ("indicatif::", &["src/output/"]),
    (
        "process::Command",
        &[
            "src/host/command.rs",
            "src/host/command/",
            "src/host/guard.rs",
        ],
    ),
    ("unsafe {", &["src/libvirt/ffi/"]),
    ("unsafe extern", &["src/libvirt/ffi/"]),
    ("unsafe fn", &["src/libvirt/ffi/"]),
    ("unsafe impl", &["src/libvirt/ffi/"]),
    ("println!", &["src/output/"]),
    ("eprintln!", &["src/output/"]),
];

/// One source file, without its tests and comments.
struct Source {
    path: String,
    code: String,
    lines: usize,
}

impl Source {
    /// Returns the top module that the file belongs to.
    fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = rest.split('/').next().unwrap_or(rest);
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&tree().join("src"), &mut files);
    assert!(files.len() > 100, "the source is not where it is expected");
    files
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| source(path))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|c| c.as_os_str().to_string_lossy().contains("tests"))
}

fn source(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let relative = path.strip_prefix(tree()).unwrap().display().to_string();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    Source {
        path: relative,
        code: code.lines().filter(is_code).collect::<Vec<_>>().join("\n"),
        lines: text.lines().count(),
    }
}

/// Returns the modules that follow `crate::` in a text, those of a group too.
fn mentioned(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word = |text: &str| -> String {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split(';').next().unwrap_or(group);
                names.extend(group.split(',').map(|part| word(part.trim_start())));
            }
            None => names.push(word(rest)),
        }
    }
    names
}

#[test]
fn arrows_go_one_way() {
    let known: Vec<&str> = ARROWS.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            assert!(
                matches!(module, "lib" | "main"),
                "{} is of no known module",
                source.path
            );
            continue;
        };
        for name in mentioned(&source.code) {
            if name != module && known.contains(&name.as_str()) && !allowed.contains(&name.as_str())
            {
                wrong.push(format!("{}: crate::{name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_parts_of_libvirt_know_no_daemon() {
    let xml: Vec<Source> = sources()
        .into_iter()
        .filter(|s| s.path.starts_with("src/libvirt/xml/"))
        .collect();
    assert!(!xml.is_empty());
    for source in xml {
        for line in source.code.lines().filter(|l| l.contains("crate::libvirt")) {
            assert!(
                line.contains("crate::libvirt::xml"),
                "{}: {line}",
                source.path
            );
        }
    }
}

#[test]
fn each_tool_has_one_door() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (word, places) in DOORS {
            let used = source
                .code
                .match_indices(word)
                .any(|(at, _)| is_whole(&source.code, at));
            if used && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{}: {word}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `libvirt::` is not `virt::`.
fn is_whole(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[test]
fn every_door_is_used_where_it_is() {
    let sources = sources();
    for (word, places) in DOORS.iter().filter(|(word, _)| word.ends_with("::")) {
        let used = sources
            .iter()
            .any(|s| places.iter().any(|place| s.path.starts_with(place)) && s.code.contains(word));
        assert!(used, "nobody uses {word}: is the rule still right?");
    }
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|s| s.lines > 800)
        .map(|s| format!("{}: {} lines", s.path, s.lines))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
