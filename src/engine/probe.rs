//! Does KVM really run a guest here? A cached image is booted on a throw-away overlay, without a
//! network, and the kernel has half a minute for its first line.
//!
//! `/dev/kvm` and libvirt's capabilities prove nothing: on some nested hosts both are there and a
//! kernel hangs before it prints anything. An image that tells nothing on its serial port looks the
//! same, so a failure counts only if the same image speaks when it is emulated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::api::{Accelerator, Firmware, Name, Reporter, Timestamp, Uid};
use crate::error::{Error, Result};
use crate::libvirt::xml::domain::DomainXml;
use crate::libvirt::xml::instance::{DiskParams, DomainParams};
use crate::libvirt::xml::volume::VolumeXml;
use crate::libvirt::{Pool, Volume};
use crate::observe::{StoredImage, World};
use crate::store::KvmVerdict;

/// How long the kernel has.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it has where it is emulated.
const EMULATED: Duration = Duration::from_secs(120);
/// How long another process may be at it.
const TURN: Duration = Duration::from_secs(180);
/// How domains and volumes of probes are called.
const NAME: &str = "kvmctl-probe-";
const MEMORY_KIB: u64 = 512 << 10;

/// A probe that proved nothing is not made again for every instance of a run.
static IN_VAIN: AtomicBool = AtomicBool::new(false);

/// Probes, unless a verdict is remembered.
///
/// # Errors
/// As [`run`].
pub(super) fn run_once(world: &World, reporter: &dyn Reporter) -> Result<()> {
    let _turn = world.store()?.lock_kvm_probe(TURN)?;
    // Somebody else may have been at it meanwhile.
    if IN_VAIN.load(Ordering::SeqCst) || world.kvm_facts()?.probed.is_some() {
        return Ok(());
    }
    let verdict = probe(world, reporter, &mut |host, image| {
        Ok(!world
            .store()?
            .is_mute(host, image.image.volume().as_str())?)
    });
    if !matches!(verdict, Ok(Some(_))) {
        IN_VAIN.store(true, Ordering::SeqCst);
    }
    verdict.map(drop)
}

/// Probes and remembers the verdict; `None` where KVM is not offered, or there is no image that
/// could prove something.
///
/// # Errors
/// What libvirt or the store refuses; a guest that does not boot is a verdict, not an error.
pub fn run(world: &World, reporter: &dyn Reporter) -> Result<Option<KvmVerdict>> {
    let _turn = world.store()?.lock_kvm_probe(TURN)?;
    probe(world, reporter, &mut |_, _| Ok(true))
}

/// Probes with the smallest of the images that may do.
fn probe(
    world: &World,
    reporter: &dyn Reporter,
    may_do: &mut dyn FnMut(Uid, &StoredImage) -> Result<bool>,
) -> Result<Option<KvmVerdict>> {
    let host = world.host()?;
    let Some(uuid) = host.host_uuid()? else {
        return Ok(None);
    };
    if host.domain_capabilities()?.domain != "kvm" {
        return Ok(None);
    }
    let mut images: Vec<StoredImage> = world.store()?.all()?;
    images.retain(is_linux);
    images.sort_by_key(|i| i.image.size);
    let mut chosen = None;
    for image in images {
        if may_do(uuid, &image)? {
            chosen = Some(image);
            break;
        }
    }
    let Some(image) = chosen else {
        return Ok(None);
    };
    sweep(world)?;
    reporter.warn("Booting a throw-away guest to see whether KVM works here (up to 30 s).");
    let outcome = boot(world, &image, Accelerator::Kvm)?;
    if outcome.is_err() {
        reporter.warn("No kernel came up: booting the same under TCG, to compare (up to 120 s).");
        if boot(world, &image, Accelerator::Tcg)?.is_err() {
            reporter.warn(&format!(
                "Image {} tells nothing under TCG either, so this proves nothing.",
                image.image.name
            ));
            world
                .store()?
                .put_mute(uuid, image.image.volume().as_str())?;
            return Ok(None);
        }
    }
    let verdict = KvmVerdict {
        cpu: host
            .capabilities()?
            .cpu_model
            .clone()
            .unwrap_or_else(|| "unknown".to_owned()),
        works: outcome.is_ok(),
        reason: outcome
            .err()
            .unwrap_or_else(|| "a kernel booted".to_owned()),
        when: Timestamp::now(),
        qemu_version: host.hypervisor_version()?.to_string(),
    };
    world.store()?.put_kvm_verdict(uuid, verdict.clone())?;
    Ok(Some(verdict))
}

/// The volumes of a probe; they go when it goes out of scope.
struct Scratch {
    volumes: Vec<Volume>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for volume in &self.volumes {
            // A volume that cannot be deleted now is named after the probe, and harmless.
            let _ = volume.delete();
        }
    }
}

fn is_linux(image: &StoredImage) -> bool {
    image.image.os.as_deref() != Some("freebsd")
}

/// Deletes what a probe that was killed has left; its domain went with it.
fn sweep(world: &World) -> Result<()> {
    let pool = world.host()?.pool(&world.settings().pool)?;
    for volume in pool.volumes()? {
        if volume.name.starts_with(NAME) {
            volume.delete()?;
        }
    }
    Ok(())
}

/// Boots; the inner error is why it did not work.
fn boot(
    world: &World,
    image: &StoredImage,
    accelerator: Accelerator,
) -> Result<Result<(), String>> {
    let host = world.host()?;
    let uid = Uid::random();
    let name =
        Name::new(format!("{NAME}{}", uid.short())).map_err(|e| Error::failed(e.to_string()))?;
    let pool = host.pool(&world.settings().pool)?;
    let base = host
        .pool(&image.pool)?
        .volume(image.image.volume().as_str())?
        .path()?;
    let (disk, log) = volumes(&pool, &name, image, &base)?;
    let scratch = Scratch {
        volumes: vec![disk.clone(), log.clone()],
    };
    let uefi = matches!(
        image.image.firmware,
        Some(crate::image::catalogue::Firmware::Uefi)
    );
    let xml = DomainXml::for_instance(&DomainParams {
        name,
        uid,
        cpus: 1,
        memory_kib: MEMORY_KIB,
        accelerator,
        arch: host.capabilities()?.arch.clone(),
        root: DiskParams {
            path: disk.path()?.into(),
            format: "qcow2".to_owned(),
            serial: None,
        },
        volumes: Vec::new(),
        seed: None,
        nics: Vec::new(),
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        tpm: false,
        serial_log: Some(log.path()?.into()),
        metadata: None,
    });
    let domain = match host.create_transient(&xml) {
        Ok(domain) => domain,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let patience = match accelerator {
        Accelerator::Tcg => EMULATED,
        _ => PATIENCE,
    };
    let outcome = await_kernel(&log, patience);
    let _ = domain.destroy();
    drop(scratch);
    outcome
}

fn volumes(pool: &Pool, name: &Name, image: &StoredImage, base: &str) -> Result<(Volume, Volume)> {
    let format = image.image.format.to_string();
    let capacity = image.image.virtual_size.bytes();
    let overlay = VolumeXml::overlay(&format!("{name}.qcow2"), capacity, base.as_ref(), &format);
    let disk = pool.create_volume(&overlay)?;
    let log = pool.create_volume(&VolumeXml::empty(&format!("{name}.log"), "raw", 0))?;
    Ok((disk, log))
}

fn await_kernel(log: &Volume, patience: Duration) -> Result<Result<(), String>> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        super::signal::interrupted()?;
        let mut text = Vec::new();
        log.download(&mut text, 0, 0)?;
        let text = String::from_utf8_lossy(&text);
        if text.contains("Linux version ") || text.contains("] Command line:") {
            return Ok(Ok(()));
        }
        // A file has no event that libvirt would hand on.
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(Err(format!(
        "no line of a kernel within {} s",
        patience.as_secs()
    )))
}
