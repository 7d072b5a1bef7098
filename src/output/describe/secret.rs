//! Describes secrets: which keys there are and how long their values, never a value.

use super::Doc;
use crate::api::Secret;

pub(super) fn body(doc: &mut Doc, o: &Secret) {
    let mut data = Doc::default();
    for (key, value) in &o.data {
        data.field(key.as_str(), format!("{} bytes", value.expose().len()));
    }
    doc.section("Data", data);
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn keys_and_lengths_are_shown_and_no_value() {
        let described = Described::new(samples::secret("db"));
        let text = render(&described, samples::ctx().now, Paint::Off);
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
