//! `wait --for`: what is waited for, and how.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::instances::wait_ready;
use crate::api::{Instance, Object, ObjectKey, Phase, Reporter, Span};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::EventWaiter;
use crate::observe::{CREATE_INTERRUPTED, World};

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
        /// The path as a JSON pointer, as `/status/phase`.
        pointer: String,
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
            let (path, value) = match rest.strip_prefix('{').map(|r| r.split_once('}')) {
                Some(Some((path, ""))) => (path, None),
                Some(Some((path, value))) => (path, value.strip_prefix('=')),
                Some(None) => ("", None),
                None => match rest.split_once('=') {
                    Some((path, value)) => (path, Some(value)),
                    None => (rest, None),
                },
            };
            if let Some(pointer) = pointer(path) {
                let value = value.map(str::to_owned);
                return Ok(Self::Field { pointer, value });
            }
        }
        Err(Error::usage(format!("unrecognized condition: {text:?}"))
            .hint("--for=condition=Ready")
            .hint("--for=delete")
            .hint("--for=jsonpath='{.status.phase}'=Running"))
    }

    /// Returns what is told while it is not reached.
    fn awaited(&self) -> String {
        match self {
            Self::Delete => "waiting to be deleted".to_owned(),
            Self::Create => "waiting to be created".to_owned(),
            Self::Condition { kind, .. } => format!("waiting for {kind}"),
            Self::Field { pointer, .. } => format!("waiting for {pointer}"),
        }
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
    let (mut told, mut stood_still) = (false, false);
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
                let stands_still = interrupted(instance);
                // Who has just finished is seen like this for a moment, too.
                if let (Some(why), true) = (&stands_still, stood_still) {
                    return Err(never_ready(key, why));
                }
                stood_still = stands_still.is_some();
                if phase != Some(Phase::Pending) {
                    let left = deadline.saturating_duration_since(Instant::now());
                    return wait_ready(world, key, left, reporter).map_err(|e| reworded(e, key));
                }
            }
            (Goal::Condition { kind, status }, Some(object)) if holds(object, kind, status)? => {
                return Ok(());
            }
            (Goal::Field { pointer, value }, Some(object))
                if field(object, pointer)?
                    .is_some_and(|found| value.as_ref().is_none_or(|wanted| *wanted == found)) =>
            {
                return Ok(());
            }
            _ => {}
        }
        if Instant::now() >= deadline {
            let span = Span::seconds(started.elapsed().as_secs());
            let seen = seen(key, goal, object.as_ref())?;
            let plural = key.kind.info().plural;
            let hint = match object {
                Some(_) => format!("kvmctl describe {key}"),
                None => format!("kvmctl get {plural}"),
            };
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("timed out waiting for the condition on {key}"),
            )
            .caused_by(format!("waited {span}, last seen: {seen}"))
            .hint(hint));
        }
        if !told {
            reporter.phase(key, &goal.awaited());
            told = true;
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

/// Returns why an instance stays half made, if nobody is at it.
fn interrupted(instance: &Instance) -> Option<String> {
    let status = instance.status.as_ref()?;
    let reason = status.reason.as_deref();
    let stands_still = status.phase == Phase::Pending && reason == Some(CREATE_INTERRUPTED);
    stands_still.then(|| status.message.clone().unwrap_or_default())
}

fn never_ready(key: &ObjectKey, why: &str) -> Error {
    Error::failed(format!(
        "{key} does not become Ready: its creation was interrupted"
    ))
    .caused_by(why)
    .hint("kvmctl reconcile")
    .hint(format!("kvmctl delete {key}"))
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

/// Tells what there was instead of the goal.
fn seen(key: &ObjectKey, goal: &Goal, object: Option<&Object>) -> Result<String> {
    let (kind, name) = (key.kind, key.name.as_str());
    let Some(object) = object else {
        return Ok(format!("{kind} {name:?} does not exist"));
    };
    let pointer = match goal {
        Goal::Field { pointer, .. } => pointer.clone(),
        Goal::Condition { kind, .. } => {
            let value = value_of(object)?;
            let all = value
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let mut all = all.into_iter().flatten();
            let text = |c: &Value, key: &str| c.get(key).and_then(Value::as_str).map(str::to_owned);
            let found = all.find(|c| text(c, "type").is_some_and(|t| t.eq_ignore_ascii_case(kind)));
            let status = found.and_then(|c| text(c, "status"));
            return Ok(match status {
                Some(status) => format!("{kind}={status}"),
                None => format!("it has no condition {kind:?}"),
            });
        }
        Goal::Delete | Goal::Create => return Ok(format!("{kind} {name:?} exists")),
    };
    Ok(match field(object, &pointer)? {
        Some(found) => found,
        None => "the field is not there".to_owned(),
    })
}

/// Reads a plain path, as `.status.addresses[0].address`, as a JSON pointer.
fn pointer(path: &str) -> Option<String> {
    let mut pointer = String::new();
    for part in path.strip_prefix('.')?.split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() || name.contains([']', '\'', '"', '{', '}', '(', '*', '/', '~', ' ']) {
            return None;
        }
        pointer.push('/');
        pointer.push_str(name);
        while let Some(index) = rest.strip_prefix('[') {
            let (number, after) = index.split_once(']')?;
            pointer.push_str(&format!("/{}", number.parse::<usize>().ok()?));
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(pointer)
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

fn field(object: &Object, pointer: &str) -> Result<Option<String>> {
    Ok(value_of(object)?.pointer(pointer).map(|found| match found {
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
                pointer: "/status/phase".into(),
                value: Some("Running".into())
            }
        );
        assert_eq!(
            Goal::parse("jsonpath={.status.addresses[0].address}").unwrap(),
            Goal::Field {
                pointer: "/status/addresses/0/address".into(),
                value: None
            }
        );
        assert_eq!(
            Goal::parse("jsonpath=.spec.cpus=2").unwrap(),
            Goal::Field {
                pointer: "/spec/cpus".into(),
                value: Some("2".into())
            }
        );
        for bad in [
            "",
            "ready",
            "condition=",
            "jsonpath=status",
            "jsonpath={.status.phase=Running",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True",
            "jsonpath={.status..phase}",
            "jsonpath={.a[x]}",
        ] {
            assert!(Goal::parse(bad).is_err(), "{bad:?}");
        }
    }
}
