//! What of a spec may stand in the domain's metadata, which anybody on the host can read.
//!
//! user-data, env values, run lines and command stand there as hashes; what they hide lies in the
//! seed and the store. The hashes are enough to see that nothing changed.

use serde_json::{Value, json};

use crate::api::InstanceSpec;
use crate::error::{Error, Result};
use crate::manifest::{is_masked, mask};

/// Returns the spec as JSON with everything that may be secret replaced by its mark.
///
/// # Errors
/// If the spec cannot be written as JSON.
pub(crate) fn public_json(spec: &InstanceSpec) -> Result<String> {
    let mut value = serde_json::to_value(spec)
        .map_err(|e| Error::failed("cannot write the spec").caused_by(e))?;
    if let Some(Value::String(text)) = value.get_mut("userData") {
        *text = mask(text);
    }
    for list in ["run", "command"] {
        if let Some(Value::Array(items)) = value.get_mut(list) {
            items.iter_mut().for_each(hide);
        }
    }
    if let Some(Value::Array(vars)) = value.get_mut("env") {
        for var in vars {
            if let Some(value) = var.get_mut("value") {
                hide(value);
            }
        }
    }
    Ok(value.to_string())
}

fn hide(value: &mut Value) {
    if let Value::String(text) = value {
        *value = json!(mask(text));
    }
}

/// Puts back what is masked in `wanted` where `known` hashes to the same.
///
/// What was printed by `-o yaml` can so be applied again. A mask of something else is refused,
/// because nobody knows what it stands for.
///
/// # Errors
/// Usage, naming the field.
pub(crate) fn unmask(wanted: &mut InstanceSpec, known: Option<&InstanceSpec>) -> Result<()> {
    let Some(text) = wanted.user_data.as_mut().filter(|t| is_masked(t)) else {
        return Ok(());
    };
    let known = known.and_then(|k| k.user_data.as_ref());
    match known {
        Some(value) if *value == *text || mask(value) == *text => {
            text.clone_from(value);
            Ok(())
        }
        _ => Err(
            Error::usage("spec.userData is masked and is not what the instance has")
                .hint("give the user-data itself, or leave spec.userData out for a new instance"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EnvName, EnvVar};
    use crate::manifest::printable;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            image: Some("debian-12".into()),
            env: vec![EnvVar {
                name: EnvName::new("A").unwrap(),
                value: Some("canary-1".into()),
                value_from: None,
            }],
            run: vec!["canary-2".into()],
            command: vec!["canary-3".into()],
            user_data: Some("canary-4".into()),
            ..InstanceSpec::default()
        }
    }

    #[test]
    fn nothing_that_may_be_secret_is_public() {
        let json = public_json(&spec()).unwrap();
        assert!(!json.contains("canary"), "{json}");
        assert!(json.contains("debian-12"));
    }

    #[test]
    fn what_was_printed_can_be_applied_again() {
        let mut wanted = printable(spec());
        assert_ne!(wanted, spec());
        unmask(&mut wanted, Some(&spec())).unwrap();
        assert_eq!(wanted, spec());
        let mut other = spec();
        other.user_data = Some("other".into());
        assert!(unmask(&mut printable(spec()), Some(&other)).is_err());
        assert!(unmask(&mut printable(spec()), None).is_err());
    }
}
