//! The rules of volumes, and of the list of volumes of an instance.

use std::collections::HashSet;

use super::others::disk;
use crate::api::{
    CacheMode, DiskFormat, FileSystem, IoMode, Preallocation, VolumeAttachment, VolumeSource,
    VolumeSpec,
};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

/// Ports that the machine has for devices that come later, less those of the guest itself.
const MAX_VOLUMES: usize = 16;
const MAX_PATH: usize = 255;

pub(super) fn check(spec: &VolumeSpec, problems: &mut Vec<Problem>) {
    if let Some(size) = spec.size {
        disk("spec.size", size, problems);
        if !size.bytes().is_multiple_of(512) {
            let rule = "not a multiple of 512 bytes, which disks are made of";
            problems.push(Problem::of_value(FieldPath::of("spec.size"), rule));
        }
    }
    match (&spec.source, spec.size) {
        (None, None) => {
            let problem = Problem::of_value(FieldPath::of("spec.size"), "not set");
            problems.push(problem.help("write a size, as 10Gi"));
        }
        (Some(source), _) => origin(source, problems),
        (None, Some(_)) => {}
    }
    if let Some(pool) = &spec.pool
        && !is_pool(pool)
    {
        let rule = "not the name of a pool: letters, digits, '-', '_' and '.'";
        problems.push(Problem::of_value(FieldPath::of("spec.pool"), rule));
    }
    preallocation(spec, problems);
}

fn origin(source: &VolumeSource, problems: &mut Vec<Problem>) {
    let named = [
        source.volume.is_some(),
        source.image.is_some(),
        source.snapshot.is_some(),
        source.tar.is_some(),
    ];
    if named.iter().filter(|n| **n).count() != 1 {
        let rule = "names one of volume, image, snapshot and tar";
        problems.push(Problem::of_value(FieldPath::of("spec.source"), rule));
    }
    if source.disk.is_some() && source.snapshot.is_none() {
        let rule = "goes with snapshot";
        problems.push(Problem::of_value(FieldPath::of("spec.source.disk"), rule));
    }
    if let Some(tar) = &source.tar
        && tar != "-"
        && (!tar.starts_with('/') || tar.contains(char::is_control))
    {
        let rule = "is neither an absolute path nor '-'";
        problems.push(Problem::of_value(FieldPath::of("spec.source.tar"), rule));
    }
    let rule = match (source.fs, &source.tar) {
        (Some(_), None) => "goes with tar",
        (Some(FileSystem::Xfs), _) => "only ext4 can be filled without mounting it",
        _ => return,
    };
    problems.push(Problem::of_value(FieldPath::of("spec.source.fs"), rule));
}

fn is_pool(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(plain) && !name.starts_with('-')
}

fn preallocation(spec: &VolumeSpec, problems: &mut Vec<Problem>) {
    let raw = spec.format == Some(DiskFormat::Raw);
    let rule = match spec.preallocation {
        Some(Preallocation::Metadata) if raw => "metadata: a raw volume has none",
        Some(Preallocation::Full) if !raw => "full goes with format raw; qcow2 has falloc",
        Some(Preallocation::Metadata | Preallocation::Falloc | Preallocation::Full)
            if spec.source.is_some() =>
        {
            "goes with an empty volume: a copy takes what its source holds"
        }
        _ => return,
    };
    let path = FieldPath::of("spec.preallocation");
    problems.push(Problem::of_value(path, rule));
}

pub(super) fn attachments(volumes: &[VolumeAttachment], problems: &mut Vec<Problem>) {
    let list = FieldPath::of("spec.volumes");
    if volumes.len() > MAX_VOLUMES {
        let rule = format!("{} volumes, at most {MAX_VOLUMES}", volumes.len());
        problems.push(Problem::of_value(list.clone(), rule));
    }
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (n, volume) in volumes.iter().enumerate() {
        let at = list.index(n);
        if !names.insert(&volume.name) {
            let rule = format!("\"{}\" is in the list already", volume.name);
            problems.push(Problem::of_value(at.key("name"), rule));
        }
        if let Some(path) = &volume.mount_path {
            if let Some(rule) = path_problem(path) {
                problems.push(Problem::of_value(at.key("mountPath"), rule));
            } else if !paths.insert(path.trim_end_matches('/')) {
                problems.push(Problem::of_value(
                    at.key("mountPath"),
                    "is in the list already",
                ));
            }
        }
        treatment(volume, &at, problems);
    }
}

fn treatment(volume: &VolumeAttachment, at: &FieldPath, problems: &mut Vec<Problem>) {
    if volume.fs.is_some() && volume.mount_path.is_none() {
        problems.push(Problem::of_value(at.key("fs"), "goes with mountPath"));
    }
    let direct = matches!(volume.cache, Some(CacheMode::None | CacheMode::Directsync));
    if volume.io == Some(IoMode::Native) && !direct {
        let rule = "native goes with cache none or directsync";
        problems.push(Problem::of_value(at.key("io"), rule));
    }
}

fn path_problem(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let odd = |c: char| c.is_control() || c.is_whitespace() || "\\\"'$`#".contains(c);
    if !path.starts_with('/') || parts.is_empty() {
        Some("is not an absolute path below /")
    } else if parts.iter().any(|p| matches!(*p, "." | "..")) {
        Some("has . or .. in it")
    } else if path.len() > MAX_PATH || path.chars().any(odd) {
        Some("has blanks, quotes or control characters, or is longer than 255 bytes")
    } else {
        None
    }
}
