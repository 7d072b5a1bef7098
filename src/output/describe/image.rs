//! Describes images.

use super::Doc;
use crate::api::{Described, Image};
use crate::output::size::size;

pub(super) fn body(doc: &mut Doc, o: &Image, described: &Described) {
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
    doc.maybe("Path", described.location.as_ref());
    doc.maybe("SHA-256", status.and_then(|s| s.sha256.as_ref()));
    doc.maybe("Format", status.and_then(|s| s.format.as_ref()));
    doc.maybe("Architecture", status.and_then(|s| s.architecture.as_ref()));
    doc.maybe("Firmware", status.and_then(|s| s.firmware.as_ref()));
    doc.maybe(
        "Virtual size",
        status.and_then(|s| s.virtual_size).map(size),
    );
    doc.maybe("Size on host", status.and_then(|s| s.size).map(size));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, Name, ObjectKey};
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn an_image_says_who_uses_it() {
        let described = Described {
            used_by: vec![ObjectKey::new(Kind::Instance, Name::new("web").unwrap())],
            ..Described::new(samples::image("debian-12"))
        };
        let text = render(&described, samples::ctx().now, Paint::Off);
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
        Used by:       instance/db
                       instance/web
        Events:        <none>
        ");
    }
}
