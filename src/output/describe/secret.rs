//! Describes secrets: which keys there are and how long their values, never a value.

use super::{Doc, EventLine, events, head};
use crate::api::{Secret, Timestamp};
use crate::output::style::Paint;

/// Describes a secret; `used_by` are the objects that refer to it, as `instance/web`.
pub fn describe_secret(
    o: &Secret,
    used_by: &[String],
    history: &[EventLine],
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut doc = Doc::default();
    head(&mut doc, "Secret", &o.metadata, now);
    let mut data = Doc::default();
    for (key, value) in &o.data {
        data.field(key.as_str(), format!("{} bytes", value.expose().len()));
    }
    doc.section("Data", data);
    doc.list("Used by", used_by.iter().cloned());
    events(&mut doc, history, now);
    doc.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Object;
    use crate::output::columns::samples;

    #[test]
    fn keys_and_lengths_are_shown_and_no_value() {
        let Object::Secret(o) = samples::secret("db") else {
            panic!("the sample is a secret");
        };
        let text = describe_secret(&o, &[], &[], samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r"
        Name:         db
        Kind:         Secret
        UID:          <none>
        Labels:       <none>
        Annotations:  <none>
        Created:      2024-05-01T11:59:00Z (60s ago)
        Data:
          PASSWORD:  20 bytes
          USER:      20 bytes
        Used by:      <none>
        Events:       <none>
        ");
        assert!(!text.contains(samples::PASSWORD));
    }
}
