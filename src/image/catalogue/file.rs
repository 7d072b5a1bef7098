//! Reads a catalogue file and tells everything that is wrong with it at once.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use super::{ChecksumSource, Entry, Source};
use crate::image::digest::{Algorithm, Checksum};
use crate::image::error::{CatalogueError, Problem};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    images: Vec<Entry>,
}

/// Parses and checks the entries of a catalogue file.
pub(super) fn parse(origin: &str, text: &str) -> Result<Vec<Entry>, CatalogueError> {
    let entries = match serde_yaml::from_str::<Document>(text) {
        Ok(document) => document.images,
        Err(first) => return Err(invalid(origin, type_problems(text, &first))),
    };
    let problems = entry_problems(&entries);
    if problems.is_empty() {
        Ok(entries)
    } else {
        Err(invalid(origin, problems))
    }
}

fn invalid(origin: &str, problems: Vec<Problem>) -> CatalogueError {
    CatalogueError::Invalid {
        origin: origin.to_owned(),
        problems,
    }
}

/// The parser stops at the first mistake; the other entries are tried one by one.
fn type_problems(text: &str, first: &serde_yaml::Error) -> Vec<Problem> {
    let at = first.location().map(|l| (l.line(), l.column()));
    let whole = |what: String| {
        vec![Problem {
            entry: String::new(),
            at,
            what,
        }]
    };
    let Ok(Value::Mapping(document)) = serde_yaml::from_str::<Value>(text) else {
        return whole(first.to_string());
    };
    let Some(Value::Sequence(images)) = document.get("images") else {
        return whole("the file must have a list \"images\"".into());
    };
    let tried = images.iter().enumerate().filter_map(|(index, image)| {
        let error = serde_yaml::from_value::<Entry>(image.clone()).err()?;
        let alias = image.get("alias").and_then(Value::as_str);
        Some((label(index, alias), better_words(image, &error)))
    });
    let mut problems: Vec<Problem> = tried
        .map(|(entry, what)| Problem {
            entry,
            at: None,
            what,
        })
        .collect();
    match problems.first_mut() {
        Some(problem) => problem.at = at,
        None => return whole(first.to_string()),
    }
    problems
}

/// Serde says of a wrong checksum only that no variant fits.
fn better_words(image: &Value, error: &serde_yaml::Error) -> String {
    let said = error.to_string();
    if !said.contains("untagged") {
        return said;
    }
    let sources = image.get("sources").and_then(Value::as_mapping);
    let wrong = sources.into_iter().flatten().find_map(|(name, source)| {
        let sum = source.get("checksum")?.clone();
        serde_yaml::from_value::<ChecksumSource>(sum)
            .is_err()
            .then_some(name)
    });
    let place = wrong.and_then(Value::as_str).unwrap_or("source");
    format!(
        "sources.{place}.checksum must be {{sha256: HEX}}, {{sha512: HEX}} or {{url: URL, algorithm: sha256|sha512, form: list|single}}"
    )
}

fn label(index: usize, alias: Option<&str>) -> String {
    match alias {
        Some(alias) => format!("images[{index}] ({})", alias.escape_debug()),
        None => format!("images[{index}]"),
    }
}

fn entry_problems(entries: &[Entry]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut complain = |what: String| {
            problems.push(Problem {
                entry: label(index, Some(entry.alias.as_str())),
                at: None,
                what,
            });
        };
        for name in entry.names() {
            if let Some(other) = seen.insert(name.clone(), index) {
                complain(format!("the name {name} is that of images[{other}] too"));
            }
        }
        if entry.sources.is_empty() {
            complain("it has no sources".into());
        }
        if !is_user_name(&entry.default_user) {
            complain(format!("{:?} is not a user name", entry.default_user));
        }
        for (architecture, source) in &entry.sources {
            for what in source_problems(source) {
                complain(format!("sources.{architecture}: {what}"));
            }
        }
    }
    problems
}

fn source_problems(source: &Source) -> Vec<String> {
    let bad_sum = |algorithm, sum: &str| Checksum::new(algorithm, sum).err();
    let (sums_url, sum) = match &source.checksum {
        ChecksumSource::Published { url, .. } => (Some(url), None),
        ChecksumSource::Sha256 { sha256 } => (None, bad_sum(Algorithm::Sha256, sha256)),
        ChecksumSource::Sha512 { sha512 } => (None, bad_sum(Algorithm::Sha512, sha512)),
    };
    let urls = std::iter::once(&source.url).chain(sums_url);
    let urls = urls.filter_map(|url| Some(format!("{url:?}: {}", url_problem(url)?)));
    urls.chain(sum.map(|s| s.to_string())).collect()
}

/// Returns what is wrong with a URL that something is to be downloaded from.
pub(in crate::image) fn url_problem(url: &str) -> Option<&'static str> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let Ok(parsed) = url.parse::<ureq::http::Uri>() else {
        return Some("it is malformed");
    };
    if !matches!(scheme, Some("https" | "http")) {
        return Some("it must begin with https:// or http://");
    }
    match parsed.authority() {
        None => Some("it names no host"),
        Some(authority) if authority.as_str().contains('@') => {
            Some("a user and password in a URL would be shown in messages and records")
        }
        Some(authority) if authority.host().is_empty() => Some("it names no host"),
        Some(_) => None,
    }
}

fn is_user_name(name: &str) -> bool {
    let first = name.bytes().next();
    name.len() <= 32
        && first.is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
}
