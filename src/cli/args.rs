//! Groups of flags that several verbs share, so that a flag reads the same everywhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::api::Span;

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Context to work in (see `kvmctl config get-contexts`)
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) context: Option<String>,
    /// libvirt to connect to, as qemu:///system or qemu+ssh://host/system
    #[arg(
        long,
        short = 'c',
        global = true,
        visible_alias = "connect",
        value_name = "URI",
        help_heading = "Global options"
    )]
    pub(crate) uri: Option<String>,
    /// How virtual CPUs are run
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHICH",
        help_heading = "Global options"
    )]
    pub(crate) accelerator: Option<AcceleratorArg>,
    /// Output format: table, wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(
        long,
        short = 'o',
        global = true,
        value_name = "FORMAT",
        help_heading = "Global options",
        add = super::complete::formats()
    )]
    pub(crate) output: Option<String>,
    /// Print each libvirt call and host command as it happens
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Print only errors and data
    #[arg(long, short = 'q', global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Print without colour, as NO_COLOR does
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
}

/// The accelerator as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceleratorArg {
    /// KVM where it is known to work, TCG elsewhere
    Auto,
    /// Hardware virtualisation
    Kvm,
    /// QEMU's own emulation
    Tcg,
}

impl From<AcceleratorArg> for crate::api::Accelerator {
    fn from(arg: AcceleratorArg) -> Self {
        match arg {
            AcceleratorArg::Auto => Self::Auto,
            AcceleratorArg::Kvm => Self::Kvm,
            AcceleratorArg::Tcg => Self::Tcg,
        }
    }
}

/// Which objects: names, or a selection.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectArgs {
    /// Objects: TYPE NAME…, TYPE/NAME… or TYPE,TYPE
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Select by labels, as app=web,tier!=db
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

/// Where manifests come from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FileArgs {
    /// File, folder, glob, URL or - with manifests (can be repeated)
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Go into folders below the given ones
    #[arg(long, short = 'R')]
    pub(crate) recursive: bool,
    /// What happens with unknown fields: strict, warn or ignore
    #[arg(long, value_enum, default_value = "strict", value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    pub(crate) validate: ValidateArg,
}

/// How strictly a manifest is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValidateArg {
    /// Unknown fields are errors
    #[default]
    #[value(alias = "true")]
    Strict,
    /// Unknown fields are warned of
    Warn,
    /// Unknown fields are passed over
    #[value(alias = "false")]
    Ignore,
}

/// Whether to stop before the world is changed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DryRunArgs {
    /// Change nothing: "client" contacts nobody, "server" checks against libvirt
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) dry_run: Option<String>,
    /// Print the virsh, qemu-img and genisoimage commands that would do the same, and change nothing
    #[arg(long)]
    pub(crate) explain_plan: bool,
}

/// Whether and how long to wait until what was made is ready.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the instance is Ready, and fail as soon as it cannot become so
    #[arg(long, overrides_with = "no_wait", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) wait: Option<bool>,
    /// Return as soon as the instance is started
    #[arg(long, overrides_with = "wait")]
    pub(crate) no_wait: bool,
    /// How long to wait at the most
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(crate) timeout: Span,
}

impl WaitArgs {
    /// Returns whether to wait, with what is the rule where nothing is said.
    pub(crate) fn wanted(&self, default: bool) -> bool {
        if self.no_wait {
            false
        } else {
            self.wait.unwrap_or(default)
        }
    }
}

/// How a list is printed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListArgs {
    /// Select by fields, as status.phase=Running
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) field_selector: Option<String>,
    /// Sort by a path or column, as .metadata.creationTimestamp or age
    #[arg(long, value_name = "PATH")]
    pub(crate) sort_by: Option<String>,
    /// Print no header line
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// Print all labels as the last column
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// Print these labels as columns
    #[arg(long, short = 'L', value_name = "KEY", value_delimiter = ',')]
    pub(crate) label_columns: Vec<String>,
    /// Print names as kind/name
    #[arg(long)]
    pub(crate) show_kind: bool,
}

/// Answers to questions that are asked before much is deleted.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct YesArgs {
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// A file that holds data, `-` for standard input.
pub(crate) type InputFile = PathBuf;
