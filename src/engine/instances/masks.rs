//! What of a spec may stand in the domain's metadata, which anybody on the host can read.
//!
//! user-data, env values, run lines and command stand there as keyed hashes; what they hide lies in
//! the seed and the store, and the key with it. The hashes are enough to see that nothing changed,
//! when the store was lost and what they hide with it.

use crate::api::{EnvVar, InstanceSpec, MaskKey, is_keyed_mask};
use crate::error::{Error, Result};
use crate::manifest::{is_masked, mask};
use crate::store::InstanceRecord;

/// Returns the spec as JSON with everything that may be secret replaced by its mark.
///
/// # Errors
/// If the spec cannot be written as JSON.
pub(super) fn public_json(spec: &InstanceSpec, key: &MaskKey) -> Result<String> {
    let mut public = spec.clone();
    for (field, text) in hidden(&mut public) {
        // Of what is known by its mark only, the mark is all that there is.
        if !is_masked(text) {
            *text = key.mask(&field, text);
        }
    }
    serde_json::to_string(&public).map_err(|e| Error::failed("cannot write the spec").caused_by(e))
}

/// Returns whether anything is known only by a hash with a key.
pub(in crate::engine) fn any_keyed(spec: &InstanceSpec) -> bool {
    hidden(&mut spec.clone())
        .iter()
        .any(|(_, text)| is_keyed_mask(text))
}

/// Lists what may be secret, each with the name of its field.
fn hidden(spec: &mut InstanceSpec) -> Vec<(String, &mut String)> {
    let user_data = spec.user_data.iter_mut();
    let user_data = user_data.map(|text| ("userData".to_owned(), text));
    let run = spec.run.iter_mut().enumerate();
    let run = run.map(|(n, text)| (format!("run[{n}]"), text));
    let command = spec.command.iter_mut().enumerate();
    let command = command.map(|(n, text)| (format!("command[{n}]"), text));
    let env = spec
        .env
        .iter_mut()
        .filter_map(|EnvVar { name, value, .. }| {
            let field = format!("env.{name}");
            value.as_mut().map(|text| (field, text))
        });
    user_data.chain(run).chain(command).chain(env).collect()
}

/// Puts back what is masked in `wanted` where `known` hashes to the same.
///
/// What was printed by `-o yaml` can so be applied again. A mask of something else is refused,
/// because nobody knows what it stands for.
///
/// # Errors
/// Usage, naming the field.
pub(super) fn unmask(wanted: &mut InstanceSpec, known: Option<&InstanceSpec>) -> Result<()> {
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

/// Takes from a manifest what a record knows only by its mark, as one does whose store was rebuilt.
/// `None` where there is nothing to learn.
///
/// A text whose mark is another stays unknown, and so shows as a change. Where the key of the mark is
/// lost the manifest is believed: the guest took what it had at its first boot, whatever stands here.
pub(super) fn learn(record: &InstanceRecord, wanted: &InstanceSpec) -> Option<InstanceRecord> {
    let mut wanted = wanted.clone();
    let said = hidden(&mut wanted);
    let mut learned = record.clone();
    let key = record.mask_key.as_ref();
    let mut any = take_up(&mut learned.spec, &said, key);
    if let Some(last) = &mut learned.last_applied {
        any |= take_up(&mut last.spec, &said, key);
    }
    if learned.mask_key.is_none() && !any_keyed(&learned.spec) {
        learned.mask_key = Some(MaskKey::random());
    }
    any.then_some(learned)
}

fn take_up(
    known: &mut InstanceSpec,
    said: &[(String, &mut String)],
    key: Option<&MaskKey>,
) -> bool {
    let mut any = false;
    for (field, text) in hidden(known) {
        let Some((_, plain)) = said.iter().find(|(name, _)| *name == field) else {
            continue;
        };
        let same = match is_keyed_mask(text) {
            true => key.is_none_or(|key| key.mask(&field, plain) == *text),
            false => mask(plain) == *text,
        };
        if is_masked(text) && !is_masked(plain) && same {
            text.clone_from(plain);
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EnvName, Name, ObjectMeta, Uid};
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

    /// A record as it is rebuilt from metadata alone.
    fn rebuilt(public: &str, key: Option<&MaskKey>) -> InstanceRecord {
        let instance = crate::api::Instance {
            api_version: crate::api::API_VERSION.to_owned(),
            kind: "Instance".to_owned(),
            metadata: ObjectMeta::named(Name::new("web").unwrap()),
            spec: serde_json::from_str(public).unwrap(),
            status: None,
        };
        InstanceRecord {
            mask_key: key.cloned(),
            ..super::super::metadata::new_record(&instance, Uid::random()).unwrap()
        }
    }

    #[test]
    fn nothing_that_may_be_secret_is_public_nor_can_be_guessed() {
        let (one, other) = (MaskKey::random(), MaskKey::random());
        let json = public_json(&spec(), &one).unwrap();
        assert!(!json.contains("canary"), "{json}");
        assert!(json.contains("debian-12"));
        for text in ["canary-1", "canary-2", "canary-3", "canary-4"] {
            let unsalted = mask(text);
            assert!(!json.contains(unsalted.trim_start_matches("***sha256:")));
        }
        assert_ne!(json, public_json(&spec(), &other).unwrap());
        assert_eq!(json, public_json(&spec(), &one).unwrap());
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

    #[test]
    fn what_is_known_by_its_hash_is_learnt_from_the_manifest() {
        let key = MaskKey::random();
        let record = rebuilt(&public_json(&spec(), &key).unwrap(), Some(&key));
        let learned = learn(&record, &spec()).unwrap();
        assert_eq!(learned.spec, spec());
        assert_eq!(learned.last_applied.as_ref().unwrap().spec, spec());
        assert_eq!(learn(&learned, &spec()), None);
        let mut other = spec();
        other.run = vec!["another".into()];
        let learned = learn(&record, &other).unwrap();
        assert_eq!(learned.spec.run, record.spec.run, "that is a change");
        assert_eq!(learned.spec.user_data, spec().user_data);
    }

    #[test]
    fn hashes_of_before_there_were_keys_are_still_read() {
        let mut old = spec();
        old.user_data = old.user_data.as_deref().map(mask);
        old.run = vec![mask("canary-2")];
        let public = serde_json::to_string(&old).unwrap();
        let record = rebuilt(&public, Some(&MaskKey::random()));
        assert_eq!(learn(&record, &spec()).unwrap().spec, spec());
        let mut other = spec();
        other.user_data = Some("another".into());
        assert_ne!(
            learn(&record, &other).unwrap().spec.user_data,
            other.user_data
        );
    }

    #[test]
    fn without_the_key_the_manifest_is_believed_and_there_is_a_new_key() {
        let public = public_json(&spec(), &MaskKey::random()).unwrap();
        let record = rebuilt(&public, None);
        let again = public_json(&record.spec, &MaskKey::random()).unwrap();
        assert_eq!(again, public, "what nobody knows stays as it is");
        let mut other = spec();
        other.user_data = Some("another".into());
        let learned = learn(&record, &other).unwrap();
        assert_eq!(learned.spec, other);
        assert!(learned.mask_key.is_some());
        other.env.clear();
        let learned = learn(&record, &other).unwrap();
        assert_eq!(learned.mask_key, None, "the variable is still unknown");
    }
}
