//! `instances types`: the instance types, under the noun where people look for them.

use clap::Args;

use super::context::Ctx;
use super::get::{self, GetArgs};
use crate::api::Kind;
use crate::error::Result;

/// The flags of `types list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TypesArgs {
    #[command(flatten)]
    get: GetArgs,
}

/// Prints the types.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: TypesArgs) -> Result<()> {
    get::run(ctx, Some(Kind::InstanceType), args.get)
}
