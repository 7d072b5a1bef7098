//! Everything a new instance refers to, looked up and checked before anything is made.

use crate::api::{
    Accelerator, EnvName, Firmware, Instance, InstanceSpec, MaskKey, Name, NetworkAttachment, Uid,
    disk_serial,
};
use crate::cloudinit::{EnvEntry, HostKey, SeedInput, SeedNic};
use crate::error::{Error, Kind as ErrorKind, Result, did_you_mean};
use crate::libvirt::xml::instance::{DiskParams, DomainParams, NicParams};
use crate::manifest;
use crate::observe::{NetworkFacts, StoredImage, World};
use crate::plan::instance::{Disk, Facts, Overlay, Reservation, VolumeRef};
use crate::store::{FileRecord, NicRecord};

use super::super::{guest, images};
use super::{accelerator, networks, plug, volumes};
use crate::api::Reporter;

/// How the name of a serial log ends.
pub(super) const SERIAL_LOG: &str = "serial.log";

/// A new instance with everything it refers to.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Its name.
    pub(super) name: Name,
    /// Its identity.
    pub(super) uid: Uid,
    /// What is wanted.
    pub(super) spec: InstanceSpec,
    /// What that comes to.
    pub(super) size: crate::api::Size,
    /// What it boots.
    pub(super) image: StoredImage,
    /// Path of the image.
    pub(super) base: String,
    /// What would be done before, if this were no dry run.
    pub(super) pending: Option<String>,
    /// Its networks.
    pub(super) networks: Vec<(NetworkAttachment, NetworkFacts)>,
    /// Its volumes.
    pub(super) disks: Vec<Disk>,
    /// KVM or TCG.
    pub(super) accelerator: Accelerator,
    /// Why it is the slow one.
    pub(super) warning: Option<String>,
    /// Architecture.
    pub(super) arch: String,
    /// What starts its boot loader.
    pub(super) firmware: Firmware,
    /// The pool.
    pub(super) pool: String,
    /// Its folder.
    pub(super) pool_path: String,
    /// Environment, with the values of secrets.
    pub(super) env: Vec<EnvEntry>,
    /// Our public key.
    pub(super) our_key: String,
}

impl Prepared {
    /// Looks everything up. Nothing is changed but the image cache, and by a dry run not even that.
    ///
    /// # Errors
    /// Usage with the candidates, for whatever does not exist.
    pub(super) fn new(
        world: &World,
        instance: &Instance,
        uid: Uid,
        dry: bool,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let name = instance
            .metadata
            .name
            .clone()
            .ok_or_else(|| Error::usage("metadata.name is missing"))?;
        let spec = instance.spec.clone();
        let size = size(world, &spec)?;
        crate::host::IsoMaker::find()?;
        let wanted = networks::wanted(world, &spec)?;
        let (networks, disks) = match dry {
            true => (
                networks::foresee(world, wanted, &spec)?,
                volumes::look_up_or_name(world, &spec.volumes)?,
            ),
            false => (
                networks::look_up(world, wanted)?,
                volumes::look_up(world, &spec.volumes)?,
            ),
        };
        volumes::refuse_foreign(world, uid, &disks)?;
        let env = env(world, &spec)?;
        let decision = accelerator::choose(world, &spec)?;
        tpm(world, &spec)?;
        let wanted = spec.image.as_deref().ok_or_else(|| {
            Error::usage("spec.image: not set").hint("kvmctl images list shows what there is")
        })?;
        let (image, pending) = match dry {
            true => images::foreseen(world, wanted)?,
            false => (images::ensure(world, wanted, reporter)?, None),
        };
        if size.disk < image.image.virtual_size {
            return Err(Error::usage(format!(
                "spec.disk: {} is less than the {} that image {wanted:?} needs",
                size.disk, image.image.virtual_size
            )));
        }
        let decision = match dry {
            true => decision,
            false => accelerator::prove(world, &spec, decision, reporter)?,
        };
        let host = world.host()?;
        let pool_path = host.pool(&world.settings().pool)?.path()?;
        let base = match &pending {
            Some(_) => format!("{pool_path}/kvmctl-image-{wanted}"),
            None => host
                .pool(&image.pool)?
                .volume(image.image.volume().as_str())?
                .path()?,
        };
        let pool = world.settings().pool.clone();
        let firmware = firmware(&spec, &image);
        // A dry run makes no key, and nothing that is shown needs one.
        let our_key = match dry {
            true => guest::known_key(world)?.map_or_else(String::new, |key| key.public),
            false => guest::own_key(world)?.public,
        };
        let arch = host.capabilities()?.arch.clone();
        let (accelerator, warning) = (decision.accelerator, decision.warning);
        Ok(Self {
            name,
            uid,
            spec,
            size,
            image,
            base,
            pending,
            networks,
            disks,
            accelerator,
            warning,
            arch,
            firmware,
            pool,
            pool_path,
            env,
            our_key,
        })
    }

    /// Returns the files it has, or will have.
    pub(super) fn files(&self) -> Vec<FileRecord> {
        let names = [self.root(), self.seed(), self.log()];
        names
            .into_iter()
            .map(|v| FileRecord {
                pool: v.pool,
                volume: v.name,
            })
            .collect()
    }

    /// Returns its root disk.
    pub(super) fn root(&self) -> VolumeRef {
        volume(&self.pool, &self.name, self.uid, "qcow2")
    }

    /// Returns its seed.
    pub(super) fn seed(&self) -> VolumeRef {
        volume(&self.pool, &self.name, self.uid, "seed.iso")
    }

    /// Returns its serial log.
    pub(super) fn log(&self) -> VolumeRef {
        volume(&self.pool, &self.name, self.uid, SERIAL_LOG)
    }

    /// Returns what the planner must know.
    pub(super) fn facts(&self, nics: &[NicRecord]) -> Facts {
        let leases: Vec<Reservation> = nics
            .iter()
            .filter_map(|nic| reservation(nic, &self.name))
            .collect();
        let ours = |nic: &&NicRecord| {
            let mut networks = self.networks.iter();
            networks.any(|(_, n)| n.name == nic.network && n.ours)
        };
        let names = nics.iter().filter(ours);
        let names = names
            .filter_map(|nic| reservation(nic, &self.name))
            .collect();
        let reservations = nics
            .iter()
            .filter(|n| !n.slot)
            .filter_map(|n| reservation(n, &self.name))
            .collect();
        Facts {
            name: self.name.clone(),
            uid: self.uid,
            overlay: Overlay {
                volume: self.root(),
                base: self.base.clone(),
                base_format: self.image.image.format.to_string(),
                capacity: self.size.disk,
            },
            seed: self.seed(),
            log: self.log(),
            reservations,
            names,
            leases,
            autostart: self.spec.autostart.unwrap_or(true),
            files: vec![self.root(), self.seed(), self.log()],
            ports: None,
        }
    }

    /// Returns what goes into the seed.
    pub(super) fn seed_input(
        &self,
        nics: &[NicRecord],
        host_key: Option<HostKey>,
        mask_key: Option<MaskKey>,
    ) -> SeedInput {
        let mut input = SeedInput::new(self.uid, self.name.clone());
        input.ssh_keys.push(self.our_key.clone());
        input.ssh_keys.extend(self.spec.ssh_keys.iter().cloned());
        input.nics = nics
            .iter()
            .map(|n| SeedNic {
                mac: n.mac.to_string(),
            })
            .collect();
        input.env.clone_from(&self.env);
        input.mounts = self.disks.iter().filter_map(Disk::mount).collect();
        input.run.clone_from(&self.spec.run);
        input.command.clone_from(&self.spec.command);
        input.user_data = self.spec.user_data.clone().map(String::into_bytes);
        input.host_key = host_key;
        input.mask_key = mask_key;
        input
    }

    /// Returns what the domain is made of.
    pub(super) fn domain(&self, nics: &[NicRecord]) -> DomainParams {
        let path = |v: VolumeRef| std::path::Path::new(&self.pool_path).join(v.name);
        let models = self.networks.iter().map(|(a, _)| a.model);
        let nics = nics.iter().zip(models).map(|(nic, model)| NicParams {
            mac: nic.mac.to_string(),
            model: model.unwrap_or(crate::api::NicModel::Virtio),
            attachment: plug::attachment(&nic.network),
        });
        DomainParams {
            name: self.name.clone(),
            uid: self.uid,
            cpus: self.size.cpus,
            memory_kib: self.size.memory.kib(),
            accelerator: self.accelerator,
            arch: self.arch.clone(),
            root: DiskParams {
                path: path(self.root()),
                format: "qcow2".to_owned(),
                serial: Some(disk_serial(self.uid)),
            },
            volumes: self.disks.iter().map(Disk::params).collect(),
            seed: Some(path(self.seed())),
            nics: nics.collect(),
            firmware: self.firmware,
            tpm: self.spec.tpm.unwrap_or(false),
            serial_log: Some(path(self.log())),
            metadata: None,
        }
    }
}

/// Builds the name of a volume: `NAME.UID8.SUFFIX`.
pub(super) fn volume(pool: &str, name: &Name, uid: Uid, suffix: &str) -> VolumeRef {
    VolumeRef {
        pool: pool.to_owned(),
        name: format!("{name}.{}.{suffix}", uid.short()),
    }
}

/// Builds the reservation of an interface that has an address.
pub(super) fn reservation(nic: &NicRecord, host: &Name) -> Option<Reservation> {
    let (network, mac) = (nic.network.clone(), nic.mac.to_string());
    nic.ip.map(|ip| Reservation {
        network,
        mac,
        ip,
        host: host.clone(),
    })
}

/// Works out the size of a spec.
///
/// # Errors
/// Usage with the candidates, for an unknown type.
pub(super) fn size(world: &World, spec: &InstanceSpec) -> Result<crate::api::Size> {
    let types = world.types()?;
    let lookup = |name: &str| {
        let found = types
            .iter()
            .find(|t| t.metadata.name.as_ref().is_some_and(|n| n.as_str() == name));
        found.map(|t| t.spec.clone())
    };
    manifest::size(spec, lookup).map_err(|unknown| {
        let names: Vec<&str> = types
            .iter()
            .filter_map(|t| t.metadata.name.as_ref().map(Name::as_str))
            .collect();
        unknown_reference("instance type", &unknown, &names, "kvmctl types list")
    })
}

/// Words an unknown image, type or network, with the candidates.
pub(super) fn unknown_reference(what: &str, name: &str, known: &[&str], list: &str) -> Error {
    let mut error = Error::usage(format!("there is no {what} {name:?}"));
    if let Some(near) = did_you_mean(name, known.iter().copied()) {
        error = error.hint(format!("did you mean {near:?}?"));
    }
    let candidates = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    error.caused_by(format!("known: {candidates}")).hint(list)
}

fn env(world: &World, spec: &InstanceSpec) -> Result<Vec<EnvEntry>> {
    spec.env
        .iter()
        .map(|var| {
            let name: EnvName = var.name.clone();
            match (&var.value, &var.value_from) {
                (Some(value), _) => Ok(EnvEntry {
                    name,
                    value: value.clone(),
                    secret: false,
                }),
                (None, Some(source)) => {
                    let wanted = &source.secret;
                    let secret = world.secret(&wanted.name).map_err(|e| {
                        Error::usage(format!("env {name}: {}", e.message())).hint(format!(
                            "kvmctl secrets create {} --from-file {}=FILE",
                            wanted.name, wanted.key
                        ))
                    })?;
                    let value = secret.data.get(&wanted.key).ok_or_else(|| {
                        Error::usage(format!(
                            "env {name}: secret {:?} has no key {:?}",
                            wanted.name.as_str(),
                            wanted.key.as_str()
                        ))
                    })?;
                    Ok(EnvEntry {
                        name,
                        value: value.expose().to_owned(),
                        secret: true,
                    })
                }
                (None, None) => Ok(EnvEntry {
                    name,
                    value: String::new(),
                    secret: false,
                }),
            }
        })
        .collect()
}

/// Refuses a TPM that the host cannot emulate.
fn tpm(world: &World, spec: &InstanceSpec) -> Result<()> {
    if !spec.tpm.unwrap_or(false) || world.host()?.domain_capabilities()?.has_tpm() {
        return Ok(());
    }
    let what = "spec.tpm: the host cannot emulate a TPM: swtpm is not installed there";
    Err(Error::new(ErrorKind::Unavailable, what)
        .hint("apt-get install swtpm swtpm-tools")
        .hint("leave the TPM out"))
}

fn firmware(spec: &InstanceSpec, image: &StoredImage) -> Firmware {
    use crate::image::catalogue::Firmware as Boots;
    match (spec.firmware, image.image.firmware) {
        (Some(wanted), _) => wanted,
        (None, Some(Boots::Uefi)) => Firmware::Uefi,
        (None, _) => Firmware::Bios,
    }
}
