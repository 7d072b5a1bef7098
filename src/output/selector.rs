//! `-l`: label selectors in kubectl's full syntax.

use std::collections::{BTreeMap, BTreeSet};

use super::error::InvalidRequest;
use crate::api::{LabelKey, LabelValue};

/// A condition on labels: all its requirements hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: LabelKey,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    Absent,
    In(BTreeSet<LabelValue>),
    NotIn(BTreeSet<LabelValue>),
}

impl LabelSelector {
    /// Parses `app=web,tier!=db,env in (a,b),env notin (c),old,!new`. An empty text selects everything.
    ///
    /// # Errors
    /// [`InvalidRequest::LabelSelector`] with the place of the fault.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.skip_blanks();
        while !parser.rest().is_empty() {
            requirements.push(parser.requirement()?);
            parser.skip_blanks();
            if parser.rest().is_empty() {
                break;
            }
            if !parser.take(",") {
                return Err(parser.fault("',' or the end expected"));
            }
            parser.skip_blanks();
            if parser.rest().is_empty() {
                return Err(parser.fault("a requirement is missing after ','"));
            }
        }
        Ok(Self { requirements })
    }

    /// Returns whether the labels meet every requirement. As in Kubernetes, `!=` and `notin` hold for
    /// objects without the label.
    pub fn matches(&self, labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.condition {
                Condition::Exists => value.is_some(),
                Condition::Absent => value.is_none(),
                Condition::In(values) => value.is_some_and(|v| values.contains(v)),
                Condition::NotIn(values) => !value.is_some_and(|v| values.contains(v)),
            }
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, InvalidRequest> {
        if self.take("!") {
            let key = self.key()?;
            return Ok(Requirement {
                key,
                condition: Condition::Absent,
            });
        }
        let key = self.key()?;
        let condition = self.condition()?;
        Ok(Requirement { key, condition })
    }

    fn condition(&mut self) -> Result<Condition, InvalidRequest> {
        self.skip_blanks();
        if self.take("!=") {
            return Ok(Condition::NotIn([self.value()?].into()));
        }
        if self.take("==") || self.take("=") {
            return Ok(Condition::In([self.value()?].into()));
        }
        if self.rest().is_empty() || self.rest().starts_with(',') {
            return Ok(Condition::Exists);
        }
        let word = self.peek_word();
        let make = match word {
            "in" => Condition::In,
            "notin" => Condition::NotIn,
            _ => return Err(self.fault("'=', '==', '!=', 'in' or 'notin' expected")),
        };
        self.at += word.len();
        self.values().map(make)
    }

    /// Reads `(a,b)`.
    fn values(&mut self) -> Result<BTreeSet<LabelValue>, InvalidRequest> {
        self.skip_blanks();
        if !self.take("(") {
            return Err(self.fault("'(' expected"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            self.skip_blanks();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.fault("',' or ')' expected"));
            }
        }
    }

    fn key(&mut self) -> Result<LabelKey, InvalidRequest> {
        self.skip_blanks();
        let word = self.peek_word();
        let key = LabelKey::new(word).map_err(|e| self.fault(&e.to_string()))?;
        self.at += word.len();
        Ok(key)
    }

    fn value(&mut self) -> Result<LabelValue, InvalidRequest> {
        self.skip_blanks();
        let word = self.peek_word();
        let value = LabelValue::new(word).map_err(|e| self.fault(&e.to_string()))?;
        self.at += word.len();
        Ok(value)
    }

    fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || "=!,()".contains(c));
        &rest[..end.unwrap_or(rest.len())]
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn fault(&self, what: &str) -> InvalidRequest {
        InvalidRequest::LabelSelector {
            text: self.text.to_owned(),
            column: self.text[..self.at].chars().count() + 1,
            what: what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<LabelKey, LabelValue> {
        pairs
            .iter()
            .map(|(k, v)| (LabelKey::new(*k).unwrap(), LabelValue::new(*v).unwrap()))
            .collect()
    }

    #[test]
    fn every_operator_selects_as_in_kubernetes() {
        let web = labels(&[
            ("app", "web"),
            ("env", "prod"),
            ("empty", ""),
            ("a.io/b", "c"),
        ]);
        for (selector, holds) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            (" app = web , env = prod ", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app", true),
            ("missing", false),
            ("!app", false),
            ("! missing", true),
            ("env in (dev, prod)", true),
            ("env in (dev)", false),
            ("env notin (dev)", true),
            ("env notin(dev,prod)", false),
            ("missing notin (x)", true),
            ("missing in (x)", false),
            ("empty=", true),
            ("empty in (,x)", true),
            ("app=,env", false),
            ("a.io/b=c", true),
            ("app=web,env!=dev,!zz,a.io/b", true),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.matches(&web), holds, "{selector:?}");
        }
    }

    #[test]
    fn faults_are_told_with_their_place() {
        for (selector, column) in [
            ("app=web,", 9),
            (",", 1),
            ("app in web", 8),
            ("app in (a", 10),
            ("app like web", 5),
            ("app=a b", 7),
            ("-app", 1),
            ("app=-", 5),
            ("!", 2),
            ("é=1", 1),
        ] {
            match LabelSelector::parse(selector) {
                Err(InvalidRequest::LabelSelector { column: found, .. }) => {
                    assert_eq!(found, column, "{selector:?}");
                }
                other => panic!("{selector:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c=!,() éin]{0,16}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                selector.matches(&BTreeMap::new());
            }
        }
    }
}
