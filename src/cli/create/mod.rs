//! `create`: flags become a manifest, which goes the same way as `apply`.
//!
//! One file a kind; each only builds an object, so that flags and YAML cannot drift apart.

mod balancer;
pub(crate) mod forward;
pub(crate) mod instance;
mod instance_type;
mod network;
mod secret;
mod snapshot;
pub(crate) mod volume;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use self::balancer::BalancerArgs;
use self::forward::ForwardArgs;
use self::instance::InstanceArgs;
use self::instance_type::InstanceTypeArgs;
use self::network::NetworkArgs;
use self::secret::SecretArgs;
use self::snapshot::SnapshotArgs;
use self::volume::VolumeArgs;
use super::args::{DryRunArgs, FileArgs, WaitArgs};
use super::context::Ctx;
use super::usage_error;
use crate::api::{KINDS, Kind, Object, ObjectKey};
use crate::engine::{ApplyMode, ApplyOptions};
use crate::error::{Error, Result};

/// The flags of `create` whatever is created.
#[derive(Debug, Clone, Args)]
struct CommonArgs {
    #[command(flatten)]
    dry_run: DryRunArgs,
}

#[derive(Debug, Clone, Args)]
struct RootArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The kinds that can be created from flags.
const CREATABLE: &[Kind] = &[
    Kind::Instance,
    Kind::Network,
    Kind::Volume,
    Kind::Secret,
    Kind::InstanceType,
    Kind::Snapshot,
    Kind::PortForward,
    Kind::LoadBalancer,
];

/// Adds what `kvmctl create` takes: `-f`, or a kind and its flags.
pub(crate) fn augment_root(command: Command) -> Command {
    let kinds = CREATABLE.iter().map(|&kind| {
        let row = kind.info();
        augment_noun(Command::new(row.singular), kind)
            .about(format!("Create one of: {}", row.about.to_lowercase()))
            .alias(row.plural)
            .aliases(row.aliases.iter().filter(|a| **a != row.singular).copied())
    });
    RootArgs::augment_args(command)
        .subcommands(kinds)
        .args_conflicts_with_subcommands(true)
}

/// Adds what `kvmctl KIND create` takes.
pub(crate) fn augment_noun(command: Command, kind: Kind) -> Command {
    let command = match kind {
        // Nothing else becomes ready.
        Kind::Instance => WaitArgs::augment_args(InstanceArgs::augment_args(command)),
        Kind::Volume => VolumeArgs::augment_args(command),
        Kind::Snapshot => SnapshotArgs::augment_args(command),
        Kind::Secret => SecretArgs::augment_args(command),
        Kind::InstanceType => InstanceTypeArgs::augment_args(command),
        Kind::PortForward => ForwardArgs::augment_args(command),
        Kind::LoadBalancer => BalancerArgs::augment_args(command),
        Kind::Network => NetworkArgs::augment_args(command),
        Kind::Image => command,
    };
    CommonArgs::augment_args(command)
}

/// Creates objects.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, matches: &ArgMatches) -> Result<()> {
    let (kind, matches) = match (noun, matches.subcommand()) {
        (Some(kind), _) => (Some(kind), matches),
        (None, Some((word, sub))) => (
            KINDS
                .iter()
                .find(|row| row.singular == word)
                .map(|row| row.kind),
            sub,
        ),
        (None, None) => (None, matches),
    };
    let (objects, common, wait) = match kind {
        Some(Kind::Instance) => (
            from_flags(Kind::Instance, matches)?,
            parse::<CommonArgs>(matches)?,
            Some(parse::<WaitArgs>(matches)?),
        ),
        Some(kind) => (from_flags(kind, matches)?, parse(matches)?, None),
        None => {
            let args: RootArgs = parse(matches)?;
            if args.files.files.is_empty() {
                return Err(Error::usage("must specify -f, or a kind and a name")
                    .hint("kvmctl create instance NAME --image debian-12")
                    .hint("kvmctl create -f FILE"));
            }
            let objects = ctx.manifests(&args.files, "create")?;
            (objects, args.common, Some(args.wait))
        }
    };
    let options = ApplyOptions {
        mode: ApplyMode::Create,
        dry_run: ctx.dry_run(&common.dry_run)?,
        wait: wait
            .filter(|w| w.wanted(false))
            .map(|w| w.timeout.duration()),
        error_unchanged: false,
    };
    ctx.apply(objects, &options)
}

fn parse<A: FromArgMatches>(matches: &ArgMatches) -> Result<A> {
    A::from_arg_matches(matches).map_err(usage_error)
}

fn from_flags(kind: Kind, matches: &ArgMatches) -> Result<Vec<Object>> {
    match kind {
        Kind::Instance => {
            let args: InstanceArgs = parse(matches)?;
            let mut objects: Vec<Object> = Vec::new();
            if let Some(file) = &args.secret_env_file {
                let data = instance::env_lines(file)?;
                let data = data
                    .into_iter()
                    .map(|(k, v)| (k, crate::api::SecretValue::new(v)));
                let mut made = secret::secret(args.secret_name()?, data.collect());
                let owner = ObjectKey::new(Kind::Instance, args.name().clone());
                made.metadata.set_made_for(&owner);
                objects.push(made.into());
            }
            objects.push(args.object()?.into());
            Ok(objects)
        }
        Kind::Volume => Ok(vec![parse::<VolumeArgs>(matches)?.object().into()]),
        Kind::Snapshot => Ok(vec![parse::<SnapshotArgs>(matches)?.object()?.into()]),
        Kind::Secret => Ok(vec![parse::<SecretArgs>(matches)?.object()?.into()]),
        Kind::InstanceType => Ok(vec![parse::<InstanceTypeArgs>(matches)?.object().into()]),
        Kind::PortForward => Ok(vec![parse::<ForwardArgs>(matches)?.object()?.into()]),
        Kind::LoadBalancer => Ok(vec![parse::<BalancerArgs>(matches)?.object()?.into()]),
        Kind::Network => Ok(vec![parse::<NetworkArgs>(matches)?.object().into()]),
        Kind::Image => Err(Error::usage("images are pulled or imported, not created")
            .hint("kvmctl images pull debian-12")
            .hint("kvmctl images import FILE --name NAME")),
    }
}
