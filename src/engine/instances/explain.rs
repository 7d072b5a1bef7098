//! The making of an instance as a shell script: what kvmctl would do, by hand, with every file that
//! is needed in it. Secret values are masked.

use super::super::images;
use super::super::options::Place;
use super::allocate::{self, Own};
use super::metadata;
use super::prepare::Prepared;
use crate::api::{Accelerator, Firmware, Instance, Kind, Name, NetworkAttachment, ObjectKey, Uid};
use crate::cloudinit::{EnvEntry, Seed};
use crate::error::{Error, Result};
use crate::libvirt::xml::domain::DomainXml;
use crate::manifest;
use crate::net::Mac;
use crate::observe::{NetworkFacts, StoredImage, USER_NETWORK, World};
use crate::plan::instance::{self as plan_instance, Step};
use crate::plan::{ObjectPlan, Step as AnyStep};
use crate::shell::{here_document, here_document_with_variables};
use crate::store::{InstanceRecord, NicRecord, Store};

/// Stands for a value that is not shown.
const MASK: &str = "***";
/// Stands for the folder of the pool where nobody was asked for it.
const POOL: &str = "@POOL@";
/// Stands for the path of the image where nobody was asked for it.
const BASE: &str = "@BASE@";

/// Chooses interfaces as a creation would, and keeps nothing.
///
/// # Errors
/// As [`allocate::nics`].
pub(super) fn preview_nics(world: &World, prepared: &Prepared) -> Result<Vec<NicRecord>> {
    if world.store_for_reading()?.exists() && world.store().is_ok() {
        return allocate::nics(world, prepared.uid, Own::default(), &prepared.networks);
    }
    Ok(unchosen_nics(prepared))
}

/// Interfaces without addresses, which the network gives.
fn unchosen_nics(prepared: &Prepared) -> Vec<NicRecord> {
    let bytes = prepared.uid.as_bytes();
    let nic = |(number, (attachment, _)): (usize, &(NetworkAttachment, NetworkFacts))| {
        let asked = attachment.mac.as_deref().and_then(|m| m.parse().ok());
        let last = bytes[15].wrapping_add(u8::try_from(number).unwrap_or(0));
        NicRecord {
            network: attachment.name.clone(),
            network_uid: None,
            mac: asked.unwrap_or_else(|| Mac::new([0x52, 0x54, 0, bytes[13], bytes[14], last])),
            ip: attachment.ip,
            slot: false,
        }
    };
    prepared.networks.iter().enumerate().map(nic).collect()
}

/// Returns the script of a creation, a line each.
///
/// # Errors
/// If the domain cannot be written as XML.
pub(super) fn creation(
    plan: &ObjectPlan,
    prepared: &Prepared,
    record: &InstanceRecord,
) -> Result<Vec<String>> {
    let name = &plan.key.name;
    let xml = domain_xml(prepared, record)?;
    let mut lines = Vec::new();
    for step in plan.steps() {
        let mut explained = super::super::explain(step, name).into_iter();
        lines.extend(explained.next());
        match step {
            AnyStep::Instance(Step::CreateSeed(_)) => lines.extend(seed_files(prepared, record)),
            AnyStep::Instance(Step::Define) => {
                lines.extend(text_lines(&here_document(&format!("{name}.xml"), &xml)));
            }
            _ => {}
        }
        lines.extend(explained);
    }
    lines.push("# the files that were needed only to make it".to_owned());
    lines.push(format!(
        "rm -r ./{name}.seed ./{name}.seed.iso ./{name}.xml"
    ));
    Ok(lines)
}

/// Returns the script of a creation of which nobody was asked anything: where the host would have
/// answered, the script asks it.
///
/// # Errors
/// Usage, for an unknown type.
pub(crate) fn creation_unseen(
    place: &Place,
    store: &Store,
    instance: &Instance,
) -> Result<Vec<String>> {
    let prepared = unseen(place, store, instance)?;
    let mut record = metadata::new_record(instance, prepared.uid)?;
    record.files = prepared.files();
    record.nics = unchosen_nics(&prepared);
    let key = ObjectKey::new(Kind::Instance, prepared.name.clone());
    let plan = plan_instance::create(key.clone(), &prepared.facts(&record.nics), true);
    let pool = crate::shell::shell_words(&[&prepared.pool]);
    let image = crate::shell::shell_words(&[instance.spec.image.as_deref().unwrap_or_default()]);
    let mut lines = vec![
        format!("POOL=$(virsh pool-dumpxml {pool} | sed -n 's|.*<path>\\(.*\\)</path>.*|\\1|p')"),
        format!("BASE=$POOL/$(kvmctl get image {image} -o jsonpath='{{.status.volume}}')"),
    ];
    let xml = domain_xml(&prepared, &record)?;
    let file = format!("{}.xml", prepared.name);
    let known = here_document(&file, &xml);
    let asking = here_document_with_variables(&file, &xml, &[(POOL, "$POOL")]);
    let script = creation(&plan, &prepared, &record)?.join("\n");
    let script = script
        .replace(&known, &asking)
        .replace(&format!(" {BASE} "), " \"$BASE\" ")
        .replace(BASE, "$BASE");
    lines.extend(text_lines(&script));
    lines.extend(instance.spec.volumes.iter().map(|volume| {
        let words = [
            "kvmctl",
            "volumes",
            "attach",
            volume.name.as_str(),
            key.name.as_str(),
        ];
        crate::shell::shell_words(&words)
    }));
    Ok(lines)
}

/// What a creation would look up, as far as the manifest and the store say it.
fn unseen(place: &Place, store: &Store, instance: &Instance) -> Result<Prepared> {
    let spec = instance.spec.clone();
    let name = instance.metadata.name.clone();
    let name = name.ok_or_else(|| Error::usage("metadata.name is missing"))?;
    let types = store.types()?;
    let size = manifest::size(&spec, |wanted| {
        let named = |t: &&crate::api::InstanceType| {
            t.metadata
                .name
                .as_ref()
                .is_some_and(|n| n.as_str() == wanted)
        };
        types.iter().find(named).map(|t| t.spec.clone())
    });
    let size = size.map_err(|unknown| {
        Error::usage(format!("there is no instance type {unknown:?}")).hint("kvmctl types list")
    })?;
    let image = spec.image.as_deref().and_then(|n| Name::new(n).ok());
    let stored = match &image {
        Some(image) => store.get::<StoredImage>(image)?,
        None => None,
    };
    let attachments = match spec.networks.is_empty() {
        true => vec![NetworkAttachment {
            name: place.network.clone(),
            ip: None,
            mac: None,
            model: None,
        }],
        false => spec.networks.clone(),
    };
    let networks = attachments
        .into_iter()
        .map(|a| (a, NetworkFacts::user(USER_NETWORK)));
    let accelerator = match spec.accelerator.unwrap_or(place.accelerator) {
        Accelerator::Kvm => Accelerator::Kvm,
        // Which the host would choose is not known; emulation works everywhere.
        Accelerator::Auto | Accelerator::Tcg => Accelerator::Tcg,
    };
    let masked = |var: &crate::api::EnvVar| EnvEntry {
        name: var.name.clone(),
        value: var.value.clone().unwrap_or_else(|| MASK.to_owned()),
        secret: var.value_from.is_some(),
    };
    Ok(Prepared {
        uid: Uid::random(),
        size,
        image: match stored {
            Some(image) => image,
            None => images::expected(&name, &place.pool)?,
        },
        base: BASE.to_owned(),
        pending: None,
        networks: networks.collect(),
        accelerator,
        warning: None,
        // Where they lie is the host's to say; the script ends with how they come to it.
        disks: Vec::new(),
        arch: std::env::consts::ARCH.to_owned(),
        firmware: spec.firmware.unwrap_or(Firmware::Bios),
        pool: place.pool.clone(),
        pool_path: POOL.to_owned(),
        env: spec.env.iter().map(masked).collect(),
        our_key: String::new(),
        name,
        spec,
    })
}

fn domain_xml(prepared: &Prepared, record: &InstanceRecord) -> Result<String> {
    let mut params = prepared.domain(&record.nics);
    params.metadata = Some(metadata::of(record)?);
    DomainXml::for_instance(&params)
        .to_xml()
        .map_err(|e| Error::failed("cannot write the domain").caused_by(e))
}

/// Writes the files of the seed; what is secret is masked, and the guest makes its own host key.
fn seed_files(prepared: &Prepared, record: &InstanceRecord) -> Vec<String> {
    let mut input = prepared.seed_input(&record.nics, None, None);
    input.ssh_keys.retain(|key| !key.is_empty());
    for var in input.env.iter_mut().filter(|v| v.secret) {
        MASK.clone_into(&mut var.value);
    }
    let mut lines = Vec::new();
    if let Some(data) = input.user_data.as_mut().filter(|d| !d.is_empty()) {
        let size = data.len();
        *data = format!("#cloud-config\n# {MASK} the user-data of the manifest, {size} bytes\n")
            .into_bytes();
        lines.push("# user-data is masked: put that of the manifest into its place".to_owned());
    }
    if input.env.iter().any(|v| v.secret) {
        lines.push(format!("# the values of secrets are masked ({MASK})"));
    }
    let folder = format!("{}.seed", prepared.name);
    lines.push(format!("mkdir -p {folder}"));
    for (name, bytes) in &Seed::new(&input).files {
        let text = String::from_utf8_lossy(bytes);
        lines.extend(text_lines(&here_document(
            &format!("{folder}/{name}"),
            &text,
        )));
    }
    lines
}

fn text_lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(str::to_owned)
}
