//! Which objects of a listing are meant: `-l` and `--field-selector` together.

use std::collections::BTreeMap;

use super::field_selector::FieldSelector;
use super::selector::LabelSelector;
use crate::api::{Kind, LabelKey, LabelValue, Object};
use crate::error::Result;

/// A condition on objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    /// Parses both selectors for objects of the given kinds.
    ///
    /// # Errors
    /// A usage error for a selector that does not parse, or a field that a kind is not selected by.
    pub fn parse(labels: Option<&str>, fields: Option<&str>, kinds: &[Kind]) -> Result<Self> {
        let labels = LabelSelector::parse(labels.unwrap_or_default())?;
        let fields = FieldSelector::parse(fields.unwrap_or_default())?;
        for kind in kinds {
            fields.check(*kind)?;
        }
        Ok(Self { labels, fields })
    }

    /// Returns whether an object is meant.
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_labels(&object.meta().labels) && self.fields.matches(object)
    }

    /// Returns whether what has these labels is meant, as far as labels say.
    pub fn matches_labels(&self, labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
        self.labels.matches(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind as ErrorKind;
    use crate::output::columns::samples;

    #[test]
    fn both_selectors_must_hold() {
        let web = samples::instance("web").into();
        let holds = |labels, fields| {
            let filter = Filter::parse(labels, fields, &[Kind::Instance]).unwrap();
            filter.matches(&web)
        };
        assert!(holds(None, None));
        assert!(holds(Some("app=shop"), Some("status.phase=Running")));
        assert!(!holds(Some("app=shop"), Some("status.phase=Stopped")));
        assert!(!holds(Some("app!=shop"), None));
    }

    #[test]
    fn every_kind_must_know_the_field() {
        let kinds = [Kind::Instance, Kind::Image];
        let error = Filter::parse(None, Some("status.phase=Running"), &kinds).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("image"), "{error}");
        assert!(Filter::parse(None, Some("metadata.name=x"), &kinds).is_ok());
    }
}
