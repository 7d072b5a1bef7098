//! `pools`: the storage pools that volumes lie in. They are libvirt's own; kvmctl makes only the
//! context's, by `setup`.

use clap::Subcommand;

use super::context::Ctx;
use crate::error::{Error, Result};
use crate::libvirt::{Pool, PoolSort};
use crate::output::{self, OutputFormat};

/// What to tell of pools.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PoolsCommand {
    /// List the storage pools
    #[command(visible_alias = "get")]
    List {
        /// Print no header line
        #[arg(long)]
        no_headers: bool,
    },
    /// Show everything about storage pools
    Describe {
        /// Names of pools
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

/// Runs a pools command.
pub(crate) fn run(ctx: &Ctx, command: PoolsCommand) -> Result<()> {
    match command {
        PoolsCommand::List { no_headers } => list(ctx, no_headers),
        PoolsCommand::Describe { names } => names.iter().try_for_each(|name| describe(ctx, name)),
    }
}

fn list(ctx: &Ctx, no_headers: bool) -> Result<()> {
    let mut pools = ctx.world()?.host()?.pools()?;
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    if ctx.format(&["name", "table", "wide"])? == OutputFormat::Name {
        return pools.iter().try_for_each(|p| ctx.ui().out_line(&p.name));
    }
    let header = [
        "NAME", "STATUS", "TYPE", "CAPACITY", "USED", "FREE", "VOLUMES", "DEFAULT",
    ];
    let rows = pools.iter().map(|pool| row(ctx, pool));
    ctx.print_rows(&header, rows.collect::<Result<_>>()?, no_headers)
}

fn row(ctx: &Ctx, pool: &Pool) -> Result<Vec<String>> {
    let active = pool.is_active()?;
    let kind = pool.definition()?.kind;
    let sizes = match active {
        true => {
            let info = pool.info()?;
            let volumes = pool.volumes()?.len();
            let mut cells: Vec<String> = [info.capacity, info.allocation, info.available]
                .map(output::bytes)
                .into();
            cells.push(volumes.to_string());
            cells
        }
        false => vec!["<unknown>".to_owned(); 4],
    };
    let default = ctx.world()?.settings().pool == pool.name;
    let mut row = vec![pool.name.clone(), word(active).to_owned(), kind];
    row.extend(sizes);
    row.push(if default { "Yes" } else { "No" }.to_owned());
    Ok(row)
}

const fn word(active: bool) -> &'static str {
    if active { "Active" } else { "Inactive" }
}

const fn what(sort: &PoolSort) -> &'static str {
    match sort {
        PoolSort::Files => "files, qcow2 or raw",
        PoolSort::Logical => "logical volumes, raw, with all their room taken",
        PoolSort::Other(_) => "not made by kvmctl",
    }
}

fn describe(ctx: &Ctx, name: &str) -> Result<()> {
    let host = ctx.world()?.host()?;
    let pool = match host.pool(name) {
        Ok(pool) => pool,
        Err(e) if e.is_not_found() => {
            return Err(Error::not_found(format!("storage pool {name:?} not found"))
                .hint("kvmctl pools list"));
        }
        Err(e) => return Err(e.into()),
    };
    let definition = pool.definition()?;
    let active = pool.is_active()?;
    let mut lines = vec![
        ("Name", pool.name.clone()),
        ("Status", word(active).to_owned()),
        ("Type", definition.kind.clone()),
        ("Volumes there are", what(&pool.sort()?).to_owned()),
        ("Path", definition.path().unwrap_or("<none>").to_owned()),
        ("Starts with the host", pool.autostart()?.to_string()),
    ];
    if active {
        let info = pool.info()?;
        let volumes = pool.volumes()?;
        // What all volumes may grow to, which may be more than there is.
        let mut promised = 0_u64;
        for volume in &volumes {
            promised = promised.saturating_add(volume.info()?.capacity);
        }
        lines.extend([
            ("Capacity", output::bytes(info.capacity)),
            ("Used", output::bytes(info.allocation)),
            ("Free", output::bytes(info.available)),
            ("Volumes", volumes.len().to_string()),
            ("Promised to volumes", output::bytes(promised)),
        ]);
    }
    for (key, value) in lines {
        ctx.ui()
            .out_line(&format!("{:<22}{value}", format!("{key}:")))?;
    }
    Ok(())
}
