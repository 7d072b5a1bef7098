//! The table of verbs. Together with the registry of kinds it makes both grammars.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, Subcommand as _};

use super::context::Ctx;
use super::{
    adopt, api_resources, apply, balancers, completion, config, console, cp, create, delete,
    describe, diff, doctor, edit, events, exec, explain, forward, generate, get, images, ip, label,
    lifecycle, logs, net, networks, patch, pools, port, port_forward, reconcile, revert, seed,
    setup, snapshots, ssh, store, top, types, version, volumes, wait,
};
use crate::api::Kind;
use crate::error::Result;

/// The headings that the verbs stand under in `kvmctl --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Making, changing and deleting.
    Basic,
    /// Looking at what is there.
    Inspect,
    /// Working inside an instance.
    Guest,
    /// The host and kvmctl itself.
    Host,
}

/// Which nouns have a verb.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nouns {
    /// Every kind.
    All,
    /// Some kinds.
    Of(&'static [Kind]),
    /// None: the verb stands alone.
    None,
}

/// One row of the table.
pub(crate) struct Verb {
    /// As it is typed.
    pub(crate) name: &'static str,
    /// A line of help.
    pub(crate) about: &'static str,
    /// Where it stands in the help.
    pub(crate) group: Group,
    /// The nouns that have it.
    pub(crate) nouns: Nouns,
    /// Whether it is also a command of its own, before a noun.
    pub(crate) root: bool,
    /// Adds its flags.
    pub(crate) augment: fn(Command) -> Command,
    /// Runs it; the kind is that of a noun-first command.
    pub(crate) run: fn(&Ctx, Option<Kind>, &ArgMatches) -> Result<()>,
    /// Examples, for the end of its help.
    pub(crate) examples: &'static str,
}

impl Verb {
    /// Returns whether the noun of `kind` has the verb.
    pub(crate) fn applies_to(&self, kind: Kind) -> bool {
        match self.nouns {
            Nouns::All => true,
            Nouns::Of(kinds) => kinds.contains(&kind),
            Nouns::None => false,
        }
    }
}

macro_rules! verb {
    ($name:literal, $group:ident, $nouns:expr, root: $root:literal, $args:ty, $run:path, $about:literal, $examples:literal) => {
        Verb {
            name: $name,
            about: $about,
            group: Group::$group,
            nouns: $nouns,
            root: $root,
            augment: |command| <$args>::augment_args(command),
            run: |ctx, kind, matches| {
                let args = <$args>::from_arg_matches(matches).map_err(super::usage_error)?;
                $run(ctx, kind, args)
            },
            examples: $examples,
        }
    };
    ($name:literal, $group:ident, sub $args:ty, $run:path, $about:literal, $examples:literal) => {
        Verb {
            name: $name,
            about: $about,
            group: Group::$group,
            nouns: Nouns::None,
            root: true,
            augment: |command| {
                <$args>::augment_subcommands(command)
                    .subcommand_required(true)
                    .arg_required_else_help(true)
            },
            run: |ctx, _, matches| {
                let args = <$args>::from_arg_matches(matches).map_err(super::usage_error)?;
                $run(ctx, args)
            },
            examples: $examples,
        }
    };
}

const INSTANCE: Nouns = Nouns::Of(&[Kind::Instance]);
const VOLUME: Nouns = Nouns::Of(&[Kind::Volume]);
const SNAPSHOT: Nouns = Nouns::Of(&[Kind::Snapshot]);
const IMAGE: Nouns = Nouns::Of(&[Kind::Image]);
const BALANCER: Nouns = Nouns::Of(&[Kind::LoadBalancer]);
const NETWORK: Nouns = Nouns::Of(&[Kind::Network]);
/// What others can have made.
const ADOPTABLE: Nouns = Nouns::Of(&[Kind::Instance, Kind::Network]);

/// All verbs, in the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        about: "Create an object from flags or from a file",
        group: Group::Basic,
        nouns: Nouns::Of(&[
            Kind::Instance,
            Kind::Network,
            Kind::Volume,
            Kind::Secret,
            Kind::InstanceType,
            Kind::Snapshot,
            Kind::PortForward,
            Kind::LoadBalancer,
        ]),
        root: true,
        augment: |command| command,
        run: create::run,
        examples: "kvmctl instances create web --image debian-12 --type t2.micro -e GREETING=hello\n\
                   kvmctl net create blue --cidr 10.10.0.0/24\n\
                   kvmctl snapshots create before --volume data\n\
                   kvmctl snapshots create --instance web --retain 7\n\
                   kvmctl lb create web-lb --port 80 --target web1:8080 --target web2:8080\n\
                   kvmctl create instance job --image debian-12 -- sh -c 'echo \"$1\"' sh 'one argument'\n\
                   kvmctl create -f web.yaml",
    },
    verb!("apply", Basic, Nouns::None, root: true, apply::ApplyArgs, apply::run,
        "Create or change objects so that they are as a file says",
        "kvmctl apply -f stack.yaml\nkvmctl get instances -o yaml | kvmctl apply -f -\nkvmctl apply -f stack/ --applyset stack --prune"),
    verb!("diff", Basic, Nouns::None, root: true, diff::DiffArgs, diff::run,
        "Show what apply would change (exit code 1 when there is something)",
        "kvmctl diff -f stack.yaml"),
    verb!("delete", Basic, Nouns::All, root: true, delete::DeleteArgs, delete::run,
        "Delete objects by name, by label or from a file",
        "kvmctl delete instance web\nkvmctl instances delete web db\nkvmctl delete -f stack.yaml"),
    verb!("edit", Basic, Nouns::All, root: true, edit::EditArgs, edit::run,
        "Change an object in an editor", "kvmctl edit instance web"),
    verb!("patch", Basic, Nouns::All, root: true, patch::PatchArgs, patch::run,
        "Change fields of an object", "kvmctl patch instance web -p '{\"spec\":{\"memory\":\"2Gi\"}}'"),
    verb!("label", Basic, Nouns::All, root: true, label::LabelArgs, label::run_labels,
        "Set or remove labels", "kvmctl label instance web tier=front\nkvmctl label instance web tier-"),
    verb!("annotate", Basic, Nouns::All, root: true, label::LabelArgs, label::run_annotations,
        "Set or remove annotations", "kvmctl annotate instance web owner='the web team'"),
    verb!("start", Basic, INSTANCE, root: false, lifecycle::StartArgs, lifecycle::start,
        "Start instances", "kvmctl instances start web db"),
    verb!("stop", Basic, INSTANCE, root: false, lifecycle::StopArgs, lifecycle::stop,
        "Shut instances down by ACPI", "kvmctl instances stop web --timeout 30s --force"),
    verb!("restart", Basic, INSTANCE, root: false, lifecycle::StopArgs, lifecycle::restart,
        "Shut instances down and start them again", "kvmctl instances restart web"),
    verb!("pause", Basic, INSTANCE, root: false, lifecycle::PauseArgs, lifecycle::pause,
        "Suspend the CPUs of instances", "kvmctl instances pause web"),
    verb!("resume", Basic, INSTANCE, root: false, lifecycle::PauseArgs, lifecycle::resume,
        "Let paused instances run again", "kvmctl instances resume web"),
    verb!("resize", Basic, INSTANCE, root: false, lifecycle::ResizeArgs, lifecycle::resize,
        "Change type, CPUs, memory or disk", "kvmctl instances resize web --memory 2G --disk 20G"),
    verb!("attach-network", Basic, INSTANCE, root: false, networks::AttachArgs, networks::attach,
        "Attach an instance to one more network, also while it runs",
        "kvmctl instances attach-network web blue\nkvmctl instances attach-network web blue --ip 10.10.0.200"),
    verb!("detach-network", Basic, INSTANCE, root: false, networks::DetachArgs, networks::detach,
        "Detach an instance from a network, also while it runs",
        "kvmctl instances detach-network web blue\nkvmctl instances detach-network web 52:54:00:12:34:56"),
    verb!("start", Basic, NETWORK, root: false, net::StartArgs, net::start,
        "Start networks", "kvmctl net start blue"),
    verb!("stop", Basic, NETWORK, root: false, net::StopArgs, net::stop,
        "Take networks down; says who loses them", "kvmctl net stop blue --yes"),
    verb!("resize", Basic, VOLUME, root: false, volumes::ResizeArgs, volumes::resize,
        "Change the size, also while a guest has it", "kvmctl volumes resize data --size 200G"),
    verb!("attach", Basic, VOLUME, root: false, volumes::AttachArgs, volumes::attach,
        "Attach a volume to an instance, also while it runs",
        "kvmctl volumes attach data web\nkvmctl volumes attach data web --read-only"),
    verb!("detach", Basic, VOLUME, root: false, volumes::DetachArgs, volumes::detach,
        "Detach a volume, and wait until the guest has let go of it",
        "kvmctl volumes detach data web\nkvmctl volumes detach data"),
    verb!("clone", Basic, VOLUME, root: false, volumes::CloneArgs, volumes::clone,
        "Copy a volume", "kvmctl volumes clone data data-2"),
    verb!("import", Basic, VOLUME, root: false, volumes::ImportArgs, volumes::import,
        "Take a file, or a file from a URL, as a volume",
        "kvmctl volumes import disk.qcow2 --name data\nkvmctl volumes import fs.img --name data --format raw"),
    verb!("export", Basic, VOLUME, root: false, volumes::ExportArgs, volumes::export,
        "Write a volume to a file that stands alone",
        "kvmctl volumes export data data.qcow2 --compress"),
    verb!("restore", Basic, SNAPSHOT, root: false, snapshots::RestoreArgs, snapshots::restore,
        "Make the disks be what they were, or new volumes of what they were",
        "kvmctl snapshots restore before --stop\nkvmctl snapshots restore before --to data-2"),
    verb!("export", Basic, SNAPSHOT, root: false, snapshots::ExportArgs, snapshots::export,
        "Write a disk of a snapshot to a file that stands alone",
        "kvmctl snapshots export before before.qcow2"),
    verb!("verify", Basic, SNAPSHOT, root: false, snapshots::VerifyArgs, snapshots::verify,
        "Read snapshots whole, and compare them with what was stored",
        "kvmctl snapshots verify before\nkvmctl snapshots verify"),
    verb!("prune", Basic, SNAPSHOT, root: false, snapshots::PruneArgs, snapshots::prune,
        "Delete the snapshots that no rule keeps",
        "kvmctl snapshots prune --keep-last 3 --keep-daily 7 --keep-weekly 4 --yes"),
    verb!("upload", Basic, VOLUME, root: false, volumes::UploadArgs, volumes::upload,
        "Give a volume that nobody has the content of a file, whole or not at all",
        "kvmctl volumes upload data disk.qcow2\nkvmctl volumes upload raw fs.img --format raw"),
    verb!("download", Basic, VOLUME, root: false, volumes::DownloadArgs, volumes::download,
        "Write the bytes of a volume to a file, as they are",
        "kvmctl volumes download data data.qcow2"),
    verb!("forward", Basic, NETWORK, root: false, forward::ForwardArgs, forward::run,
        "Let ports of the host lead to an instance",
        "kvmctl net forward web 8080:80\nkvmctl net forward web 0:80 127.0.0.1:5353:53/udp"),
    verb!("add-target", Basic, BALANCER, root: false, balancers::AddArgs, balancers::add,
        "Add targets, or put drained ones in again",
        "kvmctl lb add-target web-lb web3:8080\nkvmctl lb add-target web-lb web3:8080,weight=3 web4:8080,backup"),
    verb!("remove-target", Basic, BALANCER, root: false, balancers::RemoveArgs, balancers::remove,
        "Remove targets", "kvmctl lb remove-target web-lb web3\nkvmctl lb remove-target web-lb web3:8080"),
    verb!("drain", Basic, BALANCER, root: false, balancers::DrainArgs, balancers::drain,
        "Give targets no new connections, and wait for the open ones",
        "kvmctl lb drain web-lb web3 --timeout 2m"),
    verb!("pull", Basic, IMAGE, root: false, images::PullArgs, images::pull,
        "Download an image of the catalogue, or from a URL", "kvmctl images pull debian-12"),
    verb!("import", Basic, IMAGE, root: false, images::ImportArgs, images::import,
        "Take a file as an image", "kvmctl images import disk.qcow2 --name mine"),
    verb!("prune", Basic, IMAGE, root: false, images::PruneArgs, images::prune,
        "Delete the images that no instance uses", "kvmctl images prune --dry-run=client"),
    verb!("get", Inspect, Nouns::All, root: true, get::GetArgs, get::run,
        "List objects, or show some by name",
        "kvmctl get instances\nkvmctl get instance web -o yaml\nkvmctl get all -l app=web"),
    verb!("describe", Inspect, Nouns::All, root: true, describe::DescribeArgs, describe::run,
        "Show everything about objects, with events", "kvmctl describe instance web"),
    verb!("wait", Inspect, Nouns::All, root: true, wait::WaitForArgs, wait::run,
        "Wait for a condition", "kvmctl wait --for=condition=Ready instance/web --timeout=5m"),
    verb!("logs", Inspect, INSTANCE, root: true, logs::LogsArgs, logs::run,
        "Print the serial console's log", "kvmctl logs web --tail 20 -f\nkvmctl logs web --cloud-init"),
    verb!("events", Inspect, Nouns::None, root: true, events::EventsArgs, events::run,
        "Show what kvmctl has done", "kvmctl events --for instance/web"),
    verb!("top", Inspect, INSTANCE, root: true, top::TopArgs, top::run,
        "Show CPU and memory use", "kvmctl top instances"),
    verb!("explain", Inspect, Nouns::None, root: true, explain::ExplainArgs, explain::run,
        "Explain the fields of a kind", "kvmctl explain instance.spec.env"),
    verb!("ip", Guest, INSTANCE, root: false, ip::IpArgs, ip::run,
        "Print the address", "kvmctl instances ip web"),
    verb!("port", Guest, INSTANCE, root: false, port::PortArgs, port::run,
        "Print which ports of the host lead to an instance", "kvmctl instances port web\nkvmctl instances port web 80"),
    verb!("ssh", Guest, INSTANCE, root: true, ssh::SshArgs, ssh::run,
        "Log in, or run a command over SSH", "kvmctl ssh web\nkvmctl instances ssh web -- uptime"),
    verb!("exec", Guest, INSTANCE, root: true, exec::ExecArgs, exec::run,
        "Run a command through the guest agent, or SSH", "kvmctl exec web -- uname -a"),
    verb!("cp", Guest, INSTANCE, root: true, cp::CpArgs, cp::run,
        "Copy a file into or out of an instance", "kvmctl cp ./site.tar web:/srv/site.tar"),
    verb!("console", Guest, INSTANCE, root: true, console::ConsoleArgs, console::run,
        "Attach to the serial console (leave with Ctrl-])", "kvmctl console web"),
    verb!("port-forward", Guest, INSTANCE, root: true, port_forward::PortForwardArgs, port_forward::run,
        "Forward ports of this machine to an instance while the command runs",
        "kvmctl port-forward instance/web 8080:80\nkvmctl port-forward web :80 --address 0.0.0.0"),
    verb!("seed", Guest, INSTANCE, root: false, seed::SeedArgs, seed::run,
        "Print what went into the cloud-init seed, with secrets masked", "kvmctl instances seed web"),
    verb!("revert", Guest, INSTANCE, root: false, revert::RevertArgs, revert::run,
        "Make an instance what it was when a snapshot was taken with its memory",
        "kvmctl instances revert web --to before-upgrade"),
    verb!("types", Guest, INSTANCE, root: false, types::TypesArgs, types::run,
        "List the instance types", "kvmctl instances types"),
    verb!("adopt", Host, ADOPTABLE, root: true, adopt::AdoptArgs, adopt::adopt,
        "Make a domain or network that was made by hand kvmctl's own",
        "kvmctl adopt instance legacy\nkvmctl net adopt lab"),
    verb!("forget", Host, ADOPTABLE, root: true, adopt::AdoptArgs, adopt::forget,
        "Leave a domain or network alone from now on, without touching it",
        "kvmctl forget instance legacy\nkvmctl net forget lab"),
    verb!("setup", Host, Nouns::None, root: true, setup::SetupArgs, setup::run,
        "Make, start and autostart the default pool and network", "kvmctl setup --yes"),
    verb!("doctor", Host, Nouns::None, root: true, doctor::DoctorArgs, doctor::run,
        "Check everything that is needed, and say what mends it", "kvmctl doctor"),
    verb!("reconcile", Host, Nouns::None, root: true, reconcile::ReconcileArgs, reconcile::run,
        "Finish what was interrupted", "kvmctl reconcile --check"),
    verb!("config", Host, sub config::ConfigCommand, config::run,
        "Contexts: which libvirt, pool and network to work with", "kvmctl config get-contexts"),
    verb!("pools", Host, sub pools::PoolsCommand, pools::run,
        "Storage pools: where volumes lie", "kvmctl pools list\nkvmctl pools describe default"),
    verb!("store", Host, sub store::StoreCommand, store::run,
        "kvmctl's own files", "kvmctl store rebuild"),
    verb!("api-resources", Host, Nouns::None, root: true, api_resources::Args, api_resources::run,
        "List the kinds", "kvmctl api-resources"),
    verb!("completion", Host, Nouns::None, root: true, completion::CompletionArgs, completion::run,
        "Print the completion script of a shell", "source <(kvmctl completion bash)"),
    verb!("version", Host, Nouns::None, root: true, version::VersionArgs, version::run,
        "Print the versions of kvmctl, libvirt and QEMU", "kvmctl version --client"),
    verb!("generate", Host, Nouns::None, root: true, generate::GenerateArgs, generate::run,
        "Write completions, man pages and the schema", ""),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::KINDS;

    #[test]
    fn verbs_and_nouns_are_disjoint() {
        let verbs: BTreeSet<&str> = VERBS.iter().filter(|v| v.root).map(|v| v.name).collect();
        for row in KINDS {
            for noun in row.aliases.iter().chain([&row.plural, &row.singular]) {
                assert!(!verbs.contains(noun), "{noun} is a verb and a noun");
            }
        }
    }

    #[test]
    fn every_verb_has_a_name_of_its_own() {
        for row in KINDS {
            let verbs = || VERBS.iter().filter(|v| v.applies_to(row.kind));
            let names: BTreeSet<&str> = verbs().map(|v| v.name).collect();
            assert_eq!(names.len(), verbs().count(), "{}", row.name);
        }
        let roots = || VERBS.iter().filter(|v| v.root);
        let names: BTreeSet<&str> = roots().map(|v| v.name).collect();
        assert_eq!(names.len(), roots().count());
    }
}
