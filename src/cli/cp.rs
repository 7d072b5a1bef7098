//! `cp`: one file, into or out of an instance.

use std::path::PathBuf;

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, ObjectKey};
use crate::engine::guest;
use crate::error::{Error, Result};

/// From where to where.
#[derive(Debug, Clone, Args)]
pub(crate) struct CpArgs {
    /// FILE or INSTANCE:FILE
    #[arg(value_name = "FROM")]
    from: String,
    /// FILE or INSTANCE:FILE
    #[arg(value_name = "TO")]
    to: String,
}

enum End {
    Here(PathBuf),
    Guest(ObjectKey, String),
}

/// Copies a file.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: CpArgs) -> Result<()> {
    match (end(&args.from)?, end(&args.to)?) {
        (End::Here(from), End::Guest(key, to)) => {
            let reporter = ctx.reporter();
            guest::copy_in(ctx.world()?, &key, &from, &to, reporter.as_ref())
        }
        (End::Guest(key, from), End::Here(to)) => {
            let reporter = ctx.reporter();
            guest::copy_out(ctx.world()?, &key, &from, &to, reporter.as_ref())
        }
        _ => Err(Error::usage("exactly one side must be INSTANCE:FILE")
            .hint("kvmctl cp ./site.tar web:/srv/site.tar")),
    }
}

/// A local file may have a colon in its name when it is written with a slash before it.
fn end(text: &str) -> Result<End> {
    match text.split_once(':') {
        Some((name, path)) if !name.contains(['/', '.']) || name.starts_with("instance/") => {
            let key = Targets::one_instance(None, &[name.to_owned()], "cp")?;
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(Error::usage(format!(
                    "{path:?}: a path in the guest is absolute and has no '..'"
                )));
            }
            Ok(End::Guest(key, path.to_owned()))
        }
        _ => Ok(End::Here(PathBuf::from(text))),
    }
}
