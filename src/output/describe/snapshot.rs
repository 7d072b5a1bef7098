//! Describes snapshots.

use super::Doc;
use crate::api::{Snapshot, SnapshotDisk};
use crate::output::size::size;

pub(super) fn body(doc: &mut Doc, o: &Snapshot) {
    let status = o.status.clone().unwrap_or_default();
    let reason = status.reason.iter().map(|r| format!(" ({r})"));
    doc.field(
        "Status",
        format!("{}{}", status.phase, reason.collect::<String>()),
    );
    doc.maybe("Message", status.message);
    doc.maybe("Description", o.spec.description.as_ref());
    let wanted = o.spec.source().map(|(kind, name)| format!("{kind}/{name}"));
    doc.maybe("Source", wanted);
    doc.maybe("Source UID", status.source.map(|s| s.uid));
    doc.maybe("Taken at", status.taken_at);
    if status.taken_at.is_some() {
        let how = if status.running {
            "while a guest ran"
        } else {
            "at rest"
        };
        doc.field("Taken", how);
    }
    doc.maybe("Consistency", status.consistency);
    doc.maybe("Frozen for", status.frozen_ms.map(|ms| format!("{ms} ms")));
    if status.memory {
        doc.field("Memory", "with the guest's memory");
    }
    match &status.parent {
        Some(parent) => doc.field("Stands on", format!("snapshot/{parent}")),
        None => doc.field("Stands on", "<none>: it stands alone"),
    }
    let children = status.children.iter().map(|c| format!("snapshot/{c}"));
    doc.list("Stand on it", children);
    doc.maybe("Virtual size", status.virtual_size.map(size));
    doc.maybe("Stored size", status.stored_size.map(size));
    doc.maybe("Retained", o.spec.retain.map(|n| format!("the newest {n}")));
    doc.maybe("QEMU", status.qemu_version);
    for disk in &status.disks {
        doc.section(format!("Disk {}", disk.name), section(disk));
    }
}

fn section(disk: &SnapshotDisk) -> Doc {
    let mut doc = Doc::default();
    doc.maybe(
        "Volume",
        disk.volume.as_ref().map(|v| format!("volume/{v}")),
    );
    doc.maybe("Target", disk.target.as_ref());
    doc.field("Format", disk.format.as_str());
    doc.maybe("Virtual size", disk.virtual_size.map(size));
    doc.maybe("Stored size", disk.stored_size.map(size));
    let content = if disk.incremental {
        "what changed since its parent"
    } else {
        "whole"
    };
    doc.field("Content", content);
    doc.maybe("SHA-256", disk.sha256.as_ref());
    doc.maybe("Path", disk.path.as_ref());
    doc
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_snapshot_says_of_what_when_and_how() {
        let described = Described::new(samples::snapshot("backup"));
        let text = render(&described, samples::ctx().now, Paint::Off);
        for part in [
            "instance/web",
            "filesystem",
            "74 ms",
            "it stands alone",
            "/pool/backup.1a2b3c4d.root.snap.qcow2",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
