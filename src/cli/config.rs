//! `config`: contexts, and which of them is used.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::args::AcceleratorArg;
use super::context::Ctx;
use crate::config::{ConfigFile, ContextChange, ContextRow, Privilege};
use crate::error::{Error, Result};
use crate::libvirt::Host;
use crate::output::OutputFormat;
use crate::paths::Paths;

/// What to do with contexts.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// List the contexts, the current one marked
    GetContexts {
        /// Print no header line
        #[arg(long)]
        no_headers: bool,
    },
    /// Print the name of the current context
    CurrentContext,
    /// Make a context the current one
    UseContext {
        /// Name of the context
        #[arg(add = super::complete::contexts())]
        name: String,
    },
    /// Make or change a context; --uri and --accelerator are its, too
    SetContext {
        /// Name of the context
        #[arg(add = super::complete::contexts())]
        name: String,
        /// Storage pool
        #[arg(long)]
        pool: Option<String>,
        /// Network
        #[arg(long)]
        network: Option<String>,
        /// Directory of the store
        #[arg(long)]
        store: Option<std::path::PathBuf>,
        /// How iptables and the like get the rights they need: none, or sudo, which is then run as
        /// `sudo -n` and never asks
        #[arg(long, value_enum, value_name = "HOW")]
        privilege: Option<PrivilegeArg>,
    },
    /// Remove a context
    DeleteContext {
        /// Name of the context
        #[arg(add = super::complete::contexts())]
        name: String,
    },
    /// Print the file of contexts
    View,
}

/// How host tools get their rights, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrivilegeArg {
    /// Those of the caller
    None,
    /// Through sudo, which never asks
    Sudo,
}

impl From<PrivilegeArg> for Privilege {
    fn from(arg: PrivilegeArg) -> Self {
        match arg {
            PrivilegeArg::None => Self::None,
            PrivilegeArg::Sudo => Self::Sudo,
        }
    }
}

/// Runs a config command.
pub(crate) fn run(ctx: &Ctx, command: ConfigCommand) -> Result<()> {
    let paths = Paths::from_env()?;
    let mut file = ConfigFile::load(paths.config_file())?;
    match command {
        ConfigCommand::GetContexts { no_headers } => get(ctx, &file, no_headers),
        ConfigCommand::CurrentContext => {
            let global = ctx.global();
            let named = global
                .context
                .clone()
                .or_else(|| crate::config::env::read(crate::config::env::CONTEXT));
            ctx.ui()
                .out_line(named.as_deref().unwrap_or_else(|| file.current()))
        }
        ConfigCommand::UseContext { name } => {
            file.use_context(&name)?;
            file.save(paths.config_file())?;
            ctx.ui()
                .out_line(&format!("Switched to context \"{name}\"."))
        }
        ConfigCommand::SetContext {
            name,
            pool,
            network,
            store,
            privilege,
        } => {
            let global = ctx.global();
            if let Some(uri) = &global.uri {
                Host::check_uri(uri)?;
            }
            let change = ContextChange {
                uri: global.uri.clone(),
                pool,
                network,
                accelerator: global.accelerator.map(AcceleratorArg::into),
                store,
                privilege: privilege.map(Into::into),
            };
            let new = file.set_context(&name, change)?;
            file.save(paths.config_file())?;
            let word = if new { "created" } else { "modified" };
            ctx.ui().out_line(&format!("Context \"{name}\" {word}."))
        }
        ConfigCommand::DeleteContext { name } => {
            file.delete_context(&name)?;
            file.save(paths.config_file())?;
            ctx.ui().out_line(&format!(
                "deleted context {name} from {}",
                paths.config_file().display()
            ))
        }
        ConfigCommand::View => {
            let value = serde_json::to_value(&file)
                .map_err(|e| Error::failed("cannot print the contexts").caused_by(e))?;
            let format = match ctx.format(&["table", "json", "yaml"])? {
                OutputFormat::Json => OutputFormat::Json,
                _ => OutputFormat::Yaml,
            };
            ctx.print_value(&format, &value)
        }
    }
}

fn get(ctx: &Ctx, file: &ConfigFile, no_headers: bool) -> Result<()> {
    let format = ctx.format(&["json", "name", "table", "wide", "yaml"])?;
    let rows = file.get_contexts().into_iter();
    match format {
        OutputFormat::Name => {
            let mut names = rows.map(|row| row.context.name);
            return names.try_for_each(|name| ctx.ui().out_line(&name));
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            let items: Vec<ContextRow> = rows.collect();
            return ctx.print_value(&format, &json!({"items": items}));
        }
        _ => {}
    }
    let rows = rows
        .map(|row| {
            let mark = if row.current { "*" } else { "-" };
            let text = |value: Option<String>| value.unwrap_or_else(|| "<default>".to_owned());
            let context = row.context;
            vec![
                mark.to_owned(),
                context.name,
                text(context.uri),
                text(context.pool),
                text(context.network),
            ]
        })
        .collect();
    ctx.print_rows(
        &["CURRENT", "NAME", "URI", "POOL", "NETWORK"],
        rows,
        no_headers,
    )
}
