//! Secrets: what applying one does.

use super::delete::users;
use super::settle::{kept_meta, key_of, settle};
use crate::api::{Kind, MASKED, ObjectKey, Secret, SecretValue};
use crate::engine::options::{Applied, ApplyOptions};
use crate::engine::owned;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::plan::{self, Step};
use crate::store::{STORE_WAIT, SecretRecord};

/// Writes a secret into the store.
pub(super) fn apply_secret(
    world: &World,
    wanted: &Secret,
    options: &ApplyOptions,
) -> Result<Applied> {
    let key = key_of(Kind::Secret, &wanted.metadata)?;
    let old: Option<SecretRecord> = world.store_for_reading()?.get(&key.name)?;
    let last = old.as_ref().map(|o| o.applied.clone()).unwrap_or_default();
    let old = old.map(SecretRecord::into_object);
    let mut new = unmasked(&key, wanted, old.as_ref())?;
    let live = old.as_ref().map(|o| &o.metadata);
    let (metadata, governed) = kept_meta(options.mode, &wanted.metadata, live, &last);
    new.metadata = metadata;
    let same = old.as_ref().is_some_and(|o| *o == new);
    let step = Step::Secret(plan::secret::Step::Write(Box::new(new.clone())));
    let options = &owned::options(
        world,
        &new.metadata,
        old.as_ref().map(|o| &o.metadata),
        options,
    )?;
    let changed = old.as_ref().is_some_and(|old| old.data != new.data);
    let mut applied = settle(world, key, old.is_some(), same, step, options, || {
        let store = world.store()?;
        let _lock = store.lock(STORE_WAIT)?;
        Ok(store.put(&SecretRecord::new(new)?.applied(governed))?)
    })?;
    if changed {
        let users = users(world, &applied.key)?;
        let kept = |user: &String| format!("{user} has the values that it was made with");
        applied.notes.extend(users.iter().map(kept));
    }
    Ok(applied)
}

/// Puts the value that is there in the place of each mask.
///
/// # Errors
/// Usage, for a mask that stands for nothing.
fn unmasked(key: &ObjectKey, wanted: &Secret, old: Option<&Secret>) -> Result<Secret> {
    let mut secret = wanted.clone();
    for (name, value) in &mut secret.data {
        if value.expose() != MASKED {
            continue;
        }
        match old.and_then(|old| old.data.get(name)) {
            Some(kept) => value.clone_from(kept),
            None => {
                return Err(Error::usage(format!(
                    "{key}: data.{name} is masked ({MASKED}), as `get` prints it, and there is no value yet"
                ))
                .hint(format!("kvmctl secrets create {} --from-file {name}=FILE", key.name)));
            }
        }
    }
    Ok(secret)
}

/// Returns the two sides of a diff with nothing to read in them but whether a value changes.
pub(super) fn shown(live: Option<&Secret>, wanted: &Secret) -> (Option<Secret>, Secret) {
    let masked = |secret: &Secret, other: Option<&Secret>, word: &str| {
        let mut shown = secret.clone();
        for (name, value) in &mut shown.data {
            let there = other.and_then(|o| o.data.get(name));
            let same = value.expose() == MASKED
                || there.is_none_or(|t| t == value || t.expose() == MASKED);
            *value = SecretValue::new(match same {
                true => MASKED.to_owned(),
                false => format!("{MASKED} ({word})"),
            });
        }
        shown
    };
    (
        live.map(|live| masked(live, Some(wanted), "before")),
        masked(wanted, live, "after"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{API_VERSION, EnvName, Name, ObjectMeta};

    fn secret(pairs: &[(&str, &str)]) -> Secret {
        Secret {
            api_version: API_VERSION.to_owned(),
            kind: "Secret".to_owned(),
            metadata: ObjectMeta::named(Name::new("s").unwrap()),
            data: pairs
                .iter()
                .map(|(k, v)| (EnvName::new(*k).unwrap(), SecretValue::new(*v)))
                .collect(),
        }
    }

    fn values(secret: &Secret) -> Vec<&str> {
        secret.data.values().map(SecretValue::expose).collect()
    }

    #[test]
    fn a_mask_keeps_the_value_that_is_there() {
        let key = ObjectKey::new(Kind::Secret, Name::new("s").unwrap());
        let old = secret(&[("A", "one"), ("B", "two")]);
        let wanted = secret(&[("A", MASKED), ("B", "new")]);
        let new = unmasked(&key, &wanted, Some(&old)).unwrap();
        assert_eq!(values(&new), ["one", "new"]);
        let error = unmasked(&key, &wanted, None).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
    }

    #[test]
    fn a_diff_tells_what_changes_and_no_value() {
        let old = secret(&[("A", "one"), ("B", "two"), ("C", "three")]);
        let new = secret(&[("A", "one"), ("B", "new"), ("D", "four")]);
        let (live, wanted) = shown(Some(&old), &new);
        assert_eq!(values(&live.unwrap()), ["***", "*** (before)", "***"]);
        assert_eq!(values(&wanted), ["***", "*** (after)", "***"]);
        let (live, wanted) = shown(Some(&old), &secret(&[("A", MASKED)]));
        assert_eq!(values(&live.unwrap())[0], values(&wanted)[0]);
    }
}
