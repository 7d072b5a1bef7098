//! `wait --for`: what is waited for, and how.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::instances::wait_ready;
use crate::api::{Object, ObjectKey, Phase, Reporter, Span};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::EventWaiter;
use crate::observe::World;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A condition has a status.
    Condition {
        /// Its type, as `Ready`.
        kind: String,
        /// Its status, as `True`.
        status: String,
    },
    /// The object is gone.
    Delete,
    /// The object is there.
    Create,
    /// A field has a value.
    Field {
        /// The path, as `.status.phase`.
        path: String,
        /// The value; any when absent.
        value: Option<String>,
    },
}

impl Goal {
    /// Reads the argument of `--for`.
    ///
    /// # Errors
    /// Usage, with the forms there are.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "delete" {
            return Ok(Self::Delete);
        }
        if text == "create" {
            return Ok(Self::Create);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
            if !kind.is_empty() {
                let (kind, status) = (kind.to_owned(), status.to_owned());
                return Ok(Self::Condition { kind, status });
            }
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let rest = rest.trim_matches('\'');
            let (path, value) = match rest.split_once("}=") {
                Some((path, value)) => (path, Some(value.to_owned())),
                None => (rest.trim_end_matches('}'), None),
            };
            let path = path.trim_start_matches('{').to_owned();
            if path.starts_with('.') && !path.contains(['\'', '{', '}']) {
                return Ok(Self::Field { path, value });
            }
        }
        Err(Error::usage(format!("unrecognized condition: {text:?}"))
            .hint("--for=condition=Ready")
            .hint("--for=delete")
            .hint("--for=jsonpath='{.status.phase}'=Running"))
    }

    /// Returns how a goal that was reached is told.
    pub const fn met(&self) -> &'static str {
        match self {
            Self::Delete => "deleted",
            Self::Create => "created",
            Self::Condition { .. } | Self::Field { .. } => "condition met",
        }
    }
}

/// How often the store is looked at, which has no events.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for a goal, also for an object that does not exist yet.
///
/// # Errors
/// `Timeout`; at once where the goal can no longer be reached.
pub fn wait_for(
    world: &World,
    key: &ObjectKey,
    goal: &Goal,
    deadline: Instant,
    reporter: &dyn Reporter,
) -> Result<()> {
    let started = Instant::now();
    let events = EventWaiter::all(world.host()?).ok();
    loop {
        super::signal::interrupted()?;
        let object = match world.get(key) {
            Ok(object) => Some(object),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        match (goal, &object) {
            (Goal::Delete, None) | (Goal::Create, Some(_)) => return Ok(()),
            (Goal::Condition { kind, status }, Some(Object::Instance(instance)))
                if kind == "Ready" && status == "True" =>
            {
                let phase = instance.status.as_ref().map(|s| s.phase);
                if phase != Some(Phase::Pending) {
                    let left = deadline.saturating_duration_since(Instant::now());
                    return wait_ready(world, key, left, reporter).map_err(|e| reworded(e, key));
                }
            }
            (Goal::Condition { kind, status }, Some(object)) if holds(object, kind, status)? => {
                return Ok(());
            }
            (Goal::Field { path, value }, Some(object))
                if field(object, path)?
                    .is_some_and(|found| value.as_ref().is_none_or(|wanted| *wanted == found)) =>
            {
                return Ok(());
            }
            _ => {}
        }
        if Instant::now() >= deadline {
            let span = Span::seconds(started.elapsed().as_secs());
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("timed out waiting for the condition on {key}"),
            )
            .caused_by(format!("waited {span}"))
            .hint(format!("kvmctl describe {key}")));
        }
        let until = deadline.min(Instant::now() + LOOK);
        match &events {
            Some(events) => {
                let _ = events.next(until);
            }
            None => std::thread::sleep(LOOK),
        }
    }
}

/// kubectl's words for a time-out, which scripts look for.
fn reworded(error: Error, key: &ObjectKey) -> Error {
    if error.kind() != ErrorKind::Timeout {
        return error;
    }
    let reworded = Error::new(
        ErrorKind::Timeout,
        format!("timed out waiting for the condition on {key}"),
    );
    let reworded = error.causes().iter().fold(reworded, Error::caused_by);
    error.hints().iter().cloned().fold(reworded, Error::hint)
}

fn holds(object: &Object, kind: &str, status: &str) -> Result<bool> {
    let value = value_of(object)?;
    let conditions = value
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    Ok(conditions.is_some_and(|all| {
        all.iter().any(|c| {
            let text = |key: &str| c.get(key).and_then(Value::as_str).unwrap_or_default();
            text("type").eq_ignore_ascii_case(kind) && text("status").eq_ignore_ascii_case(status)
        })
    }))
}

fn field(object: &Object, path: &str) -> Result<Option<String>> {
    let pointer = path.replace('.', "/");
    Ok(value_of(object)?
        .pointer(&pointer)
        .map(|found| match found {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }))
}

fn value_of(object: &Object) -> Result<Value> {
    serde_json::to_value(object).map_err(|e| Error::failed("cannot read the object").caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_those_of_kubectl() {
        let condition = |kind: &str, status: &str| Goal::Condition {
            kind: kind.into(),
            status: status.into(),
        };
        assert_eq!(
            Goal::parse("condition=Ready").unwrap(),
            condition("Ready", "True")
        );
        assert_eq!(
            Goal::parse("condition=Ready=False").unwrap(),
            condition("Ready", "False")
        );
        assert_eq!(Goal::parse("delete").unwrap(), Goal::Delete);
        assert_eq!(
            Goal::parse("jsonpath='{.status.phase}'=Running")
                .unwrap_err()
                .kind(),
            ErrorKind::Usage,
            "a shell takes the quotes away"
        );
        assert_eq!(
            Goal::parse("jsonpath={.status.phase}=Running").unwrap(),
            Goal::Field {
                path: ".status.phase".into(),
                value: Some("Running".into())
            }
        );
        for bad in ["", "ready", "condition=", "jsonpath=status"] {
            assert!(Goal::parse(bad).is_err(), "{bad:?}");
        }
    }
}
