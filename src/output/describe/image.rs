//! Describes images.

use super::{Doc, EventLine, events, head};
use crate::api::{Image, Timestamp};
use crate::output::size::size;
use crate::output::style::Paint;

/// Describes an image; `path` is where it lies, where that is known.
pub fn describe_image(
    o: &Image,
    path: Option<&str>,
    history: &[EventLine],
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut doc = Doc::default();
    head(&mut doc, "Image", &o.metadata, now);
    doc.maybe("URL", o.spec.url.as_ref());
    doc.maybe("Expected SHA-256", o.spec.sha256.as_ref());
    doc.maybe("Default user", o.spec.default_user.as_ref());
    let status = o.status.as_ref();
    doc.field(
        "Cached",
        if status.is_some_and(|s| s.cached) {
            "Yes"
        } else {
            "No"
        },
    );
    doc.maybe("Volume", status.and_then(|s| s.volume.as_ref()));
    doc.maybe("Path", path);
    doc.maybe("SHA-256", status.and_then(|s| s.sha256.as_ref()));
    doc.maybe("Format", status.and_then(|s| s.format.as_ref()));
    doc.maybe("Architecture", status.and_then(|s| s.architecture.as_ref()));
    doc.maybe("Firmware", status.and_then(|s| s.firmware.as_ref()));
    doc.maybe(
        "Virtual size",
        status.and_then(|s| s.virtual_size).map(size),
    );
    doc.maybe("Size on host", status.and_then(|s| s.size).map(size));
    let users = status.iter().flat_map(|s| &s.used_by);
    doc.list("Used by", users.map(|name| format!("instance/{name}")));
    events(&mut doc, history, now);
    doc.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::columns::samples;

    #[test]
    fn an_image_says_who_uses_it() {
        let text = describe_image(
            &samples::image("debian-12"),
            None,
            &[],
            samples::ctx().now,
            Paint::Off,
        );
        insta::assert_snapshot!(text, @r"
        Name:          debian-12
        Kind:          Image
        UID:           <none>
        Labels:        <none>
        Annotations:   <none>
        Created:       2024-04-29T12:00:00Z (2d ago)
        URL:           https://cloud.example/debian-12.qcow2
        Default user:  debian
        Cached:        Yes
        SHA-256:       aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        Format:        qcow2
        Architecture:  x86_64
        Firmware:      bios
        Virtual size:  2Gi
        Size on host:  317Mi
        Used by:       instance/web
                       instance/db
        Events:        <none>
        ");
    }
}
