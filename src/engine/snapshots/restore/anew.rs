//! New volumes of what a snapshot holds.

use super::{RestoreRequest, Restored};
use crate::api::{
    API_VERSION, Name, ObjectKey, ObjectMeta, Reporter, Volume, VolumeSource, VolumeSpec,
};
use crate::engine::options::{ApplyMode, ApplyOptions};
use crate::engine::snapshots::{refuse_memory, whole};
use crate::engine::volumes;
use crate::error::{Error, Result};
use crate::observe::World;

/// Makes new volumes of what a snapshot holds.
pub(super) fn to_volumes(
    world: &World,
    key: &ObjectKey,
    name: &Name,
    request: &RestoreRequest,
    reporter: &dyn Reporter,
) -> Result<Restored> {
    let record = whole(world, key)?;
    refuse_memory(key, &record)?;
    let options = ApplyOptions {
        mode: ApplyMode::Create,
        dry_run: request.dry_run,
        wait: None,
        error_unchanged: false,
    };
    let mut applied = Vec::new();
    for disk in &record.disks {
        let short = disk.volume.as_ref().map_or("root", Name::as_str);
        let name = match record.disks.len() {
            1 => name.clone(),
            _ => Name::new(format!("{name}-{short}").as_str())
                .map_err(|e| Error::usage(format!("--to: {e}")))?,
        };
        let volume = Volume {
            api_version: API_VERSION.to_owned(),
            kind: "Volume".to_owned(),
            metadata: ObjectMeta::named(name),
            spec: VolumeSpec {
                source: Some(VolumeSource {
                    snapshot: Some(record.name.clone()),
                    disk: (record.disks.len() > 1).then(|| short.to_owned()),
                    ..VolumeSource::default()
                }),
                pool: Some(disk.file.pool.clone()),
                ..VolumeSpec::default()
            },
            status: None,
        };
        applied.push(volumes::apply(world, &volume, &options, reporter)?);
    }
    Ok(Restored { applied })
}
