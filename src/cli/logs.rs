//! `logs`: what the guest wrote to its serial console, cloud-init's own log, QEMU's log.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::Kind;
use crate::engine::guest::{self, LogSource};
use crate::error::{Error, Result};

/// Which log, and how much of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", required = true, num_args = 1..=2)]
    targets: Vec<String>,
    /// Go on printing as more is written
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// cloud-init's output inside the guest instead of the serial console
    #[arg(long, conflicts_with = "qemu")]
    cloud_init: bool,
    /// QEMU's own log instead of the serial console
    #[arg(long)]
    qemu: bool,
}

/// Prints a log.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: LogsArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &args.targets, "logs")?;
    let source = match (args.cloud_init, args.qemu) {
        (true, _) => LogSource::CloudInit,
        (_, true) => LogSource::Qemu,
        _ => LogSource::Serial,
    };
    if args.follow && source == LogSource::CloudInit {
        return Err(
            Error::usage("cloud-init's output can be followed on the serial console")
                .hint(format!("kvmctl logs {} -f", key.name)),
        );
    }
    let mut log = guest::open_log(ctx.world()?, &key, source, args.tail)?;
    while let Some(bytes) = log.next(args.follow)? {
        ctx.ui().out_foreign(&String::from_utf8_lossy(&bytes))?;
    }
    Ok(())
}
