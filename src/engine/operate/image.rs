//! Images: what applying one does.

use super::settle::{key_of, settle};
use crate::api::{Image, Kind, ObjectKey, Reporter};
use crate::engine::governed::governed;
use crate::engine::images;
use crate::engine::options::{Applied, ApplyOptions};
use crate::error::Result;
use crate::observe::{StoredImage, World};
use crate::plan::{self, Step};
use crate::store::STORE_WAIT;

/// Pulls an image that is missing, and records what is wanted of it.
pub(super) fn apply_image(
    world: &World,
    wanted: &Image,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let key = key_of(Kind::Image, &wanted.metadata)?;
    let known = images::present(world, key.name.as_str())?;
    let source = wanted
        .spec
        .url
        .clone()
        .unwrap_or_else(|| key.name.to_string());
    let becomes = |k: &StoredImage| {
        let live = (&k.labels, &k.annotations);
        governed(options.mode, &wanted.metadata, live, &k.applied)
    };
    let labels_same = known.as_ref().is_some_and(|k| {
        let new = becomes(k);
        k.labels == new.labels && k.annotations == new.annotations
    });
    let step = match known {
        Some(_) => Step::Image(plan::image::Step::Record),
        None => Step::Image(plan::image::Step::Pull {
            url: source.clone(),
        }),
    };
    settle(
        world,
        key.clone(),
        known.is_some(),
        labels_same,
        step,
        options,
        || {
            if known.is_none() {
                pull_wanted(world, wanted, &key, source, reporter)?;
            }
            let store = world.store()?;
            let _lock = store.lock(STORE_WAIT)?;
            if let Some(mut stored) = store.get::<StoredImage>(&key.name)? {
                let new = becomes(&stored);
                (stored.labels, stored.annotations) = (new.labels, new.annotations);
                stored.applied = new.applied;
                store.put(&stored)?;
            }
            Ok(())
        },
    )
}

fn pull_wanted(
    world: &World,
    wanted: &Image,
    key: &ObjectKey,
    source: String,
    reporter: &dyn Reporter,
) -> Result<()> {
    // The catalogue's own URL means the catalogue's entry, with its checksum.
    let catalogue = world.catalogue()?;
    let ours = catalogue
        .entry(key.name.as_str())
        .ok()
        .is_some_and(|entry| {
            wanted.spec.sha256.is_none()
                && entry
                    .sources
                    .values()
                    .any(|s| Some(&s.url) == wanted.spec.url.as_ref())
        });
    let from_catalogue = wanted.spec.url.is_none() || ours;
    let request = images::PullRequest {
        source: if from_catalogue {
            key.name.to_string()
        } else {
            source
        },
        name: (!from_catalogue).then(|| key.name.clone()),
        checksum: wanted.spec.sha256.clone(),
        without_checksum: false,
        allow_http: false,
        default_user: wanted.spec.default_user.clone(),
    };
    images::pull(world, &request, reporter).map(drop)
}
