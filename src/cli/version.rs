//! `version`: ours, and the daemon's if it answers.

use clap::Args;
use serde::Serialize;

use super::context::Ctx;
use crate::api::Kind;
use crate::error::Result;
use crate::output::OutputFormat;

/// Which versions.
#[derive(Debug, Clone, Args)]
pub(crate) struct VersionArgs {
    /// Only kvmctl's own version
    #[arg(long)]
    client: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    uri: String,
    libvirt: String,
    hypervisor: String,
}

/// Prints versions.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: VersionArgs) -> Result<()> {
    let server = if args.client { None } else { server(ctx) };
    let versions = Versions {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        server,
    };
    match ctx.format(&["table", "json", "yaml"])? {
        OutputFormat::Table | OutputFormat::Wide => {
            ctx.ui().out_line(&format!("kvmctl {}", versions.client))?;
            if let Some(server) = &versions.server {
                ctx.ui()
                    .out_line(&format!("libvirt {} at {}", server.libvirt, server.uri))?;
                ctx.ui()
                    .out_line(&format!("hypervisor {}", server.hypervisor))?;
            }
            Ok(())
        }
        format => ctx.print_value(&format, &versions),
    }
}

/// A daemon that does not answer is a warning here, not an error.
fn server(ctx: &Ctx) -> Option<Server> {
    let found = ctx.world().and_then(|world| {
        let host = world.host()?;
        Ok(Server {
            uri: host.uri().to_owned(),
            libvirt: host.lib_version()?.to_string(),
            hypervisor: host.hypervisor_version()?.to_string(),
        })
    });
    found.map_err(|e| ctx.ui().warn(&e.to_string())).ok()
}
