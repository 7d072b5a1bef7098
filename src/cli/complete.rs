//! Completion while typing: flags and words from the grammar, names from what is there.
//!
//! A completer is silent and never hangs: it reads the store, opens no connection, and knows nothing
//! when anything is wrong.

use std::ffi::OsStr;

use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::grammar;
use crate::api::{KINDS, Kind};
use crate::config;
use crate::output::LIST_FORMATS;
use crate::paths::Paths;
use crate::store::{Access, Store};

/// Answers a shell that asks for completions; returns at once when none asks.
pub(super) fn answer() {
    CompleteEnv::with_factory(grammar::command)
        .var("KVMCTL_COMPLETE")
        .complete();
}

/// Completes the names of a kind's objects.
pub(super) fn names_of(kind: Kind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| matching(current, names(kind)))
}

/// Completes the formats of `-o`.
pub(super) fn formats() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let words = LIST_FORMATS.iter().map(|format| match *format {
            argued if argued.starts_with("jsonpath") || argued.starts_with("custom") => {
                format!("{argued}=")
            }
            alone => alone.to_owned(),
        });
        let words = words.collect();
        matching(current, words)
    })
}

/// Completes the names of contexts.
pub(super) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| matching(current, context_names().unwrap_or_default()))
}

fn context_names() -> Option<Vec<String>> {
    let paths = Paths::from_env().ok()?;
    let file = config::ConfigFile::load(paths.config_file()).ok()?;
    let rows = file.get_contexts().into_iter();
    Some(rows.map(|row| row.context.name).collect())
}

/// Completes kinds, and `kind/name`; after a kind the names of its objects.
pub(super) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let text = current.to_string_lossy();
        let words: Vec<String> = match text.split_once('/') {
            Some((noun, _)) => match Kind::from_noun(noun) {
                Some(kind) => names(kind)
                    .into_iter()
                    .map(|n| format!("{noun}/{n}"))
                    .collect(),
                None => Vec::new(),
            },
            None => match kind_before() {
                Some(kind) => names(kind),
                None => KINDS.iter().map(|row| row.plural.to_owned()).collect(),
            },
        };
        matching(current, words)
    })
}

/// Returns the kind among the words before the one that is typed; a completer is told only the latter.
fn kind_before() -> Option<Kind> {
    let mut words = std::env::args().skip_while(|word| word != "--").skip(1);
    let at = std::env::var("_CLAP_COMPLETE_INDEX").ok();
    let before: Vec<String> = match at.and_then(|at| at.parse().ok()) {
        Some(at) => words.by_ref().take(at).collect(),
        None => words.collect(),
    };
    kind_among(&before)
}

/// The first two words are kvmctl and its verb.
fn kind_among(words: &[String]) -> Option<Kind> {
    let mut words = words.iter().skip(2);
    words.find_map(|word| Kind::from_noun(word))
}

fn matching(current: &OsStr, words: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    words
        .into_iter()
        .filter(|w| w.starts_with(&*current))
        .map(CompletionCandidate::new)
        .collect()
}

fn names(kind: Kind) -> Vec<String> {
    store_names(kind).unwrap_or_default()
}

fn store_names(kind: Kind) -> Option<Vec<String>> {
    let paths = Paths::from_env().ok()?;
    let file = config::ConfigFile::load(paths.config_file()).ok()?;
    let settings = config::resolve(&config::Flags::default(), config::env::read, &file, || {
        config::default_uri(&paths)
    })
    .ok()?;
    let store = Store::open(settings.store_path(&paths), Access::Read).ok()?;
    Some(match kind {
        Kind::Instance => store
            .load_index()
            .rows
            .values()
            .map(|r| r.name.to_string())
            .collect(),
        Kind::Image => {
            let images: Vec<crate::observe::StoredImage> = store.all().ok()?;
            images
                .into_iter()
                .map(|i| i.image.name.to_string())
                .collect()
        }
        Kind::Network => {
            let index = store.load_index();
            index.networks.values().map(ToString::to_string).collect()
        }
        Kind::Volume => {
            let volumes: Vec<crate::store::VolumeRecord> = store.all().ok()?;
            volumes.into_iter().map(|v| v.name.to_string()).collect()
        }
        Kind::Snapshot => {
            let snapshots: Vec<crate::store::SnapshotRecord> = store.all().ok()?;
            snapshots.into_iter().map(|s| s.name.to_string()).collect()
        }
        Kind::InstanceType => {
            let types = store.types().ok()?.into_iter();
            types
                .filter_map(|t| t.metadata.name.map(|n| n.to_string()))
                .collect()
        }
        Kind::PortForward => {
            let forwards: Vec<crate::store::ForwardRecord> = store.all().ok()?;
            forwards.into_iter().map(|f| f.name.to_string()).collect()
        }
        Kind::LoadBalancer => {
            let balancers: Vec<crate::store::BalancerRecord> = store.all().ok()?;
            balancers.into_iter().map(|b| b.name.to_string()).collect()
        }
        Kind::Secret => {
            let secrets: Vec<crate::store::SecretRecord> = store.all().ok()?;
            let objects = secrets
                .into_iter()
                .map(crate::store::SecretRecord::into_object);
            objects
                .filter_map(|s| s.metadata.name.map(|n| n.to_string()))
                .collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_a_kind() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        assert_eq!(kind_among(&words("kvmctl get")), None);
        assert_eq!(
            kind_among(&words("kvmctl delete instance web")),
            Some(Kind::Instance)
        );
        assert_eq!(
            kind_among(&words("kvmctl get -o yaml img")),
            Some(Kind::Image)
        );
        assert_eq!(kind_among(&words("kvmctl get instance/web")), None);
    }
}
