//! Images: those in the pool, and those of the catalogue that could be.

use std::collections::BTreeMap;

use super::world::{World, not_found};
use crate::api::{API_VERSION, Image, ImageSpec, ImageStatus, Kind, Name, ObjectMeta, Uid};
use crate::error::{Error, Result};
use crate::image::{Catalogue, ImageRecord, Mirrors};
use crate::store::{Annotations, AppliedMeta, InstanceRecord, Labels, Record};

/// An image in the pool, as the store remembers it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredImage {
    /// Identity of the object.
    pub uid: Uid,
    /// Pool that the volume is in.
    pub pool: String,
    /// What is known of the image.
    #[serde(flatten)]
    pub image: ImageRecord,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Annotations.
    #[serde(default)]
    pub annotations: Annotations,
    /// What a manifest asked for last.
    #[serde(default, skip_serializing_if = "AppliedMeta::is_empty")]
    pub applied: AppliedMeta,
}

impl Record for StoredImage {
    const DIR: &'static str = "images";
    type Key = Name;
    fn key(&self) -> Name {
        self.image.name.clone()
    }
}

impl World {
    /// Returns the catalogue with the user's additions.
    ///
    /// # Errors
    /// If the user's file is wrong.
    pub fn catalogue(&self) -> Result<Catalogue> {
        match &self.settings().catalogue {
            Some(path) => Ok(Catalogue::with_file(path)?),
            None => Ok(Catalogue::built_in()),
        }
    }

    /// Returns the configured mirrors.
    ///
    /// # Errors
    /// If one of them is no URL.
    pub fn mirrors(&self) -> Result<Mirrors> {
        Mirrors::new(self.settings().image_mirrors.clone()).map_err(|problems| {
            let error = Error::usage("the image mirrors of the configuration are wrong");
            problems.into_iter().fold(error, |e, p| e.caused_by(p))
        })
    }

    /// Lists the images in the pool.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn cached_images(&self) -> Result<Vec<Image>> {
        let mut users = self.image_users()?;
        let stored: Vec<StoredImage> = self.store_for_reading()?.all()?;
        Ok(stored.into_iter().map(|s| image(&s, &mut users)).collect())
    }

    /// Lists the images in the pool and those of the catalogue.
    ///
    /// # Errors
    /// If the store or the user's catalogue cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = self.cached_images()?;
        for entry in self.catalogue()?.entries() {
            if !images
                .iter()
                .any(|i| i.metadata.name.as_ref() == Some(&entry.alias))
            {
                images.push(available(entry));
            }
        }
        Ok(images)
    }

    /// Looks an image up, in the pool or in the catalogue.
    ///
    /// # Errors
    /// `NotFound` with a suggestion.
    pub fn image(&self, name: &Name) -> Result<Image> {
        let images = self.images()?;
        let names: Vec<String> = images
            .iter()
            .filter_map(|i| Some(i.metadata.name.as_ref()?.to_string()))
            .collect();
        images
            .into_iter()
            .find(|i| i.metadata.name.as_ref() == Some(name))
            .ok_or_else(|| not_found(Kind::Image, name, names.iter().map(String::as_str)))
    }

    /// Looks an image of the pool up by its name or by another name of its catalogue entry.
    ///
    /// # Errors
    /// If the store or the user's catalogue cannot be read.
    pub fn stored_image(&self, name: &str) -> Result<Option<StoredImage>> {
        let Ok(exact) = Name::new(name) else {
            return Ok(None);
        };
        let store = self.store_for_reading()?;
        if let Some(found) = store.get::<StoredImage>(&exact)? {
            return Ok(Some(found));
        }
        match self.catalogue()?.entry(name) {
            Ok(entry) => Ok(store.get::<StoredImage>(&entry.alias)?),
            Err(_) => Ok(None),
        }
    }

    /// Names of instances by the digest of the image they stand on.
    fn image_users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.store_for_reading()?.all::<InstanceRecord>()? {
            if let Some(sha256) = record.image_sha256 {
                users
                    .entry(sha256)
                    .or_default()
                    .push(record.name.to_string());
            }
        }
        Ok(users)
    }
}

fn image(stored: &StoredImage, users: &mut BTreeMap<String, Vec<String>>) -> Image {
    let record = &stored.image;
    let sha256 = record.sha256.to_string();
    Image {
        api_version: API_VERSION.to_owned(),
        kind: "Image".to_owned(),
        metadata: ObjectMeta {
            name: Some(record.name.clone()),
            uid: Some(stored.uid),
            labels: stored.labels.clone(),
            annotations: stored.annotations.clone(),
            creation_timestamp: Some(record.created),
            ..ObjectMeta::default()
        },
        spec: ImageSpec {
            url: record.source_url.clone(),
            sha256: None,
            default_user: record.default_user.clone(),
        },
        status: Some(ImageStatus {
            cached: true,
            used_by: users.get(&sha256).cloned().unwrap_or_default(),
            sha256: Some(sha256),
            format: Some(record.format.to_string()),
            architecture: record.architecture.map(|a| a.to_string()),
            firmware: record.firmware.map(|f| f.to_string()),
            virtual_size: Some(record.virtual_size),
            size: Some(record.size),
            volume: Some(record.volume().to_string()),
        }),
    }
}

fn available(entry: &crate::image::catalogue::Entry) -> Image {
    let source = entry.sources.values().next();
    Image {
        api_version: API_VERSION.to_owned(),
        kind: "Image".to_owned(),
        metadata: ObjectMeta::named(entry.alias.clone()),
        spec: ImageSpec {
            url: source.map(|s| s.url.clone()),
            sha256: None,
            default_user: Some(entry.default_user.clone()),
        },
        status: Some(ImageStatus {
            cached: false,
            // As many as it is published for.
            architecture: Some(architectures(entry)),
            firmware: Some(entry.firmware.to_string()),
            ..ImageStatus::default()
        }),
    }
}

fn architectures(entry: &crate::image::catalogue::Entry) -> String {
    let all: Vec<&str> = entry.sources.keys().map(|a| a.as_str()).collect();
    all.join(",")
}
