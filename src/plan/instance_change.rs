//! What a changed spec of an instance comes to: in place, at the next start, or refused.

use crate::api::{InstanceSpec, ObjectKey, PortMapping, Quantity, Size};

use super::instance::{Disk, Nic, Reservation, Step, VolumeRef, from_stages};
use super::{ObjectPlan, Outcome};

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Fields that cannot be changed after creation.
    #[error("{}", immutable(.0))]
    Immutable(Vec<&'static str>),
    /// A disk does not shrink.
    #[error("spec.disk: a disk cannot shrink (it has {has}, wanted {wanted})")]
    Shrinks {
        /// Size it has.
        has: Quantity,
        /// Size that is wanted.
        wanted: Quantity,
    },
}

fn immutable(fields: &[&str]) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|f| format!("{f}: field is immutable"))
        .collect();
    lines.join(", ")
}

/// One side of a change.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The spec.
    pub spec: &'a InstanceSpec,
    /// What it comes to.
    pub size: Size,
}

/// Interfaces that go, and interfaces that come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicSteps {
    /// Those that go.
    pub detach: Vec<Nic>,
    /// Their addresses, whose leases go too.
    pub leases: Vec<Reservation>,
    /// Names that their networks have for addresses that go.
    pub forget: Vec<Reservation>,
    /// Their host entries, where they are no slots.
    pub free: Vec<Reservation>,
    /// Host entries that are needed.
    pub reserve: Vec<Reservation>,
    /// Names that their networks are to have for addresses that come.
    pub name: Vec<Reservation>,
    /// Those that come.
    pub attach: Vec<Nic>,
}

impl NicSteps {
    /// Returns the stages: an address is free before it is reserved anew, and reserved before a
    /// guest can ask for it. One interface after another, in the order in which guests number them.
    fn stages(&self) -> Vec<Vec<Step>> {
        let mut stages: Vec<Vec<Step>> = Vec::new();
        stages.extend(self.detach.iter().cloned().map(|n| vec![Step::Detach(n)]));
        let leases = self.leases.iter().cloned().map(Step::ReleaseLease);
        let forget = self.forget.iter().cloned().map(Step::RemoveName);
        stages.push(leases.chain(forget).collect());
        stages.extend(self.free.iter().cloned().map(|r| vec![Step::Unreserve(r)]));
        stages.extend(self.reserve.iter().cloned().map(|r| vec![Step::Reserve(r)]));
        stages.push(self.name.iter().cloned().map(Step::AddName).collect());
        stages.extend(self.attach.iter().cloned().map(|n| vec![Step::Attach(n)]));
        stages.retain(|stage| !stage.is_empty());
        stages
    }
}

/// Returns the command that makes an instance anew, for what cannot be changed in place.
pub fn remake_command(key: &ObjectKey) -> String {
    format!("kvmctl delete {key} && kvmctl apply -f FILE")
}

/// Volumes that go, and volumes that come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSteps {
    /// Those that go.
    pub detach: Vec<Disk>,
    /// Those that come.
    pub attach: Vec<Disk>,
}

impl DiskSteps {
    /// Returns the stages: one volume after another, in the order in which guests name them.
    fn stages(&self) -> impl Iterator<Item = Vec<Step>> {
        let detach = self.detach.iter().cloned().map(Step::DetachDisk);
        let attach = self.attach.iter().cloned().map(Step::AttachDisk);
        detach.chain(attach).map(|step| vec![step])
    }
}

/// Everything of an instance that comes and goes while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceSteps {
    /// Interfaces.
    pub nics: NicSteps,
    /// Volumes.
    pub disks: DiskSteps,
}

/// Plans the change of an existing instance.
///
/// # Errors
/// [`Refused`], with all the reasons of its sort at once.
pub fn change(
    key: ObjectKey,
    old: Side<'_>,
    new: Side<'_>,
    root: VolumeRef,
    running: bool,
    devices: &DeviceSteps,
) -> Result<ObjectPlan, Refused> {
    let nics = &devices.nics;
    let fixed = immutable_fields(old.spec, new.spec);
    if !fixed.is_empty() {
        return Err(Refused::Immutable(fixed));
    }
    if new.size.disk < old.size.disk {
        return Err(Refused::Shrinks {
            has: old.size.disk,
            wanted: new.size.disk,
        });
    }
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let (cpus, memory) = (new.size.cpus, new.size.memory);
    if (cpus, memory) != (old.size.cpus, old.size.memory) {
        steps.push(Step::Resize { cpus, memory });
        if running {
            notes.push("CPUs and memory change at the next start".to_owned());
        }
    }
    if new.size.disk > old.size.disk {
        steps.push(Step::GrowDisk {
            capacity: new.size.disk,
            volume: root,
        });
        notes.push("the guest grows its file system at the next boot, by growpart".to_owned());
    }
    if new.spec.autostart != old.spec.autostart {
        steps.push(Step::Autostart(new.spec.autostart.unwrap_or(true)));
    }
    if new.spec.ports != old.spec.ports {
        steps.push(Step::Forward(new.spec.ports.clone()));
    }
    if new.spec.accelerator != old.spec.accelerator {
        notes.push(format!(
            "spec.accelerator: it runs as it was made until it is made anew, with a new disk: {}",
            remake_command(&key)
        ));
    }
    let mut stages: Vec<Vec<Step>> = steps.into_iter().map(|s| vec![s]).collect();
    stages.extend(devices.disks.stages());
    stages.extend(nics.stages());
    if !nics.attach.is_empty() {
        let told = "the seed names the interfaces of the first boot: a guest that does not bring up \
                    others by itself has to be told of the new one";
        notes.push(told.to_owned());
    }
    stages.push(vec![Step::Describe]);
    let mut plan = from_stages(key, Outcome::Configured, stages);
    plan.notes = notes;
    Ok(plan)
}

/// Plans to bring everything that a change can change to what the spec says, whatever it is now.
///
/// Without a size (of an adopted instance) the hardware stays as it is, and without `ports` the rules
/// that lead to it.
pub fn settle(
    key: ObjectKey,
    spec: &InstanceSpec,
    size: Option<Size>,
    root: VolumeRef,
    devices: &DeviceSteps,
    ports: Option<Vec<PortMapping>>,
) -> ObjectPlan {
    let mut stages = Vec::new();
    if let Some(size) = size {
        let (cpus, memory) = (size.cpus, size.memory);
        stages.push(vec![Step::Resize { cpus, memory }]);
        stages.push(vec![Step::GrowDisk {
            capacity: size.disk,
            volume: root,
        }]);
        stages.push(vec![Step::Autostart(spec.autostart.unwrap_or(true))]);
    }
    stages.extend(devices.disks.stages());
    stages.extend(devices.nics.stages());
    stages.extend(ports.map(|ports| vec![Step::Forward(ports)]));
    stages.push(vec![Step::Describe]);
    from_stages(key, Outcome::Configured, stages)
}

/// What only the first boot reads cannot be changed afterwards.
fn immutable_fields(old: &InstanceSpec, new: &InstanceSpec) -> Vec<&'static str> {
    let same = [
        ("spec.image", old.image == new.image),
        ("spec.sshKeys", old.ssh_keys == new.ssh_keys),
        ("spec.env", old.env == new.env),
        ("spec.run", old.run == new.run),
        ("spec.command", old.command == new.command),
        ("spec.userData", old.user_data == new.user_data),
        ("spec.firmware", old.firmware == new.firmware),
        (
            "spec.tpm",
            old.tpm.unwrap_or(false) == new.tpm.unwrap_or(false),
        ),
    ];
    same.into_iter()
        .filter(|(_, same)| !same)
        .map(|(field, _)| field)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, Name};

    fn spec() -> InstanceSpec {
        InstanceSpec {
            image: Some("debian-12".into()),
            ..InstanceSpec::default()
        }
    }

    fn size(disk: u64) -> Size {
        Size {
            cpus: 1,
            memory: Quantity::mib(512),
            disk: Quantity::gib(disk),
        }
    }

    fn plan(old: (&InstanceSpec, Size), new: (&InstanceSpec, Size)) -> Result<ObjectPlan, Refused> {
        let key = ObjectKey::new(Kind::Instance, Name::new("web").unwrap());
        let root = VolumeRef {
            pool: "default".into(),
            name: "web.qcow2".into(),
        };
        let side = |(spec, size)| Side { spec, size };
        change(
            key,
            side(old),
            side(new),
            root,
            true,
            &DeviceSteps::default(),
        )
    }

    #[test]
    fn what_the_first_boot_read_cannot_be_changed() {
        let mut new = spec();
        new.image = Some("other".into());
        new.run = vec!["true".into()];
        let refused = plan((&spec(), size(8)), (&new, size(8))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "spec.image: field is immutable, spec.run: field is immutable"
        );
    }

    #[test]
    fn disks_grow_and_do_not_shrink() {
        assert!(matches!(
            plan((&spec(), size(8)), (&spec(), size(4))),
            Err(Refused::Shrinks { .. })
        ));
        let grown = plan((&spec(), size(8)), (&spec(), size(9))).unwrap();
        assert!(
            grown
                .steps()
                .any(|s| s.describe().contains("grow web.qcow2 to 9Gi"))
        );
    }
}
