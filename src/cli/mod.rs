//! Thin: parse, call one operation, print. The only user of clap and dialoguer.
//!
//! The grammar is made from two tables: the registry of kinds ([`crate::api::KINDS`]) and the table
//! of verbs (`verb.rs`). A verb is a file here: its flags, and a `run` that calls one operation.

mod adopt;
mod api_resources;
mod apply;
mod applyset;
mod args;
mod balancers;
mod complete;
mod completion;
mod config;
mod console;
mod context;
mod cp;
mod create;
mod delete;
mod describe;
mod diff;
mod doctor;
mod edit;
mod events;
mod exec;
mod explain;
mod forward;
mod generate;
mod get;
mod grammar;
mod images;
mod ip;
mod label;
mod lifecycle;
mod logs;
mod net;
mod networks;
mod patch;
mod pools;
mod port;
mod port_forward;
mod prompt;
mod reconcile;
mod revert;
mod seed;
mod selection;
mod setup;
mod snapshots;
mod ssh;
mod store;
mod synonyms;
mod targets;
mod top;
mod types;
mod verb;
mod version;
mod volumes;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::ErrorKind;

use crate::error::{Error, did_you_mean};
use args::GlobalArgs;
use context::Ctx;

/// Runs the command line and returns the exit code; no connection is left then.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let code = answer(args);
    crate::libvirt::end_loop();
    code
}

fn answer(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    complete::answer();
    if crate::engine::snapshots::answer_guard() {
        return ExitCode::SUCCESS;
    }
    let matches = match grammar::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return clap_exit(&error),
    };
    let global = match GlobalArgs::from_arg_matches(&matches).map_err(usage_error) {
        Ok(global) => global,
        Err(error) => return Ctx::plain().fail(&error),
    };
    let ctx = Ctx::new(global);
    match grammar::dispatch(&ctx, &matches) {
        Ok(()) => ctx.finish(),
        Err(error) => ctx.fail(&error),
    }
}

/// Prints help and version to stdout, and words clap's errors as ours.
fn clap_exit(error: &clap::Error) -> ExitCode {
    let ctx = Ctx::plain();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match ctx.ui().out(&error.render().to_string()) {
                Ok(()) => ctx.finish(),
                Err(error) => ctx.fail(&error),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ctx.ui().status(error.render().to_string().trim_end());
            ExitCode::from(2)
        }
        _ => ctx.fail(&usage_error_ref(error)),
    }
}

/// Words a clap error as ours.
pub(crate) fn usage_error(error: clap::Error) -> Error {
    usage_error_ref(&error)
}

fn usage_error_ref(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("wrong usage");
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let mut hints = Vec::new();
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            // The command is what stands before the first flag or value.
            let command: Vec<&str> = usage
                .split(' ')
                .take_while(|w| !w.starts_with(['[', '<', '-']))
                .collect();
            hints.push(format!("{} --help", command.join(" ")));
        } else if !line.starts_with("For more information") {
            message.push_str(if message.ends_with(':') { " " } else { "; " });
            message.push_str(line);
        }
    }
    if error.kind() == ErrorKind::InvalidSubcommand {
        hints.insert(0, suggestion(error));
        hints.retain(|h| {
            !h.is_empty() && !h.starts_with("a similar") && !h.starts_with("some similar")
        });
    }
    hints.into_iter().fold(Error::usage(message), Error::hint)
}

/// clap suggests only among names; ours are also known by aliases.
fn suggestion(error: &clap::Error) -> String {
    let typed = error
        .get(clap::error::ContextKind::InvalidSubcommand)
        .map(ToString::to_string);
    let mut tree = grammar::command();
    tree.build();
    // The slip is in the words of the command that it stands after, as the usage line names it.
    let usage = error.render().to_string();
    let parents = usage
        .lines()
        .find_map(|l| l.strip_prefix("Usage: kvmctl "))
        .unwrap_or_default()
        .split(' ')
        .take_while(|w| !w.starts_with(['[', '<', '-']));
    let mut command = &tree;
    let mut noun = None;
    for word in parents {
        command = command.find_subcommand(word).unwrap_or(command);
        noun = Some(word);
    }
    if let Some(meant) = typed.as_deref().and_then(|t| synonyms::meant(t, noun)) {
        return meant;
    }
    let names: Vec<&str> = command
        .get_subcommands()
        .flat_map(|c| std::iter::once(c.get_name()).chain(c.get_all_aliases()))
        .collect();
    let near = typed
        .as_deref()
        .and_then(|t| did_you_mean(t, names.iter().copied()));
    near.map(|n| format!("Did you mean \"{n}\"?"))
        .unwrap_or_default()
}
