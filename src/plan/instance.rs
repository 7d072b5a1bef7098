//! Steps of instances, and what a changed spec comes to.

use crate::api::{
    DiskFormat, Name, NicModel, ObjectKey, PortMapping, Quantity, Uid, VolumeAttachment,
};
use crate::shell::shell_words;

use super::forward::commands;
use super::{ObjectPlan, Outcome};

pub use super::reservation::Reservation;

/// One change of an instance or of what belongs to it. Every step is idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Adds the DHCP host entry that reserves the address.
    Reserve(Reservation),
    /// Makes the root disk: an overlay on the base image.
    CreateOverlay(Overlay),
    /// Renders the seed, makes the ISO and uploads it.
    CreateSeed(VolumeRef),
    /// Defines the domain.
    Define,
    /// Sets whether libvirt starts the domain with the host.
    Autostart(bool),
    /// Starts the domain.
    Start,
    /// Writes the record that listings are made from, and ends the intent.
    Finish,
    /// Lets ports of the host lead to it: those of its own list, and the stand-alone forwards that name
    /// it.
    Forward(Vec<PortMapping>),
    /// Removes every rule that leads to it.
    Unforward,
    /// Asks the guest to power off and waits so long.
    Shutdown {
        /// How long to wait, in seconds.
        grace: u64,
    },
    /// Cuts the power.
    Destroy,
    /// Removes the definition with NVRAM, TPM state, managed save and snapshot metadata.
    Undefine,
    /// Deletes a volume.
    DeleteVolume(VolumeRef),
    /// Removes the DHCP host entry.
    Unreserve(Reservation),
    /// Adds the DNS host entry by which guests of the network find it, before it has booted.
    AddName(Reservation),
    /// Removes the DNS host entry.
    RemoveName(Reservation),
    /// Gives the DHCP lease back.
    ReleaseLease(Reservation),
    /// Makes the empty volume that the serial console is logged to.
    CreateLog(VolumeRef),
    /// Removes the record and ends the intent.
    Forget,
    /// Changes the definition: vCPUs and memory, which the next start takes up.
    Resize {
        /// Number of vCPUs.
        cpus: u32,
        /// Memory.
        memory: Quantity,
    },
    /// Grows the root disk.
    GrowDisk {
        /// The new size.
        capacity: Quantity,
        /// The volume.
        volume: VolumeRef,
    },
    /// Plugs an interface in, in the definition and where it runs.
    Attach(Nic),
    /// Takes an interface away, in the definition and where it runs; waits until the guest has let
    /// go of it.
    Detach(Nic),
    /// Plugs a volume in, in the definition and where it runs.
    AttachDisk(Disk),
    /// Takes a volume away, in the definition and where it runs; waits until the guest has let go of
    /// it.
    DetachDisk(Disk),
    /// Writes labels, annotations and spec to the domain's metadata and the record.
    Describe,
    /// Suspends the vCPUs.
    Suspend,
    /// Lets the vCPUs run again.
    Resume,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// libvirt network, or `user`.
    pub network: String,
    /// Hardware address; none yet in a plan that is only shown.
    pub mac: Option<String>,
    /// Model, where one is asked for.
    pub model: Option<NicModel>,
}

/// A volume of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// How the instance wants it.
    pub wish: VolumeAttachment,
    /// Path of its file.
    pub path: String,
    /// Its format.
    pub format: DiskFormat,
    /// Serial that the guest sees.
    pub serial: String,
}

/// A volume by pool and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRef {
    /// The pool.
    pub pool: String,
    /// The volume.
    pub name: String,
}

/// A root disk to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The new volume.
    pub volume: VolumeRef,
    /// Path of the base image.
    pub base: String,
    /// Format of the base image.
    pub base_format: String,
    /// Size that the guest sees.
    pub capacity: Quantity,
}

/// All that a plan for one instance must know; observed and allocated beforehand.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Name of the instance.
    pub name: Name,
    /// Its identity.
    pub uid: Uid,
    /// Its root disk.
    pub overlay: Overlay,
    /// Its seed.
    pub seed: VolumeRef,
    /// Addresses that need a DHCP host entry made (none in a network with slots).
    pub reservations: Vec<Reservation>,
    /// Addresses whose leases go with the instance.
    pub leases: Vec<Reservation>,
    /// Addresses with the names that the DNS of their networks has for them.
    pub names: Vec<Reservation>,
    /// Whether libvirt starts it with the host.
    pub autostart: bool,
    /// Its serial log: a volume, so that whoever may talk to libvirt can read it.
    pub log: VolumeRef,
    /// The volumes that go with it.
    pub files: Vec<VolumeRef>,
    /// Ports of the host that lead to it; none where nothing is forwarded.
    pub ports: Option<Vec<PortMapping>>,
}

/// How an instance is to be taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takedown {
    /// It is off.
    None,
    /// Power off by ACPI, then by cutting the power after so many seconds.
    Graceful(u64),
    /// Cut the power.
    Now,
}

/// Plans the making of an instance; steps whose work is done already are harmless to repeat.
pub fn create(key: ObjectKey, facts: &Facts, start: bool) -> ObjectPlan {
    let mut first: Vec<Step> = facts
        .reservations
        .iter()
        .cloned()
        .map(Step::Reserve)
        .collect();
    first.extend(facts.names.iter().cloned().map(Step::AddName));
    first.push(Step::CreateOverlay(facts.overlay.clone()));
    first.push(Step::CreateSeed(facts.seed.clone()));
    first.push(Step::CreateLog(facts.log.clone()));
    let mut second = vec![Step::Define];
    // Before the guest can answer; its address is its own already.
    second.extend(facts.ports.clone().map(Step::Forward));
    let mut stages = vec![first, second];
    let mut last = vec![Step::Autostart(facts.autostart)];
    if start {
        last.push(Step::Start);
    }
    stages.push(last);
    stages.push(vec![Step::Finish]);
    plan(key, Outcome::Created, stages)
}

/// Plans the deletion of an instance, from any half-made state.
pub fn delete(key: ObjectKey, facts: &Facts, takedown: Takedown, defined: bool) -> ObjectPlan {
    let mut stages = Vec::new();
    if let Takedown::Graceful(grace) = takedown {
        stages.push(vec![Step::Shutdown { grace }]);
    }
    if takedown != Takedown::None {
        stages.push(vec![Step::Destroy]);
    }
    if defined {
        stages.push(vec![Step::Undefine]);
    }
    // Before the address is given back, which somebody else may get.
    if facts.ports.is_some() {
        stages.push(vec![Step::Unforward]);
    }
    let mut rest: Vec<Step> = Vec::new();
    rest.extend(facts.files.iter().cloned().map(Step::DeleteVolume));
    rest.extend(facts.leases.iter().cloned().map(Step::ReleaseLease));
    rest.extend(facts.names.iter().cloned().map(Step::RemoveName));
    rest.extend(facts.reservations.iter().cloned().map(Step::Unreserve));
    if !rest.is_empty() {
        stages.push(rest);
    }
    stages.push(vec![Step::Forget]);
    plan(key, Outcome::Deleted, stages)
}

fn plan(key: ObjectKey, outcome: Outcome, stages: Vec<Vec<Step>>) -> ObjectPlan {
    let stages = stages
        .into_iter()
        .map(|s| s.into_iter().map(super::Step::Instance).collect())
        .collect();
    ObjectPlan {
        key,
        outcome,
        stages,
        notes: Vec::new(),
    }
}

/// Makes a plan from stages of instance steps.
pub fn from_stages(key: ObjectKey, outcome: Outcome, stages: Vec<Vec<Step>>) -> ObjectPlan {
    plan(key, outcome, stages)
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Reserve(r) => format!("reserve {} for {} in network {}", r.ip, r.mac, r.network),
            Self::CreateOverlay(o) => {
                format!(
                    "create disk {} ({}) on {}",
                    o.volume.name, o.capacity, o.base
                )
            }
            Self::CreateSeed(v) => format!("create cloud-init seed {}", v.name),
            Self::Define => "define the domain".to_owned(),
            Self::Autostart(true) => "start it with the host".to_owned(),
            Self::Autostart(false) => "do not start it with the host".to_owned(),
            Self::Start => "start the domain".to_owned(),
            Self::Finish => "write the record".to_owned(),
            Self::Shutdown { grace } => format!("shut the guest down within {grace} s"),
            Self::Destroy => "cut the power, if it is still on".to_owned(),
            Self::Undefine => "undefine the domain".to_owned(),
            Self::DeleteVolume(v) => format!("delete volume {}", v.name),
            Self::Unreserve(r) => format!("free {} in network {}", r.ip, r.network),
            Self::AddName(r) => format!("let network {} know {} as {}", r.network, r.ip, r.host),
            Self::RemoveName(r) => format!("let network {} forget {}", r.network, r.host),
            Self::ReleaseLease(r) => format!("release the lease of {}", r.ip),
            Self::CreateLog(v) => format!("create serial log {}", v.name),
            Self::Forward(ports) => forwards_line(ports),
            Self::Unforward => "remove the rules that lead to it".to_owned(),
            Self::Forget => "remove the record".to_owned(),
            Self::Resize { cpus, memory } => format!("set {cpus} vCPU and {memory} of memory"),
            Self::GrowDisk { capacity, volume } => format!("grow {} to {capacity}", volume.name),
            Self::Attach(nic) => format!("attach {nic}"),
            Self::Detach(nic) => format!("detach {nic}"),
            Self::AttachDisk(disk) => format!("attach volume {}", disk.wish.name),
            Self::DetachDisk(disk) => format!("detach volume {}", disk.wish.name),
            Self::Describe => "write labels and spec to the domain's metadata".to_owned(),
            Self::Suspend => "suspend the vCPUs".to_owned(),
            Self::Resume => "let the vCPUs run again".to_owned(),
        }
    }

    /// Returns the commands a person would type to the same effect on the domain `name`.
    pub fn equivalent(&self, name: &Name) -> Option<String> {
        let virsh = |args: &[&str]| Some(format!("virsh {}", shell_words(args)));
        match self {
            Self::Reserve(r) => Some(r.update("add-last", "ip-dhcp-host")),
            Self::Unreserve(r) => Some(r.update("delete", "ip-dhcp-host")),
            Self::AddName(r) => Some(r.update("add-last", "dns-host")),
            Self::RemoveName(r) => Some(r.update("delete", "dns-host")),
            Self::CreateOverlay(o) => virsh(&[
                "vol-create-as",
                &o.volume.pool,
                &o.volume.name,
                &o.capacity.bytes().to_string(),
                "--format",
                "qcow2",
                "--backing-vol",
                &o.base,
                "--backing-vol-format",
                &o.base_format,
            ]),
            Self::CreateSeed(v) => Some(format!(
                "genisoimage -quiet -volid cidata -joliet -rock -o {name}.seed.iso {name}.seed\n\
                 virsh vol-create-as {pool} {volume} 0 --format raw\n\
                 virsh vol-upload {volume} {name}.seed.iso --pool {pool}",
                pool = shell_words(&[&v.pool]),
                volume = shell_words(&[&v.name]),
            )),
            Self::Define => Some(format!("virsh define {name}.xml --validate")),
            Self::Autostart(true) => Some(format!("virsh autostart {name}")),
            Self::Autostart(false) => Some(format!("virsh autostart --disable {name}")),
            Self::Start => Some(format!("virsh start {name}")),
            Self::Shutdown { .. } => Some(format!("virsh shutdown {name}")),
            Self::Destroy => Some(format!("virsh destroy {name}")),
            Self::Undefine => Some(format!(
                "virsh undefine {name} --managed-save --snapshots-metadata \
                 --checkpoints-metadata --nvram --tpm"
            )),
            Self::DeleteVolume(v) => virsh(&["vol-delete", &v.name, "--pool", &v.pool]),
            Self::ReleaseLease(r) => Some(format!(
                "dhcp_release $BRIDGE {} {}",
                r.ip,
                shell_words(&[&r.mac])
            )),
            Self::CreateLog(v) => {
                virsh(&["vol-create-as", &v.pool, &v.name, "0", "--format", "raw"])
            }
            Self::Resize { cpus, memory } => Some(format!(
                "virsh setvcpus {name} {cpus} --maximum --config\nvirsh setmaxmem {name} {}k --config",
                memory.kib()
            )),
            Self::GrowDisk { capacity, volume } => virsh(&[
                "vol-resize",
                &volume.name,
                &capacity.bytes().to_string(),
                "--pool",
                &volume.pool,
            ]),
            Self::Attach(nic) => {
                let model = nic.model.unwrap_or(NicModel::Virtio).to_string();
                let mut args = vec!["attach-interface", name.as_str(), "network", &nic.network];
                args.extend(nic.mac.iter().flat_map(|mac| ["--mac", mac.as_str()]));
                args.extend(["--model", &model, "--config", "--live"]);
                virsh(&args)
            }
            Self::Detach(nic) => {
                let mut args = vec!["detach-interface", name.as_str(), "network"];
                args.extend(nic.mac.iter().flat_map(|mac| ["--mac", mac.as_str()]));
                args.extend(["--config", "--live"]);
                virsh(&args)
            }
            Self::AttachDisk(disk) => {
                let mut args = vec!["attach-disk", name.as_str(), &disk.path, "vdX"];
                args.extend(["--targetbus", "virtio", "--subdriver", disk.format.as_str()]);
                args.extend(["--serial", &disk.serial, "--persistent"]);
                virsh(&args)
            }
            Self::DetachDisk(disk) => {
                virsh(&["detach-disk", name.as_str(), &disk.path, "--persistent"])
            }
            Self::Suspend => Some(format!("virsh suspend {name}")),
            Self::Resume => Some(format!("virsh resume {name}")),
            Self::Forward(ports) => {
                let commands: Vec<String> = ports.iter().map(|p| commands(name, p)).collect();
                (!commands.is_empty()).then(|| commands.join("\n"))
            }
            Self::Unforward | Self::Finish | Self::Forget | Self::Describe => None,
        }
    }
}

impl std::fmt::Display for Nic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mac {
            Some(mac) => write!(f, "interface {mac} in network {}", self.network),
            None => write!(f, "an interface in network {}", self.network),
        }
    }
}

fn forwards_line(ports: &[PortMapping]) -> String {
    let list: Vec<String> = ports.iter().map(ToString::to_string).collect();
    match list.is_empty() {
        true => "let the forwards that name it lead to it".to_owned(),
        false => format!("let ports of the host lead to it: {}", list.join(", ")),
    }
}
