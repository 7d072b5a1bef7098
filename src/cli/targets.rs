//! What a command line points at: `instance web`, `instance/web volume/d1`, `instances,images`, `all`.

use super::grammar::command;
use crate::api::{InvalidName, KINDS, Kind, Name, ObjectKey};
use crate::error::{Error, Result, did_you_mean};

/// The objects that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Targets {
    /// Kinds as a whole.
    Kinds(Vec<Kind>),
    /// Objects by name, in the order given.
    Named(Vec<ObjectKey>),
}

impl Targets {
    /// Reads targets. `noun` is the kind of a noun-first command, where words are names.
    ///
    /// # Errors
    /// Usage errors with a corrected example.
    pub(crate) fn parse(noun: Option<Kind>, words: &[String], verb: &str) -> Result<Self> {
        match noun {
            Some(kind) => of_kind(kind, words, verb),
            None => any_kind(words, verb),
        }
    }

    /// Reads the one instance that a guest command works in: `web`, `instance/web` or `instance web`.
    ///
    /// # Errors
    /// Usage errors, also for another kind or several names.
    pub(crate) fn one_instance(
        noun: Option<Kind>,
        words: &[String],
        verb: &str,
    ) -> Result<ObjectKey> {
        let words = match words {
            [noun_word, name]
                if noun.is_none() && Kind::from_noun(noun_word) == Some(Kind::Instance) =>
            {
                std::slice::from_ref(name)
            }
            other => other,
        };
        match Self::parse(Some(Kind::Instance), words, verb)?
            .named()?
            .as_slice()
        {
            [key] => Ok(key.clone()),
            _ => Err(Error::usage("name exactly one instance").hint(format!("kvmctl {verb} web"))),
        }
    }

    /// Returns the named objects, or an error where none is named.
    pub(crate) fn named(self) -> Result<Vec<ObjectKey>> {
        match self {
            Self::Named(keys) => Ok(keys),
            Self::Kinds(_) => Err(Error::usage(
                "resource(s) were provided, but no name was specified",
            )),
        }
    }
}

fn of_kind(kind: Kind, words: &[String], verb: &str) -> Result<Targets> {
    if words.is_empty() {
        return Ok(Targets::Kinds(vec![kind]));
    }
    words
        .iter()
        .map(|word| key_of(kind, word, verb))
        .collect::<Result<_>>()
        .map(Targets::Named)
}

/// A word after a noun: a name, or `kind/name` of the same kind.
fn key_of(kind: Kind, word: &str, verb: &str) -> Result<ObjectKey> {
    let name = match word.split_once('/') {
        None => word,
        Some((noun, name)) if Kind::from_noun(noun) == Some(kind) => name,
        Some(_) => return Err(mixed(verb)),
    };
    Ok(ObjectKey::new(kind, parse_name(name)?))
}

fn any_kind(words: &[String], verb: &str) -> Result<Targets> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Error::usage("you must specify the type of resource")
            .hint(format!("kvmctl {verb} instances"))
            .hint("kvmctl api-resources"));
    };
    if first.contains('/') {
        return words
            .iter()
            .map(|w| slashed(w, verb))
            .collect::<Result<_>>()
            .map(Targets::Named);
    }
    let kinds = kinds_of(first)?;
    if rest.is_empty() {
        return Ok(Targets::Kinds(kinds));
    }
    if rest.iter().any(|w| w.contains('/')) {
        return Err(mixed(verb));
    }
    let mut keys = Vec::new();
    for kind in kinds {
        for word in rest {
            keys.push(ObjectKey::new(kind, parse_name(word)?));
        }
    }
    Ok(Targets::Named(keys))
}

fn slashed(word: &str, verb: &str) -> Result<ObjectKey> {
    let (noun, name) = word.split_once('/').ok_or_else(|| mixed(verb))?;
    Ok(ObjectKey::new(kind_of(noun)?, parse_name(name)?))
}

fn kinds_of(word: &str) -> Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = Vec::new();
    for noun in word.split(',') {
        let meant = match noun {
            "all" => KINDS.iter().map(|row| row.kind).rev().collect(),
            noun => vec![kind_of(noun)?],
        };
        for kind in meant {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}

/// Reads a noun.
///
/// # Errors
/// A usage error with a suggestion.
pub(crate) fn kind_of(noun: &str) -> Result<Kind> {
    Kind::from_noun(noun).ok_or_else(|| {
        let nouns = KINDS
            .iter()
            .flat_map(|row| row.aliases.iter().chain([&row.plural]).copied());
        let error = Error::usage(format!("no resource type {noun:?}"));
        match (did_you_mean(noun, nouns), command_of(noun)) {
            (_, Some(command)) => error.hint(command),
            (Some(near), None) => error.hint(format!("did you mean {near:?}?")),
            (None, None) => error.hint("kvmctl api-resources"),
        }
    })
}

/// Returns the command that tells of what is no kind, as `kvmctl events`.
fn command_of(word: &str) -> Option<String> {
    let all = command();
    let found = all.find_subcommand(word)?;
    let list = found.find_subcommand("list").map_or("", |_| " list");
    Some(format!("kvmctl {word}{list}"))
}

/// Reads a name typed on the command line. A domain made by hand may be named otherwise than our
/// objects; it cannot be addressed, and the error says what a name is.
fn parse_name(word: &str) -> Result<Name> {
    Name::new(word).map_err(|e: InvalidName| Error::usage(e.to_string()))
}

fn mixed(verb: &str) -> Error {
    Error::usage("there is no need to mix TYPE and TYPE/NAME: use one form for all")
        .hint(format!("kvmctl {verb} instance/web"))
        .hint(format!("kvmctl {verb} instance web"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Targets> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Targets::parse(None, &words, "get")
    }

    fn keys(targets: Targets) -> Vec<String> {
        targets
            .named()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn both_forms_name_the_same_objects() {
        assert_eq!(
            keys(parse(&["instance", "web", "db"]).unwrap()),
            ["instance/web", "instance/db"]
        );
        assert_eq!(
            keys(parse(&["vm/web", "img/d"]).unwrap()),
            ["instance/web", "image/d"]
        );
        assert_eq!(
            parse(&["instances,images"]).unwrap(),
            Targets::Kinds(vec![Kind::Instance, Kind::Image])
        );
        assert_eq!(
            parse(&["instances,all"]).unwrap(),
            match parse(&["all"]).unwrap() {
                Targets::Kinds(all) => Targets::Kinds(
                    std::iter::once(Kind::Instance)
                        .chain(all.into_iter().filter(|k| *k != Kind::Instance))
                        .collect()
                ),
                named => named,
            },
            "each kind once"
        );
    }

    #[test]
    fn mixing_the_forms_is_an_error_with_an_example() {
        for words in [&["instance", "instance/web"][..], &["instance/web", "db"]] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            assert!(error.hints()[0].contains("kvmctl get instance/web"));
        }
    }

    #[test]
    fn an_unknown_type_gets_a_suggestion() {
        let error = parse(&["instnces"]).unwrap_err();
        assert_eq!(error.message(), "no resource type \"instnces\"");
        for (word, command) in [("events", "kvmctl events"), ("pools", "kvmctl pools list")] {
            assert_eq!(kind_of(word).unwrap_err().hints(), [command]);
        }
        assert_eq!(error.hints(), ["did you mean \"instances\"?"]);
    }
}
