//! Describes instance types.

use super::{Doc, head};
use crate::api::{InstanceType, Timestamp};
use crate::output::size::size;
use crate::output::style::Paint;

/// Describes an instance type; `used_by` are the names of the instances of that type.
pub fn describe_instance_type(
    o: &InstanceType,
    used_by: &[String],
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut doc = Doc::default();
    head(&mut doc, "InstanceType", &o.metadata, now);
    doc.field("CPUs", o.spec.cpus.to_string());
    doc.field("Memory", size(o.spec.memory));
    doc.field("Disk", size(o.spec.disk));
    doc.list(
        "Used by",
        used_by.iter().map(|name| format!("instance/{name}")),
    );
    doc.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::columns::samples;

    #[test]
    fn a_type_says_its_size() {
        let o = samples::instance_type("t2.micro");
        let text = describe_instance_type(&o, &["web".into()], samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:         t2.micro
        Kind:         InstanceType
        UID:          <none>
        Labels:       <none>
        Annotations:  <none>
        CPUs:         1
        Memory:       1Gi
        Disk:         8Gi
        Used by:      instance/web
        ");
    }
}
