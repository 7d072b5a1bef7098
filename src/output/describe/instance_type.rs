//! Describes instance types.

use super::Doc;
use crate::api::InstanceType;
use crate::output::size::size;

pub(super) fn body(doc: &mut Doc, o: &InstanceType) {
    doc.field("CPUs", o.spec.cpus.to_string());
    doc.field("Memory", size(o.spec.memory));
    doc.field("Disk", size(o.spec.disk));
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_type_says_its_size() {
        let described = Described::new(samples::instance_type("t2.micro"));
        let text = render(&described, samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:         t2.micro
        Kind:         InstanceType
        UID:          <none>
        Labels:       <none>
        Annotations:  <none>
        CPUs:         1
        Memory:       1Gi
        Disk:         8Gi
        Used by:      <none>
        Events:       <none>
        ");
    }
}
