//! Describes volumes.

use super::Doc;
use crate::api::{Volume, VolumeSource, VolumeUse};
use crate::output::size::size;

pub(super) fn body(doc: &mut Doc, o: &Volume) {
    let status = o.status.clone().unwrap_or_default();
    let reason = status.reason.iter().map(|r| format!(" ({r})"));
    doc.field(
        "Status",
        format!("{}{}", status.phase, reason.collect::<String>()),
    );
    doc.maybe("Message", status.message);
    doc.field("Managed", if status.managed { "Yes" } else { "No" });
    doc.maybe("Capacity", status.capacity.or(o.spec.size).map(size));
    doc.maybe("Allocation", status.allocation.map(size));
    doc.maybe("Format", status.format.or(o.spec.format));
    doc.maybe("Preallocation", o.spec.preallocation);
    doc.maybe("Made from", o.spec.source.as_ref().and_then(source));
    doc.maybe("Pool", status.pool);
    doc.maybe("Path", status.path);
    doc.list("Backing chain", status.backing);
    if let Some(serial) = &status.serial {
        doc.field("In the guest", format!("/dev/disk/by-id/virtio-{serial}"));
    }
    doc.list("Attached to", status.attached_to.iter().map(line));
}

fn source(source: &VolumeSource) -> Option<String> {
    let volume = source.volume.as_ref().map(|v| format!("volume/{v}"));
    let disk = source.disk.iter().map(|d| format!(", disk {d}"));
    let snapshot = source.snapshot.as_ref();
    let snapshot = snapshot.map(|s| format!("snapshot/{s}{}", disk.collect::<String>()));
    let image = source.image.as_ref().map(|i| format!("image/{i}"));
    let tar = source
        .tar
        .as_ref()
        .map(|file| format!("the archive {file}"));
    volume.or(image).or(snapshot).or(tar)
}

fn line(at: &VolumeUse) -> String {
    let kind = if at.managed { "instance/" } else { "domain " };
    let state = if at.running { "running" } else { "off" };
    format!("{kind}{} as {} ({state})", at.domain, at.target)
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_volume_says_what_the_guest_finds_it_by() {
        let described = Described::new(samples::volume("data"));
        let text = render(&described, samples::ctx().now, Paint::Off);
        for line in [
            "In the guest:   /dev/disk/by-id/virtio-1a2b3c4d5e6f40008000",
            "Attached to:    instance/web as vdb (running)",
            "Backing chain:  <none>",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
