//! `api-resources`: the registry of kinds, as a table.

use clap::Args as ClapArgs;

use super::context::Ctx;
use crate::api::{API_VERSION, KINDS, Kind};
use crate::error::Result;
use crate::output::OutputFormat;

/// No flags of its own.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Args {
    /// Print no header line
    #[arg(long)]
    no_headers: bool,
}

/// Prints the kinds.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: Args) -> Result<()> {
    if ctx.format(&["name", "table", "wide"])? == OutputFormat::Name {
        return KINDS
            .iter()
            .rev()
            .try_for_each(|row| ctx.ui().out_line(row.plural));
    }
    let rows: Vec<Vec<String>> = KINDS
        .iter()
        .rev()
        .map(|row| {
            let short = if row.short_names.is_empty() {
                "<none>".to_owned()
            } else {
                row.short_names.join(",")
            };
            vec![
                row.plural.into(),
                short,
                API_VERSION.into(),
                "false".into(),
                row.name.into(),
            ]
        })
        .collect();
    let header = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    ctx.print_rows(&header, rows, args.no_headers)
}
