//! `generate`: writes what is generated from the grammar into `completions/` and `man/`.
//!
//! Hidden: it is for this project's own tree; a test holds the files against it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::completion::{Shell, registration};
use super::context::Ctx;
use super::grammar;
use crate::api::Kind;
use crate::error::{Error, Result};

/// Where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct GenerateArgs {
    /// Folder that has or gets `completions` and `man`
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes all generated files.
pub(crate) fn run(_: &Ctx, _: Option<Kind>, args: GenerateArgs) -> Result<()> {
    let completions = args.folder.join("completions");
    let man = args.folder.join("man");
    for folder in [&completions, &man] {
        fs::create_dir_all(folder).map_err(|e| cannot(folder, e))?;
    }
    let shells = [
        (Shell::Bash, "kvmctl.bash"),
        (Shell::Zsh, "_kvmctl"),
        (Shell::Fish, "kvmctl.fish"),
        (Shell::Powershell, "kvmctl.ps1"),
        (Shell::Elvish, "kvmctl.elv"),
    ];
    for (shell, name) in shells {
        write(&completions.join(name), registration(shell)?.as_bytes())?;
    }
    let mut schema = serde_json::to_string_pretty(&crate::manifest::schema())
        .map_err(|e| Error::failed("cannot write the schema").caused_by(e))?;
    schema.push('\n');
    write(&completions.join("kvmctl.schema.json"), schema.as_bytes())?;
    pages(&man, grammar::command(), "kvmctl")
}

fn pages(folder: &Path, mut command: Command, name: &str) -> Result<()> {
    // Pages are named after the whole path of words, as git's are.
    command = command
        .display_name(name.to_owned())
        .disable_help_subcommand(true);
    command.build();
    page(folder, &command, name)
}

fn page(folder: &Path, command: &Command, name: &str) -> Result<()> {
    let mut text = Vec::new();
    let titled = command
        .clone()
        .name(name.to_owned())
        .bin_name(name.replace('-', " "));
    clap_mangen::Man::new(titled)
        .date("")
        .render(&mut text)
        .map_err(|e| cannot(folder, e))?;
    write(&folder.join(format!("{name}.1")), &text)?;
    for sub in command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
    {
        page(folder, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| cannot(path, e))
}

fn cannot(path: &Path, error: std::io::Error) -> Error {
    Error::failed(format!("cannot write {}", path.display())).caused_by(error)
}
