//! The two grammars, made from the registry of kinds and the table of verbs.
//!
//! `kvmctl instances list` and `kvmctl get instances` are two doors to one room: both reach the same
//! row of the table with the same matches, only the kind is given by the noun or by the targets.

use clap::{ArgMatches, Args as _, Command};

use super::args::GlobalArgs;
use super::context::Ctx;
use super::verb::{Group, VERBS, Verb};
use super::{complete, create};
use crate::api::{KINDS, Kind, KindInfo};
use crate::error::{Error, Result};

const ABOUT: &str = "kubectl for the KVM host you already have";

/// Builds the whole command tree.
pub(crate) fn command() -> Command {
    let root = Command::new("kvmctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_subcommands(false)
        .disable_help_subcommand(false)
        .help_template("{about}\n\nUsage: {usage}{after-help}\n\nGlobal options:\n{options}")
        .after_help(overview());
    // A derived set of flags brings its own description along.
    let root = GlobalArgs::augment_args(root)
        .about(ABOUT)
        .next_help_heading("Options");
    let verbs = VERBS.iter().filter(|v| v.root).map(root_verb);
    let nouns = KINDS.iter().map(noun);
    root.subcommands(verbs).subcommands(nouns)
}

/// Runs the command that was typed.
pub(crate) fn dispatch(ctx: &Ctx, matches: &ArgMatches) -> Result<()> {
    let Some((word, sub)) = matches.subcommand() else {
        return Err(Error::usage("no command was given").hint("kvmctl --help"));
    };
    let kind = KINDS
        .iter()
        .find(|row| row.plural == word)
        .map(|row| row.kind);
    match kind {
        None => run_verb(ctx, None, word, sub),
        Some(kind) => match sub.subcommand() {
            Some((verb, sub)) => run_verb(ctx, Some(kind), verb, sub),
            None => Err(Error::usage(format!("no verb was given for {word}"))
                .hint(format!("kvmctl {word} list"))),
        },
    }
}

fn run_verb(ctx: &Ctx, kind: Option<Kind>, word: &str, matches: &ArgMatches) -> Result<()> {
    let name = if word == "list" { "get" } else { word };
    // A verb may mean something else with another noun.
    let fits = |v: &&Verb| v.name == name && kind.is_none_or(|kind| v.applies_to(kind));
    match VERBS.iter().find(fits) {
        Some(verb) => (verb.run)(ctx, kind, matches),
        None => Err(Error::usage(format!("unknown command {word:?}"))),
    }
}

fn root_verb(verb: &'static Verb) -> Command {
    let command = base(verb, verb.name, &examples(verb, None));
    let command = match verb.name {
        "create" => create::augment_root(command),
        "generate" => (verb.augment)(command).hide(true),
        _ => (verb.augment)(command),
    };
    let command = command.about(verb.about);
    if has(&command, "targets") {
        command.mut_arg("targets", |a| a.add(complete::targets()))
    } else {
        with_instance_names(command)
    }
}

fn has(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|a| a.get_id() == id)
}

/// A verb with one target works in an instance; what else is named says so.
fn with_instance_names(command: Command) -> Command {
    let named = [
        ("target", Kind::Instance),
        ("instance", Kind::Instance),
        ("volume", Kind::Volume),
        ("snapshot", Kind::Snapshot),
    ];
    let ids: Vec<clap::Id> = command
        .get_arguments()
        .map(|a| a.get_id().clone())
        .collect();
    // Each in its turn: an argument that is changed goes behind the others, and words count.
    ids.into_iter().fold(command, |command, id| {
        let kind = named.iter().find(|(name, _)| id == *name);
        command.mut_arg(id, |a| match kind {
            Some((_, kind)) => a.add(complete::names_of(*kind)),
            None => a,
        })
    })
}

fn noun(row: &'static KindInfo) -> Command {
    let verbs = VERBS.iter().filter(|v| v.applies_to(row.kind));
    let mut command = Command::new(row.plural)
        .about(row.about)
        .visible_aliases(row.short_names.iter().copied())
        .aliases(
            row.aliases
                .iter()
                .filter(|a| !row.short_names.contains(a))
                .copied(),
        )
        .subcommand_required(true)
        .arg_required_else_help(true);
    for verb in verbs {
        command = command.subcommand(noun_verb(row.kind, verb, verb.name));
        if verb.name == "get" {
            command = command.subcommand(noun_verb(row.kind, verb, "list").about("List objects"));
        }
    }
    command
}

fn noun_verb(kind: Kind, verb: &'static Verb, name: &'static str) -> Command {
    let command = base(verb, name, &examples(verb, Some(kind)));
    let command = match verb.name {
        "create" => create::augment_noun(command, kind),
        _ => (verb.augment)(command),
    }
    .about(verb.about);
    // After a noun the words are names, and the help should say so.
    if has(&command, "targets") {
        command.mut_arg("targets", |a| {
            a.value_name("NAME")
                .help("Names of objects")
                .add(complete::names_of(kind))
        })
    } else {
        with_instance_names(command)
    }
}

fn base(verb: &'static Verb, name: &'static str, examples: &str) -> Command {
    let command = Command::new(name).about(verb.about);
    if examples.is_empty() {
        command
    } else {
        command.after_help(examples.to_owned())
    }
}

/// The examples of a verb: for a noun only those that begin with it, if there are any.
fn examples(verb: &Verb, kind: Option<Kind>) -> String {
    let all: Vec<&str> = verb.examples.lines().filter(|l| !l.is_empty()).collect();
    let noun = kind.map(|k| format!("kvmctl {} ", k.info().plural));
    let fitting: Vec<&str> = match &noun {
        Some(noun) => all
            .iter()
            .copied()
            .filter(|l| l.starts_with(noun.as_str()))
            .collect(),
        None => all.clone(),
    };
    let shown = if fitting.is_empty() && kind.is_none() {
        all
    } else {
        fitting
    };
    if shown.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = shown.iter().map(|l| format!("  {l}")).collect();
    format!("Examples:\n{}", lines.join("\n"))
}

/// The list of commands in groups, which clap cannot make itself.
fn overview() -> String {
    let mut text = String::from("Objects:\n");
    for row in KINDS.iter().rev() {
        text.push_str(&format!("  {:<15}{}\n", row.plural, row.about));
    }
    let groups = [
        (Group::Basic, "Making and changing"),
        (Group::Inspect, "Looking"),
        (Group::Guest, "Inside an instance"),
        (Group::Host, "The host and kvmctl itself"),
    ];
    for (group, title) in groups {
        text.push_str(&format!("\n{title}:\n"));
        for verb in VERBS
            .iter()
            .filter(|v| v.root && v.group == group && v.name != "generate")
        {
            text.push_str(&format!("  {:<15}{}\n", verb.name, verb.about));
        }
    }
    text.push_str(
        "\nExamples:\n  kvmctl instances create web --image debian-12 --type t2.micro --wait\n  \
         kvmctl get instances\n  kvmctl apply -f stack.yaml\n\nEvery object has its verbs: `kvmctl \
         instances --help`.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn both_doors_give_the_same_flags() {
        let tree = command();
        let root = tree.find_subcommand("get").unwrap();
        let noun = tree
            .find_subcommand("instances")
            .unwrap()
            .find_subcommand("list")
            .unwrap();
        let flags = |c: &Command| -> Vec<String> {
            c.get_arguments().map(|a| a.get_id().to_string()).collect()
        };
        assert_eq!(flags(root), flags(noun));
    }
}
